//! Compact JSON, and texts, with their secrets redacted.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2, memchr3};
use serde_json::value::RawValue;

use super::secrets::{Place, is_key_of_name, is_secret};

/// Stands in the place of a secret.
const REDACTED: &str = "****";
const REDACTED_STRING: &str = "\"****\"";

/// How many levels of JSON in a string, in JSON in a string, are looked into. What stands deeper is redacted whole. Each
/// level may cost as much as the text above it.
const LEVELS: usize = 4;

/// The longest JSON in a string that is looked into, in bytes. A longer one is redacted whole: no message could hold it,
/// and each level needs memory for a copy.
const NESTED_LIMIT: usize = 256 << 10;

/// JSON without white space between its tokens and without needless escapes, secrets redacted.
pub(crate) fn compact(json: &str) -> String {
    write(json, Layout::Compact, Some(Place::Plain), LEVELS)
}

/// The same for the value at a key.
pub(super) fn compact_at(key: &str, json: &str) -> String {
    write(json, Layout::Compact, Some(Place::Plain.at(key)), LEVELS)
}

/// The same with its secrets, to be searched and not to be shown.
pub(super) fn compact_with_secrets(json: &str) -> String {
    write(json, Layout::Compact, None, LEVELS)
}

/// The text without its secrets.
pub(crate) fn redact(text: String) -> String {
    let redacted = match redact_text(&text, Place::Plain, LEVELS) {
        Cow::Owned(redacted) => Some(redacted),
        Cow::Borrowed(_) => None,
    };
    redacted.unwrap_or(text)
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Compact,
    AsItIs,
}

/// Writes JSON, its secrets redacted if it says at which place it stands.
///
/// It works on the text, and calls itself for JSON in strings only, so that no depth of nesting and no odd number is too
/// much for it. The JSON is valid, because it stood in a log that was read.
fn write(json: &str, layout: Layout, redact: Option<Place>, levels: usize) -> String {
    let mut out = String::with_capacity(json.len());
    let mut open = Vec::new(); // for each open bracket, the place of what it encloses
    let mut place = redact.unwrap_or(Place::Plain);
    let mut is_name = false; // of what the object has at `value`
    let mut rest = json;
    while let Some(&first) = rest.as_bytes().first() {
        let length = match first {
            b'"' => string_length(rest),
            b'{' | b'[' if place == Place::Secret => value_length(rest),
            b'{' | b'[' | b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => 1,
            _ => rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            b' ' | b'\t' | b'\r' | b'\n' if layout == Layout::Compact => {}
            b'"' if is_key(rest) => {
                if redact.is_some() {
                    let object = open.last().copied().unwrap_or(Place::Plain);
                    let key = string(token).unwrap_or_default();
                    (place, is_name) = (object.at(&key), object == Place::Plain && is_key_of_name(&key));
                }
                out.push_str(&string_literal(token, layout, None, levels));
            }
            b'{' | b'[' if place != Place::Secret => {
                (place, is_name) = (place.inside(first), false);
                open.push(place);
                out.push_str(token);
            }
            // Not `true`, `false` and `null`: they only say whether something is set.
            b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' if place.hides_scalars() => out.push_str(REDACTED_STRING),
            b'"' => {
                if is_name
                    && names_secret(token)
                    && let Some(object) = open.last_mut()
                {
                    *object = Place::Pairs;
                }
                out.push_str(&string_literal(token, layout, redact.map(|_| place), levels));
            }
            b'}' | b']' => {
                open.pop();
                out.push_str(token);
            }
            b',' => {
                (place, is_name) = (open.last().copied().unwrap_or(Place::Plain), false);
                out.push_str(token);
            }
            _ => out.push_str(token),
        }
    }
    out
}

/// A string as it is written: escaped only where needed, if the layout is compact, and without what is secret in it, if
/// it says at which place it stands.
fn string_literal(token: &str, layout: Layout, redact: Option<Place>, levels: usize) -> Cow<'_, str> {
    // Most strings are as simple as that. Java writes many characters as escapes that need none.
    if memchr3(b'\\', b'=', b'%', token.as_bytes()).or_else(|| memchr(b'\'', token.as_bytes())).is_none() {
        return token.into();
    }
    let Some(text) = string(token) else {
        return if redact.is_some() { REDACTED_STRING } else { token }.into();
    };
    let shown = redact.map_or(Cow::Borrowed(text.as_str()), |place| redact_text(&text, place, levels));
    let is_as_wanted = *shown == text && (layout == Layout::AsItIs || !token.contains('\\'));
    if is_as_wanted { token.into() } else { serde_json::to_string(&shown).unwrap_or_default().into() }
}

/// Redacts the secrets of a text: of JSON those at its secret keys, of another text what is assigned to secret names.
fn redact_text(text: &str, place: Place, levels: usize) -> Cow<'_, str> {
    // What looks like JSON is rarely anything else, such as a user agent in brackets.
    let may_be_json = text.trim_ascii_start().starts_with(['{', '[', '"']);
    if !may_be_json || serde_json::from_str::<&RawValue>(text).is_err() {
        redact_assignments(text)
    } else if levels == 0 || text.len() > NESTED_LIMIT {
        REDACTED.to_owned().into()
    } else {
        write(text, Layout::AsItIs, Some(place), levels - 1).into()
    }
}

/// Redacts what follows a secret name: in the query of a URL, on a command line, in a connection string (`token=…`, with
/// percent-encoding `token%3D…`), and in a text that has JSON, or something like it, in it (`"token": …`).
fn redact_assignments(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text; // what is not written yet
    let mut from = 0; // where the search in it goes on
    while let Some(found) = rest.as_bytes().get(from..).and_then(|bytes| memchr3(b'=', b'%', b':', bytes)) {
        let (before, after) = rest.split_at(from + found);
        from = before.len() + 1;
        let sign = match after.as_bytes() {
            [b'%', b'3', b'D' | b'd', ..] => "%3D",
            [b'%', ..] => continue,
            [b':', ..] => ":",
            _ => "=",
        };
        let name = before.trim_end_matches(' ');
        let unquoted = name.trim_end_matches(['"', '\'', '\\']);
        // A key in JSON is quoted. Other texts have colons behind words, too.
        let is_name = unquoted.ends_with(|c: char| c.is_ascii_alphanumeric()) && (sign != ":" || name != unquoted);
        if !is_name || !is_secret(unquoted) {
            continue;
        }
        let (value, length) = assigned(&after[sign.len()..], sign == "%3D");
        if length > 0 {
            let value = before.len() + sign.len() + value;
            out.push_str(&rest[..value]);
            out.push_str(REDACTED);
            (rest, from) = (&rest[value + length..], 0);
        }
    }
    if out.is_empty() { text.into() } else { (out + rest).into() }
}

/// Where the value begins that stands at the front of a text, and its length.
fn assigned(text: &str, is_encoded: bool) -> (usize, usize) {
    let value = text.trim_start_matches([' ', '=']);
    let start = text.len() - value.len();
    let slashes = value.bytes().take_while(|b| *b == b'\\').count();
    match value.as_bytes().get(slashes) {
        Some(&quote @ (b'"' | b'\'')) => {
            let value = &value[slashes + 1..];
            let slashes_before = |at: &usize| value[..*at].bytes().rev().take_while(|b| *b == b'\\').count();
            let end = memchr_iter(quote, value.as_bytes()).find(|at| slashes_before(at) == slashes);
            (start + slashes + 1, end.map_or(value.len(), |at| at - slashes))
        }
        Some(b'{' | b'[') => (start, value.len()),
        _ => {
            let ends = |(at, c): &(usize, char)| match c {
                '&' | '"' | '\'' | '`' | '<' | '>' => true,
                '%' if is_encoded => {
                    let code = value.get(at + 1..at + 3).unwrap_or_default();
                    ["26", "20", "22", "23", "27", "3C", "3E", "3c", "3e"].contains(&code)
                }
                c => c.is_whitespace(),
            };
            (start, value.char_indices().find(ends).map_or(value.len(), |(at, _)| at))
        }
    }
}

/// Whether a string is a secret name, as that of a header is in a list of headers.
fn names_secret(token: &str) -> bool {
    string(token).is_some_and(|name| is_secret(&name))
}

/// Whether the string before this is a key.
fn is_key(after: &str) -> bool {
    after.trim_ascii_start().starts_with(':')
}

/// The length of the string literal at the front, quotes included.
fn string_length(json: &str) -> usize {
    let mut at = 1;
    while let Some(found) = json.as_bytes().get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if json.as_bytes()[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

/// The length of the object or array at the front.
fn value_length(json: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = json.as_bytes().get(at) {
        match byte {
            b'"' => at += string_length(&json[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    json.len()
}

/// The text that a JSON string stands for. `None` for another value.
pub(super) fn string(json: &str) -> Option<String> {
    let text = json.strip_prefix('"')?;
    // Most have no escape.
    if text.contains('\\') { serde_json::from_str(json).ok() } else { text.strip_suffix('"').map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn json_is_written_compactly_and_its_secrets_at_any_depth_are_not() {
        for (json, shown) in [
            (
                r#" { "a" : { "sessionToken" : "x" , "b" : [ { "newPassword" : "y\"}" , "n" : 1 } ] } } "#,
                r#"{"a":{"sessionToken":"****","b":[{"newPassword":"****","n":1}]}}"#,
            ),
            (
                r#"{"secret\u0041ccessKey":"z","passwordLastUsed":"2026"}"#,
                r#"{"secretAccessKey":"****","passwordLastUsed":"2026"}"#,
            ),
            // Of any type, as a whole.
            (r#"{"password":["x",{"y":"}"}],"n":1}"#, r#"{"password":"****","n":1}"#),
            (r#"{"SessionToken":{"k":["]"]} , "n":[1]}"#, r#"{"SessionToken":"****","n":[1]}"#),
            (r#"{"PASSWORD_":-1.5e3,"n":-1.5e3}"#, r#"{"PASSWORD_":"****","n":-1.5e3}"#),
            // These say whether something is set.
            (
                r#"{"password":null,"manageMasterUserPassword":true,"secret":false}"#,
                r#"{"password":null,"manageMasterUserPassword":true,"secret":false}"#,
            ),
        ] {
            assert_eq!(compact(json), shown);
        }
    }

    #[test]
    fn values_of_an_environment_are_redacted_and_the_rest_of_it_is_not() {
        for (value, shown) in [
            // Lambda
            (
                json!({"environment": {"variables": {"name": "x", "B": {"c": "x"}}}, "memorySize": 128}),
                json!({"environment": {"variables": {"name": "****", "B": "****"}}, "memorySize": 128}),
            ),
            (json!({"environment": {}}), json!({"environment": {}})),
            // ECS, Batch
            (
                json!({"containerDefinitions": [{"environment": [{"name": "A", "value": "x"}, {"value": 1, "name": "B"}],
                    "secrets": [{"name": "C", "valueFrom": "arn"}], "image": "i"}]}),
                json!({"containerDefinitions": [{"environment": [{"name": "A", "value": "****"}, {"value": "****", "name": "B"}],
                    "secrets": [{"name": "C", "valueFrom": "arn"}], "image": "i"}]}),
            ),
            // CodeBuild
            (
                json!({"environment": {"type": "ARM", "privilegedMode": true, "environmentVariables":
                    [{"name": "A", "type": "PLAINTEXT", "value": "x"}]}}),
                json!({"environment": {"type": "ARM", "privilegedMode": true, "environmentVariables":
                    [{"name": "A", "type": "PLAINTEXT", "value": "****"}]}}),
            ),
            // SageMaker, App Runner
            (
                json!({"Environment": {"A": "x"}, "runtimeEnvironmentVariables": {"B": "x"}}),
                json!({"Environment": {"A": "****"}, "runtimeEnvironmentVariables": {"B": "****"}}),
            ),
            (json!({"env": ["A=x", "B=x"], "n": ["y"]}), json!({"env": ["****", "****"], "n": ["y"]})),
            // CodePipeline writes it as a text. Others name a place so.
            (
                json!({"EnvironmentVariables": "[ {\"name\":\"A\",\"value\":\"x\"} ]"}),
                json!({"EnvironmentVariables": "[ {\"name\":\"A\",\"value\":\"****\"} ]"}),
            ),
            (
                json!({"environment": "prod", "tags": [{"key": "k", "value": "v"}]}),
                json!({"environment": "prod", "tags": [{"key": "k", "value": "v"}]}),
            ),
        ] {
            assert_eq!(compact(&value.to_string()), shown.to_string());
        }
    }

    #[test]
    fn values_under_secret_names_are_redacted() {
        let headers = json!([
            {"headerName": "X-Auth-Token", "headerValue": "HUSH"},
            {"key": "Authorization", "isValueSecret": true, "value": ["HUSH"], "n": {"value": 1}},
            {"parameterKey": "Port", "parameterValue": "1"}, {"n": ["token"], "value": 2},
        ]);
        let shown = json!([
            {"headerName": "X-Auth-Token", "headerValue": "****"},
            {"key": "Authorization", "isValueSecret": true, "value": "****", "n": {"value": 1}},
            {"parameterKey": "Port", "parameterValue": "1"}, {"n": ["token"], "value": 2},
        ]);
        assert_eq!(compact(&headers.to_string()), shown.to_string());
    }

    #[test]
    fn texts_are_shown_without_what_follows_a_secret_name() {
        for (text, shown) in [
            (
                "https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA%2F1&X-Amz-Security-Token=x%2Fy%26z&X-Amz-Signature=0a#f",
                "https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA%2F1&X-Amz-Security-Token=****&X-Amz-Signature=****",
            ),
            ("to=https%3A%2F%2Fa%3FSigninToken%3Dx%2Fy%26b%3Dc", "to=https%3A%2F%2Fa%3FSigninToken%3D****%26b%3Dc"),
            ("mysql -u bob --password=x,y;z -h db", "mysql -u bob --password=**** -h db"),
            ("password = \"a b\" user = \"c\"", "password = \"****\" user = \"c\""),
            ("see {'token': 'a b', 'n': 1}", "see {'token': '****', 'n': 1}"),
            (r#"set '{\"db_password\":\"a\\\"b\",\"n\":1}'"#, r#"set '{\"db_password\":\"****\",\"n\":1}'"#),
            (r#"cut {"n":1,"secretString":{"a":"b"#, r#"cut {"n":1,"secretString":****"#),
            (r#"cut {"password":"a"#, r#"cut {"password":"****"#),
            ("password=&token====&token=", "password=&token====&token="),
            ("Invalid password: use a symbol", "Invalid password: use a symbol"),
            ("[S3Console/0.4, aws-sdk-java/1.12 k=v]", "[S3Console/0.4, aws-sdk-java/1.12 k=v]"),
            ("ü=ü%3Dü:ü%", "ü=ü%3Dü:ü%"),
            ("tökenß token=ü\u{2028}ü", "tökenß token=****\u{2028}ü"),
            (r#" {"password" : "x", "n" : 1.0 } "#, r#" {"password" : "****", "n" : 1.0 } "#),
            (r#""{\"password\":\"x\"}""#, r#""{\"password\":\"****\"}""#),
        ] {
            assert_eq!(redact(text.to_owned()), shown);
            let string = |text: &str| serde_json::to_string(text).unwrap();
            assert_eq!(compact(&string(text)), string(shown));
        }
    }

    #[test]
    fn json_too_deep_or_too_long_to_look_into_is_redacted_whole() {
        let mut json = r#"{"password":"SECRET"}"#.to_owned();
        for _ in 0..12 {
            json = json!({ "n": json }).to_string();
            assert!(!compact(&json).contains("SECRET"));
        }
        let long = json!({ "n": json!({ "password": "SECRET", "long": "x".repeat(NESTED_LIMIT) }).to_string() });
        assert_eq!(compact(&long.to_string()), r#"{"n":"****"}"#);
    }

    #[test]
    fn what_is_searched_has_its_secrets() {
        let json = r#"{ "password" : "x", "url" : "?token=y" }"#;
        assert_eq!(compact_with_secrets(json), r#"{"password":"x","url":"?token=y"}"#);
    }

    /// Each of these would take many minutes, if the time grew with the square of the size.
    #[test]
    fn the_time_grows_with_the_size_only() {
        let mut deep = r#"{"password":"HUSH"}"#.to_owned();
        while deep.len() < 100 << 10 {
            // The least that a level adds: `\u005c` for a backslash.
            let inner = deep.replace('\\', "\\u005c").replace('"', "\\u0022");
            deep = format!(r#"{{"n":"{inner}"}}"#);
        }
        assert!(!compact(&deep).contains("HUSH"));
        for part in [
            "=", "token=", "token= ", "\":", "\"token\":", "\\", "\\\"", "token=\"", "{", "[{\"token\":", "%3D", "'",
            "env=[", " ",
        ] {
            let text = part.repeat((1 << 17) / part.len());
            for text in [format!("token={text}"), format!("{text}token="), format!("{{\"n\":[{text}")] {
                assert!(!redact(text.clone()).is_empty());
                assert!(!compact(&json!({ "n": text }).to_string()).is_empty());
            }
        }
    }

    const NAMES: [&str; 6] =
        ["password", "SECRETSTRING", "client_secret", "X-Amz-Security-Token", "userdata", "nextToken"];

    /// JSON with secrets, and the same as it must be shown.
    fn with_secrets() -> impl Strategy<Value = (Value, Value)> {
        let same = |value: Value| (value.clone(), value);
        let text = "[ -~ü\u{200b}😀\\n]{0,12}".prop_map(|text| text.replace(['=', ':', '%'], "-"));
        let plain = prop_oneof![
            text.prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ]
        .prop_map(same);
        let leaf = prop_oneof![plain, Just((json!("https://a?token=HUSH&b"), json!("https://a?token=****&b")))];
        leaf.prop_recursive(8, 64, 6, |inner| {
            let object = prop::collection::btree_map("[a-c]{1,3}", inner.clone(), 0..4).prop_map(|fields| {
                let (json, shown): (Map<_, _>, Map<_, _>) =
                    fields.into_iter().map(|(key, (json, shown))| ((key.clone(), json), (key, shown))).unzip();
                (Value::from(json), Value::from(shown))
            });
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|values| {
                let (json, shown): (Vec<_>, Vec<_>) = values.into_iter().unzip();
                (Value::from(json), Value::from(shown))
            });
            let hidden = prop_oneof![inner.clone(), Just((json!("HUSH"), Value::Null))];
            let secret = (prop::sample::select(&NAMES), hidden).prop_map(|(name, (json, _))| {
                let shown = if json.is_null() || json.is_boolean() { json.clone() } else { json!("****") };
                (json!({ name: json, "n": 1 }), json!({ name: shown, "n": 1 }))
            });
            let nested = (prop_oneof![object.clone(), list.clone(), secret.clone()], any::<bool>()).prop_map(
                |((json, shown), pretty)| {
                    let text = |value: &Value| {
                        if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
                    };
                    (json!(text(&json)), json!(text(&shown)))
                },
            );
            prop_oneof![object, list, secret, nested]
        })
    }

    /// How many levels of JSON in strings a value has.
    fn levels(value: &Value) -> usize {
        match value {
            Value::String(text) => serde_json::from_str(text).map_or(0, |inner: Value| 1 + levels(&inner)),
            Value::Array(values) => values.iter().map(levels).max().unwrap_or(0),
            Value::Object(fields) => fields.values().map(levels).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_secret_survives_and_everything_else_does((json, shown) in with_secrets()) {
            for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
                let compact = compact(&text);
                prop_assert!(!compact.contains("HUSH"));
                if levels(&json) <= LEVELS {
                    prop_assert_eq!(compact, shown.to_string());
                }
            }
        }

        /// Whatever a text is, it is read to its end, and a text of JSON stays one.
        #[test]
        fn any_text_is_redacted(text in r#"([\\"'{}\[\],:=% ]|%3D|password|ü|null|1){0,40}"#) {
            let shown = redact(text.clone());
            prop_assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), serde_json::from_str::<Value>(&shown).is_ok() || shown == REDACTED);
            prop_assert_eq!(redact(shown.clone()), shown);
        }
    }
}

//! Compact JSON without its secrets.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::value::RawValue;

use super::secrets::{Place, is_secret, is_suspect, tells_no_variables, tells_secret};
use super::texts::{self, REDACTED, Scope};

const REDACTED_STRING: &str = "\"****\"";

/// How many levels of JSON in a string, in JSON in a string, are looked into. What stands deeper is redacted whole. Each
/// level may cost as much as the text above it.
const LEVELS: usize = 4;

/// The longest JSON in a string that is looked into, in bytes. A longer one is redacted whole: no message could hold it,
/// and each level needs memory for a copy.
const NESTED_LIMIT: usize = 256 << 10;

/// JSON without white space between its tokens and without needless escapes. What is secret at its place is redacted.
pub(super) fn compact(json: &str, place: Place) -> Cow<'_, str> {
    write(json, place, LEVELS)
}

/// A text without what is secret in it at its place.
pub(super) fn redact(text: &str, place: Place) -> Cow<'_, str> {
    if place.hides_scalars() { REDACTED.into() } else { redact_text(text, place, LEVELS) }
}

/// It works on the text, and calls itself for JSON in strings only, which keeps its layout. So no depth of nesting and no odd
/// number is too much for it. The JSON is valid, because it stood in a log that was read.
fn write(json: &str, place: Place, levels: usize) -> Cow<'_, str> {
    let mut writer = Writer { json, levels, place, ..Writer::default() };
    while let Some(&first) = json.as_bytes().get(writer.at) {
        let rest = &json[writer.at..];
        let (length, marks) = match first {
            b'{' | b'[' if writer.place != Place::Secret => (1, 0),
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => (1, 0),
            b'"' => string_length(rest),
            _ => (value_length(rest), 0),
        };
        let (token, after) = rest.split_at(length);
        match first {
            b' ' | b'\t' | b'\r' | b'\n' if levels == LEVELS => writer.instead(token, ""),
            b' ' | b'\t' | b'\r' | b'\n' | b':' => {}
            b'"' if after.trim_ascii_start().starts_with(':') => writer.key(token, marks),
            b',' => writer.comma(),
            b'}' | b']' => writer.close(),
            _ => writer.value(first, token, marks),
        }
        writer.at += length;
    }
    writer.finish()
}

#[derive(Default)]
struct Writer<'j> {
    json: &'j str,
    /// Where the next token begins.
    at: usize,
    /// What is written instead of `json` up to `written`. Most JSON is written as it is.
    out: String,
    written: usize,
    levels: usize,
    /// Where the next value stands; in an object, at which key.
    place: Place,
    key: Cow<'j, str>,
    /// Whether the last string is an option, such as `--password`. Its value is the next string of a list.
    is_after_option: bool,
    /// For each open bracket, the place of what it encloses. One byte each, because a record may have millions.
    open: Vec<Place>,
    /// Values that are secret if a later member of their object says so: the number of open brackets, and where in what is
    /// written they begin.
    suspects: Vec<(usize, usize)>,
    /// Where those values begin that turned out to be secret.
    secrets: Vec<usize>,
}

impl<'j> Writer<'j> {
    /// Writes a text instead of the next token.
    fn instead(&mut self, token: &str, text: &str) {
        if token == text {
            return;
        }
        self.out.push_str(&self.json[self.written..self.at]);
        self.out.push_str(text);
        self.written = self.at + token.len();
    }

    fn enclosing(&self) -> Place {
        self.open.last().copied().unwrap_or_default()
    }

    fn key(&mut self, token: &'j str, marks: u8) {
        let object = self.enclosing();
        self.key = unescaped(token, marks & ESCAPE != 0).unwrap_or_default();
        self.place = object.at(&self.key);
        if object == Place::Environment && tells_no_variables(&self.key) {
            self.enclose(Place::Plain);
        }
        let in_keys = if object == Place::Raw { Place::Raw } else { Place::Name };
        self.string(token, marks, in_keys);
    }

    /// The innermost object turns out to be something else.
    fn enclose(&mut self, place: Place) {
        if let Some(object) = self.open.last_mut() {
            *object = place;
        }
    }

    fn comma(&mut self) {
        (self.place, self.key) = (self.enclosing(), "".into());
        if std::mem::take(&mut self.is_after_option) {
            self.place = Place::Secret;
        }
    }

    fn close(&mut self) {
        let object = self.open.pop();
        while let Some((_, start)) = self.suspects.pop_if(|(depth, _)| *depth > self.open.len()) {
            // Environments of which no key said something else are variables.
            if matches!(object, Some(Place::Pairs | Place::Environment)) {
                self.secrets.push(start);
            }
        }
        self.is_after_option = false;
    }

    fn value(&mut self, first: u8, token: &'j str, marks: u8) {
        if is_suspect(self.enclosing(), &self.key) {
            self.suspects.push((self.open.len(), self.out.len() + self.at - self.written));
        }
        if token == "{" || token == "[" {
            self.place = self.place.inside(first);
            self.key = "".into();
            self.open.push(self.place);
            return;
        }
        if tells_secret(self.enclosing(), &self.key, || string(token).unwrap_or(token.into())) {
            self.enclose(Place::Pairs);
        }
        if self.place.hides_scalars() {
            self.instead(token, redacted(token));
        } else if first == b'"' {
            self.is_after_option = self.place != Place::Raw && is_secret_option(token);
            self.string(token, marks, self.place);
        }
    }

    /// A string: without what is secret in it, and except in JSON in a string escaped only where needed.
    fn string(&mut self, token: &'j str, marks: u8, place: Place) {
        // Most strings are as simple as that. Java writes many characters as escapes that need none.
        if marks & ESCAPE != 0 || marks & SIGN != 0 && place != Place::Raw {
            let Some(text) = unescaped(token, marks & ESCAPE != 0) else { return self.instead(token, redacted(token)) };
            match redact_text(&text, place, self.levels) {
                Cow::Borrowed(_) if marks & ESCAPE == 0 || self.levels < LEVELS => {}
                shown => self.instead(token, &serde_json::to_string(&shown).unwrap_or_default()),
            }
        }
    }

    /// What was written, without the secrets that later members told.
    fn finish(mut self) -> Cow<'j, str> {
        let (written, rest) = (self.written, &self.json[self.written..]);
        if written > 0 {
            self.out.push_str(rest);
        }
        let whole = if written > 0 { Cow::Owned(self.out) } else { Cow::Borrowed(rest) };
        if self.secrets.is_empty() {
            return whole;
        }
        self.secrets.sort_unstable();
        let mut out = String::with_capacity(whole.len());
        let mut at = 0;
        for start in self.secrets {
            // Others stand in one that is not written.
            if let Some(before) = whole.get(at..start) {
                let value = &whole[start..];
                let value = &value[..value_length(value)];
                out.push_str(before);
                out.push_str(redacted(value));
                at = start + value.len();
            }
        }
        (out + &whole[at..]).into()
    }
}

/// What is shown of a secret. `true`, `false` and `null` only say whether something is set, and an ARN says where a secret
/// is kept.
fn redacted(json: &str) -> &str {
    let is_arn = json.strip_prefix("\"arn:aws").and_then(|rest| rest.strip_suffix('"')).is_some_and(|rest| {
        rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'/' | b'-' | b'_' | b'.' | b'*'))
    });
    if is_arn || json.starts_with(['t', 'f', 'n']) { json } else { REDACTED_STRING }
}

/// Whether an element of a list, such as `"--password"`, says that the next one is secret.
fn is_secret_option(token: &str) -> bool {
    let name = token.strip_prefix("\"-").and_then(|rest| rest.strip_suffix('"'));
    name.is_some_and(|name| !name.contains(['=', ':', ' ']) && is_secret(name))
}

/// Redacts what is secret in a text: in JSON, and in another text.
fn redact_text(text: &str, place: Place, levels: usize) -> Cow<'_, str> {
    match place {
        Place::Raw | Place::Identity => return text.into(),
        Place::Name => return texts::redact(text, Scope::Urls),
        _ => {}
    }
    // What looks like JSON is rarely anything else, such as a user agent in brackets.
    let may_be_json = text.trim_ascii_start().starts_with(['{', '[', '"']);
    if !may_be_json || serde_json::from_str::<&RawValue>(text).is_err() {
        texts::redact(text, if text.starts_with("arn:") { Scope::Urls } else { Scope::All })
    } else if levels == 0 || text.len() > NESTED_LIMIT {
        REDACTED.to_owned().into()
    } else {
        match write(text, place, levels - 1) {
            // What later members told to be secret may be shown all the same, such as `true`.
            Cow::Owned(shown) if shown == text => text.into(),
            shown => shown,
        }
    }
}

/// Marks of what a string holds: an escape, or a sign by which a secret may be told from its name.
const ESCAPE: u8 = 1;
const SIGN: u8 = 2;
/// A dash, which is such a sign before an option, and around a key in PEM, but not in a word.
const DASH: u8 = 4;
const QUOTE: u8 = 8;

static MARKS: [u8; 256] = {
    let mut marks = [0; 256];
    marks[b'\\' as usize] = ESCAPE;
    marks[b'=' as usize] = SIGN;
    marks[b'%' as usize] = SIGN;
    marks[b':' as usize] = SIGN;
    marks[b'-' as usize] = DASH;
    marks[b'"' as usize] = QUOTE;
    marks
};

/// The length of the string at the front, and what it holds.
fn string_length(json: &str) -> (usize, u8) {
    let bytes = json.as_bytes();
    let (mut at, mut marks) = (1, 0);
    while let Some(byte) = bytes.get(at) {
        // A step that depended on the mark would make the processor wait for it.
        match MARKS[usize::from(*byte)] {
            0 => {}
            QUOTE => return (at + 1, marks),
            ESCAPE => {
                marks |= ESCAPE;
                at += 1;
            }
            DASH if bytes[at - 1].is_ascii_alphanumeric() => {}
            _ => marks |= SIGN,
        }
        at += 1;
    }
    (json.len(), marks)
}

/// The length of the value at the front, however deep it is. The JSON is valid.
pub(super) fn value_length(json: &str) -> usize {
    let bytes = json.as_bytes();
    match bytes.first() {
        Some(b'"') => string_length(json).0,
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (0, 0);
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'"' => at += string_length(&json[at..]).0 - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at.min(json.len())
        }
        _ => bytes.iter().position(|b| b" \t\r\n,:}]".contains(b)).unwrap_or(json.len()),
    }
}

/// The text that a JSON string stands for. `None` for another value.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    unescaped(json, memchr(b'\\', json.as_bytes()).is_some())
}

fn unescaped(json: &str, has_escapes: bool) -> Option<Cow<'_, str>> {
    let text = json.strip_prefix('"')?;
    // Most have no escape.
    if has_escapes {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        text.strip_suffix('"').map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn compact(json: &str) -> String {
        super::compact(json, Place::Plain).into_owned()
    }

    fn redact(text: &str) -> String {
        super::redact(text, Place::Plain).into_owned()
    }

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
            (
                r#"{"a":"{\"b\":\"{\\\"env\\\":{\\\"d\\\":true},\\\"x\\\":\\\"a\\u003db\\\"}\"}"}"#,
                r#"{"a":"{\"b\":\"{\\\"env\\\":{\\\"d\\\":true},\\\"x\\\":\\\"a\\u003db\\\"}\"}"}"#,
            ),
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
            (
                json!({"environment": {"error": {"errorCode": "e"}, "variables": {"A": "x", "B": null, "C": true}}}),
                json!({"environment": {"error": {"errorCode": "e"}, "variables": {"A": "****", "B": null, "C": true}}}),
            ),
            // Elastic Beanstalk has another kind of environments.
            (
                json!({"environment": {"status": "Ready", "environmentId": "e-1", "password": "x"}}),
                json!({"environment": {"status": "Ready", "environmentId": "e-1", "password": "****"}}),
            ),
            // An ARN says where a secret is.
            (
                json!({"env": [{"name": "A", "value": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db"}]}),
                json!({"env": [{"name": "A", "value": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db"}]}),
            ),
            (json!({"env": {"A": "arn:aws:s3:::b/k?sig=x"}}), json!({"env": {"A": "****"}})),
            // EMR
            (
                json!({"configurations": [{"properties": {"A": "x"}, "classification": "export"},
                    {"classification": "spark", "properties": {"B": "y"}}]}),
                json!({"configurations": [{"properties": "****", "classification": "export"},
                    {"classification": "spark", "properties": {"B": "y"}}]}),
            ),
            // ECS, Batch
            (
                json!({"containerDefinitions": [{"environment": [{"name": "A", "value": "x"}, {"value": 1, "name": "B"}],
                    "secrets": [{"name": "C", "valueFrom": "arn"}], "image": "i"}]}),
                json!({"containerDefinitions": [{"environment": [{"name": "A", "value": "****"}, {"value": "****", "name": "B"}],
                    "secrets": [{"name": "C", "valueFrom": "arn"}], "image": "i"}]}),
            ),
            // CodeBuild
            (
                json!({"environment": {"type": "ARM", "fleet": {"n": 1}, "environmentVariables":
                    [{"name": "A", "type": "PLAINTEXT", "value": "x"}], "image": "i"}}),
                json!({"environment": {"type": "ARM", "fleet": {"n": 1}, "environmentVariables":
                    [{"name": "A", "type": "PLAINTEXT", "value": "****"}], "image": "i"}}),
            ),
            // SageMaker, App Runner
            (
                json!({"environment": {"name": "x", "IMAGE": "x", "Type": "x", "arn": "x", "compute_type": {"n": 1}}}),
                json!({"environment": {"name": "****", "IMAGE": "****", "Type": "****", "arn": "****", "compute_type": "****"}}),
            ),
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

    /// A member may stand before or behind the value that it tells of.
    #[test]
    fn values_are_redacted_if_another_member_tells_that_they_are_secret() {
        let long = "x".repeat(99);
        for (value, shown) in [
            (
                json!({"headerName": "X-Auth-Token", "headerValue": "HUSH"}),
                json!({"headerName": "X-Auth-Token", "headerValue": "****"}),
            ),
            (
                json!({"key": "Authorization", "value": ["HUSH", long], "n": {"value": 1}}),
                json!({"key": "Authorization", "value": "****", "n": {"value": 1}}),
            ),
            (
                json!({"name": "token", "values": [{"a": "HUSH"}], "z": "z"}),
                json!({"name": "token", "values": "****", "z": "z"}),
            ),
            (json!({"id": "password", "stringValue": "HUSH"}), json!({"id": "password", "stringValue": "****"})),
            (json!({"attribute": "userData", "value": "HUSH"}), json!({"attribute": "userData", "value": "****"})),
            (
                json!({"type": "SecureString", "value": "HUSH", "tier": "x"}),
                json!({"type": "SecureString", "value": "****", "tier": "x"}),
            ),
            (
                json!({"key": "pin", "value": "HUSH", "isValueSecret": true}),
                json!({"key": "pin", "value": "****", "isValueSecret": true}),
            ),
            (
                json!({"name": "token", "value": {"name": "password", "value": "HUSH"}, "values": 12.5}),
                json!({"name": "token", "value": "****", "values": "****"}),
            ),
            (
                json!({"value": {"value": "HUSH", "name": "password"}, "name": "n"}),
                json!({"value": {"value": "****", "name": "password"}, "name": "n"}),
            ),
            (json!({"name": "token", "value": true, "v": "x"}), json!({"name": "token", "value": true, "v": "x"})),
            // API Gateway, IVS, Firehose, IAM
            (
                json!({"createApiKeyInput": {"name": "n", "value": "HUSH"}}),
                json!({"createApiKeyInput": {"name": "n", "value": "****"}}),
            ),
            (json!({"streamKey": {"arn": "a", "value": "HUSH"}}), json!({"streamKey": {"arn": "a", "value": "****"}})),
            (json!({"accessKey": "HUSH"}), json!({"accessKey": "****"})),
            (
                json!({"accessKey": {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "HUSH"}}),
                json!({"accessKey": {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "****"}}),
            ),
            (
                json!({"parameterKey": "Port", "parameterValue": "1"}),
                json!({"parameterKey": "Port", "parameterValue": "1"}),
            ),
            (
                json!([{"n": ["token"], "value": 2}, {"value": 3}, "token"]),
                json!([{"n": ["token"], "value": 2}, {"value": 3}, "token"]),
            ),
            (
                json!({"type": "String", "name": "/a", "value": "v"}),
                json!({"type": "String", "name": "/a", "value": "v"}),
            ),
            (
                json!({"key": "k", "value": "v", "isValueSecret": false}),
                json!({"key": "k", "value": "v", "isValueSecret": false}),
            ),
            (json!(["--password", "HUSH", "-v", "x", "--token"]), json!(["--password", "****", "-v", "x", "--token"])),
        ] {
            let reversed = |value: &Value| {
                let members = value.as_object().into_iter().flatten().rev();
                let members: Vec<_> = members.map(|(key, value)| format!("{}:{value}", json!(key))).collect();
                format!("{{{}}}", members.join(","))
            };
            assert_eq!(compact(&value.to_string()), shown.to_string());
            if value.is_object() {
                assert_eq!(compact(&reversed(&value)), reversed(&shown));
                assert_eq!(
                    compact(&json!([json!({"n": value}).to_string()]).to_string()),
                    json!([json!({"n": shown}).to_string()]).to_string()
                );
            }
        }
    }

    /// An IAM user may be called `token=bob`, and a file `token=/a`.
    #[test]
    fn names_are_shown_as_they_are() {
        for json in [
            r#"{"userName":"token=bob","roleArn":"arn:aws:iam::123456789012:role/x,token=bob","key":"secret=/a","n":1}"#,
            r#"{"principals":["arn:aws:iam::123456789012:user/token=bob"],"path":"a/password=1/b"}"#,
        ] {
            assert_eq!(compact(json), json);
        }
        let record = r#"{"userIdentity":{"arn":"https://a?token=/bob","sessionContext":{"x":"token=bob"},"password":1},"resources":[{"ARN":"secret=x"}],"errorMessage":"token=bob https://a?token=x"}"#;
        let shown = record.replace("\"password\":1", "\"password\":\"****\"").replace("a?token=x", "a?token=****");
        assert_eq!(super::compact(record, Place::Record), shown);
        assert_eq!(
            compact(r#"{"https://a?token=HUSH&b=c":1,"url":"?token=HUSH"}"#),
            r#"{"https://a?token=****&b=c":1,"url":"?token=****"}"#
        );
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
            (
                "curl -H 'Authorization: Bearer HUSH' -H \"X-Auth-Token: HUSH\" x",
                "curl -H 'Authorization: ****' -H \"X-Auth-Token: ****\" x",
            ),
            ("Authorization=Bearer HUSH x", "Authorization=**** x"),
            (
                "a:\n  DbPassword: HU SH\n  - token:HUSH\n  password:\n    Ref: x",
                "a:\n  DbPassword: ****\n  - token:****\n  password:\n    Ref: x",
            ),
            ("{password: 'HUSH', n: 1}", "{password: '****', n: 1}"),
            (
                "net --password HUSH -Secret \"HU SH\" --token -v --pass",
                "net --password **** -Secret \"****\" --token -v --pass",
            ),
            ("x /password:HUSH /token=HUSH", "x /password:**** /token=****"),
            ("https://bob:HU:SH@h/ ftp://bob@h s://a/b:c@d", "https://bob:****@h/ ftp://bob@h s://a/b:c@d"),
            ("pwd=HUSH;x=1 a/token=b", "pwd=**** a/token=b"),
            ("https://a?isauthcode=true&token=null", "https://a?isauthcode=true&token=null"),
            (
                "password\t=\tHUSH 'token' => 'HUSH' token := HUSH c['secret']=HUSH",
                "password\t=\t**** 'token' => '****' token := **** c['secret']=****",
            ),
            ("$env:API_KEY='HUSH' e.password=HUSH", "$env:API_KEY='****' e.password=****"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nHUSH\n-----END RSA PRIVATE KEY-----\n",
                "-----BEGIN RSA PRIVATE KEY-----****-----END RSA PRIVATE KEY-----\n",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
                "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
            ),
            (
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:db Secret::x",
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:db Secret::x",
            ),
            ("Type: AWS::SecretsManager::Secret\nx: y", "Type: AWS::SecretsManager::Secret\nx: y"),
            ("[S3Console/0.4, aws-sdk-java/1.12 k=v]", "[S3Console/0.4, aws-sdk-java/1.12 k=v]"),
            ("ü=ü%3Dü:ü%", "ü=ü%3Dü:ü%"),
            ("tökenß token=ü\u{2028}ü", "tökenß token=****\u{2028}ü"),
            (r#" {"password" : "x", "n" : 1.0 } "#, r#" {"password" : "****", "n" : 1.0 } "#),
            (r#""{\"password\":\"x\"}""#, r#""{\"password\":\"****\"}""#),
        ] {
            assert_eq!(redact(text), shown);
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
        assert_eq!(super::compact(json, Place::Raw), r#"{"password":"x","url":"?token=y"}"#);
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
            "env=[", " ", "://", "://a:b@", "-----BEGIN ", "-token ", "--", "a", "a:", "{\"value\":", "token:\n",
            "'token: ", "https://?token=&",
        ] {
            let text = part.repeat((1 << 16) / part.len());
            for text in [format!("token={text}"), format!("{text}token="), format!("{{\"n\":[{text}")] {
                assert!(!redact(&text).is_empty());
                assert!(!compact(&json!({ "n": text }).to_string()).is_empty());
            }
        }
    }

    /// So would these, in which each object's value is found to be secret at its end.
    #[test]
    fn objects_in_objects_are_read_once() {
        let n = 20_000;
        for (begin, end) in [
            (r#"{"value":"#, r#","name":"password"}"#),
            (r#"{"value":1,"n":"#, r#","name":"password"}"#),
            (r#"{"environment":"#, "}"),
            (r#"{"environment":{"A":1,"n":"#, "}}"),
            (r#"{"environment":{"variables":{},"n":"#, "}}"),
        ] {
            let json = format!("{}1{}", begin.repeat(n), end.repeat(n));
            assert!(!compact(&json).is_empty());
        }
    }

    const NAMES: [&str; 6] =
        ["password", "SECRETSTRING", "client_secret", "X-Amz-Security-Token", "userdata", "nextToken"];

    /// JSON with secrets, and the same as it must be shown.
    fn with_secrets() -> impl Strategy<Value = (Value, Value)> {
        let same = |value: Value| (value.clone(), value);
        let text = "[ -~ü\u{200b}😀\\n]{0,12}".prop_map(|text| text.replace(['=', ':', '%', '-'], "_"));
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
            let shown = redact(&text);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), serde_json::from_str::<Value>(&shown).is_ok() || shown == REDACTED);
            prop_assert_eq!(redact(&shown), shown);
        }
    }
}

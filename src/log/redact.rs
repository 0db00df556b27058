//! Compact JSON, with secrets redacted.

use memchr::memchr2;

/// Stands in the place of a secret.
const REDACTED: &str = "\"****\"";

/// JSON without white space between its tokens and without needless escapes, secrets redacted.
pub(crate) fn compact(json: &str) -> String {
    write_compact(json, Redact::Secrets)
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Redact {
    Nothing,
    /// The strings at secret keys.
    Secrets,
    /// Those, and the value itself, if it is a string: its key is secret.
    Value,
}

/// Writes JSON compactly.
///
/// It works on the text, without recursion, so that no depth of nesting and no odd number is too much for it. The JSON is
/// valid, because it stood in a log that was read.
pub(super) fn write_compact(json: &str, redact: Redact) -> String {
    let mut out = String::with_capacity(json.len());
    let mut objects = Vec::new(); // for each open bracket, whether it is a brace
    let (mut key_is_next, mut secret) = (false, redact == Redact::Value);
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let length = if c == '"' { string_length(rest) } else { c.len_utf8() };
        let (token, after) = rest.split_at(length);
        rest = after;
        match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            '"' => {
                if key_is_next {
                    secret = redact != Redact::Nothing && is_secret(&string(token).unwrap_or_default());
                    key_is_next = false;
                } else if secret {
                    out.push_str(REDACTED);
                    continue;
                }
                // Java writes many characters as escapes that need none.
                if token.contains('\\')
                    && let Ok(text) = serde_json::from_str::<String>(token)
                    && let Ok(plain) = serde_json::to_string(&text)
                {
                    out.push_str(&plain);
                    continue;
                }
            }
            '{' | '[' => {
                objects.push(c == '{');
                (key_is_next, secret) = (c == '{', false);
            }
            '}' | ']' => drop(objects.pop()),
            ',' => (key_is_next, secret) = (objects.last() == Some(&true), false),
            _ => {}
        }
        out.push_str(token);
    }
    out
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

/// Whether the string at this key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    matches!(key, "sessionToken" | "secretAccessKey") || key.ends_with("Password") || key.ends_with("password")
}

/// The text that a JSON string stands for. `None` for another value.
pub(super) fn string(json: &str) -> Option<String> {
    let text = json.strip_prefix('"')?;
    // Most have no escape.
    if text.contains('\\') { serde_json::from_str(json).ok() } else { text.strip_suffix('"').map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted_at_any_depth() {
        let json = r#" { "a" : { "sessionToken" : "x" , "b" : [ { "newPassword" : "y\"}" , "n" : 1 } ] } ,
            "secretAccessKey":"z", "password":["kept"], "passwordLastUsed":"2026", "secret\u0041ccessKey":"z",
            "masterUserPassword":null, "sessionToken":{"k":"v"} } "#;
        assert_eq!(
            compact(json),
            r#"{"a":{"sessionToken":"****","b":[{"newPassword":"****","n":1}]},"secretAccessKey":"****","password":["kept"],"passwordLastUsed":"2026","secretAccessKey":"****","masterUserPassword":null,"sessionToken":{"k":"v"}}"#
        );
    }
}

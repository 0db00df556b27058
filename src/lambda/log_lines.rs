//! The function's log on stdout: each event is one line, whatever names and keys it quotes.

use std::io::{self, Write};

use serde_json::Deserializer;

use crate::alert::escape;

/// Writes events of the log. Keys in S3 are anybody's text: a line break in one would begin a line of its own, and such a
/// line could be metrics that keep an alarm silent. In a line of JSON the escapes change nothing, since they are JSON's.
#[derive(Debug, Default)]
pub struct LogLines;

impl Write for LogLines {
    /// Writes an event, which the formatter hands over whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = escape(with_object(line).as_deref().unwrap_or(line)) + "\n";
        io::stdout().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// A line of JSON with the object of which its field `rules` holds the text, since a field of an event can't hold an object.
/// No text can pass for this field: its quotes would be escaped.
fn with_object(line: &str) -> Option<String> {
    const KEY: &str = "\"rules\":";
    let (before, after) = line.split_once(KEY).filter(|_| line.starts_with('{'))?;
    let mut texts = Deserializer::from_str(after).into_iter::<String>();
    let object = texts.next()?.ok().filter(|text| text.starts_with('{'))?;
    Some([before, KEY, &object, after.get(texts.byte_offset()..)?].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_counts_by_rule_become_an_object_and_no_other_text_does() {
        let rules = json!({ "a \"{b}\" \\ é": { "matches": 1 }, "\"rules\":\"{}\"": {} });
        let hostile = "{\"rules\":\"{}\"}, \"rules\":\"{\\n\"";
        let mut line =
            json!({ "fields": { "a": hostile, "rules": rules.to_string(), "z": hostile }, "level": hostile });
        let text = with_object(&line.to_string()).unwrap();
        line["fields"]["rules"] = rules;
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), line);
        for other in [
            json!({ "a": hostile }).to_string(),
            json!({ "rules": "[\"{}\"]" }).to_string(),
            json!({ "rules": 5 }).to_string(),
            format!("INFO {}", json!({ "rules": "{}" })),
            "{\"rules\":\"{".to_owned(),
            "{\"rules\":".to_owned(),
        ] {
            assert_eq!(with_object(&other), None, "{other}");
        }
    }
}

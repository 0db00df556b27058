//! Texts that a caller controls, made fit for a message: escaped, and truncated to a limit.

use std::fmt::Write as _;

/// Escapes characters that could forge a line or hide the order of a text, and those that SQS refuses. The escapes are
/// JSON's, so that escaped JSON is still the same JSON.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let plain = rest.bytes().take_while(|b| matches!(b, b' '..=b'~')).count();
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { return out };
        rest = chars.as_str();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Controls, marks and overrides of direction, line and paragraph separators, and two characters that
            // XML does not have.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

/// A text for a chat, of little more than `limit` bytes: it can't end the code that it stands in, mention people, or be a
/// link.
pub(super) fn escape_for_chat(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in escape(text).chars() {
        if out.len() >= limit {
            out.push_str("...");
            break;
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push('\''),
            _ => out.push(c),
        }
    }
    out
}

/// A text for a subject: characters other than printable ASCII become `?`.
pub(super) fn to_ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// At most `limit` bytes, cut at a character. A text that was cut ends in `ending`, which counts.
pub(super) fn truncate(mut text: String, limit: usize, ending: &str) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(ending.len())));
        text.push_str(ending);
    }
    text
}

/// At most `limit` characters, and then the number of those that were cut off.
pub(super) fn truncate_and_count(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{} (cut: {} characters more)", &text[..at], text[at..].chars().count()),
        None => text.to_owned(),
    }
}

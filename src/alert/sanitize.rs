//! Texts that a caller controls, made fit for a message: escaped, and truncated to a limit.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// The characters that are escaped: those that could forge a line, hide a part of a text or its order, and two that XML does
/// not have, and so SQS refuses.
const ESCAPED: &str = r"[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\uFFFE\uFFFF]";

/// Escapes control and invisible characters. The escapes are JSON's, so that escaped JSON is still the same JSON.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_escaped(&mut out, text);
    out
}

/// Writes a text behind another one, escaped.
pub(super) fn push_escaped(out: &mut String, text: &str) {
    if is_plain(text) {
        return out.push_str(text);
    }
    let mut rest = text;
    loop {
        let plain = rest.bytes().take_while(|b| matches!(b, b' '..=b'~')).count();
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { return };
        rest = chars.as_str();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_escaped(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
}

/// Whether a text is printable ASCII, as nearly all are. It is looked at as a whole, many bytes at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |is_plain, b| is_plain & matches!(b, b' '..=b'~'))
}

fn is_escaped(c: char) -> bool {
    static RANGES: LazyLock<Vec<ClassUnicodeRange>> =
        LazyLock::new(|| match regex_syntax::parse(ESCAPED).map(Hir::into_kind) {
            Ok(HirKind::Class(Class::Unicode(class))) => class.ranges().to_vec(),
            _ => Vec::new(),
        });
    RANGES.iter().take_while(|range| range.start() <= c).any(|range| c <= range.end())
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
pub(super) fn to_ascii(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return text.into();
    }
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// At most `limit` bytes, cut at a character. A text that was cut ends in `ending`, which counts.
pub(crate) fn truncate<'t>(text: impl Into<Cow<'t, str>>, limit: usize, ending: &str) -> Cow<'t, str> {
    let mut text = text.into();
    if text.len() > limit {
        let start = text.floor_char_boundary(limit.saturating_sub(ending.len()));
        let whole = text.to_mut();
        whole.truncate(start);
        whole.push_str(ending);
    }
    text
}

/// At most `limit` characters, and then the number of those that were cut off.
pub(super) fn truncate_and_count<'t>(text: impl Into<Cow<'t, str>>, limit: usize) -> Cow<'t, str> {
    let text = text.into();
    // Most have fewer bytes than that.
    let past_limit = if text.len() > limit { text.char_indices().nth(limit) } else { None };
    match past_limit {
        Some((at, _)) => format!("{} (cut: {} characters more)", &text[..at], text[at..].chars().count()).into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::meta::Regex;

    use super::*;

    #[test]
    fn controls_and_all_that_unicode_calls_invisible_are_escaped_and_nothing_else() {
        let class = Regex::new(&format!("^{ESCAPED}$")).unwrap();
        for c in '\0'..=char::MAX {
            assert_eq!(is_escaped(c), class.is_match(&*c.encode_utf8(&mut [0; 4])), "{}", c.escape_unicode());
        }
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let text = "a\u{200b}b\u{feff}\u{e0041}\u{e007f}\u{fe0f}\u{3164}\u{2028}\u{7f}\u{0} é😀";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape(&json);
        assert_eq!(escaped, r#""a\u200bb\ufeff\udb40\udc41\udb40\udc7f\ufe0f\u3164\u2028\u007f\u0000 é😀""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}

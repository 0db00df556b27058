//! Texts of the page, which may be a stranger's.

use maud::{Markup, html};

use super::super::summary::Summary;
use crate::alert::escape;
use crate::rules::Severity;

/// A text of ours, with code between backquotes.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (escape(part)) } } @else { (escape(part)) }
        }
    }
}

pub(super) fn severity_class(severity: Severity) -> String {
    format!("severity {severity}")
}

pub(super) fn per_day(summary: &Summary, messages: u64) -> String {
    format!("{:.1}", summary.per_day(messages))
}

/// The day of a time.
pub(super) fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// A text that may be broken behind its separators.
pub(super) fn breakable(text: &str) -> Markup {
    html! { @for part in text.split_inclusive(['/', ':', '.']) { (part) wbr; } }
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// At most so many characters, and then how many were cut off.
pub(super) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}… (cut: {} characters more)", &text[..at], text[at..].chars().count()),
        None => text.to_owned(),
    }
}

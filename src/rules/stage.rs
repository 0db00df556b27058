//! How a rule groups its matches over time: `threshold`, `firstSeen` and `suppress`.

use std::fmt;
use std::time::Duration;

use super::condition::path_text;

/// A limit of a rule's alerts. A match passes the stages of its rule in this order: threshold, first seen, suppress. Each
/// sees only what the one before let pass.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) kind: StageKind,
    /// The paths whose texts tell the groups of the rule apart, at least one.
    pub(crate) by: Vec<Vec<String>>,
    /// `within`, or `for`.
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageKind {
    /// Alerts once a group has had so many different events, or different texts at the path `distinct`, within the span.
    Threshold { count: usize, distinct: Option<Vec<String>> },
    /// Alerts if the group has had no match within the span.
    FirstSeen,
    /// Alerts once within the span.
    Suppress,
}

impl Stage {
    /// The key of a rule that gives it.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            StageKind::Threshold { .. } => "threshold",
            StageKind::FirstSeen => "firstSeen",
            StageKind::Suppress => "suppress",
        }
    }

    /// The paths of `by`, for people: `a, b and c`.
    pub(crate) fn by_text(&self) -> String {
        let paths: Vec<_> = self.by.iter().map(|path| path_text(path)).collect();
        match &paths[..] {
            [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            paths => paths.concat(),
        }
    }

    /// The paths at which it looks: of `by`, and `distinct`.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        let distinct = if let StageKind::Threshold { distinct, .. } = &self.kind { distinct.as_ref() } else { None };
        self.by.iter().chain(distinct)
    }
}

/// A duration as a configuration writes it: a whole number and `s`, `m`, `h` or `d`. At most [`Span::LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    number: u64,
    /// An index of [`UNITS`].
    unit: usize,
}

/// Seconds of each unit, its letter, and its name.
const UNITS: [(u64, char, &str); 4] =
    [(1, 's', "second"), (60, 'm', "minute"), (3_600, 'h', "hour"), (86_400, 'd', "day")];

impl Span {
    /// Three months.
    pub(crate) const LONGEST: Duration = Duration::from_hours(90 * 24);

    /// Reads one; `None` if it is not a span, zero, or too long.
    pub(crate) fn parse(text: &str) -> Option<Span> {
        let unit = UNITS.iter().position(|(_, letter, _)| text.ends_with(*letter))?;
        let number = text.strip_suffix(UNITS[unit].1).filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
        let span = Span { number: number.parse().ok()?, unit };
        let seconds = span.number.checked_mul(UNITS[unit].0)?;
        (1..=Self::LONGEST.as_secs()).contains(&seconds).then_some(span)
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.number.saturating_mul(UNITS[self.unit].0))
    }

    /// In words, such as `10 minutes`.
    pub(crate) fn in_words(self) -> String {
        let plural = if self.number == 1 { "" } else { "s" };
        format!("{} {}{plural}", self.number, UNITS[self.unit].2)
    }
}

impl fmt::Display for Span {
    /// As a configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, UNITS[self.unit].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_a_unit_of_at_most_ninety_days() {
        for (text, seconds, words) in [
            ("1s", 1, "1 second"),
            ("10m", 600, "10 minutes"),
            ("007m", 420, "7 minutes"),
            ("1h", 3_600, "1 hour"),
            ("90d", 7_776_000, "90 days"),
            ("7776000s", 7_776_000, "7776000 seconds"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.duration(), span.in_words().as_str()), (Duration::from_secs(seconds), words));
        }
        for text in
            ["", "s", "0s", "91d", "7776001s", "10", "10 m", "1.5h", "-1h", "+1h", "10M", "1w", "99999999999999999999d"]
        {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}

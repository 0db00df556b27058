//! The time span of the events in a scan, and the days on which there are any.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::log::{Time, is_blank};

const KEY: &str = "\"eventTime\"";
static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(KEY));

/// The most days that are told apart: a century of them. A log may give any time.
const DAYS_LIMIT: usize = 36_525;

/// The length of a day in a time: `2026-11-20`.
const DAY: usize = 10;

/// The times of the first and the last event. Times of one form sort as text.
#[derive(Debug, Default)]
pub(super) struct Span {
    first: Option<String>,
    last: Option<String>,
    /// The days that have events.
    days: BTreeSet<String>,
    /// The latest event's: most have the same as the one before.
    day: String,
}

impl Span {
    /// Takes a record's `eventTime` into account.
    pub(super) fn extend(&mut self, record: &[u8]) {
        let Some((time, _)) = event_time(record) else { return };
        // Most records lie between the two, and on a day that is known.
        let is_between = self.ends().is_some_and(|(first, last)| (first.as_bytes()..=last.as_bytes()).contains(&time));
        let is_known = is_between && time.starts_with(self.day.as_bytes());
        if !is_known
            && let Ok(time) = str::from_utf8(time)
            && humantime::parse_rfc3339(time).is_ok()
        {
            self.extend_to(time, time);
            time[..DAY].clone_into(&mut self.day);
            self.note_day(&time[..DAY]);
        }
    }

    /// Takes another span into account.
    pub(super) fn join(&mut self, other: &Span) {
        if let Some((first, last)) = other.ends() {
            self.extend_to(first, last);
        }
        other.days.iter().for_each(|day| self.note_day(day));
    }

    fn note_day(&mut self, day: &str) {
        if self.days.len() < DAYS_LIMIT && !self.days.contains(day) {
            self.days.insert(day.to_owned());
        }
    }

    fn extend_to(&mut self, first: &str, last: &str) {
        if self.first.as_deref().is_none_or(|mine| first < mine) {
            self.first = Some(first.to_owned());
        }
        if self.last.as_deref().is_none_or(|mine| last > mine) {
            self.last = Some(last.to_owned());
        }
    }

    pub(super) fn ends(&self) -> Option<(&str, &str)> {
        self.first.as_deref().zip(self.last.as_deref())
    }

    /// The days on which there are events, as `2026-11-20`.
    pub(super) fn days(&self) -> &BTreeSet<String> {
        &self.days
    }
}

/// The first text that looks like a record's `eventTime`, and what follows. It is searched for, because most records are not
/// parsed.
fn event_time(record: &[u8]) -> Option<(&[u8], &[u8])> {
    const LENGTH: usize = "2026-11-20T21:08:30Z".len();
    let rest = &record[FINDER.find(record)? + KEY.len()..];
    let quote = rest.iter().position(|b| !is_blank(*b) && *b != b':')?;
    let time = rest.get(quote + 1..quote + 1 + LENGTH).unwrap_or_default();
    Some((time, rest))
}

/// The time that stands behind the only `eventTime` of a record.
pub(super) fn only_event_time(record: &[u8]) -> Option<Time> {
    let (time, rest) = event_time(record)?;
    if FINDER.find(rest).is_some() { None } else { Time::parse(str::from_utf8(time).ok()?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_on_which_there_are_records_and_no_others() {
        let (mut all, mut one) = (Span::default(), Span::default());
        let record = |time| format!("{{ \"eventTime\" : \"{time}\", \"eventName\": \"x\" }}").into_bytes();
        all.extend(&record("2026-11-20T23:59:59Z"));
        for time in [
            "2026-11-02T00:00:00Z", "2026-11-30T00:00:00Z", "2026-11-20T12:00:00Z", "2026-11-20T12:00:01Z",
            "2026-11-21T12:00:01Z", "2026-99-21T12:00:01Z", "2026-11-2",
        ] {
            one.extend(&record(time));
        }
        all.join(&one);
        all.join(&Span::default());
        assert_eq!(all.days().iter().collect::<Vec<_>>(), ["2026-11-02", "2026-11-20", "2026-11-21", "2026-11-30"]);
        assert_eq!(all.ends(), Some(("2026-11-02T00:00:00Z", "2026-11-30T00:00:00Z")));
    }
}

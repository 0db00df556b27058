//! The time span of the events in a scan.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::log::{Time, is_blank};

const KEY: &str = "\"eventTime\"";
static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(KEY));

/// The times of the first and the last event. Times of one form sort as text.
#[derive(Debug, Default)]
pub(super) struct Span {
    first: Option<String>,
    last: Option<String>,
}

impl Span {
    /// Takes a record's `eventTime` into account.
    pub(super) fn extend(&mut self, record: &[u8]) {
        let Some((time, _)) = event_time(record) else { return };
        // Most records lie between the two.
        let is_between = self.ends().is_some_and(|(first, last)| (first.as_bytes()..=last.as_bytes()).contains(&time));
        if !is_between
            && let Ok(time) = str::from_utf8(time)
            && humantime::parse_rfc3339(time).is_ok()
        {
            self.join(time, time);
        }
    }

    pub(super) fn join(&mut self, first: &str, last: &str) {
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

    /// The length in days; at least one, because a shorter piece tells little of a day.
    pub(super) fn days(&self) -> f64 {
        let time = |text| humantime::parse_rfc3339(text).ok();
        let span = self.ends().and_then(|(first, last)| time(last)?.duration_since(time(first)?).ok());
        span.map_or(1.0, |span| (span.as_secs_f64() / 86_400.0).max(1.0))
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

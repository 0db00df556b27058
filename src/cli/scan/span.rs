//! The time span of the events in a scan.

use std::cmp::Ordering;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::log::record_scanner::is_blank;

/// The times of the first and the last event.
#[derive(Debug, Default)]
pub(super) struct Span {
    first: Option<String>,
    last: Option<String>,
}

impl Span {
    /// Takes a record's `eventTime` into account. It is searched for as text, because most records are not parsed.
    pub(super) fn extend(&mut self, record: &[u8]) {
        const KEY: &str = "\"eventTime\"";
        static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(KEY));
        const LENGTH: usize = "2026-11-20T21:08:30Z".len();
        let Some(at) = FINDER.find(record) else { return };
        let rest = &record[at + KEY.len()..];
        let Some(quote) = rest.iter().position(|b| !is_blank(*b) && *b != b':') else { return };
        let time = rest.get(quote + 1..quote + 1 + LENGTH).unwrap_or_default();
        // Times of one form sort as text; most records lie between the two.
        let is_new =
            |bound: &Option<String>, order: Ordering| bound.as_ref().is_none_or(|b| time.cmp(b.as_bytes()) == order);
        let (first, last) = (is_new(&self.first, Ordering::Less), is_new(&self.last, Ordering::Greater));
        if !first && !last {
            return;
        }
        let Some(time) = str::from_utf8(time).ok().filter(|time| humantime::parse_rfc3339(time).is_ok()) else {
            return;
        };
        if first {
            self.first = Some(time.to_owned());
        }
        if last {
            self.last = Some(time.to_owned());
        }
    }

    pub(super) fn join(&mut self, other: &Span) {
        for (mine, theirs, order) in
            [(&mut self.first, &other.first, Ordering::Less), (&mut self.last, &other.last, Ordering::Greater)]
        {
            if let Some(theirs) = theirs
                && mine.as_ref().is_none_or(|mine| theirs.cmp(mine) == order)
            {
                *mine = Some(theirs.clone());
            }
        }
    }

    /// The first and the last time.
    pub(super) fn ends(&self) -> Option<(&str, &str)> {
        self.first.as_deref().zip(self.last.as_deref())
    }

    /// The length in days; at least one, because a shorter piece tells little of a day.
    pub(super) fn days(&self) -> f64 {
        let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref()?).ok();
        let span = time(&self.last).zip(time(&self.first)).and_then(|(last, first)| last.duration_since(first).ok());
        span.map_or(1.0, |span| (span.as_secs_f64() / 86_400.0).max(1.0))
    }
}

//! The time of an event.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::record::Record;

/// A moment after 1970, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Time(u64);

impl Time {
    /// The `eventTime` of a record; `None` where it is missing or not a time in UTC as RFC 3339 writes it.
    pub(crate) fn of(record: &Record<'_>) -> Option<Time> {
        let time = humantime::parse_rfc3339(&record.raw_string(&["eventTime"])?).ok()?;
        let milliseconds = time.duration_since(UNIX_EPOCH).ok()?.as_millis();
        u64::try_from(milliseconds).ok().map(Time)
    }

    /// The time between two moments, whichever is first.
    pub(crate) fn distance(self, other: Time) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(self.0)).fmt(f)
    }
}

//! The time of an event.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::record::Record;

/// The last moment that RFC 3339 can write, at the end of the year 9999.
const END: u64 = 253_402_300_799_999;

/// A moment after 1970, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Time(u64);

impl Time {
    /// The `eventTime` of a record; `None` where it is missing or not a time in UTC as RFC 3339 writes it.
    pub(crate) fn of(record: &Record<'_>) -> Option<Time> {
        Time::parse(&record.raw_string(&["eventTime"])?)
    }

    /// A time in UTC as RFC 3339 writes it.
    pub(crate) fn parse(text: &str) -> Option<Time> {
        Time::after_1970(humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?)
    }

    /// A time as RFC 3339 writes it, in UTC or with an offset.
    pub(crate) fn parse_with_offset(text: &str) -> Option<Time> {
        let upper = text.to_ascii_uppercase();
        if upper.ends_with('Z') {
            return Time::parse(&upper);
        }
        let (time, offset) = upper.split_at_checked(upper.len().checked_sub("+00:00".len())?)?;
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
        let ahead = Duration::from_secs((u64::from(hours) * 60 + u64::from(minutes)) * 60);
        let time = humantime::parse_rfc3339(&format!("{time}Z")).ok().filter(|_| hours < 24 && minutes < 60)?;
        let time = match offset.chars().next()? {
            '+' => time.checked_sub(ahead)?,
            '-' => time.checked_add(ahead)?,
            _ => return None,
        };
        Time::after_1970(time.duration_since(UNIX_EPOCH).ok()?)
    }

    /// A moment so long after 1970.
    pub(crate) fn after_1970(duration: Duration) -> Option<Time> {
        u64::try_from(duration.as_millis()).ok().filter(|time| *time <= END).map(Time)
    }

    pub(crate) fn plus(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).min(END))
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

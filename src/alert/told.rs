//! What an alert tells of the matches that were held back before it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::log::Time;
use crate::rules::{Rule, Stage};

/// Matches that were held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// How many there are.
    pub(crate) count: u64,
    /// The earliest and the latest `eventTime`.
    pub(crate) from: Time,
    pub(crate) to: Time,
}

impl Held {
    /// One match.
    pub(crate) fn one(time: Time) -> Held {
        Held { count: 1, from: time, to: time }
    }

    /// Both together.
    pub(crate) fn and(self, other: Held) -> Held {
        Held {
            count: self.count.saturating_add(other.count),
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        }
    }
}

/// What an alert tells of its group in a stage of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'f> {
    pub(crate) rule: &'f Rule,
    pub(crate) stage: &'f Stage,
    pub(crate) held: Option<Held>,
    pub(crate) receipt: Receipt,
}

/// An alert of a group. What it tells stays in the group until the group learns that it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Receipt {
    pub(crate) group: GroupId,
    /// A hash of its event.
    pub(crate) event: u64,
}

/// The name of a group: a hash of the rule and its topic, the stage, and the paths and texts of `by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GroupId(pub(crate) u128);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

//! What is remembered of a group, and what that makes of the next match: the rules of the memory between logs.
//!
//! A group changes only by [`Group::decide`] and [`Group::published`]. Logs come in any order, and an invocation may be
//! retried at any step. So an alert keeps its event, by which it is known when it comes again, and what it has to tell
//! until it has been published.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::Held;
use crate::log::Time;
use crate::rules::{Stage, StageKind};

/// The most alerts that a group remembers: the latest ones.
const ALERTS_LIMIT: usize = 16;

/// How long an alert that has not been published may still be on its way, in seconds:
/// [an invocation's longest time](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html). After it, the
/// next alert of the group tells what this one had to tell.
const ON_ITS_WAY: u64 = 15 * 60;

/// The memory of a group in one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The latest ones, in the order of their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<Alerted>,
    /// The matches that no alert tells yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    /// For `firstSeen`: the time of the latest match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<Time>,
    /// For `threshold`: hashes of the events, or of the texts, that count, with their times and in their order. At most as
    /// many as the rule counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counted: Vec<(u64, Time)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alerted {
    time: Time,
    event: u64,
    /// What it has to tell, until it has been published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tells: Option<Tells>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tells {
    held: Held,
    /// When it was decided, in seconds since 1970.
    since: u64,
}

/// A match as its group sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighted<'a> {
    pub(crate) time: Time,
    /// A hash of the event.
    pub(crate) event: u64,
    /// The hashes of what a threshold counts: of the event, or of its texts at the path `distinct`.
    pub(crate) counted: &'a [u64],
}

/// The decision about a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passes, and tells what was held back.
    Passes(Option<Held>),
    Held,
}

impl Group {
    /// Decides about a match, and remembers it. `now` is the time on the clock, in seconds since 1970.
    pub(crate) fn decide(&mut self, stage: &Stage, sighted: Sighted<'_>, now: u64) -> Outcome {
        let (time, span) = (sighted.time, stage.span.duration());
        let alerts = match &stage.kind {
            StageKind::Suppress => !self.is_near_alert(time, span) && !self.is_before_all_alerts(time),
            StageKind::FirstSeen => {
                let is_first = self.latest.is_none_or(|latest| time > latest && time.distance(latest) >= span);
                self.latest = self.latest.max(Some(time));
                is_first
            }
            StageKind::Threshold { count, .. } => {
                self.count(*count, span, sighted)
                    && !self.is_near_alert(time, span)
                    && self.alerts.last().is_none_or(|alert| time > alert.time)
            }
        };
        // An event never suppresses itself: its alert may not have been published.
        if let Some(alert) = self.alerts.iter().find(|alert| alert.event == sighted.event) {
            return Outcome::Passes(alert.tells.as_ref().map(|tells| tells.held));
        }
        if alerts {
            Outcome::Passes(self.alert(time, sighted.event, now))
        } else {
            self.hold(Held::one(time));
            Outcome::Held
        }
    }

    /// Notes that the alert about an event was published: what it had to tell has been told.
    pub(crate) fn published(&mut self, event: u64) {
        for alert in self.alerts.iter_mut().filter(|alert| alert.event == event) {
            alert.tells = None;
        }
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.alerts.capacity() * size_of::<Alerted>()
            + self.counted.capacity() * size_of::<(u64, Time)>()
    }

    fn is_near_alert(&self, time: Time, span: Duration) -> bool {
        self.alerts.iter().any(|alert| alert.time.distance(time) < span)
    }

    /// Whether alerts near the time may have been forgotten.
    fn is_before_all_alerts(&self, time: Time) -> bool {
        self.alerts.len() == ALERTS_LIMIT && self.alerts.iter().all(|alert| time < alert.time)
    }

    /// Counts a match; gives whether it is one of `limit` within a span. The logs of a span come in any order, so that it
    /// need not be the last of them.
    fn count(&mut self, limit: usize, span: Duration, sighted: Sighted<'_>) -> bool {
        for hash in sighted.counted {
            match self.counted.iter_mut().find(|(known, _)| known == hash) {
                Some((_, time)) => *time = sighted.time.max(*time),
                None => self.counted.push((*hash, sighted.time)),
            }
        }
        self.counted.sort_by_key(|(_, time)| *time);
        let is_reached = self.counted.windows(limit).any(|window| {
            let is_within = |((_, first), (_, last)): (&(u64, Time), &(u64, Time))| first.distance(*last) < span;
            window.first().zip(window.last()).is_some_and(is_within)
                && window.iter().any(|(hash, _)| sighted.counted.contains(hash))
        });
        self.counted.drain(..self.counted.len().saturating_sub(limit));
        self.counted.shrink_to_fit();
        is_reached
    }

    /// Remembers an alert; gives what it has to tell.
    fn alert(&mut self, time: Time, event: u64, now: u64) -> Option<Held> {
        let mut held = self.held.take();
        for alert in &mut self.alerts {
            if let Some(tells) = alert.tells.take_if(|tells| now.saturating_sub(tells.since) > ON_ITS_WAY) {
                held = Some(held.map_or(tells.held, |held| held.and(tells.held)));
            }
        }
        let tells = held.map(|held| Tells { held, since: now });
        let place = self.alerts.partition_point(|alert| alert.time <= time);
        self.alerts.reserve_exact(1);
        self.alerts.insert(place, Alerted { time, event, tells });
        if self.alerts.len() > ALERTS_LIMIT
            && let Some(tells) = self.alerts.remove(0).tells
        {
            // If it is published yet, this is told twice.
            self.hold(tells.held);
        }
        held
    }

    fn hold(&mut self, more: Held) {
        self.held = Some(self.held.map_or(more, |held| held.and(more)));
    }
}

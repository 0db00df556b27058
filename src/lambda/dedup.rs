//! The alerts that were published lately, so that a retry does not repeat them.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use crate::alert::{Alert, id};
use crate::rules::TopicArn;

/// How long, and how many, alerts are remembered. Lambda's two retries come within the time.
const TIME_LIMIT: Duration = Duration::from_mins(15);
const COUNT_LIMIT: usize = 50_000;

/// A hash of an alert: where, about which event, for which rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AlertKey(u128);

impl AlertKey {
    /// `None` for an alert without id, which is never a repeat.
    ///
    /// The rules are part of it, because another bucket may have a configuration that makes something else of the same
    /// event.
    pub(super) fn of(alert: &Alert, topic: &TopicArn) -> Option<Self> {
        let rules = alert.rules.iter().map(String::as_str);
        Some(AlertKey(id::hash([topic.as_str(), alert.id.as_deref()?].into_iter().chain(rules))))
    }
}

/// The alerts of the last quarter of an hour, within bounded memory.
#[derive(Default)]
pub(super) struct RecentAlerts {
    known: HashSet<AlertKey>,
    /// The same, oldest first. Wall-clock time, because an environment may be frozen for hours between events.
    order: VecDeque<(SystemTime, AlertKey)>,
}

impl RecentAlerts {
    pub(super) fn insert(&mut self, key: AlertKey, now: SystemTime) {
        if self.known.insert(key) {
            self.order.push_back((now, key));
        }
        while self.order.len() > COUNT_LIMIT {
            self.drop_oldest();
        }
    }

    pub(super) fn contains(&mut self, key: AlertKey, now: SystemTime) -> bool {
        let stale = |then: SystemTime| now.duration_since(then).map_or(true, |age| age > TIME_LIMIT);
        while self.order.front().is_some_and(|(then, _)| stale(*then)) {
            self.drop_oldest();
        }
        self.known.contains(&key)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_remembered_for_a_while_and_within_bounds() {
        let mut recent = RecentAlerts::default();
        let (start, key) = (SystemTime::UNIX_EPOCH, |number: usize| AlertKey(number as u128));
        recent.insert(key(0), start);
        assert!(recent.contains(key(0), start + TIME_LIMIT));
        assert!(!recent.contains(key(0), start + TIME_LIMIT + Duration::from_secs(1)));
        for number in 0..=COUNT_LIMIT {
            recent.insert(key(number), start);
        }
        assert!(!recent.contains(key(0), start) && recent.contains(key(1), start));
        assert_eq!((recent.known.len(), recent.order.len()), (COUNT_LIMIT, COUNT_LIMIT));
    }
}

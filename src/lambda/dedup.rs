//! The alerts that were published lately, so that a retry does not repeat them.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::alert::{Alert, id};
use crate::rules::TopicArn;

/// How long alerts are remembered. Lambda's two retries come within the time.
const TIME_LIMIT: Duration = Duration::from_mins(15);

/// How many are remembered: about 2 MB.
pub(super) const COUNT_LIMIT: usize = 50_000;

/// A hash of an alert: where, about which event, for which rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The most rules of an alert by which it is known one by one.
const RULES_LIMIT: usize = 10;

/// By what all environments know an alert that was published: for each of its rules, that the rule has told its topic of the
/// event. A replay may name fewer rules, since the memory holds back the others. For an alert of very many rules, for all of
/// them together; for one without id, by nothing.
pub(super) fn marks(alert: &Alert, topic: &TopicArn) -> Vec<AlertKey> {
    let Some(id) = &alert.id else { return Vec::new() };
    if alert.rules.len() > RULES_LIMIT {
        return AlertKey::of(alert, topic).into_iter().collect();
    }
    alert.rules.iter().map(|rule| AlertKey(id::hash([topic.as_str(), id, rule]))).collect()
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The alerts of the last quarter of an hour, within bounded memory, each with its time: wall-clock time, because an
/// environment may be frozen for hours between events.
///
/// Once it is full, it takes no more until old ones have expired. A retry brings the same alerts in the same order: a memory
/// that made room for the latest would have forgotten each of them just before it comes again.
#[derive(Default)]
pub(super) struct RecentAlerts(HashMap<AlertKey, SystemTime>);

impl RecentAlerts {
    pub(super) fn insert(&mut self, key: AlertKey, now: SystemTime) {
        if !self.is_full() {
            self.0.entry(key).or_insert(now);
        }
    }

    pub(super) fn contains(&self, key: AlertKey) -> bool {
        self.0.contains_key(&key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= COUNT_LIMIT
    }

    /// Forgets old alerts. Within an invocation none gets old: what it has sent, it does not send again.
    pub(super) fn expire(&mut self, now: SystemTime) {
        self.0.retain(|_, then| now.duration_since(*then).is_ok_and(|age| age <= TIME_LIMIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_remembered_for_a_while_and_within_bounds() {
        let mut recent = RecentAlerts::default();
        let (start, key) = (SystemTime::UNIX_EPOCH, |number: usize| AlertKey(number as u128));
        let later = start + TIME_LIMIT + Duration::from_secs(1);
        recent.insert(key(0), start);
        recent.expire(start + TIME_LIMIT);
        assert!(recent.contains(key(0)));
        recent.expire(later);
        assert!(!recent.contains(key(0)));
        // The same sequence, as a retry brings it: each time those that there was room for are known.
        for _ in 0..2 {
            (0..COUNT_LIMIT + 10).for_each(|number| recent.insert(key(number), start));
            let known = (0..COUNT_LIMIT + 10).filter(|number| recent.contains(key(*number)));
            assert_eq!(known.collect::<Vec<_>>(), (0..COUNT_LIMIT).collect::<Vec<_>>());
            assert!(recent.is_full());
        }
        recent.expire(later);
        recent.insert(key(COUNT_LIMIT), later);
        assert!(recent.contains(key(COUNT_LIMIT)) && !recent.is_full());
    }
}

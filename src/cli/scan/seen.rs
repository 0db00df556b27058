//! The events that logs have had: repeats in later logs are known before their alerts are written.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::rules::Hit;

/// The most events that are remembered, in about 40 MB. The logs that repeat an event are near each other.
const EVENTS_LIMIT: usize = 900_000;

/// The events of all logs, for the threads that read them.
#[derive(Default)]
pub(super) struct Seen(Mutex<Events>);

/// By what an event is known by: the first log that is known to have it.
#[derive(Default)]
pub(super) struct Events(HashMap<u128, usize, RandomState>);

/// What a match's event is known by. One that alerts is not a repeat of one that exceptions took, or a dry run.
pub(super) fn event(event: Option<u128>, hits: &[Hit<'_>]) -> Option<u128> {
    event.map(|event| event ^ u128::from(hits.iter().any(Hit::alerts)))
}

impl Seen {
    /// The events. Other threads wait meanwhile.
    pub(super) fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Notes that the log of this number has an event; gives whether it, or a log before it, has had the event.
    pub(super) fn note(&mut self, event: u128, log: usize) -> bool {
        if self.0.len() == EVENTS_LIMIT {
            self.0.clear();
        }
        let first = self.0.entry(event).or_insert(usize::MAX);
        let is_repeat = *first <= log;
        *first = log.min(*first);
        is_repeat
    }

    /// Whether a log before this one has an event. It is certain once the logs before it have been read.
    pub(super) fn is_in_earlier(&self, event: u128, log: usize) -> bool {
        self.0.get(&event).is_some_and(|first| *first < log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_one_of_the_same_log_or_of_an_earlier_one_in_any_order_of_reading() {
        let mut seen = Events::default();
        for (event, log, is_repeat) in
            [(1, 5, false), (1, 5, true), (1, 7, true), (1, 3, false), (1, 4, true), (2, 9, false)]
        {
            assert_eq!(seen.note(event, log), is_repeat, "{event} in {log}");
        }
        let earlier: Vec<_> = [3, 4, 5].map(|log| seen.is_in_earlier(1, log)).into();
        assert_eq!(earlier, [false, true, true]);
        assert!(!seen.is_in_earlier(2, 9) && !seen.is_in_earlier(3, 9));
        for event in 0..EVENTS_LIMIT as u128 {
            seen.note(event + 10, 10);
        }
        assert!(!seen.note(1, 11), "it forgets them");
    }
}

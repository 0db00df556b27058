//! The records that a thread has decided about: one that comes again, byte for byte, needs no second look.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// The most records that are remembered, in about 4 MB. Logs that repeat each other's records are near each other.
const LIMIT: usize = 110_000;

/// How many of the latest records tell whether records come again.
const LATEST: u32 = 200;

/// What became of records.
#[derive(Default)]
pub(super) struct Known {
    /// By a [key](Self::key).
    outcomes: HashMap<u64, Outcome, RandomState>,
    seed: RandomState,
    /// How many records were asked for, and how many of them were known; older ones count less.
    asked: u32,
    found: u32,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// No rule matches it.
    Unmatched,
    /// Rules match it, and it has an event that was noted for the log of this number.
    MatchedIn(usize),
}

impl Outcome {
    /// Whether the record would have the same outcome in a log, if it came there again.
    pub(super) fn holds_in(self, log: usize) -> bool {
        [Outcome::Unmatched, Outcome::MatchedIn(log)].contains(&self)
    }
}

impl Known {
    /// A hash with a seed that each run and thread chooses anew: nobody can write a record that passes for another one, to
    /// hide a match. By chance, one of 10^14 records has the key of another one.
    pub(super) fn key(&self, record: &[u8]) -> u64 {
        self.seed.hash_one(record)
    }

    pub(super) fn outcome(&mut self, key: u64) -> Option<Outcome> {
        let outcome = self.outcomes.get(&key).copied();
        if self.asked == LATEST {
            (self.asked, self.found) = (self.asked / 2, self.found / 2);
        }
        self.asked += 1;
        self.found += u32::from(outcome.is_some());
        outcome
    }

    /// Whether so many records come again that it is faster to ask for a record than to search it for what rules need. A few
    /// are enough, because until then only those that rules may match have been noted.
    pub(super) fn are_many(&self) -> bool {
        self.found >= self.asked / 8 || self.asked < LATEST / 2
    }

    pub(super) fn note(&mut self, key: u64, outcome: Outcome) {
        if self.outcomes.len() == LIMIT {
            self.outcomes.clear();
        }
        self.outcomes.insert(key, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_many_until_nearly_all_of_the_latest_are_new() {
        let mut known = Known::default();
        known.note(0, Outcome::Unmatched);
        let mut ask = |key| {
            (0..4 * LATEST).for_each(|_| _ = known.outcome(key));
            known.are_many()
        };
        assert_eq!([0, 1, 0, 1].map(&mut ask), [true, false, true, false]);
        assert!(Known::default().are_many());
    }

    #[test]
    fn the_same_bytes_have_the_same_outcome_within_bounds() {
        let mut known = Known::default();
        let [a, b, c] = ["a", "b", "c"].map(|record| known.key(record.as_bytes()));
        known.note(a, Outcome::Unmatched);
        known.note(b, Outcome::MatchedIn(1));
        known.note(b, Outcome::MatchedIn(2));
        assert_eq!(
            [a, b, c].map(|key| known.outcome(key)),
            [Some(Outcome::Unmatched), Some(Outcome::MatchedIn(2)), None]
        );
        assert_eq!([a, b, c], ["a", "b", "c"].map(|record| known.key(record.as_bytes())));
        assert_ne!(a, Known::default().key(b"a"), "another seed");
        let holds = |outcome: Outcome| [1, 2].map(|log| outcome.holds_in(log));
        assert_eq!([Outcome::Unmatched, Outcome::MatchedIn(2)].map(holds), [[true, true], [false, true]]);
        for number in 0..LIMIT as u64 {
            known.note(number, Outcome::Unmatched);
        }
        assert_eq!((known.outcome(a), known.outcomes.len() <= LIMIT), (None, true), "it forgets them");
    }
}

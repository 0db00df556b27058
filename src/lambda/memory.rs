//! The memory between logs, as the logs of an invocation and those of the next ones ask it.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::alert::Receipt;
use crate::evaluate::Pending;
use crate::memory::{Decision, Groups};

/// How much an environment remembers for itself, in bytes: some 30,000 groups.
const OWN_LIMIT: usize = 8 << 20;

/// The memory of an environment.
pub(super) struct Memory {
    own: RefCell<Groups>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Memory { own: Groups::new(OWN_LIMIT).into() }
    }

    /// Decides about matches of one log in their order; gives the decisions of each, by sighting.
    pub(super) async fn decide<'f>(&self, matches: &[Pending<'f>]) -> Vec<Vec<Decision<'f>>> {
        let (now, own) = (now(), &mut *self.own.borrow_mut());
        let decide = |pending: &Pending<'f>| pending.sightings().iter().map(|seen| own.decide(seen, now)).collect();
        matches.iter().map(decide).collect()
    }

    /// Notes that alerts were published.
    pub(super) async fn published(&self, receipts: &[Receipt]) {
        let own = &mut *self.own.borrow_mut();
        receipts.iter().for_each(|receipt| own.published(*receipt));
    }
}

/// The time on the clock, in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

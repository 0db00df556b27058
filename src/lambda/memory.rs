//! The memory between logs, as the logs of an invocation and those of the next ones ask it: in a table that environments
//! share, or in the environment alone.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use super::dedup::AlertKey;
use super::shared::Shared;
use crate::alert::Receipt;
use crate::aws::Table;
use crate::evaluate::Pending;
use crate::memory::{Decision, Groups};

/// How much an environment without a table remembers, in bytes: some 30,000 groups.
const OWN_LIMIT: usize = 8 << 20;

/// The memory of an environment.
pub(super) enum Memory {
    Own(RefCell<Groups>),
    Shared(Shared<Table>),
}

impl Memory {
    pub(super) fn new(table: Option<Table>) -> Self {
        table.map_or_else(|| Memory::Own(Groups::new(OWN_LIMIT).into()), |table| Memory::Shared(Shared::new(table)))
    }

    /// Begins an invocation.
    pub(super) fn begin(&self) {
        if let Memory::Shared(shared) = self {
            shared.begin();
        }
    }

    /// Whether the table has failed in this invocation.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self, Memory::Shared(shared) if shared.has_failed())
    }

    /// Decides about matches of one log in their order; gives the decisions of each, by sighting.
    pub(super) async fn decide<'f>(&self, matches: &[Pending<'f>], deadline: SystemTime) -> Vec<Vec<Decision<'f>>> {
        match self {
            Memory::Own(own) => {
                let (now, own) = (now(), &mut *own.borrow_mut());
                let decide =
                    |match_: &Pending<'f>| match_.sightings().iter().map(|seen| own.decide(seen, now)).collect();
                matches.iter().map(decide).collect()
            }
            // Boxed, because it is rare, and the future of a log would be as large as a request.
            Memory::Shared(shared) => Box::pin(shared.decide(matches, now(), deadline)).await,
        }
    }

    /// Notes that alerts were published which told something.
    pub(super) async fn note_told(&self, receipts: &[Receipt], deadline: SystemTime) {
        match self {
            Memory::Own(own) => receipts.iter().for_each(|receipt| own.borrow_mut().published(*receipt)),
            Memory::Shared(shared) => Box::pin(shared.note_told(receipts, deadline)).await,
        }
    }

    /// Those of a request's alerts that any environment is known to have published.
    pub(super) async fn published(&self, keys: &BTreeSet<AlertKey>, deadline: SystemTime) -> HashSet<AlertKey> {
        match self {
            Memory::Own(_) => HashSet::new(),
            Memory::Shared(shared) => Box::pin(shared.published(keys, now(), deadline)).await,
        }
    }

    /// Notes for all environments that alerts were published.
    pub(super) async fn note_published(&self, keys: &BTreeSet<AlertKey>, deadline: SystemTime) {
        if let Memory::Shared(shared) = self {
            Box::pin(shared.note_published(keys, now(), deadline)).await;
        }
    }
}

/// The time on the clock, in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

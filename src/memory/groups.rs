//! The groups that one process remembers for itself: an environment without a table, a scan, the tests of a rule.

use super::bounded::Bounded;
use super::group::{Group, Outcome};
use super::sighting::Sighting;
use crate::alert::{GroupId, Held, Receipt, Told};

/// Groups in bounded memory.
#[derive(Debug)]
pub(crate) struct Groups(Bounded<GroupId, Group>);

/// The decision about a rule's match.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision<'f> {
    pub(crate) held: bool,
    /// What its alert tells, by stage.
    pub(crate) told: Vec<Told<'f>>,
}

impl Groups {
    /// Of about so many bytes at most. What has not been used for longest is forgotten.
    pub(crate) fn new(bytes: usize) -> Self {
        Groups(Bounded::new(bytes))
    }

    /// Decides about a rule's match. `now` is the time on the clock, in seconds since 1970.
    pub(crate) fn decide<'f>(&mut self, sighting: &Sighting<'f>, now: u64) -> Decision<'f> {
        let mut decision = Decision::default();
        for (stage, group, sighted) in sighting.stages() {
            let outcome = self.change(group, |group| group.decide(stage, sighted, now));
            let receipt = Receipt { group, event: sighted.event };
            decision.add(outcome, |held| Told { rule: sighting.rule, stage, held, receipt });
            if decision.held {
                break;
            }
        }
        decision
    }

    /// Notes that an alert was published.
    pub(crate) fn published(&mut self, Receipt { group, event }: Receipt) {
        self.change(group, |group| group.published(event));
    }

    /// Whether half of its bytes have been enough for all groups, so that none can have been forgotten.
    pub(crate) fn has_all(&self) -> bool {
        self.0.has_all()
    }

    fn change<T>(&mut self, id: GroupId, change: impl FnOnce(&mut Group) -> T) -> T {
        let mut group = self.0.take(&id, Group::size).unwrap_or_default();
        let changed = change(&mut group);
        let size = group.size();
        self.0.put(id, group, size);
        changed
    }
}

impl<'f> Decision<'f> {
    /// Adds the outcome of a stage.
    pub(crate) fn add(&mut self, outcome: Outcome, told: impl FnOnce(Option<Held>) -> Told<'f>) {
        match outcome {
            Outcome::Held => self.held = true,
            Outcome::Passes(held) => self.told.push(told(held)),
        }
    }
}

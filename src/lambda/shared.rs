//! The memory between logs in a table that environments share. Where the table fails, everything of which it has not decided
//! passes, and the invocation asks it no more.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use super::dedup::AlertKey;
use crate::alert::{GroupId, Receipt, Told};
use crate::aws::dynamodb::{Item, READ_LIMIT, Table, Written};
use crate::evaluate::Pending;
use crate::memory::{Bounded, Decision, Group, Sighted, Sighting};
use crate::rules::Stage;

/// How much an environment remembers of the table's groups, in bytes: a known group takes a write, and no read.
const KNOWN_LIMIT: usize = 8 << 20;

/// How many groups are written at once.
const WRITES_AT_ONCE: usize = 10;

/// How often a group is decided anew because another environment has written it. Each time, one of them gets on.
const TRIES: u32 = 50;
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The most stages of a rule.
const STAGES: usize = 3;

/// How long published alerts are remembered, in seconds.
const PUBLISHED: u64 = 24 * 60 * 60;

/// The table's operations. An error says why it can't be used, and what to do.
pub(super) trait Store {
    fn name(&self) -> &str;
    /// As [`Table::groups`].
    async fn groups(&self, ids: &[String]) -> Result<HashMap<String, Item>, String>;
    /// As [`Table::put_group`].
    async fn put_group(&self, id: &str, item: &Item, known: Option<u64>) -> Result<Written, String>;
    /// As [`Table::published`].
    async fn published(&self, ids: &[String], now: u64) -> Result<HashSet<String>, String>;
    /// As [`Table::put_published`].
    async fn put_published(&self, ids: &[String], expires: u64) -> Result<(), String>;
}

impl Store for Table {
    fn name(&self) -> &str {
        &self.name
    }

    async fn groups(&self, ids: &[String]) -> Result<HashMap<String, Item>, String> {
        Table::groups(self, ids).await
    }

    async fn put_group(&self, id: &str, item: &Item, known: Option<u64>) -> Result<Written, String> {
        Table::put_group(self, id, item, known).await
    }

    async fn published(&self, ids: &[String], now: u64) -> Result<HashSet<String>, String> {
        Table::published(self, ids, now).await
    }

    async fn put_published(&self, ids: &[String], expires: u64) -> Result<(), String> {
        Table::put_published(self, ids, expires).await
    }
}

/// The memory in a table.
pub(super) struct Shared<S> {
    store: S,
    /// The groups as the table had them last. Behind one lock, so that the logs of an environment do not write the same group
    /// against each other.
    known: Mutex<Bounded<GroupId, Known>>,
    /// Whether the table has failed in this invocation.
    has_failed: Cell<bool>,
}

/// A group as the table has it.
#[derive(Debug, Clone, Default)]
struct Known {
    group: Group,
    /// `None` if the table has no item of it.
    revision: Option<u64>,
    expires: u64,
}

impl Known {
    fn of(id: &str, item: Option<Item>) -> Result<Self, String> {
        let Some(Item { revision, expires, state }) = item else { return Ok(Known::default()) };
        let group = serde_json::from_str(&state);
        let group = group.map_err(|e| format!("its item {id} can't be read ({e}); delete the item"))?;
        Ok(Known { group, revision: Some(revision), expires })
    }

    fn size(&self) -> usize {
        self.group.size() + size_of::<u64>() * 3
    }
}

impl<S: Store> Shared<S> {
    pub(super) fn new(store: S) -> Self {
        Shared { store, known: Bounded::new(KNOWN_LIMIT).into(), has_failed: Cell::new(false) }
    }

    /// Begins an invocation: it asks a table again that has failed before.
    pub(super) fn begin(&self) {
        self.has_failed.set(false);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    /// Decides about matches of one log in their order; gives the decisions of each, by sighting. `now` is the time on the
    /// clock, in seconds since 1970.
    pub(super) async fn decide<'f>(
        &self,
        matches: &[Pending<'f>],
        now: u64,
        deadline: SystemTime,
    ) -> Vec<Vec<Decision<'f>>> {
        let known = &mut *self.known.lock().await;
        let sightings: Vec<&Sighting<'f>> = matches.iter().flat_map(Pending::sightings).collect();
        let mut decisions: Vec<Decision<'f>> = sightings.iter().map(|_| Decision::default()).collect();
        for place in 0..STAGES {
            // By group, the numbers of the sightings that the stages before let pass.
            let mut groups: BTreeMap<GroupId, Vec<(usize, &Stage, Sighted<'_>)>> = BTreeMap::new();
            for (number, (sighting, decision)) in sightings.iter().zip(&decisions).enumerate() {
                if let Some((stage, group, sighted)) = sighting.stages().nth(place).filter(|_| !decision.held) {
                    groups.entry(group).or_default().push((number, stage, sighted));
                }
            }
            let groups: Vec<_> = groups.into_iter().collect();
            let decide = |known: &mut Known, matched: &Vec<(usize, &'f Stage, Sighted<'_>)>| {
                let decide = |(_, stage, sighted): &(usize, &'f Stage, Sighted<'_>)| {
                    known.expires = now + stage.span.duration().as_secs();
                    known.group.decide(stage, *sighted, now)
                };
                matched.iter().map(decide).collect::<Vec<_>>()
            };
            let outcomes = self.change(known, &groups, deadline, decide).await;
            for ((group, matched), outcomes) in groups.iter().zip(outcomes) {
                for ((number, stage, sighted), outcome) in matched.iter().zip(outcomes.into_iter().flatten()) {
                    if let (Some(decision), Some(sighting)) = (decisions.get_mut(*number), sightings.get(*number)) {
                        let receipt = Receipt { group: *group, event: sighted.event };
                        decision.add(outcome, |held| Told { rule: sighting.rule, stage, held, receipt });
                    }
                }
            }
        }
        let mut decisions = decisions.into_iter();
        matches.iter().map(|pending| decisions.by_ref().take(pending.sightings().len()).collect()).collect()
    }

    /// Notes that alerts were published which told something.
    pub(super) async fn note_told(&self, receipts: &[Receipt], deadline: SystemTime) {
        let known = &mut *self.known.lock().await;
        let mut groups: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
        for Receipt { group, event } in receipts {
            groups.entry(*group).or_default().push(*event);
        }
        let groups: Vec<_> = groups.into_iter().collect();
        let note = |known: &mut Known, events: &Vec<u64>| events.iter().for_each(|event| known.group.published(*event));
        self.change(known, &groups, deadline, note).await;
    }

    /// Those of the alerts of a request that were published within a day, by whatever environment.
    pub(super) async fn published(
        &self,
        keys: &BTreeSet<AlertKey>,
        now: u64,
        deadline: SystemTime,
    ) -> HashSet<AlertKey> {
        let ids: Vec<_> = keys.iter().map(published_id).collect();
        if ids.is_empty() {
            return HashSet::new();
        }
        let found = self.ask(deadline, self.store.published(&ids, now)).await.unwrap_or_default();
        keys.iter().zip(&ids).filter(|(_, id)| found.contains(*id)).map(|(key, _)| *key).collect()
    }

    /// Notes that alerts were published.
    pub(super) async fn note_published(&self, keys: &BTreeSet<AlertKey>, now: u64, deadline: SystemTime) {
        let ids: Vec<_> = keys.iter().map(published_id).collect();
        if !ids.is_empty() {
            self.ask(deadline, self.store.put_published(&ids, now + PUBLISHED)).await;
        }
    }

    /// Changes groups, and gives what came of those of which the table has taken the change. A change may be made several
    /// times, each time to what another environment has left.
    async fn change<E, T>(
        &self,
        known: &mut Bounded<GroupId, Known>,
        groups: &[(GroupId, E)],
        deadline: SystemTime,
        change: impl Fn(&mut Known, &E) -> T,
    ) -> Vec<Option<T>> {
        let mut results = Vec::new();
        // A group may take 40 KB.
        for groups in groups.chunks(READ_LIMIT) {
            let mut befores: Vec<_> = groups.iter().map(|(group, _)| known.take(group, Known::size)).collect();
            let unknown = groups.iter().zip(&befores).filter(|(_, before)| before.is_none());
            let unknown: Vec<_> = unknown.map(|((group, _), _)| group_id(*group)).collect();
            if !unknown.is_empty() {
                let read = async {
                    let mut items = self.store.groups(&unknown).await?;
                    unknown.iter().map(|id| Known::of(id, items.remove(id))).collect::<Result<Vec<_>, _>>()
                };
                let mut read = self.ask(deadline, read).await.unwrap_or_default().into_iter();
                befores.iter_mut().filter(|before| before.is_none()).for_each(|before| *before = read.next());
            }
            let change = &change;
            let changes = groups.iter().zip(befores).map(|((group, of), before)| async move {
                self.change_one(&group_id(*group), before?, deadline, |known| change(known, of)).await
            });
            let changed: Vec<_> = stream::iter(changes.collect::<Vec<_>>()).buffered(WRITES_AT_ONCE).collect().await;
            for ((group, _), changed) in groups.iter().zip(changed) {
                results.push(changed.map(|(after, result)| {
                    let size = after.size();
                    known.put(*group, after, size);
                    result
                }));
            }
        }
        results
    }

    async fn change_one<T>(
        &self,
        id: &str,
        mut before: Known,
        deadline: SystemTime,
        change: impl Fn(&mut Known) -> T,
    ) -> Option<(Known, T)> {
        for tries in 0..TRIES {
            let mut after = before.clone();
            let result = change(&mut after);
            if after.group == before.group {
                return Some((before, result));
            }
            // By its random part a write is known to be one's own.
            let revision = before.revision.unwrap_or(0).wrapping_add(fastrand::u64(1..1 << 32));
            after.revision = Some(revision);
            let put = async {
                let state = serde_json::to_string(&after.group).map_err(|e| e.to_string())?;
                let item = Item { revision, expires: after.expires, state };
                match self.store.put_group(id, &item, before.revision).await? {
                    Written::Done => Ok(None),
                    // The answer to the first attempt was lost, and the next one found what that had written.
                    Written::Conflict(Some(other)) if other.revision == revision => Ok(None),
                    Written::Conflict(other) => Known::of(id, other).map(Some),
                }
            };
            match self.ask(deadline, put).await? {
                None => return Some((after, result)),
                Some(other) => before = other,
            }
            let pause = LONGEST_PAUSE.min(Duration::from_millis(1 << tries.min(10)));
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
        }
        let cause = format!("others wrote its item {id} {TRIES} times in between");
        self.ask(deadline, async { Err(cause) }).await
    }

    /// Asks the table, unless it has failed before or the time is up. The first failure is logged.
    async fn ask<T>(&self, deadline: SystemTime, work: impl Future<Output = Result<T, String>>) -> Option<T> {
        if self.has_failed.get() {
            return None;
        }
        let done = if SystemTime::now() < deadline { work.await } else { Err("the time was up".to_owned()) };
        let log = |cause: &String| {
            if !self.has_failed.replace(true) {
                let table = self.store.name();
                tracing::error!(
                    kind = "StateUnavailable",
                    "the state table {table} can't be used: {cause}; the invocation sends all further alerts without asking it, so \
                     that some may be repeats"
                );
            }
        };
        done.inspect_err(log).ok()
    }
}

/// The id of a group's item.
fn group_id(group: GroupId) -> String {
    format!("g{group}")
}

/// The id of a published alert's item.
fn published_id(key: &AlertKey) -> String {
    format!("p{key}")
}

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
            let work = groups.iter().zip(befores).map(|((group, of), before)| async move {
                self.change_one(&group_id(*group), before?, deadline, |known| change(known, of)).await
            });
            let changed: Vec<_> = stream::iter(work.collect::<Vec<_>>()).buffered(WRITES_AT_ONCE).collect().await;
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
        let done = if SystemTime::now() < deadline {
            work.await
        } else {
            Err("it is too slow: the time for it was up".to_owned())
        };
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use futures_util::future::join_all;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio::task::yield_now;

    use super::*;
    use crate::evaluate::{Evaluator, Verdict};
    use crate::log::LogFile;
    use crate::rules::{Filter, Learned, Matcher, config};

    const NOW: u64 = 1_800_000_000;
    const SPAN: u64 = 600;

    /// In percent of the writes.
    #[derive(Debug, Clone, Copy)]
    struct Faults {
        /// Nothing is written.
        refused: u8,
        /// It is written, and nobody knows.
        silent: u8,
        /// It is written; the answer is lost, and that to the next attempt is that it is written already.
        lost: u8,
        /// The environment ends before its answer.
        deadly: u8,
    }

    const NO_FAULTS: Faults = Faults { refused: 0, silent: 0, lost: 0, deadly: 0 };

    struct Fake {
        items: RefCell<HashMap<String, Item>>,
        random: RefCell<fastrand::Rng>,
        faults: Faults,
        reads: RefCell<Vec<usize>>,
        writes: Cell<usize>,
    }

    impl Fake {
        fn new(seed: u64, faults: Faults) -> Rc<Self> {
            let random = fastrand::Rng::with_seed(seed).into();
            let (items, reads, writes) = (RefCell::default(), RefCell::default(), Cell::new(0));
            Rc::new(Fake { items, random, faults, reads, writes })
        }

        /// Lets the other environments get on.
        async fn turn(&self) {
            let turns = self.random.borrow_mut().u8(0..4);
            for _ in 0..turns {
                yield_now().await;
            }
        }

        fn happens(&self, percent: u8) -> bool {
            self.random.borrow_mut().u8(0..100) < percent
        }

        fn states(&self) -> Vec<Group> {
            self.items.borrow().values().map(|item| serde_json::from_str(&item.state).unwrap()).collect()
        }
    }

    impl Store for Rc<Fake> {
        fn name(&self) -> &'static str {
            "fake"
        }

        async fn groups(&self, ids: &[String]) -> Result<HashMap<String, Item>, String> {
            self.turn().await;
            self.reads.borrow_mut().push(ids.len());
            if self.happens(self.faults.refused) {
                return Err("refused".to_owned());
            }
            let found = ids.iter().filter_map(|id| Some((id.clone(), self.items.borrow().get(id)?.clone())));
            Ok(found.collect())
        }

        async fn put_group(&self, id: &str, item: &Item, known: Option<u64>) -> Result<Written, String> {
            self.turn().await;
            self.writes.update(|writes| writes + 1);
            if self.happens(self.faults.refused) {
                return Err("refused".to_owned());
            }
            let there = self.items.borrow().get(id).cloned();
            if there.as_ref().map(|there| there.revision) != known {
                self.turn().await;
                return Ok(Written::Conflict(there));
            }
            self.items.borrow_mut().insert(id.to_owned(), item.clone());
            if self.happens(self.faults.lost) {
                return Ok(Written::Conflict(Some(item.clone())));
            }
            self.turn().await;
            if self.happens(self.faults.deadly) {
                return std::future::pending().await;
            }
            if self.happens(self.faults.silent) {
                return Err("silent".to_owned());
            }
            Ok(Written::Done)
        }

        async fn published(&self, _ids: &[String], _now: u64) -> Result<HashSet<String>, String> {
            Ok(HashSet::new())
        }

        async fn put_published(&self, _ids: &[String], _expires: u64) -> Result<(), String> {
            Ok(())
        }
    }

    fn filter() -> Filter {
        let by = json!(["userIdentity.arn"]);
        let suppress = json!({ "by": by, "for": "10m" });
        let threshold = json!({ "by": by, "count": 3, "within": "10m" });
        let rules = json!([
            { "name": "suppress", "regexp": "", "source": "", "suppress": suppress },
            { "name": "both", "regexp": "", "source": "", "threshold": threshold, "suppress": suppress },
            { "name": "first", "regexp": "", "source": "", "firstSeen": { "by": by, "within": "10m" } },
        ]);
        let topic = Some("arn:aws:sns:us-east-1:123456789012:alerts");
        config::parse(json!({ "rules": rules }).to_string().as_bytes(), topic).unwrap()
    }

    /// Matches of a log: each by a caller, so many seconds after midnight.
    fn matches<'f>(filter: &'f Filter, name: &str, calls: &[(usize, u64)]) -> Vec<Pending<'f>> {
        let call = |(number, (caller, seconds)): (usize, &(usize, u64))| {
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            json!({
                "eventTime": format!("2026-11-20T{hours:02}:{minutes:02}:{seconds:02}Z"), "eventName": "A", "eventSource": "b",
                "eventID": format!("{name}-{number}"), "userIdentity": { "arn": caller.to_string() },
            })
        };
        let log = json!({ "Records": calls.iter().enumerate().map(call).collect::<Vec<_>>() }).to_string();
        let (mut log_file, learned) = (LogFile::default(), Learned::new(filter));
        let mut evaluator = Evaluator::new(Matcher::new(filter, &learned), "log", None);
        let log = log + &" ".repeat(100);
        let mut records = log_file.read(Some(log.as_bytes()));
        let mut matches = Vec::new();
        while let Some(record) = records.next().unwrap() {
            let Ok(Verdict::Pending(pending, _)) = evaluator.evaluate(&record) else {
                panic!("it waits for the memory")
            };
            matches.push(*pending);
        }
        matches
    }

    fn in_an_hour() -> SystemTime {
        SystemTime::now() + Duration::from_hours(1)
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// What became of the sightings of an environment.
    #[derive(Default)]
    struct Tally {
        sent: u64,
        told: u64,
        /// The (caller, seconds) of the alerts of the rule with `suppress` only.
        alerts: Vec<(usize, u64)>,
    }

    /// Handles logs one after the other, each again until the environment that does so lives to its end.
    async fn environment(fake: &Rc<Fake>, filter: &Filter, name: usize, logs: &[Vec<(usize, u64)>]) -> Tally {
        let mut tally = Tally::default();
        let mut shared = Shared::new(fake.clone());
        let life = if fake.faults.deadly > 0 { Duration::from_millis(30) } else { Duration::from_hours(1) };
        for (number, calls) in logs.iter().enumerate() {
            let matches = matches(filter, &format!("{name}-{number}"), calls);
            let decisions = loop {
                shared.begin();
                let decide = shared.decide(&matches, NOW, in_an_hour());
                let done = tokio::time::timeout(life, decide);
                match done.await {
                    Ok(decisions) => break decisions,
                    Err(_) => shared = Shared::new(fake.clone()),
                }
            };
            let mut receipts = Vec::new();
            for (call, decisions) in calls.iter().zip(decisions) {
                for (place, decision) in decisions.iter().enumerate().filter(|(_, decision)| !decision.held) {
                    tally.sent += 1;
                    tally.alerts.extend((place == 0).then_some(*call));
                    let told = decision.told.iter().filter(|told| told.held.is_some());
                    tally.told += told.clone().map(|told| told.held.unwrap().count).sum::<u64>();
                    receipts.extend(told.map(|told| told.receipt));
                }
            }
            let told = shared.note_told(&receipts, in_an_hour());
            if tokio::time::timeout(life, told).await.is_err() {
                shared = Shared::new(fake.clone());
            }
        }
        tally
    }

    /// What a group has still to tell: of the held matches, and of alerts that may not have been published.
    fn untold(group: &Group) -> [u64; 2] {
        let group = serde_json::to_value(group).unwrap();
        let tells = group["tells"].as_array().into_iter().flatten();
        let on_their_way = tells.filter_map(|tells| tells["held"]["count"].as_u64()).sum();
        [group["held"]["count"].as_u64().unwrap_or(0), on_their_way]
    }

    /// How many matches were sent or told, how many are untold, and the alerts of the first rule.
    fn play(fake: &Rc<Fake>, environments: &[Vec<Vec<(usize, u64)>>]) -> (u64, [u64; 2], Vec<(usize, u64)>) {
        let filter = filter();
        let running = environments.iter().enumerate().map(|(name, logs)| environment(fake, &filter, name, logs));
        let tallies = run(join_all(running));
        let untold = fake.states().iter().map(untold).fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]]);
        let alerts = tallies.iter().flat_map(|tally| tally.alerts.clone()).collect();
        (tallies.iter().map(|tally| tally.sent + tally.told).sum(), untold, alerts)
    }

    fn environments() -> impl Strategy<Value = Vec<Vec<Vec<(usize, u64)>>>> {
        let calls = prop::collection::vec((0..3_usize, 0..5_000_u64), 0..12);
        prop::collection::vec(prop::collection::vec(calls, 0..4), 1..5)
    }

    fn sightings(environments: &[Vec<Vec<(usize, u64)>>]) -> u64 {
        environments.iter().flatten().map(|calls| 3 * calls.len() as u64).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_match_of_several_environments_is_sent_or_told_once(environments in environments(), seed: u64) {
            let fake = Fake::new(seed, Faults { lost: 20, ..NO_FAULTS });
            let (told, untold, mut alerts) = play(&fake, &environments);
            prop_assert_eq!((told + untold[0], untold[1]), (sightings(&environments), 0));
            alerts.sort_unstable();
            let is_apart = |pair: &[(usize, u64)]| pair[0].0 != pair[1].0 || pair[1].1 - pair[0].1 >= SPAN;
            prop_assert!(alerts.windows(2).all(is_apart), "one alert a window: {:?}", alerts);
        }

        #[test]
        fn what_the_table_did_not_take_is_sent(environments in environments(), seed: u64) {
            let fake = Fake::new(seed, Faults { refused: 20, lost: 20, ..NO_FAULTS });
            let (told, untold, _) = play(&fake, &environments);
            prop_assert_eq!(told + untold[0], sightings(&environments));
        }

        #[test]
        fn no_fault_and_no_end_of_an_environment_leaves_a_match_out(environments in environments(), seed: u64) {
            let fake = Fake::new(seed, Faults { refused: 5, silent: 10, lost: 10, deadly: 2 });
            let (told, untold, _) = play(&fake, &environments);
            prop_assert!(told + untold[0] + untold[1] >= sightings(&environments), "{} {:?}", told, untold);
        }
    }

    #[test]
    fn groups_are_read_a_hundred_at_once_and_a_known_group_takes_a_write() {
        let (fake, filter) = (Fake::new(0, NO_FAULTS), filter());
        let shared = Shared::new(fake.clone());
        let calls: Vec<_> = (0..250).map(|number| (number % 125, number as u64)).collect();
        let decide = |name: &str| run(shared.decide(&matches(&filter, name, &calls), NOW, in_an_hour())).len();
        assert_eq!(decide("a"), 250);
        // Each of 125 callers has a group in each rule; those of the threshold let nothing pass.
        assert_eq!(*fake.reads.borrow(), [100, 100, 100, 75]);
        assert_eq!(fake.writes.replace(0), 375);
        decide("b");
        assert_eq!(fake.reads.borrow().len(), 4 + 2, "of the threshold's second stage");
        assert_eq!(fake.writes.get(), 375 + 125);
    }

    #[test]
    fn the_table_is_not_asked_again_after_a_failure_or_the_deadline_until_the_next_invocation() {
        let (fake, filter) = (Fake::new(0, Faults { refused: 100, ..NO_FAULTS }), filter());
        let shared = Shared::new(fake.clone());
        let matches = matches(&filter, "a", &[(0, 0), (0, 1), (1, 2)]);
        let all_pass = |deadline| {
            let decisions = run(shared.decide(&matches, NOW, deadline));
            assert!(decisions.iter().flatten().all(|decision| !decision.held && decision.told.is_empty()));
            assert!(shared.has_failed());
            fake.reads.borrow().len()
        };
        assert_eq!((all_pass(in_an_hour()), all_pass(in_an_hour())), (1, 1));
        shared.begin();
        assert!(!shared.has_failed());
        assert_eq!(all_pass(SystemTime::now()), 1);
        shared.begin();
        assert_eq!(all_pass(in_an_hour()), 2);
    }
}

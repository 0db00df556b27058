//! The alerts of one invocation on their way to SNS: sent in batches, and counted. Alerts that SNS took lately are not sent
//! again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::dedup::{AlertKey, COUNT_LIMIT, RecentAlerts, marks};
use super::memory::Memory;
use super::queues::{Admission, Batch, Entry, Queues};
use super::report::Report;
use crate::alert::{Alert, Receipt};
use crate::aws::sns::{Sns, TopicPublisher};
use crate::error::{Cause, Error};
use crate::log::S3Object;
use crate::rules::TopicArn;

/// The time that an invocation needs at its end for its report.
pub(super) const TIME_TO_REPORT: Duration = Duration::from_millis(500);

/// How often the clock is asked whether a batch is due, or a topic is stuck.
const TICK: Duration = Duration::from_millis(50);

pub(super) struct Outbox<'a> {
    deadline: SystemTime,
    memory: &'a Memory,
    state: RefCell<State<'a>>,
    /// Something may have to be sent.
    added: Notify,
    /// There may be room.
    left: Notify,
    /// No more alerts will come.
    is_closed: Cell<bool>,
}

struct State<'a> {
    /// `None` in a dry run: alerts are counted, and not sent.
    sns: Option<&'a mut Sns>,
    topics: HashMap<TopicArn, Rc<TopicPublisher>>,
    queues: Queues,
    /// The alerts that SNS took, of this invocation and of those before it.
    published: &'a mut RecentAlerts,
    /// The alerts of this invocation, whether or not SNS took them.
    added: RecentAlerts,
    counts: Report,
    failed: BTreeMap<(Rc<S3Object>, TopicArn), BTreeMap<Cause, u64>>,
    /// Those of alerts that were published now. What a repeat has to tell may be other than what was told when it was
    /// published, so that another alert is to tell it.
    receipts: Vec<Receipt>,
}

impl<'a> Outbox<'a> {
    /// All alerts will be sent, or given up, well before `deadline`, when Lambda kills the function.
    pub(super) fn new(
        sns: Option<&'a mut Sns>,
        published: &'a mut RecentAlerts,
        memory: &'a Memory,
        deadline: SystemTime,
    ) -> Self {
        published.expire(SystemTime::now());
        let state = State {
            sns,
            topics: HashMap::new(),
            queues: Queues::default(),
            published,
            added: RecentAlerts::default(),
            counts: Report::default(),
            failed: BTreeMap::new(),
            receipts: Vec::new(),
        };
        Outbox {
            deadline: deadline.checked_sub(TIME_TO_REPORT).unwrap_or(deadline),
            memory,
            state: RefCell::new(state),
            added: Notify::new(),
            left: Notify::new(),
            is_closed: Cell::new(false),
        }
    }

    /// Takes an alert about a record of `log`. It waits only while there is no room, and gives up an alert whose topic takes
    /// none, so that the alerts behind it get their turn.
    pub(super) async fn add(&self, alert: Alert, log: &Rc<S3Object>) {
        // Without a topic no configuration is usable.
        let Some(topic) = alert.topic.clone() else { return };
        tracing::debug!(%log, id = alert.id, rules = ?alert.rules, subject = alert.subject, "match");
        let key = AlertKey::of(&alert, &topic);
        if !self.state.borrow_mut().is_to_be_sent(key) {
            return;
        }
        let mut entry = Entry { alert, topic, log: log.clone(), key };
        loop {
            let left = pin!(self.left.notified());
            let admission = self.state.borrow_mut().queues.admit(entry, Instant::now());
            match admission {
                Admission::Taken => break,
                Admission::Refused(refused) => {
                    return self.state.borrow_mut().fail(refused, NOT_TRIED);
                }
                Admission::Wait(waiting) => entry = waiting,
            }
            let Ok(time_left) = self.deadline.duration_since(SystemTime::now()) else {
                return self.state.borrow_mut().fail(entry, "the time was up before they could be sent");
            };
            timeout(TICK.min(time_left), left).await.ok();
        }
        self.added.notify_one();
        // There is one thread. A log whose bytes are all there would be read to its end before a request goes out.
        tokio::task::yield_now().await;
    }

    /// Forgets which alerts were published: a changed configuration makes new messages of the same events.
    pub(super) fn forget_published(&self) {
        *self.state.borrow_mut().published = RecentAlerts::default();
    }

    /// Does the work, which adds alerts; publishes them meanwhile, and the rest when it is done.
    pub(super) async fn publish_all<T>(&self, work: impl Future<Output = T>) -> T {
        let work = async {
            let done = work.await;
            self.is_closed.set(true);
            self.added.notify_one();
            done
        };
        let (done, ()) = tokio::join!(biased; work, self.publish());
        done
    }

    /// Publishes until no more alerts come and all have been answered.
    async fn publish(&self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while let Some(batch) = self.next_batch() {
                under_way.push(self.send(batch));
            }
            if self.is_closed.get() && under_way.is_empty() && self.state.borrow().queues.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(()) = under_way.next() => {}
                () = self.added.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn next_batch(&self) -> Option<Batch> {
        let state = &mut *self.state.borrow_mut();
        let batch = state.queues.next(Instant::now(), self.is_closed.get());
        for entry in mem::take(&mut state.queues.given_up) {
            state.fail(entry, TAKEN_BY_OTHERS);
            self.left.notify_waiters();
        }
        batch
    }

    /// Sends a batch, less what other environments have sent, and counts what became of it.
    async fn send(&self, Batch { mut entries, mut given_up }: Batch) {
        let Some(topic) = entries.first().and_then(|first| self.state.borrow_mut().topic(&first.topic)) else { return };
        let marks = |entry: &Entry| marks(&entry.alert, &entry.topic);
        let published = self.memory.published(&entries.iter().flat_map(marks).collect(), self.deadline).await;
        let is_new = |entry: &&Entry| {
            let marks = marks(entry);
            marks.is_empty() || !marks.iter().all(|mark| published.contains(mark))
        };
        entries.sort_by_key(|entry| !is_new(&entry));
        let alerts: Vec<&Alert> = entries.iter().take_while(is_new).map(|entry| &entry.alert).collect();
        let repeated = alerts.len();
        // Also when the rest is given up, what SNS took counts.
        let is_taken = RefCell::new(vec![false; alerts.len()]);
        let taken = |number: usize| {
            if let (Some(entry), Some(is_taken)) = (entries.get(number), is_taken.borrow_mut().get_mut(number)) {
                *is_taken = true;
                self.state.borrow_mut().taken(entry);
            }
        };
        let results = tokio::select! {
            biased;
            () = async {}, if alerts.is_empty() => Vec::new(),
            _ = given_up.wait_for(|given_up| *given_up) => vec![Err(Cause::from(TAKEN_BY_OTHERS)); alerts.len()],
            results = Box::pin(topic.publish(&alerts, self.deadline, &taken)) =>
                results.into_iter().map(|result| result.map_err(Into::into)).collect(),
        };
        let mut taken = BTreeSet::new();
        {
            let state = &mut *self.state.borrow_mut();
            state.queues.done(&entries);
            entries.drain(repeated..).for_each(|entry| state.repeated(&entry));
            for ((entry, result), is_taken) in entries.into_iter().zip(results).zip(is_taken.into_inner()) {
                match result {
                    Err(cause) if !is_taken => state.fail(entry, cause),
                    _ => taken.extend(marks(&entry)),
                }
            }
            self.left.notify_waiters();
        }
        self.memory.note_published(&taken, self.deadline).await;
    }

    /// Adds the counts to the report, and gives the failures, and the receipts of what was published.
    pub(super) fn finish(self, report: &mut Report) -> (Vec<Error>, Vec<Receipt>) {
        let State { counts, failed, published, receipts, .. } = self.state.into_inner();
        report.alerts += counts.alerts;
        report.published += counts.published;
        report.duplicates += counts.duplicates;
        report.unsent += counts.unsent;
        report.delay = counts.delay;
        report.failed += failed.values().flat_map(BTreeMap::values).sum::<u64>();
        if published.is_full() {
            tracing::warn!(
                "{COUNT_LIMIT} alerts were published within 15 minutes: without a state table, a retry may repeat all beyond \
                 these"
            );
        }
        let errors = |((log, topic), causes): ((Rc<S3Object>, TopicArn), BTreeMap<Cause, u64>)| {
            causes.into_iter().map(move |(cause, alerts)| Error::PublishFailed {
                log: Some((*log).clone()),
                topic: topic.as_str().to_owned(),
                alerts,
                cause,
            })
        };
        (failed.into_iter().flat_map(errors).collect(), receipts)
    }
}

/// The most different causes that a log's errors about a topic name.
const CAUSES: usize = 3;

const OTHER_CAUSES: &str = "the causes differ; the other errors about the topic name some of them";

const NOT_TRIED: &str = "they were not tried, since SNS had taken none of the topic's alerts for 5 s; see the other errors about \
     the topic";

const TAKEN_BY_OTHERS: &str = "SNS had not taken them for some seconds, and other topics needed their place; it may have \
     taken messages without an answer, and a retry may then send them twice";

impl State<'_> {
    /// Counts an alert, and tells whether it is to be sent.
    fn is_to_be_sent(&mut self, key: Option<AlertKey>) -> bool {
        self.counts.alerts += 1;
        let is_known = key.is_some_and(|key| self.added.contains(key) || self.published.contains(key));
        if let Some(key) = key {
            self.added.insert(key, SystemTime::now());
        }
        let is_unsent = !is_known && self.sns.is_none();
        self.counts.duplicates += u64::from(is_known);
        self.counts.unsent += u64::from(is_unsent);
        !is_known && !is_unsent
    }

    fn topic(&mut self, arn: &TopicArn) -> Option<Rc<TopicPublisher>> {
        let sns = self.sns.as_mut()?;
        Some(self.topics.entry(arn.clone()).or_insert_with(|| Rc::new(sns.topic(arn, Duration::ZERO))).clone())
    }

    /// Counts and remembers an alert that SNS took.
    fn taken(&mut self, entry: &Entry) {
        self.queues.progressed(&entry.topic, Instant::now());
        let now = SystemTime::now();
        self.counts.published += 1;
        self.receipts.extend(&entry.alert.receipts);
        let time = entry.alert.time.as_ref().and_then(|time| humantime::parse_rfc3339(time).ok());
        let delay = time.and_then(|time| now.duration_since(time).ok());
        self.counts.delay = self.counts.delay.max(delay.map(|delay| delay.as_secs()));
        if let Some(key) = entry.key {
            self.published.insert(key, now);
        }
    }

    /// Counts and remembers an alert that another environment has published.
    fn repeated(&mut self, entry: &Entry) {
        self.queues.progressed(&entry.topic, Instant::now());
        self.counts.duplicates += 1;
        if let Some(key) = entry.key {
            self.published.insert(key, SystemTime::now());
        }
    }

    fn fail(&mut self, Entry { topic, log, .. }: Entry, cause: impl Into<Cause>) {
        let cause = cause.into();
        let causes = self.failed.entry((log, topic)).or_default();
        let is_named = causes.len() < CAUSES || causes.contains_key(&cause);
        *causes.entry(if is_named { cause } else { OTHER_CAUSES.into() }).or_default() += 1;
    }
}

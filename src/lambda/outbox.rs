//! The alerts of one invocation on their way to SNS: gathered into batches, and counted. Alerts that SNS took lately are
//! not sent again.

use std::collections::BTreeMap;
use std::future::ready;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinError, JoinSet};

use super::dedup::{AlertKey, RecentAlerts};
use super::report::Report;
use crate::alert::{Alert, SIZE_LIMIT};
use crate::aws::sns::{BATCH_LIMIT, REQUESTS_AT_ONCE, RequestLimit, Sns};
use crate::error::Error;
use crate::log::S3Object;
use crate::rules::TopicArn;

/// The time that an invocation needs at its end for its report.
const TIME_TO_REPORT: Duration = Duration::from_millis(500);

pub(super) struct Outbox<'a> {
    sns: &'a mut Sns,
    /// The alerts that SNS took, of this invocation and of those before it.
    published: &'a mut RecentAlerts,
    /// The alerts of this invocation, whether or not SNS took them.
    added: RecentAlerts,
    deadline: SystemTime,
    /// Alerts that wait for a full batch, by topic.
    waiting: BTreeMap<TopicArn, Vec<Entry>>,
    under_way: JoinSet<Vec<Delivery>>,
    request_limit: Arc<RequestLimit>,
    counts: Counts,
    failed: BTreeMap<Refusal, u64>,
}

#[derive(Default)]
struct Counts {
    alerts: u64,
    published: u64,
    duplicates: u64,
    /// The longest time from an event to its publishing.
    delay: Option<Duration>,
}

struct Entry {
    alert: Alert,
    topic: TopicArn,
    log: Arc<S3Object>,
    key: Option<AlertKey>,
}

/// An alert and SNS's answer: why it was not taken.
struct Delivery {
    entry: Entry,
    result: Result<(), String>,
}

/// Alerts that failed alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    log: Arc<S3Object>,
    topic: TopicArn,
    cause: String,
}

impl<'a> Outbox<'a> {
    /// All alerts will be sent, or given up, well before `deadline`, when Lambda kills the function.
    pub(super) fn new(sns: &'a mut Sns, published: &'a mut RecentAlerts, deadline: SystemTime) -> Self {
        Outbox {
            sns,
            published,
            added: RecentAlerts::default(),
            deadline: deadline.checked_sub(TIME_TO_REPORT).unwrap_or(deadline),
            waiting: BTreeMap::new(),
            under_way: JoinSet::new(),
            request_limit: RequestLimit::new(),
            counts: Counts::default(),
            failed: BTreeMap::new(),
        }
    }

    /// Takes an alert about a record of `log`, and sends a batch once there is enough for one. It waits only while as many
    /// requests as are allowed are under way. Smaller batches go out in [`publish_while`](Self::publish_while).
    pub(super) async fn add(&mut self, alert: Alert, log: &Arc<S3Object>) {
        // Without a topic no configuration is usable.
        let Some(topic) = alert.topic.clone() else { return };
        tracing::debug!(%log, id = alert.id, rules = ?alert.rules, subject = alert.subject, "match");
        self.counts.alerts += 1;
        let key = AlertKey::of(&alert, &topic);
        if let Some(key) = key {
            let now = SystemTime::now();
            if self.added.contains(key, now) || self.published.contains(key, now) {
                self.counts.duplicates += 1;
                return;
            }
            self.added.insert(key, now);
        }
        let batch = self.waiting.entry(topic.clone()).or_default();
        let is_full = batch.iter().map(|entry| entry.alert.size()).sum::<usize>() + alert.size() > SIZE_LIMIT;
        let mut ready = if is_full { mem::take(batch) } else { Vec::new() };
        batch.push(Entry { alert, topic, log: log.clone(), key });
        if batch.len() == BATCH_LIMIT {
            ready = mem::take(batch);
        }
        self.send(ready).await;
    }

    /// Forgets which alerts were published: a changed configuration makes new messages of the same events.
    pub(super) fn forget_published(&mut self) {
        *self.published = RecentAlerts::default();
    }

    /// Awaits work that is not SNS's, and meanwhile sends batches that are not full whenever no request is under way. This
    /// is [Nagle's algorithm](https://www.rfc-editor.org/rfc/rfc896): the first alert goes out at once, and of very many
    /// alerts no more than one request for each topic in a round trip is not full.
    pub(super) async fn publish_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(deliveries) = self.under_way.join_next() => self.delivered(deliveries),
                () = ready(()), if self.under_way.is_empty() && !self.waiting.is_empty() => self.send_all().await,
            }
        }
    }

    /// Sends the rest, waits for all answers, adds the counts to the report, and gives the failures.
    pub(super) async fn finish(&mut self, report: &mut Report) -> Vec<Error> {
        self.send_all().await;
        while let Some(deliveries) = self.under_way.join_next().await {
            self.delivered(deliveries);
        }
        report.alerts += self.counts.alerts;
        report.published += self.counts.published;
        report.duplicates += self.counts.duplicates;
        report.delay = self.counts.delay.map(|delay| delay.as_secs());
        report.failed += self.failed.values().sum::<u64>();
        let error = |(Refusal { log, topic, cause }, alerts): (Refusal, u64)| Error::PublishFailed {
            log: (*log).clone(),
            topic: topic.as_str().to_owned(),
            alerts,
            cause,
        };
        mem::take(&mut self.failed).into_iter().map(error).collect()
    }

    async fn send_all(&mut self) {
        for batch in mem::take(&mut self.waiting).into_values() {
            self.send(batch).await;
        }
    }

    /// Sends a batch of alerts for one topic.
    async fn send(&mut self, batch: Vec<Entry>) {
        let Some(first) = batch.first() else { return };
        while self.under_way.len() >= REQUESTS_AT_ONCE
            && let Some(deliveries) = self.under_way.join_next().await
        {
            self.delivered(deliveries);
        }
        let (topic, request_limit, deadline) =
            (self.sns.topic(&first.topic), self.request_limit.clone(), self.deadline);
        self.under_way.spawn(async move {
            let alerts: Vec<&Alert> = batch.iter().map(|entry| &entry.alert).collect();
            let results = topic.publish(&alerts, &request_limit, deadline).await;
            batch.into_iter().zip(results).map(|(entry, result)| Delivery { entry, result }).collect()
        });
        // There is one thread. A log whose bytes are all there would be read to its end before the request goes out.
        tokio::task::yield_now().await;
    }

    fn delivered(&mut self, deliveries: Result<Vec<Delivery>, JoinError>) {
        // A task that panicked took its entries with it: `finish` would count too few. Nothing in it panics; should
        // it, the panic is passed on, and the invocation ends in an error.
        let deliveries = match deliveries {
            Ok(deliveries) => deliveries,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => return,
        };
        let now = SystemTime::now();
        for Delivery { entry: Entry { alert, topic, log, key }, result } in deliveries {
            match result {
                Ok(()) => {
                    self.counts.published += 1;
                    let time = alert.time.and_then(|time| humantime::parse_rfc3339(&time).ok());
                    self.counts.delay = self.counts.delay.max(time.and_then(|time| now.duration_since(time).ok()));
                    if let Some(key) = key {
                        self.published.insert(key, now);
                    }
                }
                Err(cause) => *self.failed.entry(Refusal { log, topic, cause }).or_default() += 1,
            }
        }
    }
}

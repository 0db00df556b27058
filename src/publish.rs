//! Sending alerts: ten to a request, several requests at once, and again what failed for no fault of its own.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::ready;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sns::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sns::error::{BoxError, BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish_batch::{PublishBatchError, PublishBatchOutput};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::alert::{Alert, SIZE_LIMIT};
use crate::error::{Error, with_causes};
use crate::filter::TopicArn;
use crate::report::Report;

/// The most messages of [a request](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html).
const BATCH: usize = 10;

/// The most requests under way at once, and the most batches that are on their way or wait to be tried again: 1,000
/// alerts then take seven round trips. A region's quota may be less; see [`Pace`].
const REQUESTS_AT_ONCE: usize = 16;

/// How often a message is offered before it counts as failed. With the pauses between, about 12 seconds.
const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What an invocation needs at its end to say what became of it.
const TIME_TO_REPORT: Duration = Duration::from_millis(500);

/// How long, and how many, published messages are remembered.
const MEMORY_TIME: Duration = Duration::from_mins(15);
const MEMORY_LIMIT: usize = 50_000;

/// Sends alerts to SNS. Lives as long as the execution environment.
pub struct Publisher {
    config: SdkConfig,
    /// By region: a topic takes requests in its own only.
    clients: Mutex<HashMap<String, Client>>,
    published: Mutex<Memory>,
    hasher: RandomState,
}

impl Publisher {
    /// Sends with this configuration, in the region of each topic.
    #[must_use]
    pub fn new(config: SdkConfig) -> Self {
        Publisher { config, clients: Mutex::default(), published: Mutex::default(), hasher: RandomState::new() }
    }

    /// Forgets what was published: what a changed configuration makes of a record is a new message.
    pub fn forget(&self) {
        *lock(&self.published) = Memory::default();
    }

    /// Opens a connection to SNS in the function's own region, where most topics are. The request that does it is not
    /// signed and names no topic: SNS refuses it without knowing whose it is, so it needs no permission, costs nothing
    /// and is in nobody's trail.
    pub async fn connect(&self) {
        let Some(region) = self.config.region() else { return };
        // Whatever is wrong, the first alert will tell.
        let _ = self.client(region.as_ref()).publish_batch().customize().interceptor(Unsigned).send().await;
    }

    fn client(&self, region: &str) -> Client {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let config = aws_sdk_sns::config::Builder::from(&self.config)
            .region(Region::new(region.to_owned()))
            // Retries are made here, where requests and entries of requests that failed are treated alike, and where
            // SNS's own codes for throttling are known.
            .retry_config(RetryConfig::disabled())
            .build();
        let client = Client::from_conf(config);
        clients.insert(region.to_owned(), client.clone());
        client
    }
}

/// Takes a request's signature away.
#[derive(Debug)]
struct Unsigned;

impl Intercept for Unsigned {
    fn name(&self) -> &'static str {
        "Unsigned"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
            headers.remove(name);
        }
        Ok(())
    }
}

/// A lock whose data no panic can have left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was published, by topic and eventID, of the last quarter of an hour. Only hashes are kept: that one of 50,000
/// random 64-bit numbers comes up again is less likely than a message lost by SNS.
#[derive(Default)]
struct Memory {
    known: HashSet<u64>,
    /// The same, oldest first. Wall-clock time, because an environment may be frozen for hours between events.
    order: VecDeque<(SystemTime, u64)>,
}

impl Memory {
    fn insert(&mut self, key: u64, now: SystemTime) {
        if self.known.insert(key) {
            self.order.push_back((now, key));
        }
        while self.order.len() > MEMORY_LIMIT {
            self.drop_oldest();
        }
    }

    fn contains(&mut self, key: u64, now: SystemTime) -> bool {
        let stale = |then: SystemTime| now.duration_since(then).map_or(true, |age| age > MEMORY_TIME);
        while self.order.front().is_some_and(|(then, _)| stale(*then)) {
            self.drop_oldest();
        }
        self.known.contains(&key)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}

/// The alerts of one invocation on their way.
pub struct Outbox<'a> {
    publisher: &'a Publisher,
    /// When the invocation must be over.
    deadline: SystemTime,
    /// Alerts that wait until a request is full, by topic.
    waiting: BTreeMap<TopicArn, Vec<Entry>>,
    under_way: JoinSet<Vec<(Entry, Outcome)>>,
    pace: Arc<Pace>,
    /// What this invocation has taken, whether or not SNS has.
    taken: Memory,
    alerts: u64,
    published: u64,
    duplicates: u64,
    /// The longest from an event to its publishing.
    delay: Option<Duration>,
    /// By log, topic and cause.
    failed: BTreeMap<(String, TopicArn, String), u64>,
}

/// A message on its way.
struct Entry {
    alert: Alert,
    topic: TopicArn,
    log: String,
    /// By which repeats are known; `None` for a record without eventID.
    key: Option<u64>,
}

enum Outcome {
    Published,
    Failed(String),
}

impl<'a> Outbox<'a> {
    /// Nothing to send yet, and all to be sent or given up well before `deadline`, when Lambda kills the function.
    #[must_use]
    pub fn new(publisher: &'a Publisher, deadline: SystemTime) -> Self {
        Outbox {
            publisher,
            deadline: deadline.checked_sub(TIME_TO_REPORT).unwrap_or(deadline),
            waiting: BTreeMap::new(),
            under_way: JoinSet::new(),
            pace: Arc::default(),
            taken: Memory::default(),
            alerts: 0,
            published: 0,
            duplicates: 0,
            delay: None,
            failed: BTreeMap::new(),
        }
    }

    /// Takes an alert about a record of `log`, and starts a request when there is enough for one. Waits only while as
    /// many requests as are allowed are under way. What is not enough for one goes out [meanwhile](Self::meanwhile).
    pub async fn add(&mut self, alert: Alert, log: &str) {
        // Without a topic no configuration is in force.
        let Some(topic) = alert.topic.clone() else { return };
        self.alerts += 1;
        // With the rules: another bucket may have a configuration that makes something else of the same event.
        let key = alert.id.as_ref().map(|id| self.publisher.hasher.hash_one((&topic, id, &alert.rules)));
        if let Some(key) = key {
            let now = SystemTime::now();
            if self.taken.contains(key, now) || lock(&self.publisher.published).contains(key, now) {
                self.duplicates += 1;
                return;
            }
            self.taken.insert(key, now);
        }
        let batch = self.waiting.entry(topic.clone()).or_default();
        let full = batch.iter().map(|entry| entry.alert.size()).sum::<usize>() + alert.size() > SIZE_LIMIT;
        let ready = if full { mem::take(batch) } else { Vec::new() };
        batch.push(Entry { alert, topic: topic.clone(), log: log.to_owned(), key });
        let next = if batch.len() == BATCH { mem::take(batch) } else { Vec::new() };
        for batch in [ready, next] {
            self.send(batch).await;
        }
    }

    /// Does what waits for something else than SNS, and meanwhile sends what is not enough for a full request whenever
    /// none is under way. This is [Nagle's algorithm](https://www.rfc-editor.org/rfc/rfc896): the first alert goes out
    /// at once, and of very many no more than one request for each topic in a round trip is not full.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(answer) = self.under_way.join_next() => self.answered(answer),
                () = ready(()), if self.under_way.is_empty() && !self.waiting.is_empty() => self.send_all().await,
            }
        }
    }

    /// Sends what is left, waits for all answers, adds the counts to the report, and gives what failed.
    pub async fn finish(mut self, report: &mut Report) -> Vec<Error> {
        self.send_all().await;
        while let Some(answer) = self.under_way.join_next().await {
            self.answered(answer);
        }
        report.alerts += self.alerts;
        report.published += self.published;
        report.duplicates += self.duplicates;
        report.delay = self.delay.map(|delay| delay.as_secs());
        report.failed += self.failed.values().sum::<u64>();
        let error = |((log, topic, cause), alerts): ((String, TopicArn, String), u64)| Error::PublishFailed {
            log,
            topic: topic.to_string(),
            alerts,
            cause,
        };
        self.failed.into_iter().map(error).collect()
    }

    async fn send_all(&mut self) {
        for batch in mem::take(&mut self.waiting).into_values() {
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<Entry>) {
        let Some(first) = batch.first() else { return };
        while self.under_way.len() >= REQUESTS_AT_ONCE
            && let Some(answer) = self.under_way.join_next().await
        {
            self.answered(answer);
        }
        let client = self.publisher.client(first.topic.region());
        self.under_way.spawn(deliver(client, batch, self.pace.clone(), self.deadline));
        // There is one thread: a log whose bytes are all there would be read to its end before the request goes out.
        tokio::task::yield_now().await;
    }

    fn answered(&mut self, answer: Result<Vec<(Entry, Outcome)>, JoinError>) {
        // A task that panicked took its entries with it: `finish` would count too few. Nothing in it panics; should
        // it, the panic is passed on, and the invocation ends in an error.
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => return,
        };
        let now = SystemTime::now();
        for (entry, outcome) in outcomes {
            match outcome {
                Outcome::Published => {
                    self.published += 1;
                    let time = entry.alert.time.and_then(|time| humantime::parse_rfc3339(&time).ok());
                    let delay = time.and_then(|time| now.duration_since(time).ok());
                    self.delay = self.delay.max(delay);
                    if let Some(key) = entry.key {
                        lock(&self.publisher.published).insert(key, now);
                    }
                }
                Outcome::Failed(cause) => *self.failed.entry((entry.log, entry.topic, cause)).or_default() += 1,
            }
        }
    }
}

/// How many requests may be under way: half as many as before whenever SNS throttles, since a region's quota may be as
/// low as [300 messages a second](https://docs.aws.amazon.com/general/latest/gr/sns.html) for all that publish there;
/// one more with every request that it takes.
struct Pace(watch::Sender<Places>);

struct Places {
    allowed: usize,
    taken: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace(watch::Sender::new(Places { allowed: REQUESTS_AT_ONCE, taken: 0 }))
    }
}

impl Pace {
    /// Waits for a place, which is free again when [`answered`](Self::answered) is told.
    async fn place(&self) {
        let mut changes = self.0.subscribe();
        let take = |places: &mut Places| {
            let free = places.taken < places.allowed;
            places.taken += usize::from(free);
            free
        };
        while !self.0.send_if_modified(take) {
            // It can't fail: the sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    fn answered(&self, failures: &[Option<Failure>]) {
        let throttled = failures.iter().flatten().any(|failure| failure.kind == Kind::Throttled);
        let good = failures.iter().all(Option::is_none);
        self.0.send_modify(|places| {
            places.taken -= 1;
            if throttled {
                places.allowed = (places.allowed / 2).max(1);
            } else if good {
                places.allowed = (places.allowed + 1).min(REQUESTS_AT_ONCE);
            }
        });
    }
}

/// Sends one topic's messages, at most as many as a request may hold, until each is taken or refused for good.
async fn deliver(
    client: Client,
    mut entries: Vec<Entry>,
    pace: Arc<Pace>,
    deadline: SystemTime,
) -> Vec<(Entry, Outcome)> {
    let mut done = Vec::new();
    for attempt in 1.. {
        // Other environments may be throttled at the same moment: they must not come back at the same moment, too.
        let pause = FIRST_PAUSE.saturating_mul(1 << attempt).min(LONGEST_PAUSE).mul_f64(fastrand::f64());
        let failures = attempt_once(&client, &entries, &pace, deadline).await;
        let goes_on = attempt < ATTEMPTS && SystemTime::now() + pause < deadline;
        let mut again = Vec::new();
        for (entry, failure) in mem::take(&mut entries).into_iter().zip(failures) {
            match failure {
                None => done.push((entry, Outcome::Published)),
                Some(failure) if failure.kind != Kind::Lasting && goes_on => again.push(entry),
                Some(failure) => done.push((entry, Outcome::Failed(failure.cause))),
            }
        }
        if again.is_empty() {
            break;
        }
        entries = again;
        tokio::time::sleep(pause).await;
    }
    done
}

/// Why a message was not taken.
#[derive(Clone)]
struct Failure {
    kind: Kind,
    cause: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Trying again may help.
    Passing,
    /// So may it, and all the more if there are fewer requests.
    Throttled,
    /// Trying again is no use.
    Lasting,
}

/// One request; for each entry, why it was not taken, or `None`.
async fn attempt_once(client: &Client, entries: &[Entry], pace: &Pace, deadline: SystemTime) -> Vec<Option<Failure>> {
    let all = |failure: Failure| vec![Some(failure); entries.len()];
    let Some(topic) = entries.first().map(|entry| entry.topic.as_str()) else { return Vec::new() };
    let batch = match entries.iter().enumerate().map(|(i, entry)| request_entry(i, &entry.alert)).collect() {
        Ok(batch) => batch,
        Err(e) => return all(Failure { kind: Kind::Lasting, cause: format!("no request could be made ({e})") }),
    };
    let time_left = || deadline.duration_since(SystemTime::now()).unwrap_or_default();
    if time_left().is_zero() || tokio::time::timeout(time_left(), pace.place()).await.is_err() {
        return all(Failure { kind: Kind::Passing, cause: "the time was up before they could be sent".to_owned() });
    }
    let request = client.publish_batch().topic_arn(topic).set_publish_batch_request_entries(Some(batch)).send();
    let failures = match tokio::time::timeout(time_left(), request).await {
        Ok(Ok(output)) => refused(&output, entries.len()),
        Ok(Err(e)) => all(request_failure(&e)),
        Err(_) => all(Failure { kind: Kind::Passing, cause: "SNS had not answered when the time was up".to_owned() }),
    };
    pace.answered(&failures);
    failures
}

fn request_entry(id: usize, alert: &Alert) -> Result<PublishBatchRequestEntry, BuildError> {
    let mut entry = PublishBatchRequestEntry::builder().id(id.to_string()).subject(&alert.subject).message(&alert.body);
    for attribute in &alert.attributes {
        let value = MessageAttributeValue::builder().data_type(attribute.data_type).string_value(&attribute.value);
        entry = entry.message_attributes(attribute.name, value.build()?);
    }
    if alert.topic.as_ref().is_some_and(TopicArn::is_fifo) {
        let group = alert.account.as_deref().filter(|account| is_fifo_id(account)).unwrap_or("unknown");
        entry = entry.message_group_id(group).message_deduplication_id(deduplication_id(alert.id.as_deref()));
    }
    entry.build()
}

/// By which a FIFO topic knows repeats: the eventID. Other ids become a hash, the same in every environment; what has
/// none is no repeat of anything.
fn deduplication_id(id: Option<&str>) -> String {
    match id {
        Some(id) if is_fifo_id(id) => id.to_owned(),
        Some(id) => {
            let hash = |half: u8| {
                let mut hasher = DefaultHasher::new();
                (half, id).hash(&mut hasher);
                hasher.finish()
            };
            format!("{:016x}{:016x}", hash(0), hash(1))
        }
        None => format!("{:032x}", fastrand::u128(..)),
    }
}

/// Whether SNS takes a text as a [group or deduplication id](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).
fn is_fifo_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A request that succeeds may hold entries that did not.
fn refused(output: &PublishBatchOutput, count: usize) -> Vec<Option<Failure>> {
    // An entry that the answer does not mention was not taken, as far as anyone knows.
    let unknown = Failure { kind: Kind::Passing, cause: "SNS did not say what became of them".to_owned() };
    let mut failures = vec![Some(unknown); count];
    for taken in output.successful() {
        if let Some(failure) = taken.id().and_then(|id| failures.get_mut(id.parse::<usize>().ok()?)) {
            *failure = None;
        }
    }
    for refused in output.failed() {
        let said = format!("SNS said {}: {}", refused.code(), refused.message().unwrap_or("no reason"));
        if let Some(failure) = refused.id().parse::<usize>().ok().and_then(|i| failures.get_mut(i)) {
            let kind = match (is_throttling(refused.code()), refused.sender_fault()) {
                (true, _) => Kind::Throttled,
                (false, false) => Kind::Passing,
                (false, true) => Kind::Lasting,
            };
            *failure = Some(Failure { kind, cause: said });
        }
    }
    failures
}

fn request_failure(error: &SdkError<PublishBatchError>) -> Failure {
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        let lasting = matches!(error, SdkError::ConstructionFailure(_));
        let kind = if lasting { Kind::Lasting } else { Kind::Passing };
        return Failure { kind, cause: format!("SNS could not be reached ({})", with_causes(error)) };
    };
    let code = error.code().unwrap_or_default();
    let kind = match status {
        429 | 503 => Kind::Throttled,
        _ if is_throttling(code) => Kind::Throttled,
        500.. => Kind::Passing,
        _ if matches!(error, SdkError::ResponseError(_)) => Kind::Passing,
        _ => Kind::Lasting,
    };
    let advice = match (status, code) {
        (_, code) if code.starts_with("KMS") && !is_throttling(code) => {
            "; the topic is encrypted: allow the function's role kms:GenerateDataKey and kms:Decrypt on its key"
        }
        (403, _) => "; allow the function's role sns:Publish on the topic",
        (404, _) => "; the topic does not exist: correct the ARN in the configuration, or TOPIC_ARN",
        _ => "",
    };
    let message = error.message().unwrap_or("no reason");
    Failure { kind, cause: format!("SNS said {status} {code}: {message}{advice}") }
}

/// SNS's codes for throttling, of which the SDK knows only some.
fn is_throttling(code: &str) -> bool {
    matches!(code, "Throttled" | "ThrottledException" | "Throttling" | "ThrottlingException" | "RequestThrottled")
        || matches!(code, "KMSThrottling" | "KMSThrottlingException" | "TooManyRequestsException")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_remembered_for_a_while_and_within_bounds() {
        let mut memory = Memory::default();
        let start = SystemTime::UNIX_EPOCH;
        memory.insert(0, start);
        assert!(memory.contains(0, start + MEMORY_TIME));
        assert!(!memory.contains(0, start + MEMORY_TIME + Duration::from_secs(1)));
        for key in 0..=MEMORY_LIMIT as u64 {
            memory.insert(key, start);
        }
        assert!(!memory.contains(0, start) && memory.contains(1, start));
        assert_eq!((memory.known.len(), memory.order.len()), (MEMORY_LIMIT, MEMORY_LIMIT));
    }

    #[test]
    fn fifo_topics_know_repeats_by_a_valid_id() {
        let long = "x".repeat(200);
        assert_eq!(deduplication_id(Some("5a1e05f5")), "5a1e05f5");
        for id in [long.as_str(), "summary of a in b", "ü"] {
            assert!(is_fifo_id(&deduplication_id(Some(id))));
            assert_eq!(deduplication_id(Some(id)), deduplication_id(Some(id)));
        }
        assert_ne!(deduplication_id(Some(&long)), deduplication_id(Some("ü")));
        assert_ne!(deduplication_id(None), deduplication_id(None));
    }
}

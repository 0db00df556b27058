//! Publishing to SNS: ten alerts to a request, and again those that failed for no fault of their own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish_batch::{PublishBatchError, PublishBatchOutput};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::no_answer::{had_no_connection, no_answer, with_causes, without_request_ids};
use crate::alert::{Alert, id};
use crate::error::Cause;
use crate::rules::TopicArn;

/// The most messages of [a request](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html).
pub(crate) const BATCH_LIMIT: usize = 10;

/// The most requests to a topic at once: 1,000 alerts then take seven round trips. A region's quota may allow fewer; see
/// [`RequestLimit`].
pub(crate) const REQUESTS_AT_ONCE: usize = 16;

/// The attempts at a message before it counts as failed. The random pauses between them take 16 seconds at most.
const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The time that SNS has for an answer, which usually takes a fraction of a second: after each silence twice as long. A
/// request without an answer may have been taken, and its messages may then come twice; so it is sent three times at most.
const TIME_TO_ANSWER: Duration = Duration::from_secs(8);
const SILENCES: u32 = 3;

/// After so many refused requests whose messages were refused one by one, too, a topic seems to refuse everything.
const SPLITS_IN_VAIN: u32 = 2;

/// The most messages of one refused request that are sent on their own at once: each has a connection.
const SINGLES_AT_ONCE: usize = 4;

/// Publishes to topics of any region.
pub struct Sns {
    config: SdkConfig,
    /// By region: a topic takes requests in its own only.
    clients: HashMap<String, Client>,
}

impl Sns {
    /// Publishes with this configuration, whatever its region.
    pub fn new(config: SdkConfig) -> Self {
        Sns { config, clients: HashMap::new() }
    }

    /// For one invocation: what it learns about the topic may have changed by the next one. Before it sends a message again it
    /// pauses for so long at least.
    pub(crate) fn topic(&mut self, arn: &TopicArn, least_pause: Duration) -> TopicPublisher {
        let new = || {
            // The time for an answer is not always the same; see `TIME_TO_ANSWER`.
            let timeouts = self.config.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
            let config = aws_sdk_sns::config::Builder::from(&self.config)
                .region(Region::new(arn.region().to_owned()))
                .timeout_config(timeouts.disable_read_timeout().build())
                // Retries are made here: requests that failed and entries of requests that failed are treated alike,
                // and SNS's own codes for throttling are known.
                .retry_config(RetryConfig::disabled());
            Client::from_conf(config.build())
        };
        let client = self.clients.entry(arn.region().to_owned()).or_insert_with(new).clone();
        let (permits, allowed) = (Semaphore::new(REQUESTS_AT_ONCE), Cell::new(REQUESTS_AT_ONCE));
        let request_limit = RequestLimit { permits, allowed, taken: Cell::new(0) };
        let (arn, has_taken, splits_in_vain) = (arn.clone(), Cell::new(false), Mutex::new(0));
        TopicPublisher { client, arn, least_pause, request_limit, has_taken, splits_in_vain }
    }
}

/// The number of requests that may be under way at once to a topic: one fewer with every request that SNS throttles, and one
/// more when it has taken as many as are allowed. A region's quota may be as low as
/// [300 messages a second](https://docs.aws.amazon.com/general/latest/gr/sns.html) for everybody who publishes there.
struct RequestLimit {
    permits: Semaphore,
    allowed: Cell<usize>,
    /// How many requests SNS took since the limit changed.
    taken: Cell<usize>,
}

impl RequestLimit {
    fn answered(&self, permit: SemaphorePermit<'_>, failures: &[Option<Kind>]) {
        let allowed = self.allowed.get();
        if failures.contains(&Some(Kind::Throttled)) {
            self.taken.set(0);
            if allowed > 1 {
                permit.forget();
                self.allowed.set(allowed - 1);
            }
        } else if failures.iter().all(Option::is_none) {
            self.taken.set(self.taken.get() + 1);
            if self.taken.get() >= allowed && allowed < REQUESTS_AT_ONCE {
                self.taken.set(0);
                self.permits.add_permits(1);
                self.allowed.set(allowed + 1);
            }
        }
    }
}

/// The reason why a message was not taken, and what to do.
#[derive(Clone)]
pub(crate) struct Failure {
    kind: Kind,
    pub(crate) cause: String,
}

impl Failure {
    pub(crate) fn is_lasting(&self) -> bool {
        self.kind >= Kind::Refused
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        let is_lasting = failure.is_lasting();
        Cause::new(failure.cause, is_lasting)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Passing,
    /// SNS asks for fewer requests.
    Throttled,
    /// Nobody knows whether SNS took it.
    Silent,
    /// Another attempt would fail too, as would all that follow; but one message of several may be the cause.
    Refused,
    Lasting,
}

pub(crate) struct TopicPublisher {
    client: Client,
    pub(crate) arn: TopicArn,
    least_pause: Duration,
    request_limit: RequestLimit,
    has_taken: Cell<bool>,
    /// The requests that it refused, and then each of their messages too. Held while another one is split.
    splits_in_vain: Mutex<u32>,
}

/// The messages of one batch, known by their numbers in it.
struct Sending<'a> {
    alerts: &'a [&'a Alert],
    /// For a FIFO topic. One that is made up must be the same in every attempt.
    deduplication_ids: Vec<String>,
    deadline: SystemTime,
    /// Is told the number of each alert that SNS takes.
    taken: &'a dyn Fn(usize),
    results: RefCell<Vec<Result<(), Failure>>>,
}

impl Sending<'_> {
    fn answered(&self, number: usize, answer: Result<(), Failure>) {
        if answer.is_ok() {
            (self.taken)(number);
        }
        if let Some(result) = self.results.borrow_mut().get_mut(number) {
            *result = answer;
        }
    }

    fn failure(&self, number: usize) -> Option<Kind> {
        self.results.borrow().get(number)?.as_ref().err().map(|failure| failure.kind)
    }

    /// Takes what SNS says of a request that it did not refuse as a whole.
    fn answered_one_by_one(&self, output: &PublishBatchOutput) {
        for taken in output.successful() {
            if let Some(number) = taken.id().and_then(|id| id.parse().ok()) {
                self.answered(number, Ok(()));
            }
        }
        for refused in output.failed() {
            let kind = match (is_throttling(refused.code()), refused.sender_fault()) {
                (true, _) => Kind::Throttled,
                (false, false) => Kind::Passing,
                (false, true) => Kind::Lasting,
            };
            let message = without_request_ids(refused.message().unwrap_or("no reason"));
            let cause = format!("SNS answered {}: {message}", refused.code());
            if let Ok(number) = refused.id().parse() {
                self.answered(number, Err(Failure { kind, cause }));
            }
        }
    }

    fn entry(&self, number: usize) -> Option<PublishBatchRequestEntry> {
        let alert = self.alerts.get(number)?;
        let mut entry = PublishBatchRequestEntry::builder().id(number.to_string());
        entry = entry.subject(&alert.subject).message(&alert.body);
        for attribute in &alert.attributes {
            let value = MessageAttributeValue::builder().data_type(attribute.data_type).string_value(&attribute.value);
            entry = entry.message_attributes(attribute.name, value.build().ok()?);
        }
        if let Some(id) = self.deduplication_ids.get(number) {
            let group = alert.account.as_deref().filter(|account| is_fifo_id(account)).unwrap_or("unknown");
            entry = entry.message_group_id(group).message_deduplication_id(id);
        }
        entry.build().ok()
    }
}

impl TopicPublisher {
    /// Publishes a batch, until each message is taken or refused for good, or the time is up. Tells `taken` the number of
    /// each message as soon as SNS has taken it. Gives for each message why it was not taken.
    pub(crate) async fn publish(
        &self,
        alerts: &[&Alert],
        deadline: SystemTime,
        taken: &dyn Fn(usize),
    ) -> Vec<Result<(), Failure>> {
        let id = |alert: &&Alert| deduplication_id(alert.id.as_deref());
        let deduplication_ids = if self.arn.is_fifo() { alerts.iter().map(id).collect() } else { Vec::new() };
        let unsent = Failure { kind: Kind::Passing, cause: "the time was up before they could be sent".to_owned() };
        let results = RefCell::new(vec![Err(unsent); alerts.len()]);
        let sending = Sending { alerts, deduplication_ids, deadline, taken, results };
        let silences = self.attempts(&sending, (0..alerts.len()).collect(), 0).await;
        let is_refused = |number: &usize| sending.failure(*number) == Some(Kind::Refused);
        let refused: Vec<usize> = (0..alerts.len()).filter(is_refused).collect();
        if refused.len() > 1 {
            self.split(&sending, &refused, silences).await;
        }
        sending.results.into_inner()
    }

    /// Sends each message of a refused request on its own. One may be the cause of all, for example one that the topic's data
    /// protection policy denies. If there is another cause, single requests won't help: after some batches, one message of
    /// each further batch goes first.
    async fn split(&self, sending: &Sending<'_>, refused: &[usize], silences: u32) {
        let lock = if self.has_taken.get() { None } else { Some(self.splits_in_vain.lock().await) };
        let lock = lock.filter(|_| !self.has_taken.get());
        let probes = if lock.as_ref().is_some_and(|in_vain| **in_vain >= SPLITS_IN_VAIN) { 1 } else { refused.len() };
        // The other batches wait only while nobody knows whether it refuses everything.
        let lock = RefCell::new(lock.filter(|_| probes > 1));
        let alone = async |number: &usize| {
            self.attempts(sending, vec![*number], silences).await;
            if self.has_taken.get() {
                lock.take();
            }
        };
        let (first, rest) = refused.split_at(probes);
        stream::iter(first).for_each_concurrent(SINGLES_AT_ONCE, &alone).await;
        if self.has_taken.get() {
            stream::iter(rest).for_each_concurrent(SINGLES_AT_ONCE, &alone).await;
        }
        if let Some(mut in_vain) = lock.take() {
            *in_vain += u32::from(refused.iter().all(|number| sending.failure(*number) == Some(Kind::Refused)));
        }
    }

    /// Sends these alerts in one request, and again what failed for no fault of its own. Takes and gives how often SNS was
    /// silent about them.
    async fn attempts(&self, sending: &Sending<'_>, mut open: Vec<usize>, mut silences: u32) -> u32 {
        for attempt in 1.. {
            // Other environments may be throttled at the same moment: they must not come back at the same moment, too.
            let pause = FIRST_PAUSE.saturating_mul(1 << (attempt - 1)).min(LONGEST_PAUSE).mul_f64(fastrand::f64());
            let pause = pause.max(self.least_pause);
            let Some(failures) = self.publish_once(sending, &open, silences).await else { break };
            silences += u32::from(failures.contains(&Some(Kind::Silent)));
            open.retain(|number| sending.failure(*number).is_some_and(|kind| kind < Kind::Refused));
            let goes_on = attempt < ATTEMPTS && silences < SILENCES && SystemTime::now() + pause < sending.deadline;
            if open.is_empty() || !goes_on {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        silences
    }

    /// Sends a request, or none if the time is up before it could go out. Gives what failed of it.
    async fn publish_once(&self, sending: &Sending<'_>, numbers: &[usize], silences: u32) -> Option<Vec<Option<Kind>>> {
        let time_left = || sending.deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let permit = tokio::time::timeout(time_left(), self.request_limit.permits.acquire()).await.ok()?.ok()?;
        if time_left().is_zero() {
            return None;
        }
        let entries = numbers.iter().filter_map(|number| sending.entry(*number)).collect();
        let request = self.client.publish_batch().topic_arn(self.arn.as_str());
        let request = request.set_publish_batch_request_entries(Some(entries)).send();
        let time_to_answer = TIME_TO_ANSWER * (1 << silences);
        let time = time_to_answer.min(time_left());
        let (output, failure) = match tokio::time::timeout(time, request).await {
            // A message that the output does not mention was not taken, as far as anyone knows.
            Ok(Ok(output)) => {
                (Some(output), Failure { kind: Kind::Passing, cause: "SNS did not say what became of them".to_owned() })
            }
            Ok(Err(e)) => (None, request_failure(&e)),
            Err(_) if time < time_to_answer => (None, silent("SNS had not answered when the time was up")),
            Err(_) => (None, silent(&format!("SNS had not answered after {} s", time.as_secs()))),
        };
        for number in numbers {
            sending.answered(*number, Err(failure.clone()));
        }
        if let Some(output) = output {
            sending.answered_one_by_one(&output);
        }
        let failures: Vec<_> = numbers.iter().map(|number| sending.failure(*number)).collect();
        self.has_taken.set(self.has_taken.get() || failures.contains(&None));
        self.request_limit.answered(permit, &failures);
        Some(failures)
    }
}

fn silent(what: &str) -> Failure {
    let cause = format!("{what}; it may have taken the messages, and a retry may then send them twice");
    Failure { kind: Kind::Silent, cause }
}

/// The id by which a FIFO topic knows repeats: the eventID. Ids of another form are hashed; an alert without id repeats nothing.
fn deduplication_id(id: Option<&str>) -> String {
    match id {
        Some(id) if is_fifo_id(id) => id.to_owned(),
        Some(id) => format!("{:032x}", id::hash([id])),
        None => format!("{:032x}", fastrand::u128(..)),
    }
}

/// Whether SNS takes a text as a [group or deduplication id](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).
fn is_fifo_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn request_failure(error: &SdkError<PublishBatchError>) -> Failure {
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        let causes = with_causes(error);
        return match error {
            SdkError::ConstructionFailure(_) => Failure { kind: Kind::Lasting, cause: no_answer("SNS", error) },
            _ if had_no_connection(&causes) => Failure { kind: Kind::Passing, cause: no_answer("SNS", error) },
            // The request may have arrived before the connection broke.
            _ => silent(&format!("SNS did not answer ({causes})")),
        };
    };
    if status < 300 {
        return silent(&format!("SNS answered {status}, and the answer can't be read ({})", with_causes(error)));
    }
    let code = error.code().unwrap_or_default();
    let (kind, hint) = match (status, code) {
        (429 | 503, _) => (Kind::Throttled, ""),
        _ if is_throttling(code) => (Kind::Throttled, ""),
        (500.., _) => (Kind::Passing, ""),
        // The signature of the next attempt is a new one.
        (_, "RequestTimeTooSkewed" | "RequestExpired") => {
            (Kind::Passing, "; the request's signature was too old: it may have waited for a connection")
        }
        _ if matches!(error, SdkError::ResponseError(_)) => (Kind::Passing, ""),
        (_, "KMSAccessDenied" | "KMSAccessDeniedException") => (
            Kind::Refused,
            "; the topic is encrypted: allow the function's role kms:GenerateDataKey and kms:Decrypt on its key (in the \
             stack: name the key in MoreKmsKeyArns, or in KmsKeyArn for the stack's own topics), and check the key's policy",
        ),
        (_, code) if code.starts_with("KMS") => {
            (Kind::Refused, "; the topic is encrypted: check that its KMS key exists and is enabled")
        }
        (403, "AuthorizationError" | "AccessDenied" | "AccessDeniedException") => (
            Kind::Refused,
            "; allow the function's role sns:Publish on the topic (in the stack: name it in MoreTopicArns), and check the \
             topic's policy, and its data protection policy, if it has one",
        ),
        (404, _) => (
            Kind::Lasting,
            "; the topic does not exist: correct its ARN in the configuration or in the function's environment",
        ),
        _ => (Kind::Refused, ""),
    };
    let message = without_request_ids(error.message().unwrap_or("no reason"));
    let answer = format!("{status} {code}");
    Failure { kind, cause: format!("SNS answered {}: {message}{hint}", answer.trim_end()) }
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

//! Publishing to SNS: ten alerts to a request, and again those that failed for no fault of their own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_sns::Client;
use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish_batch::{PublishBatchError, PublishBatchOutput};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::no_answer::{no_answer, with_causes};
use crate::alert::{Alert, id};
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

    /// For one invocation: what it learns about the topic may have changed by the next one.
    pub(crate) fn topic(&mut self, arn: &TopicArn) -> TopicPublisher {
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
        let (request_limit, refuses_all) = (RequestLimit::new(), tokio::sync::Mutex::new(false));
        TopicPublisher { client, arn: arn.clone(), request_limit, has_taken: Cell::new(false), refuses_all }
    }
}

/// The number of requests that may be under way at once to a topic: half as many as before whenever SNS throttles,
/// one more with every request that it takes. A region's quota may be as low as
/// [300 messages a second](https://docs.aws.amazon.com/general/latest/gr/sns.html) for everybody who publishes there.
struct RequestLimit {
    permits: Semaphore,
    count: RefCell<PermitCount>,
}

struct PermitCount {
    allowed: usize,
    /// Permits that are too many: a semaphore can't revoke them. They are taken back when their requests are answered.
    surplus: usize,
}

impl RequestLimit {
    fn new() -> Self {
        let count = RefCell::new(PermitCount { allowed: REQUESTS_AT_ONCE, surplus: 0 });
        RequestLimit { permits: Semaphore::new(REQUESTS_AT_ONCE), count }
    }

    fn answered(&self, permit: SemaphorePermit<'_>, answers: &[Result<(), Failure>]) {
        let PermitCount { allowed, surplus } = &mut *self.count.borrow_mut();
        if answers.iter().any(|answer| matches!(answer, Err(failure) if failure.kind == Kind::Throttled)) {
            let fewer = (*allowed / 2).max(1);
            *surplus += *allowed - fewer;
            *surplus -= self.permits.forget_permits(*surplus);
            *allowed = fewer;
        } else if answers.iter().all(Result::is_ok) && *allowed < REQUESTS_AT_ONCE {
            *allowed += 1;
            if *surplus > 0 { *surplus -= 1 } else { self.permits.add_permits(1) }
        }
        if *surplus > 0 {
            *surplus -= 1;
            permit.forget();
        }
    }
}

/// The reason why a message was not taken.
#[derive(Clone)]
struct Failure {
    kind: Kind,
    cause: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Another attempt may succeed.
    Passing,
    /// Another attempt may succeed. SNS asks for fewer requests.
    Throttled,
    /// Nobody knows whether SNS took it.
    Silent,
    /// Another attempt would fail too, perhaps because of one message of several.
    Refused,
    /// Another attempt would fail too.
    Lasting,
}

/// Publishes to one topic.
pub(crate) struct TopicPublisher {
    client: Client,
    arn: TopicArn,
    request_limit: RequestLimit,
    has_taken: Cell<bool>,
    /// Whether it refused each message of a request that it had refused. Held while that is found out.
    refuses_all: tokio::sync::Mutex<bool>,
}

impl TopicPublisher {
    /// Publishes a batch, until each message is taken or refused for good, or the time is up. Gives for each message why
    /// it was not taken, and what to do.
    pub(crate) async fn publish(&self, alerts: &[&Alert], deadline: SystemTime) -> Vec<Result<(), String>> {
        let mut results = self.attempts(alerts, deadline).await;
        let is_refused = |result: &Result<_, Failure>| matches!(result, Err(failure) if failure.kind == Kind::Refused);
        let refused: Vec<usize> = (0..results.len()).filter(|i| is_refused(&results[*i])).collect();
        if refused.len() > 1 {
            // One message may be the cause of all, for example one that the topic's data protection policy denies. If
            // there is another cause, single requests won't help, and those of one batch are enough to know it.
            let mut refuses_all = self.refuses_all.lock().await;
            if !*refuses_all || self.has_taken.get() {
                for i in &refused {
                    results[*i] = self.attempts(&[alerts[*i]], deadline).await.pop().unwrap_or(Ok(()));
                }
                *refuses_all = refused.iter().all(|i| is_refused(&results[*i]));
            }
        }
        results.into_iter().map(|result| result.map_err(|failure| failure.cause)).collect()
    }

    /// Sends one request, and again what failed for no fault of its own.
    async fn attempts(&self, alerts: &[&Alert], deadline: SystemTime) -> Vec<Result<(), Failure>> {
        let mut results = vec![Ok(()); alerts.len()];
        let mut open: Vec<usize> = (0..alerts.len()).collect();
        let mut silences = 0;
        for attempt in 1.. {
            // Other environments may be throttled at the same moment: they must not come back at the same moment, too.
            let pause = FIRST_PAUSE.saturating_mul(1 << (attempt - 1)).min(LONGEST_PAUSE).mul_f64(fastrand::f64());
            let batch: Vec<&Alert> = open.iter().map(|i| alerts[*i]).collect();
            let answers = self.publish_once(&batch, TIME_TO_ANSWER * (1 << silences), deadline).await;
            silences += u32::from(answers.iter().any(|answer| matches!(answer, Err(f) if f.kind == Kind::Silent)));
            let goes_on = attempt < ATTEMPTS && silences < SILENCES && SystemTime::now() + pause < deadline;
            let mut again = Vec::new();
            for (i, answer) in open.into_iter().zip(answers) {
                match answer {
                    Err(Failure { kind: Kind::Passing | Kind::Throttled | Kind::Silent, .. }) if goes_on => {
                        again.push(i);
                    }
                    answer => results[i] = answer,
                }
            }
            if again.is_empty() {
                break;
            }
            open = again;
            tokio::time::sleep(pause).await;
        }
        results
    }

    async fn publish_once(
        &self,
        alerts: &[&Alert],
        time_to_answer: Duration,
        deadline: SystemTime,
    ) -> Vec<Result<(), Failure>> {
        let all = |kind, cause: String| vec![Err(Failure { kind, cause }); alerts.len()];
        let time_left = || deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let permit = tokio::time::timeout(time_left(), self.request_limit.permits.acquire()).await;
        let (Ok(Ok(permit)), false) = (permit, time_left().is_zero()) else {
            return all(Kind::Passing, "the time was up before they could be sent".to_owned());
        };
        let batch = match alerts.iter().enumerate().map(|(i, alert)| self.entry(i, alert)).collect() {
            Ok(batch) => batch,
            Err(e) => return all(Kind::Lasting, format!("no request could be made ({})", BuildError::to_string(&e))),
        };
        let request = self.client.publish_batch().topic_arn(self.arn.as_str());
        let request = request.set_publish_batch_request_entries(Some(batch)).send();
        let time = time_to_answer.min(time_left());
        let answers = match tokio::time::timeout(time, request).await {
            Ok(Ok(output)) => answers(&output, alerts.len()),
            Ok(Err(e)) => vec![Err(request_failure(&e)); alerts.len()],
            Err(_) => {
                let when = if time < time_to_answer {
                    "when the time was up".to_owned()
                } else {
                    format!("after {} s", time.as_secs())
                };
                all(Kind::Silent, format!("SNS had not answered {when}; {MAY_BE_TAKEN}"))
            }
        };
        self.has_taken.set(self.has_taken.get() || answers.iter().any(Result::is_ok));
        self.request_limit.answered(permit, &answers);
        answers
    }

    fn entry(&self, number: usize, alert: &Alert) -> Result<PublishBatchRequestEntry, BuildError> {
        let mut entry = PublishBatchRequestEntry::builder().id(number.to_string());
        entry = entry.subject(&alert.subject).message(&alert.body);
        for attribute in &alert.attributes {
            let value = MessageAttributeValue::builder().data_type(attribute.data_type).string_value(&attribute.value);
            entry = entry.message_attributes(attribute.name, value.build()?);
        }
        if self.arn.is_fifo() {
            let group = alert.account.as_deref().filter(|account| is_fifo_id(account)).unwrap_or("unknown");
            entry = entry.message_group_id(group).message_deduplication_id(deduplication_id(alert.id.as_deref()));
        }
        entry.build()
    }
}

const MAY_BE_TAKEN: &str = "it may have taken the messages, and a retry may then send them twice";

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

/// The answers in SNS's output: a request that succeeds may hold entries that did not.
fn answers(output: &PublishBatchOutput, count: usize) -> Vec<Result<(), Failure>> {
    // An entry that the output does not mention was not taken, as far as anyone knows.
    let unknown = Failure { kind: Kind::Passing, cause: "SNS did not say what became of them".to_owned() };
    let mut answers = vec![Err(unknown); count];
    for taken in output.successful() {
        if let Some(answer) = taken.id().and_then(|id| answers.get_mut(id.parse::<usize>().ok()?)) {
            *answer = Ok(());
        }
    }
    for refused in output.failed() {
        let cause = format!("SNS answered {}: {}", refused.code(), refused.message().unwrap_or("no reason"));
        if let Some(answer) = refused.id().parse::<usize>().ok().and_then(|i| answers.get_mut(i)) {
            let kind = match (is_throttling(refused.code()), refused.sender_fault()) {
                (true, _) => Kind::Throttled,
                (false, false) => Kind::Passing,
                (false, true) => Kind::Lasting,
            };
            *answer = Err(Failure { kind, cause });
        }
    }
    answers
}

fn request_failure(error: &SdkError<PublishBatchError>) -> Failure {
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        let lasting = matches!(error, SdkError::ConstructionFailure(_));
        let kind = if lasting { Kind::Lasting } else { Kind::Passing };
        return Failure { kind, cause: no_answer("SNS", error) };
    };
    if status < 300 {
        let cause =
            format!("SNS answered {status}, and the answer can't be read ({}); {MAY_BE_TAKEN}", with_causes(error));
        return Failure { kind: Kind::Silent, cause };
    }
    let code = error.code().unwrap_or_default();
    let kind = match status {
        429 | 503 => Kind::Throttled,
        _ if is_throttling(code) => Kind::Throttled,
        500.. => Kind::Passing,
        _ if is_stale(code) || matches!(error, SdkError::ResponseError(_)) => Kind::Passing,
        404 => Kind::Lasting,
        _ => Kind::Refused,
    };
    let hint = match (status, code) {
        (_, code) if code.starts_with("KMS") && !is_throttling(code) => {
            "; the topic is encrypted: allow the function's role kms:GenerateDataKey and kms:Decrypt on its key"
        }
        (_, code) if is_stale(code) => "; the request's signature was too old: it may have waited for a connection",
        (403, "AuthorizationError" | "AccessDenied" | "AccessDeniedException") => {
            "; allow the function's role sns:Publish on the topic, and check the topic's data protection policy, if it has \
             one"
        }
        (404, _) => "; the topic does not exist: correct the ARN in the configuration, or TOPIC_ARN",
        _ => "",
    };
    let message = error.message().unwrap_or("no reason");
    Failure { kind, cause: format!("SNS answered {status} {code}: {message}{hint}") }
}

/// SNS's codes for throttling, of which the SDK knows only some.
fn is_throttling(code: &str) -> bool {
    matches!(code, "Throttled" | "ThrottledException" | "Throttling" | "ThrottlingException" | "RequestThrottled")
        || matches!(code, "KMSThrottling" | "KMSThrottlingException" | "TooManyRequestsException")
}

/// Codes for a request whose signature has expired: that of the next attempt is a new one.
fn is_stale(code: &str) -> bool {
    matches!(code, "RequestTimeTooSkewed" | "RequestExpired")
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

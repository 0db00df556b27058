//! One invocation, from payload to answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::alert::Alert;
use crate::configuration;
use crate::error::Error;
use crate::event::{self, Message, Payload, S3Object};
use crate::filter::{Filter, Matcher, Memory};
use crate::log_file::{LogFile, Malformed, RawRecord};
use crate::publish::{Outbox, Publisher};
use crate::report::Report;
use crate::settings::Settings;
use crate::storage::{Fetched, LogBytes, Storage};
use crate::triage::Triage;

/// How long before its deadline an invocation stops reading, so that what was found can still be published; less where
/// it has little time at all.
const TIME_TO_PUBLISH: Duration = Duration::from_secs(3);

/// How long the configuration may take before the first event: Lambda gives ten seconds to all of the start.
const TIME_TO_WARM_UP: Duration = Duration::from_secs(5);

/// How many logs are asked for at once; they are read one after another.
const OPEN_AT_ONCE: usize = 4;

const TOO_LATE: &str = "the time was up before it was read to its end: raise the function's timeout, or its memory";

const NO_ANSWER: &str = "S3 had not answered when the time was up: see that the function has a way to S3 (in a VPC an \
     endpoint, a NAT gateway or a proxy), and a timeout of a minute or more";

const NO_TOPIC: &str = "no topic is named: add \"sns\": {\"topicARN\": …} to it, or set TOPIC_ARN in the function's \
     environment";

/// What an execution environment keeps between invocations.
pub struct Handler {
    settings: Settings,
    storage: Storage,
    publisher: Publisher,
    /// The last good configuration of each bucket that one was looked for in.
    configurations: Mutex<HashMap<S3Object, Configuration>>,
    /// One log is read after the other, all through one window.
    log_file: Mutex<LogFile>,
}

/// A configuration in force, and the version of the file that it was read from.
#[derive(Clone)]
struct Configuration {
    etag: Option<String>,
    filter: Arc<Filter>,
    /// What was learnt from logs before.
    memory: Arc<Mutex<Memory>>,
}

impl Handler {
    /// Handles invocations with these settings and clients.
    #[must_use]
    pub fn new(settings: Settings, storage: Storage, publisher: Publisher) -> Self {
        Handler { settings, storage, publisher, configurations: Mutex::default(), log_file: Mutex::default() }
    }

    /// Does before the first event what needs no event, where the configuration's bucket is known: loads the
    /// configuration, and opens the connections that an invocation begins with, two to S3 and one to SNS. What fails is
    /// only a warning, and not tried again: an invocation does that, and then it is an error.
    pub async fn warm_up(&self) {
        let Some(bucket) = self.settings.config_bucket.clone() else { return };
        let object = S3Object { bucket, key: self.settings.config_key.clone() };
        let loading = timeout(TIME_TO_WARM_UP, self.storage.configuration_once(&object));
        let connecting = async {
            // The configuration's own handshake comes first: a turn to connect, and one to say hello.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            // An HTTP/1.1 connection is opened by a request that finds all others taken.
            let second = self.storage.configuration_once(&object);
            timeout(TIME_TO_WARM_UP, async { tokio::join!(second, self.publisher.connect()) }).await
        };
        let (loaded, _) = Box::pin(async { tokio::join!(loading, connecting) }).await;
        let loaded = loaded.unwrap_or_else(|_| Err(format!("it took over {} s", TIME_TO_WARM_UP.as_secs())));
        match self.configured(&object, None, loaded, "the first event will ask again".to_owned()) {
            Ok(configuration) => drop(self.configurations.lock().await.insert(object, configuration)),
            Err(error) => tracing::warn!(kind = error.kind(), "{error}"),
        }
    }

    /// Handles one invocation, which must be over by `deadline`: every object of the payload, whatever happens to the
    /// others.
    ///
    /// # Errors
    /// All that failed, after everything else was done; from SQS only what is no matter of single messages.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Answer, Error> {
        let start = Instant::now();
        let time_left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let payload = event::parse(payload);
        let mut invocation = Invocation {
            handler: self,
            deadline: deadline.checked_sub(TIME_TO_PUBLISH.min(time_left / 4)).unwrap_or(deadline),
            configurations: HashMap::new(),
            outbox: Outbox::new(&self.publisher, deadline),
            report: Report::default(),
            failures: Vec::new(),
        };
        let logs: Vec<_> = objects(&payload).filter(|object| invocation.is_log(object)).collect();
        let mut logs = logs.into_iter();
        let mut opening = VecDeque::new();
        loop {
            let more = logs.by_ref().take(OPEN_AT_ONCE - opening.len());
            opening.extend(more.map(|log| (log, invocation.open(log))));
            let Some((log, bytes)) = opening.pop_front() else { break };
            invocation.object(log, bytes).await;
        }
        let Invocation { outbox, mut report, mut failures, .. } = invocation;
        failures.extend(outbox.finish(&mut report).await);
        let failed: Vec<&Message> = payload
            .messages
            .iter()
            .filter(|message| !message.invalid.is_empty() || failures.iter().any(|failure| is_about(failure, message)))
            .collect();
        for message in &payload.messages {
            report.skipped.test_event += message.test_events;
            failures.extend(message.invalid.iter().cloned().map(Error::InvalidPayload));
        }
        for failure in &failures {
            tracing::error!(kind = failure.kind(), "{failure}");
            report.fail(failure.kind());
        }
        // Without a configuration no message can do better, and Lambda's own count of errors must show it.
        let by_message = payload.from_sqs && !failures.iter().any(Error::is_configuration);
        let ids: Option<Vec<String>> = failed.iter().map(|message| message.id.clone()).collect();
        let handed_back = ids.filter(|_| by_message);
        report.handed_back = handed_back.as_ref().map_or(0, |ids| ids.len() as u64);
        report.close(start, &self.settings);
        match (handed_back, Error::of_all(failures)) {
            (Some(ids), _) => Ok(Answer::of_batch(ids)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Answer::Report(report)),
        }
    }

    /// Where the configuration for a log is.
    fn configuration_of(&self, log: &S3Object) -> S3Object {
        let Settings { config_bucket, config_key, .. } = &self.settings;
        S3Object { bucket: config_bucket.as_ref().unwrap_or(&log.bucket).clone(), key: config_key.clone() }
    }

    /// The configuration for a log as it is in S3 now. Where that can't be had: the last good one, with the error
    /// beside it, or else the error alone.
    async fn configuration(
        &self,
        object: &S3Object,
        log: &S3Object,
        deadline: SystemTime,
    ) -> Result<(Configuration, Option<Error>), Error> {
        let mut configurations = self.configurations.lock().await;
        let known = configurations.get(object).cloned();
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        let fetched = in_time(deadline, NO_ANSWER, self.storage.configuration(object, etag)).await.flatten();
        let how = known.as_ref().map_or("not read", |_| "read with the last good one");
        match (self.configured(object, known.as_ref(), fetched, format!("{log} was {how}")), known) {
            (Ok(configuration), _) => {
                configurations.insert(object.clone(), configuration.clone());
                Ok((configuration, None))
            }
            (Err(error), Some(known)) => Ok((known, Some(error))),
            (Err(error), None) => Err(error),
        }
    }

    /// What S3 gave, ready for use, or the version that is known. The last argument ends the error.
    fn configured(
        &self,
        object: &S3Object,
        known: Option<&Configuration>,
        fetched: Result<Fetched, String>,
        consequence: String,
    ) -> Result<Configuration, Error> {
        let object = object.to_string();
        let (etag, file) = match (fetched, known) {
            (Ok(Fetched::New { etag, file }), _) => (etag, file),
            (Ok(Fetched::Unchanged), Some(known)) => return Ok(known.clone()),
            (fetched, _) => {
                let never_read = || "S3 says that it has not changed, but it was never read".to_owned();
                let cause = fetched.err().unwrap_or_else(never_read);
                return Err(Error::ConfigurationUnavailable { object, cause, consequence });
            }
        };
        let parsed = configuration::parse(&file, self.settings.topic_arn.as_deref()).and_then(|filter| {
            let named = filter.topics.iter().all(|topic| topic.arn.is_some());
            if named {
                Ok(Configuration { etag, filter: Arc::new(filter), memory: Arc::default() })
            } else {
                Err(vec![NO_TOPIC.to_owned()])
            }
        });
        let invalid = |problems| Error::InvalidConfiguration { object, problems, consequence };
        parsed.map_err(invalid).inspect(|_| {
            if known.is_some() {
                self.publisher.forget();
            }
        })
    }
}

/// Does what must be done before a deadline, or says that it was too late.
async fn in_time<T>(deadline: SystemTime, too_late: &str, work: impl Future<Output = T>) -> Result<T, String> {
    let time_left = deadline.duration_since(SystemTime::now()).map_err(|_| too_late)?;
    timeout(time_left, work).await.map_err(|_| too_late.to_owned())
}

/// The announced objects, each once.
fn objects(payload: &Payload) -> impl Iterator<Item = &S3Object> {
    let mut known = HashSet::new();
    payload.messages.iter().flat_map(|message| &message.objects).filter(move |object| known.insert(*object))
}

/// Whether a failure concerns an object that the message names.
fn is_about(failure: &Error, message: &Message) -> bool {
    failure.log().is_some_and(|log| message.objects.iter().any(|object| object.to_string() == log))
}

/// What an invocation that did not fail answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// What happened.
    Report(Report),
    /// For SQS, the messages that it is to deliver again, as
    /// [Lambda reads it](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
    #[serde(rename_all = "camelCase")]
    Batch {
        /// One for each message of which something failed.
        batch_item_failures: Vec<ItemFailure>,
    },
}

/// A message that is to be delivered again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemFailure {
    /// The message's id.
    pub item_identifier: String,
}

impl Answer {
    fn of_batch(ids: Vec<String>) -> Self {
        let batch_item_failures = ids.into_iter().map(|item_identifier| ItemFailure { item_identifier }).collect();
        Answer::Batch { batch_item_failures }
    }
}

/// One invocation under way.
struct Invocation<'a> {
    handler: &'a Handler,
    /// When reading must stop.
    deadline: SystemTime,
    /// Those that this invocation has asked for: once each.
    configurations: HashMap<S3Object, Configuration>,
    outbox: Outbox<'a>,
    report: Report,
    failures: Vec<Error>,
}

impl Invocation<'_> {
    /// Counts an announced object, and says whether it is to be read.
    fn is_log(&mut self, object: &S3Object) -> bool {
        self.report.objects += 1;
        if let Some(reason) = event::no_log(&object.key) {
            self.report.skipped.add(reason);
            return false;
        }
        let is_configuration = *object == self.handler.configuration_of(object);
        self.report.skipped.configuration += u64::from(is_configuration);
        !is_configuration
    }

    /// Asks for a log at once, while others are read. The answer waits in the connection until it is read.
    fn open(&self, log: &S3Object) -> JoinHandle<Result<LogBytes, String>> {
        let (storage, log, deadline) = (self.handler.storage.clone(), log.clone(), self.deadline);
        tokio::spawn(async move { in_time(deadline, NO_ANSWER, storage.open(&log)).await.flatten() })
    }

    /// Processes one log.
    async fn object(&mut self, object: &S3Object, opening: JoinHandle<Result<LogBytes, String>>) {
        let configuration = self.handler.configuration_of(object);
        let known = self.configurations.get(&configuration).cloned();
        let in_force = async {
            match known {
                Some(known) => Ok((known, None)),
                None => self.handler.configuration(&configuration, object, self.deadline).await,
            }
        };
        let both = Box::pin(async { tokio::join!(in_force, opening) });
        let (in_force, bytes) = self.outbox.meanwhile(both).await;
        let in_force = match in_force {
            Ok((in_force, error)) => {
                self.failures.extend(error);
                self.configurations.insert(configuration, in_force.clone());
                in_force
            }
            Err(error) => {
                self.failures.push(error);
                return;
            }
        };
        let read = match bytes.unwrap_or_else(|e| Err(format!("it could not be opened ({e})"))) {
            Ok(bytes) => self.log(object, bytes, &in_force).await,
            Err(cause) => Err(Error::LogUnavailable { object: object.to_string(), cause }),
        };
        match read {
            Ok(()) => self.report.logs += 1,
            Err(error) => self.failures.push(error),
        }
    }

    /// Reads a log to its end, and hands over its alerts while it is being read.
    async fn log(&mut self, object: &S3Object, mut bytes: LogBytes, in_force: &Configuration) -> Result<(), Error> {
        let name = object.to_string();
        let mut log = self.handler.log_file.lock().await;
        log.restart();
        let mut memory = in_force.memory.lock().await;
        let mut matcher = Matcher::resume(&in_force.filter, mem::take(&mut memory));
        let mut triage = Triage::new(&mut matcher, &name, None);
        let unavailable = |cause| Error::LogUnavailable { object: name.clone(), cause };
        let malformed = |e: Malformed| Error::LogMalformed { object: name.clone(), cause: e.to_string() };
        let read = 'reading: loop {
            let next = in_time(self.deadline, TOO_LATE, bytes.next());
            let piece = match self.outbox.meanwhile(next).await.flatten() {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(cause) => break Err(unavailable(cause)),
            };
            self.report.bytes += piece.as_ref().len() as u64;
            let mut rest = piece.as_ref();
            loop {
                let mut alerts = Vec::new();
                let mut on_record = |raw: &RawRecord<'_>| {
                    alerts.extend(self.report.count(triage.record(raw)?));
                    Ok(())
                };
                let more = log.step(&mut rest, &mut on_record);
                self.send(alerts, &name).await;
                match more {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(e) => break 'reading Err(malformed(e)),
                }
                // Few bytes of gzip can keep this loop busy for long.
                if SystemTime::now() > self.deadline {
                    break 'reading Err(unavailable(TOO_LATE.to_owned()));
                }
            }
        };
        // Where reading broke off, whole records may still wait in the window.
        let mut alerts = Vec::new();
        let finished = log.finish(&mut |raw| {
            alerts.extend(self.report.count(triage.record(raw)?));
            Ok(())
        });
        alerts.extend(triage.summaries());
        *memory = matcher.into_memory();
        self.send(alerts, &name).await;
        read.and(finished.map_err(malformed))
    }

    async fn send(&mut self, alerts: Vec<Alert>, log: &str) {
        for alert in alerts {
            tracing::debug!(log, id = alert.id, rules = ?alert.rules, subject = alert.subject, "match");
            self.outbox.add(alert, log).await;
        }
    }
}

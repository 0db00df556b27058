//! One invocation: from the announced logs to the alerts that they lead to, and to an answer.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::sqs::SqsBatchResponse;
use serde::Serialize;
use tokio::task::JoinHandle;

use super::config_store::{ConfigStore, Refreshed};
use super::deadline::{NO_ANSWER, TOO_LATE, in_time};
use super::dedup::RecentAlerts;
use super::event::{Announcement, Payload};
use super::metrics;
use super::outbox::Outbox;
use super::report::Report;
use crate::aws::Sns;
use crate::aws::s3::{LogBytes, S3};
use crate::environment::Settings;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::log::{LogFile, Malformed, S3Object, reason_to_skip};
use crate::rules::Matcher;

/// How long before its deadline an invocation stops reading, so that its alerts can still be published; less where it has
/// little time at all.
const TIME_TO_PUBLISH: Duration = Duration::from_secs(3);

/// How many logs are requested at once. They are read one after another.
const OPEN_AT_ONCE: usize = 4;

/// How many bytes of a log are inflated before the clock is asked again: a gzip bomb makes 16 MB of them.
const CHUNK: usize = 16 << 10;

/// The state that one invocation leaves to the next.
pub(super) struct State {
    pub(super) sns: Sns,
    pub(super) configs: ConfigStore,
    pub(super) published: RecentAlerts,
    /// One log is read after the other, all through one window.
    pub(super) log_file: LogFile,
}

/// The answer of an invocation that did not fail.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The counts.
    Report(Box<Report>),
    /// For SQS: [the messages](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html) to deliver
    /// again.
    Batch(SqsBatchResponse),
}

/// One invocation under way.
pub(super) struct Invocation<'a> {
    settings: &'a Settings,
    s3: &'a S3,
    configs: &'a ConfigStore,
    log_file: &'a mut LogFile,
    outbox: Outbox<'a>,
    /// The configurations that are usable. Each is asked for once.
    refreshed: HashSet<S3Object>,
    start: Instant,
    /// When reading must stop.
    deadline: SystemTime,
    report: Report,
    failures: Vec<Error>,
}

/// A log that S3 was asked for. Its bytes wait in the connection until they are read.
struct Opening<'a> {
    log: &'a S3Object,
    bytes: JoinHandle<Result<LogBytes, String>>,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(settings: &'a Settings, s3: &'a S3, state: &'a mut State, deadline: SystemTime) -> Self {
        let time_left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        Invocation {
            settings,
            s3,
            configs: &state.configs,
            log_file: &mut state.log_file,
            outbox: Outbox::new(&mut state.sns, &mut state.published, deadline),
            refreshed: HashSet::new(),
            start: Instant::now(),
            deadline: deadline.checked_sub(TIME_TO_PUBLISH.min(time_left / 4)).unwrap_or(deadline),
            report: Report::default(),
            failures: Vec::new(),
        }
    }

    /// Processes every log of the payload, whatever happens to the others.
    pub(super) async fn run(mut self, payload: &Payload) -> Result<Answer, Error> {
        let logs: Vec<_> = payload.objects().filter(|object| self.count_object(object)).collect();
        let mut logs = logs.into_iter();
        let mut openings = VecDeque::new();
        loop {
            let more = logs.by_ref().take(OPEN_AT_ONCE - openings.len());
            openings.extend(more.map(|log| self.open(log)));
            let Some(opening) = openings.pop_front() else { break };
            match self.process(opening).await {
                Ok(()) => self.report.logs += 1,
                Err(error) => self.failures.push(error),
            }
        }
        self.failures.extend(self.outbox.finish(&mut self.report).await);
        self.answer(payload)
    }

    /// Counts an announced object, and tells whether it is to be read.
    fn count_object(&mut self, object: &S3Object) -> bool {
        self.report.objects += 1;
        if let Some(reason) = reason_to_skip(&object.key) {
            self.report.skipped.add_object(reason);
            return false;
        }
        let is_configuration = *object == self.configs.location(object);
        self.report.skipped.configuration += u64::from(is_configuration);
        !is_configuration
    }

    /// Whether something failed of what a message announces.
    fn has_failed(&self, Announcement { invalid, objects, .. }: &Announcement) -> bool {
        // A log may have been read with the last good configuration. Its message comes again, as an event would.
        let configuration = |log: &S3Object| {
            let location = self.configs.location(log);
            (reason_to_skip(&log.key).is_none() && *log != location).then_some(location)
        };
        let is_about = |failure: &Error, log: &S3Object| {
            failure.log() == Some(log)
                || failure
                    .outdated_configuration()
                    .is_some_and(|outdated| configuration(log).as_ref() == Some(outdated))
        };
        !invalid.is_empty() || objects.iter().any(|log| self.failures.iter().any(|failure| is_about(failure, log)))
    }

    /// Asks for a log at once, while others are read.
    fn open<'l>(&self, log: &'l S3Object) -> Opening<'l> {
        let (s3, object, deadline) = (self.s3.clone(), log.clone(), self.deadline);
        let opening = async move { in_time(deadline, NO_ANSWER, s3.open(&object)).await.flatten() };
        Opening { log, bytes: tokio::spawn(opening) }
    }

    /// Processes one log with its configuration.
    async fn process(&mut self, Opening { log, bytes }: Opening<'_>) -> Result<(), Error> {
        let location = self.configs.location(log);
        let is_fresh = self.refreshed.contains(&location) && self.configs.get(&location).is_some();
        let refresh = async {
            if is_fresh {
                return Ok(Refreshed::default());
            }
            self.configs.refresh(self.s3, &location, log, self.deadline).await
        };
        let both = Box::pin(async { tokio::join!(refresh, bytes) });
        let (refreshed, bytes) = self.outbox.publish_while(both).await;
        let Refreshed { changed, error } = refreshed?;
        if changed {
            self.outbox.forget_published();
        }
        self.failures.extend(error);
        let bytes = bytes.unwrap_or_else(|e| Err(format!("it could not be opened ({e})")));
        let bytes = bytes.map_err(|cause| Error::LogUnavailable { log: log.clone(), cause });
        let config = self.configs.get(&location);
        self.refreshed.insert(location);
        let Some(config) = config else {
            return Err(Error::LogUnavailable { log: log.clone(), cause: "its configuration is missing".to_owned() });
        };
        let bytes = bytes?;
        let name = log.to_string();
        self.log_file.restart();
        let reader = LogReader {
            log: Arc::new(log.clone()),
            log_file: self.log_file,
            evaluator: Evaluator::new(Matcher::new(&config.filter, &config.learned), &name, None),
            outbox: &mut self.outbox,
            report: &mut self.report,
            deadline: self.deadline,
        };
        reader.read(bytes).await
    }

    /// Logs the failures and the counts, and makes the answer.
    fn answer(mut self, payload: &Payload) -> Result<Answer, Error> {
        let failed = payload.announcements.iter().filter(|announcement| self.has_failed(announcement));
        let failed: Vec<_> = failed.map(|announcement| announcement.message_id.clone()).collect();
        for announcement in &payload.announcements {
            announcement.no_logs.iter().for_each(|message| self.report.skipped.add_message(*message));
            announcement.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            self.failures.extend(announcement.invalid.iter().cloned().map(Error::InvalidPayload));
        }
        for failure in &self.failures {
            tracing::error!(kind = failure.kind(), "{failure}");
            *self.report.failures.entry(failure.kind()).or_default() += 1;
        }
        // Where no message is fine and the configuration is to blame, Lambda's own count of errors shows it.
        let all_failed = failed.len() == payload.announcements.len();
        let by_message = payload.from_sqs && !(all_failed && self.failures.iter().any(Error::is_configuration));
        let handed_back: Option<Vec<String>> = failed.into_iter().collect::<Option<_>>().filter(|_| by_message);
        self.report.handed_back = handed_back.as_ref().map_or(0, |ids| ids.len() as u64);
        self.report.milliseconds = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.write_log_line();
        metrics::write(&self.report, self.settings);
        match (handed_back, Error::of_all(self.failures)) {
            (Some(ids), _) => {
                let mut response = SqsBatchResponse::default();
                response.set_failures(ids);
                Ok(Answer::Batch(response))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Answer::Report(Box::new(self.report))),
        }
    }
}

struct LogReader<'r, 'o> {
    log: Arc<S3Object>,
    log_file: &'r mut LogFile,
    evaluator: Evaluator<'r, 'r, 'r>,
    outbox: &'r mut Outbox<'o>,
    report: &'r mut Report,
    deadline: SystemTime,
}

impl LogReader<'_, '_> {
    /// Reads the log to its end, and hands over its alerts while it is being read.
    async fn read(mut self, bytes: LogBytes) -> Result<(), Error> {
        let read = self.pieces(bytes).await;
        for alert in self.evaluator.summaries() {
            self.outbox.add(alert, &self.log).await;
        }
        read
    }

    async fn pieces(&mut self, mut bytes: LogBytes) -> Result<(), Error> {
        loop {
            let next = in_time(self.deadline, TOO_LATE, bytes.next());
            match self.outbox.publish_while(next).await.flatten() {
                Ok(Some(piece)) => {
                    self.report.bytes += piece.as_ref().len() as u64;
                    for chunk in piece.as_ref().chunks(CHUNK) {
                        self.records(Some(chunk)).await?;
                        if SystemTime::now() > self.deadline {
                            return Err(self.unavailable(TOO_LATE.to_owned()));
                        }
                    }
                }
                Ok(None) => return self.records(None).await,
                Err(cause) => {
                    // The last whole records may still wait. The first error says more than that the log has no end.
                    self.records(None).await.ok();
                    return Err(self.unavailable(cause));
                }
            }
        }
    }

    /// Evaluates the records that one more piece completes; `None` is the end of the log.
    async fn records(&mut self, piece: Option<&[u8]>) -> Result<(), Error> {
        let malformed = |e: Malformed| Error::LogMalformed { log: (*self.log).clone(), cause: e.to_string() };
        let mut records = self.log_file.read(piece);
        while let Some(record) = records.next().map_err(malformed)? {
            let verdict = self.evaluator.evaluate(&record).map_err(malformed)?;
            for alert in self.report.count(verdict) {
                self.outbox.add(alert, &self.log).await;
            }
            if piece.is_some() && SystemTime::now() > self.deadline {
                return Err(self.unavailable(TOO_LATE.to_owned()));
            }
        }
        Ok(())
    }

    fn unavailable(&self, cause: String) -> Error {
        Error::LogUnavailable { log: (*self.log).clone(), cause }
    }
}

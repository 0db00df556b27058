//! Invocations, one after the other: from the announced logs to the alerts that they lead to, from alerts to mails, and to
//! an answer.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::sqs::SqsBatchResponse;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::config_store::ConfigStore;
use super::dedup::RecentAlerts;
use super::event::{self, Announcement, Payload};
use super::memory::Memory;
use super::outbox::{Outbox, TIME_TO_REPORT};
use super::reading::Reading;
use super::report::Report;
use super::{mail, metrics};
use crate::aws::{S3, Sns, Table};
use crate::environment::Settings;
use crate::error::Error;
use crate::log::{S3Object, reason_to_skip};

/// How long before its deadline an invocation stops reading, so that its alerts can still be published; less where it has
/// little time at all.
const TIME_TO_PUBLISH: Duration = Duration::from_secs(3);

/// Handles invocations, one after the other.
pub struct Handler {
    settings: Settings,
    s3: S3,
    state: Mutex<State>,
}

/// The state that one invocation leaves to the next.
struct State {
    sns: Sns,
    configs: ConfigStore,
    published: RecentAlerts,
    memory: Memory,
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

struct Invocation<'a> {
    settings: &'a Settings,
    s3: &'a S3,
    state: &'a mut State,
    start: Instant,
    /// When Lambda kills the function.
    deadline: SystemTime,
    report: Report,
    failures: Vec<Error>,
}

impl Handler {
    /// Handles invocations with these settings and clients. `table` is the memory that environments share.
    pub fn new(settings: Settings, s3: S3, sns: Sns, table: Option<Table>) -> Self {
        let configs = ConfigStore::new(&settings);
        let state = State { sns, configs, published: RecentAlerts::default(), memory: Memory::new(table) };
        Handler { settings, s3, state: Mutex::new(state) }
    }

    /// Loads the configuration before the first event, where its bucket is known. That also opens a connection to S3.
    pub async fn warm_up(&self) {
        self.state.lock().await.configs.warm_up(&self.s3).await;
    }

    /// Handles one invocation, which must be over by `deadline`.
    ///
    /// # Errors
    /// Everything that failed, after the rest was done. From SQS, failures of single messages are not an error: these
    /// messages are handed back.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Answer, Error> {
        let invocation = Invocation {
            settings: &self.settings,
            s3: &self.s3,
            state: &mut *self.state.lock().await,
            start: Instant::now(),
            deadline,
            report: Report::default(),
            failures: Vec::new(),
        };
        invocation.run(event::parse(payload)).await
    }
}

impl Invocation<'_> {
    /// Processes every log and every alert of the payload, whatever happens to the others.
    async fn run(mut self, payload: Payload) -> Result<Answer, Error> {
        let logs: Vec<_> = payload.objects().filter(|object| self.count_object(object)).collect();
        let time_left = self.deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let end_of_reading = self.deadline.checked_sub(TIME_TO_PUBLISH.min(time_left / 4)).unwrap_or(self.deadline);
        let State { sns, configs, published, memory } = &mut *self.state;
        let mails = mail::send(&payload, self.settings, sns, self.deadline);
        memory.begin();
        let outbox = Outbox::new(sns, published, memory, self.deadline);
        let reading = Reading::new(self.s3, configs, memory, &outbox, &mut self.report, end_of_reading);
        // Neither waits for the other.
        let (mailed, failures) = Box::pin(async { tokio::join!(mails, outbox.publish_all(reading.read(&logs))) }).await;
        self.failures = failures;
        let (unsent, receipts) = outbox.finish(&mut self.report);
        memory.note_told(&receipts, self.deadline.checked_sub(TIME_TO_REPORT).unwrap_or(self.deadline)).await;
        self.report.state_unavailable = memory.has_failed().into();
        self.failures.extend(unsent);
        self.failures.extend(mailed.failures);
        (self.report.mails, self.report.mailed) = (mailed.mails, mailed.alerts);
        let failed = self.failed(&payload, &mailed.unsent);
        self.answer(payload, failed)
    }

    /// Counts an announced object, and tells whether it is to be read.
    fn count_object(&mut self, object: &S3Object) -> bool {
        self.report.objects += 1;
        if let Some(reason) = reason_to_skip(&object.key) {
            self.report.skipped.add_object(reason);
            return false;
        }
        let is_configuration = *object == self.state.configs.location(object);
        self.report.skipped.configuration += u64::from(is_configuration);
        !is_configuration
    }

    /// The ids of the messages of which something failed that they announce or hold. `unmailed` has keys of alerts.
    fn failed(&self, payload: &Payload, unmailed: &HashSet<u128>) -> Vec<Option<String>> {
        let logs: HashSet<_> = self.failures.iter().filter_map(Error::log).collect();
        // A log may have been read with the last good configuration. Its message comes again, as an event would.
        let outdated: HashSet<_> = self.failures.iter().filter_map(Error::outdated_configuration).collect();
        let is_outdated = |log: &S3Object| {
            let location = self.state.configs.location(log);
            outdated.contains(&location) && reason_to_skip(&log.key).is_none() && *log != location
        };
        let has_failed = |Announcement { invalid, objects, alerts, .. }: &&Announcement| {
            !invalid.is_empty()
                || alerts.iter().any(|alert| unmailed.contains(&alert.key))
                || objects.iter().any(|log| logs.contains(log) || is_outdated(log))
        };
        payload.announcements.iter().filter(has_failed).map(|announcement| announcement.message_id.clone()).collect()
    }

    /// Logs the failures and the counts, and makes the answer.
    fn answer(mut self, payload: Payload, failed: Vec<Option<String>>) -> Result<Answer, Error> {
        // Where no message is fine and the configuration is to blame, Lambda's own count of errors shows it.
        let all_failed = failed.len() == payload.announcements.len();
        let by_message =
            payload.from_sqs && !(all_failed && self.failures.iter().any(|failure| failure.configuration().is_some()));
        for announcement in payload.announcements {
            announcement.no_logs.into_iter().for_each(|message| self.report.skipped.add_message(message));
            announcement.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            self.failures.extend(announcement.invalid.into_iter().map(Error::InvalidPayload));
        }
        for failure in &self.failures {
            tracing::error!(kind = failure.kind(), "{failure}");
            *self.report.failures.entry(failure.kind()).or_default() += 1;
        }
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

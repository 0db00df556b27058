//! Invocations, one after the other: from the announced logs, or those of a job, to the alerts that they lead to, from alerts
//! to mails, and to an answer.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::sqs::SqsBatchResponse;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::batch_job::{self, Job, JobAnswer, Task, TaskResult};
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
    /// Those of the latest job.
    configs_of_job: Option<ConfigStore>,
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
    /// For S3 Batch Operations: what became of each object.
    Job(JobAnswer),
}

/// Reads logs and publishes their alerts.
struct Means<'a> {
    configs: &'a ConfigStore,
    /// `None` in a dry run.
    sns: Option<&'a mut Sns>,
    published: &'a mut RecentAlerts,
    memory: &'a Memory,
    /// The version of the log to read, if it is not the latest.
    version: Option<&'a str>,
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
        let (published, memory) = (RecentAlerts::default(), Memory::new(table));
        let state = State { sns, configs, configs_of_job: None, published, memory };
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
    /// messages are handed back. Failures of a job's tasks are none either.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Answer, Error> {
        let state = &mut *self.state.lock().await;
        match batch_job::parse(payload) {
            Some(job) => Ok(Answer::Job(self.run_job(job, state, deadline).await)),
            None => self.invocation(state, deadline).run(event::parse(payload)).await,
        }
    }

    /// Does the tasks of a job one after the other. If there are several, none may take more than a quarter of the time that
    /// is left, except the last.
    async fn run_job(&self, job: Job, state: &mut State, deadline: SystemTime) -> JobAnswer {
        let mut results = Vec::new();
        for (number, task) in job.tasks.iter().enumerate() {
            let now = SystemTime::now();
            let time_left = deadline.duration_since(now).unwrap_or_default();
            let share = if number + 1 == job.tasks.len() { time_left } else { time_left / 4 };
            results.push(self.invocation(state, now + share).run_task(&job, task).await);
        }
        job.answer(results)
    }

    fn invocation<'a>(&'a self, state: &'a mut State, deadline: SystemTime) -> Invocation<'a> {
        Invocation {
            settings: &self.settings,
            s3: &self.s3,
            state,
            start: Instant::now(),
            deadline,
            report: Report::default(),
            failures: Vec::new(),
        }
    }
}

impl Means<'_> {
    /// Reads these logs, and publishes their alerts; gives what failed.
    async fn read(self, s3: &S3, logs: &[&S3Object], report: &mut Report, deadline: SystemTime) -> Vec<Error> {
        let Means { configs, sns, published, memory, version } = self;
        let time_left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let end_of_reading = deadline.checked_sub(TIME_TO_PUBLISH.min(time_left / 4)).unwrap_or(deadline);
        memory.begin();
        let outbox = Outbox::new(sns, published, memory, deadline);
        let reading = Reading::new(s3, configs, memory, &outbox, report, version, end_of_reading);
        let mut failures = outbox.publish_all(reading.read(logs)).await;
        let (unpublished, receipts) = outbox.finish(report);
        failures.extend(unpublished);
        memory.note_told(&receipts, deadline.checked_sub(TIME_TO_REPORT).unwrap_or(deadline)).await;
        report.state_unavailable = memory.has_failed().into();
        failures
    }
}

impl Invocation<'_> {
    /// Processes every log and every alert of the payload, whatever happens to the others.
    async fn run(mut self, payload: Payload) -> Result<Answer, Error> {
        let logs: Vec<_> = payload.objects().filter(|object| self.count_object(object)).collect();
        let State { sns, configs, published, memory, .. } = &mut *self.state;
        let mails = mail::send(&payload, self.settings, sns, self.deadline);
        let means = Means { configs, sns: Some(sns), published, memory, version: None };
        let read = means.read(self.s3, &logs, &mut self.report, self.deadline);
        // Neither waits for the other.
        let (mailed, failures) = Box::pin(async { tokio::join!(mails, read) }).await;
        self.failures = failures;
        self.failures.extend(mailed.failures);
        (self.report.mails, self.report.mailed) = (mailed.mails, mailed.alerts);
        let failed = self.failed(&payload, &mailed.unsent);
        self.answer(payload, failed)
    }

    /// Does a task of a job. It writes no metrics: they are of the logs that arrive, and alarms watch them.
    async fn run_task(mut self, job: &Job, task: &Task) -> TaskResult {
        if let Err(problem) = self.try_task(job, task).await {
            self.failures.push(Error::InvalidPayload(problem));
        }
        self.report.close(&self.failures, self.start);
        let object = task.object.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(job = job.id(), object, "task done");
        self.report.write_log_line();
        job.result(task, &self.report, self.failures)
    }

    /// Reads the log of a task, if it is one; an error says that the task is refused. A dry run sends nothing, and remembers
    /// nothing beyond it.
    async fn try_task(&mut self, job: &Job, task: &Task) -> Result<(), String> {
        let (replay, log) = (job.replay.as_ref()?, task.object.as_ref()?);
        if !self.count_object(log) {
            return Ok(());
        }
        let State { sns, configs_of_job, published, memory, .. } = &mut *self.state;
        let known = configs_of_job.take().filter(|configs| configs.is_for_job(replay.rule.as_deref()));
        let new = || ConfigStore::for_job(self.settings, replay.rule.clone());
        let configs = &*configs_of_job.insert(known.unwrap_or_else(new));
        let (forgotten, no_memory) = (&mut RecentAlerts::default(), &Memory::new(None));
        let version = task.version.as_deref();
        let means = if replay.dry_run {
            Means { configs, sns: None, published: forgotten, memory: no_memory, version }
        } else {
            Means { configs, sns: Some(sns), published, memory, version }
        };
        self.failures = means.read(self.s3, &[log], &mut self.report, self.deadline).await;
        Ok(())
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
        let handed_back: Option<Vec<String>> = failed.into_iter().collect::<Option<_>>().filter(|_| by_message);
        self.report.handed_back = handed_back.as_ref().map_or(0, |ids| ids.len() as u64);
        self.report.close(&self.failures, self.start);
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

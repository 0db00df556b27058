//! What happened in one invocation: counts that add up, as its answer and as its log line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use tracing::Level;

use crate::alert::Alert;
use crate::event::NoLog;
use crate::settings::Settings;
use crate::triage::{Match, Outcome};

/// The namespace of the metrics.
const NAMESPACE: &str = "CloudTrailAlerter";

/// The counts of one invocation. Serialized, it is the invocation's answer.
///
/// They add up: objects = logs + what was skipped by its key + logs that failed; records = matched + ignored +
/// unmatched; alerts = published + duplicates + summarised + failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects that the payload announced.
    pub objects: u64,
    /// Log files that were read to their end.
    pub logs: u64,
    /// Records that were looked at, in logs that failed half-way too.
    pub records: u64,
    /// Records that a rule matched.
    pub matched: u64,
    /// Records that the configuration says to ignore.
    pub ignored: u64,
    /// All other records.
    pub unmatched: u64,
    /// Messages that were to be sent.
    pub alerts: u64,
    /// Messages that SNS took.
    pub published: u64,
    /// Messages that were not sent because they had been.
    pub duplicates: u64,
    /// Messages that a summary stands for.
    pub summarised: u64,
    /// Messages that SNS did not take.
    pub failed: u64,
    /// What was not read, by reason.
    pub skipped: Skipped,
    /// Bytes of logs, as S3 keeps them.
    pub bytes: u64,
    /// How long the invocation took.
    pub milliseconds: u64,
    /// Messages that SQS is to deliver again.
    #[serde(skip)]
    pub handed_back: u64,
    /// Failures, by [`Error::kind`](crate::error::Error::kind).
    #[serde(skip)]
    pub failures: BTreeMap<&'static str, u64>,
    /// The longest time from an event to the publishing of its alert, in seconds.
    #[serde(skip)]
    pub delay: Option<u64>,
}

/// What was not read, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// See [`NoLog::Digest`].
    pub digest: u64,
    /// See [`NoLog::Insight`].
    pub insight: u64,
    /// See [`NoLog::OtherService`].
    pub other_service: u64,
    /// The filter configuration itself.
    pub configuration: u64,
    /// `s3:TestEvent`s, which announce no object.
    pub test_event: u64,
}

impl Skipped {
    /// Counts an object that its key tells to be no log.
    pub fn add(&mut self, reason: NoLog) {
        match reason {
            NoLog::Digest => self.digest += 1,
            NoLog::Insight => self.insight += 1,
            NoLog::OtherService => self.other_service += 1,
        }
    }
}

impl Report {
    /// Counts a record by what became of it, and passes its alerts on.
    pub fn count(&mut self, outcome: Outcome<'_>) -> Vec<Alert> {
        self.records += 1;
        match outcome {
            Outcome::Unmatched => self.unmatched += 1,
            Outcome::Ignored => self.ignored += 1,
            Outcome::Matched(Match { alerts, duplicates, summarised, .. }) => {
                self.matched += 1;
                self.alerts += duplicates + summarised;
                self.duplicates += duplicates;
                self.summarised += summarised;
                return alerts;
            }
        }
        Vec::new()
    }

    /// Counts a failure.
    pub fn fail(&mut self, kind: &'static str) {
        *self.failures.entry(kind).or_default() += 1;
    }

    /// Ends the count: takes the time since `start`, and writes the invocation's log line and its metrics.
    pub fn close(&mut self, start: Instant, settings: &Settings) {
        self.milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            objects = self.objects,
            logs = self.logs,
            records = self.records,
            matched = self.matched,
            ignored = self.ignored,
            unmatched = self.unmatched,
            alerts = self.alerts,
            published = self.published,
            duplicates = self.duplicates,
            summarised = self.summarised,
            failed = self.failed,
            skipped.digest = self.skipped.digest,
            skipped.insight = self.skipped.insight,
            skipped.otherService = self.skipped.other_service,
            skipped.configuration = self.skipped.configuration,
            skipped.testEvent = self.skipped.test_event,
            failures = self.failures.values().sum::<u64>(),
            handedBack = self.handed_back,
            bytes = self.bytes,
            milliseconds = self.milliseconds,
            "invocation done"
        );
        // Not by way of the log, whose level may be set to leave it out.
        let _ = writeln!(io::stdout(), "{}", self.metrics(settings, SystemTime::now()));
    }

    /// The counts as CloudWatch metrics, which CloudWatch takes from the log, without a request, in
    /// [this format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
    ///
    /// Every metric costs something in each hour in which it has a value: what is usually zero is left out while it is.
    fn metrics(&self, settings: &Settings, now: SystemTime) -> Value {
        const COUNT: &str = "Count";
        let always = [
            ("Logs", self.logs, COUNT),
            ("Records", self.records, COUNT),
            ("Matched", self.matched, COUNT),
            ("Published", self.published, COUNT),
            ("Bytes", self.bytes, "Bytes"),
        ];
        let rarely = [
            ("Ignored", self.ignored, COUNT),
            ("Duplicates", self.duplicates, COUNT),
            ("Summarised", self.summarised, COUNT),
            ("Failed", self.failed, COUNT),
            ("SkippedDigest", self.skipped.digest, COUNT),
            ("SkippedInsight", self.skipped.insight, COUNT),
            ("SkippedOtherService", self.skipped.other_service, COUNT),
            ("SkippedConfiguration", self.skipped.configuration, COUNT),
            ("SkippedTestEvent", self.skipped.test_event, COUNT),
            ("HandedBack", self.handed_back, COUNT),
        ];
        let rarely = rarely.into_iter().filter(|(_, value, _)| *value > 0);
        let failures = self.failures.iter().map(|(kind, n)| (*kind, *n, COUNT));
        let delay = self.delay.map(|seconds| ("Delay", seconds, "Seconds"));
        let metrics: Vec<_> = always.into_iter().chain(rarely).chain(failures).chain(delay).collect();
        // Lambda itself leaves out lines of JSON below the function's level, and takes those without level or time for
        // INFO: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
        let level = match settings.log_level {
            Level::ERROR => "FATAL",
            level => level.as_str(),
        };
        let mut line = json!({
            "level": level,
            "timestamp": humantime::format_rfc3339_millis(now).to_string(),
            "_aws": {
                "Timestamp": now.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0)),
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [["FunctionName"]],
                    "Metrics": metrics.iter().map(|(name, _, unit)| json!({"Name": name, "Unit": unit})).collect::<Vec<_>>(),
                }],
            },
            "FunctionName": settings.function,
        });
        for (name, value, _) in metrics {
            line[name] = value.into();
        }
        line
    }
}

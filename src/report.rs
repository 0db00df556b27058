//! What happened in one invocation: counts that add up, as its answer and as its log line.

use std::time::Instant;

use serde::Serialize;

use crate::alert::Alert;
use crate::event::NoLog;
use crate::triage::{Match, Outcome};

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

    /// Ends the count: takes the time since `start`, and writes the invocation's log line.
    pub fn close(&mut self, start: Instant) {
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
            bytes = self.bytes,
            milliseconds = self.milliseconds,
            "invocation done"
        );
    }
}

//! The counts of one invocation, which add up: its answer and its log line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::event::NoLog;
use crate::evaluate::{Match, RuleCounts};
use crate::log::SkipReason;
use crate::rules::Hit;

/// How many bytes the counts by rule may take. A line of CloudWatch Logs may have 1 MB, and until 2025 it was 256 KB.
const RULES_LIMIT: usize = 240_000;
/// The most bytes that the counts of a rule take in the log line beside its name.
const COUNTS_SIZE: usize = 200;
/// Stands for the rules beyond the limit.
const OTHER_RULES: &str = "(other rules)";

/// The counts of one invocation. Serialized, it is the invocation's answer.
///
/// They add up: objects = logs + objects skipped by their keys + logs that failed; records = matched + ignored +
/// unmatched; alerts = published + duplicates + summarised + suppressed + failed; by rule, matches = alerts + dry + ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects that the payload announced.
    pub(crate) objects: u64,
    /// Log files that were read to their end.
    pub(crate) logs: u64,
    /// Records that were evaluated, in logs that failed half-way too.
    pub(crate) records: u64,
    /// Records that a rule matched.
    pub(crate) matched: u64,
    /// Records that the configuration says to ignore.
    pub(crate) ignored: u64,
    /// All other records.
    pub(crate) unmatched: u64,
    /// Messages to send.
    pub(crate) alerts: u64,
    /// Messages that SNS took.
    pub(crate) published: u64,
    /// Messages that were not sent because they had been sent before.
    pub(crate) duplicates: u64,
    /// Messages that were not sent because a summary stands for them.
    pub(crate) summarised: u64,
    /// Messages that the memory between logs held back.
    pub(crate) suppressed: u64,
    /// Messages that SNS did not take.
    pub(crate) failed: u64,
    /// Objects that were not read and messages that announced none, by reason.
    pub(crate) skipped: Skipped,
    /// Messages that the mail topic took.
    pub(crate) mails: u64,
    /// Alerts that these mails tell, each once. They came with the payload, and are in no other count.
    pub(crate) mailed: u64,
    /// Bytes of logs, as S3 keeps them.
    pub(crate) bytes: u64,
    /// The duration of the invocation.
    pub(crate) milliseconds: u64,
    /// By rule, those with a match.
    pub(crate) rules: BTreeMap<String, RuleCounts>,
    /// How many bytes of [`RULES_LIMIT`] they take.
    #[serde(skip)]
    rules_size: usize,
    /// Of rules with a metric: the matches that no exception took, and those of them that the memory held back.
    #[serde(skip)]
    pub(crate) rule_metrics: BTreeMap<String, [u64; 2]>,
    /// Messages that SQS is to deliver again.
    #[serde(skip)]
    pub(crate) handed_back: u64,
    /// 1 if the state table failed.
    #[serde(skip)]
    pub(crate) state_unavailable: u64,
    /// Failures, by [`Error::kind`](crate::error::Error::kind).
    #[serde(skip)]
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// The longest time from an event to the publishing of its alert, in seconds.
    #[serde(skip)]
    pub(crate) delay: Option<u64>,
}

/// Objects that were not read and messages that announced none, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Skipped {
    pub(crate) digest: u64,
    pub(crate) insight: u64,
    pub(crate) aggregated: u64,
    pub(crate) other_service: u64,
    pub(crate) placeholder: u64,
    /// The filter configuration itself.
    pub(crate) configuration: u64,
    pub(crate) test_event: u64,
    pub(crate) other_event: u64,
    pub(crate) config_message: u64,
    pub(crate) confirmation: u64,
}

impl Skipped {
    pub(crate) fn add_object(&mut self, reason: SkipReason) {
        *match reason {
            SkipReason::Digest => &mut self.digest,
            SkipReason::Insight => &mut self.insight,
            SkipReason::Aggregated => &mut self.aggregated,
            SkipReason::OtherService => &mut self.other_service,
            SkipReason::Placeholder => &mut self.placeholder,
        } += 1;
    }

    pub(crate) fn add_message(&mut self, message: NoLog) {
        *match message {
            NoLog::TestEvent => &mut self.test_event,
            NoLog::OtherEvent => &mut self.other_event,
            NoLog::ConfigMessage => &mut self.config_message,
            NoLog::Confirmation => &mut self.confirmation,
        } += 1;
    }
}

impl Report {
    /// Counts a record that rules match.
    pub(crate) fn count(&mut self, matched: &Match<'_>) {
        *if matched.is_ignored() { &mut self.ignored } else { &mut self.matched } += 1;
        for hit in &matched.hits {
            self.count_hit(hit);
        }
        self.alerts += matched.duplicates + matched.summarised + matched.suppressed;
        self.duplicates += matched.duplicates;
        self.summarised += matched.summarised;
        self.suppressed += matched.suppressed;
    }

    fn count_hit(&mut self, hit: &Hit<'_>) {
        let name = &hit.rule.name;
        if hit.rule.metrics && !hit.ignored {
            let [matched, suppressed] = self.rule_metrics.entry(name.clone()).or_default();
            *matched += 1;
            *suppressed += u64::from(hit.held);
        }
        if let Some(counts) = self.rules.get_mut(name) {
            return counts.count(hit);
        }
        // Escaping makes a character three times as long at most.
        let size = self.rules_size + 3 * name.len() + COUNTS_SIZE;
        let name = if size > RULES_LIMIT { OTHER_RULES } else { name };
        self.rules_size = size.min(RULES_LIMIT);
        self.rules.entry(name.to_owned()).or_default().count(hit);
    }

    /// Writes the invocation's log line.
    pub(crate) fn write_log_line(&self) {
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
            suppressed = self.suppressed,
            failed = self.failed,
            skipped.digest = self.skipped.digest,
            skipped.insight = self.skipped.insight,
            skipped.aggregated = self.skipped.aggregated,
            skipped.otherService = self.skipped.other_service,
            skipped.placeholder = self.skipped.placeholder,
            skipped.configuration = self.skipped.configuration,
            skipped.testEvent = self.skipped.test_event,
            skipped.otherEvent = self.skipped.other_event,
            skipped.configMessage = self.skipped.config_message,
            skipped.confirmation = self.skipped.confirmation,
            failures = self.failures.values().sum::<u64>(),
            handedBack = self.handed_back,
            stateUnavailable = self.state_unavailable,
            mails = self.mails,
            mailed = self.mailed,
            bytes = self.bytes,
            milliseconds = self.milliseconds,
            // At the end: CloudWatch Logs Insights finds the first 200 fields of a line.
            rules = %serde_json::to_string(&self.rules).unwrap_or_default(),
            "invocation done"
        );
    }
}

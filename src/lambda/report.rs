//! The counts of one invocation, which add up: its answer and its log line.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::event::NoLog;
use crate::error::Error;
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
/// unmatched; alerts = published + duplicates + summarised + suppressed + unsent + failed; by rule, matches = alerts + dry + ignored.
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
    /// Messages that a job would have sent, had it not been a dry run.
    pub(crate) unsent: u64,
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

    /// Logs the failures, and counts them and the time since `start`.
    pub(super) fn close(&mut self, failures: &[Error], start: Instant) {
        for failure in failures {
            tracing::error!(kind = failure.kind(), "{failure}");
            *self.failures.entry(failure.kind()).or_default() += 1;
        }
        self.milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    }

    /// The counts that are not zero, as JSON of at most `limit` bytes: the rules for which there is no room are counted
    /// together. Those that match most have room first.
    pub(super) fn summary(&self, limit: usize) -> String {
        let with_rules = |rules: &BTreeMap<&str, RuleCounts>| {
            let mut counts = json!(self);
            counts["rules"] = json!(rules);
            leave_out_zeros(&mut counts);
            counts.to_string()
        };
        let mut by_matches: Vec<_> = self.rules.iter().collect();
        by_matches.sort_by_key(|(_, counts)| Reverse(counts.matches));
        let mut room = limit.saturating_sub(with_rules(&BTreeMap::new()).len() + OTHER_RULES.len() + COUNTS_SIZE);
        let mut rules: BTreeMap<&str, RuleCounts> = BTreeMap::new();
        for (name, counts) in by_matches {
            // With its quotes, a colon and a comma.
            let size = json!(name).to_string().len() + json!(counts).to_string().len() + 2;
            room = room.saturating_sub(size);
            rules.entry(if room > 0 { name } else { OTHER_RULES }).or_default().add(counts);
        }
        with_rules(&rules)
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
            unsent = self.unsent,
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

fn leave_out_zeros(counts: &mut Value) {
    if let Value::Object(counts) = counts {
        counts.values_mut().for_each(leave_out_zeros);
        counts.retain(|_, count| *count != json!(0) && *count != json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_no_zeros_and_every_match_is_in_it_however_little_room_there_is() {
        let mut report = Report { objects: 1, records: 7, ..Report::default() };
        report.skipped.digest = 1;
        assert_eq!(report.summary(1_000), r#"{"objects":1,"records":7,"skipped":{"digest":1}}"#);
        for number in 0..500 {
            let counts = RuleCounts { matches: number + 1, alerts: number, dry: 1, ..RuleCounts::default() };
            report.rules.insert(format!("rule \"{number}\" ü"), counts);
        }
        for (limit, named) in [(0, 0), (1_000, 10), (10_000, 100)] {
            let summary = report.summary(limit);
            let counts: Value = serde_json::from_str(&summary).unwrap();
            let rules = counts["rules"].as_object().unwrap();
            assert!(rules.len() > named && (summary.len() <= limit || limit == 0), "{summary}");
            let sum = |key: &str| rules.values().filter_map(|counts| counts[key].as_u64()).sum::<u64>();
            assert_eq!([sum("matches"), sum("alerts"), sum("dry")], [125_250, 124_750, 500]);
            assert_eq!(rules.contains_key("rule \"499\" ü"), limit > 0);
        }
    }
}

//! What a scan found, as plain data. The terminal's table and the report page show the same numbers.

use crate::alert::Others;
use crate::evaluate::RuleCounts;
use crate::rules::Severity;

/// The results of a scan.
#[derive(Debug)]
pub(super) struct Summary {
    /// What was read, in words.
    pub(super) head: String,
    /// The configuration's file, or what was asked of it.
    pub(super) configuration: String,
    pub(super) reading: Reading,
    /// The messages that would have been sent.
    pub(super) messages: u64,
    /// Those that matched, the most frequent first.
    pub(super) rules: Vec<RuleSummary>,
    pub(super) unmatched: Vec<Unmatched>,
    /// What is gathered only if somebody asks for it.
    pub(super) details: Option<Details>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) logs: u64,
    pub(super) records: u64,
    /// Records that rules match, each event once.
    pub(super) matches: u64,
    pub(super) ignored: u64,
    pub(super) suppressed: u64,
    pub(super) repeats: u64,
    pub(super) skipped: u64,
    /// Records that do not belong to the times, accounts and regions that were chosen.
    pub(super) outside: u64,
    pub(super) failed: u64,
    /// Whether the scan ended before all logs were read.
    pub(super) is_interrupted: bool,
    /// The times of the first and the last record.
    pub(super) ends: Option<(String, String)>,
    /// The days with records, as `2026-11-20`.
    pub(super) days: Vec<String>,
}

/// What all rules have found together.
#[derive(Debug)]
pub(super) struct Details {
    /// The messages by their severity, the least one first.
    pub(super) severities: Vec<(Severity, u64)>,
    /// The messages of each hour that has any, as `2026-11-20T21`, by severity.
    pub(super) hours: Vec<(String, Vec<u64>)>,
    /// Calls that alerted: who made them, and where.
    pub(super) groups: Vec<Group>,
    /// Why logs could not be read, as far as they are kept.
    pub(super) failures: Vec<String>,
}

/// What a rule found.
#[derive(Debug)]
pub(super) struct RuleSummary {
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) description: Option<String>,
    pub(super) counts: RuleCounts,
    pub(super) messages: u64,
    pub(super) callers: Top,
    pub(super) events: Top,
    pub(super) details: Option<RuleDetails>,
}

/// More of what a rule found.
#[derive(Debug)]
pub(super) struct RuleDetails {
    /// Accounts, regions and addresses of its matches, and who is behind those that are not sent.
    pub(super) groups: Vec<Group>,
    /// The messages of each day that has any.
    pub(super) days: Vec<(String, u64)>,
    /// The first alert, and the most recent one.
    pub(super) samples: Vec<Sample>,
    /// The edit that would have saved most messages, and after it one that hides less, if there is any.
    pub(super) edits: Vec<Edit>,
}

/// Calls by something that they have in common.
#[derive(Debug)]
pub(super) struct Group {
    /// What they have in common, in the plural.
    pub(super) title: &'static str,
    pub(super) top: Top,
}

/// The most frequent ones.
#[derive(Debug)]
pub(super) struct Top {
    /// Most first.
    pub(super) named: Vec<(String, u64)>,
    pub(super) others: Others,
}

/// An alert as it would be sent.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) subject: String,
    pub(super) body: String,
}

/// A change of the configuration.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    /// What it does.
    pub(super) what: String,
    /// Where it belongs.
    pub(super) place: String,
    /// What it would not tell any more.
    pub(super) hides: String,
    /// JSON.
    pub(super) text: String,
    /// The messages that would not have been sent.
    pub(super) saved: u64,
}

/// A rule that never matched.
#[derive(Debug)]
pub(super) struct Unmatched {
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) is_enabled: bool,
    /// Its paths at which no record that it looked at had a value.
    pub(super) unseen: Vec<String>,
}

impl Summary {
    /// A number of messages by day, of the days on which there are logs.
    pub(super) fn per_day(&self, messages: u64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // of counts, shown with one decimal
        let [messages, days] = [messages as f64, self.reading.days.len().max(1) as f64];
        messages / days
    }
}

impl Details {
    /// The messages of each day that has any.
    pub(super) fn days(&self) -> Vec<(String, u64)> {
        let mut days: Vec<(String, u64)> = Vec::new();
        for (hour, counts) in &self.hours {
            let (day, count) = (hour.split('T').next().unwrap_or_default(), counts.iter().sum::<u64>());
            match days.last_mut().filter(|(last, _)| last == day) {
                Some((_, sum)) => *sum += count,
                None => days.push((day.to_owned(), count)),
            }
        }
        days
    }
}

impl RuleSummary {
    /// The columns that tables have for its counts, in their order.
    pub(super) fn columns(&self) -> [(&'static str, u64); 6] {
        let RuleCounts { matches, alerts, suppressed, dry, ignored, expired } = self.counts;
        [
            ("matches", matches),
            ("alerts", alerts),
            ("suppressed", suppressed),
            ("dry", dry),
            ("ignored", ignored),
            ("expired", expired),
        ]
    }
}

/// Which columns of counts a table has: the first two, and those in which a rule has a count.
pub(super) fn shown_columns(rules: &[RuleSummary]) -> Vec<&'static str> {
    const ALL: [&str; 6] = ["matches", "alerts", "suppressed", "dry", "ignored", "expired"];
    let has = |column: usize| column < 2 || rules.iter().any(|rule| rule.columns()[column].1 > 0);
    (0..ALL.len()).filter(|column| has(*column)).map(|column| ALL[column]).collect()
}

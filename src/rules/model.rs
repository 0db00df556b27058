//! A valid configuration: rules, their conditions, and the topics that they alert.

use std::collections::HashMap;
use std::fmt;

use super::condition::{CallName, Condition, Scratch};
use super::stage::Stage;
use super::suggest::suggestion;
use super::topic_arn::TopicArn;
use crate::log::Record;

/// A valid configuration, ready to match records.
#[derive(Debug)]
pub struct Filter {
    /// The rules, in the order in which a message names them.
    pub(crate) rules: Vec<Rule>,
    /// Records that any of these matches are never alerted on.
    pub(crate) ignore: Vec<Exception>,
    /// The topics that rules use, each once.
    pub(crate) topics: Vec<Topic>,
    /// The packs of the file.
    pub(crate) packs: Vec<String>,
    /// Names for account numbers.
    pub(crate) accounts: HashMap<String, String>,
    /// The most alerts of one rule to one topic in one log. A summary stands for the rest.
    pub(crate) max_alerts_per_log: Option<u64>,
    /// How many [`Test`](super::condition::Test)s its conditions hold; their ids are below it.
    pub(crate) test_count: usize,
    /// The memory that it takes, in bytes.
    pub(crate) memory: usize,
}

/// What to look for, and what to say about it and where.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Unique in a configuration; `default` for the top-level `source` and `regexp`.
    pub(crate) name: String,
    /// The meaning of a match, for people.
    pub(crate) description: Option<String>,
    /// The importance of a match.
    pub(crate) severity: Severity,
    pub(crate) condition: Condition,
    /// One must hold too, unless there are none.
    pub(crate) any: Vec<Condition>,
    /// Records that any of these matches are not alerted on by this rule.
    pub(crate) ignore: Vec<Exception>,
    /// A rule that is not enabled never matches.
    pub(crate) enabled: bool,
    /// Its matches are counted, and not alerted on.
    pub(crate) dry_run: bool,
    /// Its matches are a metric of their own.
    pub(crate) metrics: bool,
    /// The limits that its matches pass, in their order.
    pub(crate) stages: Vec<Stage>,
    /// What to do about a match.
    pub(crate) runbook: Option<String>,
    pub(crate) references: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) tests: Vec<RuleTest>,
    /// The topic of its alerts: an index of [`Filter::topics`].
    pub(crate) topic: usize,
}

/// A condition of records that are not alerted on.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) condition: Condition,
    pub(crate) reason: Option<String>,
    /// The last day on which it counts, as `2027-03-01`.
    pub(crate) until: Option<String>,
}

/// Records, and the alerts that a rule must make of them.
#[derive(Debug)]
pub(crate) struct RuleTest {
    pub(crate) name: Option<String>,
    /// The records of a log, as JSON.
    pub(crate) records: Vec<String>,
    /// `None` for at least one.
    pub(crate) alerts: Option<u64>,
}

impl Filter {
    /// Whether the memory between logs has a say in which matches alert.
    pub(crate) fn remembers(&self) -> bool {
        self.rules.iter().any(|rule| rule.enabled && !rule.dry_run && !rule.stages.is_empty())
    }

    /// Keeps one rule alone, whether or not it is switched on.
    ///
    /// # Errors
    /// No rule has that name; what to do then.
    pub(crate) fn keep_only(&mut self, name: &str) -> Result<(), String> {
        let names: Vec<_> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        if !names.contains(&name) {
            let known = suggestion(name, &names);
            let shown = "; the names are in the file, and `cloudtrail-alerter packs NAME` shows those of a pack";
            let hint = if known.is_empty() { shown } else { &known };
            return Err(format!("the rule `{name}` is not known{hint}"));
        }
        self.rules.retain(|rule| rule.name == name);
        for rule in &mut self.rules {
            (rule.enabled, rule.dry_run) = (true, false);
        }
        Ok(())
    }
}

impl Rule {
    /// The condition of the rule itself, and those of which one must hold too.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        [&self.condition].into_iter().chain(&self.any)
    }

    /// Whether it matches a record, exceptions aside.
    pub(super) fn matches(&self, call: CallName<'_>, record: &Record<'_>, scratch: &mut Scratch<'_>) -> bool {
        let mut matches = self.condition.matches(call, record, scratch);
        if !self.any.is_empty() && (matches || scratch.notes_paths()) {
            let mut one = false;
            for condition in &self.any {
                if !one || scratch.notes_paths() {
                    one |= condition.matches(call, record, scratch);
                }
            }
            matches &= one;
        }
        matches
    }

    /// Whether its own condition passes, and one of `any` if it has any.
    pub(super) fn all_and_any(&self, mut passes: impl FnMut(&Condition) -> bool) -> bool {
        passes(&self.condition) && (self.any.is_empty() || self.any.iter().any(passes))
    }
}

impl Exception {
    /// Whether it takes a record out, given that its condition matches it. One that has expired by the time of a record
    /// does not.
    pub(super) fn is_in_force(&self, day: Option<&str>) -> bool {
        self.until.as_deref().is_none_or(|until| day.is_some_and(|day| day <= until))
    }
}

/// A topic, and the format of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    /// `None` where nothing names a topic, which only the command line lets pass.
    pub(crate) arn: Option<TopicArn>,
    pub(crate) format: Format,
}

/// The importance of a match, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Severity {
    /// Good to know.
    Info,
    /// Worth a look some day.
    Low,
    /// The default.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody; never summarised.
    Critical,
}

impl Severity {
    /// As the configuration and messages write them.
    pub(super) const NAMES: [(&'static str, Severity); 5] = [
        ("info", Self::Info),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, severity)| *severity == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn named(name: &str) -> Option<Severity> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, severity)| *severity)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format of a topic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One line of JSON for programs.
    Json,
    /// The custom notification of Amazon Q Developer in chat applications.
    Chatbot,
}

impl Format {
    /// As the configuration writes them.
    pub(crate) const NAMES: [(&'static str, Format); 3] =
        [("text", Self::Text), ("json", Self::Json), ("chatbot", Self::Chatbot)];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

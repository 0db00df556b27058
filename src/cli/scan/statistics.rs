//! The summary of a scan: how much each rule would have sent, so that it can be tuned before it pages anyone.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;

use super::super::console::counted;
use super::span::Span;
use crate::alert::{NOTHING, escape};
use crate::evaluate::Match;
use crate::rules::{Filter, Test};

/// The most callers and event names of a rule that are shown.
const TOP: usize = 3;

#[derive(Debug, Default)]
pub(super) struct LogCounts {
    pub(super) records: u64,
    /// Records that rules match and the configuration ignores.
    pub(super) ignored: u64,
    pub(super) span: Span,
    /// As in [`Learned`](crate::rules::Learned).
    pub(super) paths_seen: Vec<bool>,
    /// Why it could not be read further.
    pub(super) error: Option<String>,
}

pub(super) struct Statistics<'f> {
    filter: &'f Filter,
    /// Logs that were read to their end.
    pub(super) logs: u64,
    records: u64,
    ignored: u64,
    /// Records that rules match, each event once.
    pub(super) matches: u64,
    /// Matches of an event that was in another log already.
    pub(super) repeats: u64,
    /// Files that Lambda would skip by their key.
    pub(super) skipped: u64,
    /// Files that could not be read.
    pub(super) failed: u64,
    span: Span,
    /// As in [`Learned`](crate::rules::Learned), of all logs.
    paths_seen: Vec<bool>,
    rules: HashMap<&'f str, RuleCounts>,
}

#[derive(Default)]
struct RuleCounts {
    matches: u64,
    messages: u64,
    callers: HashMap<String, u64>,
    events: HashMap<String, u64>,
}

impl<'f> Statistics<'f> {
    pub(super) fn new(filter: &'f Filter) -> Self {
        Statistics {
            filter,
            logs: 0,
            records: 0,
            ignored: 0,
            matches: 0,
            repeats: 0,
            skipped: 0,
            failed: 0,
            span: Span::default(),
            paths_seen: vec![false; filter.test_count],
            rules: HashMap::new(),
        }
    }

    pub(super) fn count(&mut self, matched: &Match<'f>) {
        self.matches += 1;
        for rule in &matched.rules {
            let counts = self.rules.entry(&rule.name).or_default();
            counts.matches += 1;
            for (counts, name) in [(&mut counts.callers, &matched.who), (&mut counts.events, &matched.event_name)] {
                let name = name.as_deref().unwrap_or(NOTHING);
                match counts.get_mut(name) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(name.to_owned(), 1)),
                }
            }
        }
    }

    pub(super) fn count_message(&mut self, rules: &[String]) {
        for rule in rules {
            if let Some(counts) = self.rules.get_mut(rule.as_str()) {
                counts.messages += 1;
            }
        }
    }

    pub(super) fn count_log(&mut self, log: &LogCounts) {
        self.records += log.records;
        self.ignored += log.ignored;
        if let Some((first, last)) = log.span.ends() {
            self.span.join(first, last);
        }
        for (seen, also) in self.paths_seen.iter_mut().zip(&log.paths_seen) {
            *seen |= also;
        }
    }

    /// The summary for people.
    pub(super) fn to_text(&self) -> String {
        let (logs, records) = (counted(self.logs, "log"), counted(self.records, "record"));
        let mut text = format!("{logs}, {records}, {}", counted(self.matches, "match"));
        for (n, what) in [
            (self.ignored, format!("{} ignored", self.ignored)),
            (self.repeats, counted(self.repeats, "repeat")),
            (self.skipped, format!("{} skipped", counted(self.skipped, "file"))),
            (self.failed, format!("{} not read", self.failed)),
        ] {
            if n > 0 {
                let _ = write!(text, ", {what}");
            }
        }
        let days = self.span.days();
        if let Some((first, last)) = self.span.ends() {
            let _ = write!(text, ", from {first} to {last}");
        }
        text.push('\n');
        // Without records, the table of rules would mislead.
        if self.records == 0 {
            return text;
        }
        let mut counts: Vec<_> = self.rules.iter().collect();
        counts.sort_by_key(|(name, counts)| (Reverse(counts.matches), **name));
        let counts: Vec<_> = counts.into_iter().map(|(name, counts)| (escape(name), counts)).collect();
        let width = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(4);
        if !counts.is_empty() {
            let _ = writeln!(text, "\nmatches  messages/day  {:width$}  top callers; top events", "rule");
        }
        for (name, counts) in counts {
            #[allow(clippy::cast_precision_loss)] // of counts, shown with one decimal
            let per_day = counts.messages as f64 / days;
            let (callers, events) = (top(&counts.callers), top(&counts.events));
            let _ = writeln!(text, "{:>7}  {per_day:>12.1}  {name:width$}  {callers}; {events}", counts.matches);
        }
        let never: Vec<_> =
            self.filter.rules.iter().filter(|rule| !self.rules.contains_key(rule.name.as_str())).collect();
        if !never.is_empty() {
            let _ = writeln!(text, "\nnever matched");
        }
        for rule in never {
            let unseen =
                rule.condition.wheres.iter().filter(|test| !self.paths_seen.get(test.id).is_some_and(|seen| *seen));
            let unseen: Vec<_> = unseen.map(Test::path_text).collect();
            let note = format!("  (no record that it looked at had a value at {})", escape(&unseen.join(", ")));
            let note = if unseen.is_empty() { "" } else { &note };
            let _ = writeln!(text, "      0  {}{note}", escape(&rule.name));
        }
        text
    }
}

/// The most frequent ones, most first.
fn top(counts: &HashMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(what, n)| (Reverse(**n), *what));
    let shown = counts.iter().take(TOP).map(|(what, n)| format!("{} ({n})", escape(what)));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if counts.len() > TOP {
        let _ = write!(text, ", {} more", counts.len() - TOP);
    }
    text
}

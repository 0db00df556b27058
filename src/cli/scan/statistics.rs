//! The summary of a scan: how much each rule would have sent, so that it can be tuned before it pages anyone.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use super::super::console::{SOME_FAILED, counted};
use super::interrupt::INTERRUPTED;
use super::span::Span;
use crate::alert::{NOTHING, Tally, escape};
use crate::evaluate::{Match, RuleCounts};
use crate::rules::{Check, Filter, Rule, Test};

/// The most callers, event names and paths of a rule that are shown.
const TOP: usize = 3;

/// The columns of counts. The first two are always shown, the others if a rule has a count in it.
const COLUMNS: [&str; 6] = ["matches", "alerts", "suppressed", "dry", "ignored", "expired"];

/// How many bytes the callers and event names of all rules may take, so that years of logs can be scanned: the sessions of a
/// role may have a new name each.
const NAMES_ROOM: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct LogCounts {
    /// As they are stored.
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Records that do not belong to the selection.
    pub(super) outside: u64,
    /// Matches of an event that this log, or one before it, has had.
    pub(super) repeats: u64,
    pub(super) span: Span,
    /// As in [`Learned`](crate::rules::Learned).
    pub(super) paths_seen: Vec<bool>,
    /// Why it could not be read further.
    pub(super) error: Option<String>,
    /// Whether S3 would refuse all others, too, for the same reason.
    pub(super) is_refused: bool,
}

pub(in crate::cli) struct Statistics<'f> {
    filter: &'f Filter,
    /// Logs that were read to their end.
    pub(super) logs: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
    ignored: u64,
    suppressed: u64,
    /// Records that rules match, each event once, ignored ones too.
    pub(in crate::cli) matches: u64,
    /// Matches of an event that was in another log already.
    pub(super) repeats: u64,
    /// Files that Lambda would skip by their key.
    pub(super) skipped: u64,
    /// Logs and records that do not belong to the selection.
    pub(super) logs_outside: u64,
    pub(super) outside: u64,
    /// Files that could not be read.
    pub(super) failed: u64,
    /// Whether the scan was interrupted, so that the rest is not known.
    pub(super) interrupted: bool,
    span: Span,
    /// As in [`Learned`](crate::rules::Learned), of all logs.
    paths_seen: Vec<bool>,
    rules: HashMap<&'f str, Found>,
    /// What is left of [`NAMES_ROOM`].
    room: usize,
}

/// What a rule has found.
struct Found {
    of_rule: RuleCounts,
    messages: u64,
    callers: Tally<String>,
    events: Tally<String>,
}

impl Default for Found {
    fn default() -> Self {
        let [callers, events] = [(); 2].map(|()| Tally::new(usize::MAX));
        Found { of_rule: RuleCounts::default(), messages: 0, callers, events }
    }
}

impl Found {
    /// The counts of [`COLUMNS`].
    fn columns(&self) -> [u64; 6] {
        let RuleCounts { matches, alerts, suppressed, dry, ignored, expired } = self.of_rule;
        [matches, alerts, suppressed, dry, ignored, expired]
    }
}

impl<'f> Statistics<'f> {
    pub(super) fn new(filter: &'f Filter) -> Self {
        Statistics {
            filter,
            logs: 0,
            bytes: 0,
            records: 0,
            ignored: 0,
            suppressed: 0,
            matches: 0,
            repeats: 0,
            skipped: 0,
            logs_outside: 0,
            outside: 0,
            failed: 0,
            interrupted: false,
            span: Span::default(),
            paths_seen: vec![false; filter.test_count],
            rules: HashMap::new(),
            room: NAMES_ROOM,
        }
    }

    /// Counts a match; `names` are its caller and event.
    pub(super) fn count(&mut self, matched: &Match<'f>, [who, event_name]: &[Option<String>; 2]) {
        self.matches += 1;
        self.ignored += u64::from(matched.is_ignored());
        self.suppressed += u64::from(matched.is_suppressed());
        for hit in &matched.hits {
            let counts = self.rules.entry(&hit.rule.name).or_default();
            counts.of_rule.count(hit);
            for (counts, name) in [(&mut counts.callers, who), (&mut counts.events, event_name)] {
                let name = name.as_deref().unwrap_or(NOTHING);
                counts.count(name.to_owned(), name.len(), &mut self.room);
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
        self.bytes += log.bytes;
        self.records += log.records;
        self.repeats += log.repeats;
        self.outside += log.outside;
        if let Some((first, last)) = log.span.ends() {
            self.span.join(first, last);
        }
        for (seen, also) in self.paths_seen.iter_mut().zip(&log.paths_seen) {
            *seen |= also;
        }
    }

    /// The status of the run.
    pub(in crate::cli) fn status(&self) -> ExitCode {
        ExitCode::from(match self.failed {
            _ if self.interrupted => INTERRUPTED,
            0 => 0,
            _ => SOME_FAILED,
        })
    }

    /// What has been read, and how much of it rules match.
    pub(super) fn head(&self) -> String {
        self.read(&format!(", {}", self.matched()))
    }

    /// How many records rules match.
    pub(in crate::cli) fn matched(&self) -> String {
        let mut text = counted(self.matches, "match");
        for (n, what) in [(self.ignored, "ignored"), (self.suppressed, "suppressed")] {
            if n > 0 {
                let _ = write!(text, ", {n} of them {what}");
            }
        }
        text
    }

    /// What has been read, with what is said behind the records.
    pub(in crate::cli) fn read(&self, of_records: &str) -> String {
        let (logs, records) = (counted(self.logs, "log"), counted(self.records, "record"));
        let interrupted = if self.interrupted { "interrupted, so this is partial: " } else { "" };
        let mut text = format!("{interrupted}{logs}, {records}{of_records}");
        for (n, what) in [
            (self.repeats, counted(self.repeats, "repeat")),
            (self.skipped, format!("{} skipped", counted(self.skipped, "file"))),
            (self.logs_outside, format!("{} outside", counted(self.logs_outside, "log"))),
            (self.outside, format!("{} outside", counted(self.outside, "record"))),
            (self.failed, format!("{} not read", self.failed)),
        ] {
            if n > 0 {
                let _ = write!(text, ", {what}");
            }
        }
        if let Some((first, last)) = self.span.ends() {
            let _ = write!(text, ", from {first} to {last}");
        }
        text
    }

    /// The counts by rule, with or without the rules that never matched.
    pub(in crate::cli) fn table(&self, with_unmatched: bool) -> String {
        let (mut text, days) = (String::new(), self.span.days());
        // Without records, they would mislead.
        if self.records == 0 {
            return text;
        }
        let mut counts: Vec<_> = self.rules.iter().collect();
        counts.sort_by_key(|(name, counts)| (Reverse(counts.of_rule.matches), **name));
        let counts: Vec<_> = counts.into_iter().map(|(name, counts)| (escape(name), counts)).collect();
        let width = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(4);
        let mut is_shown = [true, true, false, false, false, false];
        for (_, found) in &counts {
            is_shown.iter_mut().zip(found.columns()).for_each(|(is_shown, n)| *is_shown |= n > 0);
        }
        let cells = |cells: [String; 6]| {
            let shown = cells.iter().zip(COLUMNS).zip(is_shown).filter(|(_, is_shown)| *is_shown);
            let cell =
                |((cell, name), _): ((&String, &str), bool)| format!("{cell:>width$}", width = name.len().max(7));
            shown.map(cell).collect::<Vec<_>>().join("  ")
        };
        if !counts.is_empty() {
            let names = cells(COLUMNS.map(str::to_owned));
            let _ = writeln!(text, "\n{names}  messages/day  {:width$}  top callers; top events", "rule");
        }
        for (name, counts) in counts {
            #[allow(clippy::cast_precision_loss)] // of counts, shown with one decimal
            let per_day = counts.messages as f64 / days;
            let [callers, events] = [&counts.callers, &counts.events].map(|names| top(names, counts.of_rule.matches));
            let numbers = cells(counts.columns().map(|n| n.to_string()));
            let _ = writeln!(text, "{numbers}  {per_day:>12.1}  {name:width$}  {callers}; {events}");
        }
        let is_told = |rule: &&Rule| with_unmatched && !self.rules.contains_key(rule.name.as_str());
        let never: Vec<_> = self.filter.rules.iter().filter(is_told).collect();
        if !never.is_empty() {
            let _ = writeln!(text, "\nnever matched");
        }
        for rule in never {
            let unseen = self.unseen(rule);
            let more = unseen.len().saturating_sub(TOP);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let note = match escape(&unseen.into_iter().take(TOP).collect::<Vec<_>>().join(", ")).as_str() {
                _ if !rule.enabled => "  (disabled)",
                "" => "",
                paths => &format!("  (no record that it looked at had a value at {paths}{more})"),
            };
            let _ = writeln!(text, "      0  {}{note}", escape(&rule.name));
        }
        text
    }

    /// The paths of a rule at which no record had a value, those inside of elements in full.
    fn unseen(&self, rule: &Rule) -> Vec<String> {
        fn add(tests: &[Test], within: &str, paths_seen: &[bool], unseen: &mut Vec<String>) {
            for test in tests {
                let path = format!("{within}{}", test.path_text());
                match &test.check {
                    _ if paths_seen.get(test.id) == Some(&false) => unseen.push(path),
                    Check::Element(inner) => add(inner, &format!("{path}."), paths_seen, unseen),
                    _ => {}
                }
            }
        }
        let mut unseen = Vec::new();
        rule.conditions().for_each(|condition| add(&condition.wheres, "", &self.paths_seen, &mut unseen));
        let mut told = HashSet::new();
        unseen.retain(|path| told.insert(path.clone()));
        unseen
    }
}

/// The most frequent ones, most first.
fn top(counts: &Tally<String>, matches: u64) -> String {
    let top = counts.top(TOP, matches);
    let shown = top.named.iter().map(|(what, n)| format!("{} ({n})", escape(what)));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if top.others.count > 0 {
        let at_least = if top.others.is_at_least { "at least " } else { "" };
        let _ = write!(text, ", {at_least}{} more", top.others.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Hit, config};

    #[test]
    fn names_without_end_take_bounded_memory_and_all_matches_count() {
        let filter = config::parse(br#"{"rules": [{"name": "r", "source": "iam"}]}"#, None).unwrap();
        let mut statistics = Statistics::new(&filter);
        statistics.records = 1;
        let session = "s".repeat(1_000);
        for number in 0..20_000 {
            let who = if number % 10 == 0 { "alice".to_owned() } else { format!("{number}-{session}") };
            let event_name = Some("CreateUser".to_owned());
            let hits =
                filter.rules.iter().map(|rule| Hit { rule, ignored: false, expired: false, held: false }).collect();
            let matched = Match { hits, event: None, duplicates: 0, summarised: 0, suppressed: 0 };
            statistics.count(&matched, &[Some(who), event_name]);
        }
        let text = statistics.table(true);
        assert!(text.contains("  20000 ") && text.contains("  alice (2000), "), "{text}");
        let more = text.split_once("at least ").and_then(|(_, rest)| rest.split_once(" more; CreateUser (20000)\n"));
        let more: usize = more.unwrap_or_else(|| panic!("{text}")).0.parse().unwrap();
        assert!((1_000..NAMES_ROOM / session.len()).contains(&more), "{more}");
    }
}

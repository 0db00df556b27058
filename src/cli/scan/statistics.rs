//! What a scan counts: how much each rule would have sent, so that it can be tuned before it pages anyone.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use super::super::console::{SOME_FAILED, counted};
use super::super::summary::{Details, Group, Reading, RuleDetails, RuleSummary, Sample, Summary, Top, Unmatched};
use super::facts::{Facts, More};
use super::interrupt::INTERRUPTED;
use super::span::Span;
use super::table;
use super::what_if::Trials;
use super::worker::{LogCounts, PrintedAlert};
use crate::alert::{NOTHING, Tally, truncate};
use crate::evaluate::{Match, RuleCounts};
use crate::rules::{Check, Filter, Hit, Rule, Severity, Test};

/// The most callers and the like that the summary names.
const TOP: usize = 10;

/// How many bytes the callers and event names of all rules may take, so that years of logs can be scanned: the sessions of a
/// role may have a new name each. Other details may take as much again.
const NAMES_ROOM: usize = 8 << 20;

/// The most hours, of all severities, that are told apart: some twenty years.
const HOURS_LIMIT: usize = 200_000;

/// The longest reason of a failure that is kept, in bytes.
const TEXT_LIMIT: usize = 256;

/// The most failures whose reasons are kept.
const FAILURES_LIMIT: usize = 100;

/// What the messages and matches of a group have in common.
const GROUPS: [&str; 4] = ["callers", "accounts", "regions", "addresses"];

/// Who is behind the matches of a rule that are not sent.
const NOT_SENT: &str = "callers of matches that are not sent";

const SEVERITIES: [Severity; 5] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

pub(in crate::cli) struct Statistics<'f> {
    filter: &'f Filter,
    /// Logs that were read to their end.
    pub(super) logs: u64,
    pub(super) bytes: u64,
    pub(super) records: u64,
    ignored: u64,
    suppressed: u64,
    messages: u64,
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
    rules: HashMap<&'f str, Found<'f>>,
    /// What is left of [`NAMES_ROOM`].
    room: usize,
    more: Option<FoundMore<'f>>,
}

/// What a rule has found.
struct Found<'f> {
    rule: &'f Rule,
    of_rule: RuleCounts,
    messages: u64,
    callers: Tally<String>,
    events: Tally<String>,
    more: FoundDetails,
}

/// What a rule has found if details are asked for.
struct FoundDetails {
    /// By [`GROUPS`] but callers.
    groups: [Tally<String>; 3],
    not_sent: Tally<String>,
    days: Tally<String>,
    /// With their times.
    first: Option<(Option<String>, Sample)>,
    latest: Option<(Option<String>, Sample)>,
}

/// What all rules have found if details are asked for.
struct FoundMore<'f> {
    trials: Trials<'f>,
    /// Calls that alerted, by [`GROUPS`].
    groups: [Tally<String>; 4],
    calls: u64,
    severities: [u64; SEVERITIES.len()],
    hours: Tally<(String, Severity)>,
    failures: Vec<String>,
    room: usize,
    /// Whether the scan's own memory has forgotten nothing.
    remembers_all: bool,
}

fn tally<K: Ord>() -> Tally<K> {
    Tally::new(usize::MAX)
}

impl<'f> Found<'f> {
    fn new(rule: &'f Rule) -> Self {
        let more = FoundDetails {
            groups: [(); 3].map(|()| tally()),
            not_sent: tally(),
            days: tally(),
            first: None,
            latest: None,
        };
        Found { rule, of_rule: RuleCounts::default(), messages: 0, callers: tally(), events: tally(), more }
    }
}

impl<'f> Statistics<'f> {
    /// Counts for a configuration, with or without details.
    pub(super) fn new(filter: &'f Filter, with_details: bool) -> Self {
        let more = with_details.then(|| FoundMore {
            trials: Trials::default(),
            groups: [(); 4].map(|()| tally()),
            calls: 0,
            severities: [0; SEVERITIES.len()],
            hours: Tally::new(HOURS_LIMIT),
            failures: Vec::new(),
            room: NAMES_ROOM,
            remembers_all: true,
        });
        Statistics {
            filter,
            logs: 0,
            bytes: 0,
            records: 0,
            ignored: 0,
            suppressed: 0,
            messages: 0,
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
            more,
        }
    }

    /// Counts a match.
    pub(super) fn count(&mut self, matched: &Match<'f>, facts: &Facts<'f>) {
        self.matches += 1;
        self.ignored += u64::from(matched.is_ignored());
        self.suppressed += u64::from(matched.is_suppressed());
        for hit in &matched.hits {
            let found = self.rules.entry(&hit.rule.name).or_insert_with(|| Found::new(hit.rule));
            found.of_rule.count(hit);
            for (counts, name) in [(&mut found.callers, &facts.who), (&mut found.events, &facts.event_name)] {
                let name = name.as_deref().unwrap_or(NOTHING);
                counts.count(name, name.len(), &mut self.room);
            }
        }
        if let (Some(all), Some(more)) = (&mut self.more, &facts.more) {
            let texts = texts(facts, more);
            for hit in &matched.hits {
                let Some(found) = self.rules.get_mut(hit.rule.name.as_str()) else { continue };
                count_each(&mut found.more.groups, &texts[1..], &mut all.room);
                if !hit.is_sent() {
                    count_each(std::slice::from_mut(&mut found.more.not_sent), &texts[..1], &mut all.room);
                }
            }
            if matched.hits.iter().any(Hit::is_sent) {
                all.calls += 1;
                count_each(&mut all.groups, &texts, &mut all.room);
            }
            all.trials.count(matched, &more.tried);
        }
    }

    pub(super) fn count_message(&mut self, message: &PrintedAlert) {
        self.messages += 1;
        let time = message.time.as_deref().filter(|_| self.more.is_some());
        let hour = time.filter(|time| humantime::parse_rfc3339(time).is_ok());
        let hour = hour.and_then(|time| time.get(.."2026-11-20T21".len()));
        let (mut highest, mut room) = (Severity::Info, self.more.as_ref().map_or(0, |more| more.room));
        for rule in &message.rules {
            let Some(found) = self.rules.get_mut(rule.as_str()) else { continue };
            found.messages += 1;
            highest = found.rule.severity.max(highest);
            if self.more.is_some() {
                if let Some((day, _)) = hour.and_then(|hour| hour.split_once('T')) {
                    found.more.days.count(day, day.len(), &mut room);
                }
                found.more.keep(message);
            }
        }
        if let Some(more) = &mut self.more {
            if let Some(hour) = hour {
                more.hours.count(&(hour.to_owned(), highest), hour.len(), &mut room);
            }
            more.room = room;
            SEVERITIES.iter().zip(&mut more.severities).for_each(|(known, n)| *n += u64::from(*known == highest));
        }
    }

    pub(super) fn count_log(&mut self, log: &LogCounts) {
        self.bytes += log.bytes;
        self.records += log.records;
        self.repeats += log.repeats;
        self.outside += log.outside;
        self.span.join(&log.span);
        for (seen, also) in self.paths_seen.iter_mut().zip(&log.paths_seen) {
            *seen |= also;
        }
    }

    /// Notes that these rules had more alerts than one log may have.
    pub(super) fn limit(&mut self, rules: &[String]) {
        if let Some(more) = &mut self.more {
            more.trials.limit(rules);
        }
    }

    /// Notes whether the scan's memory has forgotten nothing.
    pub(super) fn note_memory(&mut self, remembers_all: bool) {
        if let Some(more) = &mut self.more {
            more.remembers_all &= remembers_all;
        }
    }

    /// Counts something that could not be read.
    pub(super) fn fail(&mut self, why: &str) {
        self.failed += 1;
        if let Some(more) = &mut self.more
            && more.failures.len() < FAILURES_LIMIT
        {
            more.failures.push(cut(why));
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

    /// The counts of the rules that matched, for the terminal.
    pub(in crate::cli) fn table(&self) -> String {
        table::table(&self.summary(""), table::width(), false)
    }

    /// The results, as a table and a page show them.
    pub(in crate::cli) fn summary(&self, configuration: &str) -> Summary {
        let mut found: Vec<_> = self.rules.values().collect();
        found.sort_by_key(|found| (Reverse(found.of_rule.matches), found.rule.name.as_str()));
        let unmatched = self.filter.rules.iter().filter(|rule| !self.rules.contains_key(rule.name.as_str()));
        let unmatched = unmatched.map(|rule| Unmatched {
            name: rule.name.clone(),
            severity: rule.severity,
            is_enabled: rule.enabled,
            unseen: if rule.enabled { self.unseen(rule) } else { Vec::new() },
        });
        Summary {
            head: self.head(),
            configuration: configuration.to_owned(),
            reading: Reading {
                logs: self.logs,
                records: self.records,
                matches: self.matches,
                ignored: self.ignored,
                suppressed: self.suppressed,
                repeats: self.repeats,
                skipped: self.skipped,
                outside: self.outside,
                failed: self.failed,
                is_interrupted: self.interrupted,
                ends: self.span.ends().map(|(first, last)| (first.to_owned(), last.to_owned())),
                days: self.span.days().iter().cloned().collect(),
            },
            messages: self.messages,
            rules: found.into_iter().map(|found| self.of_rule(found)).collect(),
            unmatched: unmatched.collect(),
            details: self.more.as_ref().map(FoundMore::details),
        }
    }

    fn of_rule(&self, found: &Found<'f>) -> RuleSummary {
        let Found { rule, of_rule: counts, messages, callers, events, more: details } = found;
        let [callers, events] = [callers, events].map(|tally| top(tally, counts.matches));
        let details = self.more.as_ref().map(|more| {
            let not_sent = counts.ignored + counts.dry + counts.suppressed;
            let groups = GROUPS[1..].iter().zip(&details.groups);
            let mut groups: Vec<_> =
                groups.map(|(title, tally)| Group { title, top: top(tally, counts.matches) }).collect();
            if not_sent > 0 {
                groups.push(Group { title: NOT_SENT, top: top(&details.not_sent, not_sent) });
            }
            RuleDetails {
                groups,
                days: details.days.all().map(|(day, n)| (day.clone(), n)).collect(),
                samples: [&details.first, &details.latest].into_iter().flatten().map(|(_, it)| it.clone()).collect(),
                edits: more.trials.edits(self.filter, rule, more.remembers_all),
            }
        });
        RuleSummary {
            name: rule.name.clone(),
            severity: rule.severity,
            description: rule.description.clone(),
            counts: counts.clone(),
            messages: *messages,
            callers,
            events,
            details,
        }
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

impl FoundDetails {
    /// Keeps a message if it is the first or the latest one.
    fn keep(&mut self, PrintedAlert { time, sample, .. }: &PrintedAlert) {
        let Some(sample) = sample else { return };
        if self.first.as_ref().is_none_or(|(first, _)| time < first) {
            self.first = Some((time.clone(), sample.clone()));
        }
        if self.latest.as_ref().is_none_or(|(latest, _)| time >= latest) {
            self.latest = Some((time.clone(), sample.clone()));
        }
    }
}

impl FoundMore<'_> {
    fn details(&self) -> Details {
        let mut hours: Vec<(String, Vec<u64>)> = Vec::new();
        for ((hour, severity), n) in self.hours.all() {
            if hours.last().is_none_or(|(last, _)| last != hour) {
                hours.push((hour.clone(), vec![0; SEVERITIES.len()]));
            }
            if let Some((_, counts)) = hours.last_mut() {
                SEVERITIES.iter().zip(counts).for_each(|(known, sum)| *sum += if known == severity { n } else { 0 });
            }
        }
        let groups = GROUPS.iter().zip(&self.groups);
        Details {
            severities: SEVERITIES.into_iter().zip(self.severities).collect(),
            hours,
            groups: groups.map(|(title, tally)| Group { title, top: top(tally, self.calls) }).collect(),
            failures: self.failures.clone(),
        }
    }
}

/// The texts of a match by [`GROUPS`].
fn texts<'t>(facts: &'t Facts<'_>, more: &'t More<'_>) -> [&'t str; 4] {
    [&facts.who, &more.account, &more.region, &more.address].map(|text| text.as_deref().unwrap_or(NOTHING))
}

fn count_each(tallies: &mut [Tally<String>], texts: &[&str], room: &mut usize) {
    for (tally, text) in tallies.iter_mut().zip(texts) {
        tally.count(*text, text.len(), room);
    }
}

fn cut(text: &str) -> String {
    truncate(text, TEXT_LIMIT, "…").into_owned()
}

/// The most frequent ones, most first.
fn top(counts: &Tally<String>, matches: u64) -> Top {
    let top = counts.top(TOP, matches);
    let named = top.named.into_iter().map(|(name, n)| (name.clone(), n)).collect();
    Top { named, others: top.others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Others;
    use crate::rules::config;

    #[test]
    fn names_without_end_take_bounded_memory_and_all_matches_count() {
        let filter = config::parse(br#"{"rules": [{"name": "r", "source": "iam"}]}"#, None).unwrap();
        let mut statistics = Statistics::new(&filter, false);
        statistics.records = 1;
        let session = "s".repeat(1_000);
        for number in 0..20_000 {
            let who = if number % 10 == 0 { "alice".to_owned() } else { format!("{number}-{session}") };
            let event_name = Some("CreateUser".to_owned());
            let hits =
                filter.rules.iter().map(|rule| Hit { rule, ignored: false, expired: false, held: false }).collect();
            let matched = Match { hits, event: None, duplicates: 0, summarised: 0, suppressed: 0 };
            statistics.count(&matched, &Facts { who: Some(who), event_name, more: None });
        }
        let summary = statistics.summary("c.json");
        let RuleSummary { counts, callers, events, .. } = &summary.rules[0];
        assert_eq!((counts.matches, &callers.named[0]), (20_000, &("alice".to_owned(), 2_000)));
        assert_eq!(events.named, [("CreateUser".to_owned(), 20_000)]);
        let Others { count, is_at_least, .. } = callers.others;
        assert!(is_at_least && (1_000..NAMES_ROOM / session.len()).contains(&usize::try_from(count).unwrap()));
    }
}

//! Runs the tests of rules: on each test's records, as one log, a rule must make as many alerts as the test says.

use std::collections::HashMap;

use super::super::console::counted;
use crate::alert::GroupId;
use crate::evaluate::{Evaluator, Verdict};
use crate::log::{LogFile, Malformed, Record, readable};
use crate::memory::{Groups, Sighting};
use crate::rules::{Filter, Learned, Matcher, Rule, RuleTest, Stage, explain};

/// The most failing tests, and the most records of each, that are explained.
const EXPLAINED: usize = 20;

/// The most memory of the groups of one test, in bytes: more than a configuration's records can fill.
const MEMORY: usize = 64 << 20;

/// The time on the clock, in which nothing of a test depends.
const NOW: u64 = 0;

/// The result of one test.
pub(in crate::cli) struct Outcome {
    pub(super) rule: String,
    /// Its place in the rule.
    pub(super) place: String,
    pub(super) name: Option<String>,
    /// What is wrong, if it failed, and lines about why.
    pub(in crate::cli) failure: Option<Vec<String>>,
}

/// What became of a record.
enum Fate<'f> {
    Alert,
    /// The log has had its event already.
    Repeat,
    /// This stage of the rule holds it back, which has seen so many matches of its group.
    Held(&'f Stage, u64),
    Nothing,
}

/// Runs all tests of a configuration. Each rule is taken as enabled and without dry run, and alerts without limit.
pub(in crate::cli) fn run(filter: &mut Filter) -> Vec<Outcome> {
    filter.max_alerts_per_log = None;
    for rule in &mut filter.rules {
        (rule.enabled, rule.dry_run) = (true, false);
    }
    let (learned, mut log_file, mut outcomes) = (Learned::new(filter), LogFile::default(), Vec::new());
    let mut failures = 0;
    for rule in &filter.rules {
        for (i, test) in rule.tests.iter().enumerate() {
            log_file.restart();
            let failure = match fates(filter, &learned, &mut log_file, rule, test) {
                Ok(fates) => failure(filter, rule, test, &fates, failures < EXPLAINED),
                Err(problem) => Some(vec![format!("its records can't be read: {problem}")]),
            };
            failures += usize::from(failure.is_some());
            let (place, name) = (format!("tests[{i}]"), test.name.clone());
            outcomes.push(Outcome { rule: rule.name.clone(), place, name, failure });
        }
    }
    outcomes
}

/// What becomes of the records of a test, as far as its rule is concerned.
fn fates<'f>(
    filter: &'f Filter,
    learned: &Learned,
    log_file: &mut LogFile,
    rule: &Rule,
    test: &RuleTest,
) -> Result<Vec<Fate<'f>>, Malformed> {
    let log = format!("{{\"Records\":[{}]}}", test.records.join(","));
    let mut evaluator = Evaluator::new(Matcher::new(filter, learned), "the test", None);
    let (mut fates, mut memory, mut seen) = (Vec::new(), Groups::new(MEMORY), HashMap::new());
    for piece in [Some(log.as_bytes()), None] {
        let mut records = log_file.read(piece);
        while let Some(record) = records.next()? {
            fates.push(match evaluator.evaluate(&record)? {
                Verdict::Matched(matched, _)
                    if matched.hits.iter().any(|hit| hit.alerts() && hit.rule.name == rule.name) =>
                {
                    if matched.duplicates > 0 { Fate::Repeat } else { Fate::Alert }
                }
                Verdict::Pending(pending, _) => {
                    match pending.sightings().iter().find(|sighting| sighting.rule.name == rule.name) {
                        Some(sighting) => decided(sighting, &mut memory, &mut seen),
                        None if pending.alerts(rule) => Fate::Alert,
                        None => Fate::Nothing,
                    }
                }
                _ => Fate::Nothing,
            });
        }
    }
    Ok(fates)
}

/// What the memory makes of a match. `seen` counts the matches by group.
fn decided<'f>(sighting: &Sighting<'f>, memory: &mut Groups, seen: &mut HashMap<GroupId, u64>) -> Fate<'f> {
    let (decision, mut fate) = (memory.decide(sighting, NOW), Fate::Alert);
    for (stage, group, _) in sighting.stages().take(decision.told.len() + 1) {
        let number = seen.entry(group).or_insert(0);
        *number += 1;
        if decision.held {
            fate = Fate::Held(stage, *number);
        }
    }
    fate
}

fn failure(filter: &Filter, rule: &Rule, test: &RuleTest, fates: &[Fate<'_>], explained: bool) -> Option<Vec<String>> {
    let alerts = fates.iter().filter(|fate| matches!(fate, Fate::Alert)).count() as u64;
    let (passes, expected) = match test.alerts {
        None => (alerts > 0, "at least one alert".to_owned()),
        Some(0) => (alerts == 0, "no alert".to_owned()),
        Some(expected) => (alerts == expected, counted(expected, "alert")),
    };
    if passes {
        return None;
    }
    let got = if alerts == 0 { "none".to_owned() } else { alerts.to_string() };
    let failure = format!("it expects {expected}, but the rule makes {got}");
    if !explained {
        return Some(vec![failure]);
    }
    let why = |record: &str, fate: &Fate<'_>| match fate {
        Fate::Repeat => vec!["no alert, because a record before it has its eventID: they are one event".to_owned()],
        Fate::Held(stage, number) => vec![format!(
            "no alert, because {} holds it back: it is match {number} with the same {}",
            stage.name(),
            stage.by_text()
        )],
        Fate::Alert | Fate::Nothing => {
            let json = readable(record.as_bytes());
            Record::parse(&json).map_or_else(|problem| vec![problem], |record| explain(filter, rule, &record))
        }
    };
    let mut lines = vec![failure];
    for (i, (record, fate)) in test.records.iter().zip(fates).take(EXPLAINED).enumerate() {
        let at = if fates.len() == 1 { String::new() } else { format!("records[{i}]: ") };
        lines.extend(why(record, fate).into_iter().map(|why| format!("{at}{why}")));
    }
    if fates.len() > EXPLAINED {
        lines.push(format!("and {} more records", fates.len() - EXPLAINED));
    }
    Some(lines)
}

//! Runs the tests of rules: on each test's records, as one log, a rule must make as many alerts as the test says.

use super::super::console::counted;
use crate::evaluate::{Evaluator, Match, Verdict};
use crate::log::{LogFile, Malformed, Record, readable};
use crate::rules::{Filter, Learned, Matcher, Rule, RuleTest, explain};

/// The most failing tests, and the most records of each, that are explained.
const EXPLAINED: usize = 20;

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
enum Fate {
    Alert,
    /// The log has had its event already.
    Repeat,
    Nothing,
}

/// Runs all tests of a configuration. Each rule is taken as enabled and without dry run, and alerts without limit.
pub(in crate::cli) fn run(filter: &mut Filter) -> Vec<Outcome> {
    filter.max_alerts_per_log = None;
    for rule in &mut filter.rules {
        (rule.enabled, rule.dry_run) = (true, false);
    }
    let learned = Learned::new(filter);
    let (mut outcomes, mut failures) = (Vec::new(), 0);
    for rule in &filter.rules {
        for (i, test) in rule.tests.iter().enumerate() {
            let failure = match fates(filter, &learned, rule, test) {
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
fn fates(filter: &Filter, learned: &Learned, rule: &Rule, test: &RuleTest) -> Result<Vec<Fate>, Malformed> {
    let log = format!("{{\"Records\":[{}]}}", test.records.join(","));
    let (mut log_file, mut fates) = (LogFile::default(), Vec::new());
    let mut evaluator = Evaluator::new(Matcher::new(filter, learned), "the test", None);
    for piece in [Some(log.as_bytes()), None] {
        let mut records = log_file.read(piece);
        while let Some(record) = records.next()? {
            let is_alert =
                |matched: &Match<'_>| matched.hits.iter().any(|hit| hit.alerts() && hit.rule.name == rule.name);
            fates.push(match evaluator.evaluate(&record)? {
                Verdict::Matched(matched, _) if is_alert(&matched) && matched.duplicates > 0 => Fate::Repeat,
                Verdict::Matched(matched, _) if is_alert(&matched) => Fate::Alert,
                _ => Fate::Nothing,
            });
        }
    }
    Ok(fates)
}

fn failure(filter: &Filter, rule: &Rule, test: &RuleTest, fates: &[Fate], explained: bool) -> Option<Vec<String>> {
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
    let mut lines = vec![format!("it expects {expected}, but the rule makes {got}")];
    if !explained {
        return Some(lines);
    }
    let why = |record: &str, fate: &Fate| match fate {
        Fate::Repeat => vec!["no alert, because a record before it has its eventID: they are one event".to_owned()],
        Fate::Alert | Fate::Nothing => {
            let json = readable(record.as_bytes());
            Record::parse(&json).map_or_else(|problem| vec![problem], |record| explain(filter, rule, &record))
        }
    };
    for (i, (record, fate)) in test.records.iter().zip(fates).take(EXPLAINED).enumerate() {
        let at = if fates.len() == 1 { String::new() } else { format!("records[{i}]: ") };
        lines.extend(why(record, fate).into_iter().map(|why| format!("{at}{why}")));
    }
    if fates.len() > EXPLAINED {
        lines.push(format!("and {} more records", fates.len() - EXPLAINED));
    }
    Some(lines)
}

//! Runs the tests of rules: on each test's records, as one log, a rule must make as many alerts as the test says.

use super::super::console::counted;
use crate::evaluate::{Evaluator, Verdict};
use crate::log::{LogFile, Malformed, Record, readable};
use crate::rules::{Filter, Learned, Matcher, Rule, RuleTest, explain};

/// The result of one test.
pub(super) struct Outcome {
    pub(super) rule: String,
    /// Its name, or its place in the rule.
    pub(super) test: String,
    /// What is wrong, if it failed.
    pub(super) failure: Option<String>,
}

/// Runs all tests of a configuration. Each rule is taken as enabled and without dry run, and alerts without limit.
pub(super) fn run(mut filter: Filter) -> Vec<Outcome> {
    filter.max_alerts_per_log = None;
    for rule in &mut filter.rules {
        (rule.enabled, rule.dry_run) = (true, false);
    }
    let learned = Learned::new(&filter);
    let mut outcomes = Vec::new();
    for rule in &filter.rules {
        for (i, test) in rule.tests.iter().enumerate() {
            outcomes.push(Outcome {
                rule: rule.name.clone(),
                test: test.name.clone().unwrap_or_else(|| format!("tests[{i}]")),
                failure: failure(&filter, &learned, rule, test),
            });
        }
    }
    outcomes
}

fn failure(filter: &Filter, learned: &Learned, rule: &Rule, test: &RuleTest) -> Option<String> {
    let alerts = match alerts(filter, learned, rule, test) {
        Ok(alerts) => alerts,
        Err(problem) => return Some(format!("its records can't be read: {problem}")),
    };
    let (passes, expected) = match test.alerts {
        None => (alerts > 0, "at least one alert".to_owned()),
        Some(0) => (alerts == 0, "no alert".to_owned()),
        Some(expected) => (alerts == expected, counted(expected, "alert")),
    };
    let why = test.records.iter().enumerate().filter_map(|(i, record)| {
        let text = readable(record.as_bytes());
        let why = explain(filter, rule, &Record::parse(&text).ok()?).join("; ");
        Some(if test.records.len() == 1 { why } else { format!("record {}: {why}", i + 1) })
    });
    let got = if alerts == 0 { "none".to_owned() } else { alerts.to_string() };
    (!passes)
        .then(|| format!("it expects {expected}, but the rule makes {got}: {}", why.collect::<Vec<_>>().join("\n  ")))
}

/// The number of alerts of a rule on the records of a test.
fn alerts(filter: &Filter, learned: &Learned, rule: &Rule, test: &RuleTest) -> Result<u64, Malformed> {
    let log = format!("{{\"Records\":[{}]}}", test.records.join(","));
    let mut evaluator = Evaluator::new(Matcher::new(filter, learned), "the test", None);
    let mut log_file = LogFile::default();
    let mut count = 0;
    for piece in [Some(log.as_bytes()), None] {
        let mut records = log_file.read(piece);
        while let Some(record) = records.next()? {
            if let Verdict::Matched(_, alerts) = evaluator.evaluate(&record)? {
                count += alerts.filter(|alert| alert.rules.contains(&rule.name)).count() as u64;
            }
        }
    }
    Ok(count)
}

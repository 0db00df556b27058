//! `check`: validates a configuration, runs the tests of its rules, and warns of probable mistakes.

mod junit;
mod trial;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use self::trial::Outcome;
use super::console::{SOME_FAILED, WRONG_INPUT, counted, load, print, say_error, say_warning};
use crate::alert::escape;
use crate::rules::{Filter, config, lint, packs};

/// Checks a configuration file, and writes the results of its tests to a file of JUnit's form.
pub(super) fn check(file: &Path, junit: Option<&Path>) -> ExitCode {
    let name = file.display().to_string();
    let loaded = load(file);
    let text = loaded.as_ref().map(|filter| summary(&name, filter)).unwrap_or_default();
    let (problems, outcomes) = match loaded {
        Ok(filter) => {
            let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            for warning in lint::warnings(&filter, today.get(..10).unwrap_or_default()) {
                say_warning(&format!("{name}: {warning}"));
            }
            (Vec::new(), outcomes(filter))
        }
        Err(problems) => (problems, Vec::new()),
    };
    let mut failed = !problems.is_empty();
    for Outcome { rule, test, failure } in &outcomes {
        if let Some(failure) = failure {
            say_error(&format!("{name}: rule {rule}, test {test}: {failure}"));
            failed = true;
        }
    }
    if let Some(junit) = junit
        && let Err(e) = fs::write(junit, junit::report(&name, &problems, &outcomes))
    {
        say_error(&format!("{}: it can't be written: {e}", junit.display()));
        return ExitCode::from(if failed { WRONG_INPUT } else { SOME_FAILED });
    }
    if failed {
        return ExitCode::from(WRONG_INPUT);
    }
    let passed =
        if outcomes.is_empty() { String::new() } else { format!("  {} passed\n", counted(outcomes.len(), "test")) };
    print(&(text + &passed))
}

/// The results of the tests of a configuration, and of those of its packs as they are shipped.
fn outcomes(filter: Filter) -> Vec<Outcome> {
    let packs = filter.packs.iter().filter_map(|name| config::parse(packs::file(name)?.as_bytes(), None).ok());
    let packs: Vec<_> = packs.collect();
    packs.into_iter().chain([filter]).flat_map(trial::run).collect()
}

fn summary(name: &str, filter: &Filter) -> String {
    let mut text = format!("{} is valid: {}\n", escape(name), counted(filter.rules.len(), "rule"));
    for (i, topic) in filter.topics.iter().enumerate() {
        let Some(arn) = &topic.arn else { continue };
        let rules = filter.rules.iter().filter(|rule| rule.topic == i).count();
        let _ = writeln!(text, "  {}: {} as {}", arn.as_str(), counted(rules, "rule"), topic.format.name());
    }
    text
}

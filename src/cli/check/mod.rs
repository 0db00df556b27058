//! `check`: validates a configuration, runs the tests of its rules, and warns of probable mistakes.

mod junit;
pub(super) mod trial;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use self::trial::Outcome;
use super::console::{SOME_FAILED, WRONG_INPUT, counted, load, print, say, say_error, say_warning};
use crate::alert::escape;
use crate::rules::{Filter, Rule, config, lint, packs};

/// The most rules without tests that are named.
const SHOWN: usize = 3;

/// The tests of a configuration, or of a pack as it is shipped.
struct Suite {
    name: String,
    outcomes: Vec<Outcome>,
    /// The file's own rules without tests.
    untested: Vec<String>,
}

/// Checks a configuration file, and writes the results of its tests to a file of JUnit's form.
pub(super) fn check(file: &Path, junit: Option<&Path>) -> ExitCode {
    let name = file.display().to_string();
    let is_file =
        |path: &Path| path == file || path.canonicalize().is_ok_and(|it| file.canonicalize().ok() == Some(it));
    if junit.is_some_and(is_file) {
        say_error(&format!("{name}: --junit names the configuration itself: name another file for the results"));
        return ExitCode::from(WRONG_INPUT);
    }
    let (text, problems, suites) = match load(file, "") {
        Ok(filter) => {
            let packs = filter.packs.iter().filter_map(|name| config::parse(packs::file(name)?.as_bytes(), None).ok());
            let packs: Vec<_> = packs.collect();
            let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            for warning in lint::warnings(&filter, &packs, today.get(..10).unwrap_or_default()) {
                say_warning(&format!("{name}: {warning}"));
            }
            let text = summary(&name, &filter);
            (text, Vec::new(), suites(&name, filter, packs))
        }
        Err(problems) => {
            (String::new(), problems, vec![Suite { name: name.clone(), outcomes: Vec::new(), untested: Vec::new() }])
        }
    };
    let failed = suites.iter().map(tell).sum::<usize>() > 0 || !problems.is_empty();
    if let Some(junit) = junit
        && let Err(e) = fs::write(junit, junit::report(&name, &problems, &suites))
    {
        say_error(&format!("{}: it can't be written: {e}", junit.display()));
        return ExitCode::from(if failed { WRONG_INPUT } else { SOME_FAILED });
    }
    if failed {
        return ExitCode::from(WRONG_INPUT);
    }
    let suites = suites.iter().filter(|suite| !suite.outcomes.is_empty());
    let passed = suites.map(|Suite { name, outcomes, untested }| {
        format!("  {}: {} passed{}\n", escape(name), counted(outcomes.len(), "test"), without_tests(untested))
    });
    print(&(text + &passed.collect::<String>()), ExitCode::SUCCESS)
}

/// The results of the tests of a configuration, and of those of its packs as they are shipped.
fn suites(name: &str, mut filter: Filter, packs: Vec<Filter>) -> Vec<Suite> {
    let names: Vec<_> = filter.packs.iter().map(|pack| format!("pack {pack}")).collect();
    let is_of_pack = |rule: &Rule| packs.iter().flat_map(|pack| &pack.rules).any(|it| it.name == rule.name);
    let untested = filter.rules.iter().filter(|rule| rule.tests.is_empty() && rule.name != config::DEFAULT_RULE);
    let untested = untested.filter(|rule| !is_of_pack(rule)).map(|rule| rule.name.clone()).collect();
    let mut suites = vec![Suite { name: name.to_owned(), outcomes: trial::run(&mut filter), untested }];
    for (name, mut pack) in names.into_iter().zip(packs) {
        suites.push(Suite { name, outcomes: trial::run(&mut pack), untested: Vec::new() });
    }
    suites
}

/// The rules of a file that have no tests.
fn without_tests(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let has = if names.len() == 1 { "has" } else { "have" };
    let shown = escape(&names[..names.len().min(SHOWN)].join(", "));
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("; {} {has} none: {shown}{more}", counted(names.len(), "rule"))
}

/// Writes the failures to stderr; gives their number.
fn tell(suite: &Suite) -> usize {
    let mut failures = 0;
    for Outcome { rule, place, name, failure } in &suite.outcomes {
        let Some([first, lines @ ..]) = failure.as_deref() else { continue };
        let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        say_error(&format!("{}: rule {rule}, {place}{name}: {first}", suite.name));
        for line in lines {
            say(&format!("  {}", escape(line)));
        }
        failures += 1;
    }
    if failures > 0 {
        let tests = counted(suite.outcomes.len(), "test");
        say(&format!("{}: {failures} of {tests} failed", escape(&suite.name)));
    }
    failures
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

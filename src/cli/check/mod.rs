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
use crate::rules::{Filter, config, lint, packs};

/// The tests of a configuration, or of a pack as it is shipped.
struct Suite {
    name: String,
    outcomes: Vec<Outcome>,
}

/// Checks a configuration file, and writes the results of its tests to a file of JUnit's form.
pub(super) fn check(file: &Path, junit: Option<&Path>) -> ExitCode {
    let name = file.display().to_string();
    let is_file = |other: &Path| other == file || same(other, file);
    if junit.is_some_and(is_file) {
        say_error(&format!("{name}: --junit names the configuration itself: name another file for the results"));
        return ExitCode::from(WRONG_INPUT);
    }
    let (text, problems, suites) = match load(file) {
        Ok(filter) => {
            let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            for warning in lint::warnings(&filter, today.get(..10).unwrap_or_default()) {
                say_warning(&format!("{name}: {warning}"));
            }
            let text = summary(&name, &filter);
            (text, Vec::new(), suites(&name, filter))
        }
        Err(problems) => (String::new(), problems, vec![Suite { name: name.clone(), outcomes: Vec::new() }]),
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
    let passed = suites
        .map(|Suite { name, outcomes }| format!("  {}: {} passed\n", escape(name), counted(outcomes.len(), "test")));
    print(&(text + &passed.collect::<String>()))
}

/// Whether two paths lead to one file.
fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The results of the tests of a configuration, and of those of its packs as they are shipped.
fn suites(name: &str, mut filter: Filter) -> Vec<Suite> {
    let pack = |pack: &String| {
        let mut filter = config::parse(packs::file(pack)?.as_bytes(), None).ok()?;
        Some(Suite { name: format!("pack {pack}"), outcomes: trial::run(&mut filter) })
    };
    let packs: Vec<_> = filter.packs.iter().filter_map(pack).collect();
    let own = Suite { name: name.to_owned(), outcomes: trial::run(&mut filter) };
    [own].into_iter().chain(packs).collect()
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

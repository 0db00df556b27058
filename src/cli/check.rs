//! `check`: validates a configuration, and warns of probable mistakes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::console::{WRONG_INPUT, counted, load, print, say_warning};
use crate::alert::escape;
use crate::rules::lint;

pub(super) fn check(file: &Path) -> ExitCode {
    let Some(filter) = load(file) else { return ExitCode::from(WRONG_INPUT) };
    for warning in lint::warnings(&filter) {
        say_warning(&format!("{}: {warning}", file.display()));
    }
    let name = escape(&file.display().to_string());
    let mut text = format!("{name} is valid: {}\n", counted(filter.rules.len(), "rule"));
    for (i, topic) in filter.topics.iter().enumerate() {
        let Some(arn) = &topic.arn else { continue };
        let rules = filter.rules.iter().filter(|rule| rule.topic == i).count();
        let _ = writeln!(text, "  {}: {} as {}", arn.as_str(), counted(rules, "rule"), topic.format.name());
    }
    print(&text)
}

//! `ignore`: from an alert to the narrowest exception that silences it, and what else that would silence.

pub(super) mod entry;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use self::entry::{Entry, FILL_IN, place};
use super::check::trial;
use super::console::{self, NAME_IT, WRONG_INPUT, load, print, say, say_error};
use super::scan::{self, Places, Question, Selection};
use crate::alert::escape;
use crate::log::{Record, readable};
use crate::rules::{Filter, Format, config};

/// The most matches that are shown, and the most characters of their parameters.
const EXAMPLES: usize = 5;
const SHOWN: usize = 120;

/// The keys under which alerts, SNS, SQS, EventBridge and the event history hold a record or another envelope.
const ENVELOPES: [&str; 10] =
    ["event", "detail", "Sns", "Message", "body", "Body", "CloudTrailEvent", "Records", "Messages", "Events"];

const NEEDED: &str = "give one alert in the format json, or its record, which `cloudtrail-alerter scan --format json` \
     prints for a log";

/// Prints the entry for the alert in a file, and what it would silence of these logs and folders with a configuration
/// file; gives the exit status.
pub(super) fn ignore(from: &Path, config: &Path, paths: Vec<PathBuf>) -> ExitCode {
    let found = read(from, &paths).and_then(|bytes| {
        let (record, rules) = record_in(&readable(&bytes))?;
        Ok((entry_for(&record)?, rules))
    });
    let ((entry, only), rules) = match found {
        Ok(found) => found,
        Err(problem) => {
            say_error(&format!("{}: {problem}", from.display()));
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let filter = if paths.is_empty() { Ok(None) } else { load(config, NAME_IT).map(Some) };
    let Ok(filter) = filter else { return ExitCode::from(WRONG_INPUT) };
    let logs = match Places::of(paths) {
        Ok(logs) => logs,
        Err(problem) => {
            say_error(&problem);
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let printed = print(&entry.to_text(), ExitCode::SUCCESS);
    if entry.is_for_role {
        say("It takes all sessions of the role, because a program has made up the name of this one.");
    }
    say(&format!("{}{FILL_IN}", places(&rules)));
    match filter {
        Some(filter) if printed == ExitCode::SUCCESS => silenced(filter, &only, config, logs),
        _ => printed,
    }
}

fn read(from: &Path, paths: &[PathBuf]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if from != Path::new("-") {
        fs::read(from)
    } else if paths.iter().any(|path| path == from) {
        return Err("stdin can't be both the alert and a log".to_owned());
    } else {
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    };
    read.map_err(|e| format!("it can't be read: {e}"))
}

/// Where the entry for an alert of these rules belongs.
fn places(rules: &[String]) -> String {
    let places = rules.iter().map(|rule| place(rule) + "\n").collect::<String>();
    let places = if rules.is_empty() { "Add it to `ignore` in the alert's rule.\n" } else { &places };
    format!("{places}Or, for all rules, add it to `ignore` at the top level.\n")
}

/// The record in an alert and the alert's rules.
fn record_in(text: &str) -> Result<(Value, Vec<String>), String> {
    if serde_json::Deserializer::from_str(text).into_iter::<Value>().take(2).flatten().count() == 2 {
        return Err("it holds several alerts: give one, for example with `head -1`".to_owned());
    }
    let value = serde_json::from_str(text);
    record_of(
        value.map_err(|e| format!("it is not JSON ({e}), and a message in text does not hold the record: {NEEDED}"))?,
    )
}

fn record_of(mut value: Value) -> Result<(Value, Vec<String>), String> {
    if value.get("eventName").is_some_and(Value::is_string) {
        return Ok((value, Vec::new()));
    }
    let rules = value.get("rules").and_then(Value::as_array).into_iter().flatten();
    let rules: Vec<_> = rules.filter_map(Value::as_str).map(str::to_owned).collect();
    for key in ENVELOPES {
        let inner = match value.get_mut(key).map(Value::take) {
            Some(Value::String(text)) => record_in(&text),
            Some(Value::Array(mut one)) if one.len() == 1 => record_of(one.swap_remove(0)),
            Some(Value::Array(several)) => Err(format!("it has {} {key}: {NEEDED}", several.len())),
            Some(inner @ Value::Object(_)) => record_of(inner),
            _ => continue,
        };
        return inner.map(|(record, named)| (record, [rules, named].concat()));
    }
    if value.get("summary").is_some() {
        return Err(format!("it is a summary, which stands for many records: {NEEDED}"));
    }
    Err(format!("there is no record in it: {NEEDED}"))
}

/// The entry for a record, and a filter with its condition as the only rule, which has been seen to match the record.
fn entry_for(record: &Value) -> Result<(Entry, Filter), String> {
    let json = record.to_string();
    let entry = Entry::of(&Record::parse(&json)?).ok_or(
        "its record does not say who called what, so an entry would take calls of others, too: narrow down the rule \
         itself, with `unless`",
    )?;
    let mut filter = config::parse(&entry.as_configuration(record), None).map_err(|problems| problems.join("; "))?;
    let failures: Vec<_> =
        trial::run(&mut filter).into_iter().filter_map(|outcome| outcome.failure).flatten().collect();
    if failures.is_empty() { Ok((entry, filter)) } else { Err(failures.join("; ")) }
}

/// Shows which matches of logs the entry would silence.
fn silenced(mut filter: Filter, only: &Filter, config: &Path, logs: Places) -> ExitCode {
    // A summary, a dry run or a match that is held back would hide examples. An entry takes matches before all of these.
    filter.max_alerts_per_log = None;
    for rule in &mut filter.rules {
        rule.dry_run = false;
        rule.stages.clear();
    }
    let mut examples = Vec::new();
    let question = Question { filter: &filter, only: Some(only), format: Format::Json, what_if: None };
    let (scanned, result) = scan::logs(question, Selection::default(), logs, config, |alerts| {
        let left = EXAMPLES - examples.len();
        examples.extend(alerts.lines().take(left).filter_map(example));
        Ok(())
    });
    let end = if scanned.matches > 0 { ":" } else { "" };
    say(&format!("\nIn these logs ({}), it would silence {}{end}", scanned.read(""), scanned.matched()));
    if scanned.matches > 0 {
        say(scanned.table().trim_end());
    }
    if !examples.is_empty() {
        say(&format!("\nfor example\n{}", examples.concat().trim_end()));
    }
    console::printed(result, scanned.status())
}

/// A line about an alert in JSON.
fn example(alert: &str) -> Option<String> {
    let alert: Value = serde_json::from_str(alert).ok()?;
    let event = alert.get("event")?;
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("-");
    let parameters = escape(&event.get("requestParameters").unwrap_or(&Value::Null).to_string());
    let shown: String = parameters.chars().take(SHOWN).collect();
    let dots = if shown.len() < parameters.len() { "…" } else { "" };
    let [time, id] = ["eventTime", "eventID"].map(|key| escape(text(key)));
    Some(format!("  {time}  {id}  {shown}{dots}\n"))
}

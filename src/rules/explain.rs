//! Why a rule does or does not match a record, for people whose test of a rule fails.

use super::condition::{CallName, Check, Condition, Scratch, Test, path_text};
use super::matcher::day_of;
use super::model::{Exception, Filter, Rule};
use super::pattern::{Pattern, Searches};
use super::stage::Stage;
use crate::log::{Record, Time};

/// The most characters of a pattern or value, and the most patterns, values and objects, that are shown.
const SHOWN: usize = 100;
const VALUES: usize = 3;

/// The most conditions of `any` that are shown.
const CONDITIONS: usize = 20;

/// A record, and what explanations need to look into it.
struct Explainer<'r, 'a> {
    record: &'r Record<'a>,
    call: CallName<'r>,
    searches: Searches,
}

/// Why a rule does not alert on a record, or which values make it alert.
pub(crate) fn explain(filter: &Filter, rule: &Rule, record: &Record<'_>) -> Vec<String> {
    let [source, name] = ["eventSource", "eventName"].map(|key| record.raw_string(&[key]));
    let call = CallName { source: source.as_deref(), name: name.as_deref() };
    let mut explainer = Explainer { record, call, searches: Searches::default() };
    let mut why = explainer.parts(&rule.condition, false);
    let any: Vec<_> = rule.any.iter().map(|condition| explainer.parts(condition, false)).collect();
    if !any.is_empty() && any.iter().all(|failures| !failures.is_empty()) {
        why.push("no condition of `any` holds:".to_owned());
        why.extend(any.iter().enumerate().take(CONDITIONS).flat_map(|(i, failures)| of_any(i, failures)));
        why.extend((any.len() > CONDITIONS).then(|| format!("and {} more", any.len() - CONDITIONS)));
    }
    if !why.is_empty() {
        return why;
    }
    let own = ("this rule's ignore", &rule.ignore);
    let (in_force, expired) = [("the top level's ignore", &filter.ignore), own]
        .into_iter()
        .flat_map(|(at, entries)| explainer.exceptions(at, entries))
        .partition::<Vec<_>, _>(|(in_force, _)| *in_force);
    if !in_force.is_empty() {
        return in_force.into_iter().map(|(_, why)| why).collect();
    }
    let mut why = explainer.parts(&rule.condition, true);
    for (i, condition) in rule.any.iter().enumerate().filter(|(i, _)| any.get(*i).is_some_and(Vec::is_empty)) {
        why.extend(of_any(i, &explainer.parts(condition, true)));
    }
    let untimed = (!rule.stages.is_empty() && Time::of(record).is_none()).then(|| {
        let stages: Vec<_> = rule.stages.iter().map(Stage::name).collect();
        format!("the record has no valid eventTime, so it always passes {}", stages.join(", "))
    });
    why.into_iter().chain(untimed).chain(expired.into_iter().map(|(_, why)| why)).collect()
}

/// Parts of a condition of `any`.
fn of_any(i: usize, parts: &[String]) -> Vec<String> {
    parts.iter().map(|part| format!("any[{i}]: {part}")).collect()
}

impl Explainer<'_, '_> {
    /// The parts of a condition that a record passes, or those that it fails.
    fn parts(&mut self, condition: &Condition, passing: bool) -> Vec<String> {
        let mut parts = Vec::new();
        for (key, field, pattern, text) in [
            ("source", "eventSource", &condition.event_source, self.call.source),
            ("regexp", "eventName", &condition.event_name, self.call.name),
        ] {
            if let Some(pattern) = pattern
                && text.is_some_and(|text| self.searches.find(pattern, text)) == passing
            {
                let outcome = match text {
                    Some(_) => outcome(passing, text.as_slice()),
                    None => format!("fails, there is no {field}"),
                };
                parts.push(format!("{key}: {} {outcome}", quoted(pattern)));
            }
        }
        for test in &condition.wheres {
            if self.passes(test, self.record) == passing {
                parts.push(format!("where {}", self.test(test, self.record, passing)));
            }
        }
        for test in condition.unless.iter().filter(|_| !passing) {
            if self.passes(test, self.record) {
                parts.push(format!("unless {}", self.test(test, self.record, true)));
            }
        }
        parts
    }

    fn passes(&mut self, test: &Test, record: &Record<'_>) -> bool {
        test.passes(record, &mut Scratch { searches: &mut self.searches, paths_seen: &mut [] })
    }

    /// What a test asks, and of which values; of one of objects that fails, what each of them fails.
    fn test(&mut self, test: &Test, record: &Record<'_>, passes: bool) -> String {
        let at = test.path_text();
        let inner = match &test.check {
            Check::Element(inner) if !passes => inner,
            _ => {
                return format!(
                    "{at}: {} {}",
                    asked(test, Some(record)),
                    outcome(passes, &record.raw_texts(&test.path))
                );
            }
        };
        let objects = record.objects(&test.path);
        let mut of_each = Vec::new();
        for (i, object) in objects.iter().take(VALUES).enumerate() {
            let failing: Vec<_> = inner.iter().filter(|test| !self.passes(test, object)).collect();
            let failing: Vec<_> = failing.into_iter().map(|test| self.test(test, object, false)).collect();
            of_each.push(format!("[{i}] {}", failing.join(", ")));
        }
        if of_each.is_empty() {
            return format!("{at}: element fails, there is no object at this path");
        }
        format!("{at}: no object passes: {}{}", of_each.join("; "), more(objects.len()))
    }

    /// The exceptions that match a record: whether each is in force, and what that means.
    fn exceptions(&mut self, at: &str, entries: &[Exception]) -> Vec<(bool, String)> {
        let day = day_of(self.record);
        let mut matching = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            if self.parts(&entry.condition, false).is_empty() {
                let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let in_force = entry.is_in_force(day.as_deref());
                let why = match (&entry.until, &day) {
                    _ if in_force => "suppresses it".to_owned(),
                    (Some(until), Some(day)) => format!("counts until {until}, and the record is of {day}"),
                    _ => "has `until`, and the record has no valid eventTime".to_owned(),
                };
                matching.push((in_force, format!("{at}[{i}]{reason} {why}")));
            }
        }
        matching
    }
}

fn quoted(pattern: &Pattern) -> String {
    listed(&[pattern.as_str()])
}

/// What a test asks.
pub(super) fn asked(test: &Test, record: Option<&Record<'_>>) -> String {
    match &test.check {
        Check::Pattern(pattern) => quoted(pattern),
        Check::All(patterns) => format!("all {}", listed(&patterns.iter().map(Pattern::as_str).collect::<Vec<_>>())),
        Check::Cidr(networks) => {
            format!("cidr {}", listed(&networks.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        Check::Range { at_least, at_most } => {
            let bounds = [("atLeast", at_least), ("atMost", at_most)];
            let bounds = bounds.iter().filter_map(|(key, n)| n.map(|n| format!("{key} {n}")));
            bounds.collect::<Vec<_>>().join(", ")
        }
        Check::SameAs(path) => {
            let texts = record.map(|record| format!(" ({})", listed(&record.raw_texts(path)))).unwrap_or_default();
            format!("sameAs {}{texts}", path_text(path))
        }
        Check::Element(_) => "element".to_owned(),
    }
}

fn outcome(passes: bool, texts: &[impl AsRef<str>]) -> String {
    match (passes, texts.is_empty()) {
        (true, _) => format!("passes at {}", listed(texts)),
        (false, true) => "fails, there is no value at this path".to_owned(),
        (false, false) => format!("fails at {}", listed(texts)),
    }
}

fn listed(texts: &[impl AsRef<str>]) -> String {
    let shown = texts.iter().take(VALUES).map(|text| {
        let short: String = text.as_ref().chars().take(SHOWN).collect();
        let dots = if short.len() < text.as_ref().len() { "…" } else { "" };
        format!("`{short}{dots}`")
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if shown.is_empty() { "no value".to_owned() } else { shown + &more(texts.len()) }
}

fn more(count: usize) -> String {
    if count > VALUES { format!(" and {} more", count - VALUES) } else { String::new() }
}

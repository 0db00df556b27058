//! Why a rule does or does not match a record, for people whose test of a rule fails.

use super::condition::{CallName, Check, Condition, Scratch, Test, path_text};
use super::model::{Exception, Filter, Rule};
use super::pattern::{Pattern, Searches};
use crate::log::Record;

/// The most characters of a value, and the most values and objects, that are shown.
const SHOWN: usize = 100;
const VALUES: usize = 3;

/// A record, and what explanations need to look into it.
struct Explainer<'r, 'a> {
    record: &'r Record<'a>,
    searches: Searches,
}

/// Why a rule does not alert on a record, or which values make it alert.
pub(crate) fn explain(filter: &Filter, rule: &Rule, record: &Record<'_>) -> Vec<String> {
    let [source, name] = ["eventSource", "eventName"].map(|key| record.raw_string(&[key]));
    let call = CallName { source: source.as_deref(), name: name.as_deref() };
    let mut explainer = Explainer { record, searches: Searches::default() };
    let mut why = explainer.failures(&rule.condition, call);
    let any: Vec<_> = rule.any.iter().map(|condition| explainer.failures(condition, call)).collect();
    if !any.is_empty() && any.iter().all(|failures| !failures.is_empty()) {
        let each = any.iter().enumerate().map(|(i, failures)| format!("any[{i}]: {}", failures.join(", ")));
        why.push(format!("no condition of `any` holds ({})", each.collect::<Vec<_>>().join("; ")));
    }
    if !why.is_empty() {
        return why;
    }
    let own = (format!("rule {}, ignore", rule.name), &rule.ignore);
    for (at, entries) in [("ignore".to_owned(), &filter.ignore), own] {
        why.extend(explainer.taken(&at, entries, call));
    }
    if why.is_empty() { explainer.values(rule) } else { why }
}

impl Explainer<'_, '_> {
    /// The parts of a condition that a record fails.
    fn failures(&mut self, condition: &Condition, call: CallName<'_>) -> Vec<String> {
        let mut failures = Vec::new();
        for (key, pattern, text) in
            [("source", &condition.event_source, call.source), ("regexp", &condition.event_name, call.name)]
        {
            if let Some(pattern) = pattern
                && !text.is_some_and(|text| self.searches.find(pattern, text))
            {
                failures.push(format!("{key}: {} {}", quoted(pattern), not_found(text.as_slice())));
            }
        }
        failures.extend(self.failing(&condition.wheres, self.record, "where "));
        for test in condition.unless.iter() {
            if self.passes(test, self.record) {
                let path = test.path_text();
                failures.push(format!("unless {path}: {} passes at {}", asked(test), values(self.record, test)));
            }
        }
        failures
    }

    /// The tests that a record, or an object of it, fails.
    fn failing(&mut self, tests: &[Test], record: &Record<'_>, at: &str) -> Vec<String> {
        let mut failures = Vec::new();
        for test in tests {
            if self.passes(test, record) {
                continue;
            }
            let at = format!("{at}{}", test.path_text());
            let Check::Element(inner) = &test.check else {
                failures.push(format!("{at}: {} {}", asked(test), not_found(&record.raw_texts(&test.path))));
                continue;
            };
            let objects = record.objects(&test.path);
            let of_each = objects.iter().take(VALUES).map(|object| self.failing(inner, object, "").join(", "));
            let of_each = of_each.collect::<Vec<_>>().join("; ");
            let none = if objects.is_empty() { "there is no object" } else { "no object passes: " };
            failures.push(format!("{at}: {none}{of_each}"));
        }
        failures
    }

    fn passes(&mut self, test: &Test, record: &Record<'_>) -> bool {
        test.passes(record, &mut Scratch { searches: &mut self.searches, paths_seen: &mut [] })
    }

    /// The exceptions that take a record out.
    fn taken(&mut self, at: &str, entries: &[Exception], call: CallName<'_>) -> Vec<String> {
        let day = super::matcher::day_of(self.record);
        let takes = |(i, entry): (usize, &Exception)| {
            let is_taken = entry.is_in_force(day.as_deref()) && self.failures(&entry.condition, call).is_empty();
            let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            is_taken.then(|| format!("{at}[{i}]{reason} takes it out"))
        };
        entries.iter().enumerate().filter_map(takes).collect()
    }

    /// The values that pass a rule's tests.
    fn values(&mut self, rule: &Rule) -> Vec<String> {
        let wheres = rule.conditions().flat_map(|condition| &condition.wheres);
        let wheres = wheres.filter(|test| self.passes(test, self.record)).collect::<Vec<_>>();
        wheres.into_iter().map(|test| format!("{} is {}", test.path_text(), values(self.record, test))).collect()
    }
}

fn quoted(pattern: &Pattern) -> String {
    format!("`{}`", pattern.as_str())
}

/// What a test asks.
fn asked(test: &Test) -> String {
    match &test.check {
        Check::Pattern(pattern) => quoted(pattern),
        Check::All(patterns) => format!("all of {}", patterns.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        Check::Cidr(networks) => {
            format!("cidr {}", networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Check::Range { at_least, at_most } => {
            let bounds = [("atLeast", at_least), ("atMost", at_most)];
            let bounds = bounds.iter().filter_map(|(key, n)| n.map(|n| format!("{key} {n}")));
            bounds.collect::<Vec<_>>().join(", ")
        }
        Check::SameAs(path) => format!("sameAs {}", path_text(path)),
        Check::Element(_) => "element".to_owned(),
    }
}

fn not_found(texts: &[impl AsRef<str>]) -> String {
    if texts.is_empty() { "fails, there is no value".to_owned() } else { format!("fails at {}", listed(texts)) }
}

fn values(record: &Record<'_>, test: &Test) -> String {
    listed(&record.raw_texts(&test.path))
}

fn listed(texts: &[impl AsRef<str>]) -> String {
    let shown = texts.iter().take(VALUES).map(|text| {
        let text = text.as_ref();
        let short: String = text.chars().take(SHOWN).collect();
        if short.len() < text.len() { format!("`{short}…`") } else { format!("`{text}`") }
    });
    let more = if texts.len() > VALUES { format!(" and {} more", texts.len() - VALUES) } else { String::new() };
    shown.collect::<Vec<_>>().join(", ") + &more
}

//! Why a rule does or does not match a record, for people whose test of a rule fails.

use super::condition::{Check, Condition, PathsSeen, Scratch, Test, path_text};
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

/// A record, and what searches in it work in.
struct Explainer<'r, 'a> {
    record: &'r Record<'a>,
    searches: Searches,
}

/// Why a rule does not alert on a record, or which values make it alert.
pub(crate) fn explain(filter: &Filter, rule: &Rule, record: &Record<'_>) -> Vec<String> {
    let mut explainer = Explainer { record, searches: Searches::default() };
    let mut why = explainer.parts("", &rule.condition, false);
    let any: Vec<_> = rule.any.iter().enumerate().map(|(i, condition)| (format!("any[{i}]: "), condition)).collect();
    let failures: Vec<_> = any.iter().map(|(at, condition)| explainer.parts(at, condition, false)).collect();
    if !any.is_empty() && failures.iter().all(|failures| !failures.is_empty()) {
        why.push("no condition of `any` holds:".to_owned());
        why.extend(failures.iter().take(CONDITIONS).flatten().cloned());
        why.extend((any.len() > CONDITIONS).then(|| format!("and {} more", any.len() - CONDITIONS)));
    }
    if !why.is_empty() {
        return why;
    }
    let [of_all, own] = [("the top level's ignore", &filter.ignore), ("this rule's ignore", &rule.ignore)]
        .map(|(at, entries)| explainer.exceptions(at, entries));
    let (in_force, expired): (Vec<_>, Vec<_>) = of_all.into_iter().chain(own).partition(|(in_force, _)| *in_force);
    if in_force.is_empty() {
        why = explainer.parts("", &rule.condition, true);
        for ((at, condition), _) in any.iter().zip(&failures).filter(|(_, failures)| failures.is_empty()) {
            why.extend(explainer.parts(at, condition, true));
        }
    }
    let untimed = (!rule.stages.is_empty() && Time::of(record).is_none()).then(|| {
        let stages: Vec<_> = rule.stages.iter().map(Stage::name).collect();
        format!("the record has no valid eventTime, so it always passes {}", stages.join(", "))
    });
    let exceptions = if in_force.is_empty() { expired } else { in_force };
    why.into_iter().chain(untimed).chain(exceptions.into_iter().map(|(_, why)| why)).collect()
}

impl Explainer<'_, '_> {
    /// The parts of a condition that a record passes, or those that it fails.
    fn parts(&mut self, at: &str, condition: &Condition, passing: bool) -> Vec<String> {
        let mut parts = Vec::new();
        for (key, pattern) in condition.call() {
            let field = if key == "source" { "eventSource" } else { "eventName" };
            let text = self.record.raw_string(&[field]);
            if text.as_deref().is_some_and(|text| self.searches.find(pattern, text)) == passing {
                let outcome = match text {
                    Some(text) => outcome(passing, &[text]),
                    None => format!("fails, there is no {field}"),
                };
                parts.push(format!("{at}{key}: {} {outcome}", quoted(pattern)));
            }
        }
        let unless = condition.unless.iter().filter(|_| !passing).map(|test| ("unless", test, true));
        for (key, test, passes) in condition.wheres.iter().map(|test| ("where", test, passing)).chain(unless) {
            if self.passes(test, self.record) == passes {
                parts.push(format!("{at}{key} {}", self.test(test, self.record, passes)));
            }
        }
        parts
    }

    fn passes(&mut self, test: &Test, record: &Record<'_>) -> bool {
        test.passes(record, true, &mut Scratch { searches: &mut self.searches, paths_seen: &mut PathsSeen::default() })
    }

    /// What a test asks, and of which values; of one of objects that fails, what each of them fails.
    fn test(&mut self, test: &Test, record: &Record<'_>, passes: bool) -> String {
        let at = test.path_text();
        let outcome = outcome(passes, &record.raw_texts(&test.path));
        let inner = match &test.check {
            Check::Element(inner) if !passes => inner,
            _ => return format!("{at}: {} {outcome}", asked(test, Some(record))),
        };
        let objects = record.objects(&test.path);
        let failing = |(i, object)| {
            let failing: Vec<_> = inner.iter().filter(|test| !self.passes(test, object)).collect();
            let failing: Vec<_> = failing.into_iter().map(|test| self.test(test, object, false)).collect();
            format!("[{i}] {}", failing.join(", "))
        };
        let of_each: Vec<_> = objects.iter().take(VALUES).enumerate().map(failing).collect();
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
            if self.parts("", &entry.condition, false).is_empty() {
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
    listed([pattern.as_str()])
}

/// What a test asks.
pub(super) fn asked(test: &Test, record: Option<&Record<'_>>) -> String {
    match &test.check {
        Check::Pattern(pattern) => quoted(pattern),
        Check::All(patterns) => format!("all {}", listed(patterns.iter().map(Pattern::as_str))),
        Check::Cidr(networks) => format!("cidr {}", listed(networks.iter().map(ToString::to_string))),
        Check::Range { at_least, at_most } => {
            let bounds = [("atLeast", at_least), ("atMost", at_most)];
            let bounds = bounds.iter().filter_map(|(key, n)| n.map(|n| format!("{key} {n}")));
            bounds.collect::<Vec<_>>().join(", ")
        }
        Check::SameAs(path) => {
            let texts = record.map(|record| format!(" ({})", listed(record.raw_texts(path)))).unwrap_or_default();
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

fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<T> = texts.into_iter().collect();
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

//! Conditions: what they ask of a record, and whether it passes.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use regex_syntax::hir::literal::Extractor;
use serde::de::IgnoredAny;

use super::needle::Needle;
use super::pattern::{Pattern, Searches};
use crate::log::{RawRecord, Record};

/// A conjunction. A part that is left out matches every record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    /// Searched in `eventSource`.
    pub(crate) event_source: Option<Pattern>,
    /// Searched in `eventName`.
    pub(crate) event_name: Option<Pattern>,
    /// Every one must pass.
    pub(crate) wheres: Vec<Test>,
    /// None may pass.
    pub(crate) unless: Vec<Test>,
}

/// A test of a record's texts at a path.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// Tells it from the other tests of its filter.
    pub(crate) id: usize,
    /// The keys that lead to the value; arrays on the way count as any of their elements.
    pub(crate) path: Vec<String>,
    pub(crate) check: Check,
    /// What the bytes of a passing record must hold: the last key, in quotes, and that of the other path. Less where that
    /// is not certain.
    key: Option<Needle>,
    other_key: Option<Needle>,
}

/// What a test asks of the texts at its path. One of them must pass.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// It is found in the text, unanchored.
    Pattern(Pattern),
    /// All are found in the text.
    All(Vec<Pattern>),
    /// The text is an address in one of the networks.
    Cidr(Vec<IpNet>),
    /// The text is a number of JSON within these bounds, which are part of the range.
    Range { at_least: Option<f64>, at_most: Option<f64> },
    /// The text is one of those at the other path.
    SameAs(Vec<String>),
    /// An object at the path passes all tests. Their paths begin in it.
    Element(Vec<Test>),
}

/// The two fields of a record that most conditions ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallName<'a> {
    pub(crate) source: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
}

impl<'a> CallName<'a> {
    pub(crate) fn of(raw: &'a RawRecord<'_>) -> Self {
        CallName { source: raw.event_source.as_deref(), name: raw.event_name.as_deref() }
    }
}

/// What evaluating conditions of one filter needs and learns.
pub(crate) struct Scratch<'s> {
    pub(crate) searches: &'s mut Searches,
    pub(crate) paths_seen: &'s mut PathsSeen,
}

/// The paths at which records have had values.
#[derive(Debug, Default)]
pub(crate) struct PathsSeen {
    /// For each [`Test`], by its id. Empty if that is not of interest.
    pub(super) of_tests: Vec<bool>,
    /// How many there are.
    pub(super) count: usize,
}

impl PathsSeen {
    fn note(&mut self, test: &Test) {
        if let Some(seen @ false) = self.of_tests.get_mut(test.id) {
            *seen = true;
            self.count += 1;
        }
    }
}

impl Scratch<'_> {
    /// Whether conditions are looked at to the end although the answer is known, so that `scan` can name paths that lead
    /// nowhere.
    pub(super) fn notes_paths(&self) -> bool {
        !self.paths_seen.of_tests.is_empty()
    }
}

impl Test {
    pub(crate) fn new(id: usize, path: Vec<String>, check: Check) -> Self {
        let of_last = |path: &[String]| path.last().and_then(|key| Needle::key(key));
        let other_key = if let Check::SameAs(other) = &check { of_last(other) } else { None };
        Test { id, key: of_last(&path), path, check, other_key }
    }

    /// The last key of the path.
    pub(super) fn key(&self) -> Option<&Needle> {
        self.key.as_ref()
    }

    /// What is searched for in records before they are parsed.
    pub(super) fn needles(&self) -> impl Iterator<Item = &Needle> {
        // The keys first, because the first search for a pattern's texts makes its needle.
        self.key.iter().chain(&self.other_key).chain(self.patterns().iter().filter_map(Pattern::needle))
    }

    /// The memory of what is searched for in records, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.needles().map(Needle::memory).sum()
    }

    /// The path as the configuration writes it.
    pub(crate) fn path_text(&self) -> String {
        path_text(&self.path)
    }

    /// Whether the path begins with a key.
    pub(super) fn is_within(&self, key: &str) -> bool {
        self.path.first().is_some_and(|first| first == key)
    }

    /// The pattern, if it is the whole test.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match &self.check {
            Check::Pattern(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// The patterns that are searched in its texts.
    pub(crate) fn patterns(&self) -> &[Pattern] {
        match &self.check {
            Check::Pattern(pattern) => std::slice::from_ref(pattern),
            Check::All(patterns) => patterns,
            _ => &[],
        }
    }

    /// Whether a record may have a value at the path, as far as can be told without parsing it.
    pub(super) fn may_have_value(&self, record: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|key| key.is_in(record))
    }

    /// Whether no record has had a value at its path, or at one inside of its elements, as far as that is noted.
    pub(super) fn is_unseen(&self, paths_seen: &PathsSeen) -> bool {
        paths_seen.of_tests.get(self.id) == Some(&false)
            || matches!(&self.check, Check::Element(tests) if tests.iter().any(|test| test.is_unseen(paths_seen)))
    }

    /// Whether a record may pass, as far as can be told without parsing it.
    pub(super) fn may_pass(&self, record: &[u8]) -> bool {
        self.needles().all(|needle| needle.is_in(record))
            && match &self.check {
                Check::Element(tests) => tests.iter().all(|test| test.may_pass(record)),
                _ => true,
            }
    }

    /// Whether a record passes, if that `matters`. Notes in the scratch that it has a value at the path.
    pub(super) fn passes(&self, record: &Record<'_>, matters: bool, scratch: &mut Scratch<'_>) -> bool {
        let (mut is_absent, mut passes) = (true, false);
        if let Check::Element(tests) = &self.check {
            record.visit_objects(&self.path, |element| {
                is_absent = false;
                passes = passes || all_pass(tests, element, matters, scratch);
            });
            if !is_absent {
                scratch.paths_seen.note(self);
            }
            return passes;
        }
        let mut same = Same::default();
        let searches = &mut *scratch.searches;
        // One by one, since a record may have millions.
        record.visit_raw_texts(&self.path, |text| {
            is_absent = false;
            if passes || !matters {
                return;
            }
            passes = match &self.check {
                Check::Pattern(pattern) => searches.find(pattern, text),
                Check::All(patterns) => patterns.iter().all(|pattern| searches.find(pattern, text)),
                Check::Cidr(networks) => {
                    let address = text.parse::<IpAddr>();
                    address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
                }
                Check::Range { at_least, at_most } => number(text)
                    .is_some_and(|number| at_least.is_none_or(|n| number >= n) && at_most.is_none_or(|n| number <= n)),
                Check::SameAs(other) => same.is_found(text, other, record),
                Check::Element(_) => false,
            };
        });
        if let Check::SameAs(other) = &self.check {
            passes = passes || same.is_in(other, record);
        }
        if !is_absent {
            scratch.paths_seen.note(self);
        }
        passes
    }
}

/// Texts that are looked for at another path. Each walk along that path looks for many of them, because a record may have
/// millions at both.
#[derive(Default)]
struct Same(HashSet<String>);

impl Same {
    /// How many different texts one walk looks for. Short ones take some 5 MB.
    const AT_ONCE: usize = 50_000;

    /// Adds a text; gives whether it, or one before it, is known to be at the other path.
    fn is_found(&mut self, text: &str, other: &[String], record: &Record<'_>) -> bool {
        if !self.0.contains(text) {
            self.0.insert(text.to_owned());
        }
        self.0.len() == Self::AT_ONCE && self.is_in(other, record)
    }

    /// Whether one of the texts is at the other path. Forgets them.
    fn is_in(&mut self, other: &[String], record: &Record<'_>) -> bool {
        let mut is_in = false;
        if !self.0.is_empty() {
            record.visit_raw_texts(other, |text| is_in = is_in || self.0.contains(text));
            self.0.clear();
        }
        is_in
    }
}

/// A path as the configuration writes it.
pub(crate) fn path_text(path: &[String]) -> String {
    let has_dot = path.iter().any(|key| key.contains('.'));
    if has_dot { path.iter().map(|key| key.replace('.', "\\.")).collect::<Vec<_>>().join(".") } else { path.join(".") }
}

/// The number that a text is, if it is written as JSON writes numbers.
fn number(text: &str) -> Option<f64> {
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok();
    is_number.then(|| text.parse().ok())?
}

/// The texts that a pattern matches, if it matches only a few.
pub(crate) fn literals(pattern: &Pattern) -> Vec<String> {
    let Ok(parsed) = regex_syntax::parse(pattern.as_str()) else { return Vec::new() };
    let found = Extractor::new().extract(&parsed);
    if !found.is_exact() {
        return Vec::new();
    }
    let literals = found.literals().unwrap_or_default().iter();
    literals.filter_map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok()).collect()
}

/// Whether all tests pass, if that `matters`. A path at which no record has had a value yet is looked up although the answer
/// is known, if that is noted.
fn all_pass(tests: &[Test], record: &Record<'_>, matters: bool, scratch: &mut Scratch<'_>) -> bool {
    let mut all = matters;
    for test in tests {
        if all || test.is_unseen(scratch.paths_seen) {
            all &= test.passes(record, all, scratch);
        }
    }
    all
}

impl Condition {
    /// Whether it has neither a pattern for `eventSource` nor one for `eventName`, and so may match any call.
    pub(super) fn is_for_any_call(&self) -> bool {
        self.event_source.is_none() && self.event_name.is_none()
    }

    /// The patterns for calls, each with its key in the configuration.
    pub(super) fn call(&self) -> impl Iterator<Item = (&'static str, &Pattern)> {
        let keys = [("source", &self.event_source), ("regexp", &self.event_name)];
        keys.into_iter().filter_map(|(key, pattern)| Some((key, pattern.as_ref()?)))
    }

    pub(crate) fn tests(&self) -> impl Iterator<Item = &Test> {
        self.wheres.iter().chain(&self.unless)
    }

    pub(super) fn matches_source(&self, source: Option<&str>) -> bool {
        self.finds_source(source, &mut Searches::default())
    }

    pub(super) fn matches_name(&self, name: Option<&str>) -> bool {
        self.finds_name(name, &mut Searches::default())
    }

    /// As [`matches_source`](Self::matches_source), for many searches.
    pub(super) fn finds_source(&self, source: Option<&str>, searches: &mut Searches) -> bool {
        self.event_source.as_ref().is_none_or(|pattern| source.is_some_and(|text| searches.find(pattern, text)))
    }

    /// As [`matches_name`](Self::matches_name), for many searches.
    pub(super) fn finds_name(&self, name: Option<&str>, searches: &mut Searches) -> bool {
        self.event_name.as_ref().is_none_or(|pattern| name.is_some_and(|text| searches.find(pattern, text)))
    }

    pub(super) fn finds_call(&self, call: CallName<'_>, searches: &mut Searches) -> bool {
        self.finds_source(call.source, searches) && self.finds_name(call.name, searches)
    }

    /// Whether a record may pass the tests, as far as can be told without parsing it.
    pub(super) fn may_pass(&self, record: &[u8]) -> bool {
        self.wheres.iter().all(|test| test.may_pass(record))
    }

    /// Whether a record passes the tests.
    pub(super) fn passes_tests(&self, record: &Record<'_>, scratch: &mut Scratch<'_>) -> bool {
        all_pass(&self.wheres, record, true, scratch)
            && !self.unless.iter().any(|test| test.passes(record, true, scratch))
    }

    pub(super) fn matches(&self, call: CallName<'_>, record: &Record<'_>, scratch: &mut Scratch<'_>) -> bool {
        self.finds_call(call, scratch.searches) && self.passes_tests(record, scratch)
    }
}

//! The rules that match a record. Logs hold a few different calls many times, so the rules for a call are remembered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::model::{Filter, Rule, Test};
use crate::log::{RawRecord, Record};

/// The most calls that are remembered, and the longest name: AWS has about 20,000 calls, an account uses some hundreds.
const CALLS_LIMIT: usize = 10_000;
const NAME_LENGTH_LIMIT: usize = 256;

/// Matches records with the rules of a filter.
pub struct Matcher<'f, 'l> {
    filter: &'f Filter,
    /// The rules that may match any call.
    for_any_call: Vec<usize>,
    learned: &'l Learned,
}

/// Knowledge from the records that a filter's matchers have seen, for the other ones of the same filter. Several may use it
/// in turn, because logs are read side by side.
#[derive(Debug, Default)]
pub struct Learned {
    calls: RefCell<KnownCalls>,
    /// For each [`Test`], by its id: whether a record has had a text at its path. Empty if that is not of interest.
    paths_seen: RefCell<Vec<bool>>,
}

impl Learned {
    /// Empty knowledge that also notes at which paths records had a text. For that, some records that no rule matches are
    /// parsed too.
    pub fn with_paths(filter: &Filter) -> Self {
        Learned { paths_seen: vec![false; filter.test_count].into(), ..Learned::default() }
    }

    pub(crate) fn paths_seen(&self) -> Vec<bool> {
        self.paths_seen.borrow().clone()
    }
}

/// The calls that have been seen, and the rules that may match them.
#[derive(Debug, Default)]
struct KnownCalls {
    sources: HashMap<String, Source, RandomState>,
    /// For each call: the rules with a `source` or a `regexp` that may match it.
    rules: Vec<Vec<usize>>,
}

/// An `eventSource` and the calls that have been seen of it.
#[derive(Debug)]
struct Source {
    /// The rules whose `source` matches it.
    rules: Vec<usize>,
    /// By `eventName`: an index of [`KnownCalls::rules`].
    calls: HashMap<String, usize, RandomState>,
}

impl KnownCalls {
    /// The rules with a `source` or a `regexp` that may match a call.
    fn rules(&mut self, filter: &Filter, source: Option<&str>, name: Option<&str>) -> Cow<'_, [usize]> {
        let condition = |i: &usize| &filter.rules[*i].condition;
        let by_source = || {
            let is_candidate = |i: &usize| !condition(i).is_for_any_call() && condition(i).matches_source(source);
            (0..filter.rules.len()).filter(is_candidate).collect::<Vec<_>>()
        };
        let by_name =
            |rules: &[usize]| rules.iter().copied().filter(|i| condition(i).matches_name(name)).collect::<Vec<_>>();
        let is_short = |text: &&str| text.len() <= NAME_LENGTH_LIMIT;
        let (Some(source), Some(name)) = (source.filter(is_short), name.filter(is_short)) else {
            return by_name(&by_source()).into();
        };
        let known = self.sources.get(source).and_then(|source| source.calls.get(name).copied());
        let call = known.unwrap_or_else(|| {
            if self.rules.len() == CALLS_LIMIT {
                *self = KnownCalls::default();
            }
            let new = || Source { rules: by_source(), calls: HashMap::default() };
            let source = self.sources.entry(source.to_owned()).or_insert_with(new);
            source.calls.insert(name.to_owned(), self.rules.len());
            self.rules.push(by_name(&source.rules));
            self.rules.len() - 1
        });
        Cow::Borrowed(&self.rules[call])
    }
}

impl<'f, 'l> Matcher<'f, 'l> {
    /// A matcher with the knowledge of those before it, of the same filter.
    pub fn new(filter: &'f Filter, learned: &'l Learned) -> Self {
        let is_for_any_call = |i: &usize| filter.rules[*i].condition.is_for_any_call();
        Matcher { filter, for_any_call: (0..filter.rules.len()).filter(is_for_any_call).collect(), learned }
    }

    pub(crate) fn filter(&self) -> &'f Filter {
        self.filter
    }

    /// The rules that a record may match, in their order: their `source` and `regexp` match, and its bytes hold the texts
    /// that their tests need. A record has to be parsed only if there are any.
    pub(crate) fn candidates(&mut self, raw: &RawRecord<'_>) -> Vec<usize> {
        let Matcher { filter, for_any_call, learned: Learned { calls, paths_seen } } = self;
        let (mut calls, paths_seen) = (calls.borrow_mut(), paths_seen.borrow());
        let is_new = |test: &Test| paths_seen.get(test.id) == Some(&false);
        let is_candidate = |i: &usize| {
            let wheres = &filter.rules[*i].condition.wheres;
            !raw.searchable
                || wheres.iter().all(|test| test.may_match(raw.bytes))
                || wheres.iter().any(|test| is_new(test) && test.may_have_text(raw.bytes))
        };
        let for_call = calls.rules(filter, raw.event_source.as_deref(), raw.event_name.as_deref());
        let mut found: Vec<_> = for_call.iter().chain(&*for_any_call).copied().filter(is_candidate).collect();
        found.sort_unstable();
        found
    }

    /// Those of a record's [`candidates`](Self::candidates) that match it.
    pub(crate) fn matching(&mut self, candidates: &[usize], record: &Record<'_>) -> Vec<&'f Rule> {
        let mut paths_seen = self.learned.paths_seen.borrow_mut();
        let rules = candidates.iter().map(|i| &self.filter.rules[*i]);
        rules.filter(|rule| rule.condition.passes_tests(record, &mut paths_seen)).collect()
    }

    /// Whether the configuration says to ignore a record.
    pub(crate) fn is_ignored(&mut self, record: &Record<'_>) -> bool {
        let (source, name) = (record.string(&["eventSource"]), record.string(&["eventName"]));
        let mut paths_seen = self.learned.paths_seen.borrow_mut();
        self.filter.ignore.iter().any(|entry| {
            entry.matches_source(source.as_deref())
                && entry.matches_name(name.as_deref())
                && entry.passes_tests(record, &mut paths_seen)
        })
    }
}

//! The rules that match a record. Logs hold a few different calls many times, so the rules for a call are remembered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::model::{Condition, Filter, Rule, Test};
use super::pattern::Searches;
use crate::log::{RawRecord, Record};

/// The most memory for the calls that are remembered, in bytes, and the longest name. AWS has about 20,000 calls, an account
/// uses some hundreds.
const CALLS_MEMORY: usize = 4 << 20;
const NAME_LENGTH_LIMIT: usize = 128;

/// What an entry of a map takes beside its text, or its list of rules.
const ENTRY_MEMORY: usize = 128;

/// A rule: an index of [`Filter::rules`].
type RuleIndex = u32;

/// Matches records with the rules of a filter.
pub struct Matcher<'f, 'l> {
    filter: &'f Filter,
    /// The rules that may match any call.
    for_any_call: Vec<RuleIndex>,
    learned: &'l Learned,
}

/// Knowledge from the records that a filter's matchers have seen, for the other ones of the same filter. Several may use it
/// in turn, because logs are read side by side.
#[derive(Debug, Default)]
pub struct Learned {
    calls: RefCell<KnownCalls>,
    searches: RefCell<Searches>,
    /// For each [`Test`], by its id: whether a record has had a text at its path. Empty if that is not of interest.
    paths_seen: RefCell<Vec<bool>>,
}

impl Learned {
    /// Empty knowledge that also notes at which paths records had a text. For that, some records that no rule matches are
    /// parsed too.
    pub fn with_paths(filter: &Filter) -> Self {
        Learned { paths_seen: vec![false; filter.test_count].into(), ..Learned::default() }
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.calls.borrow().memory + self.searches.borrow().memory() + self.paths_seen.borrow().len()
    }

    pub(crate) fn paths_seen(&self) -> Vec<bool> {
        self.paths_seen.borrow().clone()
    }
}

/// The calls that have been seen, and the rules that may match them.
#[derive(Debug, Default)]
struct KnownCalls {
    sources: HashMap<String, Source, RandomState>,
    /// Lists of rules with a `source` or a `regexp`, each once: the same rules may match many calls.
    lists: Vec<Arc<[RuleIndex]>>,
    /// Where in `lists` a list is.
    places: HashMap<Arc<[RuleIndex]>, usize, RandomState>,
    memory: usize,
}

/// An `eventSource` and the calls that have been seen of it.
#[derive(Debug)]
struct Source {
    /// The rules whose `source` matches it: an index of [`KnownCalls::lists`].
    rules: usize,
    /// By `eventName`: the rules that may match the call, an index of [`KnownCalls::lists`].
    calls: HashMap<String, usize, RandomState>,
}

impl KnownCalls {
    /// The rules with a `source` or a `regexp` that may match a call.
    fn rules(
        &mut self,
        filter: &Filter,
        searches: &mut Searches,
        source: Option<&str>,
        name: Option<&str>,
    ) -> Cow<'_, [RuleIndex]> {
        let is_short = |text: &&str| text.len() <= NAME_LENGTH_LIMIT;
        let (Some(source), Some(name)) = (source.filter(is_short), name.filter(is_short)) else {
            let of_source = rules_of_source(filter, searches, source);
            return rules_of_call(filter, searches, &of_source, name).into();
        };
        let known = self.sources.get(source).and_then(|source| source.calls.get(name).copied());
        let list = known.unwrap_or_else(|| self.learn(filter, searches, source, name));
        Cow::Borrowed(&self.lists[list])
    }

    /// Remembers a call; gives the place of its rules in `lists`.
    fn learn(&mut self, filter: &Filter, searches: &mut Searches, source: &str, name: &str) -> usize {
        if self.memory > CALLS_MEMORY {
            *self = KnownCalls::default();
        }
        let of_source = self.sources.get(source).map(|source| source.rules);
        let of_source = of_source.unwrap_or_else(|| {
            let rules = self.place(rules_of_source(filter, searches, Some(source)));
            self.sources.insert(source.to_owned(), Source { rules, calls: HashMap::default() });
            self.memory += ENTRY_MEMORY + source.len();
            rules
        });
        let list = self.place(rules_of_call(filter, searches, &self.lists[of_source], Some(name)));
        if let Some(source) = self.sources.get_mut(source) {
            source.calls.insert(name.to_owned(), list);
            self.memory += ENTRY_MEMORY + name.len();
        }
        list
    }

    /// The place of a list in `lists`.
    fn place(&mut self, list: Vec<RuleIndex>) -> usize {
        if let Some(place) = self.places.get(&list[..]) {
            return *place;
        }
        let (place, list) = (self.lists.len(), Arc::<[RuleIndex]>::from(list));
        self.memory += ENTRY_MEMORY + size_of_val(&*list);
        self.places.insert(list.clone(), place);
        self.lists.push(list);
        place
    }
}

fn condition(filter: &Filter, rule: RuleIndex) -> &Condition {
    &filter.rules[rule as usize].condition
}

/// All rules of a filter.
fn all(filter: &Filter) -> impl Iterator<Item = RuleIndex> {
    (0..).zip(&filter.rules).map(|(index, _)| index)
}

/// The rules with a `source` or a `regexp` whose `source`, if they have one, matches.
fn rules_of_source(filter: &Filter, searches: &mut Searches, source: Option<&str>) -> Vec<RuleIndex> {
    let mut is_candidate = |i: &RuleIndex| {
        let condition = condition(filter, *i);
        !condition.is_for_any_call() && condition.finds_source(source, searches)
    };
    all(filter).filter(|i| is_candidate(i)).collect()
}

/// Those of a source's rules that may match a call.
fn rules_of_call(
    filter: &Filter,
    searches: &mut Searches,
    of_source: &[RuleIndex],
    name: Option<&str>,
) -> Vec<RuleIndex> {
    of_source.iter().copied().filter(|i| condition(filter, *i).finds_name(name, searches)).collect()
}

impl<'f, 'l> Matcher<'f, 'l> {
    /// A matcher with the knowledge of those before it, of the same filter.
    pub fn new(filter: &'f Filter, learned: &'l Learned) -> Self {
        let for_any_call = all(filter).filter(|i| condition(filter, *i).is_for_any_call()).collect();
        Matcher { filter, for_any_call, learned }
    }

    pub(crate) fn filter(&self) -> &'f Filter {
        self.filter
    }

    /// The rules that a record may match, in their order: their `source` and `regexp` match, and its bytes hold the texts
    /// that their tests need. A record has to be parsed only if there are any.
    pub(crate) fn candidates(&mut self, raw: &RawRecord<'_>) -> Vec<RuleIndex> {
        let Matcher { filter, for_any_call, learned: Learned { calls, searches, paths_seen } } = self;
        let (mut calls, mut searches, paths_seen) = (calls.borrow_mut(), searches.borrow_mut(), paths_seen.borrow());
        let is_new = |test: &Test| paths_seen.get(test.id) == Some(&false);
        let is_candidate = |i: &RuleIndex| {
            let wheres = &condition(filter, *i).wheres;
            !raw.searchable
                || wheres.iter().all(|test| test.may_match(raw.bytes))
                || wheres.iter().any(|test| is_new(test) && test.may_have_text(raw.bytes))
        };
        let for_call = calls.rules(filter, &mut searches, raw.event_source.as_deref(), raw.event_name.as_deref());
        let mut found: Vec<_> = for_call.iter().chain(&*for_any_call).copied().filter(is_candidate).collect();
        found.sort_unstable();
        found
    }

    /// Those of a record's [`candidates`](Self::candidates) that match it.
    pub(crate) fn matching(&mut self, candidates: &[RuleIndex], record: &Record<'_>) -> Vec<&'f Rule> {
        let Matcher { filter, learned: Learned { searches, paths_seen, .. }, .. } = self;
        let (mut searches, mut paths_seen) = (searches.borrow_mut(), paths_seen.borrow_mut());
        let rules = candidates.iter().map(|i| &filter.rules[*i as usize]);
        rules.filter(|rule| rule.condition.passes_tests(record, &mut paths_seen, &mut searches)).collect()
    }

    /// Whether the configuration says to ignore a record.
    pub(crate) fn is_ignored(&mut self, record: &Record<'_>) -> bool {
        if self.filter.ignore.is_empty() {
            return false;
        }
        let (source, name) = (record.raw_string(&["eventSource"]), record.raw_string(&["eventName"]));
        let Learned { searches, paths_seen, .. } = self.learned;
        let (mut searches, mut paths_seen) = (searches.borrow_mut(), paths_seen.borrow_mut());
        self.filter.ignore.iter().any(|entry| {
            entry.finds_source(source.as_deref(), &mut searches)
                && entry.finds_name(name.as_deref(), &mut searches)
                && entry.passes_tests(record, &mut paths_seen, &mut searches)
        })
    }
}

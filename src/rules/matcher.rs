//! The rules that match a record. Logs hold a few different calls many times, so the rules for a call are remembered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::condition::{CallName, Condition, PathsSeen, Scratch, Test};
use super::model::{Exception, Filter, Rule};
use super::needle::Needle;
use super::pattern::Searches;
use crate::log::{RawRecord, Record};

/// The most memory for the calls that are remembered, in bytes, and the longest name. AWS has about 20,000 calls, an account
/// uses some hundreds.
const CALLS_MEMORY: usize = 4 << 20;
const NAME_LENGTH_LIMIT: usize = 128;

/// What an entry of a map takes beside its text, or its list of rules.
const ENTRY_MEMORY: usize = 128;

/// For so many rules, choosing what to search for takes about as long as looking at a record without it.
const RULES_A_RECORD: usize = 50;

/// A rule: an index of [`Filter::rules`].
pub(crate) type RuleIndex = u32;

/// Matches records with the rules of a filter.
pub struct Matcher<'f, 'l> {
    filter: &'f Filter,
    learned: &'l Learned,
}

/// Knowledge from the records that a filter's matchers have seen, for the other ones of the same filter. Several may use it
/// in turn, because logs are read side by side.
#[derive(Debug)]
pub struct Learned {
    for_any_call: RefCell<ForAnyCall>,
    calls: RefCell<KnownCalls>,
    searches: RefCell<Searches>,
    paths_seen: RefCell<PathsSeen>,
}

/// The rules that may match any call.
#[derive(Debug)]
struct ForAnyCall {
    rules: Vec<RuleIndex>,
    /// What a record must hold if one of them may match it; `None` where that is not certain. Most records hold nothing of
    /// it, and one search for all rules tells.
    needle: Option<Needle>,
    /// How many paths of these rules no record has had a value at yet. Records that may have one are looked at too.
    unseen: usize,
    /// How many paths of all rules had been seen when that was counted, and how many records there have been since with
    /// another number.
    seen: usize,
    records_since: usize,
}

impl ForAnyCall {
    fn new(filter: &Filter, paths_seen: &PathsSeen) -> Self {
        let rules = enabled(filter).filter(|(_, rule)| is_for_any_call(rule));
        let rules = rules.map(|(index, _)| index).collect();
        let mut this = ForAnyCall { rules, needle: None, unseen: 0, seen: 0, records_since: 0 };
        this.choose(filter, paths_seen);
        this
    }

    fn tests<'f>(&self, filter: &'f Filter) -> impl Iterator<Item = &'f Test> {
        self.rules.iter().flat_map(|i| filter.rules[*i as usize].conditions()).flat_map(|condition| &condition.wheres)
    }

    /// Chooses what to search for.
    fn choose(&mut self, filter: &Filter, paths_seen: &PathsSeen) {
        let rarest = |i: &RuleIndex| {
            let wheres = &filter.rules[*i as usize].condition.wheres;
            wheres.iter().flat_map(Test::needles).max_by_key(|needle| needle.rarity())
        };
        let of_rules: Option<Vec<_>> = self.rules.iter().map(rarest).collect();
        let unseen: Vec<_> = self.tests(filter).filter(|test| test.is_unseen(paths_seen)).collect();
        self.unseen = unseen.len();
        let of_unseen: Option<Vec<_>> = unseen.into_iter().map(Test::key).collect();
        let needles = of_rules.zip(of_unseen).map(|(of_rules, of_unseen)| of_rules.into_iter().chain(of_unseen));
        self.needle = needles.and_then(Needle::any);
    }

    /// The rules that may match a record.
    fn rules(&mut self, filter: &Filter, raw: &RawRecord<'_>, paths_seen: &PathsSeen) -> &[RuleIndex] {
        if self.rules.is_empty() {
            return &[];
        }
        // What was chosen before is right for any record, but looks into more of them. To choose anew for each of thousands of
        // rules, when each record shows another path, would take minutes.
        self.records_since += usize::from(self.seen != paths_seen.count);
        if self.records_since > self.rules.len() / RULES_A_RECORD {
            (self.seen, self.records_since) = (paths_seen.count, 0);
            if self.unseen != self.tests(filter).filter(|test| test.is_unseen(paths_seen)).count() {
                self.choose(filter, paths_seen);
            }
        }
        let may_match = !raw.searchable || self.needle.as_ref().is_none_or(|needle| needle.is_in(raw.bytes));
        if may_match { &self.rules } else { &[] }
    }
}

impl Learned {
    /// Empty knowledge.
    pub fn new(filter: &Filter) -> Self {
        Learned::with(filter, PathsSeen::default())
    }

    fn with(filter: &Filter, paths_seen: PathsSeen) -> Self {
        Learned {
            for_any_call: ForAnyCall::new(filter, &paths_seen).into(),
            calls: RefCell::default(),
            searches: RefCell::default(),
            paths_seen: paths_seen.into(),
        }
    }

    /// Empty knowledge that also notes at which paths records had a text. For that, some records that no rule matches are
    /// parsed too.
    pub fn with_paths(filter: &Filter) -> Self {
        Learned::with(filter, PathsSeen { of_tests: vec![false; filter.test_count], count: 0 })
    }

    /// Whether the bytes of every record are searched, because rules may match any call.
    pub(crate) fn looks_into_all(&self) -> bool {
        !self.for_any_call.borrow().rules.is_empty()
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.calls.borrow().memory + self.searches.borrow().memory() + self.paths_seen.borrow().of_tests.len()
    }

    pub(crate) fn paths_seen(&self) -> Vec<bool> {
        self.paths_seen.borrow().of_tests.clone()
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
    fn rules(&mut self, filter: &Filter, searches: &mut Searches, call: CallName<'_>) -> Cow<'_, [RuleIndex]> {
        let is_short = |text: &&str| text.len() <= NAME_LENGTH_LIMIT;
        let (Some(source), Some(name)) = (call.source.filter(is_short), call.name.filter(is_short)) else {
            let of_source = rules_of_source(filter, searches, call.source);
            return rules_of_call(filter, searches, &of_source, call).into();
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
        let call = CallName { source: Some(source), name: Some(name) };
        let list = self.place(rules_of_call(filter, searches, &self.lists[of_source], call));
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

/// The enabled rules of a filter.
fn enabled(filter: &Filter) -> impl Iterator<Item = (RuleIndex, &Rule)> {
    (0..).zip(&filter.rules).filter(|(_, rule)| rule.enabled)
}

/// Whether a rule may match any call, whatever its source and name.
fn is_for_any_call(rule: &Rule) -> bool {
    rule.all_and_any(Condition::is_for_any_call)
}

/// The rules with a `source` or a `regexp` whose `source`, if they have one, matches.
fn rules_of_source(filter: &Filter, searches: &mut Searches, source: Option<&str>) -> Vec<RuleIndex> {
    let mut found = Vec::new();
    for (index, rule) in enabled(filter).filter(|(_, rule)| !is_for_any_call(rule)) {
        if rule.all_and_any(|condition| condition.finds_source(source, searches)) {
            found.push(index);
        }
    }
    found
}

/// Those of a source's rules that may match a call.
fn rules_of_call(
    filter: &Filter,
    searches: &mut Searches,
    of_source: &[RuleIndex],
    call: CallName<'_>,
) -> Vec<RuleIndex> {
    let mut finds = |condition: &Condition| condition.finds_call(call, searches);
    of_source.iter().copied().filter(|i| filter.rules[*i as usize].all_and_any(&mut finds)).collect()
}

/// The day of a record's `eventTime`, such as `2026-11-20`.
pub(super) fn day_of(record: &Record<'_>) -> Option<String> {
    let time = record.raw_string(&["eventTime"]).filter(|time| humantime::parse_rfc3339(time).is_ok())?;
    time.get(..10).map(str::to_owned)
}

/// A rule that matches a record, and what exceptions say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit<'f> {
    pub(crate) rule: &'f Rule,
    /// The configuration says to ignore it.
    pub(crate) ignored: bool,
    /// An exception would have taken it that has expired.
    pub(crate) expired: bool,
    /// The memory between logs holds it back.
    pub(crate) held: bool,
}

impl Hit<'_> {
    /// Whether it makes an alert, which may be held back.
    pub(crate) fn alerts(&self) -> bool {
        !self.ignored && !self.rule.dry_run
    }

    /// Whether it makes an alert that is not held back.
    pub(crate) fn is_sent(&self) -> bool {
        self.alerts() && !self.held
    }
}

impl<'f, 'l> Matcher<'f, 'l> {
    /// A matcher with the knowledge of those before it, of the same filter.
    pub fn new(filter: &'f Filter, learned: &'l Learned) -> Self {
        Matcher { filter, learned }
    }

    pub(crate) fn filter(&self) -> &'f Filter {
        self.filter
    }

    /// The rules that a record may match, in their order: their `source` and `regexp` match, and its bytes hold the texts
    /// that their tests need. A record has to be parsed only if there are any.
    pub(crate) fn candidates(&mut self, raw: &RawRecord<'_>) -> Vec<RuleIndex> {
        let Matcher { filter, learned: Learned { for_any_call, calls, searches, paths_seen } } = self;
        let (mut calls, mut searches, paths_seen) = (calls.borrow_mut(), searches.borrow_mut(), paths_seen.borrow());
        let mut for_any_call = for_any_call.borrow_mut();
        let call = CallName::of(raw);
        let of_call = calls.rules(filter, &mut searches, call);
        let for_any_call = for_any_call.rules(filter, raw, &paths_seen);
        let is_new = |test: &Test| test.is_unseen(&paths_seen) && test.may_have_value(raw.bytes);
        let mut is_candidate = |i: RuleIndex, is_of_call: bool| {
            let rule = &filter.rules[i as usize];
            // A rule for any call may have alternatives that are not.
            let mut may_match = |condition: &Condition| {
                condition.may_pass(raw.bytes) && (is_of_call || condition.finds_call(call, &mut searches))
            };
            !raw.searchable
                || rule.all_and_any(&mut may_match)
                || !paths_seen.of_tests.is_empty()
                    && rule.conditions().flat_map(|condition| &condition.wheres).any(is_new)
        };
        let mut found: Vec<_> = of_call.iter().copied().filter(|i| is_candidate(*i, true)).collect();
        found.extend(for_any_call.iter().copied().filter(|i| is_candidate(*i, false)));
        found.sort_unstable();
        found
    }

    /// Those of a record's [`candidates`](Self::candidates) that match it.
    pub(crate) fn hits(&mut self, candidates: &[RuleIndex], raw: &RawRecord<'_>, record: &Record<'_>) -> Vec<Hit<'f>> {
        let Matcher { filter, learned: Learned { searches, paths_seen, .. }, .. } = self;
        let scratch = &mut Scratch { searches: &mut searches.borrow_mut(), paths_seen: &mut paths_seen.borrow_mut() };
        let call = CallName::of(raw);
        let rules = candidates.iter().map(|i| &filter.rules[*i as usize]);
        let rules: Vec<_> = rules.filter(|rule| rule.matches(call, record, scratch)).collect();
        let (mut day, mut for_all) = (None, None);
        let mut takes = |entries: &[Exception]| {
            let day = day.get_or_insert_with(|| day_of(record));
            let mut matching = entries.iter().filter(|entry| entry.condition.matches(call, record, scratch));
            // The first that is in force decides; of the others it matters only whether one has expired.
            let mut expired = false;
            let ignored = matching.any(|entry| {
                let in_force = entry.is_in_force(day.as_deref());
                expired |= !in_force && day.is_some();
                in_force
            });
            (ignored, expired && !ignored)
        };
        let mut hit = |rule: &'f Rule| {
            let (all, own) = (*for_all.get_or_insert_with(|| takes(&filter.ignore)), takes(&rule.ignore));
            let ignored = all.0 || own.0;
            Hit { rule, ignored, expired: !ignored && (all.1 || own.1), held: false }
        };
        rules.into_iter().map(&mut hit).collect()
    }
}

#[cfg(test)]
mod tests {
    //! A second evaluator of rules, written after the manual and without any shortcut: the matcher must agree with it.

    use std::net::IpAddr;

    use proptest::prelude::*;
    use regex_automata::meta::Regex;
    use serde_json::{Map, Value, json};

    use super::super::config;
    use super::{Learned, Matcher};
    use crate::log::{LogFile, Record};

    fn find(pattern: &Value, text: &str) -> bool {
        Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text)
    }

    /// The values at a path, arrays opened.
    fn values<'v>(value: &'v Value, path: &[&str]) -> Vec<&'v Value> {
        match (value, path) {
            (Value::Array(elements), _) => elements.iter().flat_map(|element| values(element, path)).collect(),
            (_, []) => vec![value],
            (Value::Object(object), [key, rest @ ..]) => object.get(*key).map(|v| values(v, rest)).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn texts(value: &Value, path: &str) -> Vec<String> {
        let path: Vec<_> = path.split('.').collect();
        let text = |value: &&Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        values(value, &path).iter().filter_map(text).collect()
    }

    fn passes(record: &Value, path: &str, test: &Value) -> bool {
        let texts = texts(record, path);
        let Value::Object(object) = test else { return texts.iter().any(|text| find(test, text)) };
        if let Some(all) = object.get("all") {
            return texts.iter().any(|text| all.as_array().unwrap().iter().all(|pattern| find(pattern, text)));
        }
        if let Some(Value::Array(networks)) = object.get("cidr") {
            let bits = |address: IpAddr| match address {
                IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
                IpAddr::V6(v6) => (128, v6.to_bits()),
            };
            let contains = |network: &Value, address: IpAddr| {
                let (start, length) = network.as_str().unwrap().split_once('/').unwrap();
                let ((size, start), (other, address)) = (bits(start.parse().unwrap()), bits(address));
                let shift = size - length.parse::<u32>().unwrap();
                size == other && start.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0)
            };
            let addresses = texts.iter().filter_map(|text| text.parse().ok());
            return addresses.into_iter().any(|address| networks.iter().any(|network| contains(network, address)));
        }
        if let Some(Value::String(other)) = object.get("sameAs") {
            return texts.iter().any(|text| self::texts(record, other).contains(text));
        }
        if let Some(Value::Object(tests)) = object.get("element") {
            let path: Vec<_> = path.split('.').collect();
            let objects = values(record, &path).into_iter().filter(|value| value.is_object());
            return objects.into_iter().any(|object| tests.iter().all(|(path, test)| passes(object, path, test)));
        }
        let is_number =
            |text: &&String| Regex::new(r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$").unwrap().is_match(*text);
        let bound = |key| object.get(key).and_then(Value::as_f64);
        texts.iter().filter(is_number).map(|text| text.parse::<f64>().unwrap()).any(|number| {
            bound("atLeast").is_none_or(|least| number >= least) && bound("atMost").is_none_or(|most| number <= most)
        })
    }

    /// Whether a condition of JSON matches a record.
    fn matches(record: &Value, condition: &Value) -> bool {
        let all = |key: &str| condition.get(key).and_then(Value::as_object).into_iter().flatten();
        let found = |key: &str, field: &str| {
            condition.get(key).is_none_or(|pattern| record[field].as_str().is_some_and(|text| find(pattern, text)))
        };
        found("source", "eventSource")
            && found("regexp", "eventName")
            && all("where").all(|(path, test)| passes(record, path, test))
            && !all("unless").any(|(path, test)| passes(record, path, test))
            && condition.get("any").is_none_or(|any| any.as_array().unwrap().iter().any(|one| matches(record, one)))
    }

    /// Whether an entry of an `ignore` takes a record out, and whether it would have if it had not expired.
    fn taken(record: &Value, entries: Option<&Value>) -> (bool, bool) {
        let entries = entries.and_then(Value::as_array).into_iter().flatten().filter(|entry| matches(record, entry));
        let day = record["eventTime"].as_str().map(|time| &time[..10]);
        let (mut taken, mut expired) = (false, false);
        for entry in entries {
            match (entry.get("until").and_then(Value::as_str), day) {
                (None, _) => taken = true,
                (Some(until), Some(day)) if day <= until => taken = true,
                (Some(_), Some(_)) => expired = true,
                (Some(_), None) => {}
            }
        }
        (taken, expired && !taken)
    }

    #[test]
    fn rules_for_any_call_match_while_each_record_shows_another_path() {
        let name = |n: usize| format!("p{n}");
        let rules: Vec<_> = (0..500).map(|n| json!({ "name": name(n), "where": { name(n): "^x$" } })).collect();
        let filter = config::parse(json!({ "rules": rules }).to_string().as_bytes(), None).unwrap();
        let learned = Learned::with_paths(&filter);
        let mut matcher = Matcher::new(&filter, &learned);
        // Each path first with another text, and then with the one that matches.
        let records = [("y", None), ("x", Some(())), ("y", None)].into_iter().flat_map(|(text, matches)| {
            (0..500).map(move |n| (json!({ name(n): text }).to_string(), matches.map(|()| name(n))))
        });
        let (records, expected): (Vec<_>, Vec<_>) = records.unzip();
        let mut log_file = LogFile::default();
        let mut found = Vec::new();
        for piece in [Some(format!("{{\"Records\":[{}]}}", records.join(",")).as_bytes()), None] {
            let mut read = log_file.read(piece);
            while let Some(raw) = read.next().unwrap() {
                let candidates = matcher.candidates(&raw);
                let hits = matcher.hits(&candidates, &raw, &Record::parse(raw.text()).unwrap());
                found.push(hits.first().map(|hit| hit.rule.name.clone()));
            }
        }
        assert_eq!(found, expected);
        assert_eq!(learned.for_any_call.borrow().unseen, 0, "all have been seen, and none is searched for any more");
    }

    fn key() -> impl Strategy<Value = &'static str> {
        prop::sample::select(&["a", "b", "key"][..])
    }

    /// Paths below `p`; in an element, without it.
    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(key(), 1..3).prop_map(|keys| keys.join("."))
    }

    fn text() -> impl Strategy<Value = &'static str> {
        prop::sample::select(
            &[
                "x", "xy", "Z", "", "\nxy", "10.1.2.3", "10.200.0.1", "2001:db8::9", "10.1.2.3/32", "22", "22.0", "-1",
                "023", "+5", "2e1",
            ][..],
        )
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            4 => text().prop_map(Value::from),
            2 => (-2..30i64).prop_map(Value::from),
            1 => Just(json!(22.5)),
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                2 => prop::collection::vec((key(), inner), 0..3).prop_map(|entries| {
                    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
                }),
            ]
        })
    }

    fn pattern() -> impl Strategy<Value = Value> {
        prop::sample::select(
            &[".", "x", "^x$", "x|Z", "(?i)z", "", "y$", "2", "^22$", "true", r#"^\{"a""#, ":22", "xy|10", r"\\nxy"][..],
        )
        .prop_map(Value::from)
    }

    fn test() -> impl Strategy<Value = Value> {
        let networks = prop::sample::select(&["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "::/0"][..]);
        let bound = prop::option::of(-2..30i32);
        let leaf = prop_oneof![
            4 => pattern(),
            1 => prop::collection::vec(pattern(), 1..3).prop_map(|all| json!({ "all": all })),
            1 => prop::collection::vec(networks, 1..3).prop_map(|cidr| json!({ "cidr": cidr })),
            1 => (bound.clone(), -2..30i32).prop_map(|(least, span)| match least {
                Some(least) => json!({ "atLeast": least, "atMost": least + span.abs() }),
                None => json!({ "atLeast": span }),
            }),
            1 => path().prop_map(|path| json!({ "sameAs": path })),
        ];
        leaf.prop_recursive(2, 6, 2, |inner| {
            prop::collection::vec((path(), inner), 1..3).prop_map(|tests| json!({ "element": map(tests) }))
        })
    }

    fn map(entries: Vec<(String, Value)>) -> Map<String, Value> {
        entries.into_iter().collect()
    }

    /// The same test with the paths that begin in the record, which are below `p` there.
    fn below_p(mut test: Value) -> Value {
        if let Some(path) = test.get("sameAs").and_then(Value::as_str) {
            test = json!({ "sameAs": format!("p.{path}") });
        }
        test
    }

    fn condition() -> impl Strategy<Value = Value> {
        let name = || prop::option::weighted(0.4, pattern());
        let tests = |most| {
            prop::collection::vec((path(), test()), 0..most).prop_map(|tests| {
                map(tests.into_iter().map(|(path, test)| (format!("p.{path}"), below_p(test))).collect())
            })
        };
        (name(), name(), tests(3), tests(2)).prop_map(|(source, regexp, wheres, unless)| {
            let mut condition = json!({ "where": wheres, "unless": unless });
            for (key, pattern) in [("source", source), ("regexp", regexp)] {
                if let Some(pattern) = pattern {
                    condition[key] = pattern;
                }
            }
            let is_empty =
                condition.as_object().unwrap().values().all(|part| part.as_object().is_some_and(Map::is_empty));
            if is_empty {
                condition["regexp"] = json!("x");
            }
            condition
        })
    }

    fn entry() -> impl Strategy<Value = Value> {
        let until = prop::option::of(prop::sample::select(&["2026-01-01", "2026-11-20", "2030-01-01"][..]));
        (condition(), until).prop_map(|(mut entry, until)| {
            if let Some(until) = until {
                entry["until"] = json!(until);
            }
            entry
        })
    }

    fn rule() -> impl Strategy<Value = Value> {
        let any = prop::collection::vec(condition(), 0..3);
        let ignore = prop::collection::vec(entry(), 0..2);
        (condition(), any, ignore, prop::bool::weighted(0.9)).prop_map(|(mut rule, any, ignore, enabled)| {
            for (key, list) in [("any", any), ("ignore", ignore)] {
                if !list.is_empty() {
                    rule[key] = json!(list);
                }
            }
            rule["enabled"] = json!(enabled);
            rule
        })
    }

    fn record() -> impl Strategy<Value = Value> {
        let time =
            prop::option::weighted(0.8, prop::sample::select(&["2026-11-20T21:08:30Z", "2026-11-21T00:00:00Z"][..]));
        (text(), text(), prop::collection::vec((key(), value()), 0..4), time).prop_map(
            |(source, name, fields, time)| {
                let fields: Map<_, _> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                let mut record = json!({ "eventSource": source, "eventName": name, "p": fields });
                if let Some(time) = time {
                    record["eventTime"] = json!(time);
                }
                record
            },
        )
    }

    /// The JSON of a record in one of the ways in which a log may write it.
    fn written(record: &Value, way: u8) -> String {
        match way {
            0 => record.to_string(),
            1 => serde_json::to_string_pretty(record).unwrap(),
            2 => record.to_string().replace('x', "\\u0078").replace("key", "\\u006bey"),
            _ => record.to_string().replace("\\n", "\\u000a"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_500, ..ProptestConfig::default() })]

        #[test]
        fn the_matcher_agrees_with_the_naive_evaluator_with_and_without_the_quick_reject(
            rules in prop::collection::vec(rule(), 1..4),
            ignore in prop::collection::vec(entry(), 0..2),
            records in prop::collection::vec((record(), 0..4u8), 1..4),
            notes_paths: bool,
        ) {
            let mut rules = rules;
            for (number, rule) in rules.iter_mut().enumerate() {
                rule["name"] = json!(number.to_string());
            }
            let configuration = json!({ "rules": rules, "ignore": ignore });
            let filter = config::parse(configuration.to_string().as_bytes(), None).unwrap();
            let learned = if notes_paths { Learned::with_paths(&filter) } else { Learned::new(&filter) };
            let mut matcher = Matcher::new(&filter, &learned);
            let log: Vec<_> = records.iter().map(|(record, way)| written(record, *way)).collect();
            let log = format!("{{\"Records\":[{}]}}", log.join(","));
            let mut log_file = LogFile::default();
            let mut expected_of = records.iter().map(|(record, _)| {
                let enabled = rules.iter().filter(|rule| rule["enabled"] == true);
                let hit = |rule: &Value| {
                    let (all, own) = (taken(record, Some(&configuration["ignore"])), taken(record, rule.get("ignore")));
                    let ignored = all.0 || own.0;
                    (rule["name"].as_str().unwrap().to_owned(), ignored, !ignored && (all.1 || own.1))
                };
                enabled.filter(|rule| matches(record, rule)).map(hit).collect::<Vec<_>>()
            });
            for piece in [Some(log.as_bytes()), None] {
                let mut read = log_file.read(piece);
                while let Some(raw) = read.next().unwrap() {
                    let expected = expected_of.next().unwrap();
                    let parsed = Record::parse(raw.text()).unwrap();
                    let quick = matcher.candidates(&raw);
                    let all: Vec<_> = (0..).zip(&filter.rules).filter(|(_, rule)| rule.enabled).map(|(i, _)| i).collect();
                    for candidates in [quick, all] {
                        let hits = matcher.hits(&candidates, &raw, &parsed);
                        let hits: Vec<_> = hits.iter().map(|hit| (hit.rule.name.clone(), hit.ignored, hit.expired)).collect();
                        prop_assert_eq!(&hits, &expected, "{} {}", configuration, raw.text());
                    }
                }
            }
            prop_assert!(expected_of.next().is_none());
        }
    }
}

//! A second evaluator of rules, written after the manual and without any shortcut: the matcher must agree with it.

use std::net::IpAddr;

use proptest::prelude::*;
use regex_automata::meta::Regex;
use serde_json::{Map, Value, json};

use super::config;
use super::matcher::{Learned, Matcher};
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
    let is_number = |text: &&String| Regex::new(r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$").unwrap().is_match(*text);
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
        &["x", "^x$", "x|Z", "(?i)z", "", "y$", "2", "^22$", "true", r#"^\{"a""#, ":22", "xy|10", r"\\nxy"][..],
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
        prop::collection::vec((path(), test()), 0..most)
            .prop_map(|tests| map(tests.into_iter().map(|(path, test)| (format!("p.{path}"), below_p(test))).collect()))
    };
    (name(), name(), tests(3), tests(2)).prop_map(|(source, regexp, wheres, unless)| {
        let mut condition = json!({ "where": wheres, "unless": unless });
        for (key, pattern) in [("source", source), ("regexp", regexp)] {
            if let Some(pattern) = pattern {
                condition[key] = pattern;
            }
        }
        let is_empty = condition.as_object().unwrap().values().all(|part| part.as_object().is_some_and(Map::is_empty));
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
    let time = prop::option::weighted(0.8, prop::sample::select(&["2026-11-20T21:08:30Z", "2026-11-21T00:00:00Z"][..]));
    (text(), text(), prop::collection::vec((key(), value()), 0..4), time).prop_map(|(source, name, fields, time)| {
        let fields: Map<_, _> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut record = json!({ "eventSource": source, "eventName": name, "p": fields });
        if let Some(time) = time {
            record["eventTime"] = json!(time);
        }
        record
    })
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

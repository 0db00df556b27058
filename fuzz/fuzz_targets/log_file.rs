//! The scanner takes any bytes, and of JSON it finds the records that a parser of whole documents finds, however the
//! bytes arrive. What matches becomes an alert, whatever it is.

#![no_main]

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::sync::LazyLock;

use cloudtrail_alerter::evaluate::{Evaluator, Verdict};
use cloudtrail_alerter::log::{self, LogFile, Malformed, Record};
use cloudtrail_alerter::rules::{Filter, Learned, Matcher, config};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let topic = "arn:aws:sns:us-east-1:123456789012:alerts";
    let deep = r#"{"name": "deep", "where": {"requestParameters.a.b": "."}}"#;
    let all = format!(r#"{{"source": "iam", "regexp": "^", "rules": [{deep}]}}"#);
    config::parse(all.as_bytes(), Some(topic)).unwrap()
});

fuzz_target!(|input: &[u8]| {
    let Some((piece, file)) = input.split_last() else { return };
    let lambda = LogFile::default;
    let (offline, offline_result) = read(LogFile::offline(), file, usize::from(*piece) + 1, true);
    same(&offline, &offline_result, read(LogFile::offline(), file, usize::MAX, true), "pieces decide offline");
    let (seen, result) = read(lambda(), file, usize::from(*piece) + 1, true);
    same(&seen, &result, read(lambda(), file, usize::MAX, true), "pieces decide");
    if result.is_ok() {
        same(&seen, &result, (offline, offline_result), "a log file is read otherwise offline");
    }
    let (glanced_at, glance) = read(lambda(), file, usize::from(*piece) + 1, false);
    same(&glanced_at, &glance, read(lambda(), file, usize::MAX, false), "pieces decide at a glance");
    assert!(glanced_at.starts_with(&seen), "a closer look shows other records");
    if file.first().is_none_or(|first| *first == 0x1f) {
        return;
    }
    let mut values = serde_json::Deserializer::from_slice(file).into_iter::<IgnoredAny>();
    if let Some(problem) = values.find_map(Result::err) {
        assert!(read(LogFile::offline(), file, 7, true).1.is_err(), "passed offline, but: {problem}");
    }
    same(&seen, &result, read(lambda(), &gzip(file), 7, true), "gzip decides");
    if let Err(problem) = serde_json::from_slice::<IgnoredAny>(file) {
        assert!(result.is_err(), "passed, but: {problem}");
    }
    if let Ok(Entries(entries)) = serde_json::from_slice(file) {
        let records: Vec<_> = entries.iter().filter(|(key, _)| key == "Records").map(|(_, value)| value).collect();
        if !records.is_empty() && records.iter().all(|records| records.is_array()) {
            assert!(result.is_ok(), "{result:?}");
            let expected: Vec<_> =
                records.iter().flat_map(|records| records.as_array().unwrap()).map(seen_as).collect();
            assert_eq!(seen, expected);
        } else {
            assert!(result.is_err(), "no log");
        }
    }
});

fn same(seen: &[Seen], result: &Result<(), Malformed>, other: (Vec<Seen>, Result<(), Malformed>), what: &str) {
    if let Some(at) = (0..seen.len().max(other.0.len())).find(|i| seen.get(*i) != other.0.get(*i)) {
        panic!("{what}, of record {at}:\n{:?}\n{:?}\n{result:?}\n{:?}", seen.get(at), other.0.get(at), other.1);
    }
    assert_eq!(result.is_ok(), other.1.is_ok(), "{what}: {result:?}, {:?}", other.1);
}

/// A record's source, name and JSON; `None` where no parser of whole documents takes it.
type Seen = (Option<String>, Option<String>, Option<Value>);

fn seen_as(record: &Value) -> Seen {
    let text = |key| record.get(key).and_then(Value::as_str).map(str::to_owned);
    (text("eventSource"), text("eventName"), Some(record.clone()))
}

/// Reads a file in pieces of this length. `strictly` looks into every record, and else only rules do, of which there are
/// none for most.
fn read(mut log: LogFile, file: &[u8], piece: usize, strictly: bool) -> (Vec<Seen>, Result<(), Malformed>) {
    let learned = Learned::new(&FILTER);
    let mut evaluator = Evaluator::new(Matcher::new(&FILTER, &learned), "log", None);
    // Nothing of a file that was given up may be left.
    let mut given_up = log.read(Some(&file[..file.len() / 2]));
    while let Ok(Some(_)) = given_up.next() {}
    log.restart();
    let mut seen = Vec::new();
    for piece in file.chunks(piece).map(Some).chain([None]) {
        let read = read_piece(&mut log, piece, &mut evaluator, strictly, &mut seen);
        if read.is_err() {
            return (seen, read);
        }
    }
    (seen, Ok(()))
}

fn read_piece<'a, 'f: 'a>(
    log: &mut LogFile,
    piece: Option<&[u8]>,
    evaluator: &mut Evaluator<'a, 'f, '_>,
    strictly: bool,
    seen: &mut Vec<Seen>,
) -> Result<(), Malformed> {
    let mut records = log.read(piece);
    while let Some(raw) = records.next()? {
        let verdict = evaluator.evaluate(&raw)?;
        let json = log::readable(raw.bytes);
        if strictly {
            Record::parse(&json).map_err(|problem| raw.malformed(&problem))?;
        }
        if raw.event_source.as_ref().is_some_and(|source| source.contains("iam")) && raw.event_name.is_some() {
            let Verdict::Matched(found, alerts) = verdict else { panic!("{raw:?} is lost") };
            assert!(alerts.len() as u64 + found.duplicates == 1, "{found:?}");
        }
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        seen.push((text(&raw.event_source), text(&raw.event_name), serde_json::from_str(&json).ok()));
    }
    Ok(())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A JSON object's entries, repeated keys among them.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

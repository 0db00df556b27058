//! The scanner takes any bytes, and of JSON it finds the records that a parser of whole documents finds, however the
//! bytes arrive. What matches becomes an alert, whatever it is.

#![no_main]

use std::fmt;
use std::io::Write;
use std::sync::LazyLock;

use cloudtrail_alerter::configuration;
use cloudtrail_alerter::filter::{Filter, Matcher};
use cloudtrail_alerter::log_file::{LogFile, Malformed};
use cloudtrail_alerter::record;
use cloudtrail_alerter::triage::{Outcome, Triage};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let topic = "arn:aws:sns:us-east-1:123456789012:alerts";
    let deep = r#"{"name": "deep", "where": {"requestParameters.a.b": "."}}"#;
    let all = format!(r#"{{"source": "^", "regexp": "^", "rules": [{deep}]}}"#);
    configuration::parse(all.as_bytes(), Some(topic)).unwrap()
});

fuzz_target!(|input: &[u8]| {
    let Some((piece, file)) = input.split_last() else { return };
    let (seen, result) = read(file, usize::from(*piece) + 1);
    let (at_once, result_at_once) = read(file, usize::MAX);
    assert_eq!(seen, at_once, "pieces decide");
    assert_eq!(result.is_ok(), result_at_once.is_ok(), "pieces decide");
    if file.first().is_none_or(|first| *first == 0x1f) {
        return;
    }
    let (zipped, zipped_result) = read(&gzip(file), 7);
    assert_eq!(seen, zipped, "gzip decides");
    assert_eq!(result.is_ok(), zipped_result.is_ok(), "gzip decides");
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

/// A record's source, name and JSON; `None` where no parser of whole documents takes it.
type Seen = (Option<String>, Option<String>, Option<Value>);

fn seen_as(record: &Value) -> Seen {
    let text = |key| record.get(key).and_then(Value::as_str).map(str::to_owned);
    (text("eventSource"), text("eventName"), Some(record.clone()))
}

fn read(file: &[u8], piece: usize) -> (Vec<Seen>, Result<(), Malformed>) {
    let mut matcher = Matcher::new(&FILTER);
    let mut triage = Triage::new(&mut matcher, "log", None);
    let mut seen = Vec::new();
    let mut on_record = |raw: &cloudtrail_alerter::log_file::RawRecord<'_>| {
        let outcome = triage.record(raw);
        if raw.source.is_some() && raw.name.is_some() {
            let Outcome::Matched(found) = outcome else { panic!("{raw:?} is lost") };
            assert!(found.alerts.len() as u64 + found.duplicates == 1, "{found:?}");
        }
        let json = serde_json::from_str(&record::readable(raw.bytes)).ok();
        seen.push((raw.source.as_deref().map(str::to_owned), raw.name.as_deref().map(str::to_owned), json));
    };
    let mut log = LogFile::new();
    for mut piece in file.chunks(piece) {
        loop {
            match log.step(&mut piece, &mut on_record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    log.finish(&mut on_record).ok();
                    return (seen, Err(e));
                }
            }
        }
    }
    let result = log.finish(&mut on_record);
    (seen, result)
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

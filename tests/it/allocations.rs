//! Memory allocations of scanning, which must not grow with the number of records.

use allocation_counter::measure;
use cloudtrail_alerter::evaluate::{Evaluator, Verdict};
use cloudtrail_alerter::log::LogFile;
use cloudtrail_alerter::rules::{Learned, Matcher, config};
use serde_json::{Value, json};

/// The number of allocations while a log of so many copies of these records is read.
fn allocations(config: &Value, records: &[Value], copies: usize) -> u64 {
    let log = json!({ "Records": vec![records; copies].concat() }).to_string();
    let filter = config::parse(config.to_string().as_bytes(), None).unwrap();
    let learned = Learned::default();
    let mut log_file = LogFile::default();
    let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
    let mut unmatched = 0;
    let counted = measure(|| {
        for piece in log.as_bytes().chunks(10_000).map(Some).chain([None]) {
            let mut records = log_file.read(piece);
            while let Some(record) = records.next().unwrap() {
                unmatched += u64::from(matches!(evaluator.evaluate(&record).unwrap(), Verdict::Unmatched));
            }
        }
    });
    assert_eq!(unmatched, (copies * records.len()) as u64);
    counted.count_total
}

#[test]
fn a_record_that_matches_nothing_allocates_nothing() {
    let records: Vec<_> = (0..50)
        .map(|i| {
            json!({"eventSource": format!("s{}.amazonaws.com", i % 5), "eventName": format!("Call{i}"), "errorCode": "Other",
                   "userIdentity": {"type": "AssumedRole"}, "requestParameters": {"text": "{\"a\":[\"\\u00e9\"]}"}})
        })
        .collect();
    let config = json!({"packs": ["cis", "threats"], "rules": [
        {"name": "a", "source": "^s1", "regexp": "^Nothing$"},
        {"name": "b", "where": {"userIdentity.type": "^Root$"}},
        {"name": "c", "source": "^s2", "where": {"errorCode": "^AccessDenied$"}},
    ]});
    assert_eq!(allocations(&config, &records, 100), allocations(&config, &records, 10));
}

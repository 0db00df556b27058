//! The built program from outside, as Lambda runs it and as a person runs it. `tests/README.md` says which file
//! answers which question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod allocations;
mod batch_jobs;
mod buckets;
mod check;
mod cli;
mod envelopes;
mod fake_aws;
mod fake_dynamodb;
mod faults;
mod golden;
mod https;
mod ignore;
mod lambda;
mod mail;
mod manual;
mod memory;
mod messages;
mod neighbours;
mod offline;
mod packs;
mod program;
mod redaction;
mod report;
mod rules;
mod runtime_api;
mod scan_memory;
mod scan_s3;
mod sigma;
mod world;

use std::io::Write;
use std::path::PathBuf;

use aws_lambda_events::s3::S3Event;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cloudtrail-alerter");

/// A path in this repository.
fn path(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(of)
}

/// A file of this repository.
fn file(of: &str) -> Vec<u8> {
    std::fs::read(path(of)).unwrap_or_else(|e| panic!("{of}: {e}"))
}

/// The README and the manuals.
fn pages() -> String {
    let manuals = std::fs::read_dir(path("docs")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let pages =
        [path("README.md")].into_iter().chain(manuals).filter(|page| page.extension().is_some_and(|e| e == "md"));
    pages.map(|page| std::fs::read_to_string(page).unwrap()).collect()
}

/// An event of `fixtures/events`.
fn event(name: &str) -> Value {
    serde_json::from_slice(&file(&format!("fixtures/events/{name}.json"))).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The record of that number. The rule of `filter_config.json` matches it.
fn record(number: usize) -> Value {
    json!({
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateUser",
        "awsRegion": "us-east-1",
        "recipientAccountId": "123456789012",
        "requestParameters": { "userName": format!("user-{number}") },
        // Random, so that a compressed log is long enough to be cut in the middle of a record.
        "requestID": format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        "eventID": format!("00000000-0000-4000-8000-{number:012}"),
    })
}

/// The first records that [`record`] makes.
fn records(count: usize) -> Vec<Value> {
    (0..count).map(record).collect()
}

/// A log file, not compressed.
fn log(records: &[Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

#[test]
fn events_have_the_form_that_aws_sends() {
    for (name, objects) in [("s3-put", 1), ("s3-multipart-two-logs", 2), ("s3-digest", 1)] {
        let event: S3Event = serde_json::from_value(event(name)).expect(name);
        assert_eq!(event.records.len(), objects, "{name}");
        for record in event.records {
            assert!(record.event_name.unwrap().starts_with("ObjectCreated:"), "{name}");
            assert!(record.s3.bucket.name.is_some() && record.s3.object.key.is_some(), "{name}");
        }
    }
}

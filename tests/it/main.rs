//! The built program from outside: as Lambda starts it, against a Lambda, an S3 and an SNS on the loopback device
//! (`lambda`, `envelopes`, `messages`, `faults`, `https`), and as a person does (`cli`, `rules`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allocations;
mod cli;
mod envelopes;
mod fake_aws;
mod faults;
mod https;
mod lambda;
mod messages;
mod rules;
mod runtime_api;

use std::io::Write;
use std::path::PathBuf;

use aws_lambda_events::s3::S3Event;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cloudtrail-alerter");

/// Of the alerts that `filter_config.json` makes of `fixtures/logs/iam-signin-sts.json`.
const SUBJECTS: [&str; 11] = [
    "[medium] CreateUser by alice in 123456789012 us-east-1",
    "[medium] CreateAccessKey by alice in 123456789012 us-east-1",
    "[medium] CreateLoginProfile by alice in 123456789012 us-east-1",
    "[medium] PutRolePolicy by deployer/release-42 in 123456789012 us-east-1",
    "[medium] ConsoleLogin by alice in 123456789012 us-east-1",
    "[medium] ConsoleLogin by bob in 123456789012 us-east-1",
    "[medium] ConsoleLogin by root in 123456789012 us-east-1",
    "[medium] GetSessionToken by alice in 123456789012 us-east-1",
    "[medium] ListUsers by auditor/alice-audit in 123456789012 us-east-1",
    "[medium] DeleteUser by bob in 123456789012 us-east-1",
    "[medium] CreateUser by CloudFormationExec/AWSCloudFormation in 123456789012 us-east-1",
];

/// The first one's body, without the end of its last line.
fn first_body(log: &str) -> String {
    let id = "5a1e05f5-c5ca-424a-b837-959e25d6aea7";
    format!(
        "Event  : CreateUser
Source : iam.amazonaws.com
Params : {{\"userName\":\"bob\"}}
Region : us-east-1

Rule    : default (medium)
Result  : Success
Who     : arn:aws:iam::123456789012:user/alice
From    : 203.0.113.9, aws-cli/2.15
Account : 123456789012
Time    : 2026-11-20T21:08:30Z
Event ID: {id}
Console : https://us-east-1.console.aws.amazon.com/cloudtrailv2/home?region=us-east-1#/events/{id}
Log     : {log}"
    )
}

fn path(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn file(of: &str) -> Vec<u8> {
    std::fs::read(path(of)).unwrap_or_else(|e| panic!("{of}: {e}"))
}

fn event(name: &str) -> Value {
    serde_json::from_slice(&file(&format!("fixtures/events/{name}.json"))).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The `number`th record of a log; `filter_config.json` matches every one.
fn record(number: usize) -> Value {
    json!({
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateUser",
        "awsRegion": "us-east-1",
        "recipientAccountId": "123456789012",
        "requestParameters": { "userName": format!("user-{number}") },
        // Spread out, so that a compressed log is long enough to be cut in interesting places.
        "requestID": format!("{:032x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        "eventID": format!("00000000-0000-4000-8000-{number:012}"),
    })
}

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

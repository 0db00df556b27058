//! Scanning in one process, beside inflating the same file, which can't be avoided.
//!
//! `cargo bench --bench scan [-- LOG.json.gz]` prints medians, of the ratios too, each of two runs that follow each other;
//! without a file it makes up a log.

#![allow(clippy::expect_used, clippy::cast_precision_loss, clippy::cast_possible_truncation)] // of a benchmark

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use cloudtrail_alerter::evaluate::{Evaluator, Verdict};
use cloudtrail_alerter::log::LogFile;
use cloudtrail_alerter::rules::{Filter, Learned, Matcher, config};
use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use serde_json::json;

const RUNS: usize = 15;
/// S3 gives so many bytes at once.
const PIECE: usize = 16 << 10;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let file = given.map_or_else(made_up, |path| std::fs::read(path).expect("a readable log"));
    let (bytes, records) = scan(&file, &filter(r#"{"source": "^nothing$", "regexp": "^nothing$"}"#), false);
    println!("{:.1} MB of JSON, {records} records; medians of {RUNS} runs", bytes as f64 / 1e6);
    for (what, config) in [
        ("1 rule", r#"{"source": "^nothing$", "regexp": "^nothing$"}"#.to_owned()),
        ("30 rules", rules(30)),
        ("300 rules", rules(300)),
        ("both packs", r#"{"packs": ["cis", "threats"]}"#.to_owned()),
        ("all match", r#"{"source": "", "regexp": ""}"#.to_owned()),
        ("all alert", r#"{"source": "", "regexp": ""}"#.to_owned()),
    ] {
        let filter = filter(&config);
        let (mut inflating, mut scanning, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            inflating.push(milliseconds(|| inflate(&file)));
            scanning.push(milliseconds(|| scan(&file, &filter, what == "all alert")));
            ratios.push(scanning[scanning.len() - 1] / inflating[inflating.len() - 1]);
        }
        let (inflating, scanning, ratio) = (median(inflating), median(scanning), median(ratios));
        println!("{what:10}  inflating {inflating:>6.1} ms  scanning {scanning:>6.1} ms  ratio {ratio:.2}");
    }
}

fn milliseconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(run());
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn inflate(file: &[u8]) -> u64 {
    let mut member = Decompress::new_gzip(15);
    let mut window = vec![0; 128 << 10];
    while (member.total_in() as usize) < file.len() {
        let rest = &file[member.total_in() as usize..];
        member.decompress(rest, &mut window, FlushDecompress::None).expect("a gzipped log of one member");
    }
    member.total_out()
}

fn filter(config: &str) -> Filter {
    config::parse(config.as_bytes(), None).expect("a valid configuration")
}

/// The bytes and the number of the records. A match is found, but its alerts are made only if they are wanted.
fn scan(file: &[u8], filter: &Filter, alert: bool) -> (u64, u64) {
    let learned = Learned::new(filter);
    let mut evaluator = Evaluator::new(Matcher::new(filter, &learned), "log", None);
    let (mut bytes, mut number, mut log) = (0, 0, LogFile::default());
    for piece in file.chunks(PIECE).map(Some).chain([None]) {
        let mut records = log.read(piece);
        while let Some(record) = records.next().expect("a valid log") {
            bytes += record.bytes.len() as u64;
            number += 1;
            match evaluator.evaluate(&record).expect("a valid record") {
                Verdict::Matched(_, alerts) if alert => alerts.for_each(|alert| drop(black_box(alert))),
                verdict => drop(black_box(verdict)),
            }
        }
    }
    (bytes, number)
}

/// So many rules about different calls of 20 services; none matches.
fn rules(n: usize) -> String {
    let rule = |i: usize| {
        json!({"name": format!("rule-{i}"), "source": format!("^service{}\\.amazonaws\\.com$", i % 20),
               "regexp": format!("^(Create|Delete|Put)Thing{i}$")})
    };
    json!({"rules": (0..n).map(rule).collect::<Vec<_>>()}).to_string()
}

/// 50 MB of records that differ as those of one account do.
fn made_up() -> Vec<u8> {
    let mut file = GzEncoder::new(Vec::new(), Compression::default());
    let mut random = fastrand::Rng::with_seed(7);
    write!(file, "{{\"Records\":[").expect("memory");
    for i in 0..40_000 {
        let (service, call) = (random.u32(..20), random.u32(..40));
        let record = json!({
            "eventVersion": "1.11",
            "userIdentity": {"type": "AssumedRole", "principalId": format!("AROAEXAMPLE{:08X}:session-{}", random.u32(..), random.u8(..)),
                "arn": format!("arn:aws:sts::123456789012:assumed-role/role-{}/session-{}", random.u8(..30), random.u8(..)),
                "accountId": "123456789012", "accessKeyId": format!("ASIA{:016X}", random.u64(..)),
                "sessionContext": {"attributes": {"creationDate": "2026-11-20T21:00:00Z", "mfaAuthenticated": "false"}}},
            "eventTime": format!("2026-11-20T21:{:02}:{:02}Z", random.u8(..60), random.u8(..60)),
            "eventSource": format!("service{service}.amazonaws.com"),
            "eventName": format!("DescribeThing{call}"),
            "awsRegion": "us-east-1",
            "sourceIPAddress": format!("203.0.113.{}", random.u8(..)),
            "userAgent": "aws-cli/2.15.30 Python/3.11.8 Linux/6.1.0 exe/x86_64.amzn.2023",
            "requestParameters": {"filterSet": {"items": [{"name": "tag:team", "valueSet": {"items": [{"value": format!("team-{}", random.u8(..))}]}}]},
                "policy": format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Sid\":\"s{i}\"}}]}}")},
            "responseElements": null,
            "requestID": format!("{:032x}", random.u128(..)),
            "eventID": format!("{:032x}", random.u128(..)),
            "readOnly": true,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": "123456789012",
            "eventCategory": "Management",
        });
        write!(file, "{}{record}", if i == 0 { "" } else { "," }).expect("memory");
    }
    write!(file, "]}}").expect("memory");
    file.finish().expect("memory")
}

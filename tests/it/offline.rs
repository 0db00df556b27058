//! `scan` and `ignore` with records in the forms in which people have them, beside CloudTrail's log files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::program::{folder, run_in};
use crate::{file, gzip, record};

#[derive(Deserialize)]
struct Log {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

/// The records of a fixture, as they are written there.
fn records(name: &str) -> Vec<String> {
    let log: Log = serde_json::from_slice(&file(&format!("fixtures/logs/{name}.json"))).unwrap();
    log.records.iter().map(|record| record.get().to_owned()).collect()
}

/// These records in each form, in their order. The first form is a log file.
fn forms(records: &[String]) -> Vec<(&'static str, Vec<u8>)> {
    let array = |values: &[String]| format!("[{}]", values.join(","));
    let document = |values: &[String]| format!("{{\"Records\":{}}}", array(values));
    let page = |values: &[String]| format!("{{\"Events\":{},\"NextToken\":\"x\"}}", array(values));
    let documents: Vec<String> = records.chunks(3).map(document).collect();
    let strings: Vec<String> = records.iter().map(|record| Value::from(record.as_str()).to_string()).collect();
    let event = |text: &String| {
        format!(
            r#"{{ "EventId": "1", "EventName": "x", "ReadOnly": "false", "EventTime": "2026-11-20T21:08:30+00:00",
                "EventSource": "x", "Username": "x", "Resources": [], "CloudTrailEvent": {text} }}"#
        )
    };
    let events: Vec<String> = strings.iter().map(event).collect();
    let pages: Vec<String> = events.chunks(2).map(page).collect();
    let marked = documents.iter().map(|log| format!("\u{feff}{log}")).collect::<Vec<_>>().join("\r\n");
    let texts = [
        ("a log", document(records)),
        ("logs in a row", documents.concat()),
        ("logs as lines", documents.join("\n")),
        ("logs with byte order marks", marked),
        ("an array of logs", array(&documents)),
        ("records as lines", records.join("\n")),
        ("an array of records", array(records)),
        ("the event history", format!("{{\n    \"Events\": {}\n}}\n", array(&events))),
        ("pages of the event history", pages.join("\n")),
        ("an array of pages", array(&pages)),
        ("events as lines", events.join("\n")),
        ("strings as lines", strings.join("\n")),
        ("an array of strings", array(&strings)),
    ];
    let members = documents.iter().flat_map(|log| gzip(log.as_bytes())).collect();
    let zipped = gzip(records.join("\n").as_bytes());
    let texts = texts.into_iter().map(|(form, text)| (form, text.into_bytes()));
    texts.chain([("logs gzipped one by one", members), ("records as lines, gzipped", zipped)]).collect()
}

#[test]
fn the_same_records_give_the_same_alerts_in_each_form() {
    let mut records = ["iam-signin-sts", "odd-records", "tutorial"].map(records).concat();
    let all = records.len();
    // Without a list around it, only an object with one of these is known as a record.
    records.retain(|record| {
        let fields = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(record).unwrap_or_default();
        ["eventID", "eventName", "eventSource"].iter().any(|key| fields.get(*key).is_some_and(|v| v.get() != "null"))
    });
    assert!(all < records.len() + 9 && records.iter().any(|record| record.contains("\\ud83d")), "{}", records.len());
    let folder = folder(&[]);
    for format in ["text", "json"] {
        let forms = forms(&records);
        let mut runs = forms.iter().map(|(form, bytes)| {
            let scanned = run_in(folder.path(), &["scan", "--format", format, "-"], bytes.clone());
            (form, (scanned.code, scanned.stdout, scanned.stderr))
        });
        let (_, log) = runs.next().unwrap();
        assert!(log.0 == 0 && log.1.lines().count() > 10, "{log:?}");
        for (form, run) in runs {
            assert_eq!(run, log, "{form}");
        }
    }
}

#[test]
fn the_records_before_a_mistake_count_and_the_error_says_what_may_stand_there() {
    let line = |number: usize| record(number).to_string();
    let folder = folder(&[("notes.json", br#"{"a":1}"#)]);
    let cut = format!("{}\n{}\n{}", line(1), line(2), &line(3)[..20]);
    for (text, shown, problem) in [
        (cut.as_str(), 2, "the JSON is cut off, after 2 whole records"),
        (&format!("{}\n{{\"a\":1}}\n{}", line(1), line(2)), 1, "no top-level Records, and is not a record"),
        (&format!("[{},7]", line(1)), 1, "something that is not a record follows, after 1 whole record"),
        (r#"{"Events":[{"CloudTrailEvent":"x"}]}"#, 0, "that does not hold a record as JSON"),
    ] {
        let scanned = run_in(folder.path(), &["scan", "-"], text.into());
        assert_eq!((scanned.code, scanned.subjects().len()), (1, shown), "{scanned:?}");
        assert!(scanned.stderr.contains(problem), "{problem}: {scanned:?}");
    }
    let scanned = run_in(folder.path(), &["scan", "notes.json"], Vec::new());
    assert!(scanned.code == 1 && scanned.stderr.contains("aws cloudtrail lookup-events"), "{scanned:?}");
}

#[test]
fn ignore_counts_the_matches_in_the_event_history() {
    let records = records("iam-signin-sts");
    let log =
        json!({ "Events": records.iter().map(|record| json!({ "CloudTrailEvent": record })).collect::<Vec<_>>() });
    let files = [
        ("alert.json", records[0].as_bytes()),
        ("log.json", &file("fixtures/logs/iam-signin-sts.json")),
        ("history.json", log.to_string().as_bytes()),
    ]
    .map(|(name, bytes)| (name, bytes.to_vec()));
    let folder = folder(&files.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
    let [of_log, of_history] = ["log.json", "history.json"].map(|log| {
        let ignored = run_in(folder.path(), &["ignore", "--from", "alert.json", log], Vec::new());
        assert_eq!(ignored.code, 0, "{ignored:?}");
        ignored.stderr.replace(log, "")
    });
    assert!(of_log.contains("1 match") && of_history == of_log, "{of_log}\n{of_history}");
}

//! `scan` with rules that remember: it plays what the function would send.

use std::process::Command;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::memory::ENVIRONMENT;
use crate::program::{Run, folder, run_in};
use crate::world::{BUCKET, CONFIG, TIMEOUT, metrics, put_keys, world_with};
use crate::{PROGRAM, gzip, log, record};

/// A log's key in CloudTrail's layout, of that minute.
fn key(region: &str, minute: usize) -> String {
    let name = format!("123456789012_CloudTrail_{region}_20261120T21{minute:02}Z_abcdefghijklmnop.json.gz");
    format!("AWSLogs/123456789012/CloudTrail/{region}/2026/11/20/{name}")
}

/// A record of that number, caller and minute.
fn call(number: usize, caller: &str, minute: usize) -> Value {
    let mut call = record(number);
    call["userIdentity"] = json!({ "arn": format!("arn:aws:iam::123456789012:user/{caller}") });
    call["eventTime"] = json!(format!("2026-11-20T{:02}:{:02}:00Z", 10 + minute / 60, minute % 60));
    call
}

fn suppressing(span: &str) -> Value {
    json!({ "by": ["userIdentity.arn"], "for": span })
}

/// Runs `scan` on these logs, with more arguments.
fn scan(configuration: &Value, logs: &[(String, Vec<Value>)], arguments: &[&str]) -> Run {
    let (config, logs): (_, Vec<_>) =
        (configuration.to_string(), logs.iter().map(|(name, records)| (name, gzip(&log(records)))).collect());
    let mut files: Vec<_> = logs.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    files.push(("c.json", config.as_bytes()));
    let scanned = run_in(folder(&files).path(), &[&["scan", "--config", "c.json"], arguments].concat(), Vec::new());
    assert_eq!(scanned.code, 0, "{scanned:?}");
    scanned
}

/// The numbers of the records that alerts in text are about.
fn users(scanned: &Run) -> Vec<usize> {
    let user = |body: &str| body.split("user-").nth(1)?.split('"').next()?.parse().ok();
    scanned.alerts().into_iter().filter_map(|(_, body)| user(body)).collect()
}

#[test]
fn logs_are_taken_in_the_order_of_the_times_in_their_names() {
    let configuration = json!({ "rules": [{ "name": "r", "source": "iam", "suppress": suppressing("10m") }] });
    // Later regions and folders have earlier logs. Those without a time come first, in the order of the paths.
    let logs: Vec<_> = [
        ("copies/".to_owned() + &key("us-east-1", 3), 20),
        (key("us-east-1", 2), 10),
        (key("us-west-2", 0), 0),
        (key("us-west-2", 2), 15),
        ("copies/".to_owned() + &key("eu-west-1", 2), 5),
        ("b.json".to_owned(), 31),
        ("copies/a.json".to_owned(), 30),
        ("copies/z.json".to_owned(), 32),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (name, minute))| (name, vec![call(number, "alice", minute)]))
    .collect();
    let scanned = scan(&configuration, &logs, &["AWSLogs", "b.json", "copies"]);
    assert_eq!(users(&scanned), [5, 2, 1, 0], "{scanned:?}");
    let held = |number: &str| scanned.alerts().into_iter().find(|alert| alert.1.contains(number)).unwrap().1;
    assert!(held("user-2").contains("Held    : 2 more between 2026-11-20T10:30:00Z and 2026-11-20T10:32:00Z"));
    assert!(held("user-1").contains("Held    : 1 more at 2026-11-20T10:05:00Z with "), "{scanned:?}");
    assert!(held("user-0").contains("Held    : 1 more at 2026-11-20T10:15:00Z with "), "{scanned:?}");
    // Without memory, all of them.
    let configuration = json!({ "rules": [{ "name": "r", "source": "iam" }] });
    let scanned = scan(&configuration, &logs, &["copies", "AWSLogs", "b.json"]);
    assert_eq!(users(&scanned), [6, 7, 5, 2, 4, 1, 3, 0], "{scanned:?}");
}

#[test]
fn the_summary_says_how_many_were_held_back() {
    let mut configuration = json!({ "maxAlertsPerLog": 2, "rules": [
        { "name": "quiet", "source": "iam", "suppress": suppressing("10m") },
        { "name": "loud", "regexp": "Role" },
    ], "ignore": [{ "where": { "userIdentity.arn": "/mallory$" } }] });
    // Of the seven that the first rule lets pass, one is the other rule's alone, and one is an event that came before.
    let mut first: Vec<_> = (0..8).map(|n| call(n, "alice", 5 * n)).collect();
    first.push(call(8, "mallory", 0));
    let mut second: Vec<_> = (9..12).map(|n| call(n, "bob", n)).collect();
    second[2]["eventName"] = json!("CreateRole");
    second.push(first[1].clone());
    let logs = [(key("us-east-1", 0), first), (key("us-east-1", 1), second)];
    let scanned = scan(&configuration, &logs, &["AWSLogs"]);
    let table: Vec<_> = scanned.stderr.lines().skip_while(|line| line.starts_with("warning: ")).collect();
    let head = "2 logs, 13 records, 12 matches, 1 of them ignored, 5 of them suppressed, 1 repeat, from";
    assert!(table[0].starts_with(head), "{scanned:?}");
    let expected = [
        "matches   alerts  suppressed  ignored  messages/day  rule   top callers",
        "     12       11           6        1           4.0  quiet  ",
        "      1        1           0        0           1.0  loud   ",
    ];
    for (row, expected) in table[2..].iter().zip(expected) {
        assert!(row.starts_with(expected), "{scanned:?}");
    }
    // Alerts at 0, 10, 20 and 30 minutes, of which the limit leaves two; and those about bob.
    let subjects = scanned.subjects();
    assert_eq!(subjects.iter().filter(|subject| subject.contains("2 more alerts of quiet")).count(), 1, "{subjects:?}");
    assert_eq!(users(&scanned), [0, 2, 9, 11], "{scanned:?}");
    assert!(scanned.alerts()[4].1.contains("Rule    : loud (medium)\n"), "{scanned:?}");
    // `--rule` takes a rule with its memory as enabled and not in a dry run.
    configuration["rules"][0]["dryRun"] = json!(true);
    configuration["rules"][0]["enabled"] = json!(false);
    let one = scan(&configuration, &logs, &["--rule", "quiet", "AWSLogs"]);
    assert_eq!(users(&one), [0, 2, 9], "{one:?}");
    assert!(one.stderr.contains(", 12 matches, 1 of them ignored, 6 of them suppressed, "), "{one:?}");
}

/// A group remembers its latest 16 alerts.
#[test]
fn what_was_held_back_is_told_once() {
    let configuration = json!({ "rules": [{ "name": "r", "source": "iam", "suppress": suppressing("10m") }] });
    let calls = |from: usize| (from..from + 60).map(|n| call(n, "alice", 5 * n)).collect();
    let logs = [(key("us-east-1", 0), calls(0)), (key("us-east-1", 1), calls(60))];
    let scanned = scan(&configuration, &logs, &["AWSLogs"]);
    let told = scanned.stdout.lines().filter_map(|line| line.strip_prefix("Held    : 1 more at ")).count();
    assert_eq!((scanned.alerts().len(), told, scanned.stdout.matches("Held").count()), (60, 59, 59));
}

#[test]
fn an_entry_silences_also_what_would_be_held_back() {
    let rule = json!({ "name": "r", "source": "iam", "suppress": suppressing("1h"),
        "threshold": { "count": 3, "by": ["userIdentity.arn"], "within": "1h" } });
    let configuration = json!({ "rules": [rule] }).to_string();
    let records: Vec<_> = (0..4).map(|n| call(n, if n == 3 { "bob" } else { "alice" }, n)).collect();
    let folder = folder(&[
        ("c.json", configuration.as_bytes()),
        ("log.json", &log(&records)),
        ("alert.json", records[0].to_string().as_bytes()),
    ]);
    let made = run_in(folder.path(), &["ignore", "--from", "alert.json", "--config", "c.json", "log.json"], Vec::new());
    assert!(made.stderr.contains("it would silence 3 matches:"), "{made:?}");
    assert_eq!(made.stderr.matches("\n  2026-11-20T10:0").count(), 3, "{made:?}");
}

/// A configuration whose rules have this number, and a log for each of some minutes.
fn random(rng: &mut Rng, number: usize, format: &str) -> (Value, Vec<(String, Vec<Value>)>) {
    let paths = ["userIdentity.arn", "sourceIPAddress", "requestParameters.kinds", "nothing.there"];
    let some = |rng: &mut Rng, texts: &[&'static str], n: usize| json!(rng.choose_multiple(texts, n));
    let by = |rng: &mut Rng| {
        let n = rng.usize(1..=2);
        some(rng, &paths, n)
    };
    let span = |rng: &mut Rng| *rng.choice(&["30s", "4m", "10m", "1h", "2d"]).unwrap();
    let rules = (0..rng.usize(1..=3)).map(|n| {
        let mut rule = json!({ "name": format!("r{n} of {number}"), "source": "iam", "dryRun": rng.u8(..) < 20,
            "regexp": rng.choice(&["", "User", "Create"]), "severity": rng.choice(&["low", "critical"]),
            "format": format, "topicARN": format!("arn:aws:sns:us-east-1:123456789012:t{}", rng.usize(..2)) });
        if rng.u8(..) < 130 {
            rule["threshold"] = json!({ "count": rng.usize(2..4), "by": by(rng), "within": span(rng) });
            if rng.bool() {
                rule["threshold"]["distinct"] = json!(rng.choice(&paths));
            }
        }
        if rng.u8(..) < 60 {
            rule["firstSeen"] = json!({ "by": by(rng), "within": span(rng) });
        }
        if rng.u8(..) < 140 {
            rule["suppress"] = json!({ "by": by(rng), "for": span(rng) });
        }
        rule
    });
    let mut configuration = json!({ "rules": rules.collect::<Vec<_>>() });
    if rng.u8(..) < 100 {
        configuration["maxAlertsPerLog"] = json!(rng.usize(1..4));
    }
    let mut records = 0;
    let mut calls = |rng: &mut Rng, minute: usize| -> Vec<Value> {
        let mut call = |rng: &mut Rng| {
            let caller = *rng.choice(&["alice", "bob"]).unwrap();
            let mut call = call(1_000 * number + records, caller, minute + rng.usize(..20));
            records += 1;
            call["eventName"] = json!(rng.choice(&["CreateUser", "DeleteUser", "CreateRole"]));
            call["sourceIPAddress"] = json!(format!("203.0.113.{}", rng.usize(..3)));
            let n = rng.usize(..3);
            call["requestParameters"]["kinds"] = some(rng, &["a", "b", "c"], n);
            match rng.u8(..) {
                0..8 => drop(call.as_object_mut().unwrap().remove("eventTime")),
                8..16 => drop(call.as_object_mut().unwrap().remove("eventID")),
                _ => {}
            }
            call
        };
        (0..rng.usize(0..20)).map(|_| call(rng)).collect()
    };
    let logs = (0..rng.usize(2..5)).map(|log| {
        let region = *rng.choice(&["us-east-1", "eu-west-1"]).unwrap();
        (key(region, 10 * log), calls(rng, 30 * log))
    });
    (configuration, logs.collect())
}

/// The messages of the function, which reads one log after the other: subject and body, sorted. With a table, each log has
/// an environment of its own. `None` if the table was too slow, as it may seem on a busy machine.
async fn sent(configuration: &Value, logs: &[(String, Vec<Value>)], with_table: bool) -> Option<Vec<(String, String)>> {
    let environment = if with_table { &ENVIRONMENT[..] } else { &ENVIRONMENT[..1] };
    let mut world = world_with(environment, TIMEOUT).await;
    world.aws.put(BUCKET, CONFIG, configuration.to_string());
    for (key, records) in logs {
        world.aws.put(BUCKET, key, gzip(&log(records)));
        let counts = world.invoke(&put_keys(&[key])).await.unwrap();
        assert_eq!((&counts["logs"], &counts["failed"]), (&json!(1), &json!(0)), "{counts}");
        if with_table {
            if metrics(world.lines().await.last().unwrap()).contains_key("StateUnavailable") {
                return None;
            }
            world = world.restarted(environment).await;
        }
    }
    let named = format!("s3://{BUCKET}/");
    let messages = world.aws.messages().into_iter();
    let messages = messages.map(|message| (message.subject, message.body.replace(&named, "")));
    let mut messages: Vec<_> = messages.map(|(subject, body)| (subject, body.trim_end().to_owned())).collect();
    messages.sort();
    Some(messages)
}

#[tokio::test]
async fn scan_prints_what_the_function_sends_with_random_rules_that_remember() {
    let (mut held, mut summaries, mut thresholds, mut with_table) = (0, 0, 0, 0);
    for number in 0..40 {
        let mut rng = Rng::with_seed(number as u64);
        let format = if number % 3 == 0 { "json" } else { "text" };
        let (configuration, logs) = random(&mut rng, number, format);
        let scanned = scan(&configuration, &logs, &["--format", format, "AWSLogs"]);
        let Some(expected) = sent(&configuration, &logs, number % 2 == 0).await else { continue };
        let mut printed: Vec<(String, String)> = if format == "json" {
            let title = |line: &str| serde_json::from_str::<Value>(line).unwrap()["title"].as_str().unwrap().to_owned();
            scanned.stdout.lines().map(|line| (title(line), line.to_owned())).collect()
        } else {
            let alerts = scanned.alerts().into_iter();
            alerts.map(|(subject, body)| (subject.to_owned(), body.trim_end().to_owned())).collect()
        };
        printed.sort();
        assert_eq!(printed, expected, "{number}: {configuration}");
        let with = |part: &str| {
            expected.iter().filter(|(subject, body)| [subject, body].iter().any(|t| t.contains(part))).count()
        };
        held += with("Held    : ") + with("\"held\":");
        summaries += with(" more alert");
        thresholds += with("Count   : ") + with("\"threshold\":");
        with_table += usize::from(number % 2 == 0);
    }
    assert!(with_table > 10, "{with_table}");
    assert!(held > 30 && summaries > 10 && thresholds > 20, "{held} {summaries} {thresholds}");
}

/// Each of the rules has a group of each caller.
#[test]
fn a_million_groups_take_bounded_memory() {
    let threshold = json!({ "count": 2, "by": ["userIdentity.arn"], "within": "1h" });
    let rules: Vec<_> =
        (0..25).map(|n| json!({ "name": n.to_string(), "source": "iam", "threshold": threshold })).collect();
    let records: Vec<_> = (0..40_000).map(|n| call(n, &n.to_string(), 0)).collect();
    let folder = folder(&[("c.json", json!({ "rules": rules }).to_string().as_bytes()), ("log.json", &log(&records))]);
    let limited = format!("ulimit -d {} && exec '{PROGRAM}' scan --config c.json log.json", 192 << 10);
    let mut command = Command::new("sh");
    let output = command.env_clear().current_dir(folder.path()).args(["-c", &limited]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(", 40000 of them suppressed, "), "{said}");
}

#[test]
fn an_event_that_an_earlier_log_has_is_in_no_summary_of_a_later_one() {
    let other = json!({ "name": "other", "source": "^sts", "suppress": suppressing("1h") });
    let logs: Vec<_> = [3, 4].map(|n| (key("us-east-1", n), (0..n).map(|n| call(n, "alice", n)).collect())).into();
    for rules in [json!([{ "name": "r", "source": "iam" }]), json!([{ "name": "r", "source": "iam" }, other])] {
        let scanned = scan(&json!({ "maxAlertsPerLog": 1, "rules": rules }), &logs, &["AWSLogs"]);
        let subjects: Vec<_> = scanned.alerts().into_iter().map(|(subject, _)| subject).collect();
        let summaries = subjects.iter().filter(|subject| subject.contains("more alert")).count();
        assert_eq!((users(&scanned), summaries, subjects.len()), (vec![0, 3], 1, 3), "{subjects:?}");
    }
}

/// A record may have millions of texts at a path of a rule.
#[test]
fn a_record_with_very_many_texts_at_a_path_takes_little_memory() {
    let mut record = call(0, "alice", 0);
    record["requestParameters"] = json!({ "n": vec![0; 2_000_000], "m": (0..600_000).collect::<Vec<_>>() });
    record["responseElements"] = json!({ "m": (-600_000..0).collect::<Vec<_>>() });
    let path = "requestParameters.n";
    for keys in [
        json!({ "where": { "eventName": { "sameAs": path } } }),
        json!({ "where": { path: { "sameAs": "responseElements.m" } } }),
        json!({ "where": { "requestParameters.m": { "sameAs": "responseElements.m" } } }),
        json!({ "where": { path: "^1$" } }),
        json!({ "where": { path: { "element": { "a": "." } } } }),
        json!({ "suppress": { "by": [path], "for": "1h" } }),
    ] {
        let mut rule = json!({ "name": "r", "source": "iam" });
        rule.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let configuration = json!({ "rules": [rule] }).to_string();
        let folder = folder(&[("c.json", configuration.as_bytes()), ("log.json", &log(&[record.clone()]))]);
        let limited = format!("ulimit -d {} && exec '{PROGRAM}' scan --config c.json log.json", 64 << 10);
        let mut command = Command::new("sh");
        let output = command.env_clear().current_dir(folder.path()).args(["-c", &limited]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 log, 1 record, "), "{keys}: {said}");
    }
}

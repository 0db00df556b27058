//! `check` and `scan`, as a person or a script runs them.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use crate::golden::{self, assert_golden, golden, text_of};
use crate::program::{Run, folder, run, run_in};
use crate::world::TOPIC;
use crate::{PROGRAM, file, gzip, log, path, record};

#[test]
fn check_says_what_is_valid_and_warns_where_no_topic_is_named() {
    let checked = run(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.stdout.lines().count(), 1, "{checked:?}");
    assert!(checked.stdout.contains("filter_config.json") && checked.stdout.contains("1 rule"), "{checked:?}");
    assert!(checked.stderr.contains("TOPIC_ARN"), "{checked:?}");

    let topic = "arn:aws:sns:us-west-2:123456789012:PushNotifications";
    let original = json!({ "source": "iam", "regexp": "User", "sns": { "region": "us-west-2", "topicARN": topic } });
    let folder = folder(&[("original.json", original.to_string().as_bytes())]);
    let checked = run_in(folder.path(), &["check", "original.json"], Vec::new());
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    assert!(checked.stdout.contains(topic), "{checked:?}");
}

#[test]
fn check_refuses_a_wrong_configuration_and_says_why() {
    for (config, parts) in [
        ("{\n\"source\": }", &["line 2"][..]),
        ("{}", &["source"]),
        (r#"{"source": "iam", "regex": "User"}"#, &["regex", "regexp"]),
        (r#"{"source": "iam", "regexp": "User", "sns": {"topicArn": "x"}}"#, &["topicArn"]),
        (r#"{"source": "(iam", "regexp": "User["}"#, &["source", "(iam", "regexp", "User["]),
        (r#"{"source": "iam", "regexp": "(?!List)User"}"#, &["regexp", "(?!List)User", "JavaScript"]),
        (r#"{"source": "iam", "regexp": "(User)\\1"}"#, &["regexp", "JavaScript"]),
        (r#"{"source": "iam", "source": "sts", "regexp": "User"}"#, &["source"]),
        (r#"{"source": 1, "regexp": "User"}"#, &["source"]),
        (r#"{"source": "iam", "regexp": "User", "sns": {"topicARN": "arn:aws:sns:alerts"}}"#, &["arn:aws:sns:alerts"]),
    ] {
        let folder = folder(&[("wrong.json", config.as_bytes())]);
        let checked = run_in(folder.path(), &["check", "wrong.json"], Vec::new());
        assert_eq!((checked.code, checked.stdout.as_str()), (2, ""), "{config}: {checked:?}");
        for part in ["wrong.json"].iter().chain(parts) {
            assert!(checked.stderr.contains(part), "{config}: no {part:?} in {checked:?}");
        }
        let scanned = run_in(folder.path(), &["scan", "--config", "wrong.json", "."], Vec::new());
        assert_eq!((scanned.code, scanned.stdout.as_str()), (2, ""), "{config}: {scanned:?}");
    }
    let missing = run(&["check", "no-such-file.json"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("no-such-file.json"), "{missing:?}");
}

#[test]
fn scan_prints_the_alerts_of_a_log_and_the_summary_apart_from_them() {
    let log = "fixtures/logs/iam-signin-sts.json";
    let scanned = run(&["scan", log]);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    assert_golden("subjects.txt", &scanned.subjects().join("\n"));
    let alerts = scanned.alerts();
    assert_eq!(alerts[0].1, text_of(log).trim_end());
    assert_golden("root-sign-in.txt", alerts[6].1);
    assert!(scanned.stderr.contains("1 log, 16 records, 11 matches"), "{}", scanned.stderr);
    let by_rule = |line: &str| line.contains("11") && line.contains("default");
    assert!(scanned.stderr.lines().any(by_rule), "{}", scanned.stderr);
    assert!(!scanned.stderr.contains('\u{1b}') && !scanned.stdout.contains('\u{1b}'), "colour is for terminals");
}

#[test]
fn scan_as_json_holds_the_whole_record_in_its_order_without_its_secrets() {
    let log = "fixtures/logs/iam-signin-sts.json";
    let scanned = run(&["scan", "--format", "json", log]);
    let lines: Vec<&str> = scanned.stdout.lines().collect();
    assert_eq!((scanned.code, lines.len()), (0, 11), "{scanned:?}");
    // `scan` has no topic here, and names the log as the command line does.
    let topic = format!("\"{TOPIC}\"");
    assert_eq!(lines[0], golden("json.json").replace(&topic, "null").replace(&golden::log(), log).trim_end());
    let fixture: Value = serde_json::from_slice(&file(log)).unwrap();
    let alerts: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(alerts[0]["event"], fixture["Records"][0]);
    assert_eq!(alerts[2]["event"]["requestParameters"]["password"], "****");
    assert_eq!(alerts[2]["event"]["requestParameters"]["passwordResetRequired"], true);
    assert_eq!(alerts[7]["event"]["responseElements"]["credentials"]["sessionToken"], "****");
    assert!(!scanned.stdout.contains("not-for-the-alert"));
}

#[test]
fn matches_before_a_damage_are_shown_before_the_error() {
    let sound = gzip(&log(&[record(1), record(2)]));
    let (trailer, garbage) = ([&sound[..sound.len() - 8], &[0; 8]].concat(), [&sound, &b"xx"[..]].concat());
    for bytes in [trailer, garbage] {
        let scanned = run_in(folder(&[]).path(), &["scan", "-"], bytes);
        assert_eq!((scanned.code, scanned.subjects().len()), (1, 2), "{scanned:?}");
        assert!(scanned.stderr.contains("after 2 whole records"), "{scanned:?}");
        assert!(scanned.stderr.contains("2 records, 2 matches"), "{scanned:?}");
    }
}

#[test]
fn a_huge_record_stays_json_within_the_limit_of_sns() {
    let mut huge = record(1);
    huge["userAgent"] = json!("ü\n\u{2028}".repeat(60_000));
    let scanned = run_in(folder(&[]).path(), &["scan", "--format", "json", "-"], log(&[huge.clone(), record(2)]));
    let lines: Vec<&str> = scanned.stdout.lines().collect();
    assert_eq!((scanned.code, lines.len()), (0, 2), "{}", scanned.stderr);
    assert!(lines[0].len() <= 262_144, "{}", lines[0].len());
    let mut alert: Value = serde_json::from_str(lines[0]).unwrap();
    let left = alert["event"]["userAgent"].take();
    assert!(left.as_str().unwrap().contains("left out"), "{left}");
    huge["userAgent"] = Value::Null;
    assert_eq!(alert["event"], huge, "all else is there");
}

/// The labels of the lines that every message has; the empty one stands between the original lines and the others.
const ALWAYS: [&str; 14] = [
    "Event", "Source", "Params", "Region", "", "Rule", "Result", "Who", "From", "Account", "Time", "Event ID",
    "Console", "Log",
];

/// The labels of the lines that a message has if the record tells something.
const SOMETIMES: [&str; 11] = [
    "Identity", "MFA", "Issuer", "Provider", "Person", "For", "Workload", "Resource", "Response", "Details", "Endpoint",
];

#[test]
fn odd_records_make_alerts_that_no_caller_can_forge() {
    let scanned = run(&["scan", "fixtures/logs/odd-records.json"]);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    assert_golden("odd-subjects.txt", &scanned.subjects().join("\n"));
    let bodies: Vec<&str> = scanned.alerts().into_iter().map(|alert| alert.1).collect();
    for body in &bodies {
        let labels: Vec<_> = body.lines().filter_map(|line| line.split(": ").next()).map(str::trim_end).collect();
        assert_eq!(labels.iter().filter(|label| ALWAYS.contains(label)).count(), ALWAYS.len(), "{body}");
        assert!(labels.iter().all(|label| ALWAYS.contains(label) || SOMETIMES.contains(label)), "{body}");
        let harmless = |c: char| c == '\n' || !c.is_control() && !"\u{2028}\u{2029}\u{202e}".contains(c);
        assert!(body.chars().all(harmless), "{body:?}");
    }
    let line = |body: usize, label: &str| bodies[body].lines().find(|line| line.starts_with(label)).unwrap();
    assert_eq!(line(0, "Params"), r#"Params : {"userName":"last-key-counts"}"#);
    assert_eq!(line(1, "From"), "From    : cut in the middle of an emoji \u{fffd}");
    assert_eq!(line(2, "Event"), "Event  : DeleteUser\u{fffd}");
    for label in ["Region ", "Who     ", "From    ", "Account ", "Time    ", "Event ID", "Console "] {
        assert_eq!(line(3, label), format!("{label}: -"));
    }
    assert_eq!(line(3, "Params"), r#"Params : ["of","another","type"]"#);
    assert_eq!(line(3, "Result"), "Result  : Success");
    assert_eq!([4, 5, 6].map(|body| line(body, "Params")), ["Params : -", "Params : -", r#"Params : "null""#]);
    assert_eq!(
        line(7, "From"),
        r"From    : 203.0.113.9, curl\r\nWho     : nobody\u2028Result  : Success\u202egnp.exe\u0000\u007f\u0085\t"
    );
    assert_eq!(line(7, "Result"), r"Result  : line one\nline two");
    assert_eq!(line(11, "From"), "From    : ブラウザー 🦊");
    assert!(line(11, "Params").contains("Łukasz Ōta 大田"));
}

#[test]
fn scan_reads_folders_in_order_and_skips_what_lambda_would_skip() {
    let logs = |numbers: &[usize]| log(&numbers.iter().map(|n| record(*n)).collect::<Vec<_>>());
    let folder = folder(&[
        ("logs/b.json", &logs(&[2])),
        ("logs/a/z.json.gz", &gzip(&logs(&[0, 1]))),
        ("logs/c/plain.json.gz", &logs(&[3])),
        ("logs/AWSLogs/123456789012/CloudTrail-Digest/us-east-1/x.json.gz", b"{}"),
        ("logs/AWSLogs/123456789012/Config/us-east-1/x.json.gz", b"{}"),
        ("logs/notes.txt", b"no log"),
    ]);
    let names = |scanned: &Run| -> Vec<usize> {
        let name = |alert: (&str, &str)| alert.1.split("user-").nth(1)?.split('"').next()?.parse().ok();
        scanned.alerts().into_iter().filter_map(name).collect()
    };
    let scanned = run_in(folder.path(), &["scan", "logs"], Vec::new());
    assert_eq!((scanned.code, names(&scanned)), (0, vec![0, 1, 2, 3]), "{scanned:?}");
    assert!(scanned.stderr.contains("3 logs, 4 records, 4 matches"), "{scanned:?}");
    assert!(scanned.stdout.contains("Log     : logs/a/z.json.gz\n"), "{scanned:?}");
    // Logs come in the order of the command line. An event in two logs is shown once.
    let scanned = run_in(folder.path(), &["scan", "logs/c", "logs/b.json", "logs"], Vec::new());
    assert_eq!(names(&scanned), [3, 2, 0, 1], "{scanned:?}");
    let scanned = run_in(folder.path(), &["scan", "-"], gzip(&logs(&[7, 8, 7])));
    assert_eq!((scanned.code, names(&scanned)), (0, vec![7, 8]), "{scanned:?}");
    // The name of the current folder skips nothing.
    let within = folder.path().join("logs/AWSLogs/123456789012/Config");
    let scanned = run_in(&within, &["scan", "--config", "../../../../filter_config.json", "../../../a"], Vec::new());
    assert_eq!((scanned.code, names(&scanned)), (0, vec![0, 1]), "{scanned:?}");
}

/// Where folders are missing, the name of a file tells. A shell names all files of a folder for `*.json.gz`.
#[test]
fn scan_leaves_out_what_is_told_by_its_name_not_to_be_a_log() {
    let numbered = |n: usize| gzip(&log(&[record(n)]));
    let name = |kind: &str| format!("logs/123456789012_{kind}_us-east-1_20261120T2110Z_abcdefghijklmnop.json.gz");
    let (digest, insight) = (name("CloudTrail-Digest"), name("CloudTrail-Insight"));
    let (aggregated, activity) = (name("CloudTrail-Aggregated"), name("CloudTrail-NetworkActivity"));
    let config = name("Config");
    let usual = name("CloudTrail");
    let files = [
        (digest.as_str(), b"{}".to_vec()),
        (&insight, b"{\"Records\":[{}]}".to_vec()),
        (&aggregated, b"{\"Records\":[{}]}".to_vec()),
        (&config, b"{}".to_vec()),
        (&activity, numbered(1)),
        (&usual, numbered(2)),
        // Unpacked, and below `AWSLogs`.
        ("AWSLogs/some/x.json", log(&[record(3)])),
    ];
    let folder = folder(&files.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
    let scanned = run_in(folder.path(), &["scan", "logs", "AWSLogs"], Vec::new());
    assert_eq!((scanned.code, scanned.subjects().len()), (0, 3), "{scanned:?}");
    assert!(scanned.stderr.contains("3 logs, 3 records, 3 matches, 4 files skipped"), "{scanned:?}");
    let scanned = run_in(folder.path(), &["scan", &digest, &insight, &aggregated, &activity, &usual], Vec::new());
    assert_eq!((scanned.code, scanned.subjects().len()), (0, 2), "{scanned:?}");
    assert!(scanned.stderr.contains("2 logs, 2 records, 2 matches, 3 files skipped"), "{scanned:?}");
    // What is named by hand is read otherwise, and a file that is missing is an error whatever its name.
    let scanned = run_in(folder.path(), &["scan", &config, "x/123456789012_CloudTrail-Digest_x.json.gz"], Vec::new());
    assert_eq!(scanned.code, 1, "{scanned:?}");
    assert!(scanned.stderr.contains("no top-level Records") && scanned.stderr.contains("2 not read"), "{scanned:?}");
}

#[test]
fn a_byte_order_mark_before_a_log_is_fine() {
    let marked = [b"\xef\xbb\xbf", &log(&[record(1)])[..]].concat();
    for bytes in [gzip(&marked), marked] {
        let scanned = run_in(folder(&[]).path(), &["scan", "-"], bytes);
        assert_eq!((scanned.code, scanned.subjects().len()), (0, 1), "{scanned:?}");
    }
}

/// Names of files come from buckets, arguments from shells that expand them, and configurations from colleagues.
#[test]
fn nothing_that_is_printed_controls_the_terminal_or_forges_a_line() {
    let odd = "a\u{1b}]0;owned\u{7}\r\nerror: forged\u{202e}\u{2028}\u{85}";
    let good = log(&[
        json!({ "eventSource": "iam.amazonaws.com", "eventName": format!("User{odd}"), "userIdentity": { "arn": odd } }),
    ]);
    let rules = json!({ "rules": [
        { "name": "rule\u{202e}\u{2028}", "source": "iam" },
        { "name": "never\u{202e}", "source": "iam", "where": { "a\u{202e}b": "x" } },
    ] });
    let wrong = json!({ "rules": [{ "name": format!("x{odd}"), "source": format!("({odd}") }], odd: 1 });
    let (bad_log, bad_config, config) = (format!("{odd}/bad.json"), format!("{odd}.json"), format!("good{odd}.json"));
    let folder = folder(&[
        ("log.json", &good),
        (&bad_log, b"{}"),
        (&bad_config, wrong.to_string().as_bytes()),
        (&config, rules.to_string().as_bytes()),
    ]);
    let missing = format!("{odd}.json.gz");
    let empty = format!("empty{odd}");
    std::fs::create_dir(folder.path().join(&empty)).unwrap();
    let option = format!("--{odd}");
    for (arguments, code) in [
        (&["scan", "log.json"][..], 0),
        (&["scan", "--config", &config, "log.json"], 0),
        (&["scan", "--format", "json", "log.json", &bad_log, &missing, &empty], 1),
        (&["scan", odd], 1),
        (&["scan", "--rule", odd, "log.json"], 2),
        (&["scan", "--config", &bad_config, "log.json"], 2),
        (&["scan", "--format", odd, "log.json"], 2),
        (&["check", &bad_config], 2),
        (&["check", &config], 0),
        (&["check", &missing], 2),
        (&["packs", odd], 2),
        (&[odd], 2),
        (&["scan", &option], 2),
    ] {
        let run = run_in(folder.path(), arguments, Vec::new());
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        for text in [&run.stdout, &run.stderr] {
            let harmless = |c: char| c == '\n' || !c.is_control() && !"\u{2028}\u{202e}".contains(c);
            assert!(text.chars().all(harmless), "{arguments:?}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{arguments:?}: {text}");
        }
        let all = run.stdout + &run.stderr;
        assert!(all.contains("\\u202e"), "{arguments:?}: {all}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_reported_and_the_rest_is_scanned() {
    let good = log(&[record(1)]);
    let cut = gzip(&log(&(0..100).map(record).collect::<Vec<_>>()));
    let folder = folder(&[("logs/a.json", &good), ("logs/b.json", b"{}"), ("logs/c.json.gz", &cut[..cut.len() / 2])]);
    let scanned = run_in(folder.path(), &["scan", "logs", "missing.json"], Vec::new());
    assert_eq!(scanned.code, 1, "{scanned:?}");
    for name in ["logs/b.json", "logs/c.json.gz", "missing.json"] {
        assert!(scanned.stderr.contains(name), "{name}: {scanned:?}");
    }
    assert!(!scanned.stderr.contains("logs/a.json"), "{scanned:?}");
    // Alerts from before the cut are shown too.
    let shown = scanned.subjects().len();
    assert!((2..100).contains(&shown), "{shown}");
}

#[test]
fn a_wrong_command_line_and_a_bad_log_have_different_statuses() {
    let here = path("");
    for arguments in [
        &["scan"][..],
        &["scan", "--format", "xml", "fixtures"],
        &["scan", "--config", "missing.json", "fixtures/logs"],
        &["sacn", "fixtures"],
        &["check", "a", "b"],
    ] {
        let wrong = run_in(&here, arguments, Vec::new());
        assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{arguments:?}: {wrong:?}");
        assert!(!wrong.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_shows_an_example() {
    for arguments in [&["--help"][..], &["check", "--help"], &["scan", "--help"]] {
        let help = run(arguments);
        assert_eq!(help.code, 0, "{help:?}");
        let example = help.stdout.split("Example").nth(1).unwrap_or_else(|| panic!("{}", help.stdout));
        assert!(example.contains("\n  cloudtrail-alerter "), "{}", help.stdout);
    }
    assert_eq!(run(&["--version"]).stdout, format!("cloudtrail-alerter {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    // More than a pipe holds.
    let folder = folder(&[("log.json", &log(&(0..2_000).map(record).collect::<Vec<_>>()))]);
    let mut child = std::process::Command::new(PROGRAM)
        .env_clear()
        .current_dir(folder.path())
        .args(["scan", "log.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("Subject: "), "{first}");
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    assert!(!stderr.contains("panicked") && !stderr.to_lowercase().contains("broken pipe"), "{stderr}");
    assert_ne!(status.code(), Some(101), "{stderr}");
    assert!(status.code().is_none_or(|code| code == 0), "{status}");
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error() {
    for arguments in [
        &["scan", "fixtures/logs/iam-signin-sts.json"][..],
        &["scan", "--format", "json", "fixtures/logs/iam-signin-sts.json"],
        &["check"],
        &["packs"],
        &["packs", "cis"],
        &["ignore", "--from", "tests/golden/json.json"],
        &["--help"],
        &["--version"],
    ] {
        for to in [">&-", ">/dev/full", "1</dev/null"] {
            let script = format!("exec \"$0\" \"$@\" {to}");
            let mut command = std::process::Command::new("sh");
            let command = command.env_clear().current_dir(path("")).args(["-c", &script, PROGRAM]).args(arguments);
            let output = command.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {to}: {stderr}");
            assert!(stderr.contains("error: stdout"), "{arguments:?} {to}: {stderr}");
        }
    }
}

/// `tests/local_aws/test_real_logs.py` compares the contents. Here every record of the logs must be counted.
#[test]
fn real_logs_are_readable() {
    let Some(logs) = std::env::var_os("REAL_LOGS") else {
        println!("skipped: REAL_LOGS names no folder");
        return;
    };
    let logs = path("").join(logs);
    let (mut files, mut records, mut folders) = (0, 0, vec![logs.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(".json.gz") {
                let mut text = String::new();
                MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
                files += 1;
                records += serde_json::from_str::<Value>(&text).unwrap()["Records"].as_array().unwrap().len();
            }
        }
    }
    let scanned = run(&["scan", logs.to_str().unwrap()]);
    assert_eq!(scanned.code, 0, "{}", scanned.stderr);
    assert!(scanned.stderr.contains(&format!("{files} logs, {records} records, ")), "{}", scanned.stderr);
}

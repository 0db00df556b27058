//! Memory allocations of scanning, which must not grow with the number of records.

use allocation_counter::measure;
use cloudtrail_alerter::evaluate::{Evaluator, Verdict};
use cloudtrail_alerter::log::LogFile;
use cloudtrail_alerter::rules::{Filter, Learned, Matcher, config};
use serde_json::{Value, json};

/// The number of allocations while a log of so many copies of these records is read.
fn allocations(config: &Value, records: &[Value], copies: usize) -> u64 {
    let log = json!({ "Records": vec![records; copies].concat() }).to_string();
    let filter = config::parse(config.to_string().as_bytes(), None).unwrap();
    let learned = Learned::new(&filter);
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

/// Rules that each match other calls, and many of them: the lists of rules that may match a call are long and differ.
#[test]
fn what_is_remembered_of_many_calls_and_rules_is_bounded() {
    let rules = (0..300).map(|n| if n % 10 == 0 { format!("{}{}", n / 100, n / 10 % 10) } else { "Call".to_owned() });
    let unless = json!({ "eventSource": "." });
    let rules: Vec<_> = rules
        .enumerate()
        .map(|(n, regexp)| json!({ "name": n.to_string(), "regexp": regexp, "unless": unless }))
        .collect();
    let filter = config::parse(json!({ "rules": rules }).to_string().as_bytes(), None).unwrap();
    let learned = Learned::new(&filter);
    let mut log_file = LogFile::default();
    let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
    let counted = measure(|| {
        for number in 0..20_000 {
            let head = if number == 0 { "{\"Records\":[" } else { "," };
            let source = number / 1_000;
            let piece =
                format!("{head}{{\"eventSource\":\"s{source}.amazonaws.com\",\"eventName\":\"Call{number:06}\"}}");
            let mut records = log_file.read(Some(piece.as_bytes()));
            while let Some(record) = records.next().unwrap() {
                assert!(matches!(evaluator.evaluate(&record).unwrap(), Verdict::Unmatched));
            }
        }
    });
    assert!(counted.bytes_max < 6 << 20, "{} bytes", counted.bytes_max);
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
    // What the program makes once, at the first use, counts for neither.
    allocations(&config, &records, 1);
    assert_eq!(allocations(&config, &records, 100), allocations(&config, &records, 10));
}

/// Twenty rules that match everything of IAM, and have a flood after their first alert.
fn flooded() -> Filter {
    let rules: Vec<_> = (0..20).map(|n| json!({ "name": format!("r{n}"), "source": "iam" })).collect();
    let config = json!({ "maxAlertsPerLog": 1, "rules": rules }).to_string();
    config::parse(config.as_bytes(), None).unwrap()
}

#[test]
fn what_is_remembered_of_a_log_does_not_grow_with_the_length_of_its_texts() {
    let filter = flooded();
    let learned = Learned::new(&filter);
    let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
    let text = |start: &str, n: usize| format!("{start}{n}{}", "x".repeat(100_000));
    let kept = measure(|| {
        for n in 0..150 {
            // Each is another event, caller and time. Learned calls have a bound of their own.
            let record = json!({ "eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "eventID": text("", n),
                "eventTime": text("2026", n), "userIdentity": { "arn": text("arn", n) }, "awsRegion": text("us", n) });
            let log = json!({ "Records": [record] }).to_string();
            let mut log_file = LogFile::default();
            let mut decided = 0;
            for piece in [Some(log.as_bytes()), None] {
                let mut records = log_file.read(piece);
                while let Some(record) = records.next().unwrap() {
                    let Verdict::Matched(matched, alerts) = evaluator.evaluate(&record).unwrap() else {
                        panic!("no match")
                    };
                    assert_eq!((alerts.count() as u64, matched.summarised), if n == 0 { (1, 0) } else { (0, 1) });
                    decided += 1;
                }
            }
            assert_eq!(decided, 1);
        }
    });
    assert!(kept.bytes_current < 6 << 20, "{kept:?}");
}

/// The evaluator after a log of which everything matches.
fn after<'f>(log: &str, mut evaluator: Evaluator<'f, 'f, 'f>) -> Evaluator<'f, 'f, 'f> {
    let mut log_file = LogFile::default();
    for piece in log.as_bytes().chunks(10_000).map(Some).chain([None]) {
        let mut records = log_file.read(piece);
        while let Some(record) = records.next().unwrap() {
            assert!(matches!(evaluator.evaluate(&record).unwrap(), Verdict::Matched(..)));
        }
    }
    evaluator
}

#[test]
fn what_is_remembered_of_a_log_leaves_room_for_the_other_logs_that_are_open() {
    let filter = flooded();
    let learned = Learned::new(&filter);
    let records = (0..16_000).map(|n| {
        let arn = format!("arn:aws:sts::123456789012:assumed-role/a-role-of-some-length/botocore-session-{n}");
        json!({ "eventSource": "iam.amazonaws.com", "eventName": format!("Call{}", n % 1_500), "eventID": n.to_string(),
                "userIdentity": { "type": "AssumedRole", "arn": arn } })
    });
    let log = json!({ "Records": records.collect::<Vec<_>>() }).to_string();
    // What is learned of calls has a bound of its own, and serves all logs.
    drop(after(&log, Evaluator::new(Matcher::new(&filter, &learned), "log", None)));
    let mut evaluator = None;
    let kept = measure(|| evaluator = Some(after(&log, Evaluator::new(Matcher::new(&filter, &learned), "log", None))));
    // Twenty logs are open at once.
    assert!(kept.bytes_current < 1_500_000, "{kept:?}");
}

#[test]
fn a_record_that_many_topics_get_is_not_rendered_for_all_of_them_at_once() {
    let topic = |n: usize| format!("arn:aws:sns:us-east-1:123456789012:t{n}");
    let rules: Vec<_> = (0..40)
        .map(|n| json!({ "name": format!("r{n}"), "source": "iam", "topicARN": topic(n), "format": "json" }))
        .collect();
    let filter = config::parse(json!({ "rules": rules }).to_string().as_bytes(), None).unwrap();
    let learned = Learned::new(&filter);
    let record = json!({ "eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "x": "x".repeat(250_000) });
    let log = json!({ "Records": [record] }).to_string();
    let mut alerts_made = 0;
    let counted = measure(|| {
        let mut log_file = LogFile::default();
        let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
        for piece in [Some(log.as_bytes()), None] {
            let mut records = log_file.read(piece);
            while let Some(record) = records.next().unwrap() {
                let Verdict::Matched(_, alerts) = evaluator.evaluate(&record).unwrap() else { panic!("no match") };
                alerts_made += alerts.map(drop).count();
            }
        }
    });
    assert_eq!(alerts_made, 40);
    assert!(counted.bytes_max < 4 << 20, "{counted:?}");
}

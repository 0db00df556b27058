//! The function, as Lambda runs it.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_aws::{FakeAws, Message, S3Fault, SnsFault};
use crate::golden::{assert_golden, golden, golden_lines};
use crate::program::{folder, run_in};
use crate::world::{
    BUCKET, CONFIG, KEY, OTHER_RULES, TIMEOUT, TOPIC, World, assert_counts, assert_in_time, configuration, put_keys,
    rule_metrics, world, world_of, world_with,
};
use crate::{event, file, gzip, log, record, records};

fn user_names(messages: &[Message]) -> Vec<String> {
    let name = |m: &Message| m.body.split('"').nth(3).unwrap_or_default().to_owned();
    messages.iter().map(name).collect()
}

#[tokio::test]
async fn an_event_becomes_one_message_per_matching_call() {
    let mut world = world().await;
    let event = event("s3-put");
    let key = event["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
    let bytes = gzip(&file("fixtures/logs/iam-signin-sts.json"));
    world.aws.put(BUCKET, key, bytes.clone());

    let counts = world.counts(&event).await;
    let expected = json!({
        "objects": 1, "logs": 1, "records": 16, "matched": 11, "unmatched": 5, "alerts": 11, "published": 11,
        "rules": { "default": { "matches": 11, "alerts": 11 } },
    });
    assert_counts(&counts, &expected);
    assert_eq!(counts["bytes"], bytes.len());
    let logged = world.logged().await;
    for name in ["objects", "logs", "records", "matched", "unmatched", "published", "bytes", "milliseconds", "rules"] {
        assert_eq!(logged[name], counts[name], "{name} in {logged}");
    }

    let messages = world.aws.messages();
    assert!(messages.iter().all(|m| m.topic == TOPIC));
    let mut subjects: Vec<_> = messages.iter().map(|m| m.subject.as_str()).collect();
    // In the order of event IDs the first record comes last.
    subjects.rotate_right(1);
    assert_eq!(subjects, golden_lines("subjects.txt"));
    assert_eq!(messages[10].body, golden("text.txt"));
    let typed =
        |(name, kind, value): &(String, String, String)| (name.clone(), json!({ "Type": kind, "Value": value }));
    let attributes: Value = messages[10].attributes.iter().map(typed).collect();
    assert_golden("attributes.json", &serde_json::to_string_pretty(&attributes).unwrap());
    let results: Vec<_> = messages.iter().map(|m| m.attribute("result").unwrap()).collect();
    let failures: Vec<_> = (0..results.len()).filter(|n| results[*n] == "Failure").collect();
    assert_eq!(failures, [4, 8], "{results:?}");
    assert!(messages[4].body.contains("\nResult  : Failed authentication\n"), "{}", messages[4].body);
    assert!(messages[8].body.contains("\nResult  : AccessDenied"), "{}", messages[8].body);
    assert!(messages[8].body.contains("is not authorized to perform: iam:DeleteUser"), "{}", messages[8].body);
    assert!(messages[5].body.contains("\nParams : -\n"), "{}", messages[5].body);
    assert!(messages[1].body.contains("\"password\":\"****\""), "{}", messages[1].body);

    assert_eq!(world.aws.gets().len(), 2);
    assert_eq!(world.aws.publishes().len(), 2);
}

/// Half of the records are of alice, and a quarter of them from after an exception's last day.
fn calls_of_alice_and_bob(count: usize) -> Vec<Value> {
    let mut records = records(count);
    for (number, record) in records.iter_mut().enumerate() {
        record["userIdentity"] = json!({ "userName": if number % 2 == 0 { "alice" } else { "bob" } });
        record["eventTime"] = json!(format!("2026-11-{:02}T23:59:59Z", if number % 4 == 0 { 21 } else { 20 }));
    }
    records
}

fn rules_of_all_kinds() -> Value {
    let of_alice = json!({ "where": { "userIdentity.userName": "^alice$" }, "until": "2026-11-20" });
    json!({ "rules": [
        { "name": "users", "regexp": "User", "ignore": [of_alice] },
        { "name": "dry \u{e9}", "source": "iam", "dryRun": true, "metrics": true, "ignore": [of_alice] },
        { "name": " ", "regexp": "^Create", "metrics": true },
        { "name": "off", "regexp": "User", "enabled": false, "metrics": true },
        { "name": "quiet", "regexp": "Nothing", "metrics": true },
        { "name": "silenced", "regexp": "User", "metrics": true, "ignore": [{ "source": "iam" }] },
    ] })
}

#[tokio::test]
async fn the_counts_by_rule_add_up_and_rules_may_have_metrics_of_their_own() {
    let mut world = world_of(&rules_of_all_kinds(), &calls_of_alice_and_bob(8)).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    let expected = json!({
        "users": { "matches": 8, "alerts": 6, "ignored": 2, "expired": 2 },
        "dry \u{e9}": { "matches": 8, "dry": 6, "ignored": 2, "expired": 2 },
        " ": { "matches": 8, "alerts": 8 },
        "silenced": { "matches": 8, "ignored": 8 },
    });
    assert_eq!(counts["rules"], expected);
    assert_eq!((&counts["matched"], &counts["alerts"]), (&json!(8), &json!(8)), "{counts}");
    assert_eq!(world.logged().await["rules"], expected);
    let metrics = rule_metrics(&world.lines().await);
    assert_eq!(metrics, [(r"dry \u{e9}", 6), (r"\u{20}", 8)].map(|(name, n)| (name.to_owned(), n)).into());
    // Another invocation counts anew.
    world.aws.put(BUCKET, KEY, log(&calls_of_alice_and_bob(1)));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["rules"]["silenced"], json!({ "matches": 1, "ignored": 1 }));
}

#[tokio::test]
async fn the_counts_by_rule_of_half_a_log_are_those_of_its_whole_records() {
    let mut world = world_of(&rules_of_all_kinds(), &[]).await;
    let bytes = gzip(&log(&calls_of_alice_and_bob(400)));
    world.aws.put(BUCKET, KEY, &bytes[..bytes.len() / 2]);
    let counts = world.fails(&put_keys(&[KEY]), "LogMalformed", &["cut off"]).await;
    let records = counts["records"].as_u64().unwrap();
    assert!((50..400).contains(&records), "{counts}");
    // Of four records, the first comes after the exception's last day, and the third before.
    let (expired, ignored) = (records.div_ceil(4), (records + 1) / 4);
    let expected = json!({
        "users": { "matches": records, "alerts": records - ignored, "ignored": ignored, "expired": expired },
        "dry \u{e9}": { "matches": records, "dry": records - ignored, "ignored": ignored, "expired": expired },
        " ": { "matches": records, "alerts": records },
        "silenced": { "matches": records, "ignored": records },
    });
    assert_eq!(counts["rules"], expected);
}

#[tokio::test]
async fn the_counts_of_thousands_of_rules_leave_their_line_whole() {
    // Escaped, such a name is three times as long.
    let name = |n: usize| format!("\"{n:04}\\{}", "\u{e0041}".repeat(94));
    let rule = |n: usize| json!({ "name": name(n), "source": "iam", "dryRun": true, "metrics": n == 1_999 });
    let rules = json!({ "rules": (0..2_000).map(rule).collect::<Vec<_>>() });
    let mut world = world_of(&rules, &records(3)).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    let by_rule = counts["rules"].as_object().unwrap();
    let named = by_rule.len() - 1;
    assert!((100..2_000).contains(&named), "{named}");
    assert_eq!(by_rule[&name(0)], json!({ "matches": 3, "dry": 3 }));
    assert_eq!(by_rule[OTHER_RULES]["matches"], 3 * (2_000 - named));
    assert_eq!(world.logged().await["rules"], counts["rules"]);
    let line = world.lambda.output().lines().find(|line| line.contains("invocation done")).unwrap().len();
    assert!(line < 256_000, "{line}");
    let metrics = rule_metrics(&world.lines().await);
    assert_eq!(metrics, [(format!("\"1999\\{}", r"\u{e0041}".repeat(94)), 3)].into());
}

#[tokio::test]
async fn the_manual_shows_a_query_and_an_alarm_that_find_a_rule() {
    let manual = String::from_utf8(file("docs/operating.md")).unwrap();
    let [_, section] = manual.split("### An alarm on one rule").collect::<Vec<_>>()[..] else { panic!("{manual}") };
    let block = |start: &str| section.split(start).nth(1).unwrap().split("```").next().unwrap();
    let mut configuration: Value = serde_json::from_str(block("```json\n")).unwrap();
    configuration["rules"].as_array_mut().unwrap().push(json!({ "name": "key-for-somebody-else", "regexp": "User" }));
    let mut denied = records(5);
    for record in &mut denied {
        record["errorCode"] = json!("AccessDenied");
    }
    let mut world = world_of(&configuration, &denied).await;
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 5);
    let lines = world.lines().await;
    let line = lines.iter().find(|line| line.get("Rule").is_some()).unwrap();
    let command: Vec<&str> = block("```\naws ").split_whitespace().collect();
    let after = |option| command[command.iter().position(|word| *word == option).unwrap() + 1..].iter().copied();
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    // The policy of the stack's alarm topic lets no others in.
    assert!(after("--alarm-name").next().unwrap().starts_with("cloudtrail-alerter-"));
    assert_eq!(after("--namespace").next(), directive["Namespace"].as_str());
    assert_eq!(after("--metric-name").next(), directive["Metrics"][0]["Name"].as_str());
    let dimensions = directive["Dimensions"][0].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let dimensions: Vec<_> =
        dimensions.map(|name| format!("Name={name},Value={}", line[name].as_str().unwrap())).collect();
    assert_eq!(after("--dimensions").take_while(|word| *word != "\\").collect::<Vec<_>>(), dimensions);
    let pattern = manual.split("parse @message '").nth(1).unwrap().split("*,' as matches").next().unwrap();
    let text = world.lambda.output();
    let matches = text.lines().find(|line| line.contains("invocation done")).unwrap().split(pattern).nth(1).unwrap();
    assert!(matches.starts_with("5,"), "{matches}");
}

#[tokio::test]
async fn the_counts_by_rule_are_the_messages_that_name_the_rule_and_those_of_scan() {
    for fixture in ["iam-signin-sts", "odd-records", "tutorial"] {
        let fixture = format!("fixtures/logs/{fixture}.json");
        let configuration = json!({ "packs": ["cis", "threats"], "source": ".", "regexp": ".*User", "rules": [
            { "name": "all", "source": "", "dryRun": true }, { "name": "of-iam", "source": "^iam", "severity": "high" } ],
            "ignore": [{ "regexp": "^Delete" }] });
        let mut world = world_of(&configuration, &[]).await;
        world.aws.put(BUCKET, KEY, file(&fixture));
        let counts = world.counts(&put_keys(&[KEY])).await;
        let named: Vec<_> =
            world.aws.messages().iter().filter_map(|m| m.attribute("rule").map(str::to_owned)).collect();
        let named: Vec<String> =
            named.iter().flat_map(|names| serde_json::from_str::<Vec<String>>(names).unwrap()).collect();
        let repeats = counts["duplicates"].as_u64().unwrap();
        let rules = counts["rules"].as_object().unwrap();
        assert!(rules.len() > 1 && rules["all"]["matches"].as_u64() > Some(1), "{fixture}: {counts}");
        let sent = |of_rule: &Value| {
            let [alerts, suppressed] = ["alerts", "suppressed"].map(|key| of_rule[key].as_u64().unwrap_or(0));
            alerts - suppressed
        };
        let alerting: HashSet<_> =
            rules.iter().filter(|(_, of_rule)| sent(of_rule) > 0).map(|(name, _)| name).collect();
        assert_eq!(named.iter().collect::<HashSet<_>>(), alerting, "{fixture}");
        for name in alerting {
            let (alerts, messages) = (sent(&rules[name]), named.iter().filter(|other| *other == name).count() as u64);
            assert!((messages..=messages + repeats).contains(&alerts), "{fixture}: {name}: {counts}");
        }
        let folder = folder(&[("c.json", configuration.to_string().as_bytes())]);
        let scanned = run_in(folder.path(), &["scan", "--config", "c.json", "-"], file(&fixture));
        let table = scanned
            .stderr
            .split("\n\n")
            .nth(1)
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let [head, rows @ ..] = &table.collect::<Vec<_>>()[..] else { panic!("{scanned:?}") };
        assert_eq!(rows.len(), rules.len(), "{scanned:?}");
        let columns = head.iter().position(|name| *name == "messages/day").unwrap();
        for row in rows {
            for (key, n) in head[..columns].iter().zip(row) {
                let (n, counted): (u64, _) = (n.parse().unwrap(), rules[row[columns + 1]][key].as_u64().unwrap_or(0));
                // `scan` shows an event once.
                assert!((n..=n + repeats).contains(&counted), "{fixture}: {row:?} {key}: {counts}");
            }
        }
    }
}

#[tokio::test]
async fn configuration_and_log_are_asked_for_together() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    world.aws.hold_s3(2);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    world.aws.put(BUCKET, KEY, gzip(&log(&[record(2)])));
    world.aws.hold_s3(4);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
}

#[tokio::test]
async fn while_a_log_is_read_the_next_ones_are_asked_for() {
    let mut world = world().await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    for (number, key) in keys.into_iter().enumerate() {
        world.aws.put(BUCKET, key, gzip(&log(&[record(number)])));
    }
    // The configuration and four logs are requested at once, the others when one has been read.
    world.aws.hold_s3(5);
    assert_eq!(world.counts(&put_keys(&keys)).await["published"], keys.len());
    let mut first: Vec<_> = world.aws.gets()[..5].iter().map(|get| get.what.replace(BUCKET, "")).collect();
    first.sort_unstable();
    assert_eq!(first, ["/a", "/b", "/c", "/d", "/filter_config.json"]);
}

#[tokio::test]
async fn alerts_go_out_while_the_log_is_read_and_several_requests_at_once() {
    let mut world = world().await;
    let bytes = gzip(&log(&records(1_000)));
    let half = bytes.len() / 2;
    world.aws.put(BUCKET, KEY, bytes);
    world.aws.s3_fault(BUCKET, KEY, S3Fault::PauseAfter(half, 1), 1);
    world.aws.hold_sns(3);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1_000);
}

/// The number of messages of each publish request.
fn sizes(world: &World) -> Vec<usize> {
    world.aws.publishes().iter().map(|request| request.ids.len()).collect()
}

/// A log of so many matches with 40,000 bytes behind each, so that they do not arrive together.
fn spread_out(count: usize) -> Vec<u8> {
    let other = json!({ "eventSource": "s3.amazonaws.com", "userAgent": "x".repeat(40_000) });
    log(&records(count).into_iter().flat_map(|record| [record, other.clone()]).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_first_alert_of_a_slow_log_goes_out_at_once_and_the_next_when_that_is_answered() {
    let mut world = world().await;
    let bytes = spread_out(3);
    let at = bytes.len() - 50_000;
    world.aws.put(BUCKET, KEY, bytes);
    // S3 sends the second one when the first one is under way, and the third one when the second one is.
    world.aws.slow_sns(Duration::from_millis(100));
    world.aws.s3_fault(BUCKET, KEY, S3Fault::PauseTwice([(20_000, 1), (at, 2)]), 1);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 3);
    assert_eq!(sizes(&world), [1, 1, 1]);
}

#[tokio::test]
async fn while_a_request_is_under_way_alerts_wait_until_there_are_ten_or_the_log_ends() {
    for (count, expected) in [(6, &[1, 5][..]), (15, &[1, 4, 10])] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, spread_out(count));
        world.aws.s3_fault(BUCKET, KEY, S3Fault::PauseAfter(20_000, 1), 1);
        // The first request is not answered before the log has been read.
        world.aws.hold_sns(expected.len());
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], count);
        let mut sizes = sizes(&world);
        sizes.sort_unstable();
        assert_eq!(sizes, expected);
    }
}

#[tokio::test]
async fn a_thousand_matches_cost_a_hundred_publish_requests_and_two_of_s3() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1_000))));
    // The log arrives in one piece: a function that waits for more of it sends fewer than ten alerts.
    world.aws.s3_fault(BUCKET, KEY, S3Fault::Trickle(1, Duration::ZERO), 1);
    let counts = world.counts(&put_keys(&[KEY])).await;
    let expected =
        json!({ "objects": 1, "logs": 1, "records": 1_000, "matched": 1_000, "alerts": 1_000, "published": 1_000 });
    assert_counts(&counts, &expected);
    assert_eq!(user_names(&world.aws.messages()), (0..1_000).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    assert_eq!(world.aws.gets().len(), 2);
    let publishes = world.aws.publishes().len();
    assert!((100..=105).contains(&publishes), "{publishes}");
}

#[tokio::test]
async fn an_edited_configuration_takes_effect_at_once_and_an_unchanged_one_is_not_sent_again() {
    let mut world = world().await;
    let event = event("s3-put");
    let key = event["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
    world.aws.put(BUCKET, key, gzip(&file("fixtures/logs/iam-signin-sts.json")));
    assert_eq!(world.counts(&event).await["matched"], 11);
    assert_eq!(world.counts(&event).await["matched"], 11);
    world.aws.put(BUCKET, CONFIG, json!({ "source": "^sts", "regexp": "^AssumeRole$" }).to_string());
    assert_eq!(world.counts(&event).await["matched"], 2);
    assert_eq!(world.counts(&event).await["matched"], 2);
    let gets = world.aws.gets();
    let configs: Vec<_> = gets.iter().filter(|get| get.what.ends_with(CONFIG)).collect();
    assert_eq!(configs.iter().map(|get| get.status).collect::<Vec<_>>(), [200, 304, 200, 304]);
    assert_eq!(configs.iter().map(|get| get.if_none_match.is_some()).collect::<Vec<_>>(), [false, true, true, true]);
}

#[tokio::test]
async fn another_bucket_and_key_for_the_configuration() {
    let environment =
        [("TOPIC_ARN", TOPIC), ("FILTER_CONFIG_BUCKET", "settings"), ("FILTER_CONFIG_FILE", "a/b c.json")];
    let mut world = world_with(&environment, TIMEOUT).await;
    world.aws.put("settings", "a/b c.json", json!({ "source": "iam", "regexp": "Nothing" }).to_string());
    world.aws.put(BUCKET, KEY, gzip(&log(&records(3))));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["unmatched"], 3);
    // An object in another bucket is a log, although its key is that of the configuration.
    world.aws.put(BUCKET, "a/b c.json", log(&records(2)));
    assert_eq!(world.counts(&put_keys(&["a/b+c.json"])).await["unmatched"], 2);
}

const WARM: [(&str, &str); 2] = [("TOPIC_ARN", TOPIC), ("FILTER_CONFIG_BUCKET", BUCKET)];

#[tokio::test]
async fn the_configuration_is_loaded_before_the_first_event_if_its_bucket_is_known() {
    let aws = FakeAws::start().await;
    aws.put(BUCKET, CONFIG, configuration());
    aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    let mut world = World::start(aws, &WARM, TIMEOUT).await;
    world.lambda.is_ready().await;
    let start = world.aws.gets();
    let [first] = &start[..] else { panic!("{start:?}") };
    assert!(first.what.ends_with(CONFIG) && first.status == 200, "{first:?}");
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    let of_event = &world.aws.gets()[1..];
    let mut statuses: Vec<_> = of_event.iter().map(|get| (get.status, get.if_none_match.is_some())).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [(200, false), (304, true)]);
    assert!(of_event.iter().any(|get| get.connection == first.connection), "the open connection is used");
}

#[tokio::test]
async fn a_failure_before_the_first_event_is_a_warning_and_the_event_asks_again() {
    let unavailable = Some("ConfigurationUnavailable");
    for (config, fault, part, kind) in [
        ("{}", Some(S3Fault::Status(404, "NoSuchKey")), "NoSuchKey", unavailable),
        ("{}", Some(S3Fault::Status(403, "AccessDenied")), "s3:GetObject", unavailable),
        ("{}", Some(S3Fault::Status(503, "SlowDown")), "SlowDown", None),
        ("{", None, "can't be used", Some("InvalidConfiguration")),
        // An invocation would wait for it until its deadline.
        ("{}", Some(S3Fault::StallAfter(1)), "it took over 5 s", None),
    ] {
        let aws = FakeAws::start().await;
        aws.put(BUCKET, CONFIG, config);
        aws.put(BUCKET, KEY, gzip(&log(&records(1))));
        if let Some(fault) = fault {
            aws.s3_fault(BUCKET, CONFIG, fault, usize::MAX);
        }
        let mut world = World::start(aws, &WARM, TIMEOUT).await;
        world.lambda.is_ready().await;
        world.lambda.prints("the first event will ask again").await;
        assert_eq!(world.aws.gets().len(), 1, "not again: {part}");
        let output = world.lambda.output();
        assert!(output.contains(part) && output.contains("WARN") && !output.contains("ERROR"), "{output}");
        if let Some(kind) = kind {
            world.fails(&put_keys(&[KEY]), kind, &[CONFIG, part, "was not read"]).await;
        }
        world.aws.mend();
        world.aws.put(BUCKET, CONFIG, configuration());
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    }
}

#[tokio::test]
async fn the_configuration_loaded_before_the_first_event_is_the_last_good_one() {
    let mut world = world_with(&WARM, TIMEOUT).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    world.lambda.is_ready().await;
    world.aws.put(BUCKET, CONFIG, "{");
    let counts = world.fails(&put_keys(&[KEY]), "InvalidConfiguration", &[CONFIG, "the last good one"]).await;
    assert_eq!(counts["published"], 1);
}

#[tokio::test]
async fn two_logs_whose_keys_need_decoding() {
    let mut world = world().await;
    let file_name = |log| format!("123456789012_CloudTrail_us-{log}.json.gz");
    let tutorial = format!(
        "security team/café/AWSLogs/123456789012/CloudTrail/us-west-2/2026/11/20/{}",
        file_name("west-2_20261120T2130Z_tutorial00000001")
    );
    let odd = format!(
        "a+b/AWSLogs/o-exampleorgid/123456789012/CloudTrail/us-east-1/2026/11/20/{}",
        file_name("east-1_20261120T2135Z_oddRecords000001")
    );
    world.aws.put(BUCKET, &tutorial, gzip(&file("fixtures/logs/tutorial.json")));
    world.aws.put(BUCKET, &odd, gzip(&file("fixtures/logs/odd-records.json")));
    let counts = world.counts(&event("s3-multipart-two-logs")).await;
    let expected = json!({
        "objects": 2, "logs": 2, "records": 21, "matched": 14, "unmatched": 7, "alerts": 14, "published": 13, "duplicates": 1,
    });
    assert_counts(&counts, &expected);
    let messages = world.aws.messages();
    assert!(messages.iter().all(|m| m.body.ends_with(&format!("\nLog     : s3://{BUCKET}/{odd}\n"))));
    let ids: Vec<_> =
        messages.iter().filter_map(|m| m.attribute("eventID")?.strip_prefix("0dd00000-0000-4000-8000-")).collect();
    assert_eq!(
        ids,
        ["01", "03", "04", "08", "09", "10", "11", "14", "16", "17"].map(|number| format!("0000000000{number}")),
        "and three without an ID"
    );
}

#[tokio::test]
async fn objects_that_are_not_logs_are_skipped_and_counted() {
    let mut world = world().await;
    assert_counts(&world.counts(&event("s3-test-event")).await, &json!({ "skipped": { "testEvent": 1 } }));
    assert_counts(&world.counts(&event("s3-digest")).await, &json!({ "objects": 1, "skipped": { "digest": 1 } }));
    for (key, reason) in [
        ("AWSLogs/123456789012/CloudTrail-Insight/us-east-1/2026/11/20/x.json.gz", "insight"),
        ("AWSLogs/123456789012/CloudTrail-Aggregated/us-east-1/2026/11/20/x.json.gz", "aggregated"),
        ("p/AWSLogs/o-exampleorgid/123456789012/Config/us-east-1/x.json.gz", "otherService"),
        ("AWSLogs/123456789012/CloudTrail/", "placeholder"),
        (CONFIG, "configuration"),
    ] {
        world.aws.put(BUCKET, KEY, log(&[]));
        let counts = world.counts(&put_keys(&[key, KEY])).await;
        assert_counts(&counts, &json!({ "objects": 2, "logs": 1, "skipped": { reason: 1 } }));
    }
}

#[tokio::test]
async fn an_unknown_payload_is_an_error_and_the_next_good_one_works() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
    for payload in [event("unknown"), json!(null), json!("text"), json!({ "Records": 5 }), json!({ "key1": "value1" })]
    {
        let failure = world.lambda.invoke(&payload).await.expect_err("unknown");
        assert_eq!(failure.kind, "InvalidPayload", "{payload}");
        assert!(failure.message.contains("expected an S3 event notification"), "{failure:?}");
    }
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2);
    let mut mixed = put_keys(&["x", KEY]);
    mixed["Records"][0] = json!({ "eventSource": "aws:ses" });
    world.aws.put(BUCKET, KEY, gzip(&log(&[record(7)])));
    let failure = world.lambda.invoke(&mixed).await.expect_err("one unknown record");
    assert_eq!(failure.kind, "InvalidPayload");
    assert!(failure.message.contains("Records[0]"), "{failure:?}");
    assert_eq!(world.aws.messages().len(), 3);
}

#[tokio::test]
async fn no_usable_configuration_is_an_error_that_names_it() {
    for (config, kind, part) in [
        ("{", "InvalidConfiguration", "line 1"),
        ("[]", "InvalidConfiguration", ""),
        (r#"{ "source": "iam", "regex": "User" }"#, "InvalidConfiguration", "regex"),
        (r#"{ "source": "iam", "regexp": "User(" }"#, "InvalidConfiguration", "User("),
        (
            r#"{ "source": "iam", "regexp": "User", "sns": { "region": "eu-west-1", "topicARN": "arn:aws:sns:us-east-1:123456789012:t" } }"#,
            "InvalidConfiguration",
            "eu-west-1",
        ),
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
        world.aws.put(BUCKET, CONFIG, config);
        let object = format!("s3://{BUCKET}/{CONFIG}");
        world.fails(&put_keys(&[KEY]), kind, &[&object, part]).await;
        world.aws.put(BUCKET, CONFIG, configuration());
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2, "once it is mended");
    }
    for (fault, part) in [
        (S3Fault::Status(404, "NoSuchKey"), "NoSuchKey"),
        (S3Fault::Status(403, "AccessDenied"), "AccessDenied"),
        (S3Fault::OtherRegion("eu-west-1"), "eu-west-1"),
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
        world.aws.s3_fault(BUCKET, CONFIG, fault, 1);
        let object = format!("s3://{BUCKET}/{CONFIG}");
        world.fails(&put_keys(&[KEY]), "ConfigurationUnavailable", &[&object, part]).await;
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2, "once it is there");
    }
}

#[tokio::test]
async fn without_any_topic_nothing_is_silent() {
    let mut world = world_with(&[], TIMEOUT).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
    world.fails(&put_keys(&[KEY]), "InvalidConfiguration", &["TOPIC_ARN", CONFIG]).await;
}

#[tokio::test]
async fn a_warm_function_goes_on_with_the_last_good_configuration_and_reports_the_error() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
    world.counts(&put_keys(&[KEY])).await;
    for (number, broken) in [(5, Some("{")), (6, None)] {
        world.aws.put(BUCKET, KEY, gzip(&log(&[record(number)])));
        world.aws.put(BUCKET, CONFIG, broken.map_or_else(configuration, |text| text.as_bytes().to_vec()));
        let kind = if broken.is_some() { "InvalidConfiguration" } else { "ConfigurationUnavailable" };
        if broken.is_none() {
            world.aws.s3_fault(BUCKET, CONFIG, S3Fault::Status(403, "AccessDenied"), 1);
        }
        let counts = world.fails(&put_keys(&[KEY]), kind, &[CONFIG]).await;
        assert_eq!(counts["published"], 1, "{counts}");
    }
    assert_eq!(world.aws.messages().len(), 4);
}

#[tokio::test]
async fn a_log_that_s3_does_not_give_is_an_error_that_names_it_and_says_why() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
    let object = format!("s3://{BUCKET}/{KEY}");
    for (fault, part) in [
        (S3Fault::Status(404, "NoSuchKey"), "NoSuchKey"),
        (S3Fault::Status(403, "AccessDenied"), "AccessDenied"),
        (S3Fault::OtherRegion("eu-west-1"), "eu-west-1"),
    ] {
        world.aws.s3_fault(BUCKET, KEY, fault, 1);
        let counts = world.fails(&put_keys(&[KEY]), "LogUnavailable", &[&object, part]).await;
        assert_eq!((&counts["objects"], &counts["logs"], &counts["records"]), (&json!(1), &json!(0), &json!(0)));
    }
    world.aws.s3_fault(BUCKET, KEY, S3Fault::Status(503, "SlowDown"), 2);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2, "S3 is asked again when it is busy");
}

#[tokio::test]
async fn matches_before_a_cut_are_published_and_a_retry_sends_the_rest() {
    let mut world = world().await;
    let bytes = gzip(&log(&records(400)));
    world.aws.s3_fault(BUCKET, KEY, S3Fault::CutAfter(bytes.len() / 2), usize::MAX);
    world.aws.put(BUCKET, KEY, bytes);
    let object = format!("s3://{BUCKET}/{KEY}");
    let counts = world.fails(&put_keys(&[KEY]), "LogUnavailable", &[&object]).await;
    let first = counts["published"].as_u64().unwrap();
    assert!((1..400).contains(&first), "{counts}");
    assert_eq!(counts["logs"], 0, "{counts}");

    world.aws.s3_fault(BUCKET, KEY, S3Fault::CutAfter(0), 0);
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((counts["published"].as_u64(), counts["duplicates"].as_u64()), (Some(400 - first), Some(first)));
    assert_eq!(user_names(&world.aws.messages()), (0..400).map(|n| format!("user-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_log_is_an_error_and_matches_before_the_damage_are_published() {
    let text = log(&records(300));
    let mut corrupt = gzip(&text);
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 64].fill(0);
    // Small records behind a large one may be unread in the buffer when the checksum turns out to be wrong.
    let mut mixed = records(20);
    mixed[3]["requestParameters"] = (0..4_000).map(|n| record(n)["requestID"].clone()).collect();
    let mut wrong_checksum = gzip(&log(&mixed));
    let end = wrong_checksum.len();
    wrong_checksum[end - 6] ^= 1;
    let mut no_checksum = gzip(&log(&records(2)));
    no_checksum.truncate(no_checksum.len() - 8);
    let mut junk = gzip(&log(&records(2)));
    junk.extend(b"junk");
    let truncated = gzip(&text)[..middle].to_vec();
    for (name, bytes, published) in [
        ("corrupt in the middle", corrupt, 1..300),
        ("truncated", truncated, 1..300),
        ("a wrong checksum", wrong_checksum, 20..21),
        ("no checksum", no_checksum, 2..3),
        ("junk behind it", junk, 2..3),
        ("no Records", gzip(b"{\"records\": []}"), 0..1),
        ("Records deeper down", gzip(b"{\"a\": {\"Records\": []}}"), 0..1),
        ("no JSON", gzip(b"<html>"), 0..1),
        (
            "text between records",
            gzip(&[b"{\"Records\": [", &record(0).to_string().into_bytes()[..], b" x {}]}"].concat()),
            1..2,
        ),
        ("empty", Vec::new(), 0..1),
        ("empty, compressed", gzip(b""), 0..1),
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, bytes);
        let counts = world.fails(&put_keys(&[KEY]), "LogMalformed", &[&format!("s3://{BUCKET}/{KEY}")]).await;
        let count = counts["published"].as_u64().unwrap();
        assert!(published.contains(&count), "{name}: {counts}");
        assert_eq!(world.aws.messages().len() as u64, count, "{name}");
    }
}

#[tokio::test]
async fn one_bad_log_does_not_hold_back_its_neighbours() {
    let mut world = world().await;
    world.aws.put(BUCKET, "first", gzip(&log(&[record(1), record(2)])));
    world.aws.put(BUCKET, "bad", gzip(b"{}"));
    world.aws.put(BUCKET, "last", gzip(&log(&[record(3)])));
    let bad = format!("s3://{BUCKET}/bad");
    let counts = world.fails(&put_keys(&["first", "bad", "last"]), "LogMalformed", &[&bad]).await;
    assert_eq!((&counts["objects"], &counts["logs"], &counts["published"]), (&json!(3), &json!(2), &json!(3)));

    world.aws.put(BUCKET, "last", gzip(&log(&[record(4)])));
    let missing = format!("s3://{BUCKET}/missing");
    world.fails(&put_keys(&["bad", "missing", "last"]), "SeveralFailures", &[&bad, &missing, "NoSuchKey"]).await;
    assert_eq!(user_names(&world.aws.messages()), ["user-1", "user-2", "user-3", "user-4"]);
}

#[tokio::test]
async fn a_log_may_be_plain_or_of_several_members_or_laid_out_otherwise() {
    let text = log(&records(30));
    let pretty = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&text).unwrap()).unwrap();
    let (head, tail) = text.split_at(text.len() / 3);
    let decoys = [b"{\"more\": {\"Records\": [{}]}, ", &text[1..text.len() - 1], b", \"end\": \"]}\"}\n"].concat();
    for (name, bytes) in [
        ("plain", text.clone()),
        ("pretty", gzip(&pretty)),
        ("members", [gzip(head), gzip(b""), gzip(tail)].concat()),
        ("decoys", gzip(&decoys)),
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, bytes);
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 30, "{name}");
        assert_eq!(world.aws.messages().len(), 30, "{name}");
    }
}

#[tokio::test]
async fn an_object_is_searched_as_compact_json_however_the_log_writes_it() {
    let mut calls = records(3);
    calls[1]["requestParameters"] = json!({ "items": [{ "fromPort": 22, "open": true }] });
    let compact = log(&calls);
    let pretty = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&compact).unwrap()).unwrap();
    for pattern in [":22", ":22,\"open\":true", ":true}"] {
        let mut world = world().await;
        let rule = json!({ "name": "r", "where": { "requestParameters.items": pattern } });
        world.aws.put(BUCKET, CONFIG, json!({ "rules": [rule] }).to_string());
        // After the first log the function searches raw text for what it has learned about the path.
        for bytes in [&compact, &pretty, &pretty] {
            world.aws.put(BUCKET, KEY, bytes.clone());
            assert_eq!(world.counts(&put_keys(&[KEY])).await["matched"], 1, "{pattern}");
        }
    }
}

#[tokio::test]
async fn messages_stay_within_the_limits_of_sns() {
    let mut world = world().await;
    let mut records = records(24);
    for (number, record) in records.iter_mut().enumerate() {
        match number % 6 {
            0 => record["errorMessage"] = json!("ü".repeat(150_000)),
            1 => record["requestParameters"]["userName"] = json!("ü".repeat(150_000)),
            _ => record["userAgent"] = json!("ü".repeat(35_000)),
        }
    }
    world.aws.put(BUCKET, KEY, gzip(&log(&records)));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 24);
    for (number, Message { body, .. }) in world.aws.messages().iter().enumerate() {
        let (sizes, note) = match number % 6 {
            0 => (260_000..262_144, Some("\n(cut: ")),
            // The JSON of the record is 150,015 characters long.
            1 => (8_000..9_000, Some(" (cut: 146015 characters more)\n")),
            _ => (70_000..71_000, None),
        };
        assert!(sizes.contains(&body.len()), "message {number} has {} bytes", body.len());
        assert_eq!(body.contains("(cut: "), note.is_some(), "message {number}");
        assert!(note.is_none_or(|note| body.contains(note)), "message {number}");
    }
}

#[tokio::test]
async fn sns_is_asked_again_when_the_fault_is_its_own() {
    for fault in [
        SnsFault::Status(429, "Throttled"),
        SnsFault::Status(429, "ACodeOfTomorrow"),
        SnsFault::Status(400, "Throttling"),
        SnsFault::Status(400, "KMSThrottling"),
        SnsFault::Status(500, "InternalError"),
        SnsFault::Status(503, "ServiceUnavailable"),
        SnsFault::Entries(&[0, 4], false),
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
        world.aws.sns_fault(fault, 3);
        let counts = world.counts(&put_keys(&[KEY])).await;
        assert_eq!((&counts["published"], &counts["failed"]), (&json!(10), &json!(0)));
        assert_eq!(user_names(&world.aws.messages()), (0..10).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn fewer_requests_go_out_at_once_while_sns_throttles() {
    for fault in [
        SnsFault::Status(429, "Throttled"),
        SnsFault::Status(503, "ServiceUnavailable"),
        SnsFault::Status(400, "KMSThrottling"),
        SnsFault::EntryThrottled,
    ] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(1_000))));
        // Sixteen requests at once, and all are throttled.
        world.aws.hold_sns(16);
        world.aws.sns_fault(fault, 16);
        world.aws.slow_sns(Duration::from_millis(50));
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1_000);
        assert_eq!(user_names(&world.aws.messages()), (0..1_000).map(|n| format!("user-{n}")).collect::<Vec<_>>());
        let publishes = world.aws.publishes();
        let most = publishes.iter().map(|request| request.at_once).max();
        assert_eq!(most, Some(16), "never more");
        for request in &publishes[16..] {
            // Then one, and one more for each that SNS took.
            assert!(request.at_once <= 1 + request.taken, "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_thousand_matches_arrive_where_the_quota_is_low() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1_000))));
    world.aws.sns_quota(300);
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["failed"]), (&json!(1_000), &json!(0)));
    assert_eq!(user_names(&world.aws.messages()), (0..1_000).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    let publishes = world.aws.publishes();
    assert!(publishes.iter().any(|request| request.status == 429));
    assert!(publishes.iter().all(|request| request.at_once <= 16));
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.sns_fault(SnsFault::Entries(&[2, 5], false), 1);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 10);
    assert_eq!(world.aws.messages().len(), 10);
    let sent: Vec<_> = world.aws.publishes().iter().map(|request| request.ids.len()).collect();
    assert_eq!(sent, [10, 2]);
}

#[tokio::test]
async fn entries_that_sns_will_never_take_are_reported_and_not_sent_again() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.sns_fault(SnsFault::Entries(&[2, 5], true), 1);
    let object = format!("s3://{BUCKET}/{KEY}");
    let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &[&object, TOPIC, "InvalidParameter"]).await;
    assert_eq!((&counts["published"], &counts["failed"]), (&json!(8), &json!(2)));
    assert_eq!(world.aws.publishes().len(), 1);
    // The retry of Lambda sends what is missing.
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["duplicates"]), (&json!(2), &json!(8)));
    assert_eq!(world.aws.messages().len(), 10);
}

#[tokio::test]
async fn a_topic_that_refuses_is_named() {
    // Messages are tried one by one where one of them may be the cause: all of two requests, and one of each further one,
    // which tells a topic that refuses everything from one that refuses some.
    for (status, code, publishes) in [(403, "AuthorizationError", 30 + 2 * 10 + 28), (404, "NotFound", 30)] {
        let mut world = world().await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(300))));
        world.aws.sns_fault(SnsFault::Status(status, code), usize::MAX);
        let object = format!("s3://{BUCKET}/{KEY}");
        let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &[&object, TOPIC, code]).await;
        assert_eq!((&counts["alerts"], &counts["failed"]), (&json!(300), &json!(300)));
        // A busy machine may send a few batches before they are full.
        let sent = world.aws.publishes().len();
        assert!((publishes..publishes + 20).contains(&sent), "{code} is no reason to ask again: {sent}");
    }
}

#[tokio::test]
async fn a_topic_that_refuses_for_ever_other_reasons_is_named_a_few_times() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(300))));
    world.aws.sns_fault(SnsFault::Capricious, usize::MAX);
    let counts = world.fails(&put_keys(&[KEY]), "SeveralFailures", &["4 failures", "the causes differ"]).await;
    assert_eq!((&counts["failed"], &counts["failures"]), (&json!(300), &json!(4)));
}

#[tokio::test]
async fn retries_end_before_the_deadline() {
    let timeout = Duration::from_secs(4);
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], timeout).await;
    // As many as one request holds: of several, one might be unanswered at the end, which is another failure.
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.sns_fault(SnsFault::Status(429, "Throttled"), usize::MAX);
    let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &[TOPIC]).await;
    assert_in_time(&counts, timeout, "retries");
    assert_eq!(counts["failed"], 10, "{counts}");
    assert!(world.aws.publishes().len() > 1, "it did try again");
}

#[tokio::test]
async fn the_region_of_a_topic_is_the_one_in_its_arn() {
    let mut world = world().await;
    let topic = "arn:aws:sns:ap-southeast-2:123456789012:PushNotifications";
    let config = json!({ "source": "iam", "regexp": "User", "sns": { "region": "ap-southeast-2", "topicARN": topic } });
    world.aws.put(BUCKET, CONFIG, config.to_string());
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    world.counts(&put_keys(&[KEY])).await;
    assert_eq!(world.aws.messages()[0].topic, topic);
    assert_eq!(world.aws.publishes()[0].region, "ap-southeast-2");
    assert!(world.aws.gets().iter().all(|get| get.region == "us-east-1"));
}

#[tokio::test]
async fn a_fifo_topic_gets_the_event_id_as_its_deduplication_id() {
    let mut world = world().await;
    let topic = format!("{TOPIC}.fifo");
    let config = json!({ "source": "iam", "regexp": "User", "sns": { "topicARN": topic } });
    world.aws.put(BUCKET, CONFIG, config.to_string());
    let mut odd = [record(1), record(2), record(2)];
    odd[0]["eventID"] = json!("ü\n".repeat(100));
    odd[1]["eventID"] = Value::Null;
    odd[2]["eventID"] = Value::Null;
    let records = [&odd[..], &records(10)].concat();
    world.aws.put(BUCKET, KEY, gzip(&log(&records)));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 13);
    let mut messages = world.aws.messages();
    let plain: Vec<_> = messages.extract_if(.., |m| m.attribute("eventID").is_some_and(str::is_ascii)).collect();
    assert_eq!(plain.len(), 10);
    assert!(plain.iter().all(|m| m.attribute("eventID") == m.deduplication_id.as_deref()), "{plain:?}");
    let ids: HashSet<_> = messages.iter().map(|m| &m.deduplication_id).collect();
    assert_eq!(ids.len(), 3, "what has no ID is never taken for a repeat: {messages:?}");
}

#[tokio::test]
async fn a_fifo_topic_knows_the_repeats_of_an_alert_without_an_event_id_too() {
    let mut world = world().await;
    let config = json!({ "source": "iam", "regexp": "User", "sns": { "topicARN": format!("{TOPIC}.fifo") } });
    world.aws.put(BUCKET, CONFIG, config.to_string());
    let mut nameless = record(1);
    nameless["eventID"] = Value::Null;
    world.aws.put(BUCKET, KEY, gzip(&log(&[nameless])));
    world.aws.sns_fault(SnsFault::Dropped, 1);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    let messages = world.aws.messages();
    assert_eq!(messages.len(), 2, "SNS took it twice, and drops the second");
    assert_eq!(messages[0].deduplication_id, messages[1].deduplication_id);
}

#[tokio::test]
async fn the_same_content_in_another_version_is_the_same_configuration() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(12))));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 12);
    // The second time the server sends a version that the function knows.
    world.aws.s3_fault(BUCKET, CONFIG, S3Fault::Version("\"copied\""), 2);
    for known in [false, true, true] {
        let counts = world.counts(&put_keys(&[KEY])).await;
        assert_eq!((&counts["published"], &counts["duplicates"]), (&json!(0), &json!(12)), "{counts}");
        let gets = world.aws.gets();
        let get = gets.iter().rfind(|get| get.what.ends_with(CONFIG)).unwrap();
        assert_eq!((get.status, get.if_none_match.as_deref() == Some("\"copied\"")), (200, known), "{get:?}");
    }
    world.aws.put(BUCKET, CONFIG, json!({ "source": "iam", "regexp": "Create" }).to_string());
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 12, "another content");
}

#[tokio::test]
async fn a_retry_repeats_nothing_until_the_configuration_changes() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(12))));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 12);
    let counts = world.counts(&put_keys(&[KEY])).await;
    let expected = json!({ "objects": 1, "logs": 1, "records": 12, "matched": 12, "alerts": 12, "published": 0, "duplicates": 12 });
    assert_counts(&counts, &expected);
    assert_eq!(world.aws.publishes().len(), 2);
    // The configuration of another bucket changes nothing here.
    let elsewhere = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "another" }, "object": { "key": KEY } } }] });
    world.aws.put("another", CONFIG, configuration());
    world.aws.put("another", KEY, gzip(&log(&[record(20)])));
    assert_eq!(world.counts(&elsewhere).await["published"], 1);
    // But if its rules match an event that was alerted on before, that is another message.
    let rule = json!({ "name": "critical", "severity": "critical", "regexp": "User" });
    world.aws.put("third", CONFIG, json!({ "rules": [rule] }).to_string());
    world.aws.put("third", KEY, gzip(&log(&records(12))));
    let third = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "third" }, "object": { "key": KEY } } }] });
    assert_eq!(world.counts(&third).await["published"], 12);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["duplicates"], 12);
    world.aws.put(BUCKET, CONFIG, json!({ "source": "iam", "regexp": "Create" }).to_string());
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 12);
}

//! S3 Batch Operations, which replays logs: the answer about each object, whatever happens to it and to the others.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::fake_aws::{S3Fault, SnsFault};
use crate::fake_dynamodb::TableFault;
use crate::memory::ENVIRONMENT;
use crate::program::{folder, run_in};
use crate::world::{BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, World, configuration, put_keys, world, world_of, world_with};
use crate::{event, file, gzip, log, record, records};

const DIGEST: &str = "AWSLogs/123456789012/CloudTrail-Digest/us-east-1/2026/11/20/digest.json.gz";
const SUCCEEDED: &str = "Succeeded";
const TEMPORARY: &str = "TemporaryFailure";
const PERMANENT: &str = "PermanentFailure";
const FOR_EVER: usize = usize::MAX;

fn encoded(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()
}

/// An invocation of schema 2.0. The tasks' ids are the keys.
fn job(arguments: &Value, keys: &[&str]) -> Value {
    let mut event = event("s3-batch-2");
    event["job"]["userArguments"] = arguments.clone();
    let task = |key: &&str| json!({ "taskId": key, "s3Key": encoded(key), "s3VersionId": null, "s3Bucket": BUCKET });
    event["tasks"] = keys.iter().map(task).collect();
    event
}

/// The code and the text of each result, in the order of the tasks; asserts what all answers have.
fn results_of(answer: &Value, payload: &Value) -> Vec<(String, String)> {
    for name in ["invocationSchemaVersion", "invocationId"] {
        assert_eq!(answer[name], payload[name], "{answer}");
    }
    assert_eq!(answer["treatMissingKeysAs"], PERMANENT);
    assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
    let (tasks, results) = (payload["tasks"].as_array().unwrap(), answer["results"].as_array().unwrap());
    assert_eq!(results.len(), tasks.len(), "{answer}");
    let result = |(task, result): (&Value, &Value)| {
        assert_eq!(result["taskId"], task["taskId"], "{answer}");
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        (text("resultCode"), text("resultString"))
    };
    tasks.iter().zip(results).map(result).collect()
}

async fn results(world: &mut World, payload: &Value) -> Vec<(String, String)> {
    let answer = world.invoke(payload).await.unwrap();
    results_of(&answer, payload)
}

/// The code and the text of a job's only task.
async fn result(world: &mut World, arguments: &Value, key: &str) -> (String, String) {
    results(world, &job(arguments, &[key])).await.remove(0)
}

/// The counts of a job's only task, which succeeds.
async fn counts(world: &mut World, arguments: &Value, key: &str) -> Value {
    let (code, text) = result(world, arguments, key).await;
    assert_eq!(code, SUCCEEDED, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn both_schemas_give_the_same_alerts_as_an_event_does() {
    let mut world = world().await;
    let key = event("s3-put")["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned();
    world.aws.put(BUCKET, &key, gzip(&file("fixtures/logs/iam-signin-sts.json")));
    let mut expected: Option<Vec<(String, String)>> = None;
    for payload in [event("s3-put"), event("s3-batch-1"), event("s3-batch-2")] {
        let mut payload = payload;
        if payload["job"]["userArguments"].is_object() {
            assert_eq!(results(&mut world, &payload).await[0].0, SUCCEEDED);
            assert_eq!(world.aws.messages().len(), 0, "the example of schema 2.0 is a dry run");
            payload["job"]["userArguments"] = json!({ "dryRun": "false" });
        }
        let mut fresh = World::start(world.aws, &[("TOPIC_ARN", TOPIC)], TIMEOUT).await;
        let answer = fresh.invoke(&payload).await.unwrap();
        if payload.get("tasks").is_some() {
            let (code, text) = results_of(&answer, &payload).remove(0);
            let told: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((code.as_str(), &told["records"], &told["published"]), (SUCCEEDED, &json!(16), &json!(11)));
            assert_eq!(told["rules"]["default"], json!({ "matches": 11, "alerts": 11 }));
        }
        let alerts: Vec<_> = fresh.aws.messages().into_iter().map(|message| (message.subject, message.body)).collect();
        assert_eq!(alerts.len(), 11);
        assert_eq!(*expected.get_or_insert(alerts.clone()), alerts);
        world = fresh;
    }
}

#[tokio::test]
async fn keys_are_decoded_in_both_schemas_and_both_ways_to_encode_them() {
    let mut world = world().await;
    for (number, key) in
        ["security team/a b.json.gz", "1+1=2/+.json.gz", "100%/%2B%20.json.gz", "caf\u{e9}/\u{1f512}\",\n.json.gz"]
            .into_iter()
            .enumerate()
    {
        world.aws.put(BUCKET, key, gzip(&log(&[record(number)])));
        for (schema, s3_key) in [("s3-batch-1", encoded(key)), ("s3-batch-2", encoded(key).replace("%20", "+"))] {
            let mut payload = event(schema);
            payload["tasks"][0]["s3Key"] = s3_key.into();
            payload["job"]["userArguments"] = json!(null);
            let (code, text) = results(&mut world, &payload).await.remove(0);
            assert!(code == SUCCEEDED && text.contains("\"records\":1"), "{key}: {text}");
        }
        assert_eq!(world.aws.messages().len(), 1, "{key}: the second time it is known");
    }
}

/// The place of a fault, which lasts until it is mended.
#[derive(Clone, Copy)]
enum At {
    Log(S3Fault),
    LogFile(&'static str),
    HalfOfALog,
    Config(S3Fault),
    ConfigFile(&'static str),
    Sns(SnsFault),
    HalfOfALogAndSns(SnsFault),
}

/// A fault, the code and the parts of the text of a task that meets it, and how many messages are published all the same.
type Row = (At, &'static str, &'static [&'static str], usize);

const ROWS: [Row; 19] = [
    (At::Log(S3Fault::Status(404, "NoSuchKey")), PERMANENT, &["LogUnavailable: the log s3://", "404 NoSuchKey"], 0),
    (At::Log(S3Fault::Status(403, "AccessDenied")), PERMANENT, &["403 AccessDenied", "check that it exists"], 0),
    (At::Log(S3Fault::Status(403, "InvalidObjectState")), PERMANENT, &["restore-object"], 0),
    (At::Log(S3Fault::OtherRegion("eu-west-1")), PERMANENT, &["the bucket is in eu-west-1"], 0),
    (At::Log(S3Fault::Status(503, "SlowDown")), TEMPORARY, &["503 SlowDown"], 0),
    (At::Log(S3Fault::Status(500, "InternalError")), TEMPORARY, &["500 InternalError"], 0),
    (At::Log(S3Fault::Status(400, "ExpiredToken")), TEMPORARY, &["have expired"], 0),
    (At::Log(S3Fault::Dropped), TEMPORARY, &["S3 could not be reached"], 0),
    (At::Log(S3Fault::CutAfter(300)), TEMPORARY, &["S3 broke off"], 0),
    (At::LogFile("<html>"), PERMANENT, &["LogMalformed: s3://", "is not a valid CloudTrail log"], 0),
    (At::HalfOfALog, PERMANENT, &["LogMalformed: s3://"], 2),
    (
        At::Config(S3Fault::Status(404, "NoSuchKey")),
        PERMANENT,
        &["ConfigurationUnavailable: the con", "404", NOT_READ],
        0,
    ),
    (At::Config(S3Fault::Status(503, "SlowDown")), TEMPORARY, &["ConfigurationUnavailable", "503", NOT_READ], 0),
    (
        At::ConfigFile(r#"{"regex": "x"}"#),
        PERMANENT,
        &["InvalidConfiguration: the con", "the key `regex`", NOT_READ],
        0,
    ),
    (
        At::Sns(SnsFault::Status(500, "InternalError")),
        TEMPORARY,
        &["PublishFailed: 3 alerts of", "500 InternalError"],
        0,
    ),
    (At::Sns(SnsFault::Status(429, "Throttled")), TEMPORARY, &["429 Throttled"], 0),
    (At::Sns(SnsFault::Status(403, "AuthorizationError")), PERMANENT, &["allow the function's role sns:Publish"], 0),
    (At::Sns(SnsFault::Status(404, "NotFound")), PERMANENT, &["the topic does not exist"], 0),
    (At::HalfOfALogAndSns(SnsFault::Status(500, "InternalError")), TEMPORARY, &["SeveralFailures: 2 failures"], 0),
];
const NOT_READ: &str = "was not read";

fn put_log(world: &World, broken: bool) {
    let whole = log(&records(3));
    let length = if broken { whole.len() - 60 } else { whole.len() };
    world.aws.put(BUCKET, KEY, gzip(&whole[..length]));
}

#[tokio::test]
async fn a_fault_is_temporary_or_permanent_and_once_it_is_mended_nothing_is_missing() {
    let cold = ROWS.iter().enumerate().map(|row| (row, false));
    let is_of_config = |at: &At| matches!(at, At::Config(_) | At::ConfigFile(_));
    let warm = ROWS.iter().enumerate().filter(|(_, row)| is_of_config(&row.0)).map(|row| (row, true));
    let tests = cold.chain(warm).map(|((name, (at, code, parts, published)), is_warm)| async move {
        let mut world = world().await;
        put_log(&world, false);
        if is_warm {
            world.aws.put(BUCKET, "warm", gzip(&log(&[record(9)])));
            assert_eq!(result(&mut world, &json!({}), "warm").await.0, SUCCEEDED);
            assert_eq!(world.aws.messages().len(), 1);
        }
        match *at {
            At::Log(fault) => world.aws.s3_fault(BUCKET, KEY, fault, FOR_EVER),
            At::LogFile(text) => world.aws.put(BUCKET, KEY, text),
            At::HalfOfALog => put_log(&world, true),
            At::Config(fault) => world.aws.s3_fault(BUCKET, CONFIG, fault, FOR_EVER),
            At::ConfigFile(text) => world.aws.put(BUCKET, CONFIG, text),
            At::Sns(fault) => world.aws.sns_fault(fault, FOR_EVER),
            At::HalfOfALogAndSns(fault) => {
                put_log(&world, true);
                world.aws.sns_fault(fault, FOR_EVER);
            }
        }
        let (told, text) = result(&mut world, &json!({}), KEY).await;
        assert_eq!(told, *code, "{name}: {text}");
        for part in *parts {
            assert!(text.contains(part), "{name}: no {part:?} in {text}");
        }
        assert_eq!(world.aws.messages().len(), *published, "{name}");
        assert!(world.lambda.output().contains("\"level\":\"ERROR\""), "{name}: the log names it, too");
        world.aws.mend();
        world.aws.put(BUCKET, CONFIG, configuration());
        put_log(&world, false);
        let again = counts(&mut world, &json!({}), KEY).await;
        assert_eq!(again["alerts"], 3, "{name}: {again}");
        assert_eq!(world.aws.messages().len(), 3 - published, "{name}: just what was missing");
    });
    // SNS is tried for many seconds.
    stream::iter(tests).buffer_unordered(8).collect::<()>().await;
}

#[tokio::test]
async fn each_task_is_answered_whatever_happens_to_the_others() {
    let mut world = world().await;
    for (number, key) in ["first", "denied", "last"].into_iter().enumerate() {
        world.aws.put(BUCKET, key, gzip(&log(&[record(number)])));
    }
    world.aws.put(BUCKET, "broken", "{");
    world.aws.s3_fault(BUCKET, "denied", S3Fault::Status(403, "AccessDenied"), FOR_EVER);
    let mut payload = job(&json!({}), &["first", "denied", DIGEST, "broken", CONFIG, "last", "first"]);
    for odd in
        [json!({ "taskId": "odd", "s3Key": "%FF", "s3Bucket": BUCKET }), json!({ "taskId": "odder", "s3Key": "k" })]
    {
        payload["tasks"].as_array_mut().unwrap().insert(1, odd);
    }
    let results = results(&mut world, &payload).await;
    let told: Vec<_> = results.iter().map(|(code, text)| (code.as_str(), text.as_str())).collect();
    let codes: Vec<_> = told.iter().map(|(code, _)| *code).collect();
    let expected = [SUCCEEDED, PERMANENT, PERMANENT, PERMANENT, SUCCEEDED, PERMANENT, SUCCEEDED, SUCCEEDED, SUCCEEDED];
    assert_eq!(codes, expected, "{told:?}");
    assert!(told[1].1.starts_with("InvalidPayload: a task names no object"), "{told:?}");
    assert!(told[2].1.starts_with("InvalidPayload: a task has a key that is not UTF-8: %FF"), "{told:?}");
    assert!(told[4].1.contains(r#""objects":1,"skipped":{"digest":1}"#), "{told:?}");
    assert!(told[6].1.contains(r#""skipped":{"configuration":1}"#), "{told:?}");
    assert!(told[8].1.contains(r#""duplicates":1"#), "{told:?}");
    assert_eq!(world.aws.messages().len(), 2);
}

#[tokio::test]
async fn no_tasks_and_very_many_have_an_answer() {
    let mut world = world().await;
    assert_eq!(results(&mut world, &job(&json!({}), &[])).await, []);
    let payload = job(&json!({}), &vec![DIGEST; 10_000]);
    let answer = world.invoke(&payload).await.unwrap();
    assert!(results_of(&answer, &payload).iter().all(|(code, text)| code == SUCCEEDED && text.contains("digest")));
    assert!(answer.to_string().len() < 6 << 20);
    assert_eq!(world.aws.gets().len(), 0);
}

#[tokio::test]
async fn a_task_that_hangs_leaves_time_to_the_others() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(8)).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    world.aws.s3_fault(BUCKET, "hangs", S3Fault::Silent, FOR_EVER);
    let results = results(&mut world, &job(&json!({}), &["hangs", KEY, "hangs"])).await;
    let told: Vec<_> = results.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(told, [TEMPORARY, SUCCEEDED, TEMPORARY], "{results:?}");
    assert!(results[0].1.contains("S3 had not answered when the time was up"), "{results:?}");
    assert_eq!(world.aws.messages().len(), 1);
}

#[tokio::test]
async fn unknown_and_invalid_arguments_are_refused_before_anything_is_read() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    for (arguments, parts) in [
        (json!({ "dryrun": "true" }), &["the job's user argument `dryrun` is not known; did you mean `dryRun`?"][..]),
        (json!({ "dryRun": "yes", "colour": "red" }), &["`dryRun` is \"yes\": give", "`colour` is not known"]),
        (json!({ "rule": "" }), &["`rule` is \"\": give the name of a rule"]),
    ] {
        let results = results(&mut world, &job(&arguments, &[KEY, DIGEST])).await;
        for (code, text) in results {
            assert!(code == PERMANENT && parts.iter().all(|part| text.contains(part)), "{arguments}: {text}");
        }
    }
    assert_eq!((world.aws.gets().len(), world.aws.messages().len()), (0, 0));
    let unknown = result(&mut world, &json!({ "rule": "defualt" }), KEY).await;
    assert!(
        unknown.0 == PERMANENT && unknown.1.contains("the rule `defualt` is not known; did you mean `default`?"),
        "{unknown:?}"
    );
    assert_eq!(world.aws.messages().len(), 0);
}

#[tokio::test]
async fn a_job_with_a_rule_does_the_work_of_that_rule_alone_whether_or_not_it_is_switched_on() {
    let configuration = json!({ "source": "iam", "regexp": "User", "rules": [
        { "name": "off", "regexp": "CreateUser", "enabled": false, "severity": "high" },
        { "name": "dry", "regexp": "CreateUser", "dryRun": true },
        { "name": "other", "regexp": "Delete" },
    ], "ignore": [{ "where": { "requestParameters.userName": "^user-1$" } }] });
    let mut world = world_of(&configuration, &records(3)).await;
    for rule in ["off", "dry", "other", "default", "off"] {
        // What was published is known by event and rules, so that each rule sends its own.
        let told = counts(&mut world, &json!({ "rule": rule }), KEY).await;
        let rules: Vec<_> = world.aws.messages().into_iter().map(|m| m.attribute("rule").unwrap().to_owned()).collect();
        match rule {
            "other" => assert!(rules.is_empty() && told["unmatched"] == 3, "{told}"),
            "off" if told["duplicates"] == 2 => assert!(rules.is_empty(), "{told}"),
            _ => {
                assert_eq!(rules, [format!("[\"{rule}\"]"), format!("[\"{rule}\"]")]);
                assert_eq!(told["rules"], json!({ rule: { "matches": 3, "alerts": 2, "ignored": 1 } }), "{told}");
            }
        }
    }
    let all = world.counts(&put_keys(&[KEY])).await;
    assert_eq!(all["rules"]["dry"]["dry"], 2, "an event is judged as before: {all}");
}

#[tokio::test]
async fn a_job_reads_the_version_that_the_manifest_names_to_its_end() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    let old = format!("{KEY}?versionId=old.1");
    world.aws.put(BUCKET, &old, gzip(&log(&records(400))));
    world.aws.s3_fault(BUCKET, &old, S3Fault::CutAfter(2_000), 1);
    let mut payload = job(&json!({ "dryRun": "true" }), &[KEY, KEY, KEY]);
    payload["tasks"][0]["s3VersionId"] = "old.1".into();
    payload["tasks"][1]["s3VersionId"] = "gone".into();
    let results = results(&mut world, &payload).await;
    assert!(results[0].1.contains("\"records\":400"), "{results:?}");
    assert!(results[1].0 == PERMANENT && results[1].1.contains("404"), "{results:?}");
    assert!(results[2].1.contains("\"records\":1,"), "{results:?}");
    let ranges: Vec<_> = world.aws.gets().into_iter().filter(|get| get.range.is_some()).map(|get| get.what).collect();
    assert_eq!(ranges, [format!("{BUCKET}/{old}")]);
}

/// Random calls of a few callers within a day.
fn random_calls(random: &mut fastrand::Rng) -> Vec<Value> {
    let call = |number: usize| {
        let (hour, minute) = (random.u8(0..24), random.u8(0..60));
        let mut call = record(number);
        call["eventTime"] = format!("2026-11-20T{hour:02}:{minute:02}:00Z").into();
        call["eventName"] = ["CreateUser", "DeleteUser", "GetUser", "ConsoleLogin"][random.usize(0..4)].into();
        call["userIdentity"] = json!({ "arn": format!("arn:aws:iam::123456789012:user/{}", random.u8(0..3)) });
        if random.u8(0..10) == 0 {
            call.as_object_mut().unwrap().remove("eventTime");
        }
        call
    };
    (0..60).map(call).collect()
}

#[tokio::test]
async fn a_dry_run_counts_what_scan_would_send_of_a_log_and_sends_and_remembers_nothing() {
    let by = json!(["userIdentity.arn"]);
    let configuration = json!({ "format": "json", "maxAlertsPerLog": 9, "rules": [
        { "name": "all", "regexp": "User", "source": "iam" },
        { "name": "hourly", "regexp": "^(Create|Delete)User", "suppress": { "by": by, "for": "2h" } },
        { "name": "often", "regexp": "^Get", "threshold": { "by": by, "count": 3, "within": "4h" } },
        { "name": "first", "regexp": "Login", "source": "", "severity": "critical", "firstSeen": { "by": by, "within": "30d" } },
        { "name": "dry", "regexp": "Login", "dryRun": true },
    ], "ignore": [{ "where": { "userIdentity.arn": "/2$" }, "regexp": "Delete" }] });
    let mut world = world_with(&ENVIRONMENT, TIMEOUT).await;
    world.aws.put(BUCKET, CONFIG, configuration.to_string());
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..12 {
        let key = format!("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/{round}.json.gz");
        let content = log(&random_calls(&mut random));
        world.aws.put(BUCKET, &key, gzip(&content));
        let rule = [None, Some("hourly"), Some("dry")][round % 3];
        let mut arguments = json!({ "dryRun": "true" });
        let folder = folder(&[("c.json", configuration.to_string().as_bytes())]);
        let mut command = vec!["scan", "--config", "c.json", "--format", "json"];
        if let Some(rule) = rule {
            arguments["rule"] = rule.into();
            command.extend(["--rule", rule]);
        }
        command.push("-");
        let told = counts(&mut world, &arguments, &key).await;
        let scanned = run_in(folder.path(), &command, content);
        let messages: Vec<Value> = scanned.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!messages.is_empty(), "{scanned:?}");
        assert_eq!(told["unsent"], messages.len(), "{told}\n{}", scanned.stderr);
        let matches = told["matched"].as_u64().unwrap() + told["ignored"].as_u64().unwrap_or(0);
        assert!(
            scanned.stderr.contains(&format!("1 log, 60 records, {matches} matches")),
            "{told}\n{}",
            scanned.stderr
        );
    }
    assert_eq!(world.aws.messages().len(), 0);
    assert!(world.aws.table(|table| table.items.is_empty()), "nothing is remembered");
    // A table that is down is not asked.
    world.aws.table_fault("", 0, TableFault::Dropped, FOR_EVER);
    let key = "AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/0.json.gz";
    counts(&mut world, &json!({ "dryRun": "true" }), key).await;
    assert!(!world.lambda.output().contains("StateUnavailable"), "{}", world.lambda.output());
    world.aws.mend();
    // And then the alerts come as if there had been no dry run.
    let sent = counts(&mut world, &json!({}), key).await;
    assert_eq!(sent["published"], world.aws.messages().len(), "{sent}");
    assert!(sent["duplicates"].is_null() && sent["published"].as_u64() > Some(0), "{sent}");
}

#[tokio::test]
async fn a_replay_of_what_was_published_within_a_day_repeats_nothing_in_any_environment() {
    let mut world = world_with(&ENVIRONMENT, TIMEOUT).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(3))));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 3);
    assert_eq!(world.aws.messages().len(), 3);
    let mut world = world.restarted(&ENVIRONMENT).await;
    let told = counts(&mut world, &json!({ "rule": "default" }), KEY).await;
    assert_eq!((&told["alerts"], &told["duplicates"], world.aws.messages().len()), (&json!(3), &json!(3), 0), "{told}");
}

#[tokio::test]
async fn a_job_is_no_metric_and_a_last_good_configuration_is_for_events_alone() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    counts(&mut world, &json!({}), KEY).await;
    let line = world.logged().await;
    assert_eq!((&line["objects"], &line["published"]), (&json!(1), &json!(1)), "{line}");
    assert!(!world.lambda.output().contains("_aws"), "{}", world.lambda.output());
    let done = world.lambda.output().lines().find(|line| line.contains("task done")).unwrap().to_owned();
    assert!(done.contains("f3cc4f60-61f6-4a2b-8a21-d07600c373ce") && done.contains(KEY), "{done}");

    world.aws.put(BUCKET, "k", gzip(&log(&[record(2)])));
    world.counts(&put_keys(&["k"])).await;
    world.aws.put(BUCKET, CONFIG, "{");
    let (code, text) = result(&mut world, &json!({}), KEY).await;
    assert!(code == PERMANENT && text.contains("was not read"), "{text}");
    world.aws.put(BUCKET, "k", gzip(&log(&[record(3)])));
    world.fails(&put_keys(&["k"]), "InvalidConfiguration", &["was read with the last good one"]).await;
    assert_eq!(world.aws.messages().len(), 3);
}

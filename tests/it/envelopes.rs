//! Every kind of event that announces a log, as Lambda passes it on.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::s3::S3Event;
use aws_lambda_events::sns::SnsEvent;
use aws_lambda_events::sqs::SqsEvent;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::fake_aws::{S3Fault, SnsFault};
use crate::golden::golden_lines;
use crate::world::{BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, World, configuration, metrics, world, world_with};
use crate::{event, file, gzip, log, record, records};

/// The characters that S3 does not encode when it writes a key into a notification.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

fn s3(key: &str) -> Value {
    let mut event = event("s3-put");
    event["Records"][0]["s3"]["object"]["key"] = utf8_percent_encode(key, FORM).to_string().replace(' ', "+").into();
    event
}

fn bridged(key: &str) -> Value {
    let mut event = event("eventbridge");
    event["detail"]["object"]["key"] = key.into();
    event
}

/// The notification that CloudTrail itself sends.
fn delivery(key: &str) -> Value {
    json!({ "s3Bucket": BUCKET, "s3ObjectKey": [key] })
}

fn in_sns(message: &str) -> Value {
    let mut event = event("sns-s3");
    event["Records"][0]["Sns"]["Message"] = message.into();
    event
}

/// The messages `m0`, `m1`, …
pub fn in_sqs<T: ToString>(bodies: &[T]) -> Value {
    let template = event("sqs-s3")["Records"][0].clone();
    let messages = bodies.iter().enumerate().map(|(number, body)| {
        let mut message = template.clone();
        message["messageId"] = format!("m{number}").into();
        message["body"] = body.to_string().into();
        message
    });
    json!({ "Records": messages.collect::<Vec<_>>() })
}

/// The envelope in which SNS puts a message into a queue.
pub fn wrapped(message: &impl ToString) -> Value {
    let mut envelope: Value =
        serde_json::from_str(event("sqs-sns-s3")["Records"][0]["body"].as_str().unwrap()).unwrap();
    envelope["Message"] = message.to_string().into();
    envelope
}

/// Raw delivery of SNS into a queue: the message itself, with its attributes beside it.
fn raw(message: &Value) -> Value {
    let mut event = in_sqs(&[message]);
    let attribute =
        json!({ "stringValue": "logs", "stringListValues": [], "binaryListValues": [], "dataType": "String" });
    event["Records"][0]["messageAttributes"]["kind"] = attribute;
    event
}

/// A message of AWS Config.
fn config_message() -> String {
    event("sns-config")["Records"][0]["Sns"]["Message"].as_str().unwrap().to_owned()
}

/// SNS's request to confirm a subscription.
fn confirmation() -> String {
    event("sqs-sns-confirmation")["Records"][0]["body"].as_str().unwrap().to_owned()
}

fn envelopes(key: &str) -> [(&'static str, Value); 10] {
    [
        ("S3", s3(key)),
        ("S3, SNS", in_sns(&s3(key).to_string())),
        ("S3, SQS", in_sqs(&[s3(key)])),
        ("S3, SNS, SQS", in_sqs(&[wrapped(&s3(key))])),
        ("S3, SNS, SQS, raw", raw(&s3(key))),
        ("EventBridge", bridged(key)),
        ("EventBridge, SQS", in_sqs(&[bridged(key)])),
        ("CloudTrail, SNS", in_sns(&delivery(key).to_string())),
        ("CloudTrail, SNS, SQS", in_sqs(&[wrapped(&delivery(key))])),
        ("CloudTrail, SNS, SQS, raw", raw(&delivery(key))),
    ]
}

/// Invokes, asserts success (for SQS: that no message is handed back), and returns the counts.
async fn succeeds(world: &mut World, payload: &Value) -> Value {
    let answer = world.invoke(payload).await.unwrap();
    let counts = world.logged().await;
    if payload["Records"][0]["eventSource"] == "aws:sqs" {
        assert_eq!(answer, json!({ "batchItemFailures": [] }), "{payload}");
    } else {
        assert_eq!(answer["published"], counts["published"], "{payload}");
    }
    counts
}

/// Invokes with a batch of SQS, asserts that just these messages are handed back, and returns the counts.
pub async fn hands_back(world: &mut World, batch: &Value, messages: &[&str]) -> Value {
    let answer = world.invoke(batch).await.unwrap();
    let messages: Vec<_> = messages.iter().map(|id| json!({ "itemIdentifier": id })).collect();
    assert_eq!(answer, json!({ "batchItemFailures": messages }));
    let counts = world.logged().await;
    let metrics = metrics(world.lines().await.last().unwrap());
    assert_eq!(counts["handedBack"], messages.len(), "{counts}");
    assert_eq!(metrics.get("HandedBack").copied().unwrap_or(0), messages.len() as u64, "{metrics:?}");
    counts
}

#[tokio::test]
async fn ten_envelopes_give_the_same_alerts_whatever_the_key() {
    let keys = [
        KEY,
        "security team/a b.json.gz",
        "1+1=2/+.json.gz",
        "100%/%2B%20%zz/%.json.gz",
        "/a//b/../c/./d;e,f:g@h!$'()*~.json.gz",
        "caf\u{e9}/cafe\u{301}/\u{65e5}\u{672c}/\u{1f512}&=?#\"\\.json.gz",
    ];
    let mut expected = None;
    for envelope in 0..10 {
        let mut world = world().await;
        let name = envelopes("")[envelope].0;
        for (number, key) in keys.into_iter().enumerate() {
            world.aws.put(BUCKET, key, gzip(&log(&[record(2 * number), record(2 * number + 1)])));
            let counts = succeeds(&mut world, &envelopes(key)[envelope].1).await;
            assert_eq!((&counts["objects"], &counts["published"]), (&json!(1), &json!(2)), "{name}: {key}");
        }
        let alerts: Vec<_> =
            world.aws.messages().into_iter().map(|m| (m.topic, m.subject, m.body, m.attributes)).collect();
        for (number, alert) in alerts.iter().enumerate() {
            assert!(
                alert.2.ends_with(&format!("\nLog     : s3://{BUCKET}/{}\n", keys[number / 2])),
                "{name}: {alert:?}"
            );
        }
        assert_eq!(*expected.get_or_insert(alerts.clone()), alerts, "{name}");
    }
}

#[tokio::test]
async fn the_fixtures_have_the_form_that_aws_sends_and_announce_the_same_log() {
    fn strict<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }
    fn inner(text: Option<&str>) -> Value {
        serde_json::from_str(text.unwrap()).unwrap()
    }
    let key = event("s3-put")["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned();
    let sns: SnsEvent = strict(event("sns-s3"));
    let sqs: SqsEvent = strict(event("sqs-s3"));
    let both: SqsEvent = strict(event("sqs-sns-s3"));
    let wrapped = inner(both.records[0].body.as_deref());
    assert_eq!(wrapped["Type"], "Notification");
    for text in [Some(sns.records[0].sns.message.as_str()), sqs.records[0].body.as_deref(), wrapped["Message"].as_str()]
    {
        let s3: S3Event = strict(inner(text));
        assert_eq!(s3.records[0].s3.object.key.as_deref(), Some(key.as_str()));
    }
    let bridged: EventBridgeEvent = strict(event("eventbridge"));
    assert_eq!((bridged.source.as_str(), bridged.detail_type.as_str()), ("aws.s3", "Object Created"));
    let cloudtrail: SnsEvent = strict(event("sns-cloudtrail"));
    assert_eq!(inner(Some(&cloudtrail.records[0].sns.message)), delivery(&key));

    for name in ["sqs-s3", "sns-s3", "sqs-sns-s3", "eventbridge", "sns-cloudtrail"] {
        let mut world = world().await;
        world.aws.put(BUCKET, &key, gzip(&file("fixtures/logs/iam-signin-sts.json")));
        assert_eq!(succeeds(&mut world, &event(name)).await["published"], golden_lines("subjects.txt").len(), "{name}");
    }
}

#[tokio::test]
async fn a_test_event_is_fine_in_any_envelope() {
    let test = event("s3-test-event").to_string();
    let cloudtrail = "CloudTrail validation message.";
    let mut world = world().await;
    for payload in [
        event("s3-test-event"),
        in_sns(&test),
        in_sqs(&[&test]),
        in_sqs(&[wrapped(&test)]),
        in_sns(cloudtrail),
        in_sqs(&[cloudtrail]),
        in_sqs(&[wrapped(&cloudtrail)]),
    ] {
        let counts = succeeds(&mut world, &payload).await;
        assert_eq!((&counts["skipped.testEvent"], &counts["objects"]), (&json!(1), &json!(0)), "{payload}");
    }
    assert!(world.aws.gets().is_empty(), "{:?}", world.aws.gets());
}

#[tokio::test]
async fn what_aws_sends_beside_logs_is_skipped_and_counted_in_any_envelope() {
    let mut deleted = bridged(KEY);
    deleted["detail-type"] = "Object Deleted".into();
    let removed = event("s3-removed").to_string();
    let mut world = world().await;
    for (message, reason) in [
        (config_message(), "configMessage"),
        (removed, "otherEvent"),
        (deleted.to_string(), "otherEvent"),
        (confirmation(), "confirmation"),
    ] {
        for payload in [
            serde_json::from_str(&message).unwrap(),
            in_sns(&message),
            in_sqs(&[&message]),
            in_sqs(&[wrapped(&message)]),
            in_sqs(&[in_sns(&message)]),
        ] {
            let counts = succeeds(&mut world, &payload).await;
            assert_eq!((&counts[format!("skipped.{reason}")], &counts["objects"]), (&json!(1), &json!(0)), "{payload}");
            let lines = world.lines().await;
            let metric = format!("Skipped{}{}", reason[..1].to_uppercase(), &reason[1..]);
            assert_eq!(metrics(lines.last().unwrap()).get(&metric), Some(&1), "{payload}");
            let warnings: Vec<_> = lines.iter().filter(|line| line["level"] == "WARN").map(Value::to_string).collect();
            assert_eq!(warnings.len(), usize::from(reason == "confirmation"), "{payload}: {warnings:?}");
            let command = "aws sns confirm-subscription --region us-east-1 --topic-arn \
                           arn:aws:sns:us-east-1:123456789012:cloudtrail-logs --token 2336412f";
            assert!(warnings.iter().all(|warning| warning.contains(command)), "{warnings:?}");
        }
    }
    for name in ["s3-removed", "sns-config", "sqs-sns-confirmation"] {
        succeeds(&mut world, &event(name)).await;
    }
    assert!(world.aws.gets().is_empty(), "{:?}", world.aws.gets());
}

#[tokio::test]
async fn what_is_not_a_log_is_skipped_and_counted_by_its_key_in_any_envelope() {
    let mut world = world().await;
    for (key, reason) in [
        ("AWSLogs/123456789012/CloudTrail-Aggregated/us-east-1/2026/11/20/x.json.gz", "aggregated"),
        ("AWSLogs/123456789012/CloudTrail/us-east-1/", "placeholder"),
        ("p/AWSLogs/123456789012/ELBAccessLogTestFile", "placeholder"),
        ("AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/x.log.gz", "otherService"),
    ] {
        for (name, payload) in envelopes(key) {
            let counts = succeeds(&mut world, &payload).await;
            let told = (&counts[format!("skipped.{reason}")], &counts["objects"]);
            assert_eq!(told, (&json!(1), &json!(1)), "{name}: {key}");
        }
    }
    assert!(world.aws.gets().is_empty(), "{:?}", world.aws.gets());
    for key in [
        "AWSLogs/123456789012/CloudTrail-NetworkActivity/us-east-1/2026/11/20/x.json.gz",
        "AWSLogs/export/x.json.gz",
        "ELBAccessLogTestFile/x",
    ] {
        world.aws.put(BUCKET, key, log(&[record(key.len())]));
        assert_eq!(succeeds(&mut world, &s3(key)).await["published"], 1, "{key}");
    }
}

/// Lambda's text format has no quotes around a message. A line of its own could be metrics, and keep an alarm silent.
#[tokio::test]
async fn a_key_can_not_forge_a_line_of_the_log() {
    for format in ["Text", "JSON"] {
        let mut world = world_with(&[("TOPIC_ARN", TOPIC), ("AWS_LAMBDA_LOG_FORMAT", format)], TIMEOUT).await;
        let (forged, real) = ("\n{\"_aws\":{\"forged\":1},\"Failed\":0}\n", "\"FunctionName\":");
        let key = format!("a\r{forged}\u{1b}[2J\u{202e}\u{2028}b");
        let mut odd = event("s3-put");
        odd["Records"][0]["eventName"] = format!("Odd{forged}").into();
        for payload in [s3(&key), in_sns(&odd.to_string()), bridged(&key)] {
            world.invoke(&payload).await.unwrap_err();
            world.lines().await;
        }
        let output = world.lambda.output();
        for line in output.lines() {
            assert!(line.chars().all(|c| !c.is_control() && !"\u{202e}\u{2028}".contains(c)), "{format}: {line:?}");
            let json = serde_json::from_str::<Value>(line).unwrap_or_default();
            assert_eq!(json["_aws"].is_object(), line.contains(real), "{format}: {line}");
        }
        assert!(output.contains("\\u202e"), "{format}: {output}");
    }
}

#[tokio::test]
async fn a_mixed_batch_gives_back_only_its_bad_messages() {
    let mut world = world().await;
    for (number, key) in ["a b", "c+d", "100%"].into_iter().enumerate() {
        world.aws.put(BUCKET, key, gzip(&log(&[record(number)])));
    }
    let digest = event("s3-digest");
    let mut frozen = bridged("a b");
    frozen["detail-type"] = "Object Frozen".into();
    let mut removed = bridged("a b");
    removed["detail-type"] = "Object Deleted".into();
    let bodies = [
        s3("a b").to_string(),
        "garbage".to_owned(),
        bridged("c+d").to_string(),
        wrapped(&"garbage").to_string(),
        wrapped(&delivery("100%")).to_string(),
        String::new(),
        wrapped(&event("s3-test-event")).to_string(),
        event("unknown").to_string(),
        digest.to_string(),
        frozen.to_string(),
        s3("missing").to_string(),
        "{\"Records\": 5}".to_owned(),
        removed.to_string(),
        config_message(),
        confirmation(),
        s3("AWSLogs/123456789012/CloudTrail/").to_string(),
    ];
    let batch = in_sqs(&bodies);
    let bad = ["m1", "m3", "m5", "m7", "m9", "m10", "m11"];
    let counts = hands_back(&mut world, &batch, &bad).await;
    for (name, count) in [
        ("objects", 6),
        ("logs", 3),
        ("published", 3),
        ("failures", 7),
        ("skipped.testEvent", 1),
        ("skipped.digest", 1),
        ("skipped.otherEvent", 1),
        ("skipped.configMessage", 1),
        ("skipped.confirmation", 1),
        ("skipped.placeholder", 1),
    ] {
        assert_eq!(counts[name], count, "{name} in {counts}");
    }
    let errors: Vec<_> = world.lines().await.into_iter().filter(|line| line["level"] == "ERROR").collect();
    let missing = format!("s3://{BUCKET}/missing");
    assert!(errors.iter().any(|error| error.to_string().contains(&missing)), "{errors:?}");
    assert_eq!(errors.len(), bad.len(), "{errors:?}");
    assert_eq!(world.aws.messages().len(), 3);

    // The same batch again: alerts that were sent are not sent twice.
    world.aws.put(BUCKET, "missing", gzip(&log(&[record(3)])));
    assert_eq!(hands_back(&mut world, &batch, &["m1", "m3", "m5", "m7", "m9", "m11"]).await["published"], 1);
}

#[tokio::test]
async fn a_log_in_two_messages_is_read_once_and_handed_back_with_both() {
    let mut world = world().await;
    world.aws.put(BUCKET, "good", gzip(&log(&[record(1)])));
    world.aws.put(BUCKET, "bad", gzip(&log(&[record(2)])));
    world.aws.s3_fault(BUCKET, "bad", S3Fault::Status(403, "AccessDenied"), 1);
    let mut two = s3("good");
    two["Records"].as_array_mut().unwrap().extend(s3("bad")["Records"].as_array().unwrap().clone());
    let batch = in_sqs(&[s3("bad"), s3("good"), wrapped(&delivery("bad")), two, bridged("good")]);
    let counts = hands_back(&mut world, &batch, &["m0", "m2", "m3"]).await;
    assert_eq!((&counts["objects"], &counts["logs"], &counts["published"]), (&json!(2), &json!(1), &json!(1)));
    let read = |world: &World, key: &str| world.aws.gets().iter().filter(|get| get.what.ends_with(key)).count();
    assert_eq!((read(&world, "/bad"), read(&world, "/good")), (1, 1));
    assert_eq!(hands_back(&mut world, &batch, &[]).await["published"], 1, "what had failed");
}

#[tokio::test]
async fn a_failed_publish_hands_back_every_message_whose_log_is_in_it() {
    let mut world = world().await;
    let all = records(10);
    world.aws.put(BUCKET, "a", gzip(&log(&all[..5])));
    world.aws.put(BUCKET, "b", gzip(&log(&all[5..])));
    world.aws.put(BUCKET, "quiet", gzip(&log(&[json!({})])));
    let batch = in_sqs(&[s3("first"), s3("a"), s3("quiet"), bridged("b"), wrapped(&delivery("b"))]);
    // The alerts of `a` and `b` share a request, because that of `first` is under way until they come.
    let first = |world: &World, number| {
        world.aws.put(BUCKET, "first", gzip(&log(&[record(number)])));
        let sent = world.aws.publishes().len();
        for log in ["a", "b"] {
            world.aws.s3_fault(BUCKET, log, S3Fault::PauseAfter(0, sent + 1), 1);
        }
        world.aws.hold_sns(sent + 2);
    };
    first(&world, 100);
    world.aws.sns_fault_of_full_batches(SnsFault::Status(404, "NotFound"), 1);
    let counts = hands_back(&mut world, &batch, &["m1", "m3", "m4"]).await;
    assert_eq!((&counts["logs"], &counts["published"], &counts["failed"]), (&json!(4), &json!(1), &json!(10)));

    // Only what was refused of a request: a message from `b`.
    first(&world, 101);
    world.aws.topic_fault(TOPIC, SnsFault::Denies("user-7"));
    assert_eq!(hands_back(&mut world, &batch, &["m3", "m4"]).await["published"], 10);
    world.aws.mend();
    assert_eq!(hands_back(&mut world, &batch, &[]).await["published"], 1);
    assert_eq!(world.aws.messages().len(), 12);
}

/// The notification for an object in another bucket.
fn elsewhere(bucket: &str, key: &str) -> Value {
    let mut event = s3(key);
    event["Records"][0]["s3"]["bucket"]["name"] = bucket.into();
    event
}

#[tokio::test]
async fn a_message_without_a_usable_configuration_fails_itself_only() {
    let mut world = world().await;
    world.aws.put(BUCKET, "a", gzip(&log(&[record(1)])));
    for (number, bucket) in ["broken", "bare", "fine"].into_iter().enumerate() {
        world.aws.put(bucket, "a", gzip(&log(&[record(number + 2)])));
    }
    world.aws.put("broken", CONFIG, "{");
    world.aws.put("fine", CONFIG, configuration());
    let both = json!({ "Records": [s3("a")["Records"][0], elsewhere("bare", "a")["Records"][0]] });
    let batch = in_sqs(&[
        elsewhere("broken", "a"),
        s3("a"),
        elsewhere("bare", "a"),
        elsewhere("fine", "a"),
        both,
        bridged("a"),
    ]);
    let counts = hands_back(&mut world, &batch, &["m0", "m2", "m4"]).await;
    assert_eq!((&counts["published"], &counts["failures"]), (&json!(2), &json!(2)));
    let metrics = metrics(world.lines().await.last().unwrap());
    assert_eq!((metrics["InvalidConfiguration"], metrics["ConfigurationUnavailable"]), (1, 1));
    world.aws.put("broken", CONFIG, configuration());
    world.aws.put("bare", CONFIG, configuration());
    assert_eq!(hands_back(&mut world, &batch, &[]).await["published"], 2);
}

#[tokio::test]
async fn messages_whose_logs_were_read_with_the_last_good_configuration_come_again() {
    let mut world = world().await;
    world.aws.put("fine", "f", gzip(&log(&[record(8)])));
    world.aws.put("fine", CONFIG, configuration());
    for (number, key) in ["a", "b"].into_iter().enumerate() {
        world.aws.put(BUCKET, key, gzip(&log(&[record(number)])));
    }
    succeeds(&mut world, &in_sqs(&[s3("a")])).await;
    world.aws.put(BUCKET, CONFIG, "{");
    let batch = in_sqs(&[s3("a"), event("s3-digest"), s3("b"), elsewhere("fine", "f"), s3(CONFIG)]);
    let counts = hands_back(&mut world, &batch, &["m0", "m2"]).await;
    assert_eq!((&counts["published"], &counts["failures"]), (&json!(2), &json!(1)), "{counts}");
    // Where no message is fine, the invocation fails.
    let all = in_sqs(&[s3("a"), s3("b")]);
    let counts = world.fails(&all, "InvalidConfiguration", &["the last good one"]).await;
    assert_eq!((&counts["duplicates"], &counts["handedBack"]), (&json!(2), &json!(0)), "{counts}");
    world.aws.put(BUCKET, CONFIG, configuration());
    assert_eq!(hands_back(&mut world, &batch, &[]).await["duplicates"], 3);
}

#[tokio::test]
async fn without_a_configuration_or_a_message_id_a_batch_fails_as_a_whole() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(2))));
    let object = format!("s3://{BUCKET}/{CONFIG}");
    let batch = in_sqs(&[s3(KEY)]);
    world.aws.put(BUCKET, CONFIG, "{");
    world.fails(&batch, "InvalidConfiguration", &[&object]).await;
    world.aws.s3_fault(BUCKET, CONFIG, S3Fault::Status(403, "AccessDenied"), 1);
    world.fails(&batch, "ConfigurationUnavailable", &[&object, "AccessDenied"]).await;
    assert_eq!(world.aws.messages().len(), 0);

    world.aws.put(BUCKET, CONFIG, configuration());
    let mut nameless = in_sqs(&[s3(KEY).to_string(), "garbage".to_owned()]);
    nameless["Records"][1].as_object_mut().unwrap().remove("messageId");
    let counts = world.fails(&nameless, "InvalidPayload", &["Records[1]", "messageId"]).await;
    assert_eq!((&counts["published"], &counts["handedBack"]), (&json!(2), &json!(0)));
    assert_eq!(succeeds(&mut world, &batch).await["duplicates"], 2);
}

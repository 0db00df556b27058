//! Emails of several alerts: alerts come from a queue, and go on as one message. None is lost, none is told twice, and
//! never too many go out at once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::envelopes::{hands_back, in_sqs, wrapped};
use crate::fake_aws::{Message, S3Fault, SnsFault};
use crate::golden::{assert_golden, golden, shows};
use crate::world::{
    BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, World, assert_counts, assert_in_time, messages_of, metrics, put_keys, world,
    world_of, world_with,
};
use crate::{event, file, gzip, log, record, records};

const MAIL: &str = "arn:aws:sns:us-east-1:123456789012:mail";

/// The most MiB that the function may use. A debug build is a larger program, by 14.
const MEMORY: u64 = 64 + if cfg!(debug_assertions) { 14 } else { 0 };

/// A function that mails.
async fn mailing(timeout: Duration) -> World {
    world_with(&[("TOPIC_ARN", TOPIC), ("MAIL_TOPIC_ARN", MAIL)], timeout).await
}

/// The alerts about so many calls of each name, in the order of the calls: `Create…` is low, `Delete…` high, `Stop…` critical.
async fn alerts(calls: &[(&str, usize)]) -> Vec<Message> {
    let rules = json!([
        { "name": "creations", "regexp": "^Create", "severity": "low" },
        { "name": "deletions", "regexp": "^Delete", "severity": "high" },
        { "name": "trail", "regexp": "^Stop", "severity": "critical" },
    ]);
    let names = calls.iter().flat_map(|(name, count)| std::iter::repeat_n(name, *count));
    let record = |(number, name): (usize, &&str)| {
        let mut record = record(number);
        (record["eventName"], record["userAgent"]) = (json!(name), json!(format!("agent of {name}")));
        record
    };
    messages_of(&json!({ "rules": rules }), &names.enumerate().map(record).collect::<Vec<_>>()).await
}

/// The notification of an alert that SNS puts into the queue.
fn notification(alert: &Message, message_id: &str) -> Value {
    let attribute =
        |(name, kind, value): &(String, String, String)| (name.clone(), json!({ "Type": kind, "Value": value }));
    let mut notification = wrapped(&alert.body);
    notification["MessageId"] = message_id.into();
    notification["TopicArn"] = alert.topic.as_str().into();
    notification["Subject"] = alert.subject.as_str().into();
    notification["MessageAttributes"] = alert.attributes.iter().map(attribute).collect();
    notification
}

/// The messages `m0`, `m1`, … of the queue.
fn queued(alerts: &[Message]) -> Value {
    in_sqs(&alerts.iter().enumerate().map(|(n, alert)| notification(alert, &format!("sns-{n}"))).collect::<Vec<_>>())
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("m{number}")).collect()
}

/// Invokes with a batch, asserts that these messages are handed back, and returns the counts and the mails.
async fn mails_of(world: &mut World, batch: &Value, back: &[String]) -> (Value, Vec<Message>) {
    let counts = hands_back(world, batch, &back.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let metrics = metrics(world.lines().await.last().unwrap());
    for (metric, count) in [("Mails", "mails"), ("Mailed", "mailed"), ("PublishFailed", "failures")] {
        let value = metrics.get(metric).copied().unwrap_or(0);
        assert!(counts[count] == value || metric == "PublishFailed" && value == 0, "{metric}: {counts}, {metrics:?}");
    }
    let mails = world.aws.messages();
    for mail in &mails {
        assert_eq!(mail.topic, MAIL);
        assert_eq!(mail.attributes.iter().map(|a| a.0.as_str()).collect::<Vec<_>>(), ["severity"], "no `rule`");
    }
    assert_eq!(counts["mails"], mails.len(), "{counts}");
    (counts, mails)
}

/// The lines above the alerts of a mail.
fn separators(mail: &Message) -> Vec<&str> {
    mail.body.lines().filter(|line| line.starts_with("----")).collect()
}

#[tokio::test]
async fn one_alert_is_mailed_word_for_word_from_the_queue_and_from_the_dead_letters() {
    let mut world = mailing(TIMEOUT).await;
    for format in ["text", "json", "chatbot"] {
        let configuration = json!({ "source": "iam", "regexp": "User", "format": format });
        let [alert] = &messages_of(&configuration, &[record(1)]).await[..] else { panic!() };
        let (counts, mails) = mails_of(&mut world, &queued(std::slice::from_ref(alert)), &[]).await;
        assert_eq!((&counts["mails"], &counts["mailed"], &counts["alerts"]), (&json!(1), &json!(1), &json!(0)));
        let counts = world.counts(&notification(alert, "m")).await;
        assert_counts(&counts, &json!({ "mails": 1, "mailed": 1 }));
        for mail in mails.iter().chain(&world.aws.messages()) {
            assert_eq!((&mail.subject, &mail.body), (&alert.subject, &alert.body));
            assert_eq!((mail.topic.as_str(), mail.attribute("severity")), (MAIL, Some("medium")));
        }
        // A mail that comes back is no alert: no mail makes another one.
        world.fails(&notification(&mails[0], "m"), "InvalidPayload", &["is not"]).await;
    }
    assert!(world.aws.gets().is_empty(), "{:?}", world.aws.gets());
}

#[tokio::test]
async fn several_alerts_are_one_mail_with_the_most_severe_first_each_as_it_was() {
    let alerts = alerts(&[("CreateUser", 7), ("DeleteUser", 3), ("StopLogging", 1), ("DeleteRole", 1)]).await;
    let (counts, mails) = mails_of(&mut mailing(TIMEOUT).await, &queued(&alerts), &[]).await;
    let [mail] = &mails[..] else { panic!("{mails:?}") };
    assert_eq!((&counts["mailed"], mail.attribute("severity")), (&json!(12), Some("critical")));
    let subject = "[critical] 12 alerts: 7 CreateUser, 3 DeleteUser, 1 DeleteRole, 1 StopLogging";
    assert_eq!(mail.subject, subject);
    let in_order: Vec<_> = [10, 7, 8, 9, 11].into_iter().chain(0..7).map(|number| &alerts[number]).collect();
    let told = in_order.iter().enumerate().map(|(n, a)| format!("---- {} of 12: {}\n{}\n", n + 1, a.subject, a.body));
    assert_eq!(mail.body, told.collect::<String>());
}

#[tokio::test]
async fn a_body_in_json_is_one_line_of_a_mail_and_a_summary_says_what_it_is() {
    let configuration =
        json!({ "rules": [{ "name": "r", "regexp": "User|Role" }], "format": "json", "maxAlertsPerLog": 1 });
    let mut calls = records(6);
    calls[3]["eventName"] = json!("CreateRole");
    calls[5]["eventName"] = json!("CreateRole");
    let alerts = messages_of(&configuration, &calls).await;
    let (_, mails) = mails_of(&mut mailing(TIMEOUT).await, &queued(&alerts), &[]).await;
    assert_eq!(mails[0].subject, "[medium] 3 alerts: 1 CreateRole, 1 CreateUser, 1 summary");
    let lines: Vec<_> = mails[0].body.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (pair, alert) in lines.chunks(2).zip(&alerts) {
        assert!(pair[0].ends_with(&alert.subject) && pair[1] == alert.body.trim_end(), "{pair:?}");
    }
}

#[tokio::test]
async fn a_repeat_is_told_once_and_what_only_looks_like_one_is_told() {
    let mut unnamed = record(7);
    unnamed.as_object_mut().unwrap().remove("eventID");
    let alerts = messages_of(&json!({ "source": "iam", "regexp": "User" }), &[record(1), unnamed]).await;
    let [named, unnamed] = <[Message; 2]>::try_from(alerts).unwrap();
    let (named, unnamed) = if named.attribute("eventID").is_some() { (named, unnamed) } else { (unnamed, named) };
    let batch = in_sqs(&[
        notification(&named, "1"),
        // SQS delivers it twice, and SNS has taken it twice.
        notification(&named, "1"),
        notification(&named, "2"),
        notification(&unnamed, "3"),
        notification(&unnamed, "3"),
        // Another event of the same text.
        notification(&unnamed, "4"),
    ]);
    let mut world = mailing(TIMEOUT).await;
    let (counts, mails) = mails_of(&mut world, &batch, &[]).await;
    assert_eq!((counts["mailed"].as_u64(), mails.len()), (Some(3), 1), "{counts}");
    let told: BTreeSet<_> = separators(&mails[0]).into_iter().map(|line| &line[..11]).collect();
    assert_eq!(told, BTreeSet::from(["---- 1 of 3", "---- 2 of 3", "---- 3 of 3"]));
    // Whoever may publish the alert again can't lower it.
    let mut lowered = notification(&named, "5");
    lowered["MessageAttributes"]["severity"]["Value"] = "info".into();
    let (_, mails) = mails_of(&mut world, &in_sqs(&[lowered, notification(&named, "1")]), &[]).await;
    assert_eq!((&mails[0].body, mails[0].attribute("severity")), (&named.body, Some("medium")));
    // All repeats share the fate of the alert.
    world.aws.topic_fault(MAIL, SnsFault::Status(404, "NotFound"));
    mails_of(&mut world, &batch, &ids(0..6)).await;
}

#[tokio::test]
async fn what_sns_does_not_take_is_handed_back_and_told_once_when_it_does() {
    let alerts = alerts(&[("CreateUser", 1), ("DeleteUser", 1)]).await;
    let mut rows = JoinSet::new();
    for (fault, parts) in [
        (SnsFault::Status(404, "NotFound"), &["SNS answered 404", "does not exist"][..]),
        (SnsFault::Status(403, "AuthorizationError"), &["sns:Publish"]),
        (SnsFault::Status(400, "KMSAccessDenied"), &["kms:GenerateDataKey"]),
        (SnsFault::Entries(&[0], true), &["InvalidParameter"]),
        (SnsFault::Silent, &["SNS had not answered when the time was up"]),
    ] {
        let alerts = alerts.clone();
        rows.spawn(async move {
            let timeout = Duration::from_secs(8);
            let mut world = mailing(timeout).await;
            world.aws.topic_fault(MAIL, fault);
            let (counts, mails) = mails_of(&mut world, &queued(&alerts), &ids(0..2)).await;
            assert!(mails.is_empty() && counts["mailed"] == 0 && counts["failures"] == 1, "{counts}");
            assert_in_time(&counts, timeout, parts[0]);
            let lines = world.lines().await;
            let error = lines.iter().find(|line| line["level"] == "ERROR").unwrap().to_string();
            for part in ["2 alerts for mail were not published to", MAIL, "PublishFailed"].iter().chain(parts) {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
            // Lambda keeps no message of a payload that is not from SQS.
            world.fails(&notification(&alerts[0], "m"), "PublishFailed", &["1 alerts for mail"]).await;
            world.aws.mend();
            assert_eq!(mails_of(&mut world, &queued(&alerts), &[]).await.1.len(), 1);
        });
    }
    rows.join_all().await;
    // A fault that passes costs an attempt.
    for fault in [SnsFault::Status(429, "Throttled"), SnsFault::Status(500, "InternalError"), SnsFault::EntryThrottled]
    {
        let mut world = mailing(TIMEOUT).await;
        world.aws.sns_fault(fault, 2);
        assert_eq!(mails_of(&mut world, &queued(&alerts), &[]).await.0["mailed"], 2);
        assert_eq!(world.aws.publishes().len(), 3);
    }
}

#[tokio::test]
async fn of_1500_alerts_the_most_severe_thousand_go_first_and_just_the_mail_that_failed_is_handed_back() {
    let mut alerts = alerts(&[("CreateUser", 500), ("DeleteUser", 1_000)]).await;
    alerts.extend([alerts[0].clone(), alerts[500].clone()]);
    let mut world = mailing(TIMEOUT).await;
    world.aws.topic_fault(MAIL, SnsFault::Denies("agent of CreateUser"));
    let back = ids((0..500).chain([1_500]));
    let (counts, mails) = mails_of(&mut world, &queued(&alerts), &back).await;
    assert_eq!((&counts["mailed"], &counts["failures"]), (&json!(1_000), &json!(1)));
    assert_eq!(mails[0].subject, "[high] 1000 alerts: 1000 DeleteUser");
    assert!(mails[0].body.len() > 261_000 && mails[0].body.contains("\n(cut: "), "{}", mails[0].body.len());
    let told = |mail: &Message| -> Vec<String> {
        separators(mail).iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
    };
    assert_eq!(told(&mails[0]), alerts[500..1_500].iter().map(|alert| alert.subject.clone()).collect::<Vec<_>>());
    // Each of the two was followed by a pause of a second: no topic gets more than one mail a second from an invocation.
    assert!(counts["milliseconds"].as_u64() >= Some(2_000), "{counts}");

    world.aws.mend();
    let again: Vec<_> = alerts[..500].iter().chain([&alerts[1_500]]).cloned().collect();
    let (counts, mails) = mails_of(&mut world, &queued(&again), &[]).await;
    assert_eq!((&counts["mailed"], &*mails[0].subject), (&json!(500), "[low] 500 alerts: 500 CreateUser"));
    assert!(counts["milliseconds"].as_u64() >= Some(1_000), "{counts}");
}

#[tokio::test]
async fn an_alert_that_sns_refuses_takes_no_other_along_and_a_topic_that_refuses_all_is_given_up() {
    let alerts = alerts(&[("DeleteUser", 20), ("StopLogging", 1), ("CreateUser", 20)]).await;
    let mut world = mailing(TIMEOUT).await;
    world.aws.topic_fault(MAIL, SnsFault::Denies("agent of StopLogging"));
    let (counts, mails) = mails_of(&mut world, &queued(&alerts), &ids([20])).await;
    assert_eq!((&counts["mailed"], &counts["failures"]), (&json!(40), &json!(1)));
    let told = mails.into_iter().map(|mail| mail.body).collect::<String>();
    assert!(alerts.iter().enumerate().all(|(n, alert)| told.matches(&alert.body).count() == usize::from(n != 20)));
    assert!(world.lines().await.iter().any(|line| line.to_string().contains("1 alerts for mail were not published")));
    // A pause follows each try.
    assert!(counts["milliseconds"].as_u64() >= Some(world.aws.publishes().len() as u64 * 1_000), "{counts}");

    let before = world.aws.publishes().len();
    world.aws.topic_fault(MAIL, SnsFault::Status(403, "AuthorizationError"));
    mails_of(&mut world, &queued(&alerts), &ids(0..41)).await;
    assert_eq!(world.aws.publishes().len() - before, 13);
}

#[tokio::test]
async fn copies_of_a_mail_are_a_second_apart_and_the_last_invocation_ends_a_second_after_its_mail() {
    let alerts = alerts(&[("CreateUser", 1)]).await;
    let mut world = mailing(TIMEOUT).await;
    world.aws.sns_fault(SnsFault::Dropped, 2);
    let counts = hands_back(&mut world, &queued(&alerts), &[]).await;
    assert_eq!((world.aws.publishes().len(), &counts["mails"]), (3, &json!(1)));
    assert!(counts["milliseconds"].as_u64() >= Some(3_000), "{counts}");

    let timeout = Duration::from_secs(4);
    let mut world = mailing(timeout).await;
    world.aws.topic_fault(MAIL, SnsFault::Dropped);
    let counts = hands_back(&mut world, &queued(&alerts), &["m0"]).await;
    assert!(counts["milliseconds"].as_u64() >= Some(world.aws.publishes().len() as u64 * 1_000), "{counts}");
    assert_in_time(&counts, timeout, "at the deadline");
}

#[tokio::test]
async fn alerts_logs_and_garbage_in_a_batch_share_no_fate() {
    let alerts = alerts(&[("CreateUser", 1), ("DeleteUser", 1)]).await;
    let mut broken = notification(&alerts[0], "3");
    broken["Subject"] = Value::Null;
    let batch = in_sqs(&[
        notification(&alerts[0], "0").to_string(),
        put_keys(&[KEY]).to_string(),
        "garbage".to_owned(),
        broken.to_string(),
        notification(&alerts[1], "4").to_string(),
        put_keys(&["missing"]).to_string(),
    ]);
    let mut world = mailing(TIMEOUT).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(3))));
    world.aws.topic_fault(MAIL, SnsFault::Status(404, "NotFound"));
    let counts = hands_back(&mut world, &batch, &["m0", "m2", "m3", "m4", "m5"]).await;
    assert_eq!((&counts["published"], &counts["mailed"], &counts["failures"]), (&json!(3), &json!(0), &json!(4)));
    let errors: Vec<_> =
        world.lines().await.iter().filter(|line| line["level"] == "ERROR").map(Value::to_string).collect();
    assert!(errors.iter().any(|error| error.contains("the body of SQS message 3 is an alert without a subject")));
    world.aws.mend();
    world.aws.messages();
    let counts = hands_back(&mut world, &batch, &["m2", "m3", "m5"]).await;
    assert_eq!((&counts["duplicates"], &counts["mailed"], &counts["mails"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(world.aws.messages()[0].topic, MAIL);
}

#[tokio::test]
async fn a_mail_does_not_wait_for_logs_and_no_log_for_a_mail() {
    let alerts = alerts(&[("CreateUser", 1), ("DeleteUser", 1)]).await;
    let batch = in_sqs(&[notification(&alerts[0], "0").to_string(), put_keys(&[KEY]).to_string()]);
    // The log comes after the first request to SNS, however often it is asked for.
    let mut world = mailing(TIMEOUT).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(3))));
    world.aws.s3_fault(BUCKET, KEY, S3Fault::PauseAfter(0, 1), usize::MAX);
    let counts = hands_back(&mut world, &batch, &[]).await;
    assert_eq!((&counts["mailed"], &counts["published"]), (&json!(1), &json!(3)));

    let mut world = mailing(Duration::from_secs(6)).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(3))));
    world.aws.topic_fault(MAIL, SnsFault::Silent);
    assert_eq!(hands_back(&mut world, &batch, &["m0"]).await["published"], 3);
}

#[tokio::test]
async fn without_a_topic_for_mail_the_error_says_what_to_set() {
    let alerts = alerts(&[("CreateUser", 2)]).await;
    let mut world = world().await;
    let counts = hands_back(&mut world, &queued(&alerts), &["m0", "m1"]).await;
    assert_eq!((&counts["failures"], &counts["mails"]), (&json!(1), &json!(0)));
    let parts = ["1 alerts came to be mailed", "set MAIL_TOPIC_ARN in the function's environment"];
    world.fails(&notification(&alerts[0], "m"), "InvalidPayload", &parts).await;
    hands_back(&mut world, &event("sqs-sns-alerts"), &["a1", "a2", "a3"]).await;
    assert!(world.aws.publishes().is_empty());

    let mut world = world_with(&[("MAIL_TOPIC_ARN", "mail")], TIMEOUT).await;
    world.fails(&notification(&alerts[0], "m"), "PublishFailed", &["`mail` is not a topic's ARN"]).await;
}

/// Whoever may publish to the alert topic chooses all of a message. SNS takes the mail all the same.
#[tokio::test]
async fn odd_alerts_take_no_other_along() {
    let alerts = alerts(&[("CreateUser", 1)]).await;
    let mut batch = vec![notification(&alerts[0], "0")];
    let long = "😀".repeat(200_000);
    for (field, value) in [
        ("Subject", json!(" \u{7}ü\r\n---- 9 of 9: [high] forged")),
        ("Subject", json!(long)),
        ("Message", json!("\u{0}\u{202e}\u{fffe}\r")),
        ("Message", json!(long)),
        ("MessageId", json!({})),
        ("MessageAttributes", json!({ "rule": { "Value": "" }, "severity": { "Value": "URGENT\n" } })),
        (
            "MessageAttributes",
            json!({ "rule": { "Value": "r" }, "severity": { "Value": "low" }, "eventName": { "Value": long } }),
        ),
    ] {
        let mut odd = notification(&alerts[0], &batch.len().to_string());
        odd["MessageAttributes"]["eventID"]["Value"] = batch.len().to_string().into();
        odd[field] = value;
        batch.push(odd);
    }
    let mut world = mailing(TIMEOUT).await;
    let (counts, mails) = mails_of(&mut world, &in_sqs(&batch), &[]).await;
    assert_eq!((counts["mailed"].as_u64(), mails.len()), (Some(8), 1));
    assert_eq!(separators(&mails[0]).len(), 8, "{}", mails[0].body);
    assert!(mails[0].body.contains(&format!(": {}\n{}\n", alerts[0].subject, alerts[0].body)), "{}", mails[0].body);
    for odd in batch {
        mails_of(&mut world, &in_sqs(&[odd]), &[]).await;
    }
}

#[tokio::test]
async fn the_largest_batch_of_lambda_stays_within_memory() {
    let mut alert = alerts(&[("CreateUser", 1)]).await.remove(0);
    alert.body += &"ü".repeat(1_000);
    let size = in_sqs(&[notification(&alert, "0000")]).to_string().len();
    let mut alerts = vec![alert; 6_000_000 / size];
    for (number, alert) in alerts.iter_mut().enumerate() {
        alert.body.push_str(&number.to_string());
    }
    assert!((1_001..2_000).contains(&alerts.len()), "{}", alerts.len());
    let mut world = mailing(TIMEOUT).await;
    let (counts, mails) = mails_of(&mut world, &queued(&alerts), &[]).await;
    assert_eq!((counts["mailed"].as_u64(), mails.len()), (Some(alerts.len() as u64), 2));
    let peak = world.lambda.memory_peak();
    assert!(peak < MEMORY, "{peak} MiB");
}

#[tokio::test]
async fn the_shipped_configuration_limits_what_one_log_sends() {
    let shipped: Value = serde_json::from_slice(&file(CONFIG)).unwrap();
    let mut world = world_of(&shipped, &records(400)).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["summarised"]), (&json!(101), &json!(300)));
}

/// `UPDATE_GOLDEN=1` makes the example anew, when messages have changed.
#[tokio::test]
async fn the_example_of_a_batch_is_what_the_function_sends_and_the_manual_shows_its_mail() {
    let configuration = json!({ "rules": [
        { "name": "root-used", "regexp": "^ConsoleLogin", "where": { "userIdentity.type": "^Root$" }, "severity": "critical" },
        { "name": "users", "source": "iam", "regexp": "User$" },
    ] });
    let mut world = world_of(&configuration, &[]).await;
    let announced = event("s3-put");
    let key = announced["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
    world.aws.put(BUCKET, key, gzip(&file("fixtures/logs/iam-signin-sts.json")));
    world.counts(&announced).await;
    let mut alerts = world.aws.messages();
    alerts.sort_by_key(|alert| alert.attribute("severity") == Some("critical"));
    let last = alerts.len() - 1;
    let mut example = queued(&[alerts[0].clone(), alerts[1].clone(), alerts[last].clone()]);
    for (number, message) in example["Records"].as_array_mut().unwrap().iter_mut().enumerate() {
        message["messageId"] = format!("a{}", number + 1).into();
    }
    let text = serde_json::to_string_pretty(&example).unwrap();
    assert_golden("../../fixtures/events/sqs-sns-alerts.json", &text);

    let (_, mails) = mails_of(&mut mailing(TIMEOUT).await, &example, &[]).await;
    let [mail] = &mails[..] else { panic!("{mails:?}") };
    assert_golden("mail.txt", &format!("Subject: {}\n\n{}", mail.subject, mail.body.trim_end()));
    let manual = String::from_utf8(file("docs/messages.md")).unwrap();
    let section = manual.split("## Emails of several alerts").nth(1).expect("a section of the manual");
    let mail = golden("mail.txt");
    let mut lines = mail.lines();
    // A line of the manual that is `…` stands for any number of them.
    for shown in section.split("```").nth(1).unwrap().lines().skip(1).filter(|line| *line != "…") {
        assert!(lines.any(|line| shows(shown, line)), "{shown:?} is not in the mail, or not in this order:\n{mail}");
    }
}

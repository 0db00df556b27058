//! Slow logs, topics that do not answer, messages that are refused, and floods: they hold up nothing but themselves, and
//! stay within memory.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_aws::{Message, S3Fault, SnsFault};
use crate::program::folder;
use crate::runtime_api::memory_peak;
use crate::world::{BUCKET, CONFIG, KEY, TOPIC, World, add_up, put_keys, world, world_with};
use crate::{PROGRAM, gzip, log, record, records};

/// The most MiB that the function may use. A debug build is a larger program, by 14.
const MEMORY: u64 = 64 + if cfg!(debug_assertions) { 14 } else { 0 };
const TIMEOUT: Duration = Duration::from_secs(12);

/// A topic whose name comes before and after those of others: the order of the names decides nothing.
fn topic(name: &str) -> String {
    format!("arn:aws:sns:us-east-1:123456789012:{name}")
}

/// A function with a rule for each of these topics: the `eventName` is the topic's name.
async fn world_of(topics: &[&str], timeout: Duration) -> World {
    let world = world_with(&[("TOPIC_ARN", TOPIC)], timeout).await;
    let rule = |name: &&str| {
        let severity = if *name == "healthy" { "critical" } else { "low" };
        json!({ "name": name, "regexp": format!("^{name}$"), "topicARN": topic(name), "severity": severity })
    };
    let config = json!({ "rules": topics.iter().map(rule).collect::<Vec<_>>() });
    world.aws.put(BUCKET, CONFIG, config.to_string());
    world
}

fn record_for(topic: &str, number: usize) -> Value {
    let mut record = record(number);
    record["eventName"] = json!(topic);
    record
}

/// Invokes, and gives the error, if there is one, and the counts, which add up.
async fn invoke(world: &mut World, keys: &[&str]) -> (String, Value) {
    let failure = world.invoke(&put_keys(keys)).await.err();
    let counts = world.logged().await;
    add_up(&counts);
    (failure.map(|failure| failure.message).unwrap_or_default(), counts)
}

fn count_of(messages: &[Message], topic_name: &str) -> usize {
    messages.iter().filter(|message| message.topic == topic(topic_name)).count()
}

#[tokio::test]
async fn a_topic_that_hangs_holds_up_no_other_however_many_alerts_come_before() {
    for (before, fault) in [
        (600, SnsFault::Silent),
        // More than there is room for.
        (4_000, SnsFault::Silent),
        (4_000, SnsFault::Status(429, "Throttled")),
    ] {
        let mut world = world_of(&["hangs", "healthy"], TIMEOUT).await;
        let numbers = 0..before + 20;
        let records = numbers.map(|n| record_for(if n < before { "hangs" } else { "healthy" }, n));
        world.aws.put(BUCKET, KEY, gzip(&log(&records.collect::<Vec<_>>())));
        world.aws.topic_fault(&topic("hangs"), fault);
        let (message, counts) = invoke(&mut world, &[KEY]).await;
        assert_eq!((&counts["published"], &counts["failed"]), (&json!(20), &json!(before)), "{before}: {message}");
        assert_eq!(message.contains("they were not tried"), before == 4_000, "{message}");
        assert_eq!(count_of(&world.aws.messages(), "healthy"), 20);
        let peak = world.lambda.memory_peak();
        assert!(peak < MEMORY, "{peak} MiB");
        world.aws.mend();
        let again = world.counts(&put_keys(&[KEY])).await;
        assert_eq!((&again["published"], &again["duplicates"]), (&json!(before), &json!(20)));
    }
}

#[tokio::test]
async fn many_topics_that_hang_with_large_messages_leave_memory_and_a_request_for_a_healthy_one() {
    for (hanging, padding, seconds) in [(150, 0, 12), (40, 60_000, 25)] {
        let names: Vec<_> = (0..hanging).map(|n| format!("hangs-{n}")).collect();
        let topics: Vec<_> = names.iter().map(String::as_str).chain(["healthy"]).collect();
        // As many as there is room for are given up at once, after some seconds.
        let mut world = world_of(&topics, Duration::from_secs(seconds)).await;
        for name in &names {
            world.aws.topic_fault(&topic(name), SnsFault::Silent);
        }
        // Every byte becomes three in a request.
        let record = |(number, name): (usize, &&str)| {
            let mut record = record_for(name, number);
            record["userAgent"] = json!("ü".repeat(padding));
            record
        };
        let records: Vec<_> = topics.iter().cycle().take(topics.len() * 3).enumerate().map(record).collect();
        world.aws.put(BUCKET, KEY, gzip(&log(&records)));
        let (message, counts) = invoke(&mut world, &[KEY]).await;
        assert_eq!((&counts["published"], &counts["failed"]), (&json!(3), &json!(3 * hanging)), "{message}");
        assert_eq!(count_of(&world.aws.messages(), "healthy"), 3);
        let peak = world.lambda.memory_peak();
        assert!(peak < MEMORY, "{padding}: {peak} MiB");
    }
}

#[tokio::test]
async fn logs_that_trickle_or_never_come_hold_up_no_other() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], TIMEOUT).await;
    let names: Vec<_> = (0..10).map(|n| format!("log-{n}")).collect();
    for (number, name) in names.iter().enumerate() {
        world.aws.put(BUCKET, name, gzip(&log(&[record(number)])));
        match number {
            9 => {}
            0 => world.aws.s3_fault(BUCKET, name, S3Fault::Silent, usize::MAX),
            // Two bytes at a time, without end.
            _ => world.aws.s3_fault(BUCKET, name, S3Fault::Trickle(200, Duration::from_millis(500)), usize::MAX),
        }
    }
    let keys: Vec<_> = names.iter().map(String::as_str).collect();
    let (message, counts) = invoke(&mut world, &keys).await;
    assert_eq!((&counts["logs"], &counts["published"], &counts["failures"]), (&json!(1), &json!(1), &json!(9)));
    assert!(names[..9].iter().all(|name| message.contains(&format!("{BUCKET}/{name} "))), "{message}");
    assert!(!message.contains(&format!("{BUCKET}/{} ", names[9])), "{message}");
}

#[tokio::test]
async fn a_configuration_that_never_comes_holds_up_no_log_of_another_bucket() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(8)).await;
    world.aws.put("silent", KEY, gzip(&log(&[record(0)])));
    world.aws.s3_fault("silent", CONFIG, S3Fault::Silent, usize::MAX);
    world.aws.put(BUCKET, KEY, gzip(&log(&[record(1)])));
    let mut event = put_keys(&[KEY, KEY]);
    event["Records"][0]["s3"]["bucket"]["name"] = json!("silent");
    let counts = world.fails(&event, "ConfigurationUnavailable", &["s3://silent/"]).await;
    assert_eq!((&counts["logs"], &counts["published"]), (&json!(1), &json!(1)), "{counts}");
}

#[tokio::test]
async fn a_message_that_sns_refuses_takes_no_other_along() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(20))));
    world.aws.topic_fault(TOPIC, SnsFault::Denies("user-3\""));
    let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &["1 alerts", "AuthorizationError"]).await;
    assert_eq!((&counts["published"], &counts["failed"]), (&json!(19), &json!(1)));
    assert_eq!(world.aws.publishes().len(), 2 + 10, "each of its request once more");
    // On a retry it is alone.
    let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &["1 alerts"]).await;
    assert_eq!((&counts["duplicates"], &counts["failed"]), (&json!(19), &json!(1)));
    assert_eq!(world.aws.publishes().len(), 2 + 10 + 1);
}

#[tokio::test]
async fn a_topic_that_refuses_many_messages_still_gets_the_others() {
    let mut world = world().await;
    let names = (0..130).map(|n| if n < 120 || n == 129 { "denied" } else { "fine" });
    let record = |(number, name): (usize, &str)| {
        let mut record = record(number);
        record["userAgent"] = json!(name);
        record
    };
    world.aws.put(BUCKET, KEY, gzip(&log(&names.enumerate().map(record).collect::<Vec<_>>())));
    world.aws.topic_fault(TOPIC, SnsFault::Denies("denied"));
    let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &["121 alerts", "AuthorizationError"]).await;
    assert_eq!((&counts["published"], &counts["failed"]), (&json!(9), &json!(121)));
}

#[tokio::test]
async fn the_messages_of_a_refused_request_go_out_side_by_side() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.topic_fault(TOPIC, SnsFault::Denies("user-3\""));
    world.aws.slow_sns(Duration::from_millis(300));
    world.fails(&put_keys(&[KEY]), "PublishFailed", &["1 alerts"]).await;
    let publishes = world.aws.publishes();
    assert_eq!(publishes.iter().map(|request| request.at_once).max(), Some(4));
}

#[tokio::test]
async fn a_refusal_is_told_also_where_the_time_does_not_suffice_for_single_messages() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(5)).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.topic_fault(TOPIC, SnsFault::Status(400, "KMSAccessDenied"));
    world.aws.slow_sns(Duration::from_millis(2_500));
    // Four of them were sent, and SNS did not answer.
    let (message, counts) = invoke(&mut world, &[KEY]).await;
    assert!(message.contains("6 alerts") && message.contains("kms:GenerateDataKey"), "{message}");
    assert_eq!(counts["failed"], 10, "{message}");
}

#[tokio::test]
async fn what_sns_took_of_a_request_that_is_given_up_counts_and_is_not_sent_again() {
    let names: Vec<_> = (0..150).map(|n| format!("partly-{n}")).collect();
    let topics: Vec<_> = names.iter().map(String::as_str).collect();
    let mut world = world_of(&topics, TIMEOUT).await;
    for name in &names {
        world.aws.topic_fault(&topic(name), SnsFault::FailsFor("broken"));
    }
    // Both go out in one request.
    let record = |number: usize| {
        let mut record = record_for(topics[number / 2], number);
        record["userAgent"] = json!(if number.is_multiple_of(2) { "fine" } else { "broken" });
        record
    };
    let records: Vec<_> = (0..topics.len() * 2).map(record).collect();
    world.aws.put(BUCKET, KEY, gzip(&log(&records)));
    let (message, counts) = invoke(&mut world, &[KEY]).await;
    let taken = world.aws.messages().len();
    assert!(message.contains("other topics needed their place"), "{message}");
    assert_eq!(counts["published"], taken, "{message}");
    world.aws.mend();
    let again = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&again["published"], &again["duplicates"]), (&json!(300 - taken), &json!(taken)));
}

#[tokio::test]
async fn after_silence_a_request_is_sent_twice_more_at_most_and_the_error_says_what_may_have_become_of_it() {
    // An answer that can't be read says as little as none, and so does a connection that breaks.
    for (fault, times, taken) in
        [(SnsFault::Garbled, usize::MAX, 30), (SnsFault::Dropped, usize::MAX, 30), (SnsFault::Silent, usize::MAX, 0)]
    {
        // A request every eight seconds would be the fourth by then.
        let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(29)).await;
        world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
        world.aws.sns_fault(fault, times);
        let counts = world.fails(&put_keys(&[KEY]), "PublishFailed", &[TOPIC, "may have taken the messages"]).await;
        assert_eq!(counts["failed"], 10);
        assert_eq!((world.aws.publishes().len(), world.aws.messages().len()), (3, taken));
        world.aws.mend();
    }
}

#[tokio::test]
async fn after_silence_single_messages_are_sent_no_more_often_than_their_request_would_be() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.topic_fault(TOPIC, SnsFault::GarbledThenRefused);
    world.fails(&put_keys(&[KEY]), "PublishFailed", &["10 alerts", "may have taken the messages"]).await;
    assert_eq!((world.aws.publishes().len(), world.aws.messages().len()), (2 + 10 * 2, 30));
}

#[tokio::test]
async fn a_connection_that_breaks_twice_costs_repeats_and_no_alert() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.sns_fault(SnsFault::Dropped, 2);
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["failed"]), (&json!(10), &json!(0)));
    assert_eq!(world.aws.messages().len(), 30, "no request tells what became of the first two");
}

#[tokio::test]
async fn an_outdated_signature_is_no_lack_of_permission() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(10))));
    world.aws.sns_fault(SnsFault::Status(403, "RequestTimeTooSkewed"), 1);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 10, "the next request is signed anew");
    world.aws.put(BUCKET, KEY, gzip(&log(&[record(10)])));
    world.aws.sns_fault(SnsFault::Status(403, "RequestTimeTooSkewed"), usize::MAX);
    let failure = world.invoke(&put_keys(&[KEY])).await.unwrap_err();
    assert!(failure.message.contains("signature") && !failure.message.contains("sns:Publish"), "{failure:?}");
}

/// A record of 15 MiB, and very many small ones behind it.
fn large_then_small(small: usize) -> Vec<u8> {
    let record = |extra: &str| format!("{{\"eventSource\":\"iam\",\"eventName\":\"CreateUser\"{extra}}},").into_bytes();
    let large = record(&format!(",\"x\":\"{}\"", "y".repeat(15 << 20)));
    let end = gzip(b"{}]}");
    let small = gzip(&record("").repeat(1_000)).repeat(small / 1_000);
    [gzip(b"{\"Records\":["), gzip(&large), small, end].concat()
}

#[tokio::test]
async fn a_large_record_and_many_matches_behind_it_stay_within_memory() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], TIMEOUT).await;
    world.aws.put(BUCKET, KEY, large_then_small(400_000));
    // The log of a neighbour has a large record, too: one of them waits.
    world.aws.put(BUCKET, "neighbour", large_then_small(0));
    world.aws.put(BUCKET, "small", gzip(&log(&records(3))));
    world.aws.slow_sns(Duration::from_millis(50));
    let (message, counts) = invoke(&mut world, &[KEY, "neighbour", "small"]).await;
    assert!(message.contains("time was up") && counts["published"].as_u64() > Some(100), "{message}, {counts}");
    assert_eq!(counts["logs"], 2, "{message}, {counts}");
    let peak = world.lambda.memory_peak();
    assert!(peak < MEMORY, "{peak} MiB");
}

#[tokio::test]
async fn large_matches_without_end_stay_within_memory() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(12)).await;
    let matching = |name: &str| {
        let text =
            format!("{{\"eventSource\":\"iam\",\"eventName\":\"{name}\",\"userAgent\":\"{}\"}},", "ü".repeat(120_000));
        gzip(text.as_bytes())
    };
    let log = [gzip(b"{\"Records\":["), matching("CreateUser").repeat(400)].concat();
    // All that can be open at once: while they wait for SNS, they leave their places.
    let keys: Vec<_> = (0..20).map(|n| format!("log-{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        world.aws.put(BUCKET, key, log.clone());
    }
    world.aws.slow_sns(Duration::from_millis(200));
    let (message, counts) = invoke(&mut world, &keys).await;
    assert!(!message.is_empty() && counts["published"].as_u64() > Some(20), "{message}, {counts}");
    let peak = world.lambda.memory_peak();
    assert!(peak < MEMORY, "{peak} MiB");
}

#[tokio::test]
async fn a_match_of_15_mib_stays_within_memory_in_every_format() {
    let rule =
        |format| json!({ "name": format, "regexp": "", "source": "", "topicARN": topic(format), "format": format });
    let rules = ["text", "json", "chatbot"].map(rule);
    let config = json!({ "rules": rules }).to_string();
    for text in ["ü", "\\u00fc"] {
        let others = ["eventTime", "recipientAccountId", "errorMessage", "eventName"].map(|key| (key, ""));
        let others = if text == "ü" { others.as_slice() } else { &[] };
        let text = text.repeat((15 << 20) / text.len());
        for (key, inner) in [("userAgent", ""), ("eventID", ""), ("requestParameters", "x")].iter().chain(others) {
            let value = if inner.is_empty() { format!("\"{text}\"") } else { format!("{{\"{inner}\":[\"{text}\"]}}") };
            let mut world = world_with(&[("TOPIC_ARN", TOPIC)], TIMEOUT).await;
            world.aws.put(BUCKET, CONFIG, config.clone());
            // The last value of a key counts.
            let log =
                format!("{{\"Records\":[{{\"eventSource\":\"iam\",\"eventName\":\"CreateUser\",\"{key}\":{value}}}]}}");
            world.aws.put(BUCKET, KEY, gzip(log.as_bytes()));
            let (message, counts) = invoke(&mut world, &[KEY]).await;
            assert_eq!(counts["published"], 3, "{key}: {message}, {counts}");
            let messages = world.aws.messages();
            assert!(messages.iter().all(|message| message.body.contains("(left out: 157")), "{key}: it says so");
            let peak = world.lambda.memory_peak();
            assert!(peak < MEMORY, "{key}: {peak} MiB");
        }
    }
}

/// The reader of the output decides how fast a scan gets on: what it does not read waits, and takes memory.
#[tokio::test]
async fn matches_that_nobody_reads_stay_within_memory_in_a_scan() {
    let folder = folder(&[("log.json.gz", &large_then_small(400_000))]);
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["scan", "log.json.gz"]).current_dir(folder.path()).kill_on_drop(true);
    let mut scan = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let id = scan.id().unwrap();
    // It has stopped once it no longer uses the processor.
    let mut used = None;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let now: Vec<String> = stat.split(' ').skip(13).take(2).map(str::to_owned).collect();
        if used.as_ref() == Some(&now) && now[0] != "0" {
            break;
        }
        used = Some(now);
    }
    let peak = memory_peak(id);
    assert!(peak < 96, "{peak} MiB");
    scan.kill().await.unwrap();
}

#[tokio::test]
async fn logs_that_wait_for_sns_hold_up_no_other() {
    let mut world = world_of(&["slow", "healthy"], TIMEOUT).await;
    let names = ["a", "b", "c", "d"];
    for (place, name) in names.into_iter().enumerate() {
        let records: Vec<_> = (0..2_000).map(|n| record_for("slow", place * 2_000 + n)).collect();
        world.aws.put(BUCKET, name, gzip(&log(&records)));
    }
    world.aws.put(BUCKET, "last", gzip(&log(&[record_for("healthy", 8_000)])));
    // Too fast for a topic that is stuck.
    world.aws.slow_sns(Duration::from_secs(4));
    let (message, counts) = invoke(&mut world, &["a", "b", "c", "d", "last"]).await;
    assert_eq!(count_of(&world.aws.messages(), "healthy"), 1, "{message}, {counts}");
    assert!(message.contains("its alerts waited for SNS") && !message.contains("/last "), "{message}");
}

#[tokio::test]
async fn a_log_with_a_large_record_that_stalls_holds_up_no_other_with_a_large_record_or_without() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(24)).await;
    let large = |number: usize| {
        let mut large = record(number);
        large["userAgent"] = json!("y".repeat(2 << 20));
        log(&[record(100 + number), large])
    };
    world.aws.put(BUCKET, "stalls", large(0));
    world.aws.s3_fault(BUCKET, "stalls", S3Fault::StallAfter(1 << 20), usize::MAX);
    let names = ["a", "b", "c", "d"];
    for (number, name) in names.into_iter().enumerate() {
        // Each waits until an alert of the log that stalls has been sent.
        world.aws.put(BUCKET, name, large(1 + number));
        world.aws.s3_fault(BUCKET, name, S3Fault::PauseAfter(10, 1), 1);
    }
    world.aws.put(BUCKET, "small", gzip(&log(&[record(200)])));
    let (message, counts) = invoke(&mut world, &["stalls", "a", "b", "c", "d", "small"]).await;
    assert_eq!((&counts["logs"], &counts["published"], &counts["failures"]), (&json!(5), &json!(10), &json!(1)));
    assert!(message.contains("/stalls ") && message.contains("another log needed the memory"), "{message}");
}

//! The memory between logs in a table that environments share: what it asks for, what it holds back, and that no fault hides
//! a match.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fake_aws::{FakeAws, Message, S3Fault, SnsFault};
use crate::fake_dynamodb::{TABLE, Table, TableFault};
use crate::runtime_api::Lambda;
use crate::world::{BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, World, add_up, metrics, put_keys};
use crate::{gzip, log};

pub const ENVIRONMENT: [(&str, &str); 2] = [("TOPIC_ARN", TOPIC), ("STATE_TABLE", TABLE)];

/// The calls of a log, in the order of its records: each by a caller, so many seconds after midnight.
fn calls(name: &str, calls: impl IntoIterator<Item = (String, u64)>) -> Vec<Value> {
    let call = |(number, (caller, seconds)): (usize, (String, u64))| {
        let time = Duration::from_secs(1_795_132_800 + seconds);
        json!({
            "eventSource": "iam.amazonaws.com",
            "eventName": "CreateUser",
            "eventTime": humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + time).to_string(),
            "userIdentity": { "arn": format!("arn:aws:iam::123456789012:user/{caller}") },
            "eventID": format!("{name}-{number}"),
        })
    };
    calls.into_iter().enumerate().map(call).collect()
}

/// Calls of one caller at these seconds.
fn by_alice(name: &str, seconds: impl IntoIterator<Item = u64>) -> Vec<Value> {
    calls(name, seconds.into_iter().map(|seconds| ("alice".to_owned(), seconds)))
}

/// A rule for every call, with more keys.
fn rule(name: &str, more: &Value) -> Value {
    let mut rule = json!({ "name": name, "regexp": "^CreateUser$", "source": "" });
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

/// One alert in an hour of each caller.
fn hourly() -> Value {
    rule("hourly", &json!({ "suppress": { "by": ["userIdentity.arn"], "for": "1h" } }))
}

/// A function with a table, and rules of which every message is JSON.
async fn world_of_rules(rules: &[Value]) -> World {
    let aws = FakeAws::start().await;
    put_rules(&aws, rules);
    World::start(aws, &ENVIRONMENT, TIMEOUT).await
}

fn put_rules(aws: &FakeAws, rules: &[Value]) {
    let configuration = json!({ "format": "json", "rules": rules });
    aws.put(BUCKET, CONFIG, configuration.to_string());
}

fn put_log(aws: &FakeAws, key: &str, calls: &[Value]) {
    aws.put(BUCKET, key, gzip(&log(calls)));
}

/// Ends the environment, and starts another one with the same table.
async fn another_environment(world: World) -> World {
    world.restarted(&ENVIRONMENT).await
}

/// The (event, matches held back) of messages.
fn told(messages: &[Message]) -> Vec<(String, u64)> {
    let told = |message: &Message| {
        let body: Value = serde_json::from_str(&message.body).unwrap();
        (message.attribute("eventID").unwrap().to_owned(), body["held"]["count"].as_u64().unwrap_or(0))
    };
    messages.iter().map(told).collect()
}

fn told_by(event: &str, held: u64) -> Vec<(String, u64)> {
    vec![(event.to_owned(), held)]
}

/// The published, suppressed and duplicate messages of counts.
fn sums(counts: &Value) -> (u64, u64, u64) {
    let count = |name: &str| counts[name].as_u64().unwrap();
    (count("published"), count("suppressed"), count("duplicates"))
}

/// Handles a log of these calls, and gives its messages' events and what they tell.
async fn handle(world: &mut World, calls: &[Value]) -> Vec<(String, u64)> {
    put_log(&world.aws, KEY, calls);
    world.counts(&put_keys(&[KEY])).await;
    told(&world.aws.messages())
}

fn requests(world: &World) -> Vec<String> {
    world.aws.table(|table| std::mem::take(&mut table.requests))
}

/// The error of the last invocation about the table, which succeeded.
async fn error_of_table(world: &mut World) -> Option<String> {
    let lines = world.lines().await;
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let counted = metrics(lines.last().unwrap()).get("StateUnavailable").copied();
    assert_eq!(counted, (!errors.is_empty()).then_some(1), "{errors:?}");
    assert!(errors.len() <= 1, "one error, whatever else fails: {errors:?}");
    assert_eq!(world.logged().await["stateUnavailable"], errors.len());
    errors.first().map(|error| {
        assert_eq!(error["fields"]["kind"], "StateUnavailable", "{error}");
        error["fields"]["message"].as_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn only_matches_ask_the_table_and_a_suppressed_flood_takes_few_requests() {
    let mut world = world_of_rules(&[hourly()]).await;
    let mut others = by_alice("other", 0..100);
    for call in &mut others {
        call["eventName"] = json!("ListUsers");
    }
    assert_eq!(handle(&mut world, &others).await, []);
    assert_eq!(requests(&world), [""; 0], "no match, no request");

    let flood = |name| {
        let mut calls = calls(name, (0..1_000).map(|n| (format!("caller-{}", n % 10), n)));
        for call in &mut calls {
            call["requestParameters"] = json!("x".repeat(2_500));
        }
        calls
    };
    assert_eq!(handle(&mut world, &flood("a")).await.len(), 10);
    assert_eq!(sums(&world.logged().await), (10, 990, 0));
    let asked = requests(&world);
    assert!(asked.len() <= 40, "{asked:?}");
    assert_eq!(asked.iter().filter(|operation| *operation == "BatchGetItem").count(), 2, "groups, and the alerts");
    // Known groups are not read again.
    assert_eq!(handle(&mut world, &flood("b")).await.len(), 0);
    let asked = requests(&world);
    assert!(asked.len() <= 30 && asked.iter().all(|operation| operation == "PutItem"), "{asked:?}");
    assert_eq!(world.aws.table(|table| table.held()), 1_990);
}

#[tokio::test]
async fn what_is_held_back_counts_in_the_answer_the_log_line_and_the_metrics() {
    for environment in [&ENVIRONMENT[..], &ENVIRONMENT[..1]] {
        let aws = FakeAws::start().await;
        let bob = rule("bob", &json!({ "where": { "userIdentity.arn": "/bob$" } }));
        let quiet = rule("quiet", &json!({ "dryRun": true }));
        let mut hourly = hourly();
        hourly["metrics"] = json!(true);
        put_rules(&aws, &[hourly, bob, quiet]);
        let mut world = World::start(aws, environment, TIMEOUT).await;
        // Three of alice are held back. Bob's are sent, although the first rule holds two of them back.
        let callers = ["alice", "bob", "alice", "bob", "alice", "bob", "alice"].map(str::to_owned);
        let mut log = calls("a", callers.into_iter().zip(0..));
        // The event comes again.
        log.push(log[1].clone());
        put_log(&world.aws, KEY, &log);
        let answer = world.counts(&put_keys(&[KEY])).await;
        let by_rule = json!({ "hourly": { "matches": 8, "alerts": 8, "suppressed": 5 },
            "bob": { "matches": 4, "alerts": 4 }, "quiet": { "matches": 8, "dry": 8 } });
        let logged = world.logged().await;
        let metrics_of = |lines: &[Value]| metrics(lines.last().unwrap());
        let of_rule = |lines: &[Value]| metrics(lines.iter().rfind(|line| line["Rule"] == "hourly").unwrap());
        let named = |metrics: &[(&str, u64)]| metrics.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(answer["rules"], by_rule);
        assert_eq!((&logged["rules"], &logged["suppressed"]), (&by_rule, &json!(3)));
        assert_eq!((&answer["alerts"], sums(&answer)), (&json!(8), (4, 3, 1)));
        let lines = world.lines().await;
        assert_eq!(metrics_of(&lines).get("Suppressed"), Some(&3));
        assert_eq!(of_rule(&lines), named(&[("Matched", 8), ("Suppressed", 5)]));

        // With failures.
        world.aws.topic_fault(TOPIC, SnsFault::Denies("b-0"));
        let callers = ["carol", "carol", "dave", "carol"].map(str::to_owned);
        put_log(&world.aws, KEY, &calls("b", callers.into_iter().zip(0..)));
        let logged = world.fails(&put_keys(&[KEY]), "PublishFailed", &["1 alerts"]).await;
        assert_eq!((&logged["failed"], sums(&logged)), (&json!(1), (1, 2, 0)));
        assert_eq!(metrics_of(&world.lines().await).get("Suppressed"), Some(&2));
        world.aws.mend();

        // Nothing is held back, and no metric is paid for.
        put_log(&world.aws, KEY, &by_alice("c", [3_600]));
        let counts = world.counts(&put_keys(&[KEY])).await;
        assert_eq!(counts["rules"]["hourly"], json!({ "matches": 1, "alerts": 1 }));
        let lines = world.lines().await;
        assert_eq!(metrics_of(&lines).get("Suppressed"), None);
        assert_eq!(of_rule(&lines), named(&[("Matched", 1)]));
    }
}

#[tokio::test]
async fn environments_share_groups_and_what_was_published() {
    let mut world = world_of_rules(&[hourly()]).await;
    let first = by_alice("a", [0, 10, 20]);
    assert_eq!(handle(&mut world, &first).await, told_by("a-0", 0));
    let mut world = another_environment(world).await;
    assert_eq!(handle(&mut world, &by_alice("b", [30, 40])).await, []);
    assert_eq!(handle(&mut world, &by_alice("c", [3_600])).await, told_by("c-0", 4));
    // Told: the next one tells nothing.
    let mut world = another_environment(world).await;
    assert_eq!(handle(&mut world, &by_alice("d", [7_200])).await, told_by("d-0", 0));
    // The event comes again: it passes, and was published.
    requests(&world);
    assert_eq!(handle(&mut world, &by_alice("c", [3_600])).await, []);
    assert_eq!(sums(&world.logged().await), (0, 0, 1));
    assert_eq!(requests(&world), ["BatchGetItem"], "the group is known, and does not change");
    assert_eq!(handle(&mut world, &by_alice("c", [3_600])).await, []);
    assert_eq!(requests(&world), [""; 0], "the environment remembers for itself what was published");
}

/// A log for each hour of a day, of 20 calls by three callers.
fn put_day(aws: &FakeAws) -> Vec<String> {
    let put = |hour: u64| {
        let key = format!("log-{hour}");
        let of_hour = (0..20).map(|n| (format!("caller-{}", n % 3), hour * 3_600 + n * (n % 7) * 13));
        put_log(aws, &key, &calls(&key, of_hour));
        key
    };
    (0..24).map(put).collect()
}

#[tokio::test]
async fn a_replay_of_a_day_sends_nothing_and_with_one_rule_more_its_alerts() {
    let threshold = json!({ "threshold": { "count": 5, "by": ["userIdentity.arn"], "within": "10m" } });
    let first_seen = json!({ "firstSeen": { "by": ["userIdentity.arn"], "within": "7d" } });
    let rules = |topic: &str| -> Vec<Value> {
        let rules = [hourly(), rule("often", &threshold), rule("new", &first_seen), rule("each", &json!({}))];
        // Each has a topic of its own, so that each alerts for itself.
        let with_topic = |(number, mut rule): (usize, Value)| {
            rule["topicARN"] = json!(format!("{TOPIC}-{topic}{number}"));
            rule
        };
        rules.into_iter().enumerate().map(with_topic).collect()
    };
    let mut world = world_of_rules(&rules("")).await;
    let keys = put_day(&world.aws);
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    for keys in keys.chunks(4) {
        world.counts(&put_keys(keys)).await;
        assert_eq!(error_of_table(&mut world).await, None);
    }
    let sent = world.aws.messages().len();
    assert!(sent > 24 * 20 + 50, "{sent}");

    let mut world = another_environment(world).await;
    let (mut replayed, mut rules) = (world.aws.messages().len(), rules(""));
    for keys in keys.chunks(4) {
        let counts = world.counts(&put_keys(keys)).await;
        replayed += world.aws.messages().len();
        assert_eq!((replayed, &counts["published"]), (0, &json!(0)), "{keys:?}: {counts}");
        assert_eq!(error_of_table(&mut world).await, None);
    }

    let mut one_more = rule("one more", &json!({}));
    one_more["topicARN"] = json!(format!("{TOPIC}-more"));
    rules.push(one_more);
    put_rules(&world.aws, &rules);
    let mut world = another_environment(world).await;
    for keys in keys.chunks(4) {
        world.counts(&put_keys(keys)).await;
    }
    let messages = world.aws.messages();
    assert_eq!(messages.len(), 24 * 20);
    assert!(messages.iter().all(|message| message.topic.ends_with("-more")));
}

/// A message names the rules that did not hold its match back.
#[tokio::test]
async fn a_replay_of_a_day_sends_nothing_where_rules_share_a_topic() {
    let by = |path: &str| json!({ "suppress": { "by": [path], "for": "1h" } });
    let rules =
        [hourly(), rule("by event", &by("eventName")), rule("by region", &by("awsRegion")), rule("each", &json!({}))];
    let mut world = world_of_rules(&rules).await;
    let keys = put_day(&world.aws);
    let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
    for keys in keys.chunks(4) {
        world.counts(&put_keys(keys)).await;
    }
    assert_eq!(world.aws.messages().len(), 24 * 20);
    // Also in another order.
    for _ in 0..2 {
        world = another_environment(world).await;
        for keys in keys.chunks(4) {
            let counts = world.counts(&put_keys(keys)).await;
            assert_eq!(sums(&counts), (0, 0, 4 * 20), "{keys:?}: {counts}");
            assert_eq!((world.aws.messages().len(), error_of_table(&mut world).await), (0, None));
        }
        keys.reverse();
    }
}

#[tokio::test]
async fn a_redrive_of_a_day_that_sns_refused_sends_every_alert() {
    for restarts in [false, true] {
        let mut world = world_of_rules(&[hourly()]).await;
        world.aws.sns_fault(SnsFault::Status(403, "AuthorizationError"), ALWAYS);
        let keys: Vec<_> = (0..24).map(|hour| format!("log-{hour}")).collect();
        for (hour, key) in (0..).zip(&keys) {
            put_log(&world.aws, key, &by_alice(key, [3_600 * hour, 3_600 * hour + 10]));
            world.fails(&put_keys(&[key]), "PublishFailed", &[]).await;
        }
        assert_eq!(world.aws.messages().len(), 0);
        world.aws.mend();
        if restarts {
            world = another_environment(world).await;
        }
        for key in &keys {
            world.counts(&put_keys(&[key])).await;
        }
        let messages = told(&world.aws.messages());
        let events: Vec<_> = messages.iter().map(|(event, _)| event.clone()).collect();
        let mut expected: Vec<_> = keys.iter().map(|key| format!("{key}-0")).collect();
        expected.sort();
        assert_eq!(events, expected, "{restarts}");
        // Each tells what the hour before it held back.
        assert!(messages[1..].iter().all(|(_, held)| *held > 0), "{restarts}: {messages:?}");
    }
}

#[tokio::test]
async fn five_environments_at_once_send_one_message_a_window_and_their_counts_add_up() {
    // On a busy machine the table may seem slow. Then all alerts go out, and it has to be tried again.
    for _ in 0..5 {
        if five_environments_at_once().await {
            return;
        }
    }
    panic!("the table was always too slow");
}

/// Calls of a role at these seconds that were refused, with a session for each log.
fn refusals(session: &str, seconds: impl IntoIterator<Item = u64>) -> Vec<Value> {
    let mut calls = by_alice(session, seconds);
    for call in &mut calls {
        call["errorCode"] = json!("AccessDenied");
        call["userIdentity"] = json!({
            "type": "AssumedRole",
            "arn": format!("arn:aws:sts::123456789012:assumed-role/report/{session}"),
            "sessionContext": { "sessionIssuer": { "type": "Role", "arn": "arn:aws:iam::123456789012:role/report" } },
        });
    }
    calls
}

async fn five_environments_at_once() -> bool {
    const LOGS: u64 = 12;
    let aws = FakeAws::start().await;
    let role = "userIdentity.sessionContext.sessionIssuer.arn";
    put_rules(
        &aws,
        &[json!({ "name": "refused", "where": { "errorCode": "^AccessDenied" },
        "suppress": { "by": [role], "for": "1h" } })],
    );
    let windows = 3;
    let keys: Vec<_> = (0..LOGS).map(|log| format!("log-{log}")).collect();
    for (number, key) in (0..LOGS).zip(&keys) {
        // 10,000 in all, at all times of the windows.
        let seconds = (0..10_000).filter(|n| n % LOGS == number).map(|n| n * 3_600 * windows / 10_000);
        put_log(&aws, key, &refusals(key, seconds));
    }
    let mut running = JoinSet::new();
    for environment in 0..5 {
        let mut lambda = Lambda::start(aws.address, &ENVIRONMENT, TIMEOUT).await;
        let keys: Vec<_> = keys.iter().skip(environment).step_by(5).cloned().collect();
        running.spawn(async move {
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            let counts = lambda.invoke(&put_keys(&keys)).await.unwrap();
            add_up(&counts);
            (counts, lambda.output().contains("StateUnavailable\""))
        });
    }
    let all = running.join_all().await;
    if all.iter().any(|(_, has_failed)| *has_failed) {
        return false;
    }
    let sum = |name: &str| all.iter().map(|(counts, _)| counts[name].as_u64().unwrap()).sum::<u64>();
    let messages = told(&aws.messages());
    assert_eq!((sum("alerts"), sum("published")), (10_000, messages.len() as u64));
    assert!((1..=windows + 1).contains(&sum("published")), "{messages:?}");
    assert_eq!(sum("published") + sum("suppressed"), 10_000);
    let told: u64 = messages.iter().map(|(_, held)| held).sum();
    assert_eq!(sum("published") + told + aws.table(|table| table.held()), 10_000, "{messages:?}");
    true
}

/// A fault of the table while three calls of a known group are handled, the operation and how many requests for it succeed
/// before; the parts of the error; and the calls that are sent.
struct Row {
    name: &'static str,
    fault: Option<(&'static str, usize, TableFault, usize)>,
    change: fn(&mut Table),
    table: &'static str,
    error: &'static [&'static str],
    sent: usize,
}

fn row(
    name: &'static str,
    fault: (&'static str, usize, TableFault, usize),
    error: &'static [&'static str],
    sent: usize,
) -> Row {
    Row { name, fault: Some(fault), change: |_| (), table: TABLE, error, sent }
}

const ALWAYS: usize = usize::MAX;

/// Changes an attribute of all groups.
fn change_groups(table: &mut Table, name: &str, value: &Value) {
    table.items.values_mut().filter(|item| item.get("state").is_some()).for_each(|item| item[name] = value.clone());
}

#[tokio::test]
async fn where_the_table_fails_every_alert_goes_out_and_one_error_names_the_cause() {
    use TableFault::{Cut, Dropped, Refused, Silent, SilentlyDone, Unprocessed};
    let (denied, throttled) = (Refused(400, "AccessDeniedException"), Refused(400, "ThrottlingException"));
    let item =
        |change: fn(&mut Table), error| Row { name: "an item", fault: None, change, table: TABLE, error, sent: 3 };
    let missing = &["ResourceNotFoundException", "no-such-table", "STATE_TABLE"];
    let rows = [
        Row { table: "no-such-table", ..row("missing", ("", 0, denied, 0), missing, 3) },
        row("denied", ("", 0, denied, ALWAYS), &[TABLE, "AccessDeniedException", "dynamodb:PutItem"], 3),
        row("writes denied", ("PutItem", 0, denied, ALWAYS), &["AccessDeniedException"], 3),
        row("keys denied", ("BatchWriteItem", 0, denied, ALWAYS), &["AccessDeniedException"], 1),
        row("silent", ("", 0, Silent, ALWAYS), &["300 ms", "VPC"], 3),
        row("silent at a write", ("PutItem", 0, Silent, ALWAYS), &["300 ms"], 3),
        row("written without an answer", ("PutItem", 0, SilentlyDone, ALWAYS), &["300 ms"], 3),
        row("throttled", ("", 0, throttled, ALWAYS), &["ThrottlingException", "billed on demand"], 3),
        row("throttled once", ("", 0, throttled, 1), &[], 0),
        row("broken for a while", ("", 0, Refused(500, "InternalServerError"), 2), &[], 0),
        row("broken", ("", 0, Refused(500, "InternalServerError"), ALWAYS), &["InternalServerError"], 3),
        row("cut reads", ("BatchGetItem", 0, Cut, ALWAYS), &["can't be read"], 3),
        row("cut answers to writes", ("PutItem", 0, Cut, ALWAYS), &["can't be read"], 3),
        row("a lost read", ("BatchGetItem", 0, Dropped, 1), &[], 0),
        row("a lost answer to a write", ("PutItem", 0, Dropped, 1), &[], 0),
        row("lost answers to writes", ("PutItem", 0, Dropped, ALWAYS), &["could not be reached"], 3),
        row("in parts", ("", 0, Unprocessed, ALWAYS), &[], 0),
        item(|table| change_groups(table, "version", &json!({ "N": "2" })), &["version 2", "version 1"]),
        item(
            |table| change_groups(table, "state", &json!({ "S": "{\"x\":1}" })),
            &["can't be read", "delete the item"],
        ),
    ];
    for Row { name, fault, change, table, error, sent } in rows {
        let mut world = world_of_rules(&[hourly()]).await;
        assert_eq!(handle(&mut world, &by_alice("a", [0])).await, told_by("a-0", 0), "{name}");
        let mut world = world.restarted(&[ENVIRONMENT[0], ("STATE_TABLE", table)]).await;
        if let Some((operation, before, fault, times)) = fault {
            world.aws.table_fault(operation, before, fault, times);
        }
        world.aws.table(change);
        // The second caller is new to the table.
        let both = ["alice", "alice", "alice", "bob"].map(str::to_owned);
        let three_and_one = calls("b", both.into_iter().zip([10, 20, 30, 40]));
        let messages = handle(&mut world, &three_and_one).await;
        let logged = error_of_table(&mut world).await;
        assert_eq!(logged.is_some(), !error.is_empty(), "{name}: {logged:?}");
        for part in error {
            assert!(logged.as_ref().is_some_and(|logged| logged.contains(part)), "{name}: no {part:?} in {logged:?}");
        }
        let expected = if name == "keys denied" { 1 } else { sent + 1 };
        assert_eq!(messages.len(), expected, "{name}: {messages:?}");
        assert!(messages.iter().all(|(_, held)| *held == 0), "{name}");

        // It asks again with the next invocation, and what the table was told is told.
        world.aws.mend();
        if table != TABLE || error.contains(&"version 2") || error.contains(&"delete the item") {
            continue;
        }
        let next = handle(&mut world, &by_alice("c", [50, 3_600])).await;
        assert_eq!(error_of_table(&mut world).await, None, "{name}");
        let (event, held) = next.last().unwrap();
        let held_back = 4 - messages.len() as u64 + 1;
        let again = if matches!(name, "written without an answer" | "lost answers to writes" | "cut answers to writes")
        {
            3
        } else {
            0
        };
        assert!(event == "c-1" && (held_back..=held_back + again).contains(held), "{name}: {next:?}");
    }
}

#[tokio::test]
async fn rules_with_a_threshold_alert_on_every_match_without_the_table() {
    let often = rule("often", &json!({ "threshold": { "count": 3, "by": ["userIdentity.arn"], "within": "10m" } }));
    let mut world = world_of_rules(&[often]).await;
    world.aws.table_fault("", 0, TableFault::Refused(400, "AccessDeniedException"), ALWAYS);
    assert_eq!(handle(&mut world, &by_alice("a", [0, 1])).await.len(), 2);
    assert_eq!(requests(&world), ["BatchGetItem"], "and it is not asked again");
    world.aws.mend();
    assert_eq!(handle(&mut world, &by_alice("b", [2, 3])).await, []);
    assert_eq!(handle(&mut world, &by_alice("c", [4])).await, told_by("c-0", 2));
}

#[tokio::test]
async fn what_an_alert_tells_stays_until_it_is_published() {
    let refused = SnsFault::Status(403, "AuthorizationError");
    for restarts in [false, true] {
        let mut world = world_of_rules(&[hourly()]).await;
        assert_eq!(handle(&mut world, &by_alice("a", [0, 10, 20])).await, told_by("a-0", 0));
        let next = by_alice("b", [3_600]);
        put_log(&world.aws, KEY, &next);
        world.aws.sns_fault(refused, ALWAYS);
        world.fails(&put_keys(&[KEY]), "PublishFailed", &[]).await;
        world.aws.mend();
        if restarts {
            world = another_environment(world).await;
        }
        assert_eq!(handle(&mut world, &next).await, told_by("b-0", 2), "the retry tells the same");
        assert_eq!(handle(&mut world, &by_alice("c", [7_200])).await, told_by("c-0", 0));
    }
}

#[tokio::test]
async fn an_environment_may_end_at_every_step() {
    // The requests of the log that tells: the group's read, its write, the read of published alerts, SNS, the write of
    // published alerts, the note that it has told.
    for (operation, number, is_done) in [
        ("BatchGetItem", 1, false),
        ("PutItem", 1, false),
        ("PutItem", 1, true),
        ("BatchGetItem", 2, true),
        ("PublishBatch", 1, false),
        ("PublishBatch", 1, true),
        ("BatchWriteItem", 1, false),
        ("BatchWriteItem", 1, true),
        ("PutItem", 2, false),
        ("PutItem", 2, true),
    ] {
        let step = format!("{operation} {number} {is_done}");
        let mut world = world_of_rules(&[hourly()]).await;
        assert_eq!(handle(&mut world, &by_alice("a", [0, 10, 20])).await, told_by("a-0", 0));
        let mut world = another_environment(world).await;
        requests(&world);
        // A held match, and an alert that tells.
        put_log(&world.aws, KEY, &by_alice("b", [30, 3_600]));
        let fault = if is_done { TableFault::SilentlyDone } else { TableFault::Silent };
        let is_sns = operation == "PublishBatch";
        match (is_sns, is_done) {
            (true, true) => world.aws.sns_fault(SnsFault::SilentlyTaken, 1),
            (true, false) => world.aws.sns_fault(SnsFault::Silent, 1),
            (false, _) => world.aws.table_fault(operation, number - 1, fault, ALWAYS),
        }
        {
            let World { aws, lambda, .. } = &mut world;
            let has_come = |aws: &FakeAws| {
                let requests = |table: &mut Table| table.requests.iter().filter(|of| *of == operation).count();
                if is_sns { aws.faults_left() == 0 } else { aws.table(requests) == number }
            };
            let event = put_keys(&[KEY]);
            tokio::select! {
                () = aws.until(&step, has_come) => {}
                answer = lambda.invoke(&event) => panic!("{step}: {answer:?}"),
            }
        }
        let mut world = another_environment(world).await;
        world.aws.mend();
        let mut messages = told(&world.aws.messages());
        world.counts(&put_keys(&[KEY])).await;
        messages.extend(told(&world.aws.messages()));
        assert_eq!(error_of_table(&mut world).await, None, "{step}");
        let twice = matches!((operation, is_done), ("PublishBatch", true) | ("BatchWriteItem", false));
        assert_eq!(messages, vec![("b-1".to_owned(), 3); 1 + usize::from(twice)], "{step}");
        // All has been told by now, but for the held match that has come twice.
        let next = handle(&mut world, &by_alice("c", [7_200])).await;
        assert!(matches!(next.as_slice(), [(event, held)] if event == "c-0" && *held <= 1), "{step}: {next:?}");
    }
}

#[tokio::test]
async fn a_redelivered_event_repeats_nothing_in_any_environment_and_with_any_rules() {
    let mut world = world_of_rules(&[rule("each", &json!({}))]).await;
    let log = by_alice("a", 0..25);
    assert_eq!(handle(&mut world, &log).await.len(), 25);
    let mut world = another_environment(world).await;
    assert_eq!(handle(&mut world, &log).await, []);
    assert_eq!(sums(&world.logged().await), (0, 0, 25));
    // Where the table fails they go out once more.
    let mut world = another_environment(world).await;
    world.aws.table_fault("BatchGetItem", 1, TableFault::Silent, ALWAYS);
    let sent = handle(&mut world, &log).await.len();
    assert!((1..25).contains(&sent), "{sent}");
    assert!(error_of_table(&mut world).await.is_some());
    // A day later the table has forgotten them.
    world.aws.mend();
    world.aws.table(|table| table.items.values_mut().for_each(|item| item["expires"] = json!({ "N": "1" })));
    let mut world = another_environment(world).await;
    assert_eq!(handle(&mut world, &log).await.len(), 25);
}

#[tokio::test]
async fn a_large_match_that_waits_for_the_memory_stays_within_memory() {
    for with_table in [true, false] {
        let environment = if with_table { &ENVIRONMENT[..] } else { &ENVIRONMENT[..1] };
        let aws = FakeAws::start().await;
        put_rules(&aws, &[hourly()]);
        let mut world = World::start(aws, environment, TIMEOUT).await;
        let mut log = by_alice("a", 0..3_000);
        log[1]["x"] = json!("y".repeat(15 << 20));
        put_log(&world.aws, KEY, &log);
        world.counts(&put_keys(&[KEY])).await;
        assert_eq!(sums(&world.logged().await), (1, 2_999, 0));
        let peak = world.lambda.memory_peak();
        assert!(peak < 64, "{peak} MiB");
    }
}

#[tokio::test]
async fn large_matches_of_many_logs_that_wait_for_the_memory_stay_within_memory() {
    let aws = FakeAws::start().await;
    put_rules(&aws, &[hourly()]);
    let mut world = World::start(aws, &ENVIRONMENT, Duration::from_secs(12)).await;
    let keys: Vec<_> = (0..20).map(|number| format!("log-{number}")).collect();
    let mut calls = by_alice("a", 0..40);
    for call in &mut calls {
        call["userAgent"] = json!("ü".repeat(120_000));
    }
    let bytes = gzip(&log(&calls));
    for key in &keys {
        // All are open at once, and none ends.
        world.aws.s3_fault(BUCKET, key, S3Fault::StallAfter(bytes.len() - 20), ALWAYS);
        world.aws.put(BUCKET, key, bytes.clone());
    }
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    world.invoke(&put_keys(&keys)).await.unwrap_err();
    let counts = world.logged().await;
    assert!(counts["matched"].as_u64() > Some(20), "{counts}");
    let peak = world.lambda.memory_peak();
    assert!(peak < 64, "{peak} MiB");
}

/// Each of the rules has a group of each caller.
#[tokio::test]
async fn an_environment_without_a_table_forgets_groups_and_stays_within_memory() {
    let aws = FakeAws::start().await;
    let twice = json!({ "threshold": { "count": 2, "by": ["userIdentity.arn"], "within": "1h" } });
    let rules: Vec<_> = (0..25).map(|number| rule(&number.to_string(), &twice)).collect();
    put_rules(&aws, &rules);
    let mut world = World::start(aws, &ENVIRONMENT[..1], TIMEOUT).await;
    // A second call of the first one, which is forgotten, and one of the last.
    let callers = (0..8_000).chain([0, 7_999]).map(|number| (format!("caller-{number}"), 0));
    put_log(&world.aws, KEY, &calls("a", callers));
    world.counts(&put_keys(&[KEY])).await;
    assert_eq!(sums(&world.logged().await), (1, 8_001, 0));
    assert_eq!(told(&world.aws.messages()), told_by("a-8001", 25));
    let peak = world.lambda.memory_peak();
    assert!(peak < 64, "{peak} MiB");
}

#[tokio::test]
async fn a_repeat_that_is_not_sent_takes_no_count_along() {
    let mut world = world_of_rules(&[hourly()]).await;
    let again = by_alice("again", [3_600]);
    assert_eq!(handle(&mut world, &again).await, told_by("again-0", 0));
    // Another stage begins with an empty memory, and the environment forgets what it has published.
    put_rules(&world.aws, &[rule("hourly", &json!({ "suppress": { "by": ["userIdentity.arn"], "for": "59m" } }))]);
    assert_eq!(handle(&mut world, &by_alice("a", [0, 10, 20])).await, told_by("a-0", 0));
    assert_eq!(handle(&mut world, &again).await, []);
    assert_eq!(sums(&world.logged().await), (0, 0, 1));
    let untold =
        world.aws.table(|table| table.groups().iter().map(|group| group["tells"][0]["held"]["count"].as_u64()).max());
    assert_eq!(untold, Some(Some(2)), "a later alert is to tell them");
}

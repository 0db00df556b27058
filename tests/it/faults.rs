//! Every fault between event and alert: nothing is lost silently, and one environment sends nothing twice.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fake_aws::{FakeAws, Message, S3Fault, SnsFault};
use crate::runtime_api::{Failure, Lambda};
use crate::world::{
    BUCKET, CONFIG, KEY, TOPIC, World, add_up, assert_in_time, configuration, metrics, put_keys, world, world_with,
};
use crate::{file, gzip, log, record, records};

/// Announced after the log that has the fault.
const NEIGHBOUR: &str = "AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/neighbour.json.gz";
const FOR_EVER: usize = usize::MAX;
/// The most MiB that the program may use. The smallest function of Lambda has 128.
const MEMORY: u64 = 96;

/// The place of a fault.
enum At {
    /// S3's answers to requests for the log.
    Log(Vec<(S3Fault, usize)>),
    /// The content of the log.
    LogFile(Vec<u8>),
    /// S3's answers to requests for the configuration.
    Config(Vec<(S3Fault, usize)>),
    /// The content of the configuration.
    ConfigFile(Vec<u8>),
    Sns(SnsFault, usize),
}

/// The type of the error (empty for success), and the parts of its message beside the name of the object.
type Told = (&'static str, &'static [&'static str]);

const FINE: Told = ("", &[]);

fn told(kind: &'static str) -> impl Fn(&'static [&'static str]) -> Told {
    move |parts| (kind, parts)
}

/// A line of the table.
struct Row {
    name: &'static str,
    at: At,
    error: Told,
    /// The number of messages, including the one of the neighbour.
    published: RangeInclusive<usize>,
    /// The number of records in the sound log.
    records: usize,
    timeout: Duration,
    /// Whether the environment has processed a good event before.
    warm: bool,
}

fn row(name: &'static str, at: At, error: Told, published: RangeInclusive<usize>) -> Row {
    // Many records where the place of the fault matters; elsewhere as many as fill two requests.
    let records = if matches!(at, At::Log(_) | At::LogFile(_)) { 400 } else { 20 };
    Row { name, at, error, published, records, timeout: Duration::from_mins(5), warm: false }
}

impl Row {
    fn within(self, seconds: u64) -> Self {
        Row { timeout: Duration::from_secs(seconds), ..self }
    }

    fn warm(self) -> Self {
        Row { warm: true, ..self }
    }

    /// Sends the event with the fault, then without.
    async fn holds(self) {
        let Row { name, at, error: (kind, parts), published, records: count, timeout, warm } = self;
        let mut world = world_with(&[("TOPIC_ARN", TOPIC)], timeout).await;
        let event = put_keys(&[KEY, NEIGHBOUR]);
        world.aws.put(BUCKET, KEY, gzip(&log(&[record(9_999)])));
        world.aws.put(BUCKET, NEIGHBOUR, gzip(&log(&[record(count)])));
        if warm {
            world.counts(&put_keys(&[KEY])).await;
            world.aws.messages();
        }
        let sound = gzip(&log(&records(count)));
        world.aws.put(BUCKET, KEY, sound.clone());
        let object = match at {
            At::Log(faults) => break_s3(&world.aws, KEY, &faults),
            At::Config(faults) => break_s3(&world.aws, CONFIG, &faults),
            At::LogFile(bytes) => put(&world.aws, KEY, bytes),
            At::ConfigFile(bytes) => put(&world.aws, CONFIG, bytes),
            At::Sns(fault, times) => {
                // The error should name the log, and not its neighbour, which has one alert.
                if times == 1 {
                    world.aws.sns_fault_of_full_batches(fault, times);
                    world.aws.s3_fault(BUCKET, NEIGHBOUR, S3Fault::PauseAfter(0, 1), 1);
                } else {
                    world.aws.sns_fault(fault, times);
                }
                format!("s3://{BUCKET}/{KEY}")
            }
        };

        let answer = world.invoke(&event).await;
        let counts = books(name, &mut world, &answer).await;
        assert_in_time(&counts, timeout, name);
        match &answer {
            Ok(_) => assert_eq!(kind, "", "{name}: {counts}"),
            Err(failure) => {
                assert_eq!(failure.kind, kind, "{name}: {failure:?}");
                for part in parts.iter().copied().chain([object.as_str()]) {
                    assert!(failure.message.contains(part), "{name}: no {part:?} in {failure:?}");
                }
            }
        }
        let mut messages = world.aws.messages();
        assert!(published.contains(&messages.len()), "{name}: {} messages, {counts}", messages.len());
        assert_eq!(counts["published"], messages.len(), "{name}: {counts}");
        let peak = world.lambda.memory_peak();
        assert!(peak < MEMORY, "{name}: {peak} MiB");

        world.aws.mend();
        put(&world.aws, KEY, sound);
        put(&world.aws, CONFIG, configuration());
        let again = world.counts(&event).await;
        assert_eq!(again["duplicates"], messages.len(), "{name}: {again}");
        messages.extend(world.aws.messages());
        assert_eq!(numbers(&messages), (0..=count).collect::<Vec<_>>(), "{name}: each once");
    }
}

fn put(aws: &FakeAws, key: &str, bytes: Vec<u8>) -> String {
    aws.put(BUCKET, key, bytes);
    format!("s3://{BUCKET}/{key}")
}

fn break_s3(aws: &FakeAws, key: &str, faults: &[(S3Fault, usize)]) -> String {
    for (fault, times) in faults {
        aws.s3_fault_then(BUCKET, key, *fault, *times);
    }
    format!("s3://{BUCKET}/{key}")
}

/// The numbers of the records of these messages, sorted.
fn numbers(messages: &[Message]) -> Vec<usize> {
    let number = |m: &Message| m.attribute("eventID").unwrap().rsplit('-').next().unwrap().parse().unwrap();
    let mut numbers: Vec<usize> = messages.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Asserts that the counts add up and are the same in answer, log line and metrics; returns those of the log line.
async fn books(name: &str, world: &mut World, answer: &Result<Value, Failure>) -> Value {
    let counts = world.logged().await;
    let lines = world.lines().await;
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let mut kinds = BTreeMap::<&str, u64>::new();
    for error in &errors {
        *kinds.entry(error["fields"]["kind"].as_str().unwrap_or_else(|| panic!("{name}: {error}"))).or_default() += 1;
    }
    let unread = |error: &&&Value| {
        let text = error.to_string();
        text.contains("was not read") || text.contains("\"LogUnavailable\"") || text.contains("\"LogMalformed\"")
    };
    let skipped = |reason: &&str| counts[format!("skipped.{reason}")].as_u64().unwrap();
    let reasons = ["digest", "insight", "aggregated", "otherService", "placeholder", "configuration"];
    let skipped: u64 = reasons.iter().map(skipped).sum();
    let unread = errors.iter().filter(unread).count() as u64;
    assert_eq!(counts["objects"], counts["logs"].as_u64().unwrap() + skipped + unread, "{name}: {counts}, {errors:?}");
    assert_eq!(counts["failures"], errors.len(), "{name}: {counts}, {errors:?}");

    let metrics = metrics(lines.last().unwrap());
    for (metric, field) in [
        ("Logs", "logs"),
        ("Records", "records"),
        ("Matched", "matched"),
        ("Ignored", "ignored"),
        ("Published", "published"),
        ("Duplicates", "duplicates"),
        ("Summarised", "summarised"),
        ("Suppressed", "suppressed"),
        ("Failed", "failed"),
        ("Bytes", "bytes"),
        ("HandedBack", "handedBack"),
        ("Mails", "mails"),
        ("Mailed", "mailed"),
        ("SkippedDigest", "skipped.digest"),
        ("SkippedInsight", "skipped.insight"),
        ("SkippedAggregated", "skipped.aggregated"),
        ("SkippedOtherService", "skipped.otherService"),
        ("SkippedPlaceholder", "skipped.placeholder"),
        ("SkippedConfiguration", "skipped.configuration"),
        ("SkippedTestEvent", "skipped.testEvent"),
        ("SkippedOtherEvent", "skipped.otherEvent"),
        ("SkippedConfigMessage", "skipped.configMessage"),
        ("SkippedConfirmation", "skipped.confirmation"),
    ] {
        assert_eq!(counts[field], metrics.get(metric).copied().unwrap_or(0), "{name}: {metric}, {counts}");
    }
    for kind in [
        "InvalidPayload", "ConfigurationUnavailable", "InvalidConfiguration", "LogUnavailable", "LogMalformed",
        "PublishFailed",
    ] {
        assert_eq!(metrics.get(kind), kinds.get(kind), "{name}: {kind}");
    }
    match answer {
        Ok(report) => {
            add_up(report);
            assert!(errors.is_empty(), "{name}: {errors:?}");
            let report = report.as_object().unwrap().iter().filter(|(field, _)| *field != "skipped");
            report.for_each(|(field, count)| assert_eq!(counts[field], *count, "{name}: {field}"));
        }
        Err(_) => assert!(!errors.is_empty(), "{name}"),
    }
    counts
}

/// Checks the rows, several at once because some only wait.
async fn hold(rows: Vec<Row>) {
    let (mut running, permits) = (JoinSet::new(), Arc::new(Semaphore::new(8)));
    for row in rows {
        let permits = permits.clone();
        running.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            row.holds().await;
        });
    }
    let mut failed = 0;
    while let Some(row) = running.join_next().await {
        failed += usize::from(row.is_err());
    }
    assert_eq!(failed, 0, "rows that failed");
}

#[tokio::test]
async fn faults_of_s3_with_a_log() {
    use S3Fault::{CutAfter, Dropped, IgnoresRange, LengthOff, ReplacedAfter, Silent, StallAfter, Status, Trickle};
    let half = gzip(&log(&records(400))).len() / 2;
    let unavailable = told("LogUnavailable");
    let late = told("LogUnavailable")(&["time was up"]);
    let rows = [
        ("503 for a while", vec![(Status(503, "SlowDown"), 2)], FINE, 401..=401),
        ("503 for ever", vec![(Status(503, "SlowDown"), FOR_EVER)], unavailable(&["503 SlowDown"]), 1..=1),
        ("500 for ever", vec![(Status(500, "InternalError"), FOR_EVER)], unavailable(&["500 InternalError"]), 1..=1),
        (
            "denied",
            vec![(Status(403, "AccessDenied"), 1)],
            unavailable(&[
                "403 AccessDenied", "s3:GetObject", "LogBucketName and LogKeyPrefix", "TrailKmsKeyArn for a log",
            ]),
            1..=1,
        ),
        (
            "signed too long ago",
            vec![(Status(403, "RequestTimeTooSkewed"), 1)],
            unavailable(&["403 RequestTimeTooSkewed", "no permission is missing", "clock"]),
            1..=1,
        ),
        (
            "expired credentials",
            vec![(Status(400, "ExpiredToken"), 1)],
            unavailable(&["400 ExpiredToken", "the credentials have expired"]),
            1..=1,
        ),
        (
            "wrong credentials",
            vec![(Status(403, "SignatureDoesNotMatch"), 1)],
            unavailable(&["403 SignatureDoesNotMatch", "the credentials are wrong"]),
            1..=1,
        ),
        (
            "archived",
            vec![(Status(403, "InvalidObjectState"), 1)],
            unavailable(&["403 InvalidObjectState", "restore-object"]),
            1..=1,
        ),
        ("missing", vec![(Status(404, "NoSuchKey"), 1)], unavailable(&["404 NoSuchKey", "deleted"]), 1..=1),
        ("no answer, twice", vec![(Dropped, 2)], FINE, 401..=401),
        ("silent, once", vec![(Silent, 1)], FINE, 401..=401),
        ("no answer, ever", vec![(Dropped, FOR_EVER)], unavailable(&["could not be reached"]), 1..=1),
        ("slow", vec![(Trickle(50, Duration::from_millis(20)), 1)], FINE, 401..=401),
        ("cut", vec![(CutAfter(half), 1)], FINE, 401..=401),
        (
            "cut in three places",
            vec![(CutAfter(half), 1), (CutAfter(half + 9), 1), (CutAfter(half * 3 / 2), 1)],
            FINE,
            401..=401,
        ),
        ("cut, then busy", vec![(CutAfter(half), 1), (Status(503, "SlowDown"), 2)], FINE, 401..=401),
        ("cut for ever", vec![(CutAfter(half), FOR_EVER)], unavailable(&["broke off after", "5th time"]), 2..=400),
        (
            "cut, then denied",
            vec![(CutAfter(half), 1), (Status(403, "AccessDenied"), 1)],
            unavailable(&["403"]),
            2..=400,
        ),
        (
            "cut, then all of it",
            vec![(CutAfter(half), 1), (IgnoresRange, 1)],
            unavailable(&["something else"]),
            2..=400,
        ),
        ("cut, then replaced", vec![(ReplacedAfter(half), 1)], unavailable(&["412", "replaced"]), 2..=400),
        ("too long a length", vec![(LengthOff(10), FOR_EVER)], unavailable(&["broke off after", "416"]), 401..=401),
        ("too short a length", vec![(LengthOff(-10), 1)], ("LogMalformed", &["cut off"]), 300..=401),
    ];
    let mut rows: Vec<_> =
        rows.into_iter().map(|(name, faults, error, n)| row(name, At::Log(faults), error, n)).collect();
    let silent = unavailable(&["S3 had not answered when the time was up"]);
    rows.push(row("silent", At::Log(vec![(Silent, FOR_EVER)]), silent, 1..=1).within(8));
    rows.push(row("stalled", At::Log(vec![(StallAfter(half), FOR_EVER)]), late, 2..=400).within(8));
    rows.push(row("too slow", At::Log(vec![(Trickle(50, Duration::from_millis(200)), 1)]), late, 2..=400).within(8));
    hold(rows).await;
}

#[tokio::test]
async fn faults_in_a_log() {
    let sound = log(&records(400));
    let zipped = gzip(&sound);
    let half = zipped.len() / 2;
    let changed = |at: usize, bit: u8| {
        let mut bytes = zipped.clone();
        bytes[at] ^= bit;
        bytes
    };
    let end = zipped.len();
    let text_half = sound.windows(2).enumerate().find(|(at, pair)| *at > sound.len() / 2 && *pair == b"},").unwrap().0;
    let broken = |with: &[u8]| gzip(&[&sound[..=text_half], with, &sound[text_half + 1..]].concat());
    // More keys at the start of the first record, which may repeat its own.
    let first = |with: &[u8]| gzip(&[&b"{\"Records\":[{"[..], with, b",", &sound[13..]].concat());
    let nested = |levels: usize, close: &str| format!("\"deep\":{}1{}", "[".repeat(levels), close.repeat(levels));
    let bomb = |head: &[u8], piece: &[u8], times: usize| [gzip(head), gzip(piece).repeat(times)].concat();
    let before = &sound[..sound.len() - 2];
    let in_a_string = [before, b",{\"eventName\":\""].concat();
    let malformed = told("LogMalformed");
    let late = told("LogUnavailable")(&["time was up"]);
    let rows = vec![
        row("gzip cut", At::LogFile(zipped[..half].to_vec()), malformed(&["cut off, after"]), 2..=400),
        row("gzip without its last byte", At::LogFile(zipped[..end - 1].to_vec()), malformed(&["cut off"]), 401..=401),
        row("a bit flipped", At::LogFile(changed(half, 128)), malformed(&[]), 2..=401),
        row("a wrong checksum", At::LogFile(changed(end - 6, 1)), malformed(&["gzip data is corrupt"]), 401..=401),
        row("a wrong length", At::LogFile(changed(end - 2, 1)), malformed(&["gzip data is corrupt"]), 401..=401),
        row("no log", At::LogFile(gzip(b"{\"records\":[]}")), malformed(&["no top-level Records"]), 1..=1),
        row("JSON broken in the middle", At::LogFile(broken(b" x ")), malformed(&["JSON is broken"]), 2..=400),
        row("a comma too many", At::LogFile(broken(b",")), malformed(&["JSON is broken"]), 2..=400),
        row(
            "records that are no objects",
            At::LogFile(broken(b",1,null,\"x\",[{\"eventName\":\"User\"}],{}")),
            FINE,
            401..=401,
        ),
        row("deep nesting", At::LogFile(first(nested(100_000, "]").as_bytes())), FINE, 401..=401),
        row("nesting without end", At::LogFile(first(nested(1_000_000, "").as_bytes())), malformed(&[]), 1..=1),
        row(
            "invalid UTF-8",
            At::LogFile(first(b"\"userAgent\":\"\xff\xc3(\",\"\xfe\":\"\xed\xa0\x80\"")),
            FINE,
            401..=401,
        ),
        row(
            "half a surrogate",
            At::LogFile(first(br#""userAgent":"\ud83d","errorMessage":"\udc00\u0000""#)),
            FINE,
            401..=401,
        ),
        row(
            "keys twice",
            At::LogFile(first(br#""eventName":7,"eventID":null,"requestParameters":[]"#)),
            FINE,
            401..=401,
        ),
        row(
            "a matching record of 15 MB",
            At::LogFile(first(format!("\"x\":\"{}\"", "y".repeat(15 << 20)).as_bytes())),
            FINE,
            401..=401,
        ),
        row(
            "a string of 64 MB",
            At::LogFile(bomb(&in_a_string, &b"x".repeat(1 << 20), 64)),
            malformed(&["16777216 bytes"]),
            401..=401,
        ),
        row("whitespace without end", At::LogFile(bomb(before, &b" ".repeat(1 << 20), 8_000)), late, 401..=401)
            .within(8),
        row("tiny records without end", At::LogFile(bomb(before, &b",{}".repeat(1 << 18), 8_000)), late, 401..=401)
            .within(8),
    ];
    hold(rows).await;
}

#[tokio::test]
async fn faults_of_the_configuration() {
    use S3Fault::{CutAfter, Dropped, Silent, StallAfter, Status};
    let good = configuration();
    let huge = [&good[..], &b" ".repeat(2 << 20)].concat();
    let rules = (0..100).map(|n| json!({ "name": format!("r{n}"), "where": { "userIdentity.userName": format!(r"^[\w+=,.@-]{{1,64}}-tmp{n}$") } }));
    let patterns = json!({ "rules": rules.collect::<Vec<_>>() }).to_string().into_bytes();
    let rows = || {
        let unavailable = told("ConfigurationUnavailable");
        let invalid = told("InvalidConfiguration");
        vec![
            row(
                "missing",
                At::Config(vec![(Status(404, "NoSuchKey"), FOR_EVER)]),
                unavailable(&["404 NoSuchKey"]),
                0..=0,
            ),
            row(
                "denied",
                At::Config(vec![(Status(403, "AccessDenied"), FOR_EVER)]),
                unavailable(&["403", "s3:GetObject", "ConfigBucketName", "ConfigKey", "MoreKmsKeyArns for the config"]),
                0..=0,
            ),
            row(
                "503 for ever",
                At::Config(vec![(Status(503, "SlowDown"), FOR_EVER)]),
                unavailable(&["503 SlowDown"]),
                0..=0,
            ),
            row("no answer", At::Config(vec![(Dropped, FOR_EVER)]), unavailable(&["could not be reached"]), 0..=0),
            row("broken JSON", At::ConfigFile(b"{ \"source\": ".to_vec()), invalid(&["line 1"]), 0..=0),
            row("of another form", At::ConfigFile(b"[{\"source\": \"iam\"}]".to_vec()), invalid(&[]), 0..=0),
            row(
                "an unknown key",
                At::ConfigFile(br#"{ "source": "iam", "regex": "User" }"#.to_vec()),
                invalid(&["regex"]),
                0..=0,
            ),
            row("empty", At::ConfigFile(Vec::new()), invalid(&[]), 0..=0),
            row("huge", At::ConfigFile(huge.clone()), invalid(&["larger than 1048576 bytes"]), 0..=0),
            row(
                "huge when compiled",
                At::ConfigFile(patterns.clone()),
                invalid(&["more than 48 MB of memory", "rule r0, where userIdentity.userName: `^[", "(?-u)"]),
                0..=0,
            ),
        ]
    };
    // A cold environment fails for each log. A warm one uses the last good configuration.
    let cold = rows().into_iter().map(|row| Row { error: ("SeveralFailures", row.error.1), ..row });
    let warm = rows().into_iter().map(|row| Row { published: 21..=21, ..row.warm() });
    // (A warm one gets an answer without a body, which can't be cut.)
    let cut = At::Config(vec![(CutAfter(10), FOR_EVER)]);
    let stalled = At::Config(vec![(StallAfter(10), FOR_EVER)]);
    let silent = |times| At::Config(vec![(Silent, times)]);
    let rest = [
        row("cut", cut, ("SeveralFailures", &["broke off"]), 0..=0),
        row("stalled", stalled, ("SeveralFailures", &["time was up"]), 0..=0).within(8),
        row("silent", silent(FOR_EVER), ("SeveralFailures", &["not answered when the time was up"]), 0..=0).within(8),
        row("silent, once", silent(1), FINE, 21..=21).warm(),
    ];
    hold(cold.chain(warm).chain(rest).collect()).await;
}

/// So that whoever follows the advice of an error can give the permission.
#[test]
fn the_parameters_that_errors_advise_are_the_templates() {
    let text = |of: &str| String::from_utf8(file(of)).unwrap();
    let (template, sources) = (text("template.yaml"), text("src/aws/s3.rs") + &text("src/aws/sns.rs"));
    let names = sources.split(|c: char| !c.is_ascii_alphanumeric());
    let is_one =
        |name: &&str| ["Arn", "Arns", "BucketName", "KeyPrefix", "ConfigKey"].iter().any(|end| name.ends_with(end));
    let advised: HashSet<_> = names.filter(is_one).filter(|name| !["Arn", "TopicArn"].contains(name)).collect();
    assert!(advised.len() >= 8, "{advised:?}");
    for name in advised {
        assert!(template.contains(&format!("\n  {name}:\n    Type: ")), "{name}");
    }
}

#[tokio::test]
async fn faults_of_sns() {
    use SnsFault::{Entries, Silent, Status};
    let failed = told("PublishFailed");
    let several = told("SeveralFailures");
    let kms =
        &[TOPIC, NEIGHBOUR, "KMSAccessDenied", "kms:GenerateDataKey", "key in MoreKmsKeyArns, or in KmsKeyArn"][..];
    let rows = [
        ("throttled for a while", Status(429, "Throttled"), 5, FINE, 21),
        ("500 for a while", Status(500, "InternalError"), 5, FINE, 21),
        ("KMS throttled for a while", Status(400, "KMSThrottling"), 5, FINE, 21),
        ("a part failed", Entries(&[0, 3, 4], false), 3, FINE, 21),
        ("a part refused", Entries(&[0, 3], true), 1, failed(&[TOPIC, "2 alerts", "InvalidParameter"]), 19),
        (
            "denied",
            Status(403, "AuthorizationError"),
            FOR_EVER,
            several(&["sns:Publish", "name it in MoreTopicArns"]),
            0,
        ),
        ("topic gone", Status(404, "NotFound"), FOR_EVER, several(&[TOPIC, NEIGHBOUR, "does not exist"]), 0),
        ("KMS denied", Status(400, "KMSAccessDenied"), FOR_EVER, several(kms), 0),
        ("key disabled", Status(400, "KMSDisabled"), FOR_EVER, several(&["KMSDisabled: ", "exists and is enabled"]), 0),
        ("request refused", Status(400, "InvalidParameter"), FOR_EVER, several(&[TOPIC, "InvalidParameter"]), 0),
        ("denied as a whole, once", Status(403, "AuthorizationError"), 1, FINE, 21),
        ("gone, once", Status(404, "NotFound"), 1, failed(&[TOPIC, "10 alerts", "NotFound"]), 11),
        ("throttled for ever", Status(429, "Throttled"), FOR_EVER, several(&[TOPIC, "Throttled"]), 0),
        ("silent, once", Silent, 1, FINE, 21),
        ("silent", Silent, FOR_EVER, several(&[TOPIC, "not answered when the time was up"]), 0),
    ];
    let rows = rows.into_iter().map(|(name, fault, times, error, n)| {
        let row = row(name, At::Sns(fault, times), error, n..=n);
        match (fault, times) {
            // More alerts than can be under way at once.
            (Silent, FOR_EVER) => Row { records: 400, ..row.within(8) },
            (_, FOR_EVER) => row.within(8),
            _ => row,
        }
    });
    hold(rows.collect()).await;
}

#[tokio::test]
async fn a_download_that_breaks_off_resumes_at_the_byte_reached_in_the_same_version() {
    let mut world = world().await;
    let bytes = gzip(&log(&records(400)));
    let (length, half) = (bytes.len(), bytes.len() / 2);
    world.aws.put(BUCKET, KEY, bytes);
    world.aws.s3_fault(BUCKET, KEY, S3Fault::CutAfter(half), 1);
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["bytes"]), (&json!(400), &json!(length)), "no byte twice");
    let gets: Vec<_> = world.aws.gets().into_iter().filter(|get| get.what.ends_with(KEY)).collect();
    let [first, second] = &gets[..] else { panic!("{gets:?}") };
    assert_eq!((first.status, &first.range, &first.if_match), (200, &None, &None));
    assert_eq!((second.status, second.range.clone()), (206, Some(format!("bytes={half}-"))));
    assert!(second.if_match.is_some());
}

/// The host at its other end may be broken.
#[tokio::test]
async fn after_an_error_of_the_server_its_connection_is_not_used_again() {
    let mut world = world().await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    world.aws.s3_fault(BUCKET, KEY, S3Fault::Status(500, "InternalError"), 2);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    let gets = world.aws.gets().into_iter().filter(|get| get.what.ends_with(KEY));
    let connections: HashSet<_> = gets.map(|get| get.connection).collect();
    assert_eq!(connections.len(), 3);
}

#[tokio::test]
async fn a_download_that_stalls_is_asked_for_again() {
    let mut world = world().await;
    let bytes = gzip(&log(&records(400)));
    world.aws.s3_fault(BUCKET, KEY, S3Fault::StallAfter(bytes.len() / 2), 1);
    world.aws.put(BUCKET, KEY, bytes);
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 400);
}

#[tokio::test]
async fn near_the_deadline_it_says_what_is_left_and_a_retry_does_just_that() {
    let timeout = Duration::from_secs(8);
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], timeout).await;
    let keys = ["first", "slow", "slower", "last"];
    for (number, key) in keys.into_iter().enumerate() {
        let records: Vec<_> = (100 * number..100 * (number + 1)).map(record).collect();
        world.aws.put(BUCKET, key, gzip(&log(&records)));
    }
    world.aws.s3_fault(BUCKET, "slow", S3Fault::Trickle(20, Duration::from_millis(20)), 1);
    world.aws.s3_fault(BUCKET, "slower", S3Fault::Trickle(20, Duration::from_millis(400)), 1);
    let answer = world.invoke(&put_keys(&keys)).await;
    let counts = books("deadline", &mut world, &answer).await;
    assert_in_time(&counts, timeout, "deadline");
    let message = answer.unwrap_err().message;
    for (key, left) in keys.into_iter().zip([false, false, true, false]) {
        assert_eq!(message.contains(&format!("s3://{BUCKET}/{key} ")), left, "{key}: {message}");
    }
    assert!((300..400).contains(&counts["published"].as_u64().unwrap()), "{counts}");
    world.aws.mend();
    assert_eq!(world.counts(&put_keys(&keys)).await["duplicates"], counts["published"]);
    assert_eq!(numbers(&world.aws.messages()), (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_environments_that_get_the_same_event_send_each_alert_twice_at_most() {
    let mut world = world().await;
    let mut other = Lambda::start(world.aws.address, &[("TOPIC_ARN", TOPIC)], Duration::from_mins(5)).await;
    world.aws.put(BUCKET, KEY, gzip(&log(&records(100))));
    // S3 answers neither before both have asked for configuration and log.
    world.aws.hold_s3(4);
    let event = put_keys(&[KEY]);
    let (one, two) = tokio::join!(world.counts(&event), other.invoke(&event));
    assert_eq!((&one["published"], &two.unwrap()["published"]), (&json!(100), &json!(100)));
    assert_eq!(numbers(&world.aws.messages()), (0..200).map(|n| n / 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_environment_that_was_frozen_for_long_finds_its_connections_closed() {
    let mut world = world().await;
    for number in 0..5 {
        world.aws.put(BUCKET, KEY, gzip(&log(&[record(number)])));
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
        world.lambda.freeze(true).await;
        world.aws.close_connections();
        world.lambda.freeze(false).await;
    }
    assert_eq!(numbers(&world.aws.messages()), [0, 1, 2, 3, 4]);
}

/// Records without event IDs are not recognized when they repeat, but the alerts under way are limited all the same.
#[tokio::test]
async fn matches_without_end_stay_within_memory() {
    let mut world = world_with(&[("TOPIC_ARN", TOPIC)], Duration::from_secs(8)).await;
    let matching = b"{\"eventSource\":\"iam\",\"eventName\":\"User\"},".repeat(1 << 14);
    world.aws.put(BUCKET, KEY, [gzip(b"{\"Records\":["), gzip(&matching).repeat(100)].concat());
    let answer = world.invoke(&put_keys(&[KEY])).await;
    let counts = books("matches without end", &mut world, &answer).await;
    let failure = answer.unwrap_err();
    assert!(failure.message.contains("time was up"), "{failure:?}");
    // SNS may have taken a request that was not answered in time.
    assert!(counts["published"].as_u64() <= Some(world.aws.messages().len() as u64), "{counts}");
    assert!(counts["published"].as_u64() > Some(100), "{counts}");
    assert!(world.lambda.memory_peak() < MEMORY, "{} MiB", world.lambda.memory_peak());
}

/// Each configuration takes some 30 MB. An event names the first bucket again at its end, when its configuration has gone.
#[tokio::test]
async fn configurations_of_many_buckets_stay_within_memory() {
    let mut world = world().await;
    let rules =
        (0..8).map(|n| json!({ "name": format!("r{n}"), "regexp": format!(r"^[\w-]{{1,64}}{n}$|^CreateUser$") }));
    let configuration = json!({ "rules": rules.collect::<Vec<_>>() }).to_string();
    let buckets: Vec<_> = (0..8).map(|n| format!("bucket-{n}")).collect();
    let mut records = Vec::new();
    for (number, bucket) in buckets.iter().chain([&buckets[0]]).enumerate() {
        let key = format!("log-{number}");
        world.aws.put(bucket, CONFIG, configuration.clone());
        world.aws.put(bucket, &key, gzip(&log(&[record(number)])));
        records.push(json!({ "s3": { "bucket": { "name": bucket }, "object": { "key": key } } }));
    }
    let counts = world.counts(&json!({ "Records": records })).await;
    assert_eq!((&counts["logs"], &counts["published"]), (&json!(9), &json!(9)));
    let peak = world.lambda.memory_peak();
    // Logs that are open at once keep theirs in use: on a busy machine 200 MiB were seen. Without the bound, 265.
    assert!(peak < 240, "{peak} MiB");
}

#[tokio::test]
async fn metrics_survive_every_log_level_and_no_level_tells_secrets() {
    let secrets = ["wJalrXUtnFEMI", "AKIAIOSFODNN7EXAMPLE", "IQoJb3JpZ2luX2VjEXAMPLE", "correct horse"];
    let mut told = record(0);
    told["eventTime"] = json!("2020-01-01T00:00:00Z");
    told["requestParameters"]["password"] = json!(secrets[3]);
    told["responseElements"] = json!({ "credentials": { "sessionToken": secrets[2] } });
    for level in ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] {
        for format in ["JSON", "Text"] {
            let environment = [
                ("TOPIC_ARN", TOPIC),
                ("AWS_LAMBDA_LOG_LEVEL", level),
                ("AWS_LAMBDA_LOG_FORMAT", format),
                ("AWS_SESSION_TOKEN", secrets[2]),
            ];
            let mut world = world_with(&environment, Duration::from_mins(5)).await;
            world.aws.put(BUCKET, KEY, gzip(&log(&[told.clone(), record(1), json!({})])));
            world.aws.s3_fault(BUCKET, "missing", S3Fault::Status(403, "AccessDenied"), 1);
            let bytes = gzip(&log(&[told.clone(), record(1), json!({})])).len();
            world.invoke(&put_keys(&[KEY, "missing"])).await.unwrap_err();
            let output = world.lambda.lines(1).await;
            let line = output.last().unwrap();
            // Lambda drops lines below the level, and lines that have no level or no time.
            assert!(line["level"] == level || line["level"] == "FATAL", "{line}");
            assert!(humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).is_ok(), "{line}");
            let metrics = metrics(line);
            let count = |name: &str| metrics.get(name).copied();
            for (name, expected) in [
                ("Logs", 1),
                ("Records", 3),
                ("Matched", 2),
                ("Published", 2),
                ("Bytes", bytes as u64),
                ("LogUnavailable", 1),
            ] {
                assert_eq!(count(name), Some(expected), "{level} {format}: {name}");
            }
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() - 1_577_836_800;
            assert!(count("Delay").is_some_and(|delay| delay.abs_diff(since) < 300), "{metrics:?}");
            let output = world.lambda.output();
            let has = |text: &str| output.contains(text);
            let by_rule = r#"{"default":{"matches":2,"alerts":2}}"#;
            let by_rule = if format == "JSON" { format!("\"rules\":{by_rule}") } else { format!("rules={by_rule}") };
            for counts in ["invocation done", &by_rule] {
                assert_eq!(has(counts), ["TRACE", "DEBUG", "INFO"].contains(&level), "{level} {format}: {output}");
            }
            assert!(has(&format!("s3://{BUCKET}/missing")), "{level} {format}: {output}");
            assert_eq!(
                has("8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
                !["WARN", "ERROR", "FATAL"].contains(&level),
                "{output}"
            );
            for secret in secrets {
                assert!(!has(secret), "{level} {format}: {output}");
            }
        }
    }
}

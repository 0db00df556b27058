//! The payload of an invocation: the forms in which logs are announced and alerts come back, told apart by content.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde_json::Value;

use crate::alert::digest::Delivered;
use crate::log::{S3Object, decoded_key};
use crate::rules::TopicArn;

/// The announcements that an invocation brings.
#[derive(Debug, Default, PartialEq)]
pub struct Payload {
    /// Whether SQS sent it, which takes back messages one by one; other payloads are done or failed as a whole.
    pub from_sqs: bool,
    /// One for each message from SQS; one for any other payload.
    pub announcements: Vec<Announcement>,
}

/// What one message holds.
#[derive(Debug, Default, PartialEq)]
pub struct Announcement {
    /// The id by which SQS knows the message.
    pub(crate) message_id: Option<String>,
    /// The objects that were created, in the message's order, whether or not they are logs.
    pub objects: Vec<S3Object>,
    /// Alerts of this program that come back from their topic, to be mailed.
    pub alerts: Vec<Delivered>,
    /// What AWS is known to send and announces no log.
    pub no_logs: Vec<NoLog>,
    /// What somebody should do although nothing failed.
    pub(crate) warnings: Vec<String>,
    /// One text for each of the first parts that are not valid, and one for all others.
    pub invalid: Vec<String>,
    all_invalid: usize,
    /// How many more parts it may have.
    room: usize,
}

/// A part of a message that announces no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLog {
    /// S3 and CloudTrail send one when notifications are set up.
    TestEvent,
    /// Something else than a new object: S3 removed, restored, moved or tagged one.
    OtherEvent,
    /// A message of AWS Config, which shares topics and buckets with CloudTrail.
    ConfigMessage,
    /// SNS asks to confirm that a subscription begins, or tells that one has ended.
    Confirmation,
}

impl Payload {
    /// The announced objects, each once.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &S3Object> {
        let mut known = HashSet::new();
        let objects = self.announcements.iter().flat_map(|announcement| &announcement.objects);
        objects.filter(move |object| known.insert(*object))
    }

    /// The alerts, the most severe first, each once: of repeats, the most severe.
    pub(crate) fn alerts(&self) -> Vec<&Delivered> {
        let mut known = HashSet::new();
        let mut alerts: Vec<_> = self.announcements.iter().flat_map(|announcement| &announcement.alerts).collect();
        alerts.sort_by_key(|alert| Reverse(alert.severity));
        alerts.retain(|alert| known.insert(alert.key));
        alerts
    }
}

/// The most envelopes around a notification. SNS in SQS makes two.
const ENVELOPES: usize = 4;

/// The most parts, such as objects, of a payload. Each message of a batch may have its share of them, and ten in any case: AWS
/// itself sends one or a few.
const PARTS: usize = 10_000;
const LEAST_PARTS: usize = 10;

/// The most texts about what is not valid, or should be done, in one message.
const TOLD: usize = 5;

/// The most bytes of [a bucket's name](https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html) (old ones
/// have up to 255) and of [a key](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
const BUCKET_LIMIT: usize = 255;
const KEY_LIMIT: usize = 1_024;

/// CloudTrail publishes this text to a trail's topic when the topic is set.
const CLOUDTRAIL_TEST: &str = "CloudTrail validation message.";

/// The beginnings of events that bring no new object:
/// [S3's names](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html),
/// and [EventBridge's](https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html), which have blanks.
const OTHER_EVENTS: [&str; 17] = [
    "IntelligentTiering", "LifecycleExpiration", "LifecycleTransition", "ObjectAcl", "ObjectAnnotation",
    "ObjectRemoved", "ObjectRestore", "ObjectTagging", "ReducedRedundancyLostObject", "Replication", "Object ACL ",
    "Object Access Tier ", "Object Annotation", "Object Deleted", "Object Restore ", "Object Storage Class ",
    "Object Tags ",
];

/// The beginnings of the `messageType`s of
/// [AWS Config](https://docs.aws.amazon.com/config/latest/developerguide/how-does-config-work.html).
const CONFIG_MESSAGES: [&str; 7] = [
    "ComplianceChangeNotification", "ConfigRulesEvaluation", "ConfigurationHistoryDelivery", "ConfigurationItemChange",
    "ConfigurationSnapshotDelivery", "OversizedConfigurationItemChange", "ScheduledNotification",
];

const EXPECTED: &str = "expected an S3 event notification ({\"Records\": [{\"eventName\": \"ObjectCreated:Put\", \"s3\": \
     {\"bucket\": {\"name\": …}, \"object\": {\"key\": …}}}]}), EventBridge's \"Object Created\" of S3, or CloudTrail's \
     notification of delivery ({\"s3Bucket\": …, \"s3ObjectKey\": […]}), each as it is, or through SNS, SQS or both; or an \
     invocation by S3 Batch Operations ({\"invocationSchemaVersion\": …, \"tasks\": […]})";

/// Reads a payload.
///
/// The fields are looked up one by one: the types of `aws_lambda_events` refuse a whole payload for an odd value in a field
/// that is not used here. A part that is not known goes to [`Announcement::invalid`], so that the others are processed.
pub fn parse(payload: &Value) -> Payload {
    let records = payload.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let from_sqs = records.iter().any(|record| text(record, "/eventSource") == Some("aws:sqs"));
    let messages = if from_sqs { records } else { std::slice::from_ref(payload) };
    let announcements = messages.iter().enumerate().map(|(i, message)| {
        let room = LEAST_PARTS.max(PARTS / messages.len());
        let mut announcement = Announcement { room, ..Announcement::default() };
        match (text(message, "/messageId"), text(message, "/body")) {
            _ if !from_sqs => {
                let opened = announcement.open("the payload", message, ENVELOPES);
                announcement.check("the payload", opened);
            }
            (Some(id), Some(body)) => {
                announcement.message_id = Some(id.to_owned());
                announcement.open_text(&format!("the body of SQS message {i}"), body, ENVELOPES);
            }
            (id, _) => {
                let missing = if id.is_none() { "messageId" } else { "body" };
                let why = format!("is not known (it has no {missing}): expected a message from SQS, like the others");
                announcement.check(&format!("Records[{i}] of the payload"), Err(why));
            }
        }
        announcement
    });
    Payload { from_sqs, announcements: announcements.collect() }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

impl Announcement {
    /// Keeps why a part is not valid, or counts it if there are many. `at` is its place, for people.
    fn check(&mut self, at: &str, opened: Result<(), String>) {
        let Err(problem) = opened else { return };
        self.all_invalid += 1;
        self.invalid.truncate(TOLD);
        self.invalid.push(match self.all_invalid.saturating_sub(TOLD) {
            0 => format!("{at} {problem}"),
            more => format!("{more} more parts of the same message are not valid"),
        });
    }

    /// The parts for which there is room.
    fn parts<'v>(&mut self, at: &str, parts: &'v [Value]) -> &'v [Value] {
        let (first, rest) = parts.split_at(parts.len().min(self.room));
        self.room -= first.len();
        if !rest.is_empty() {
            let at = format!("{} of the {} parts of {at}", rest.len(), parts.len());
            let why = format!("are too many: send several messages of up to {LEAST_PARTS} objects");
            self.check(&at, Err(why));
        }
        first
    }

    /// Opens an envelope that holds another one as text.
    fn open_text(&mut self, at: &str, text: &str, envelopes: usize) {
        if text == CLOUDTRAIL_TEST {
            return self.no_logs.push(NoLog::TestEvent);
        }
        let inner = serde_json::from_str(text).map_err(|e| format!("is not JSON ({e}): {EXPECTED}"));
        let opened = inner.and_then(|inner| self.open(at, &inner, envelopes));
        self.check(at, opened);
    }

    /// Opens one envelope, or tells what is wrong with it as a whole.
    fn open(&mut self, at: &str, envelope: &Value, envelopes: usize) -> Result<(), String> {
        let envelopes = envelopes.checked_sub(1).ok_or_else(|| format!("is nested too deeply: {EXPECTED}"))?;
        if text(envelope, "/Event") == Some("s3:TestEvent") {
            self.no_logs.push(NoLog::TestEvent);
        } else if let Some(records) = envelope.get("Records").and_then(Value::as_array) {
            for (i, record) in self.parts(at, records).iter().enumerate() {
                let at = format!("Records[{i}] of {at}");
                let opened = match record.get("Sns") {
                    Some(message) => self.open_message(&at, message, envelopes),
                    None => notified_object(record).map(|object| self.take(object)),
                };
                self.check(&at, opened);
            }
        } else if let Some("Notification" | "SubscriptionConfirmation" | "UnsubscribeConfirmation") =
            text(envelope, "/Type")
        {
            self.open_message(at, envelope, envelopes)?;
        } else if is_of_config(envelope) {
            self.no_logs.push(NoLog::ConfigMessage);
        } else if let (Some("aws.s3"), Some(what)) = (text(envelope, "/source"), text(envelope, "/detail-type")) {
            self.take(new_object(what, envelope.get("detail"), false)?);
        } else if let (Some(bucket), Some(Value::Array(keys))) =
            (text(envelope, "/s3Bucket"), envelope.get("s3ObjectKey"))
        {
            // CloudTrail's notification of delivery has the keys as they are:
            // https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html
            for key in self.parts(at, keys) {
                let object = key.as_str().ok_or_else(not_known).and_then(|key| object(bucket, key));
                let taken = object.map(|object| self.objects.push(object));
                self.check(at, taken);
            }
        } else {
            return Err(not_known());
        }
        Ok(())
    }

    fn open_message(&mut self, at: &str, message: &Value, envelopes: usize) -> Result<(), String> {
        if let Some(warning) = what_to_confirm(message) {
            self.no_logs.push(NoLog::Confirmation);
            if self.warnings.len() < TOLD {
                self.warnings.push(warning);
            }
        } else if attribute(message, "rule").is_some() && attribute(message, "severity").is_some() {
            self.alerts.push(alert(at, message)?);
        } else {
            let inner = text(message, "/Message").ok_or_else(not_known)?;
            self.open_text(&format!("the SNS message in {at}"), inner, envelopes);
        }
        Ok(())
    }

    /// Takes the object of an event; `None` is an event that brings no new one.
    fn take(&mut self, object: Option<S3Object>) {
        match object {
            Some(object) => self.objects.push(object),
            None => self.no_logs.push(NoLog::OtherEvent),
        }
    }
}

/// The object of [an S3 notification](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
fn notified_object(record: &Value) -> Result<Option<S3Object>, String> {
    let name = match record.get("eventName") {
        None | Some(Value::Null) => "ObjectCreated:",
        Some(Value::String(name)) => name.trim_start_matches("s3:"),
        Some(_) => return Err(not_known()),
    };
    new_object(name, record.get("s3"), true)
}

/// The object of an event of this name, or `None` if it brings no new one. A notification has its key encoded as HTML forms
/// do: `+` is a space, and every other byte may be `%XX`. The key of
/// [EventBridge's](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html) stands there as it is.
fn new_object(name: &str, entity: Option<&Value>, is_encoded: bool) -> Result<Option<S3Object>, String> {
    let of_entity = |pointer| entity.and_then(|entity| text(entity, pointer)).ok_or_else(not_known);
    let (bucket, mut key) = (of_entity("/bucket/name")?, of_entity("/object/key")?.to_owned());
    if OTHER_EVENTS.iter().any(|known| name.starts_with(known)) {
        return Ok(None);
    }
    if is_encoded {
        key = form_decoded(&key)?;
    }
    let object = object(bucket, &key)?;
    if name.starts_with("ObjectCreated:") || name == "Object Created" {
        return Ok(Some(object));
    }
    Err(format!(
        "is `{name}` of {object}, a kind of event that is not known: let S3 send s3:ObjectCreated:* only, or EventBridge \
         \"Object Created\""
    ))
}

/// A key without the encoding of HTML forms.
pub(super) fn form_decoded(key: &str) -> Result<String, String> {
    decoded_key(key).ok_or_else(|| format!("has a key that is not UTF-8: {key}"))
}

/// An object that S3 can have.
pub(super) fn object(bucket: &str, key: &str) -> Result<S3Object, String> {
    if bucket.len() > BUCKET_LIMIT || key.len() > KEY_LIMIT {
        return Err(format!("names an object whose bucket has over {BUCKET_LIMIT} bytes, or its key over {KEY_LIMIT}"));
    }
    Ok(S3Object { bucket: bucket.to_owned(), key: key.to_owned() })
}

fn not_known() -> String {
    format!("is not known: {EXPECTED}")
}

/// An attribute of a message of SNS, as text. A mail has no `rule`, and so is no alert.
fn attribute<'v>(message: &'v Value, name: &str) -> Option<&'v str> {
    text(message, &format!("/MessageAttributes/{name}/Value"))
}

fn alert(at: &str, message: &Value) -> Result<Delivered, String> {
    let said = |pointer, what| {
        text(message, pointer).filter(|text| !text.trim().is_empty()).ok_or_else(|| {
            format!(
                "is an alert without a {what}, and can't be mailed: let SNS deliver alerts as this function published them"
            )
        })
    };
    let (subject, body) = (said("/Subject", "subject")?, said("/Message", "text")?);
    let id = text(message, "/MessageId").unwrap_or(at);
    Ok(Delivered::new(subject, body, id, |name| attribute(message, name)))
}

/// Whether AWS Config sent it, by way of SNS or of EventBridge.
fn is_of_config(message: &Value) -> bool {
    let place = if text(message, "/source") == Some("aws.config") { "/detail/messageType" } else { "/messageType" };
    text(message, place).is_some_and(|kind| CONFIG_MESSAGES.iter().any(|known| kind.starts_with(known)))
}

/// What somebody should do about [a subscription](https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html),
/// if the message is about one. Its link is not shown: anybody who may send to a queue could make it lead anywhere.
fn what_to_confirm(message: &Value) -> Option<String> {
    let topic = text(message, "/TopicArn")?;
    let fact = match text(message, "/Type")? {
        "SubscriptionConfirmation" => format!(
            "the SNS topic {topic} asks to confirm its subscription, and no log comes from it until then; if the topic is \
             yours, "
        ),
        "UnsubscribeConfirmation" => format!(
            "the subscription to the SNS topic {topic} has ended, and no log comes from it any more; to restore it, "
        ),
        _ => return None,
    };
    let is_token = |token: &&str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric());
    Some(match (TopicArn::parse(topic), text(message, "/Token").filter(is_token)) {
        (Ok(arn), Some(token)) => format!(
            "{fact}run within two days: aws sns confirm-subscription --region {} --topic-arn {topic} --token {token}",
            arn.region()
        ),
        _ => fact + "subscribe again",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(key: &str) -> Value {
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}})
    }

    fn keys(payload: &Value) -> Vec<String> {
        let announcements = parse(payload).announcements;
        assert!(announcements.iter().all(|announcement| announcement.invalid.is_empty()), "{announcements:?}");
        announcements.into_iter().flat_map(|announcement| announcement.objects).map(|object| object.key).collect()
    }

    fn invalid(payload: &Value) -> Vec<String> {
        parse(payload).announcements.into_iter().flat_map(|announcement| announcement.invalid).collect()
    }

    fn in_sqs(bodies: &[String]) -> Value {
        let record = |(i, body)| json!({"messageId": format!("m{i}"), "eventSource": "aws:sqs", "body": body});
        json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
    }

    fn in_sns(message: &str) -> Value {
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": message}}]})
    }

    fn in_sns_in_sqs(message: &str) -> Value {
        in_sqs(&[json!({"Type": "Notification", "MessageId": "x", "Message": message}).to_string()])
    }

    #[test]
    fn every_envelope_gives_the_same_object_with_its_own_way_of_writing_keys() {
        for (key, form_encoded) in
            [("a/b.json.gz", "a/b.json.gz"), ("a b+c%2B/ü", "a+b%2Bc%252B/%C3%BC"), ("100%", "100%")]
        {
            let s3 = json!({"Records": [put(form_encoded)]});
            let bridge = json!({"version": "0", "source": "aws.s3", "detail-type": "Object Created",
                "detail": {"bucket": {"name": "b"}, "object": {"key": key}}});
            let delivery = json!({"s3Bucket": "b", "s3ObjectKey": [key]});
            for notification in [&s3, &bridge, &delivery] {
                let text = notification.to_string();
                for payload in
                    [notification.clone(), in_sns(&text), in_sqs(std::slice::from_ref(&text)), in_sns_in_sqs(&text)]
                {
                    assert_eq!(keys(&payload), [key], "{payload}");
                }
            }
        }
    }

    #[test]
    fn a_bad_part_does_not_hide_its_neighbours() {
        let odd = json!({"eventName": "ObjectFrozen:Put", "s3": put("cold")["s3"]});
        let payload = json!({"Records": [put("1"), {"sns": {}}, odd, put("%FF"), put("2")]});
        let [announcement] = &parse(&payload).announcements[..] else { panic!() };
        assert_eq!(announcement.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        let [unknown, frozen, no_utf8] = &announcement.invalid[..] else { panic!("{announcement:?}") };
        assert!(unknown.starts_with("Records[1] of the payload is not known"), "{unknown}");
        assert!(frozen.contains("`ObjectFrozen:Put` of s3://b/cold"), "{frozen}");
        assert!(no_utf8.contains("not UTF-8"), "{no_utf8}");
    }

    #[test]
    fn messages_of_a_batch_are_separate() {
        let good = json!({"Records": [put("1")]}).to_string();
        let mut batch = in_sqs(&[good.clone(), "garbage".to_owned(), good]);
        batch["Records"].as_array_mut().unwrap().push(json!({"eventSource": "aws:sqs"}));
        let Payload { from_sqs, announcements } = parse(&batch);
        assert!(from_sqs);
        let told: Vec<_> =
            announcements.iter().map(|a| (a.message_id.as_deref(), a.objects.len(), a.invalid.len())).collect();
        assert_eq!(told, [(Some("m0"), 1, 0), (Some("m1"), 0, 1), (Some("m2"), 1, 0), (None, 0, 1)]);
        assert!(announcements[1].invalid[0].starts_with("the body of SQS message 1 is not JSON"));
    }

    #[test]
    fn a_message_that_names_too_much_leaves_room_for_the_others() {
        let delivery = |bucket: &str, keys: Vec<String>| json!({"s3Bucket": bucket, "s3ObjectKey": keys});
        let numbers = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        let told = |payload: &Value| -> Vec<_> {
            parse(payload).announcements.into_iter().map(|a| (a.objects.len(), a.invalid.join("|"))).collect()
        };
        let batch = [
            delivery("b", vec!["k".repeat(1_024), "ü".repeat(513)]),
            delivery(&"b".repeat(255), numbers(50_000)),
            delivery(&"b".repeat(256), numbers(1)),
            json!({"Records": vec![0; 131_000]}),
        ];
        let told_of_batch = told(&in_sqs(&batch.map(|message| message.to_string())));
        let [(1, key), (2_500, many), (0, bucket), (0, zeros)] = &told_of_batch[..] else {
            panic!("{told_of_batch:?}")
        };
        assert!(key.ends_with("or its key over 1024") && bucket == &key.replace("message 0", "message 2"), "{bucket}");
        assert!(many.starts_with("47500 of the 50000 parts of the body of SQS message 1 are too many: send"), "{many}");
        assert!(zeros.starts_with("128500 of the 131000 parts of the body of SQS message 3 are too many"), "{zeros}");
        assert!(zeros.ends_with("|2496 more parts of the same message are not valid"), "{zeros}");
        assert_eq!(zeros.split('|').count(), TOLD + 1);

        for count in [10_000, 10_001] {
            let [(10_000, invalid)] = &told(&delivery("b", numbers(count)))[..] else { panic!() };
            assert_eq!(!invalid.is_empty(), count > 10_000, "{invalid}");
        }
        let confirmation = json!({"Sns": {"Type": "SubscriptionConfirmation", "TopicArn": "t"}});
        let [asked] = &parse(&json!({"Records": vec![confirmation; 100]})).announcements[..] else { panic!() };
        assert_eq!((asked.no_logs.len(), asked.warnings.len()), (100, TOLD));
        // Each message of the largest batch may name ten objects.
        let batch = in_sqs(&vec![delivery("b", numbers(10)).to_string(); 10_000]);
        assert!(told(&batch).iter().all(|told| *told == (10, String::new())));
    }

    #[test]
    fn other_minor_versions_and_missing_or_odd_fields_are_fine() {
        let mut odd = put("odd");
        odd["s3"]["object"]["size"] = json!("large");
        odd["eventTime"] = json!(7);
        assert_eq!(keys(&json!({"Records": [odd]})), ["odd"]);
        let mut in_sqs = in_sqs(&[json!({"Records": [put("odd")]}).to_string()]);
        in_sqs["Records"][0]["messageAttributes"] = json!(["odd"]);
        assert_eq!(keys(&in_sqs), ["odd"]);
        let sparse = json!({"eventVersion": "2.9", "new": [], "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
        assert_eq!(keys(&json!({"Records": [sparse]})), ["k"]);
        assert_eq!(keys(&json!({"Records": []})), [""; 0]);
    }

    #[test]
    fn anything_else_is_invalid_and_says_what_was_expected() {
        let deep = (0..6).fold(json!({"Records": [put("k")]}).to_string(), |inner, _| {
            json!({"Type": "Notification", "Message": inner}).to_string()
        });
        let bridged = json!({"source": "aws.s3", "detail-type": "Object Deleted", "detail": {}});
        for payload in [
            json!({}),
            json!([]),
            json!(null),
            json!("x"),
            json!({"Records": {}}),
            json!({"Event": "x"}),
            json!({"s3Bucket": "b", "s3ObjectKey": "k"}),
            bridged,
            json!({"Type": "SubscriptionConfirmation"}),
            json!({"messageType": "SomethingNewOfConfig"}),
            json!({"source": "aws.config", "detail": {"messageType": "SomethingNewOfConfig"}}),
            in_sns("hello"),
            in_sqs(&["{}".to_owned()]),
            serde_json::from_str(&deep).unwrap(),
        ] {
            let [why] = &invalid(&payload)[..] else { panic!("{payload}") };
            assert!(why.contains("expected an S3 event"), "{payload}: {why}");
        }
        let frozen = json!({"source": "aws.s3", "detail-type": "Object Frozen",
            "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
        assert!(invalid(&frozen)[0].contains("`Object Frozen` of s3://b/k"));
    }

    /// What the parts of a payload are that announce nothing, in each envelope.
    fn no_logs(message: &str) -> Vec<Vec<NoLog>> {
        let as_it_is = serde_json::from_str::<Value>(message).ok();
        let envelopes = [in_sns(message), in_sqs(&[message.to_owned()]), in_sns_in_sqs(message)];
        let told = |payload: Value| {
            let [announcement] = &parse(&payload).announcements[..] else { panic!() };
            assert!(announcement.objects.is_empty() && announcement.invalid.is_empty(), "{announcement:?}");
            announcement.no_logs.clone()
        };
        envelopes.into_iter().chain(as_it_is).map(told).collect()
    }

    #[test]
    fn a_test_event_announces_nothing_in_any_envelope() {
        let s3 = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}).to_string();
        for test in [s3.as_str(), CLOUDTRAIL_TEST] {
            assert!(no_logs(test).iter().all(|told| *told == [NoLog::TestEvent]), "{test}");
        }
    }

    #[test]
    fn an_event_of_s3_that_brings_no_new_object_announces_nothing_in_any_envelope() {
        for name in [
            "ObjectRemoved:Delete",
            "ObjectRemoved:DeleteMarkerCreated",
            "s3:LifecycleExpiration:Delete",
            "ObjectRestore:Post",
            "ObjectRestore:Completed",
            "ObjectRestore:Delete",
            "ObjectTagging:Put",
            "ObjectAnnotation:Delete",
            "ObjectAcl:Put",
            "LifecycleTransition",
            "IntelligentTiering",
            "ReducedRedundancyLostObject",
            "Replication:OperationReplicatedAfterThreshold",
        ] {
            let event = json!({"eventName": name, "s3": put("%FF")["s3"]});
            let told = no_logs(&json!({"Records": [event, event]}).to_string());
            assert!(told.iter().all(|told| *told == [NoLog::OtherEvent; 2]), "{name}: {told:?}");
        }
        for name in [
            "Object Deleted", "Object Restore Initiated", "Object Restore Completed", "Object Restore Expired",
            "Object Storage Class Changed", "Object Access Tier Changed", "Object ACL Updated", "Object Tags Added",
            "Object Tags Deleted", "Object Annotation Added",
        ] {
            let event = json!({"source": "aws.s3", "detail-type": name,
                "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
            let told = no_logs(&event.to_string());
            assert!(told.iter().all(|told| *told == [NoLog::OtherEvent]), "{name}: {told:?}");
        }
    }

    #[test]
    fn a_message_of_config_announces_nothing_in_any_envelope_even_if_it_names_an_object() {
        for kind in [
            "ComplianceChangeNotification",
            "ConfigRulesEvaluationStarted",
            "ConfigurationHistoryDeliveryCompleted",
            "ConfigurationItemChangeNotification",
            "ConfigurationSnapshotDeliveryCompleted",
            "ConfigurationSnapshotDeliveryFailed",
            "ConfigurationSnapshotDeliveryStarted",
            "OversizedConfigurationItemChangeDeliveryFailed",
            "OversizedConfigurationItemChangeNotification",
            "ScheduledNotification",
        ] {
            let message = json!({"messageType": kind, "s3Bucket": "b", "s3ObjectKey": "k", "recordVersion": "1.1"});
            let bridged = json!({"source": "aws.config", "detail-type": "Config Something", "detail": message});
            for message in [message, bridged] {
                let told = no_logs(&message.to_string());
                assert!(told.iter().all(|told| *told == [NoLog::ConfigMessage]), "{message}: {told:?}");
            }
        }
    }

    #[test]
    fn an_alert_is_known_by_its_attributes_in_any_envelope_and_a_mail_is_none() {
        let alert = |change: Value| {
            let mut alert = json!({"Type": "Notification", "MessageId": "x", "Subject": "[high] A", "Message": "Event: A",
                "MessageAttributes": {"rule": {"Type": "String.Array", "Value": "[\"a\"]"},
                    "severity": {"Type": "String", "Value": "high"}}});
            alert.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let in_sns = json!({"Records": [{"EventSource": "aws:sns", "Sns": alert}]});
            [in_sqs(&[alert.to_string()]), in_sqs(&[in_sns.to_string()]), in_sns, alert].map(|payload| {
                let [announcement] = <[_; 1]>::try_from(parse(&payload).announcements).unwrap();
                assert!(announcement.objects.is_empty() && announcement.no_logs.is_empty(), "{announcement:?}");
                announcement
            })
        };
        for Announcement { alerts, invalid, .. } in alert(json!({})) {
            assert_eq!((alerts.len(), invalid.len()), (1, 0), "{invalid:?}");
        }
        let one = |name: &str| json!({name: {"Type": "String", "Value": "high"}});
        for (change, why) in [
            (json!({"Subject": null}), "is an alert without a subject"),
            (json!({"Subject": " \n"}), "is an alert without a subject"),
            (json!({"Message": ["Event: A"]}), "is an alert without a text"),
            (json!({"Message": "\n"}), "is an alert without a text"),
            (json!({"MessageAttributes": one("severity")}), "is not JSON"),
            (json!({"MessageAttributes": one("rule")}), "is not JSON"),
            (json!({"MessageAttributes": []}), "is not JSON"),
            (json!({"MessageAttributes": {"rule": "a", "severity": {"Value": 7}}}), "is not JSON"),
        ] {
            for Announcement { alerts, invalid, .. } in alert(change.clone()) {
                assert!(alerts.is_empty() && invalid.len() == 1 && invalid[0].contains(why), "{change}: {invalid:?}");
            }
        }
        let [in_sqs, ..] = alert(json!({"Subject": null}));
        assert!(in_sqs.invalid[0].starts_with("the body of SQS message 0 is"), "{:?}", in_sqs.invalid);
    }

    #[test]
    fn a_confirmation_says_what_to_confirm_and_shows_nothing_that_a_sender_could_make_harmful() {
        let told = |payload: &Value| {
            let [announcement] = &parse(payload).announcements[..] else { panic!() };
            assert!(announcement.objects.is_empty() && announcement.invalid.is_empty(), "{announcement:?}");
            assert_eq!(announcement.no_logs, [NoLog::Confirmation]);
            announcement.warnings.join("|")
        };
        let message = |kind: &str, token: &str| {
            json!({"Type": kind, "Token": token, "TopicArn": "arn:aws:sns:us-west-2:123456789012:logs",
                "Message": "You have chosen to …", "SubscribeURL": "https://evil.example/"})
        };
        let command = "aws sns confirm-subscription --region us-west-2 --topic-arn \
                       arn:aws:sns:us-west-2:123456789012:logs --token 2336abc";
        for (kind, fact) in [("SubscriptionConfirmation", "asks to confirm"), ("UnsubscribeConfirmation", "has ended")]
        {
            let message = message(kind, "2336abc");
            for payload in [
                message.clone(),
                json!({"Records": [{"EventSource": "aws:sns", "Sns": message}]}),
                in_sqs(&[message.to_string()]),
                in_sns_in_sqs(&message.to_string()),
            ] {
                let warning = told(&payload);
                assert!(warning.contains(fact) && warning.ends_with(command), "{warning}");
                assert!(!warning.contains("evil"), "{warning}");
            }
        }
        for token in ["", "x; rm -rf ~", "x\n"] {
            let warning = told(&message("SubscriptionConfirmation", token));
            assert!(warning.ends_with("subscribe again") && !warning.contains("--token"), "{warning}");
        }
        for topic in [
            "$(id)",
            "arn:aws$(id):sns:us-west-2:123456789012:logs",
            "arn:aws:sns:us-west-2;id:123456789012:logs",
            "arn:aws:sns:us-west-2:$(id):logs",
            "arn:aws:sns:us-west-2:123456789012:logs`id`",
        ] {
            let mut odd = message("SubscriptionConfirmation", "2336abc");
            odd["TopicArn"] = json!(topic);
            let warning = told(&odd);
            assert!(warning.ends_with("subscribe again") && !warning.contains("aws sns"), "{warning}");
        }
    }
}

//! The shapes that an invocation's payload can have, and the log objects that they name. Pure.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

/// An object in S3. Displayed as `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct S3Object {
    /// The bucket's name.
    pub bucket: String,
    /// The key as S3 stores it, decoded.
    pub key: String,
}

impl fmt::Display for S3Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// What an invocation brings.
#[derive(Debug, Default, PartialEq)]
pub struct Payload {
    /// Whether SQS sent it, which takes back messages one by one; everything else is done or failed as a whole.
    pub from_sqs: bool,
    /// The messages; whatever does not come from SQS is one message.
    pub messages: Vec<Message>,
}

/// What one message announces.
#[derive(Debug, Default, PartialEq)]
pub struct Message {
    /// By which SQS knows it.
    pub id: Option<String>,
    /// The objects that were created, in the message's order, whatever they are.
    pub objects: Vec<S3Object>,
    /// How many messages there were that only try out whether messages arrive: S3 and CloudTrail send one when they are
    /// set up.
    pub test_events: u64,
    /// One text for each part that names no created object.
    pub invalid: Vec<String>,
}

/// Why an announced object is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLog {
    /// Below `CloudTrail-Digest`: signatures of log files.
    Digest,
    /// Below `CloudTrail-Insight`: statistics, without event names.
    Insight,
    /// Another service (AWS Config, load balancers, …) writes below the same `AWSLogs/`.
    OtherService,
}

/// How many envelopes a notification may be in: SNS in SQS makes two, and nobody needs more than one more.
const ENVELOPES: usize = 4;

/// What CloudTrail publishes to a trail's topic when the topic is set.
const CLOUDTRAIL_TEST: &str = "CloudTrail validation message.";

const EXPECTED: &str = "expected an S3 event notification ({\"Records\": [{\"eventName\": \"ObjectCreated:Put\", \"s3\": \
     {\"bucket\": {\"name\": …}, \"object\": {\"key\": …}}}]}), EventBridge's \"Object Created\" of S3, or CloudTrail's \
     notification of delivery ({\"s3Bucket\": …, \"s3ObjectKey\": […]}), each as it is, or through SNS, SQS or both";

/// The fields of [an S3 notification](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html)
/// that matter here; everything else may be missing, or new.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    event_name: Option<String>,
    s3: Entity,
}

/// The same in [EventBridge's event](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html).
#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

/// CloudTrail's [notification of delivery](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    s3_bucket: String,
    s3_object_key: Vec<String>,
}

/// A message of [a batch from SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SqsRecord {
    message_id: String,
    body: String,
}

/// Tells what an invocation's payload announces, by its content alone.
///
/// What is not known is told in [`Message::invalid`], so that its neighbours are still processed.
#[must_use]
pub fn parse(payload: &Value) -> Payload {
    let records = payload.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let from_sqs = records.iter().any(|record| record.get("eventSource").is_some_and(|source| source == "aws:sqs"));
    if !from_sqs {
        let mut message = Message::default();
        message.open("the payload", payload, ENVELOPES);
        return Payload { from_sqs, messages: vec![message] };
    }
    let messages = records.iter().enumerate().map(|(i, record)| match SqsRecord::deserialize(record) {
        Ok(SqsRecord { message_id, body }) => {
            let mut message = Message { id: Some(message_id), ..Message::default() };
            message.open_text(&format!("the body of SQS message {i}"), &body, ENVELOPES);
            message
        }
        Err(e) => {
            let why =
                format!("Records[{i}] of the payload is not known ({e}): expected a message from SQS, like the others");
            Message { invalid: vec![why], ..Message::default() }
        }
    });
    Payload { from_sqs, messages: messages.collect() }
}

impl Message {
    /// Opens an envelope that holds another one as text.
    fn open_text(&mut self, at: &str, text: &str, envelopes: usize) {
        if text == CLOUDTRAIL_TEST {
            self.test_events += 1;
            return;
        }
        match serde_json::from_str(text) {
            Ok(inner) => self.open(at, &inner, envelopes),
            Err(e) => self.invalid.push(format!("{at} is no JSON ({e}): {EXPECTED}")),
        }
    }

    /// Opens one envelope. `at` says where it was, for people.
    fn open(&mut self, at: &str, envelope: &Value, envelopes: usize) {
        let text = |key: &str| envelope.get(key).and_then(Value::as_str);
        let Some(envelopes) = envelopes.checked_sub(1) else {
            self.invalid.push(format!("{at} is in too many envelopes: {EXPECTED}"));
            return;
        };
        if text("Event") == Some("s3:TestEvent") {
            self.test_events += 1;
        } else if let Some(records) = envelope.get("Records").and_then(Value::as_array) {
            for (i, record) in records.iter().enumerate() {
                let at = format!("Records[{i}] of {at}");
                match record.pointer("/Sns/Message").and_then(Value::as_str) {
                    Some(message) => self.open_text(&format!("the SNS message in {at}"), message, envelopes),
                    None => self.take(created_object(record), &at),
                }
            }
        } else if let (Some("Notification"), Some(message)) = (text("Type"), text("Message")) {
            self.open_text(&format!("the SNS message in {at}"), message, envelopes);
        } else if let (Some("aws.s3"), Some(what)) = (text("source"), text("detail-type")) {
            self.take(bridged_object(what, envelope), at);
        } else if envelope.get("s3ObjectKey").is_some() {
            match Delivery::deserialize(envelope) {
                Ok(Delivery { s3_bucket: bucket, s3_object_key: keys }) => {
                    self.objects.extend(keys.into_iter().map(|key| S3Object { bucket: bucket.clone(), key }));
                }
                Err(e) => self.invalid.push(format!("{at} is not known ({e}): {EXPECTED}")),
            }
        } else {
            self.invalid.push(format!("{at} is not known: {EXPECTED}"));
        }
    }

    fn take(&mut self, object: Result<S3Object, String>, at: &str) {
        match object {
            Ok(object) => self.objects.push(object),
            Err(why) => self.invalid.push(format!("{at} {why}")),
        }
    }
}

fn created_object(record: &Value) -> Result<S3Object, String> {
    let notification = Notification::deserialize(record).map_err(|e| format!("is not known ({e}): {EXPECTED}"))?;
    let object = S3Object {
        key: decoded_key(&notification.s3.object.key)
            .ok_or_else(|| format!("has a key that is no UTF-8: {}", notification.s3.object.key))?,
        bucket: notification.s3.bucket.name,
    };
    match notification.event_name {
        Some(name) if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") => Err(format!(
            "is {name} of {object}: let the notification send s3:ObjectCreated:* only, no other event brings a new log"
        )),
        _ => Ok(object),
    }
}

/// EventBridge writes keys as they are.
fn bridged_object(what: &str, event: &Value) -> Result<S3Object, String> {
    let detail = event.get("detail").unwrap_or(&Value::Null);
    let entity = Entity::deserialize(detail).map_err(|e| format!("is not known ({e}): {EXPECTED}"))?;
    let object = S3Object { bucket: entity.bucket.name, key: entity.object.key };
    if what == "Object Created" {
        return Ok(object);
    }
    Err(format!("is `{what}` of {object}: let the rule match \"detail-type\": [\"Object Created\"] only"))
}

/// S3 writes keys into notifications as HTML forms do: `+` is a space, and every other byte may be `%XX`.
fn decoded_key(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

/// Tells by its key that an object is no CloudTrail log, if the key has CloudTrail's layout:
/// `[prefix/]AWSLogs/[o-organization/]account/service/…`. A key of another layout may be a log: `None`.
///
/// Whole segments are compared, because a user's prefix may hold any of the words.
#[must_use]
pub fn no_log(key: &str) -> Option<NoLog> {
    let segments: Vec<&str> = key.split('/').collect();
    let is_account = |segment: &str| segment.len() == 12 && segment.bytes().all(|b| b.is_ascii_digit());
    // The last: even a whole layout may stand in a prefix.
    let service =
        segments.iter().enumerate().rev().filter(|(_, segment)| **segment == "AWSLogs").find_map(|(at, _)| {
            let rest = &segments[at + 1..];
            match rest {
                [account, service, _, ..] if is_account(account) => Some(*service),
                [org, account, service, _, ..] if org.starts_with("o-") && is_account(account) => Some(*service),
                _ => None,
            }
        })?;
    match service {
        "CloudTrail" => None,
        "CloudTrail-Digest" => Some(NoLog::Digest),
        "CloudTrail-Insight" => Some(NoLog::Insight),
        _ => Some(NoLog::OtherService),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(key: &str) -> Value {
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}})
    }

    fn keys(payload: &Value) -> Vec<String> {
        let messages = parse(payload).messages;
        assert!(messages.iter().all(|message| message.invalid.is_empty()), "{messages:?}");
        messages.into_iter().flat_map(|message| message.objects).map(|object| object.key).collect()
    }

    fn invalid(payload: &Value) -> Vec<String> {
        parse(payload).messages.into_iter().flat_map(|message| message.invalid).collect()
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
        let deleted = json!({"eventName": "ObjectRemoved:Delete", "s3": put("gone")["s3"]});
        let payload = json!({"Records": [put("1"), {"sns": {}}, deleted, put("%FF"), put("2")]});
        let [message] = &parse(&payload).messages[..] else { panic!() };
        assert_eq!(message.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        let [unknown, removed, no_utf8] = &message.invalid[..] else { panic!("{message:?}") };
        assert!(unknown.starts_with("Records[1] of the payload is not known"), "{unknown}");
        assert!(removed.contains("ObjectRemoved:Delete of s3://b/gone"), "{removed}");
        assert!(no_utf8.contains("no UTF-8"), "{no_utf8}");
    }

    #[test]
    fn messages_of_a_batch_are_told_apart() {
        let good = json!({"Records": [put("1")]}).to_string();
        let mut batch = in_sqs(&[good.clone(), "garbage".to_owned(), good]);
        batch["Records"].as_array_mut().unwrap().push(json!({"eventSource": "aws:sqs"}));
        let Payload { from_sqs, messages } = parse(&batch);
        assert!(from_sqs);
        let told: Vec<_> = messages.iter().map(|m| (m.id.as_deref(), m.objects.len(), m.invalid.len())).collect();
        assert_eq!(told, [(Some("m0"), 1, 0), (Some("m1"), 0, 1), (Some("m2"), 1, 0), (None, 0, 1)]);
        assert!(messages[1].invalid[0].starts_with("the body of SQS message 1 is no JSON"));
    }

    #[test]
    fn other_minor_versions_and_missing_fields_are_fine() {
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
            in_sns("hello"),
            in_sqs(&["{}".to_owned()]),
            serde_json::from_str(&deep).unwrap(),
        ] {
            let [why] = &invalid(&payload)[..] else { panic!("{payload}") };
            assert!(why.contains("expected an S3 event"), "{payload}: {why}");
        }
        let deleted = json!({"source": "aws.s3", "detail-type": "Object Deleted",
            "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
        assert!(invalid(&deleted)[0].contains("`Object Deleted` of s3://b/k"));
    }

    #[test]
    fn a_test_event_announces_nothing_in_any_envelope() {
        let s3 = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}).to_string();
        for test in [s3.as_str(), CLOUDTRAIL_TEST] {
            for payload in [in_sns(test), in_sqs(&[test.to_owned()]), in_sns_in_sqs(test)] {
                let [message] = &parse(&payload).messages[..] else { panic!() };
                let expected = Message { id: message.id.clone(), test_events: 1, ..Message::default() };
                assert_eq!(*message, expected, "{payload}");
            }
        }
        assert_eq!(parse(&serde_json::from_str(&s3).unwrap()).messages[0].test_events, 1);
    }

    #[test]
    fn logs_are_told_by_the_segments_of_their_key() {
        for (key, expected) in [
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz", None),
            ("p/q/AWSLogs/o-abc123/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail-Digest/us-east-1/x.json.gz", Some(NoLog::Digest)),
            ("AWSLogs/o-abc123/123456789012/CloudTrail-Insight/x.json.gz", Some(NoLog::Insight)),
            ("AWSLogs/123456789012/Config/us-east-1/x.json.gz", Some(NoLog::OtherService)),
            ("CloudTrail-Digest/AWSLogs/123456789012/CloudTrail/x.json.gz", None),
            ("AWSLogs/AWSLogs/123456789012/Config/x.json.gz", Some(NoLog::OtherService)),
            ("AWSLogs/123456789012/trail/AWSLogs/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("CloudTrail-Digest/x.json.gz", None),
            ("AWSLogs/123/Config/x.json.gz", None),
            ("AWSLogs/123456789012/x.json.gz", None),
            ("x.json", None),
            ("", None),
        ] {
            assert_eq!(no_log(key), expected, "{key}");
        }
    }
}

//! The payload of an invocation: the forms in which logs are announced, told apart by content.

use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::log::S3Object;

/// The announcements that an invocation brings.
#[derive(Debug, Default, PartialEq)]
pub struct Payload {
    /// Whether SQS sent it, which takes back messages one by one; other payloads are done or failed as a whole.
    pub from_sqs: bool,
    /// One for each message from SQS; one for any other payload.
    pub announcements: Vec<Announcement>,
}

/// The objects that one message names.
#[derive(Debug, Default, PartialEq)]
pub struct Announcement {
    /// The id by which SQS knows the message.
    pub(crate) message_id: Option<String>,
    /// The objects that were created, in the message's order, whether or not they are logs.
    pub objects: Vec<S3Object>,
    /// The number of test messages: S3 and CloudTrail send one when notifications are set up.
    pub test_events: u64,
    /// One text for each part that names no created object.
    pub invalid: Vec<String>,
}

impl Payload {
    /// The announced objects, each once.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &S3Object> {
        let mut known = HashSet::new();
        let objects = self.announcements.iter().flat_map(|announcement| &announcement.objects);
        objects.filter(move |object| known.insert(*object))
    }
}

/// The most envelopes around a notification. SNS in SQS makes two.
const ENVELOPES: usize = 4;

/// CloudTrail publishes this text to a trail's topic when the topic is set.
const CLOUDTRAIL_TEST: &str = "CloudTrail validation message.";

const EXPECTED: &str = "expected an S3 event notification ({\"Records\": [{\"eventName\": \"ObjectCreated:Put\", \"s3\": \
     {\"bucket\": {\"name\": …}, \"object\": {\"key\": …}}}]}), EventBridge's \"Object Created\" of S3, or CloudTrail's \
     notification of delivery ({\"s3Bucket\": …, \"s3ObjectKey\": […]}), each as it is, or through SNS, SQS or both";

/// Reads a payload.
///
/// The fields are looked up one by one: the types of `aws_lambda_events` refuse a whole payload for an odd value in a field
/// that is not used here. A part that is not known goes to [`Announcement::invalid`], so that the others are processed.
pub fn parse(payload: &Value) -> Payload {
    let records = payload.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let from_sqs = records.iter().any(|record| text(record, "/eventSource") == Some("aws:sqs"));
    if !from_sqs {
        let mut announcement = Announcement::default();
        announcement.open("the payload", payload, ENVELOPES);
        return Payload { from_sqs, announcements: vec![announcement] };
    }
    let announcements = records.iter().enumerate().map(|(i, record)| {
        let mut announcement = Announcement::default();
        match (text(record, "/messageId"), text(record, "/body")) {
            (Some(id), Some(body)) => {
                announcement.message_id = Some(id.to_owned());
                announcement.open_text(&format!("the body of SQS message {i}"), body, ENVELOPES);
            }
            (id, _) => {
                let missing = if id.is_none() { "messageId" } else { "body" };
                let what = format!("Records[{i}] of the payload is not known (it has no {missing})");
                announcement.invalid.push(format!("{what}: expected a message from SQS, like the others"));
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
    /// Opens an envelope that holds another one as text.
    fn open_text(&mut self, at: &str, text: &str, envelopes: usize) {
        if text == CLOUDTRAIL_TEST {
            self.test_events += 1;
            return;
        }
        match serde_json::from_str(text) {
            Ok(inner) => self.open(at, &inner, envelopes),
            Err(e) => self.invalid.push(format!("{at} is not JSON ({e}): {EXPECTED}")),
        }
    }

    /// Opens one envelope. `at` is its place, for people.
    fn open(&mut self, at: &str, envelope: &Value, envelopes: usize) {
        let Some(envelopes) = envelopes.checked_sub(1) else {
            self.invalid.push(format!("{at} is nested too deeply: {EXPECTED}"));
            return;
        };
        if text(envelope, "/Event") == Some("s3:TestEvent") {
            self.test_events += 1;
        } else if let Some(records) = envelope.get("Records").and_then(Value::as_array) {
            for (i, record) in records.iter().enumerate() {
                let at = format!("Records[{i}] of {at}");
                match text(record, "/Sns/Message") {
                    Some(message) => self.open_text(&format!("the SNS message in {at}"), message, envelopes),
                    None => self.take(&at, created_object(record)),
                }
            }
        } else if let (Some("Notification"), Some(message)) = (text(envelope, "/Type"), text(envelope, "/Message")) {
            self.open_text(&format!("the SNS message in {at}"), message, envelopes);
        } else if let (Some("aws.s3"), Some(what)) = (text(envelope, "/source"), text(envelope, "/detail-type")) {
            self.take(at, bridged_object(what, envelope));
        } else if let Some(objects) = delivered_objects(envelope) {
            self.objects.extend(objects);
        } else {
            self.invalid.push(format!("{at} is not known: {EXPECTED}"));
        }
    }

    fn take(&mut self, at: &str, object: Result<S3Object, String>) {
        match object {
            Ok(object) => self.objects.push(object),
            Err(problem) => self.invalid.push(format!("{at} {problem}")),
        }
    }
}

/// The object of [an S3 notification](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
fn created_object(record: &Value) -> Result<S3Object, String> {
    let S3Object { bucket, key } = record.get("s3").and_then(entity).ok_or_else(not_known)?;
    let key = decoded_key(&key).ok_or_else(|| format!("has a key that is not UTF-8: {key}"))?;
    let object = S3Object { bucket, key };
    match record.get("eventName") {
        None | Some(Value::Null) => Ok(object),
        Some(Value::String(name)) if name.trim_start_matches("s3:").starts_with("ObjectCreated:") => Ok(object),
        Some(Value::String(name)) => Err(format!(
            "is {name} of {object}: let the notification send s3:ObjectCreated:* only, since no other event brings a new \
             log"
        )),
        Some(_) => Err(not_known()),
    }
}

/// The object of [an EventBridge event](https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html), which has
/// the key as it is.
fn bridged_object(what: &str, event: &Value) -> Result<S3Object, String> {
    let object = event.get("detail").and_then(entity).ok_or_else(not_known)?;
    if what == "Object Created" {
        return Ok(object);
    }
    Err(format!("is `{what}` of {object}: let the rule match \"detail-type\": [\"Object Created\"] only"))
}

/// The objects of CloudTrail's
/// [notification of delivery](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html),
/// which has the keys as they are.
fn delivered_objects(delivery: &Value) -> Option<Vec<S3Object>> {
    let bucket = text(delivery, "/s3Bucket")?;
    let object = |key: &Value| Some(S3Object { bucket: bucket.to_owned(), key: key.as_str()?.to_owned() });
    delivery.get("s3ObjectKey")?.as_array()?.iter().map(object).collect()
}

fn entity(entity: &Value) -> Option<S3Object> {
    let (bucket, key) = (text(entity, "/bucket/name")?, text(entity, "/object/key")?);
    Some(S3Object { bucket: bucket.to_owned(), key: key.to_owned() })
}

fn not_known() -> String {
    format!("is not known: {EXPECTED}")
}

/// S3 writes keys into notifications as HTML forms do: `+` is a space, and every other byte may be `%XX`.
fn decoded_key(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
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
        let deleted = json!({"eventName": "ObjectRemoved:Delete", "s3": put("gone")["s3"]});
        let payload = json!({"Records": [put("1"), {"sns": {}}, deleted, put("%FF"), put("2")]});
        let [announcement] = &parse(&payload).announcements[..] else { panic!() };
        assert_eq!(announcement.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        let [unknown, removed, no_utf8] = &announcement.invalid[..] else { panic!("{announcement:?}") };
        assert!(unknown.starts_with("Records[1] of the payload is not known"), "{unknown}");
        assert!(removed.contains("ObjectRemoved:Delete of s3://b/gone"), "{removed}");
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
                let [announcement] = &parse(&payload).announcements[..] else { panic!() };
                let message_id = announcement.message_id.clone();
                assert_eq!(*announcement, Announcement { message_id, test_events: 1, ..Announcement::default() });
            }
        }
        assert_eq!(parse(&serde_json::from_str(&s3).unwrap()).announcements[0].test_events, 1);
    }
}

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

/// What a payload announces.
#[derive(Debug, Default, PartialEq)]
pub struct Announcement {
    /// The objects that were created, in the payload's order, whatever they are.
    pub objects: Vec<S3Object>,
    /// How many `s3:TestEvent`s there were: S3 sends one when a notification is set up.
    pub test_events: u64,
    /// One text for each record that names no created object.
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

const EXPECTED: &str = "expected an S3 event notification: {\"Records\": [{\"eventName\": \"ObjectCreated:Put\", \
     \"s3\": {\"bucket\": {\"name\": …}, \"object\": {\"key\": …}}}]}";

/// The fields of [an S3 notification](https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html)
/// that matter here; everything else may be missing, or new.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    event_name: Option<String>,
    s3: Entity,
}

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

/// Tells what a payload announces.
///
/// # Errors
/// What was expected, if the payload as a whole is none of the known shapes. A single record that is not is told in
/// [`Announcement::invalid`] instead, so that its neighbours are still processed.
pub fn announcement(payload: &Value) -> Result<Announcement, String> {
    let mut announced = Announcement::default();
    if payload.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        announced.test_events = 1;
        return Ok(announced);
    }
    let Some(records) = payload.get("Records").and_then(Value::as_array) else {
        return Err(format!("the payload is not known: {EXPECTED}"));
    };
    for (index, record) in records.iter().enumerate() {
        match created_object(record) {
            Ok(object) => announced.objects.push(object),
            Err(why) => announced.invalid.push(format!("Records[{index}] of the payload {why}")),
        }
    }
    Ok(announced)
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
    let service = segments.iter().enumerate().filter(|(_, segment)| **segment == "AWSLogs").find_map(|(at, _)| {
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

    #[test]
    fn keys_are_decoded_as_forms_are() {
        for (sent, stored) in [
            ("a/b.json.gz", "a/b.json.gz"),
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%252Bb", "a%2Bb"),
            ("%C3%BCber/%F0%9F%98%80", "über/😀"),
            ("100%", "100%"),
        ] {
            let announced = announcement(&json!({"Records": [put(sent)]})).unwrap();
            assert_eq!(announced.objects, [S3Object { bucket: "b".into(), key: stored.into() }], "{sent}");
        }
    }

    #[test]
    fn a_bad_record_does_not_hide_its_neighbours() {
        let deleted = json!({"eventName": "ObjectRemoved:Delete", "s3": put("gone")["s3"]});
        let announced =
            announcement(&json!({"Records": [put("1"), {"sns": {}}, deleted, put("%FF"), put("2")]})).unwrap();
        assert_eq!(announced.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(announced.invalid.len(), 3);
        assert!(announced.invalid[0].starts_with("Records[1] of the payload is not known"), "{:?}", announced.invalid);
        assert!(announced.invalid[1].contains("ObjectRemoved:Delete of s3://b/gone"), "{:?}", announced.invalid);
        assert!(announced.invalid[2].contains("no UTF-8"), "{:?}", announced.invalid);
    }

    #[test]
    fn other_minor_versions_and_missing_fields_are_fine() {
        let sparse = json!({"eventVersion": "2.9", "new": [], "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
        assert_eq!(announcement(&json!({"Records": [sparse]})).unwrap().objects.len(), 1);
        assert_eq!(announcement(&json!({"Records": []})).unwrap(), Announcement::default());
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_was_expected() {
        for payload in [json!({}), json!([]), json!(null), json!("x"), json!({"Records": {}}), json!({"Event": "x"})] {
            assert!(announcement(&payload).unwrap_err().contains("expected an S3 event"), "{payload}");
        }
    }

    #[test]
    fn a_test_event_announces_nothing() {
        let announced = announcement(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})).unwrap();
        assert_eq!(announced, Announcement { test_events: 1, ..Announcement::default() });
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

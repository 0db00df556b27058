//! Any payload is told apart, as it is and in the envelopes that hold it as text.

#![no_main]

use cloudtrail_alerter::lambda::{batch_job, event};
use cloudtrail_alerter::log::reason_to_skip;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let in_sns = json!({"Type": "Notification", "Message": text}).to_string();
    let alert = json!({"Type": "Notification", "Subject": text, "Message": text, "MessageId": text,
        "MessageAttributes": {"rule": {"Value": text}, "severity": {"Value": text}, "eventName": {"Value": text}}});
    let in_sqs = |body: &str| json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]});
    let mut payloads = vec![in_sqs(&text), in_sqs(&in_sns), in_sqs(&alert.to_string())];
    payloads.push(json!({"Records": [{"Sns": {"Message": text}}]}));
    payloads.extend(serde_json::from_slice::<Value>(input).ok());
    let task = json!({"taskId": text, "s3Key": text, "s3BucketArn": text, "s3VersionId": text});
    let arguments = serde_json::from_slice::<Value>(input).unwrap_or_else(|_| json!({"dryRun": text, "rule": text}));
    payloads.push(json!({"invocationSchemaVersion": text, "tasks": [task], "job": {"userArguments": arguments}}));
    for payload in payloads {
        if let Some(job) = batch_job::parse(&payload) {
            assert_eq!(job.tasks.len(), payload["tasks"].as_array().unwrap().len());
            for object in job.tasks.iter().filter_map(|task| task.object.as_ref().ok()) {
                let _ = reason_to_skip(&object.key);
            }
            continue;
        }
        let parsed = event::parse(&payload);
        let records = payload.get("Records").and_then(Value::as_array);
        assert_eq!(parsed.announcements.len(), if parsed.from_sqs { records.unwrap().len() } else { 1 });
        for announcement in &parsed.announcements {
            let no_objects = announcement.objects.is_empty() && announcement.no_logs.is_empty();
            let nothing = no_objects && announcement.alerts.is_empty() && announcement.invalid.is_empty();
            // Only an empty list announces nothing.
            assert!(!nothing || text.contains('['), "{payload} is lost");
            for object in &announcement.objects {
                let _ = reason_to_skip(&object.key);
            }
        }
    }
});

//! Objects in S3, and which of them are log files, as far as a key says it.

use std::fmt;

/// An object in S3. Displayed as `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The reason why an object is not a CloudTrail log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// CloudTrail's signatures of log files.
    Digest,
    /// CloudTrail's statistics, without event names.
    Insight,
    /// CloudTrail's counts of data events, without callers.
    Aggregated,
    /// Another service (AWS Config, load balancers, flow logs, …) writes below the same `AWSLogs/`.
    OtherService,
    /// It has no content that anybody wants: a folder of the console, or AWS tried whether it may write.
    Placeholder,
}

/// The last segments of the keys by which AWS tries whether it may write to a bucket, wherever they stand.
const WRITE_CHECKS: [&str; 7] = [
    "AMAZON_SES_SETUP_NOTIFICATION", "ConfigWritabilityCheckFile", "ELBAccessLogTestFile", "ELBConnectionLogTestFile",
    "ELBHealthCheckLogTestFile", "amazon-bedrock-logs-permission-check", "aws-programmatic-access-test-object",
];

/// The reason to skip an object, as far as its key tells: by CloudTrail's
/// [layout](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html),
/// `[prefix/]AWSLogs/[o-organization/]account/service/…`, and where that is missing, by CloudTrail's name of the file.
/// Other keys below `AWSLogs/` are AWS's, too: they are logs only if they end in `.json.gz`. Any other key may be a log:
/// `None`.
///
/// Whole segments are compared, because a user's prefix may hold any of the words.
pub fn reason_to_skip(key: &str) -> Option<SkipReason> {
    let segments: Vec<&str> = key.split('/').collect();
    let (name, folders) = segments.split_last()?;
    if (name.is_empty() && !folders.is_empty()) || name.ends_with("_$folder$") || WRITE_CHECKS.contains(name) {
        return Some(SkipReason::Placeholder);
    }
    match service(&segments) {
        Some("CloudTrail" | "CloudTrail-NetworkActivity") => return None,
        Some(service) => return reason_by_service(service).or(Some(SkipReason::OtherService)),
        None => {}
    }
    let mut parts = name.split('_');
    let writer = parts.next().filter(|account| is_account(account)).and_then(|_| parts.next());
    let reason = writer.and_then(reason_by_service);
    let is_unlike_a_log = folders.contains(&"AWSLogs") && !name.to_ascii_lowercase().ends_with(".json.gz");
    reason.or(is_unlike_a_log.then_some(SkipReason::OtherService))
}

/// The service that wrote an object, in CloudTrail's layout. The last `AWSLogs` counts: even a whole layout may stand in a
/// prefix.
fn service<'k>(segments: &[&'k str]) -> Option<&'k str> {
    segments.iter().enumerate().rev().filter(|(_, segment)| **segment == "AWSLogs").find_map(|(at, _)| {
        match segments[at + 1..] {
            [account, service, _, ..] if is_account(account) => Some(service),
            [organization, account, service, _, ..] if organization.starts_with("o-") && is_account(account) => {
                Some(service)
            }
            _ => None,
        }
    })
}

/// What is known not to be a log, by the name of its writer, as folders and files have it.
fn reason_by_service(service: &str) -> Option<SkipReason> {
    match service {
        "CloudTrail-Digest" => Some(SkipReason::Digest),
        "CloudTrail-Insight" => Some(SkipReason::Insight),
        "CloudTrail-Aggregated" => Some(SkipReason::Aggregated),
        "Config" => Some(SkipReason::OtherService),
        _ => None,
    }
}

pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_known_by_the_segments_of_their_key() {
        use SkipReason::{Aggregated, Digest, Insight, OtherService, Placeholder};
        for (key, expected) in [
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x", None),
            ("p/q/AWSLogs/o-abc123/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail-NetworkActivity/us-east-1/2026/11/20/x.json.gz", None),
            ("AWSLogs/o-abc123/123456789012/CloudTrail-NetworkActivity/us-east-1/x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail-Digest/us-east-1/x.json.gz", Some(Digest)),
            ("AWSLogs/o-abc123/123456789012/CloudTrail-Insight/x.json.gz", Some(Insight)),
            ("AWSLogs/123456789012/CloudTrail-Aggregated/us-east-1/2026/11/20/x.json.gz", Some(Aggregated)),
            ("AWSLogs/123456789012/CloudTrail-New/us-east-1/x.json.gz", Some(OtherService)),
            ("AWSLogs/123456789012/Config/us-east-1/x.json.gz", Some(OtherService)),
            ("AWSLogs/123456789012/elasticloadbalancing/us-east-1/2026/11/20/x.log.gz", Some(OtherService)),
            ("CloudTrail-Digest/AWSLogs/123456789012/CloudTrail/x.json.gz", None),
            ("AWSLogs/AWSLogs/123456789012/Config/x.json.gz", Some(OtherService)),
            ("AWSLogs/123456789012/trail/AWSLogs/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("CloudTrail-Digest/x.json.gz", None),
            ("x.json", None),
            ("", None),
            // Folders of consoles and of file systems on S3.
            ("AWSLogs/123456789012/CloudTrail/", Some(Placeholder)),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/", Some(Placeholder)),
            ("AWSLogs/", Some(Placeholder)),
            ("logs/", Some(Placeholder)),
            ("/", Some(Placeholder)),
            ("logs_$folder$", Some(Placeholder)),
            // Write checks.
            ("AWSLogs/123456789012/ELBAccessLogTestFile", Some(Placeholder)),
            ("p/AWSLogs/123456789012/ELBConnectionLogTestFile", Some(Placeholder)),
            ("AWSLogs/123456789012/Config/ConfigWritabilityCheckFile", Some(Placeholder)),
            ("aws-programmatic-access-test-object", Some(Placeholder)),
            ("ELBAccessLogTestFile/x.json.gz", None),
            // Other layouts below AWSLogs.
            ("AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/x.log.gz", Some(OtherService)),
            ("p/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/x.parquet", Some(OtherService)),
            ("AWSLogs/123456789012/x.log.gz", Some(OtherService)),
            ("AWSLogs/123456789012/CloudTrail", Some(OtherService)),
            ("AWSLogs/notes.json", Some(OtherService)),
            ("AWSLogs/123/Config/x.json.gz", None),
            ("AWSLogs/123456789012/x.json.gz", None),
            ("AWSLogs/aws-account-id=123456789012/aws-service=cloudtrail/X.JSON.GZ", None),
            ("MyAWSLogs/x.log", None),
            ("logs/AWSLogs", None),
            // The name of a file tells where folders are missing, and only there.
            ("123456789012_CloudTrail-Digest_us-east-1_trail_us-east-1_20261120T211009Z.json.gz", Some(Digest)),
            ("logs/123456789012_CloudTrail-Insight_us-east-1_20261120T2110Z_x.json.gz", Some(Insight)),
            ("AWSLogs/123456789012_CloudTrail-Aggregated_us-east-1_20261120T2110Z_x.json.gz", Some(Aggregated)),
            ("123456789012_Config_us-east-1_ConfigHistory_x.json.gz", Some(OtherService)),
            ("123456789012_CloudTrail_us-east-1_20261120T2110Z_x.json.gz", None),
            ("123456789012_CloudTrail-NetworkActivity_us-east-1_20261120T2110Z_x.json.gz", None),
            ("about_CloudTrail-Digest_x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/123456789012_CloudTrail-Digest_x.json.gz", None),
        ] {
            assert_eq!(reason_to_skip(key), expected, "{key}");
        }
    }
}

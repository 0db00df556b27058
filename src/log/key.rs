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
    /// Below `CloudTrail-Digest`: signatures of log files.
    Digest,
    /// Below `CloudTrail-Insight`: statistics, without event names.
    Insight,
    /// Another service (AWS Config, load balancers, …) writes below the same `AWSLogs/`.
    OtherService,
}

/// The reason to skip an object, if its key has CloudTrail's
/// [layout](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html):
/// `[prefix/]AWSLogs/[o-organization/]account/service/…`. A key of another layout may be a log: `None`.
///
/// Whole segments are compared, because a user's prefix may hold any of the words.
pub fn reason_to_skip(key: &str) -> Option<SkipReason> {
    let segments: Vec<&str> = key.split('/').collect();
    // The last `AWSLogs` counts: even a whole layout may stand in a prefix.
    let service =
        segments.iter().enumerate().rev().filter(|(_, segment)| **segment == "AWSLogs").find_map(|(at, _)| {
            match segments[at + 1..] {
                [account, service, _, ..] if is_account(account) => Some(service),
                [organization, account, service, _, ..] if organization.starts_with("o-") && is_account(account) => {
                    Some(service)
                }
                _ => None,
            }
        })?;
    match service {
        "CloudTrail" => None,
        "CloudTrail-Digest" => Some(SkipReason::Digest),
        "CloudTrail-Insight" => Some(SkipReason::Insight),
        _ => Some(SkipReason::OtherService),
    }
}

/// Whether a text has the form of an AWS account's number: 12 digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_known_by_the_segments_of_their_key() {
        for (key, expected) in [
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz", None),
            ("p/q/AWSLogs/o-abc123/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("AWSLogs/123456789012/CloudTrail-Digest/us-east-1/x.json.gz", Some(SkipReason::Digest)),
            ("AWSLogs/o-abc123/123456789012/CloudTrail-Insight/x.json.gz", Some(SkipReason::Insight)),
            ("AWSLogs/123456789012/Config/us-east-1/x.json.gz", Some(SkipReason::OtherService)),
            ("CloudTrail-Digest/AWSLogs/123456789012/CloudTrail/x.json.gz", None),
            ("AWSLogs/AWSLogs/123456789012/Config/x.json.gz", Some(SkipReason::OtherService)),
            ("AWSLogs/123456789012/trail/AWSLogs/123456789012/CloudTrail/us-east-1/x.json.gz", None),
            ("CloudTrail-Digest/x.json.gz", None),
            ("AWSLogs/123/Config/x.json.gz", None),
            ("AWSLogs/123456789012/x.json.gz", None),
            ("x.json", None),
            ("", None),
        ] {
            assert_eq!(reason_to_skip(key), expected, "{key}");
        }
    }
}

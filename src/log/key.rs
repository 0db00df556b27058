//! Objects in S3, and which of them are log files, as far as a key says it.

use std::fmt;

use percent_encoding::percent_decode_str;

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

/// The services whose objects are logs.
const LOG_SERVICES: [&str; 2] = ["CloudTrail", "CloudTrail-NetworkActivity"];

/// The reason to skip an object, as far as its key tells: by CloudTrail's
/// [layout](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html),
/// `[prefix/]AWSLogs/[o-organization/]account/service/…`, and where that is missing, by CloudTrail's name of the file.
/// Other keys below `AWSLogs/` are AWS's, too: they are logs only if they end in `.json.gz`. Any other key may be a log:
/// `None`.
///
/// Whole segments are compared, because a user's prefix may hold any of the words.
pub fn reason_to_skip(key: &str) -> Option<SkipReason> {
    let (folders, name) = key.rsplit_once('/').map_or((None, key), |(folders, name)| (Some(folders), name));
    if (name.is_empty() && folders.is_some()) || name.ends_with("_$folder$") || WRITE_CHECKS.contains(&name) {
        return Some(SkipReason::Placeholder);
    }
    if let Some((service, _)) = layout(key).and_then(|layout| layout.below.split_once('/')) {
        let reason = || reason_by_service(service).or(Some(SkipReason::OtherService));
        return if LOG_SERVICES.contains(&service) { None } else { reason() };
    }
    let mut parts = name.split('_');
    let writer = parts.next().filter(|account| is_account(account)).and_then(|_| parts.next());
    let reason = writer.and_then(reason_by_service);
    let is_below = folders.is_some_and(|folders| folders.split('/').any(|folder| folder == "AWSLogs"));
    let is_unlike_a_log = is_below && !name.to_ascii_lowercase().ends_with(".json.gz");
    reason.or(is_unlike_a_log.then_some(SkipReason::OtherService))
}

/// CloudTrail's layout of keys.
struct Layout<'k> {
    account: &'k str,
    /// What follows the account's folder: the folder of the service that wrote the object, and in it those of regions.
    below: &'k str,
}

/// The last `AWSLogs` counts: even a whole layout may stand in a prefix.
fn layout(key: &str) -> Option<Layout<'_>> {
    const TOP: &str = "AWSLogs/";
    let is_segment = |(at, _): &(usize, _)| *at == 0 || key[..*at].ends_with('/');
    key.rmatch_indices(TOP).filter(is_segment).find_map(|(at, _)| {
        let below = &key[at + TOP.len()..];
        let below = if below.starts_with("o-") { below.split_once('/')?.1 } else { below };
        let (account, below) = below.split_once('/')?;
        is_account(account).then_some(Layout { account, below })
    })
}

/// What a key tells of the records in a log, or in the logs of a folder if it ends in `/`: by the layout, and where that does
/// not tell it, by the log's
/// [name](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html),
/// `account_CloudTrail_region_YYYYMMDDTHHmmZ_unique.json.gz`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin<'k> {
    pub(crate) account: Option<&'k str>,
    pub(crate) region: Option<&'k str>,
    /// The folders of year, month and day, `2026/11/20`, or as many of them as there are.
    pub(crate) date: &'k str,
    /// The time in the name, `20261120T2110Z`. In a day's folder only names with its account, region and day tell it, so
    /// that the keys of a region are in the order of their times.
    pub(crate) time: Option<&'k str>,
    /// In a day's folder that does not tell the time: whether the key stands behind those that do.
    pub(crate) is_behind: bool,
}

impl<'k> Origin<'k> {
    pub(crate) fn of(key: &'k str) -> Self {
        let name = key.rsplit('/').next().unwrap_or_default();
        let of_name = match name.splitn(5, '_').collect::<Vec<_>>()[..] {
            [account, service, region, time, ..] if is_account(account) && LOG_SERVICES.contains(&service) => {
                Origin { account: Some(account), region: Some(region), time: Some(time), ..Origin::default() }
            }
            // The time alone is told by any name of this form.
            [_, _, _, time, ..] => Origin { time: Some(time), ..Origin::default() },
            _ => Origin::default(),
        };
        let of_name = Origin { time: of_name.time.filter(|time| has_form(time, "00000000T0000Z")), ..of_name };
        let Some(Layout { account, below }) = layout(key) else { return of_name };
        let of_account = Origin { account: Some(account), ..of_name };
        let Some((service, (region, below))) = in_region(below) else { return of_account };
        let date = date(below);
        let mut origin = Origin { region: Some(region), date, ..of_account };
        if let Some(below) = below.get(DATE.len() + 1..).filter(|_| date.len() == DATE.len()) {
            let usual = format!("{account}_{service}_{region}_{}T", date.replace('/', ""));
            if !below.starts_with(&usual) {
                (origin.time, origin.is_behind) = (None, below > usual.as_str());
            }
        }
        origin
    }
}

const DATE: &str = "0000/00/00";

/// The folders of a date at the front.
fn date(below: &str) -> &str {
    let is_date = |length: &usize| {
        let date = below.get(..*length);
        date.is_some_and(|date| has_form(date, &DATE[..*length])) && below.as_bytes().get(*length) == Some(&b'/')
    };
    ["0000/00/00", "0000/00", "0000"].map(str::len).into_iter().find(is_date).map_or("", |length| &below[..length])
}

/// Whether a text has digits where the form has `0`, and what the form has elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    let is_so = |(b, form): (u8, u8)| if form == b'0' { b.is_ascii_digit() } else { b == form };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_so)
}

/// The folder of a region's logs, in which a key of CloudTrail's layout stands, with its `/`.
pub(crate) fn region_folder(key: &str) -> Option<&str> {
    let (service, (_, below)) = in_region(layout(key)?.below)?;
    key.strip_suffix(below).filter(|_| LOG_SERVICES.contains(&service))
}

/// The folders of service and region, and what follows them.
fn in_region(below: &str) -> Option<(&str, (&str, &str))> {
    let (service, below) = below.split_once('/')?;
    // Some layouts have the year in its place.
    Some((service, below.split_once('/').filter(|(region, _)| region.contains('-'))?))
}

/// The key that S3 writes [encoded](https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html), as in a URL's
/// query. `None` if it is not UTF-8.
pub(crate) fn decoded_key(encoded: &str) -> Option<String> {
    percent_decode_str(&encoded.replace('+', " ")).decode_utf8().ok().map(Into::into)
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
    fn the_layout_tells_where_records_come_from_and_else_the_name_does() {
        let name = "123456789012_CloudTrail_us-east-1_20261120T2110Z_x.json.gz";
        let day = "p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/11/20/";
        let (account, region, time) = (Some("123456789012"), Some("us-east-1"), Some("20261120T2110Z"));
        for (key, account, region, date, time) in [
            (name.to_owned(), account, region, "", time),
            (format!("{day}{name}"), account, region, "2026/11/20", time),
            (format!("{day}{}", name.replace("2110", "9999")), account, region, "2026/11/20", Some("20261120T9999Z")),
            // What contradicts the folders does not count.
            (format!("{day}{}", name.replace("1120", "1119")), account, region, "2026/11/20", None),
            (format!("{day}{}", name.replace("us-east-1", "us-west-2")), account, region, "2026/11/20", None),
            (
                format!("AWSLogs/999999999999/CloudTrail/eu-west-1/{name}"),
                Some("999999999999"),
                Some("eu-west-1"),
                "",
                time,
            ),
            (format!("AWSLogs/123456789012/{name}"), account, region, "", time),
            ("AWSLogs/123456789012/".to_owned(), account, None, "", None),
            ("AWSLogs/123456789012/CloudTrail/2026/11/20/x.json.gz".to_owned(), account, None, "", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1".to_owned(), account, None, "", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/".to_owned(), account, region, "2026/11", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/é".to_owned(), account, region, "2026", None),
            ("AWSLogs/123/CloudTrail/us-east-1/2026/11/20/x".to_owned(), None, None, "", None),
            ("a_b_c_20261120T2110Z_x.json".to_owned(), None, None, "", time),
        ] {
            let origin = Origin::of(&key);
            assert_eq!(
                (origin.account, origin.region, origin.date, origin.time),
                (account, region, date, time),
                "{key}"
            );
        }
        for (key, folder) in [
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11", Some("AWSLogs/123456789012/CloudTrail/us-east-1/")),
            (
                "AWSLogs/123456789012/CloudTrail-NetworkActivity/us-east-1/",
                Some("AWSLogs/123456789012/CloudTrail-NetworkActivity/us-east-1/"),
            ),
            ("AWSLogs/123456789012/CloudTrail/2026/11/20/", None),
            ("AWSLogs/123456789012/CloudTrail/us-east-1", None),
            ("AWSLogs/123456789012/Config/us-east-1/", None),
        ] {
            assert_eq!(region_folder(key), folder, "{key}");
        }
        assert_eq!(decoded_key("a+b%2Bc%C3%BC").as_deref(), Some("a b+cü"));
        assert_eq!(decoded_key("%FF"), None);
    }

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

//! The facts of a call, as its record tells them: which call, by whom, where, and whether it succeeded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::log::Record;

/// The most bytes of a link to the console. Its parts are a region and an ID.
const LINK_LIMIT: usize = 500;

/// The facts of one call. `None` is a field that is absent, empty or not a string.
pub(crate) struct Call {
    pub(crate) event_name: Option<String>,
    pub(crate) event_source: Option<String>,
    pub(crate) region: Option<String>,
    /// The account in which it happened.
    pub(crate) account: Option<String>,
    pub(crate) event_id: Option<String>,
    pub(crate) time: Option<String>,
    /// The caller, in full.
    pub(crate) who: Option<String>,
    /// The caller in a word: the last part of an ARN; of an assumed role, the role and its session.
    pub(super) short_name: Option<String>,
    /// The error; `None` for a success.
    pub(crate) failure: Option<String>,
}

impl Call {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        Call {
            event_name: record.text(&["eventName"]),
            event_source: record.text(&["eventSource"]),
            region: record.text(&["awsRegion"]),
            account: record.text(&["recipientAccountId"]).or_else(|| record.text(&["userIdentity", "accountId"])),
            // Repeats are known by it, so that nothing of it may be redacted.
            event_id: record.string(&["eventID"]).filter(|id| !id.is_empty()),
            time: record.text(&["eventTime"]),
            who: who(record),
            short_name: short_name(record),
            failure: failure(record),
        }
    }

    /// The attributes that tell calls apart, as far as they have a value.
    pub(super) fn attributes(&self) -> Vec<(&'static str, &str)> {
        let strings = [
            ("eventSource", &self.event_source),
            ("eventName", &self.event_name),
            ("awsRegion", &self.region),
            ("accountId", &self.account),
        ];
        let strings = strings.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        strings.chain([("result", self.result())]).collect()
    }

    /// `Success` or `Failure`.
    pub(crate) fn result(&self) -> &'static str {
        if self.failure.is_some() { "Failure" } else { "Success" }
    }

    /// A link to the event in the console's event history, of the partition that the region belongs to.
    pub(super) fn console_link(&self) -> Option<String> {
        const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');
        let region = utf8_percent_encode(self.region.as_deref()?, PLAIN).to_string();
        let event_id = utf8_percent_encode(self.event_id.as_deref()?, PLAIN);
        let host = match region.as_str() {
            r if r.starts_with("cn-") => "console.amazonaws.cn",
            r if r.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        let link = format!("https://{region}.{host}/cloudtrailv2/home?region={region}#/events/{event_id}");
        (link.len() <= LINK_LIMIT).then_some(link)
    }
}

/// The error of a call. A failed console login names it in its response only.
fn failure(record: &Record<'_>) -> Option<String> {
    let parts: Vec<_> = ["errorCode", "errorMessage"].into_iter().filter_map(|key| record.text(&[key])).collect();
    if !parts.is_empty() {
        return Some(parts.join(": "));
    }
    record.text(&["responseElements", "ConsoleLogin"]).filter(|result| result != "Success")
}

fn who(record: &Record<'_>) -> Option<String> {
    let identity = |key| record.text(&["userIdentity", key]);
    match (identity("arn").or_else(|| identity("userName")), identity("invokedBy")) {
        (Some(who), Some(service)) => Some(format!("{who}, through {service}")),
        (Some(who), None) => Some(who),
        (None, Some(service)) => Some(format!("{service} (AWS service)")),
        (None, None) => identity("principalId").or_else(|| identity("type")),
    }
}

fn short_name(record: &Record<'_>) -> Option<String> {
    let identity = |key| record.text(&["userIdentity", key]);
    let from_arn = |arn: String| {
        let resource = arn.splitn(6, ':').last()?.to_owned();
        Some(match resource.split_once('/') {
            Some(("assumed-role", role_and_session)) => role_and_session.to_owned(),
            Some((_, path)) => path.rsplit('/').next().unwrap_or(path).to_owned(),
            None => resource,
        })
    };
    identity("arn")
        .and_then(from_arn)
        .or_else(|| ["userName", "invokedBy", "principalId", "type"].into_iter().find_map(identity))
}

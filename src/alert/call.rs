//! The facts of a call, as its record tells them: which call, by whom, where, and whether it succeeded.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::id;
use super::message::{ACCOUNT, REGION, RESULT};
use super::sanitize::truncate;
use super::who::{self, Identity};
use crate::log::{Record, Shown};

/// The most bytes of a link to the console. Its parts are a region and an ID.
const LINK_LIMIT: usize = 500;

/// The most bytes of an event ID's JSON. CloudTrail's are UUIDs.
const ID_LIMIT: usize = 1_000;

/// The most bytes of an account's number and of a time.
const TEXT_LIMIT: usize = 256;

/// The result of a call that failed, here and in records.
const FAILURE: &str = "Failure";

/// The facts of one call. `None` is a field that is absent, empty or not a string.
pub(crate) struct Call<'a> {
    pub(crate) event_name: Option<Cow<'a, str>>,
    pub(crate) event_source: Option<Cow<'a, str>>,
    pub(crate) region: Option<Cow<'a, str>>,
    /// The account in which it happened.
    pub(crate) account: Option<Cow<'a, str>>,
    pub(crate) event_id: Option<String>,
    pub(crate) time: Option<Cow<'a, str>>,
    pub(super) identity: Identity<'a>,
    /// The caller, in full.
    pub(crate) who: Option<String>,
    /// The error; `None` for a success.
    pub(crate) failure: Option<Cow<'a, str>>,
    /// Whether the console's event history has it.
    in_history: bool,
}

impl<'a> Call<'a> {
    /// The event ID alone, which repeats are known by.
    pub(crate) fn event_id(record: &Record<'_>) -> Option<String> {
        event_id(record).0
    }

    /// The caller alone, in full.
    pub(crate) fn caller(record: &Record<'_>) -> Option<String> {
        let record = record.shown();
        Identity::of(&record, record.text("recipientAccountId").as_deref()).full()
    }

    pub(crate) fn of(record: &Record<'a>) -> Self {
        let ((event_id, has_usual_id), record) = (event_id(record), record.shown());
        let event_name = record.text("eventName");
        let here = record.text("recipientAccountId");
        let identity = Identity::of(&record, here.as_deref());
        let account = here.or_else(|| who::account(&record));
        Call {
            failure: failure(&record, event_name.as_deref()),
            event_name,
            event_source: record.text("eventSource"),
            region: record.text("awsRegion"),
            account: account.map(|account| truncate(account, TEXT_LIMIT, "")),
            event_id,
            time: record.text("eventTime").map(|time| truncate(time, TEXT_LIMIT, "")),
            who: identity.full(),
            identity,
            in_history: has_usual_id && in_history(&record),
        }
    }

    /// The attributes that tell calls apart, as far as they have a value.
    pub(super) fn attributes(&self) -> Vec<(&'static str, &str)> {
        let strings = [
            ("eventSource", &self.event_source),
            ("eventName", &self.event_name),
            (REGION, &self.region),
            (ACCOUNT, &self.account),
        ];
        let strings = strings.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        strings.chain([(RESULT, self.result())]).collect()
    }

    /// `Success` or `Failure`.
    pub(crate) fn result(&self) -> &'static str {
        if self.failure.is_some() { FAILURE } else { "Success" }
    }

    /// A link to the event in the console's event history, if it has the event and the console's address is known.
    pub(super) fn console_link(&self) -> Option<String> {
        const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');
        let region = self.region.as_deref().filter(|region| self.in_history && region.len() < LINK_LIMIT)?;
        let host = console_host(region)?;
        let encoded = |text| Cow::from(utf8_percent_encode(text, PLAIN));
        let (region, event_id) = (encoded(region), encoded(self.event_id.as_deref()?));
        let link =
            ["https://", &region, ".", host, "/cloudtrailv2/home?region=", &region, "#/events/", &event_id].concat();
        (link.len() <= LINK_LIMIT).then_some(link)
    }
}

/// The event ID, and whether it is whole: a note with its hash takes the place of one that is far too long, because
/// several parts of a message have the ID. Repeats are known by it, so that nothing of it may be redacted.
fn event_id(record: &Record<'_>) -> (Option<String>, bool) {
    match record.raw_json(&["eventID"]) {
        Some(json) if json.len() > ID_LIMIT && json.starts_with('"') => {
            (Some(format!("(left out: {} bytes, {:032x})", json.len(), id::hash([json]))), false)
        }
        _ => (record.raw_string(&["eventID"]).filter(|id| !id.is_empty()), true),
    }
}

/// The host of the console in the region's partition. The consoles of the partitions for secret data are not public.
fn console_host(region: &str) -> Option<&'static str> {
    let mut parts = region.split('-');
    match (parts.next(), parts.next()) {
        (Some("cn"), _) => Some("console.amazonaws.cn"),
        (Some("eusc"), _) => Some("console.amazonaws-eusc.eu"),
        (_, Some("gov")) => Some("console.amazonaws-us-gov.com"),
        (_, Some(part)) if part.starts_with("iso") => None,
        _ => Some("console.aws.amazon.com"),
    }
}

/// The history has management events only. Old records do not say what they are, and are such events.
fn in_history(record: &Shown<'_, '_>) -> bool {
    let is_management = record.scalar("managementEvent").is_none_or(|value| value != "false");
    is_management && record.text("eventCategory").is_none_or(|category| category == "Management")
}

/// The error of a call. Sign-ins, and other events that are not calls of an API, have their result under their own name.
fn failure<'a>(record: &Shown<'_, 'a>, event_name: Option<&str>) -> Option<Cow<'a, str>> {
    match (record.text("errorCode"), record.text("errorMessage")) {
        (Some(code), Some(message)) => Some([&code, ": ", &message].concat().into()),
        (None, None) => {
            let mut elements = ["responseElements", "serviceEventDetails"].into_iter();
            elements.find_map(|element| {
                // Most have no such text, and need not be parsed.
                let result =
                    if record.may_hold(element, FAILURE) { record.at(element).text(event_name?) } else { None };
                result.filter(|result| result == FAILURE)
            })
        }
        (code, message) => code.or(message),
    }
}

//! From a match to a message that SNS takes whatever the record holds: subject, body, attributes. Pure.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::filter::{Filter, Rule, Severity, TopicArn};
use crate::log_file::RawRecord;
use crate::record::{self, Record};

/// The most bytes of a [message](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), attributes counted, and
/// of all messages of one request.
pub const SIZE_LIMIT: usize = 262_144;

/// SNS takes fewer than 100 characters, of ASCII, without line breaks.
const SUBJECT_LIMIT: usize = 99;

/// The most characters of `requestParameters` in a text: beyond it nobody reads on, and SMS and chat choke.
const PARAMS_LIMIT: usize = 4_000;

/// The most bytes of an attribute's value; longer ones are no use to a filter policy, and would eat up the message.
const ATTRIBUTE_LIMIT: usize = 256;

/// What stands where a record has nothing to show.
const NOTHING: &str = "-";

/// How a message's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One line of JSON for programs.
    Json,
}

/// One message for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Where it goes; `None` where no topic is named, which only the command line lets pass.
    pub topic: Option<TopicArn>,
    /// The names of the rules that it is for.
    pub rules: Vec<String>,
    /// The record's `eventID`, by which repeats are known.
    pub event_id: Option<String>,
    /// At most 99 printable ASCII characters.
    pub subject: String,
    /// Not empty.
    pub body: String,
    /// For subscription filter policies.
    pub attributes: Vec<Attribute>,
}

/// A message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Such as `eventName`.
    pub name: &'static str,
    /// `String`, or `String.Array`, which a filter policy matches by any element.
    pub data_type: &'static str,
    /// Never empty; of an array, JSON.
    pub value: String,
}

impl Alert {
    /// What SNS counts of it towards its limit, in bytes; and the subject, to be on the safe side.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + overhead(&self.subject, &self.attributes)
    }
}

fn overhead(subject: &str, attributes: &[Attribute]) -> usize {
    subject.len() + attributes.iter().map(|a| a.name.len() + a.data_type.len() + a.value.len()).sum::<usize>()
}

/// The message about a record of the log file that is named `log`, if a rule matches it.
#[must_use]
pub fn about(raw: &RawRecord<'_>, filter: &Filter, log: &str, format: Format) -> Option<Alert> {
    let rules: Vec<_> = filter.matches(raw.source.as_deref(), raw.name.as_deref()).collect();
    if rules.is_empty() {
        return None;
    }
    let text = record::readable(raw.bytes);
    Some(alert(&Record::parse(&text), &rules, filter.topic.as_ref(), log, format))
}

fn alert(record: &Record<'_>, rules: &[&Rule], topic: Option<&TopicArn>, log: &str, format: Format) -> Alert {
    let facts = Facts::of(record, rules, log);
    let subject = facts.subject();
    let attributes = facts.attributes();
    let room = SIZE_LIMIT.saturating_sub(overhead(&subject, &attributes));
    let body = match format {
        Format::Text => facts.text(room),
        Format::Json => facts.json(topic, room),
    };
    let rules = facts.rules.into_iter().map(str::to_owned).collect();
    Alert { topic: topic.cloned(), rules, event_id: facts.event_id, subject, body, attributes }
}

/// What all formats say, as text from the record, not yet escaped.
struct Facts<'a> {
    record: &'a Record<'a>,
    log: &'a str,
    rules: Vec<&'a str>,
    severity: Severity,
    event: Option<String>,
    source: Option<String>,
    region: Option<String>,
    account: Option<String>,
    event_id: Option<String>,
    /// `None` for a success.
    failure: Option<String>,
}

impl<'a> Facts<'a> {
    fn of(record: &'a Record<'a>, rules: &[&'a Rule], log: &'a str) -> Self {
        Facts {
            record,
            log,
            rules: rules.iter().map(|rule| rule.name.as_str()).collect(),
            severity: rules.iter().map(|rule| rule.severity).max().unwrap_or(Severity::Medium),
            event: text(record, &["eventName"]),
            source: text(record, &["eventSource"]),
            region: text(record, &["awsRegion"]),
            account: text(record, &["recipientAccountId"]).or_else(|| text(record, &["userIdentity", "accountId"])),
            event_id: text(record, &["eventID"]),
            failure: failure(record),
        }
    }

    fn subject(&self) -> String {
        let event = self.event.as_deref().unwrap_or(NOTHING);
        let mut place = String::new();
        if self.account.is_some() || self.region.is_some() {
            place.push_str(" in");
            for part in [&self.account, &self.region].into_iter().flatten() {
                let _ = write!(place, " {part}");
            }
        }
        let what = format!("[{}] {event}", self.severity);
        let by = match caller(self.record) {
            // A long name gives way, so that the account and the region stay to be read.
            Some(name) => {
                let room = SUBJECT_LIMIT.saturating_sub(what.len() + place.len() + " by ".len());
                format!(" by {}", shortened(&ascii(&name), room.max(20)))
            }
            None => String::new(),
        };
        shortened(&ascii(&(what + &by + &place)), SUBJECT_LIMIT)
    }

    fn attributes(&self) -> Vec<Attribute> {
        let result = if self.failure.is_some() { "Failure" } else { "Success" };
        let strings = [
            ("eventSource", self.source.as_deref()),
            ("eventName", self.event.as_deref()),
            ("awsRegion", self.region.as_deref()),
            ("accountId", self.account.as_deref()),
            ("eventID", self.event_id.as_deref()),
            ("severity", Some(self.severity.name())),
            ("result", Some(result)),
        ];
        let string = |(name, value): (&'static str, Option<&str>)| {
            let mut value = escaped(value?);
            value.truncate(value.floor_char_boundary(ATTRIBUTE_LIMIT));
            Some(Attribute { name, data_type: "String", value })
        };
        let names = serde_json::to_string(&self.rules).unwrap_or_default();
        let rule = Attribute { name: "rule", data_type: "String.Array", value: names };
        strings.into_iter().filter_map(string).chain([rule]).collect()
    }

    fn text(&self, room: usize) -> String {
        let params = self.record.json(&["requestParameters"]).map(|json| params(&record::compact(json)));
        let from = ["sourceIPAddress", "userAgent"].into_iter().filter_map(|key| text(self.record, &[key]));
        let from = from.collect::<Vec<_>>().join(", ");
        let lines = [
            ("Event  ", self.event.clone()),
            ("Source ", self.source.clone()),
            ("Params ", params),
            ("Region ", self.region.clone()),
            ("", None),
            ("Rule    ", Some(format!("{} ({})", self.rules.join(", "), self.severity))),
            ("Result  ", Some(self.failure.clone().unwrap_or_else(|| "Success".to_owned()))),
            ("Who     ", who(self.record)),
            ("From    ", Some(from).filter(|from| !from.is_empty())),
            ("Account ", self.account.clone()),
            ("Time    ", text(self.record, &["eventTime"])),
            ("Event ID", self.event_id.clone()),
            ("Console ", self.console()),
            ("Log     ", Some(self.log.to_owned())),
        ];
        let mut body = String::new();
        for (label, value) in lines {
            if !label.is_empty() {
                let _ = write!(body, "{label}: {}", value.map_or_else(|| NOTHING.to_owned(), |value| escaped(&value)));
            }
            body.push('\n');
        }
        cut(body, room)
    }

    /// A link to the event in the console's event history, of the partition that the region belongs to.
    fn console(&self) -> Option<String> {
        const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');
        let region = utf8_percent_encode(self.region.as_deref()?, PLAIN).to_string();
        let event_id = utf8_percent_encode(self.event_id.as_deref()?, PLAIN);
        let host = match region.as_str() {
            r if r.starts_with("cn-") => "console.amazonaws.cn",
            r if r.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        Some(format!("https://{region}.{host}/cloudtrailv2/home?region={region}#/events/{event_id}"))
    }

    fn json(&self, topic: Option<&TopicArn>, room: usize) -> String {
        #[derive(Serialize)]
        struct Head<'a> {
            rules: &'a [&'a str],
            severity: &'a str,
            topic: Option<&'a str>,
            log: &'a str,
        }
        let head = Head {
            rules: &self.rules,
            severity: self.severity.name(),
            topic: topic.map(TopicArn::as_str),
            log: self.log,
        };
        let head = serde_json::to_string(&head).unwrap_or_default();
        let head = escaped(head.trim_end_matches('}'));
        let room = room.saturating_sub(head.len() + r#","event":}"#.len());
        let event = fitting_json(self.record, room);
        format!("{head},\"event\":{event}}}")
    }
}

/// The record as compact JSON of at most `room` bytes: what is too large gives way to a note of its size, the largest
/// top-level values first.
fn fitting_json(record: &Record<'_>, room: usize) -> String {
    let whole = escaped(&record.compact());
    if whole.len() <= room {
        return whole;
    }
    let mut fields = record.compact_fields();
    for (_, value) in &mut fields {
        *value = escaped(value);
    }
    let size = |fields: &[(String, String)]| fields.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>() + 1;
    while size(&fields) > room {
        let note = |value: &str| format!("\"(left out: {} bytes)\"", value.len());
        match fields.iter_mut().max_by_key(|(_, value)| value.len()) {
            Some((_, value)) if value.len() > note(value).len() => *value = note(value),
            _ => return format!("\"(left out: {} bytes)\"", whole.len()),
        }
    }
    let entries: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

/// A string of the record that has something to show.
fn text(record: &Record<'_>, path: &[&str]) -> Option<String> {
    record.string(path).filter(|text| !text.is_empty())
}

/// What went wrong with a call, `None` if nothing. A failed console login says so in its response only.
fn failure(record: &Record<'_>) -> Option<String> {
    let parts = ["errorCode", "errorMessage"].into_iter().filter_map(|key| text(record, &[key])).collect::<Vec<_>>();
    if !parts.is_empty() {
        return Some(parts.join(": "));
    }
    text(record, &["responseElements", "ConsoleLogin"]).filter(|result| result != "Success")
}

/// Who made a call, in full.
fn who(record: &Record<'_>) -> Option<String> {
    let identity = |key| text(record, &["userIdentity", key]);
    let service = identity("invokedBy");
    match ["arn", "userName", "principalId"].into_iter().find_map(identity) {
        Some(who) => Some(service.map_or(who.clone(), |service| format!("{who}, through {service}"))),
        None => service.map(|service| format!("{service} (AWS service)")).or_else(|| identity("type")),
    }
}

/// Who made a call, in a word: the last part of an ARN (of an assumed role, the role and its session).
fn caller(record: &Record<'_>) -> Option<String> {
    let identity = |key| text(record, &["userIdentity", key]);
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

fn params(json: &str) -> String {
    match json.char_indices().nth(PARAMS_LIMIT) {
        Some((at, _)) => format!("{} (cut: {} characters more)", &json[..at], json[at..].chars().count()),
        None => json.to_owned(),
    }
}

/// At most `room` bytes, cut at a character, and then saying so.
fn cut(mut text: String, room: usize) -> String {
    const NOTE: &str = "\n(cut: the message was over SNS's limit of 262144 bytes)\n";
    if text.len() > room {
        text.truncate(text.floor_char_boundary(room.saturating_sub(NOTE.len())));
        text.push_str(NOTE);
    }
    text
}

/// At most `limit` of ASCII characters; what was cut off shows as dots.
fn shortened(ascii: &str, limit: usize) -> String {
    if ascii.len() <= limit { ascii.to_owned() } else { format!("{}...", &ascii[..limit - 3]) }
}

/// As much of a text as a subject may hold: other than printable ASCII becomes `?`.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// A text that a caller controlled, made unable to forge a line or to show another order than it has, and free of what
/// a queue refuses. The escapes are JSON's, so that escaped JSON is still the same JSON.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Controls, marks and overrides of direction, line and paragraph separators, and two characters that
            // XML does not have.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

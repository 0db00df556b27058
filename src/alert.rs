//! From a match to a message that SNS takes whatever the record holds: subject, body, attributes. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::filter::{Filter, Format, Rule, Severity, TopicArn};
use crate::record::{self, Record};
use crate::triage::Flood;

/// The most bytes of a [message](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), attributes counted, and
/// of all messages of one request.
pub const SIZE_LIMIT: usize = 262_144;

/// SNS takes fewer than 100 characters, of ASCII, without line breaks.
const SUBJECT_LIMIT: usize = 99;

/// The most characters of `requestParameters` in a text: beyond it nobody reads on, and SMS and chat choke.
const PARAMS_LIMIT: usize = 4_000;

/// The most bytes of an attribute's value; longer ones are no use to a filter policy, and would eat up the message.
const ATTRIBUTE_LIMIT: usize = 256;

/// The most bytes of a value in a chat: a message has 14, and a chat cuts one of over 8,000 characters.
const CHAT_LINE_LIMIT: usize = 500;

/// The most bytes that the rules' names may take, in JSON and once more in their attribute: a thousand usual ones.
const RULES_LIMIT: usize = 60_000;

/// How many callers a summary names.
const TOP_CALLERS: usize = 5;

/// What stands where a record has nothing to show.
pub const NOTHING: &str = "-";

/// One message for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Where it goes; `None` where no topic is named, which only the command line lets pass.
    pub topic: Option<TopicArn>,
    /// The names of the rules that it is for.
    pub rules: Vec<String>,
    /// What repeats are known by: the record's `eventID`, or of a summary its log and rule.
    pub id: Option<String>,
    /// The record's `eventTime`; `None` for a summary.
    pub time: Option<String>,
    /// The account, if any: messages of one account stay in order in a FIFO topic.
    pub account: Option<String>,
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

/// What all alerts of a log have in common.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The configuration.
    pub filter: &'a Filter,
    /// The log file's name.
    pub log: &'a str,
    /// Overrides the topics' own.
    pub format: Option<Format>,
}

impl Context<'_> {
    /// An account's name, or its number where it has none.
    fn account_name<'b>(&'b self, account: &'b str) -> &'b str {
        self.filter.accounts.get(account).map_or(account, String::as_str)
    }

    /// An account's number, with its name beside it.
    fn account_in_full(&self, account: &str) -> String {
        let name = self.filter.accounts.get(account);
        name.map_or_else(|| account.to_owned(), |name| format!("{account} ({name})"))
    }

    /// ` in ACCOUNT REGION`, as far as they are known.
    fn place(&self, account: Option<&str>, region: Option<&str>) -> String {
        let parts: Vec<_> = account.map(|account| self.account_name(account)).into_iter().chain(region).collect();
        if parts.is_empty() { String::new() } else { format!(" in {}", parts.join(" ")) }
    }
}

/// Makes the message about a record. `rules` match it, at least one, and have one topic.
#[must_use]
pub fn about(record: &Record<'_>, rules: &[&Rule], context: &Context<'_>) -> Alert {
    let facts = Facts::of(record, rules, context);
    let message = Message {
        rules,
        subject: facts.subject(),
        attributes: facts.attributes(),
        lines: facts.lines(),
        id: facts.event_id.clone(),
        account: facts.account.clone(),
        time: text(record, &["eventTime"]),
    };
    message.into_alert(context, |room| ("event", fitting_json(record, room)))
}

/// Makes the message that stands for what a rule brought beyond its limit in a log.
#[must_use]
pub fn summary(rule: &Rule, flood: &Flood, context: &Context<'_>) -> Alert {
    #[derive(Serialize)]
    struct Summary<'a> {
        more: u64,
        first: Option<&'a str>,
        last: Option<&'a str>,
        principals: Vec<Principal<'a>>,
    }
    #[derive(Serialize)]
    struct Principal<'a> {
        who: &'a str,
        count: u64,
    }
    let callers = flood.top_callers(TOP_CALLERS);
    let limit = context.filter.max_alerts_per_log.unwrap_or_default();
    let common = flood.common.as_ref();
    let account = common.and_then(|common| common.account.as_deref());
    let region = common.and_then(|common| common.region.as_deref());
    let place = context.place(account, region);
    let subject = format!("[{}] {} more alerts of {}{place}", rule.severity, flood.more, rule.name);
    let top = callers.iter().map(|(who, count)| format!("{who} ({count})")).collect::<Vec<_>>().join(", ");
    let lines = vec![
        ("Rule    ", Some(format!("{} ({})", rule.name, rule.severity))),
        ("More    ", Some(format!("{} alerts beyond the first {limit} of this log", flood.more))),
        ("First   ", flood.first.clone()),
        ("Last    ", flood.last.clone()),
        ("Who     ", Some(top)),
        ("Account ", account.map(|account| context.account_in_full(account))),
        ("Log     ", Some(context.log.to_owned())),
    ];
    let strings = [
        ("eventSource", common.and_then(|common| common.source.as_deref())),
        ("eventName", common.and_then(|common| common.event.as_deref())),
        ("awsRegion", region),
        ("accountId", account),
        ("result", common.and_then(|common| common.result.as_deref())),
        ("severity", Some(rule.severity.name())),
    ];
    let message = Message {
        rules: &[rule],
        subject: shortened(&ascii(&subject), SUBJECT_LIMIT),
        attributes: attributes(&strings, &[rule]),
        lines,
        // With the events: after a log that broke off, a retry may find more of them; and a key may get another log.
        id: Some(format!("summary of {} {} in {} {:016x}", flood.more, rule.name, context.log, flood.events)),
        account: account.map(str::to_owned),
        time: None,
    };
    let principals = callers.iter().map(|(who, count)| Principal { who, count: *count }).collect();
    let summary = Summary { more: flood.more, first: flood.first.as_deref(), last: flood.last.as_deref(), principals };
    message.into_alert(context, |_| ("summary", escaped(&serde_json::to_string(&summary).unwrap_or_default())))
}

/// A line's label, padded, and its value; a line without label is empty.
type Line = (&'static str, Option<String>);

/// What a message says, before it has a form.
struct Message<'a> {
    rules: &'a [&'a Rule],
    subject: String,
    attributes: Vec<Attribute>,
    lines: Vec<Line>,
    id: Option<String>,
    account: Option<String>,
    time: Option<String>,
}

impl Message<'_> {
    /// Writes the message as its topic wants it. `detail` gives, for JSON, the last key and its value of at most so many
    /// bytes.
    fn into_alert(self, context: &Context<'_>, detail: impl FnOnce(usize) -> (&'static str, String)) -> Alert {
        let topic = self.rules.first().and_then(|rule| context.filter.topics.get(rule.topic));
        let arn = topic.and_then(|topic| topic.arn.clone());
        let room = SIZE_LIMIT.saturating_sub(overhead(&self.subject, &self.attributes));
        let body = match context.format.or(topic.map(|topic| topic.format)).unwrap_or_default() {
            Format::Text => text_body(&self.lines, room),
            Format::Json => self.json_body(arn.as_ref(), context.log, room, detail),
            Format::Chatbot => self.chatbot_body(),
        };
        Alert {
            topic: arn,
            rules: self.rules.iter().map(|rule| rule.name.clone()).collect(),
            id: self.id,
            account: self.account,
            time: self.time,
            subject: self.subject,
            body,
            attributes: self.attributes,
        }
    }

    fn json_body(
        &self,
        topic: Option<&TopicArn>,
        log: &str,
        room: usize,
        detail: impl FnOnce(usize) -> (&'static str, String),
    ) -> String {
        #[derive(Serialize)]
        struct Head<'a> {
            severity: &'a str,
            topic: Option<&'a str>,
            log: &'a str,
        }
        let head = Head { severity: severity(self.rules).name(), topic: topic.map(TopicArn::as_str), log };
        let head = serde_json::to_string(&head).unwrap_or_default();
        let rest = head.trim_start_matches('{').trim_end_matches('}');
        let mut body = escaped(&format!("{{\"rules\":{},{rest}", names(self.rules)));
        let (key, value) = detail(room.saturating_sub(body.len() + 20));
        let _ = write!(body, ",\"{key}\":{value}}}");
        body
    }

    /// As [custom notifications](https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html) are written.
    fn chatbot_body(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Content<'a> {
            text_type: &'a str,
            title: &'a str,
            description: String,
        }
        #[derive(Serialize)]
        struct Notification<'a> {
            version: &'a str,
            source: &'a str,
            content: Content<'a>,
        }
        let shown = |(label, value): &Line| {
            let value = value.as_deref()?;
            let label = label.trim_end();
            // A link must stay one; its parts are encoded.
            let value = if label == CONSOLE { value.to_owned() } else { format!("`{}`", chat_text(value)) };
            Some(format!("*{label}:* {value}"))
        };
        let descriptions: Vec<_> = self.rules.iter().filter_map(|rule| rule.description.as_deref()).collect();
        let description = (!descriptions.is_empty()).then(|| chat_text(&descriptions.join(" ")));
        let lines: Vec<String> = description.into_iter().chain(self.lines.iter().filter_map(shown)).collect();
        // Nor must a caller's name make a link of the title.
        let title = chat_text(&self.subject).replace("](", "] (");
        let content = Content { text_type: "client-markdown", title: &title, description: lines.join("\n") };
        let notification = Notification { version: "1.0", source: "custom", content };
        serde_json::to_string(&notification).unwrap_or_default()
    }
}

/// About how many bytes a text has.
const USUAL_BODY: usize = 1_000;

fn text_body(lines: &[Line], room: usize) -> String {
    let mut body = String::with_capacity(USUAL_BODY);
    for (label, value) in lines {
        if !label.is_empty() {
            let value = value.as_deref().filter(|value| !value.is_empty());
            body.extend([*label, ": ", &value.map_or(Cow::Borrowed(NOTHING), |value| escaped(value).into())]);
        }
        body.push('\n');
    }
    cut(body, room)
}

/// A caller's text as a chat shows it: it can't end the code that it stands in, mention people, or be a link.
fn chat_text(text: &str) -> String {
    let mut shown = String::new();
    for c in escaped(text).chars() {
        if shown.len() >= CHAT_LINE_LIMIT {
            shown.push_str("...");
            break;
        }
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '`' => shown.push('\''),
            _ => shown.push(c),
        }
    }
    shown
}

fn severity(rules: &[&Rule]) -> Severity {
    rules.iter().map(|rule| rule.severity).max().unwrap_or(Severity::Medium)
}

/// The rules' names as JSON; where they are too many, the last entry says how many more there are.
fn names(rules: &[&Rule]) -> String {
    let mut names = "[".to_owned();
    for (number, rule) in rules.iter().enumerate() {
        if number > 0 {
            names.push(',');
        }
        let name = serde_json::to_string(&rule.name).unwrap_or_default();
        if names.len() + name.len() > RULES_LIMIT {
            let _ = write!(names, "\"({} more)\"", rules.len() - number);
            break;
        }
        names.push_str(&name);
    }
    names + "]"
}

/// The attributes that have a value, and the rules' names.
fn attributes(strings: &[(&'static str, Option<&str>)], rules: &[&Rule]) -> Vec<Attribute> {
    let string = |(name, value): &(&'static str, Option<&str>)| {
        let mut value = escaped((*value)?);
        value.truncate(value.floor_char_boundary(ATTRIBUTE_LIMIT));
        Some(Attribute { name, data_type: "String", value })
    };
    let rule = Attribute { name: "rule", data_type: "String.Array", value: names(rules) };
    strings.iter().filter_map(string).chain([rule]).collect()
}

/// The label of the line that links to the console.
const CONSOLE: &str = "Console";

/// What all formats say about a record.
struct Facts<'a, 'r> {
    record: &'a Record<'r>,
    rules: &'a [&'a Rule],
    context: &'a Context<'a>,
    event: Option<String>,
    source: Option<String>,
    region: Option<String>,
    account: Option<String>,
    event_id: Option<String>,
    /// `None` for a success.
    failure: Option<String>,
}

impl<'a, 'r> Facts<'a, 'r> {
    fn of(record: &'a Record<'r>, rules: &'a [&'a Rule], context: &'a Context<'a>) -> Self {
        Facts {
            record,
            rules,
            context,
            event: text(record, &["eventName"]),
            source: text(record, &["eventSource"]),
            region: text(record, &["awsRegion"]),
            account: account(record),
            event_id: text(record, &["eventID"]),
            failure: failure(record),
        }
    }

    fn subject(&self) -> String {
        let event = self.event.as_deref().unwrap_or(NOTHING);
        let place = self.context.place(self.account.as_deref(), self.region.as_deref());
        let what = format!("[{}] {event}", severity(self.rules));
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
        let strings = [
            ("eventSource", self.source.as_deref()),
            ("eventName", self.event.as_deref()),
            ("awsRegion", self.region.as_deref()),
            ("accountId", self.account.as_deref()),
            ("eventID", self.event_id.as_deref()),
            ("severity", Some(severity(self.rules).name())),
            ("result", Some(result(self.record))),
        ];
        attributes(&strings, self.rules)
    }

    fn lines(&self) -> Vec<Line> {
        let params = self.record.json(&["requestParameters"]);
        let names: Vec<_> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let from = ["sourceIPAddress", "userAgent"].into_iter().filter_map(|key| text(self.record, &[key]));
        vec![
            ("Event  ", self.event.clone()),
            ("Source ", self.source.clone()),
            ("Params ", params.map(|json| limited(&record::compact(json), PARAMS_LIMIT))),
            ("Region ", self.region.clone()),
            ("", None),
            ("Rule    ", Some(format!("{} ({})", names.join(", "), severity(self.rules)))),
            ("Result  ", Some(self.failure.clone().unwrap_or_else(|| "Success".to_owned()))),
            ("Who     ", who(self.record)),
            ("From    ", Some(from.collect::<Vec<_>>().join(", "))),
            ("Account ", self.account.as_deref().map(|account| self.context.account_in_full(account))),
            ("Time    ", text(self.record, &["eventTime"])),
            ("Event ID", self.event_id.clone()),
            ("Console ", self.console()),
            ("Log     ", Some(self.context.log.to_owned())),
        ]
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
        let link = format!("https://{region}.{host}/cloudtrailv2/home?region={region}#/events/{event_id}");
        (link.len() <= CHAT_LINE_LIMIT).then_some(link)
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
    let note = |value: &str| format!("\"(left out: {} bytes)\"", value.len());
    let mut size = fields.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>() + 1;
    let mut largest_first: Vec<&mut String> = fields.iter_mut().map(|(_, value)| value).collect();
    largest_first.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in largest_first {
        let note = note(value);
        if size <= room || note.len() >= value.len() {
            break;
        }
        size -= value.len() - note.len();
        *value = note;
    }
    if size > room {
        return note(&whole);
    }
    let entries: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

/// A string of the record that has something to show.
#[must_use]
pub fn text(record: &Record<'_>, path: &[&str]) -> Option<String> {
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

/// Whether a call succeeded, as the attribute `result` says it.
#[must_use]
pub fn result(record: &Record<'_>) -> &'static str {
    if failure(record).is_some() { "Failure" } else { "Success" }
}

/// Whose account a call happened in.
#[must_use]
pub fn account(record: &Record<'_>) -> Option<String> {
    text(record, &["recipientAccountId"]).or_else(|| text(record, &["userIdentity", "accountId"]))
}

/// Who made a call, in full.
#[must_use]
pub fn who(record: &Record<'_>) -> Option<String> {
    let identity = |key| text(record, &["userIdentity", key]);
    match (identity("arn").or_else(|| identity("userName")), identity("invokedBy")) {
        (Some(who), Some(service)) => Some(format!("{who}, through {service}")),
        (Some(who), None) => Some(who),
        (None, Some(service)) => Some(format!("{service} (AWS service)")),
        (None, None) => identity("principalId").or_else(|| identity("type")),
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

/// At most `limit` characters; what was cut off is said.
fn limited(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{} (cut: {} characters more)", &text[..at], text[at..].chars().count()),
        None => text.to_owned(),
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
    let mut rest = text;
    loop {
        let plain = rest.bytes().take_while(|b| matches!(b, b' '..=b'~')).count();
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { return out };
        rest = chars.as_str();
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::configuration;

    fn alert_in(format: &str, config: &str, record: &str) -> Alert {
        let config = format!(
            r#"{{"regexp": "", "source": "", "format": "{format}", {config}
                "sns": {{"topicARN": "arn:aws:sns:us-east-1:123456789012:t"}}}}"#
        );
        let filter = configuration::parse(config.as_bytes(), None).unwrap();
        let context = Context { filter: &filter, log: "s3://logs/key", format: None };
        let rules: Vec<_> = filter.rules.iter().collect();
        let text = record::readable(record.as_bytes());
        about(&Record::parse(&text).unwrap(), &rules, &context)
    }

    fn create_user() -> Value {
        json!({
            "eventName": "CreateUser", "eventSource": "iam.amazonaws.com", "awsRegion": "us-east-1",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice"},
            "eventTime": "2026-11-20T21:08:30Z", "eventID": "5a1e05f5-c5ca-424a-b837-959e25d6aea7",
            "sourceIPAddress": "203.0.113.9", "userAgent": "aws-cli/2.15", "recipientAccountId": "123456789012",
            "requestParameters": {"userName": "bob"}
        })
    }

    #[test]
    fn a_text_is_as_documented() {
        let alert = alert_in("text", r#""accounts": {"123456789012": "production"},"#, &create_user().to_string());
        assert_eq!(alert.subject, "[medium] CreateUser by alice in production us-east-1");
        assert_eq!(
            alert.body,
            "Event  : CreateUser
Source : iam.amazonaws.com
Params : {\"userName\":\"bob\"}
Region : us-east-1

Rule    : default (medium)
Result  : Success
Who     : arn:aws:iam::123456789012:user/alice
From    : 203.0.113.9, aws-cli/2.15
Account : 123456789012 (production)
Time    : 2026-11-20T21:08:30Z
Event ID: 5a1e05f5-c5ca-424a-b837-959e25d6aea7
Console : https://us-east-1.console.aws.amazon.com/cloudtrailv2/home?region=us-east-1#/events/5a1e05f5-c5ca-424a-b837-959e25d6aea7
Log     : s3://logs/key
"
        );
    }

    #[test]
    fn callers_results_and_places_are_told_as_people_say_them() {
        for (change, subject, line) in [
            (
                json!({"userIdentity": {"arn": "arn:aws:sts::1:assumed-role/deployer/release-42"}}),
                "[medium] CreateUser by deployer/release-42 in 123456789012 us-east-1",
                "",
            ),
            (
                json!({"userIdentity": {"arn": "arn:aws:iam::123456789012:root", "type": "Root"}}),
                "[medium] CreateUser by root in 123456789012 us-east-1",
                "",
            ),
            (
                json!({"userIdentity": {"type": "AWSService", "invokedBy": "config.amazonaws.com"}}),
                "[medium] CreateUser by config.amazonaws.com in 123456789012 us-east-1",
                "Who     : config.amazonaws.com (AWS service)\n",
            ),
            (
                json!({"userIdentity": null, "recipientAccountId": null}),
                "[medium] CreateUser in us-east-1",
                "Who     : -\n",
            ),
            (json!({"eventName": "x".repeat(200)}), "", ""),
            (json!({"errorCode": "AccessDenied", "errorMessage": "no"}), "", "Result  : AccessDenied: no\n"),
            (json!({"errorMessage": "Failed authentication"}), "", "Result  : Failed authentication\n"),
            (json!({"responseElements": {"ConsoleLogin": "Failure"}}), "", "Result  : Failure\n"),
            (json!({"responseElements": {"ConsoleLogin": "Success"}}), "", "Result  : Success\n"),
            (json!({"awsRegion": "cn-north-1"}), "", "Console : https://cn-north-1.console.amazonaws.cn/cloudtrailv2/"),
            (
                json!({"awsRegion": "us-gov-west-1"}),
                "",
                "Console : https://us-gov-west-1.console.amazonaws-us-gov.com/",
            ),
            (
                json!({"userAgent": "a\nRule    : forged\u{2028}b\u{202e}c"}),
                "",
                "From    : 203.0.113.9, a\\nRule    : forged\\u2028b\\u202ec\n",
            ),
            (json!({"requestParameters": {"p": "x".repeat(5_000)}}), "", "(cut: 1008 characters more)\n"),
            (json!({"requestParameters": "null"}), "", "Params : \"null\"\n"),
        ] {
            let mut record = create_user();
            record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let alert = alert_in("text", "", &record.to_string());
            assert!(subject.is_empty() || alert.subject == subject, "{}", alert.subject);
            assert!(alert.body.contains(line), "{change}: {}", alert.body);
            let failed = alert.attributes.iter().any(|a| a.name == "result" && a.value == "Failure");
            assert_eq!(failed, !alert.body.contains("Result  : Success\n"));
        }
    }

    #[test]
    fn a_long_name_gives_way_to_account_and_region() {
        let mut record = create_user();
        record["userIdentity"]["arn"] = json!(format!("arn:aws:sts::1:assumed-role/{}/s", "r".repeat(200)));
        let alert = alert_in("text", "", &record.to_string());
        assert_eq!(alert.subject.len(), 99);
        assert!(alert.subject.ends_with("r... in 123456789012 us-east-1"), "{}", alert.subject);
    }

    #[test]
    fn a_message_over_the_limit_is_cut_and_says_so() {
        for (format, note) in [("text", "(cut: the message was over SNS's limit"), ("json", "\"(left out: ")] {
            let mut record = create_user();
            record["errorMessage"] = json!("ü".repeat(300_000));
            record["requestParameters"] = json!({"p": "😀".repeat(100_000)});
            let alert = alert_in(format, "", &record.to_string());
            assert!(alert.size() <= SIZE_LIMIT && alert.body.contains(note), "{format}: {}", alert.size());
            if format == "json" {
                let body: Value = serde_json::from_str(&alert.body).unwrap();
                assert_eq!(body["event"]["eventName"], "CreateUser");
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x20<>`*|@\u{2028}\u{202e}\u{ffff}\\\\\"]{0,40}".prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!({"sessionToken": "SECRET", "k": ["x", {"dbPassword": "SECRET"}]})),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a record holds, SNS takes the message, and nobody can forge a line of it.
        #[test]
        fn every_message_is_valid(
            values in prop::collection::vec(any_value(), 12),
            identity in prop::collection::vec(any_value(), 4),
        ) {
            let keys = ["eventName", "eventSource", "awsRegion", "recipientAccountId", "eventID", "eventTime", "errorCode",
                "errorMessage", "sourceIPAddress", "userAgent", "requestParameters", "responseElements"];
            let mut record: serde_json::Map<_, _> = keys.iter().map(ToString::to_string).zip(values).collect();
            let identity = ["arn", "userName", "invokedBy", "principalId"].iter().map(ToString::to_string).zip(identity);
            record.insert("userIdentity".to_owned(), identity.collect());
            for format in Format::ALL {
                let alert = alert_in(format.name(), "", &Value::from(record.clone()).to_string());
                let subject = alert.subject.as_str();
                prop_assert!((1..=99).contains(&subject.len()) && subject.starts_with('['));
                prop_assert!(subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                prop_assert!(alert.size() <= SIZE_LIMIT);
                prop_assert!(!alert.body.contains("SECRET"));
                for attribute in &alert.attributes {
                    prop_assert!(!attribute.value.is_empty() && !attribute.value.contains(char::is_control));
                }
                let lines = alert.body.lines().count();
                let dangerous = ['\u{2028}', '\u{202e}', '\u{ffff}', '\0', '\x1b'];
                prop_assert!(!alert.body.contains(dangerous));
                match format {
                    Format::Text => prop_assert_eq!(lines, 14),
                    Format::Json => {
                        let body: Value = serde_json::from_str(&alert.body).unwrap();
                        prop_assert_eq!((lines, body["event"].as_object().unwrap().len()), (1, record.len()));
                    }
                    Format::Chatbot => {
                        let body: Value = serde_json::from_str(&alert.body).unwrap();
                        let said = body["content"]["description"].as_str().unwrap();
                        prop_assert!(lines == 1 && !said.contains('<') && said.lines().count() <= 13);
                        prop_assert!(said.lines().all(|line| line.starts_with('*')) && said.len() < 8_000);
                    }
                }
            }
        }
    }
}

//! The formats of a message's body: text, JSON, and the custom notification of Amazon Q Developer in chat applications.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Reverse;

use serde::Serialize;
use serde_json::value::RawValue;

use super::call::Call;
use super::context::Context;
use super::id;
use super::message::{
    Advice, Alert, Attribute, NOTHING, SIZE_LIMIT, TRUNCATED, names, overhead, severity, texts, to_json,
};
use super::sanitize::{escape, escape_for_chat, push_escaped, truncate};
use super::tally::Others;
use super::told::{Held, Receipt};
use crate::log::Record;
use crate::rules::{Format, Rule, TopicArn};

/// The labels of the lines that a chat shows in another way: links, and what it calls next steps.
pub(super) const CONSOLE: &str = "Console";
pub(super) const REFERENCES: &str = "References";
pub(super) const RUNBOOK: &str = "Runbook";

/// The labels' width in the original four lines, and in those that follow.
const ORIGINAL_WIDTH: usize = 7;
const WIDTH: usize = 8;

/// The version of the form of a message in JSON.
const JSON_VERSION: u32 = 1;

/// The most bytes of the ID in a message in JSON. A summary's has a log's name, of 1,024 bytes at most.
const ID_LIMIT: usize = 2_000;

/// A chat cuts a message of more characters.
const CHAT_LIMIT: usize = 8_000;

/// The most bytes of a value in a chat; and where the message would then be too long, so few that 29 values fit.
const CHAT_VALUE_LIMITS: [usize; 2] = [500, 250];

/// The most rules that a chat message has as keywords, and the most runbooks as next steps.
const CHAT_LIST_LIMIT: usize = 10;

/// The most bytes of a body that fits whatever the subject and the attributes are, which take less than half of a message.
const FITS: usize = SIZE_LIMIT / 2;

/// The content of a message, before it has a format.
///
/// Its texts are written only as far as the format shows them.
pub(super) struct Content<'a, 'r> {
    pub(super) rules: &'a [&'a Rule],
    pub(super) subject: String,
    pub(super) attributes: &'a dyn Fn() -> Vec<Attribute>,
    pub(super) advice: &'a Advice<'a>,
    /// The four lines of the original sample, or none; and those that follow.
    pub(super) lines: &'a dyn Fn() -> [Vec<Line<'a>>; 2],
    /// The caller, or the most frequent ones.
    pub(super) who: Option<&'a str>,
    /// `Success` or `Failure`; `None` for calls that differ in it.
    pub(super) result: Option<&'a str>,
    /// The alerts of one caller and the same rules make one thread of a chat; `None` for the thread of their summaries.
    pub(super) call: Option<&'a Call<'a>>,
    /// The count and the duration of the first rule with a threshold.
    pub(super) threshold: Option<Threshold>,
    /// The matches that were held back before it, and the groups that keep their count until it is published.
    pub(super) held: Option<Held>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) detail: Detail<'a, 'r>,
    pub(super) id: Option<String>,
    pub(super) account: Option<String>,
    pub(super) time: Option<String>,
}

pub(super) struct Line<'a> {
    pub(super) label: &'static str,
    pub(super) value: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(label: &'static str, value: Option<impl Into<Cow<'a, str>>>) -> Self {
        Line { label, value: value.map(Into::into) }
    }

    fn text(&self) -> &str {
        self.value.as_deref().unwrap_or(NOTHING)
    }
}

/// The last key of a message in JSON.
pub(super) enum Detail<'a, 'r> {
    Event(&'a Record<'r>),
    Summary(Summary<'a>),
}

/// The key `summary` of a summary in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    pub(super) more: u64,
    pub(super) first: Option<&'a str>,
    pub(super) last: Option<&'a str>,
    pub(super) events: Vec<Kind<'a>>,
    pub(super) other_events: Rest,
    pub(super) principals: Vec<Principal<'a>>,
    pub(super) other_principals: Rest,
}

/// Those that a summary does not name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rest {
    count: u64,
    at_least: bool,
    alerts: u64,
}

impl From<Others> for Rest {
    fn from(Others { count, is_at_least, alerts }: Others) -> Self {
        Rest { count, at_least: is_at_least, alerts }
    }
}

#[derive(Serialize)]
pub(super) struct Kind<'a> {
    pub(super) source: &'a str,
    pub(super) name: &'a str,
    pub(super) count: u64,
}

#[derive(Serialize)]
pub(super) struct Principal<'a> {
    pub(super) who: &'a str,
    pub(super) count: u64,
}

/// The key `threshold` of a message in JSON.
#[derive(Serialize)]
pub(super) struct Threshold {
    pub(super) count: usize,
    pub(super) within: String,
}

/// The key `held` of a message in JSON.
#[derive(Serialize)]
struct HeldBack {
    count: u64,
    from: String,
    to: String,
}

impl Content<'_, '_> {
    /// Writes the message in its topic's format.
    pub(super) fn into_alert(self, context: &Context<'_>) -> Alert {
        let topic = self.rules.first().and_then(|rule| context.filter.topics.get(rule.topic));
        let attributes = OnceCell::new();
        let room = || SIZE_LIMIT.saturating_sub(overhead(&self.subject, attributes.get_or_init(self.attributes)));
        let arn = topic.and_then(|topic| topic.arn.clone());
        let body = match context.format.or(topic.map(|topic| topic.format)).unwrap_or_default() {
            Format::Text => self.text(room),
            Format::Json => self.json(arn.as_ref().map(TopicArn::as_str), context.log, room),
            Format::Chatbot => self.chatbot(),
        };
        // What a person asked for is printed, and not published.
        let is_printed = context.format.is_some();
        let attributes = if is_printed { Vec::new() } else { attributes.into_inner().unwrap_or_else(self.attributes) };
        Alert {
            topic: arn,
            rules: self.rules.iter().map(|rule| rule.name.clone()).collect(),
            id: self.id,
            account: self.account,
            time: self.time,
            subject: self.subject,
            body,
            attributes,
            receipts: self.receipts,
        }
    }

    fn text(&self, room: impl Fn() -> usize) -> String {
        let parts = (self.lines)();
        let size = |line: &Line<'_>| WIDTH.max(line.label.len()) + ": \n".len() + line.text().len();
        let mut body = String::with_capacity(parts.iter().flatten().map(size).sum::<usize>() + "\n".len());
        for (lines, width) in parts.iter().zip([ORIGINAL_WIDTH, WIDTH]) {
            if !body.is_empty() {
                body.push('\n');
            }
            for line in lines {
                body.push_str(line.label);
                body.push_str(&"        "[..width.saturating_sub(line.label.len())]);
                body.push_str(": ");
                push_escaped(&mut body, line.text());
                body.push('\n');
            }
        }
        if body.len() <= FITS { body } else { truncate(body, room(), TRUNCATED).into_owned() }
    }

    fn json(&self, topic: Option<&str>, log: &str, room: impl Fn() -> usize) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            version: u32,
            id: Option<Cow<'a, str>>,
            title: &'a str,
            rules: Vec<Cow<'a, str>>,
            severity: &'a str,
            result: Option<&'a str>,
            who: Option<&'a str>,
            topic: Option<&'a str>,
            log: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            threshold: Option<&'a Threshold>,
            #[serde(skip_serializing_if = "Option::is_none")]
            held: Option<HeldBack>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            runbooks: Vec<Cow<'a, str>>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            references: Vec<Cow<'a, str>>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            tags: Vec<Cow<'a, str>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            event: Option<Box<RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            summary: Option<&'a Summary<'a>>,
        }
        let mut body = Body {
            version: JSON_VERSION,
            id: self.id.as_deref().map(|id| truncate(id, ID_LIMIT, "")),
            title: &self.subject,
            rules: names(self.rules),
            severity: severity(self.rules).name(),
            result: self.result,
            who: self.who,
            topic,
            log,
            threshold: self.threshold.as_ref(),
            held: self.held.map(|held| HeldBack {
                count: held.count,
                from: held.from.to_string(),
                to: held.to.to_string(),
            }),
            runbooks: texts(&self.advice.runbooks),
            references: texts(&self.advice.references),
            tags: texts(&self.advice.tags),
            event: None,
            summary: None,
        };
        match &self.detail {
            Detail::Summary(summary) => body.summary = Some(summary),
            Detail::Event(record) => {
                let head = escape(&to_json(&body)).len() + ",\"event\":".len();
                body.event = RawValue::from_string(fitting_json(record, head, room)).ok();
            }
        }
        escape(&to_json(&body))
    }

    /// As [custom notifications](https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html) are written.
    fn chatbot(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ChatContent<'a> {
            text_type: &'a str,
            title: String,
            description: String,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            next_steps: Vec<String>,
            keywords: Vec<String>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            thread_id: String,
        }
        #[derive(Serialize)]
        struct Notification<'a> {
            version: &'a str,
            source: &'a str,
            content: ChatContent<'a>,
            metadata: Metadata,
        }
        let [usual, least] = CHAT_VALUE_LIMITS;
        let whole = self.chat_description(usual);
        let severity = severity(self.rules).name();
        let names = self.rules.iter().take(CHAT_LIST_LIMIT).map(|rule| rule.name.as_str());
        let keywords = names.chain([severity]).map(|name| escape_for_chat(name, usual));
        let runbooks = self.advice.runbooks.iter().take(CHAT_LIST_LIMIT);
        let next_steps: Vec<_> = runbooks.map(|runbook| escape_for_chat(runbook, usual)).collect();
        let length = whole.len() + next_steps.iter().map(String::len).sum::<usize>();
        let content = ChatContent {
            text_type: "client-markdown",
            title: chat_title(&self.subject),
            description: if length < CHAT_LIMIT { whole } else { self.chat_description(least) },
            next_steps,
            keywords: keywords.collect(),
        };
        let caller = self.call.and_then(|call| call.identity.steady());
        let thread = id::hash(self.rules.iter().map(|rule| rule.name.as_str()).chain(caller.as_deref()));
        let metadata = Metadata { thread_id: format!("{thread:032x}") };
        to_json(&Notification { version: "1.0", source: "custom", content, metadata })
    }

    /// The descriptions of the rules, and the lines that have a value, each of about `limit` bytes at most.
    fn chat_description(&self, limit: usize) -> String {
        let shown = |Line { label, value }: Line<'_>| {
            let value = value.as_deref()?;
            // Links must stay links. The parts of the console's are encoded.
            let value = match label {
                RUNBOOK => return None,
                CONSOLE => value.to_owned(),
                REFERENCES => escape_for_chat(value, limit),
                _ => format!("`{}`", escape_for_chat(value, limit)),
            };
            Some(format!("*{label}:* {value}"))
        };
        let descriptions: Vec<_> = self.rules.iter().filter_map(|rule| rule.description.as_deref()).collect();
        let description = (!descriptions.is_empty()).then(|| escape_for_chat(&descriptions.join(" "), limit));
        let lines = (self.lines)().into_iter().flatten().filter_map(shown);
        description.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// A subject as a title. It stands in code, as the values do, if a chat could take a part of it for markup, a link, a
/// mention or an emoji.
fn chat_title(subject: &str) -> String {
    let (severity, rest) = subject.split_once(' ').unwrap_or(("", subject));
    let is_plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '/' | '(' | ')'));
    if is_plain { subject.to_owned() } else { format!("{severity} `{}`", escape_for_chat(rest, CHAT_LIMIT)) }
}

/// The record as compact JSON that fits behind `head` bytes in `room`: a note of its size takes the place of a top-level value
/// that is too large, the largest first.
fn fitting_json(record: &Record<'_>, head: usize, room: impl Fn() -> usize) -> String {
    let whole = escape(&record.compact());
    if head + whole.len() <= FITS {
        return whole;
    }
    let room = room().saturating_sub(head);
    if whole.len() <= room {
        return whole;
    }
    let mut fields = record.compact_fields();
    for field in &mut fields {
        (field.key, field.value) = (escape(&field.key), escape(&field.value));
    }
    let note = |value: &str| format!("\"(left out: {} bytes)\"", value.len());
    let mut size = fields.iter().map(|field| field.key.len() + field.value.len() + 2).sum::<usize>() + 1;
    let mut largest_first: Vec<&mut String> = fields.iter_mut().map(|field| &mut field.value).collect();
    largest_first.sort_by_key(|value| Reverse(value.len()));
    for value in largest_first {
        let note = note(value);
        if size <= room || note.len() >= value.len() {
            break;
        }
        size -= value.len() - note.len();
        *value = note;
    }
    if size > room || fields.is_empty() {
        return note(&whole);
    }
    let entries: Vec<String> = fields.iter().map(|field| format!("{}:{}", field.key, field.value)).collect();
    format!("{{{}}}", entries.join(","))
}

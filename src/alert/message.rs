//! One message for one topic, and its attributes.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;

use super::sanitize::{escape, truncate, truncate_and_count};
use super::told::Receipt;
use crate::rules::{Rule, Severity, TopicArn};

/// The most bytes of a [message](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), attributes counted, and
/// of all messages of one request.
pub(crate) const SIZE_LIMIT: usize = 262_144;

/// The end of a body that was cut.
pub(super) const TRUNCATED: &str = "\n(cut: the message was over SNS's limit of 262144 bytes)\n";

/// The most bytes of an attribute's value. A filter policy has no use for longer ones.
const ATTRIBUTE_LIMIT: usize = 256;

/// The most characters of a value in a text. Longer ones are not read, and too much for SMS and chats.
pub(super) const VALUE_LIMIT: usize = 4_000;

/// The most bytes that the rules' names may take, in JSON and once more in their attribute: a thousand usual ones.
const NAMES_LIMIT: usize = 60_000;

/// The most bytes that their runbooks may take in JSON, and so may their references, and their tags, which are an attribute
/// too. A quarter of [`SIZE_LIMIT`] is left for the event, whatever the rules say.
const TEXTS_LIMIT: usize = 18_000;

/// The names of attributes: the region, the account, and `Success` or `Failure`.
pub(super) const REGION: &str = "awsRegion";
pub(super) const ACCOUNT: &str = "accountId";
pub(super) const RESULT: &str = "result";

/// Stands for a value that is not there.
pub(crate) const NOTHING: &str = "-";

/// One message for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// `None` where no topic is named, which only the command line lets pass.
    pub(crate) topic: Option<TopicArn>,
    /// The names of the rules that match.
    pub(crate) rules: Vec<String>,
    /// The id by which repeats are known: the record's `eventID`, or a summary's log, rule and events.
    pub(crate) id: Option<String>,
    /// The record's `eventTime`; `None` for a summary.
    pub(crate) time: Option<String>,
    /// The account, if any: messages of one account stay in order in a FIFO topic.
    pub(crate) account: Option<String>,
    /// At most 99 printable ASCII characters.
    pub(crate) subject: String,
    /// Not empty.
    pub(crate) body: String,
    /// For subscription filter policies. An alert that is not to be published has none.
    pub(crate) attributes: Vec<Attribute>,
    /// The groups that keep what it tells until it is published.
    pub(crate) receipts: Vec<Receipt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    /// `String`, or `String.Array`, which a filter policy matches by any element.
    pub(crate) data_type: &'static str,
    /// Never empty; of an array, JSON.
    pub(crate) value: String,
}

/// What the rules of a message say to its readers, in their order and nothing twice.
pub(super) struct Advice<'r> {
    pub(super) runbooks: Vec<&'r str>,
    pub(super) references: Vec<&'r str>,
    pub(super) tags: Vec<&'r str>,
}

impl<'r> Advice<'r> {
    pub(super) fn of(rules: &[&'r Rule]) -> Self {
        fn distinct<'r>(texts: impl Iterator<Item = &'r String>) -> Vec<&'r str> {
            let mut seen = HashSet::new();
            texts.map(String::as_str).filter(|text| seen.insert(*text)).collect()
        }
        Advice {
            runbooks: distinct(rules.iter().filter_map(|rule| rule.runbook.as_ref())),
            references: distinct(rules.iter().flat_map(|rule| &rule.references)),
            tags: distinct(rules.iter().flat_map(|rule| &rule.tags)),
        }
    }
}

impl Alert {
    /// Its size towards SNS's limit, in bytes. The subject is counted too, to be on the safe side.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + overhead(&self.subject, &self.attributes)
    }
}

/// The bytes of a message without its body.
pub(super) fn overhead(subject: &str, attributes: &[Attribute]) -> usize {
    subject.len() + attributes.iter().map(|a| a.name.len() + a.data_type.len() + a.value.len()).sum::<usize>()
}

/// The highest severity of the rules.
pub(super) fn severity(rules: &[&Rule]) -> Severity {
    rules.iter().map(|rule| rule.severity).max().unwrap_or(Severity::Medium)
}

/// The attributes with these strings, and with the rules' names and tags: nine at most. A queue with raw delivery takes
/// [ten](https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html).
pub(super) fn attributes<'t>(
    strings: impl Iterator<Item = (&'static str, &'t str)>,
    rules: &[&Rule],
    advice: &Advice<'_>,
) -> Vec<Attribute> {
    let string = |(name, value): (&'static str, &str)| {
        let start = &value[..value.floor_char_boundary(ATTRIBUTE_LIMIT)];
        let value = truncate(escape(start), ATTRIBUTE_LIMIT, "").into_owned();
        Attribute { name, data_type: "String", value }
    };
    let lists = [("rule", names(rules)), ("tag", texts(&advice.tags))].into_iter().filter(|(_, list)| !list.is_empty());
    let list = |(name, list)| Attribute { name, data_type: "String.Array", value: escape(&to_json(&list)) };
    strings.map(string).chain(lists.map(list)).collect()
}

/// The rules' names, as a list of JSON has them.
pub(super) fn names<'r>(rules: &[&'r Rule]) -> Vec<Cow<'r, str>> {
    listed(rules.iter().map(|rule| rule.name.as_str()), NAMES_LIMIT)
}

/// Other texts of the rules, as a list of JSON has them.
pub(super) fn texts<'r>(texts: &[&'r str]) -> Vec<Cow<'r, str>> {
    listed(texts.iter().copied(), TEXTS_LIMIT)
}

/// Long texts are cut. Where they are too many for `limit` bytes, the last entry is the number of those that are left out.
fn listed<'t>(texts: impl ExactSizeIterator<Item = &'t str>, limit: usize) -> Vec<Cow<'t, str>> {
    let (count, mut size, mut listed) = (texts.len(), 0, Vec::new());
    for text in texts {
        let text = truncate_and_count(text, VALUE_LIMIT);
        size += escape(&to_json(&text)).len() + 1;
        if size > limit {
            listed.push(format!("({} more)", count - listed.len()).into());
            break;
        }
        listed.push(text);
    }
    listed
}

/// Writes JSON. Strings, numbers and lists of them can't fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

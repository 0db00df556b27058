//! One message for one topic, and its attributes.

use serde::Serialize;

use super::sanitize::{escape, truncate};
use crate::rules::{Rule, Severity, TopicArn};

/// The most bytes of a [message](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), attributes counted, and
/// of all messages of one request.
pub(crate) const SIZE_LIMIT: usize = 262_144;

/// The end of a body that was cut.
pub(super) const TRUNCATED: &str = "\n(cut: the message was over SNS's limit of 262144 bytes)\n";

/// The most bytes of an attribute's value. A filter policy has no use for longer ones.
const ATTRIBUTE_LIMIT: usize = 256;

/// The most bytes that the rules' names may take, in JSON and once more in their attribute: a thousand usual ones.
const RULES_LIMIT: usize = 60_000;

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
    /// For subscription filter policies.
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    /// `String`, or `String.Array`, which a filter policy matches by any element.
    pub(crate) data_type: &'static str,
    /// Never empty; of an array, JSON.
    pub(crate) value: String,
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

/// The attributes with these strings, and with the rules' names.
pub(super) fn attributes(strings: &[(&'static str, &str)], rules: &[&Rule]) -> Vec<Attribute> {
    let string = |(name, value): &(&'static str, &str)| {
        let start = &value[..value.floor_char_boundary(ATTRIBUTE_LIMIT)];
        let value = truncate(escape(start), ATTRIBUTE_LIMIT, "");
        Attribute { name, data_type: "String", value }
    };
    let rule = Attribute { name: "rule", data_type: "String.Array", value: to_json(&rule_names(rules)) };
    strings.iter().map(string).chain([rule]).collect()
}

/// The rules' names. Where they are too many, the last entry is the number of those that are left out.
pub(super) fn rule_names(rules: &[&Rule]) -> Vec<String> {
    let mut size = 0;
    let mut names = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        size += to_json(&rule.name).len() + 1;
        if size > RULES_LIMIT {
            names.push(format!("({} more)", rules.len() - number));
            break;
        }
        names.push(rule.name.clone());
    }
    names
}

/// Writes JSON. Strings, numbers and lists of them can't fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

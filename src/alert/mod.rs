//! From a match to a message that SNS takes, whatever the record holds: subject, body, attributes.

pub(crate) mod call;
pub(crate) mod flood;
pub(crate) mod id;
mod render;
pub(crate) mod sanitize;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use self::call::{Call, short_name};
use self::render::{CONSOLE, Content, Detail, Line};
use self::sanitize::{escape, to_ascii, truncate, truncate_and_count};
use crate::log::record::{self, Record};
use crate::rules::model::{Filter, Format, Rule, Severity};
use crate::rules::topic_arn::TopicArn;

/// The most bytes of a [message](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), attributes counted, and
/// of all messages of one request.
pub(crate) const SIZE_LIMIT: usize = 262_144;

/// SNS takes fewer than 100 characters, of ASCII, without line breaks.
const SUBJECT_LIMIT: usize = 99;

/// A subject keeps at least so many characters of the caller's name.
const SUBJECT_NAME_MINIMUM: usize = 20;

/// The most characters of `requestParameters` in a text. Longer ones are not read, and too much for SMS and chats.
const PARAMS_LIMIT: usize = 4_000;

/// The most bytes of an attribute's value. A filter policy has no use for longer ones.
const ATTRIBUTE_LIMIT: usize = 256;

/// The most bytes of a link to the console. Its parts are a region and an ID.
const LINK_LIMIT: usize = 500;

/// The most bytes that the rules' names may take, in JSON and once more in their attribute: a thousand usual ones.
const RULES_LIMIT: usize = 60_000;

/// Stands for a value that is not there.
pub(crate) const NOTHING: &str = "-";

/// One message for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// `None` where no topic is named, which only the command line lets pass.
    pub topic: Option<TopicArn>,
    /// The names of the rules that match.
    pub rules: Vec<String>,
    /// By which repeats are known: the record's `eventID`, or a summary's log, rule and events.
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
    /// Its size towards SNS's limit, in bytes. The subject is counted too, to be on the safe side.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + overhead(&self.subject, &self.attributes)
    }
}

fn overhead(subject: &str, attributes: &[Attribute]) -> usize {
    subject.len() + attributes.iter().map(|a| a.name.len() + a.data_type.len() + a.value.len()).sum::<usize>()
}

/// The circumstances that all alerts of a log have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) filter: &'a Filter,
    /// The log file's name.
    pub(crate) log: &'a str,
    /// Overrides the topics' own.
    pub(crate) format: Option<Format>,
}

impl Context<'_> {
    /// An account's number, with its name beside it.
    fn account_in_full(&self, account: &str) -> String {
        let name = self.filter.accounts.get(account);
        name.map_or_else(|| account.to_owned(), |name| format!("{account} ({name})"))
    }

    /// ` in ACCOUNT REGION`, as far as they are known.
    fn place(&self, account: Option<&str>, region: Option<&str>) -> String {
        let name = |account| self.filter.accounts.get(account).map_or(account, String::as_str);
        let parts: Vec<_> = account.map(name).into_iter().chain(region).collect();
        if parts.is_empty() { String::new() } else { format!(" in {}", parts.join(" ")) }
    }
}

/// Makes the message about a record. `rules` match it, at least one, and have one topic.
pub(crate) fn about(record: &Record<'_>, call: &Call, rules: &[&Rule], context: &Context<'_>) -> Alert {
    let severity = severity(rules);
    let params = record.json(&["requestParameters"]);
    let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let from: Vec<_> = ["sourceIPAddress", "userAgent"].into_iter().filter_map(|key| record.text(&[key])).collect();
    let strings = [
        ("eventSource", call.event_source.as_deref()),
        ("eventName", call.event_name.as_deref()),
        ("awsRegion", call.region.as_deref()),
        ("accountId", call.account.as_deref()),
        ("eventID", call.event_id.as_deref()),
        ("severity", Some(severity.name())),
        ("result", Some(call.result())),
    ];
    let message = Content {
        rules,
        subject: subject(record, call, severity, context),
        attributes: attributes(&strings, rules),
        original_lines: vec![
            Line::new("Event", call.event_name.clone()),
            Line::new("Source", call.event_source.clone()),
            Line::new("Params", params.map(|json| truncate_and_count(&record::compact(json), PARAMS_LIMIT))),
            Line::new("Region", call.region.clone()),
        ],
        lines: vec![
            Line::new("Rule", Some(format!("{} ({severity})", names.join(", ")))),
            Line::new("Result", Some(call.failure.clone().unwrap_or_else(|| call.result().to_owned()))),
            Line::new("Who", call.who.clone()),
            Line::new("From", Some(from.join(", ")).filter(|from| !from.is_empty())),
            Line::new("Account", call.account.as_deref().map(|account| context.account_in_full(account))),
            Line::new("Time", call.time.clone()),
            Line::new("Event ID", call.event_id.clone()),
            Line::new(CONSOLE, console_link(call)),
            Line::new("Log", Some(context.log.to_owned())),
        ],
        detail: Detail::Event(record),
        id: call.event_id.clone(),
        account: call.account.clone(),
        time: call.time.clone(),
    };
    message.into_alert(context)
}

/// `[severity] event by caller in account region`. A long name of the caller gives way to the account and the region.
fn subject(record: &Record<'_>, call: &Call, severity: Severity, context: &Context<'_>) -> String {
    let place = context.place(call.account.as_deref(), call.region.as_deref());
    let what = format!("[{severity}] {}", call.event_name.as_deref().unwrap_or(NOTHING));
    let by = match short_name(record) {
        Some(name) => {
            let room = SUBJECT_LIMIT.saturating_sub(what.len() + place.len() + " by ".len());
            format!(" by {}", truncate(to_ascii(&name), room.max(SUBJECT_NAME_MINIMUM), "..."))
        }
        None => String::new(),
    };
    to_subject(&(what + &by + &place))
}

/// A text as SNS takes it for a subject.
fn to_subject(text: &str) -> String {
    truncate(to_ascii(text), SUBJECT_LIMIT, "...")
}

/// A link to the event in the console's event history, of the partition that the region belongs to.
fn console_link(call: &Call) -> Option<String> {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');
    let region = utf8_percent_encode(call.region.as_deref()?, PLAIN).to_string();
    let event_id = utf8_percent_encode(call.event_id.as_deref()?, PLAIN);
    let host = match region.as_str() {
        r if r.starts_with("cn-") => "console.amazonaws.cn",
        r if r.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
        _ => "console.aws.amazon.com",
    };
    let link = format!("https://{region}.{host}/cloudtrailv2/home?region={region}#/events/{event_id}");
    (link.len() <= LINK_LIMIT).then_some(link)
}

/// The highest severity of the rules.
fn severity(rules: &[&Rule]) -> Severity {
    rules.iter().map(|rule| rule.severity).max().unwrap_or(Severity::Medium)
}

/// The attributes that have a value, and the rules' names.
fn attributes(strings: &[(&'static str, Option<&str>)], rules: &[&Rule]) -> Vec<Attribute> {
    let string = |(name, value): &(&'static str, Option<&str>)| {
        let value = truncate(escape((*value)?), ATTRIBUTE_LIMIT, "");
        Some(Attribute { name, data_type: "String", value })
    };
    let rule = Attribute { name: "rule", data_type: "String.Array", value: render::to_json(&rule_names(rules)) };
    strings.iter().filter_map(string).chain([rule]).collect()
}

/// The rules' names. Where they are too many, the last entry is the number of those that are left out.
fn rule_names(rules: &[&Rule]) -> Vec<String> {
    let mut size = 0;
    let mut names = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        size += render::to_json(&rule.name).len() + 1;
        if size > RULES_LIMIT {
            names.push(format!("({} more)", rules.len() - number));
            break;
        }
        names.push(rule.name.clone());
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::rules::config;

    fn alert_in(format: &str, config: &str, record: &str) -> Alert {
        let config = format!(
            r#"{{"regexp": "", "source": "", "format": "{format}", {config}
                "sns": {{"topicARN": "arn:aws:sns:us-east-1:123456789012:t"}}}}"#
        );
        let filter = config::parse(config.as_bytes(), None).unwrap();
        let context = Context { filter: &filter, log: "s3://logs/key", format: None };
        let rules: Vec<_> = filter.rules.iter().collect();
        let text = record::readable(record.as_bytes());
        let record = Record::parse(&text).unwrap();
        about(&record, &Call::of(&record), &rules, &context)
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

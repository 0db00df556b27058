//! The content of messages: about a record, and about a flood.

use super::call::Call;
use super::context::Context;
use super::facts;
use super::flood::Flood;
use super::message::{ACCOUNT, Advice, Alert, REGION, RESULT, VALUE_LIMIT, attributes, severity};
use super::render::{CONSOLE, Content, Detail, Kind, Line, Principal, REFERENCES, RUNBOOK, Summary, Threshold};
use super::sanitize::truncate_and_count;
use super::subject;
use super::tally::Others;
use super::told::{Held, Told};
use crate::log::Record;
use crate::rules::{Rule, StageKind, path_text};

/// The most callers, and the most kinds of event, that a summary names.
const TOP: usize = 5;

/// A message has about so many lines.
const USUAL_LINES: usize = 16;

/// Makes the message about a record. `rules` match it, at least one, and have one topic. `told` is what they have to tell of
/// matches before it.
pub(crate) fn about(
    record: &Record<'_>,
    call: &Call<'_>,
    rules: &[&Rule],
    told: &[Told<'_>],
    context: &Context<'_>,
) -> Alert {
    let (severity, advice) = (severity(rules), Advice::of(rules));
    let attributes = || {
        let event_id = call.event_id.as_deref().map(|id| ("eventID", id));
        let strings = call.attributes().into_iter().chain(event_id).chain([("severity", severity.name())]);
        attributes(strings, rules, &advice)
    };
    let lines = || {
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let from = ["sourceIPAddress", "userAgent"].map(|key| record.shown().text(key));
        let params = record.shown().json("requestParameters");
        let original_lines = vec![
            Line::new("Event", call.event_name.as_deref()),
            Line::new("Source", call.event_source.as_deref()),
            Line::new("Params", params.map(|json| truncate_and_count(json, VALUE_LIMIT))),
            Line::new("Region", call.region.as_deref()),
        ];
        let mut lines = Vec::with_capacity(USUAL_LINES);
        lines.extend([
            Line::new("Rule", Some([&names.join(", "), " (", severity.name(), ")"].concat())),
            Line::new("Result", Some(call.failure.as_deref().unwrap_or(call.result()))),
            Line::new("Who", call.who.as_deref()),
        ]);
        lines.extend(facts::lines(record).chain(told_lines(rules, told)).chain(advice_lines(&advice)));
        lines.extend([
            Line::new("From", facts::joined(from)),
            Line::new("Account", call.account.as_deref().map(|account| context.account_in_full(account))),
            Line::new("Time", call.time.as_deref()),
            Line::new("Event ID", call.event_id.as_deref()),
            Line::new(CONSOLE, call.console_link()),
            Line::new("Log", Some(context.log)),
        ]);
        [original_lines, lines]
    };
    let message = Content {
        rules,
        subject: subject::of_call(call, severity, context),
        attributes: &attributes,
        advice: &advice,
        lines: &lines,
        who: call.who.as_deref(),
        result: Some(call.result()),
        call: Some(call),
        threshold: told.iter().find_map(|Told { stage, .. }| match stage.kind {
            StageKind::Threshold { count, .. } => Some(Threshold { count, within: stage.span.to_string() }),
            _ => None,
        }),
        held: told.iter().filter_map(|told| told.held).reduce(Held::and),
        receipts: told.iter().filter(|told| told.held.is_some()).map(|told| told.receipt).collect(),
        detail: Detail::Event(record),
        id: call.event_id.clone(),
        account: call.account.as_deref().map(str::to_owned),
        time: call.time.as_deref().map(str::to_owned),
    };
    message.into_alert(context)
}

/// Makes the summary that stands for a rule's flood.
pub(crate) fn summary(flood: &Flood<'_>, context: &Context<'_>) -> Alert {
    let (rule, advice) = (flood.rule, Advice::of(&[flood.rule]));
    let (callers, kinds) = (flood.top_callers(TOP), flood.top_kinds(TOP));
    let events: Vec<_> =
        kinds.named.iter().map(|((source, name), count)| Kind { source, name, count: *count }).collect();
    let principals: Vec<_> = callers.named.iter().map(|(who, count)| Principal { who, count: *count }).collect();
    let named_events: Vec<_> = events.iter().map(|e| format!("{} of {} ({})", e.name, e.source, e.count)).collect();
    let named_callers: Vec<_> = principals.iter().map(|p| format!("{} ({})", p.who, p.count)).collect();
    let others = [(kinds.others, "kind of event", "kinds of event"), (callers.others, "caller", "callers")];
    let others: Vec<_> = others.into_iter().filter_map(|(others, one, many)| not_named(others, one, many)).collect();
    let limit = context.filter.max_alerts_per_log.unwrap_or_default();
    let strings = flood.attributes();
    let common = |wanted| strings.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let [account, region, result] = [ACCOUNT, REGION, RESULT].map(common);
    let attributes =
        || attributes(strings.iter().copied().chain([("severity", rule.severity.name())]), &[rule], &advice);
    let more = counted(flood.more, "more alert", "more alerts");
    let who = Some(named_callers.join(", "));
    let lines = || {
        let alerts = counted(flood.more, "alert", "alerts");
        let more = format!("{alerts} beyond the first {limit} of this log and the first of each kind of event");
        let mut lines = vec![
            Line::new("Rule", Some(format!("{} ({})", rule.name, rule.severity))),
            Line::new("More", Some(more)),
            Line::new("First", flood.first.as_deref()),
            Line::new("Last", flood.last.as_deref()),
            Line::new("Events", Some(named_events.join(", "))),
            Line::new("Who", who.as_deref()),
            Line::new("Others", Some(others.join(", ")).filter(|others| !others.is_empty())),
        ];
        lines.extend(flood.held.map(|held| Line::new("Held", Some(held_text(held, "more", "")))));
        lines.extend(advice_lines(&advice));
        lines.extend([
            Line::new("Account", account.map(|account| context.account_in_full(account))),
            Line::new("Log", Some(context.log)),
        ]);
        [Vec::new(), lines]
    };
    let message = Content {
        rules: &[rule],
        subject: subject::of_flood(rule, &more, account, region, context),
        attributes: &attributes,
        advice: &advice,
        lines: &lines,
        who: who.as_deref(),
        result,
        call: None,
        threshold: None,
        held: flood.held,
        receipts: flood.receipts.clone(),
        detail: Detail::Summary(Summary {
            more: flood.more,
            first: flood.first.as_deref(),
            last: flood.last.as_deref(),
            events,
            other_events: kinds.others.into(),
            principals,
            other_principals: callers.others.into(),
        }),
        // The events are part of it: after a log that broke off, a retry may find more of them, and a key may get
        // another log.
        id: Some(format!("summary of {} {} in {} {:032x}", flood.more, rule.name, context.log, flood.events)),
        account: account.map(str::to_owned),
        time: None,
    };
    message.into_alert(context)
}

/// The lines of what the rules count, and of what was held back before, each if there is any.
fn told_lines<'l>(rules: &[&Rule], told: &[Told<'_>]) -> impl Iterator<Item = Line<'l>> + use<'l> {
    let of = |rule: &Rule| if rules.len() > 1 { format!(" (rule {})", rule.name) } else { String::new() };
    let counts = told.iter().filter_map(|Told { rule, stage, .. }| {
        let StageKind::Threshold { count, distinct } = &stage.kind else { return None };
        let different = distinct.as_ref().map_or(String::new(), |path| format!(" different {}", path_text(path)));
        let within = stage.span.in_words();
        Some(format!("{count}{different} in {within} with the same {}{}", stage.by_text(), of(rule)))
    });
    let held = told.iter().filter_map(|Told { rule, stage, held, .. }| {
        let held = (*held)?;
        let others = match (&stage.kind, held.count) {
            (StageKind::Threshold { .. }, 1) => "other",
            (StageKind::Threshold { .. }, _) => "others",
            _ => "more",
        };
        Some(held_text(held, others, &format!(" with the same {}", stage.by_text())) + &of(rule))
    });
    said([("Count", counts.collect::<Vec<_>>().join("; ")), ("Held", held.collect::<Vec<_>>().join("; "))])
}

fn held_text(Held { count, from, to }: Held, others: &str, of: &str) -> String {
    let (from, to, were) = (from.to_string(), to.to_string(), if count == 1 { "was" } else { "were" });
    let when = if from == to { format!("at {from}") } else { format!("between {from} and {to}") };
    format!("{count} {others} {when}{of} {were} not sent")
}

/// The lines of what the rules say, each if they say it.
fn advice_lines<'l>(advice: &Advice<'_>) -> impl Iterator<Item = Line<'l>> + use<'l> {
    said([
        (RUNBOOK, advice.runbooks.join(" ")),
        (REFERENCES, advice.references.join(", ")),
        ("Tags", advice.tags.join(", ")),
    ])
}

/// The lines of texts that are not empty.
fn said<'l, const N: usize>(lines: [(&'static str, String); N]) -> impl Iterator<Item = Line<'l>> + use<'l, N> {
    let said = lines.into_iter().filter(|(_, texts)| !texts.is_empty());
    said.map(|(label, texts)| Line::new(label, Some(truncate_and_count(texts, VALUE_LIMIT))))
}

/// Those that a summary does not name.
fn not_named(others: Others, one: &str, many: &str) -> Option<String> {
    let at_least = if others.is_at_least { "at least " } else { "" };
    let alerts = counted(others.alerts, "alert", "alerts");
    (others.count > 0).then(|| format!("{at_least}{} ({alerts})", counted(others.count, one, many)))
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::super::digest::{self, Delivered};
    use super::super::message::SIZE_LIMIT;
    use super::super::told::{GroupId, Receipt};
    use super::*;
    use crate::rules::Format;
    use crate::rules::config;

    fn alert_in(format: &str, config: &str, record: &str) -> Alert {
        alert_with(format, config, record, Some(held(37, 0, 56 * 60)))
    }

    /// So many matches, the first and the last at these seconds after 10:02.
    fn held(count: u64, from: u64, to: u64) -> Held {
        let at = |seconds: u64| serde_json::from_value(json!(1_795_168_920_000 + seconds * 1_000)).unwrap();
        Held { count, from: at(from), to: at(to) }
    }

    /// The alert of a record, and what each stage of its rules has held back.
    fn alert_with(format: &str, config: &str, record: &str, held: Option<Held>) -> Alert {
        let config = format!(
            r#"{{"regexp": "", "source": "", "format": "{format}", {config}
                "sns": {{"topicARN": "arn:aws:sns:us-east-1:123456789012:t"}}}}"#
        );
        let filter = config::parse(config.as_bytes(), None).unwrap();
        let context = Context { filter: &filter, log: "s3://logs/key", format: None };
        let rules: Vec<_> = filter.rules.iter().collect();
        let text = crate::log::readable(record.as_bytes());
        let record = Record::parse(&text).unwrap();
        let receipt = Receipt { group: GroupId(1), event: 1 };
        let of = |rule| move |stage| Told { rule, stage, held, receipt };
        let told: Vec<_> = filter.rules.iter().flat_map(|rule| rule.stages.iter().map(of(rule))).collect();
        about(&record, &Call::of(&record), &rules, &told, &context)
    }

    /// The summary of one such alert, as text or in a chat.
    fn summary_of(rule: &str, config: &str, record: &Value, format: &str) -> Alert {
        let config = format!(
            r#"{{"rules": [{{"name": "{rule}", "regexp": "", "source": ""}}], {config} "format": "{format}"}}"#
        );
        let filter = config::parse(config.as_bytes(), None).unwrap();
        let record = record.to_string();
        let mut flood = Flood::new(&filter.rules[0]);
        flood.add(&Call::of(&Record::parse(&record).unwrap()), None, &mut 10_000);
        // The log's name may be any text, and differs here as the records do.
        summary(&flood, &Context { filter: &filter, log: &record, format: None })
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
        let log = include_str!("../../fixtures/logs/iam-signin-sts.json");
        let log: BTreeMap<&str, Vec<&RawValue>> = serde_json::from_str(log).unwrap();
        let accounts = r#""accounts": {"123456789012": "production"},"#;
        let alert = alert_in("text", accounts, log["Records"][0].get());
        assert_eq!(alert.subject, "[medium] CreateUser by alice in production us-east-1");
        let golden = include_str!("../../tests/golden/text.txt").split_once("s3://").unwrap().0;
        let golden = golden.replace("Account : 123456789012\n", "Account : 123456789012 (production)\n");
        assert_eq!(alert.body, golden + "s3://logs/key\n");
    }

    #[test]
    fn callers_results_and_places_are_named_as_people_name_them() {
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
            (
                json!({"eventName": "ConsoleLogin", "responseElements": {"ConsoleLogin": "Failure"}}),
                "",
                "Result  : Failure\n",
            ),
            (
                json!({"eventName": "ConsoleLogin", "responseElements": {"ConsoleLogin": "Success"}}),
                "",
                "Result  : Success\n",
            ),
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
    fn an_event_id_that_is_far_too_long_is_short_and_still_tells_events_apart() {
        let of = |ending: &str| {
            let mut record = create_user();
            record["eventID"] = json!("x".repeat(5_000) + ending);
            alert_in("text", "", &record.to_string())
        };
        let [one, same, other] = ["a", "a", "b"].map(of);
        assert!(one.id.as_ref().is_some_and(|id| id.starts_with("(left out: 5003 bytes, ") && id.len() < 100));
        assert!(one.id == same.id && one.id != other.id);
        assert!(one.body.contains("Console : -\n") && one.size() < 2_000, "{}", one.body);
    }

    #[test]
    fn a_long_name_gives_way_to_account_and_region() {
        let mut record = create_user();
        record["userIdentity"]["arn"] = json!(format!("arn:aws:sts::1:assumed-role/{}/s", "r".repeat(200)));
        let alert = alert_in("text", "", &record.to_string());
        assert_eq!(alert.subject.len(), 99);
        assert!(alert.subject.ends_with("r.../s in 123456789012 us-east-1"), "{}", alert.subject);

        let place = "in 123456789012 us-east-1";
        let person = "bartholomew.montgomery@example.com";
        let outside = |session: &str| format!("arn:aws:sts::999988887777:assumed-role/{session}");
        let set = "AWSReservedSSO_AdministratorAccessToEverythingThatThereIs_0123456789abcdef";
        for (event, session, subject) in [
            (
                "CreateUser",
                format!("{set}/alice@example.com"),
                "CreateUser by alice@example.com (AdministratorAccessToEveryt...)",
            ),
            (
                "CreateUser",
                format!("{set}/{}@example.com", "alice".repeat(9)),
                "CreateUser by alicealicealicealicealicealicealicealicealice@e...",
            ),
            (
                "AuthorizeSecurityGroupIngress",
                "deployment-of-production/release-42".to_owned(),
                "AuthorizeSecurityGroupIngress by deployment-of-pro.../release-42",
            ),
            (
                "GetPasswordData",
                "deployment-of-production/aws-go-sdk-1688990082523310002".to_owned(),
                "GetPasswordData by deployment-of-production/aws-go-sdk-168899...",
            ),
            (
                &*"AssociateTransitGatewayMulticastDomain".repeat(2),
                format!("{set}/alice@example.com"),
                "AssociateTransitGatewayMulticastDomainAs... by alice@example.com",
            ),
            (
                "AssociateTransitGatewayMulticastDomain",
                format!("{set}/{person}"),
                "AssociateTransitGateway... by bartholomew.montgomery@example.com",
            ),
            (
                "AuthorizeSecurityGroupIngress",
                "a-role-of-this-name/alice1234567890@example.com".to_owned(),
                "AuthorizeSecurityGroupIngress by alice1234567890@example.com",
            ),
            (
                "AuthorizeSecurityGroupIngress",
                outside("Audit/alice@example.com"),
                "AuthorizeSecurity... by alice@example.com (account 999988887777)",
            ),
            (
                "CreateUser",
                outside(&format!("Audit/{person}")),
                "CreateUser by Audit/bartholomew.montgomery@example.com",
            ),
            (
                "CreateUser",
                outside(&format!("Admin/{}", "m".repeat(60))),
                &format!("CreateUser by {}...", "m".repeat(47)),
            ),
        ] {
            record["eventName"] = json!(event);
            let is_arn = session.starts_with("arn:");
            let arn = if is_arn { session } else { format!("arn:aws:sts::123456789012:assumed-role/{session}") };
            record["userIdentity"]["arn"] = json!(arn);
            let alert = alert_in("text", "", &record.to_string());
            assert_eq!(alert.subject, format!("[medium] {subject} {place}"));
        }
    }

    #[test]
    fn a_long_name_of_an_account_gives_way_to_the_region() {
        let accounts =
            r#""accounts": {"123456789012": "production of the payments department of Example Corporation Ltd"},"#;
        let mut record = create_user();
        for (event, by, account) in [
            ("CreateUser", "alice", "production of the payments department of Example Corpo..."),
            ("AuthorizeSecurityGroupIngress", "alice", "production of the payments departme..."),
            ("AuthorizeSecurityGroupIngress", "montgomery@example.com", "production of the ..."),
        ] {
            record["eventName"] = json!(event);
            record["userIdentity"]["arn"] = json!(format!("arn:aws:iam::123456789012:user/{by}"));
            let subject = alert_in("text", accounts, &record.to_string()).subject;
            assert!(subject.ends_with(&format!(" by {by} in {account} us-east-1")), "{subject}");
        }
        let name = "every-call-that-changes-a-user-or-a-role".repeat(2);
        let summary = summary_of(&name, accounts, &record, "text");
        let subject =
            "[medium] 1 more alert of every-call-that-changes-a-user-or-a-r... in production of the... us-east-1";
        assert_eq!(summary.subject, subject);
    }

    /// Rules, to be read in a configuration before its topic.
    fn rules(rules: &Value) -> String {
        format!(r#""rules": {rules},"#)
    }

    #[test]
    fn what_rules_say_leaves_room_for_the_event() {
        let many = |text: &str| -> Vec<_> { (0..3_000).map(|n| format!("{text}{n}")).collect() };
        let long = "é".repeat(50_000);
        let config = rules(&json!([
            {"name": "a", "source": "", "runbook": long, "references": many("https://a.example/"), "tags": many("t")},
            {"name": "b", "source": "", "runbook": "Second.", "references": [long], "tags": [long]},
        ]));
        let record = create_user();
        let body = |format| alert_in(format, &config, &record.to_string()).body;
        let text = body("text");
        assert!(text.contains(&format!("\nRunbook : {} (cut: 46008 characters more)\n", "é".repeat(4_000))));
        assert!(
            text.contains(", https://a.example/20, ")
                && text.contains("\nFrom    : 203.0.113.9")
                && text.len() < 20_000
        );

        let alert = alert_in("json", &config, &record.to_string());
        let told: Value = serde_json::from_str(&alert.body).unwrap();
        assert_eq!(told["event"], record);
        let first = format!("{} (cut: 46000 characters more)", "é".repeat(4_000));
        assert_eq!(told["runbooks"], json!([first, "Second."]));
        for (list, start) in [("references", "https://a.example/"), ("tags", "t")] {
            let list: Vec<_> = told[list].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            let whole = list.len() - 1;
            assert!(whole > 500 && list[whole - 1] == format!("{start}{}", whole - 1), "{list:?}");
            assert_eq!(list[whole], format!("({} more)", 3_001 - whole));
        }
        let attribute = alert.attributes.iter().find(|attribute| attribute.name == "tag").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&attribute.value).unwrap(), told["tags"]);

        let chat: Value = serde_json::from_str(&body("chatbot")).unwrap();
        let steps = chat["content"]["nextSteps"].as_array().unwrap();
        assert_eq!(steps, &[json!("é".repeat(250) + "..."), json!("Second.")]);
    }

    #[test]
    fn a_message_says_how_many_there_were_and_how_many_were_held_back() {
        let threshold = json!({"count": 5, "by": ["sourceIPAddress"], "within": "10m"});
        let distinct = json!({"count": 20, "by": ["userIdentity.arn", "awsRegion"], "within": "1h",
            "distinct": "requestParameters.secretId"});
        let suppress = json!({"by": ["userIdentity.arn", "a\\.b", "c"], "for": "1d"});
        let one = |keys: Value| {
            let mut rule = json!({"name": "a", "source": "", "regexp": "", "runbook": "Ask."});
            rule.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
            rule
        };
        for (all, held, count, told) in [
            (vec![one(json!({"threshold": threshold}))], None, "5 in 10 minutes with the same sourceIPAddress", ""),
            (
                vec![one(json!({"threshold": distinct}))],
                Some(held(1, 0, 0)),
                "20 different requestParameters.secretId in 1 hour with the same userIdentity.arn and awsRegion",
                "1 other at 2026-11-20T10:02:00Z with the same userIdentity.arn and awsRegion was not sent",
            ),
            (
                vec![one(json!({"suppress": suppress}))],
                Some(held(37, 0, 56 * 60)),
                "",
                r"37 more between 2026-11-20T10:02:00Z and 2026-11-20T10:58:00Z with the same userIdentity.arn, a\.b and c were not sent",
            ),
            (
                vec![one(json!({"threshold": threshold})), {
                    let mut other = one(json!({"firstSeen": {"by": ["awsRegion"], "within": "90d"}}));
                    other["name"] = json!("b");
                    other
                }],
                Some(held(2, 0, 0)),
                "5 in 10 minutes with the same sourceIPAddress (rule a)",
                "2 others at 2026-11-20T10:02:00Z with the same sourceIPAddress were not sent (rule a); 2 more at \
                 2026-11-20T10:02:00Z with the same awsRegion were not sent (rule b)",
            ),
            (vec![one(json!({"suppress": suppress}))], None, "", ""),
        ] {
            let config = rules(&all.clone().into());
            // The rule of the top level matches, too, and so each text names its rule.
            let alert = |format: &str| alert_with(format, &config.replace('\n', ""), &create_user().to_string(), held);
            let of_top_level = |text: &str| text.replace(" (rule a)", "").replace(" (rule b)", "");
            let text = alert("text");
            let line = |label: &str, text: &str| {
                let is_one = all.len() == 1 && !text.is_empty();
                let text = if is_one { format!("{text} (rule a)") } else { text.to_owned() };
                if text.is_empty() { text } else { format!("{label}: {text}\n") }
            };
            let lines = format!("{}{}Runbook : ", line("Count   ", count), line("Held    ", told));
            assert!(text.body.contains(&format!("user/alice\nIdentity: IAMUser\n{lines}")), "{}", text.body);
            assert_eq!(text.receipts.is_empty(), held.is_none());

            let chat: Value = serde_json::from_str(&alert("chatbot").body).unwrap();
            let said = of_top_level(chat["content"]["description"].as_str().unwrap());
            for (label, text) in [("Count", count), ("Held", told)] {
                let line = format!("\n*{label}:* `{}`\n", of_top_level(text));
                assert!(text.is_empty() != said.contains(&line), "{line} in {said}");
            }

            let json = alert("json").body;
            let threshold = match count.split(' ').next().unwrap() {
                "" => String::new(),
                "5" => r#""threshold":{"count":5,"within":"10m"},"#.to_owned(),
                count => format!(r#""threshold":{{"count":{count},"within":"1h"}},"#),
            };
            let back = held.map_or(String::new(), |held| {
                let sum = held.count * all.len() as u64;
                format!(r#""held":{{"count":{sum},"from":"{}","to":"{}"}},"#, held.from, held.to)
            });
            assert!(json.contains(&format!(r#""log":"s3://logs/key",{threshold}{back}"runbooks":"#)), "{json}");
        }
    }

    #[test]
    fn long_paths_and_many_rules_leave_room_for_the_event() {
        let path = vec!["k".repeat(200); 64].join(".");
        let stage = |n: usize| {
            json!({"name": n.to_string(), "source": "", "threshold":
            {"count": 1000, "by": [path, path], "within": "90d", "distinct": path}})
        };
        let config = rules(&(0..20).map(stage).collect());
        let body = |format| alert_in(format, &config, &create_user().to_string()).body;
        let text = body("text");
        for line in ["Count   : 1000 different kkk", "Held    : 37 others between "] {
            let line = text.lines().find(|text| text.starts_with(line)).unwrap();
            assert!(line.ends_with(" characters more)") && line.len() < 4_100, "{}", line.len());
        }
        assert!(text.contains("\nFrom    : 203.0.113.9") && text.len() < 11_000);
        assert!(body("chatbot").len() < 8_000);
        let json: Value = serde_json::from_str(&body("json")).unwrap();
        assert_eq!((&json["event"], &json["held"]["count"]), (&create_user(), &json!(37 * 20)));
    }

    #[test]
    fn a_chat_message_with_many_runbooks_is_no_longer_than_others() {
        let all: Vec<_> = (0..20)
            .map(|n| json!({"name": n.to_string(), "source": "", "runbook": format!("{n:02}{}", "x".repeat(488))}))
            .collect();
        let mut record = create_user();
        for key in ["requestParameters", "responseElements", "additionalEventData", "errorMessage", "userAgent"] {
            record[key] = json!("x".repeat(4_000));
        }
        record["resources"] = json!([{"ARN": "x".repeat(4_000)}]);
        let content = |config: &str| {
            let body: Value = serde_json::from_str(&alert_in("chatbot", config, &record.to_string()).body).unwrap();
            let steps = body["content"]["nextSteps"].as_array().map_or(0, Vec::len);
            (body["content"]["description"].as_str().unwrap().len(), steps)
        };
        let (usual, none) = content("");
        let (short, ten) = content(&rules(&all.into()));
        assert!(short + 10 * 490 < 8_000 && usual + 10 * 490 > 8_000, "{usual} {short}");
        assert_eq!((none, ten), (0, 10));
    }

    #[test]
    fn keys_are_escaped_where_a_record_is_cut() {
        let mut record = create_user();
        record["\u{202e}key\u{2028}"] = json!("kept");
        record["userAgent"] = json!("x".repeat(300_000));
        let alert = alert_in("json", "", &record.to_string());
        assert!(!alert.body.contains(['\u{202e}', '\u{2028}']) && alert.body.contains("left out"), "{}", alert.body);
        let body: Value = serde_json::from_str(&alert.body).unwrap();
        assert_eq!(body["event"]["\u{202e}key\u{2028}"], "kept");
    }

    #[test]
    fn a_result_stands_under_the_name_of_the_event() {
        for (change, result) in [
            (json!({"eventName": "SwitchRole", "responseElements": {"SwitchRole": "Failure"}}), "Failure"),
            (json!({"eventName": "SwitchRole", "responseElements": {"SwitchRole": "Success"}}), "Success"),
            (json!({"eventName": "SwitchRole", "responseElements": {"ConsoleLogin": "Failure"}}), "Success"),
            (
                json!({"eventName": "UserAuthentication", "serviceEventDetails": {"UserAuthentication": "Failure"}}),
                "Failure",
            ),
            (
                json!({"eventName": "PasswordRecoveryCompleted", "responseElements": {"PasswordRecoveryCompleted": "Failure"}}),
                "Failure",
            ),
            (json!({"responseElements": {"CreateUser": {"CreateUser": "Failure"}}}), "Success"),
            (json!({"responseElements": "Failure", "serviceEventDetails": ["Failure"]}), "Success"),
        ] {
            let mut record = create_user();
            record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let body = |format| alert_in(format, "", &record.to_string()).body;
            assert!(body("text").contains(&format!("\nResult  : {result}\n")), "{change}");
            assert_eq!(serde_json::from_str::<Value>(&body("json")).unwrap()["result"], result, "{change}");
        }
    }

    #[test]
    fn the_link_is_there_if_the_history_has_the_event() {
        for (change, host) in [
            (json!({}), Some("us-east-1.console.aws.amazon.com")),
            (json!({"managementEvent": true, "eventCategory": "Management"}), Some("us-east-1.console.aws.amazon.com")),
            (json!({"managementEvent": false}), None),
            (json!({"managementEvent": "false"}), None),
            (json!({"eventCategory": "Data"}), None),
            (json!({"eventCategory": "NetworkActivity"}), None),
            (json!({"managementEvent": true, "eventCategory": "Data"}), None),
            (json!({"awsRegion": "eusc-de-east-1"}), Some("eusc-de-east-1.console.amazonaws-eusc.eu")),
            (json!({"awsRegion": "us-gov-east-1"}), Some("us-gov-east-1.console.amazonaws-us-gov.com")),
            (json!({"awsRegion": "cn-northwest-1"}), Some("cn-northwest-1.console.amazonaws.cn")),
            (json!({"awsRegion": "us-iso-east-1"}), None),
            (json!({"awsRegion": "eu-isoe-west-1"}), None),
        ] {
            let mut record = create_user();
            record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let body = alert_in("text", "", &record.to_string()).body;
            let start = host.map_or_else(|| "-\n".to_owned(), |host| format!("https://{host}/cloudtrailv2/home?"));
            assert!(body.contains(&format!("\nConsole : {start}")), "{change}: {body}");
        }
    }

    #[test]
    fn a_chat_thread_is_that_of_rule_and_caller() {
        let thread = |change: Value| {
            let mut record = create_user();
            record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let body: Value = serde_json::from_str(&alert_in("chatbot", "", &record.to_string()).body).unwrap();
            body["metadata"]["threadId"].as_str().unwrap().to_owned()
        };
        let first = thread(json!({}));
        assert_eq!(first.len(), 32);
        assert_eq!(first, thread(json!({"eventID": "another", "eventName": "DeleteUser"})));
        assert_ne!(first, thread(json!({"userIdentity": {"arn": "arn:aws:iam::123456789012:user/bob"}})));
        let session = |name: &str| {
            let arn = format!("arn:aws:sts::123456789012:assumed-role/deploy/{name}");
            thread(json!({"userIdentity": {"type": "AssumedRole", "arn": arn}}))
        };
        let program = session("botocore-session-1763675310");
        assert_eq!(program, session("botocore-session-1763679999"), "each of its sessions has a name of its own");
        assert_ne!(program, session("alice"));
        assert_ne!(session("alice"), session("bob"));
    }

    #[test]
    fn the_summaries_of_a_rule_have_one_thread() {
        let thread = |name: &str, change: Value| {
            let mut record = create_user();
            record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let config = format!(r#""accounts": {{"123456789012": "{name}"}},"#);
            let body: Value = serde_json::from_str(&summary_of("users", &config, &record, "chatbot").body).unwrap();
            body["metadata"]["threadId"].as_str().unwrap().to_owned()
        };
        let first = thread("a", json!({}));
        let bob = json!({"userIdentity": {"arn": "arn:aws:iam::123456789012:user/bob"}, "eventID": "another"});
        assert_eq!(first, thread("b", bob));
        let alert: Value = serde_json::from_str(&alert_in("chatbot", "", &create_user().to_string()).body).unwrap();
        assert_ne!(alert["metadata"]["threadId"], first);
    }

    #[test]
    fn a_caller_makes_no_markup_of_a_title() {
        for (name, title) in [
            ("alice", "[medium] CreateUser by alice in 123456789012 us-east-1"),
            ("@here", "[medium] `CreateUser by @here in 123456789012 us-east-1`"),
            ("*bold* _x_ ~y~", "[medium] `CreateUser by *bold* _x_ ~y~ in 123456789012 us-east-1`"),
            ("[a](b)", "[medium] `CreateUser by [a](b) in 123456789012 us-east-1`"),
            ("<!here>", "[medium] `CreateUser by &lt;!here&gt; in 123456789012 us-east-1`"),
            ("evil.example", "[medium] `CreateUser by evil.example in 123456789012 us-east-1`"),
            (":fire:", "[medium] `CreateUser by :fire: in 123456789012 us-east-1`"),
            ("a` *b* `c", "[medium] `CreateUser by a' *b* 'c in 123456789012 us-east-1`"),
        ] {
            let mut record = create_user();
            record["userIdentity"] = json!({"type": "IAMUser", "userName": name});
            let body: Value = serde_json::from_str(&alert_in("chatbot", "", &record.to_string()).body).unwrap();
            assert_eq!(body["content"]["title"], title);
            assert_eq!(body["content"]["keywords"], json!(["default", "medium"]));
        }
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
            "[\\x00-\\x20<>`*|@\u{2028}\u{202e}\u{ffff}\u{200b}\u{feff}\u{e0041}\\\\\"]{0,40}".prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!({"sessionToken": "SECRET", "k": ["x", {"dbPassword": "SECRET"}]})),
            Just(json!([{"ARN": {"sessionToken": "SECRET"}}])),
        ]
    }

    /// A runbook, a reference or a tag, whoever wrote it.
    fn any_saying() -> impl Strategy<Value = String> {
        prop_oneof![
            12 => "-[\x00-\x20<>`*|@\u{2028}\u{202e}\u{ffff}\u{200b}\u{feff}\u{e0041}\\\"-]{0,40}",
            1 => any::<String>().prop_map(|text| format!("x{text}").repeat(100)),
        ]
    }

    /// URLs are not redacted in the names of a caller.
    fn any_value_or_url() -> impl Strategy<Value = Value> {
        prop_oneof![5 => any_value(), 1 => Just(json!([{"ARN": ["https://b.example/?X-Amz-Signature=SECRET"]}]))]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a record holds, SNS takes the message, and nobody can forge a line of it.
        #[test]
        fn every_message_is_valid(
            values in prop::collection::vec(any_value_or_url(), 17),
            identity in prop::collection::vec(any_value(), 10),
            session in prop::collection::vec(any_value(), 3),
            sayings in prop::collection::vec(any_saying(), 4),
        ) {
            let keys = ["eventName", "eventSource", "awsRegion", "recipientAccountId", "eventID", "eventTime", "errorCode",
                "errorMessage", "sourceIPAddress", "userAgent", "requestParameters", "responseElements",
                "additionalEventData", "serviceEventDetails", "resources", "vpcEndpointId", "vpcEndpointAccountId"];
            let mut record: serde_json::Map<_, _> = keys.iter().map(ToString::to_string).zip(values).collect();
            let keys = ["arn", "userName", "invokedBy", "principalId", "type", "accountId", "accessKeyId", "identityProvider",
                "onBehalfOf", "inScopeOf"];
            let mut identity: serde_json::Map<_, _> = keys.iter().map(ToString::to_string).zip(identity).collect();
            let keys = ["sourceIdentity", "sessionIssuer", "webIdFederationData"];
            identity.insert("sessionContext".to_owned(), keys.iter().map(ToString::to_string).zip(session).collect());
            record.insert("userIdentity".to_owned(), identity.into());
            let config = rules(&json!([
                {"name": "a", "source": "", "runbook": sayings[0], "references": sayings[1..2], "tags": sayings[2..],
                 "threshold": {"count": 2, "by": ["`*<!here>*`\u{202e}\n"], "within": "1h", "distinct": "-\u{2028}<"}},
                {"name": "b", "source": "", "runbook": sayings[3], "references": sayings, "tags": sayings,
                 "suppress": {"by": ["x".repeat(5_000), "y"], "for": "1h"}},
            ]));
            for (_, format) in Format::NAMES {
                let alert = alert_in(format.name(), &config, &Value::from(record.clone()).to_string());
                let dangerous = ['\u{2028}', '\u{202e}', '\u{ffff}', '\u{200b}', '\u{feff}', '\u{e0041}', '\0', '\x1b'];
                let subject = alert.subject.as_str();
                prop_assert!((1..=99).contains(&subject.len()) && subject.starts_with('['));
                prop_assert!(subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                prop_assert!(alert.size() <= SIZE_LIMIT);
                prop_assert!(!alert.body.contains("SECRET"));
                prop_assert!(alert.attributes.len() <= 10, "a queue with raw delivery takes no more");
                for attribute in &alert.attributes {
                    prop_assert!(!attribute.value.is_empty() && !attribute.value.contains(char::is_control));
                    prop_assert!(!attribute.value.contains(dangerous));
                }
                let delivered = Delivered::new(subject, &alert.body, "", |_| None);
                let mail = digest::mail(&[&delivered]);
                prop_assert_eq!((&mail.subject, &mail.body), (&alert.subject, &alert.body), "word for word");
                prop_assert!(alert.body.lines().all(|line| !line.starts_with('-')), "as alerts of a mail are separated");
                let lines = alert.body.lines().count();
                prop_assert!(!alert.body.contains(dangerous));
                match format {
                    Format::Text => prop_assert!((19..=30).contains(&lines)),
                    Format::Json => {
                        let body: Value = serde_json::from_str(&alert.body).unwrap();
                        prop_assert_eq!((lines, body["event"].as_object().unwrap().len()), (1, record.len()));
                        prop_assert!(["runbooks", "references", "tags"].iter().all(|list| body[list].is_array()));
                    }
                    Format::Chatbot => {
                        let body: Value = serde_json::from_str(&alert.body).unwrap();
                        let said = body["content"]["description"].as_str().unwrap();
                        prop_assert!(lines == 1 && !said.contains('<') && said.lines().count() <= 28);
                        let steps = body["content"]["nextSteps"].as_array().unwrap();
                        let is_safe = |step: &str| step.len() < 520 && !step.contains(['<', '>', '`', '\n']);
                        prop_assert!(steps.len() < 3 && steps.iter().all(|step| is_safe(step.as_str().unwrap())));
                        prop_assert!(said.lines().all(|line| line.starts_with('*')) && said.len() < 8_000);
                    }
                }
            }
        }
    }
}

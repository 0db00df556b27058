//! Warnings about valid configurations that are probably mistakes: rules that never match, match everything, or feed
//! themselves.

use super::condition::{CallName, Condition, Scratch, Test, literals};
use super::config::{MeantRule, meant_pack_rule};
use super::cost;
use super::examples::{examples, matches_everything};
use super::exceptions;
use super::model::{Filter, Rule};
use super::pattern::{Pattern, Searches};
use super::suggest::nearest;
use crate::log::Record;

/// The keys of a [record](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
const RECORD_KEYS: [&str; 30] = [
    "additionalEventData", "addendum", "apiVersion", "awsRegion", "edgeDeviceDetails", "errorCode", "errorMessage",
    "eventCategory", "eventID", "eventName", "eventSource", "eventTime", "eventType", "eventVersion",
    "managementEvent", "readOnly", "recipientAccountId", "requestID", "requestParameters", "resources",
    "responseElements", "serviceEventDetails", "sessionCredentialFromConsole", "sharedEventID", "sourceIPAddress",
    "tlsDetails", "userAgent", "userIdentity", "vpcEndpointAccountId", "vpcEndpointId",
];

/// The keys of [`userIdentity`](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
const IDENTITY_KEYS: [&str; 15] = [
    "accessKeyId", "accountId", "arn", "credentialId", "identityProvider", "identityStoreArn", "inScopeOf",
    "invokedBy", "invokedByDelegate", "onBehalfOf", "principalId", "sessionContext", "type", "userName",
    "webIdFederationData",
];

/// Keys that CloudTrail writes, but not into the log files that the function reads.
const KEYS_ELSEWHERE: [(&str, &str); 2] = [
    ("eventContext", "only event data stores get it"),
    ("insightDetails", "only Insights events have it, and the function skips their files"),
];

/// Keys and values of the events in files that the function skips, those events' name, and the values of other events.
const SKIPPED: [(&str, &str, &str, &[&str]); 3] = [
    ("eventCategory", "Insight", "Insights", &["Management", "Data", "NetworkActivity"]),
    ("eventCategory", "Aggregated", "aggregated", &["Management", "Data", "NetworkActivity"]),
    (
        "eventType",
        "AwsCloudTrailInsight",
        "Insights",
        &["AwsApiCall", "AwsServiceEvent", "AwsConsoleAction", "AwsConsoleSignIn", "AwsVpceEvent"],
    ),
];

/// How CloudTrail's sources end, and one of them.
const SUFFIX: &str = ".amazonaws.com";
const EXAMPLE: &str = "iam.amazonaws.com";

/// Services under a name that people or EventBridge give them, and under CloudTrail's.
const RENAMED: [(&str, &str); 16] = [
    ("alb", "elasticloadbalancing"),
    ("cloudwatch", "monitoring"),
    ("cloudwatch-logs", "logs"),
    ("cloudwatchlogs", "logs"),
    ("docdb", "rds"),
    ("efs", "elasticfilesystem"),
    ("elb", "elasticloadbalancing"),
    ("elbv2", "elasticloadbalancing"),
    ("emr", "elasticmapreduce"),
    ("eventbridge", "events"),
    ("macie", "macie2"),
    ("msk", "kafka"),
    ("neptune", "rds"),
    ("opensearch", "es"),
    ("stepfunctions", "states"),
    ("tag", "tagging"),
];

/// Calls of all kinds: a condition that matches each of them probably matches every call.
const CALLS: [&str; 4] = [
    r#"{"eventVersion": "1.11", "eventTime": "2026-11-20T21:08:30Z", "eventID": "0", "awsRegion": "us-east-1",
        "eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin", "eventType": "AwsConsoleSignIn",
        "eventCategory": "Management", "managementEvent": true, "readOnly": false, "requestID": "0",
        "sourceIPAddress": "203.0.113.9", "userAgent": "Mozilla/5.0", "recipientAccountId": "111122223333",
        "userIdentity": {"type": "Root", "principalId": "111122223333", "accountId": "111122223333",
            "accessKeyId": "ASIAY", "arn": "arn:aws:iam::111122223333:root"}}"#,
    r#"{"eventVersion": "1.09", "eventTime": "2027-02-03T04:15:16Z", "eventID": "1", "awsRegion": "eu-central-1",
        "eventSource": "ec2.amazonaws.com", "eventName": "RunInstances", "eventType": "AwsApiCall",
        "eventCategory": "Management", "managementEvent": true, "readOnly": false, "requestID": "1",
        "sourceIPAddress": "2001:db8::5", "userAgent": "aws-cli/2.15", "recipientAccountId": "444455556666",
        "userIdentity": {"type": "IAMUser", "principalId": "AIDAQ", "accountId": "444455556666",
            "accessKeyId": "AKIAQ", "arn": "arn:aws:iam::444455556666:user/x/bob", "userName": "bob"}}"#,
    r#"{"eventVersion": "1.10", "eventTime": "2025-07-08T19:22:01Z", "eventID": "2", "awsRegion": "cn-north-1",
        "eventSource": "s3.amazonaws.com", "eventName": "GetObject", "eventType": "AwsApiCall",
        "eventCategory": "Data", "managementEvent": false, "readOnly": true, "requestID": "2",
        "sourceIPAddress": "198.51.100.7", "userAgent": "Boto3/1.34", "recipientAccountId": "777788889999",
        "userIdentity": {"type": "AssumedRole", "principalId": "AROAZ:ci", "accountId": "777788889999",
            "accessKeyId": "ASIAZ", "arn": "arn:aws-cn:sts::777788889999:assumed-role/build/ci"}}"#,
    r#"{"eventVersion": "1.08", "eventTime": "2024-09-30T12:46:54Z", "eventID": "3", "awsRegion": "us-gov-west-1",
        "eventSource": "kms.amazonaws.com", "eventName": "Decrypt", "eventType": "AwsApiCall",
        "eventCategory": "Management", "managementEvent": true, "readOnly": true, "requestID": "3",
        "sourceIPAddress": "192.0.2.44", "userAgent": "curl/8", "recipientAccountId": "123456789012",
        "userIdentity": {"type": "FederatedUser", "principalId": "123456789012:eve", "accountId": "123456789012",
            "accessKeyId": "ASIAX", "arn": "arn:aws-us-gov:sts::123456789012:federated-user/eve"}}"#,
];

/// Calls that CloudTrail writes with the version of their API behind the name, and a version: of Lambda, and of
/// CloudFront.
const VERSIONED: [(&str, &str, &[&str]); 2] = [
    (
        "lambda.amazonaws.com",
        "20150331",
        &[
            "AddPermission", "CreateAlias", "CreateEventSourceMapping", "CreateFunction", "DeleteAlias",
            "DeleteEventSourceMapping", "DeleteFunction", "GetAlias", "GetEventSourceMapping", "GetFunction",
            "GetFunctionConfiguration", "GetPolicy", "ListAliases", "ListEventSourceMappings", "ListFunctions",
            "ListVersionsByFunction", "PublishVersion", "RemovePermission", "UpdateAlias", "UpdateEventSourceMapping",
            "UpdateFunctionCode", "UpdateFunctionConfiguration",
        ],
    ),
    (
        "cloudfront.amazonaws.com",
        "2020_05_31",
        &[
            "CreateCachePolicy", "CreateCloudFrontOriginAccessIdentity", "CreateDistribution",
            "CreateDistributionWithTags", "CreateInvalidation", "DeleteDistribution", "UpdateDistribution",
        ],
    ),
];

/// Calls that the function itself makes when it runs: a rule on one of them brings an alert about each alert, where the
/// trail logs data events.
const OWN_CALLS: [(&str, &str); 2] = [("sns.amazonaws.com", "Publish"), ("s3.amazonaws.com", "GetObject")];

/// Warnings about a valid configuration, each naming its rule and what to do.
pub(crate) fn warnings(filter: &Filter, _today: &str) -> Vec<String> {
    let of_rules = filter.rules.iter().flat_map(|rule| {
        let warnings = [name(rule, filter), own_calls(&rule.condition, filter)].into_iter().flatten();
        let account = exceptions::account(&rule.condition.wheres);
        let unless = rule.condition.unless.iter().filter_map(move |test| exception(test, account.as_deref()));
        warnings
            .chain(of_condition(&rule.condition))
            .chain(unless)
            .map(|warning| format!("rule {}: {warning}", rule.name))
    });
    let of_ignore = filter.ignore.iter().enumerate().flat_map(|(i, entry)| {
        let entry = &entry.condition;
        let forgeable = if every_call(entry) { Vec::new() } else { exceptions::of_ignore(entry) };
        of_condition(entry).chain(forgeable).map(move |warning| format!("ignore[{i}]: {warning}"))
    });
    of_rules.chain(of_ignore).collect()
}

fn of_condition(condition: &Condition) -> impl Iterator<Item = String> {
    let warnings = [source(condition), event(condition), everything(condition)].into_iter().flatten();
    let of_tests = condition.wheres.iter().filter_map(skipped).chain(condition.tests().filter_map(path));
    warnings.chain(of_tests).chain(cost::slow(condition))
}

/// A rule is meant to override a pack's rule, and misses it.
fn name(rule: &Rule, filter: &Filter) -> Option<String> {
    let MeantRule { name: meant, pack, rules } = meant_pack_rule(&rule.name)?;
    if meant != rule.name {
        return Some(format!("no pack has a rule of that name to override; did you mean `{meant}`?"));
    }
    let in_use = rules.iter().all(|name| filter.rules.iter().any(|rule| rule.name == *name));
    let why = format!("`packs` does not name `{pack}`, which has a rule of that name: this one stands alone");
    (!in_use).then_some(why)
}

fn source(condition: &Condition) -> Option<String> {
    let pattern = condition.event_source.as_ref()?;
    if let Some(warning) = examples(pattern).iter().find_map(|name| not_cloudtrails(pattern, name)) {
        return Some(warning);
    }
    literals(pattern).iter().find_map(|name| {
        let small = name.to_lowercase();
        if small != *name && !pattern.is_match(&small) {
            return Some(format!("`source` matches `{name}`, but CloudTrail writes sources in lower case: `{small}`"));
        }
        let service = service(name);
        let source = format!("{service}{SUFFIX}");
        let is_short = !name.is_empty() && pattern.is_match(name) && !pattern.is_match(&source);
        let why = format!("`source` matches `{name}`, but CloudTrail writes");
        is_short.then(|| match service {
            "" | "amazonaws" => format!("{why} names such as `{EXAMPLE}`: name the service"),
            _ => format!("{why} `{source}`: leave out the `$`, or add the rest"),
        })
    })
}

/// The service in a source, or in the beginning of one.
fn service(source: &str) -> &str {
    let ends = SUFFIX.char_indices().map(|(end, _)| &SUFFIX[..end]).rev();
    let service = [SUFFIX].into_iter().chain(ends).find_map(|end| source.strip_suffix(end));
    match service.unwrap_or(source) {
        "amazonaws.com" => "",
        service => service,
    }
}

fn event(condition: &Condition) -> Option<String> {
    let pattern = condition.event_name.as_ref()?;
    let literals = literals(pattern);
    VERSIONED.iter().filter(|(source, _, _)| condition.matches_source(Some(source))).find_map(|(_, version, names)| {
        let name = literals.iter().find(|name| {
            names.contains(&name.as_str()) && pattern.is_match(name) && !pattern.is_match(&format!("{name}{version}"))
        })?;
        Some(format!(
            "`regexp` matches `{name}`, but CloudTrail writes a version behind it, such as `{name}{version}`: leave out \
             the `$`"
        ))
    })
}

/// A name that a pattern asks for, if it is EventBridge's or another that CloudTrail does not use.
fn not_cloudtrails(pattern: &Pattern, name: &str) -> Option<String> {
    let small = name.to_lowercase();
    let bare = small.strip_suffix(SUFFIX).unwrap_or(&small);
    let (service, whose) = match bare.strip_prefix("aws.") {
        Some(service) => (service.trim_end_matches('.'), "EventBridge's name"),
        None => (bare, "which is not a source"),
    };
    if service != bare && service.is_empty() {
        let is_of_none = ![EXAMPLE, "aws-marketplace.amazonaws.com"].iter().any(|source| pattern.is_match(source));
        let warning = || format!("`source` matches `{name}`, {whose}: CloudTrail writes names such as `{EXAMPLE}`");
        return is_of_none.then(warning);
    }
    let renamed = RENAMED.iter().find(|(other, _)| *other == service).map(|(_, own)| *own);
    let own = renamed.or((service != bare).then_some(service))?;
    let source = format!("{own}{SUFFIX}");
    let warning = || format!("`source` matches `{name}`, {whose}: CloudTrail writes `{source}`");
    (!pattern.is_match(&source)).then(warning)
}

fn everything(condition: &Condition) -> Option<String> {
    if every_call(condition) {
        return Some("it matches every call: narrow it down, or delete it".to_owned());
    }
    let matches_all = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(matches_everything);
    let what = match (matches_all(&condition.event_source), matches_all(&condition.event_name)) {
        (true, true) => "`source` and `regexp` match",
        (true, false) => "`source` matches",
        (false, true) => "`regexp` matches",
        (false, false) => return None,
    };
    Some(format!("{what} everything: narrow it down, or leave it out"))
}

/// Whether a condition without exceptions probably matches every call.
fn every_call(condition: &Condition) -> bool {
    condition.unless.is_empty()
        && CALLS.iter().filter_map(|call| Record::parse(call).ok()).all(|call| {
            let text = |key| call.raw_string(&[key]);
            let (source, name) = (text("eventSource"), text("eventName"));
            let name = CallName { source: source.as_deref(), name: name.as_deref() };
            let scratch = &mut Scratch { searches: &mut Searches::default(), paths_seen: &mut [] };
            condition.matches(name, &call, scratch)
        })
}

/// A test of an `unless` that excepts every call, or callers that are not meant.
fn exception(test: &Test, account: Option<&str>) -> Option<String> {
    if every_call(&Condition { wheres: vec![test.clone()], ..Condition::default() }) {
        let path = test.path_text();
        return Some(format!("`{path}` in `unless` excepts every call: narrow it down, or leave it out"));
    }
    exceptions::of_test(test, account)
}

fn skipped(test: &Test) -> Option<String> {
    let [key] = &test.path[..] else { return None };
    SKIPPED.iter().filter(|(known, ..)| key == known).find_map(|(_, value, events, others)| {
        let pattern = test.pattern()?;
        let is_only_for_them = pattern.is_match(value) && !others.iter().any(|other| pattern.is_match(other));
        is_only_for_them
            .then(|| format!("`{key}`: only {events} events are `{value}`, and the function skips their files"))
    })
}

fn path(test: &Test) -> Option<String> {
    let mut keys = test.path.iter().map(String::as_str);
    let (first, second) = (keys.next()?, keys.next());
    if let Some(index) = test.path.iter().find(|key| key.ends_with(']')) {
        let why = "an array stands for any of its elements: leave out the brackets and what is in them";
        return Some(format!("`{}`: CloudTrail has no key `{index}`; {why}", test.path_text()));
    }
    let unknown = |key: &str, known: &[&str], of: &str| {
        let meant = match nearest(key, known) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if key == "$" => "; leave out the `$.` of metric filters".to_owned(),
            None => String::new(),
        };
        Some(format!("`{}`: {of} has no key `{key}`{meant}", test.path_text()))
    };
    if let Some((_, why)) = KEYS_ELSEWHERE.iter().find(|(key, _)| *key == first) {
        return Some(format!("`{}`: a trail's log files have no key `{first}`: {why}", test.path_text()));
    }
    match second {
        _ if !RECORD_KEYS.contains(&first) => unknown(first, &RECORD_KEYS, "a CloudTrail record"),
        Some(second) if first == "userIdentity" && !IDENTITY_KEYS.contains(&second) => {
            unknown(second, &IDENTITY_KEYS, "CloudTrail's userIdentity")
        }
        _ => None,
    }
}

fn own_calls(condition: &Condition, filter: &Filter) -> Option<String> {
    if condition.is_for_any_call() {
        return None;
    }
    let is_matched =
        |(source, name): &&(&str, &str)| condition.matches_source(Some(source)) && condition.matches_name(Some(name));
    let (source, event) = OWN_CALLS.iter().find(is_matched)?;
    // A rule that is narrowed down, or excepts callers, is probably no accident.
    let by_caller =
        |tests: &[Test]| tests.iter().any(|test| test.path.first().is_some_and(|key| key == "userIdentity"));
    if !condition.wheres.is_empty()
        || by_caller(&condition.unless)
        || filter.ignore.iter().any(|i| by_caller(&i.condition.wheres))
    {
        return None;
    }
    Some(format!(
        "it matches {event} of {source}, which this function calls itself: where the trail logs such data events, every \
         alert leads to the next; add to `ignore`, with your account: {{\"where\": {{\"userIdentity.arn\": \
         \"^arn:aws:sts::123456789012:assumed-role/NAME-OF-THE-FUNCTION'S-ROLE/\"}}}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{config, packs};
    use super::warnings;

    #[test]
    fn packs_are_valid_and_free_of_warnings() {
        let all = format!(r#"{{"packs": {:?}}}"#, packs::NAMES);
        let filter = config::parse(all.as_bytes(), None).unwrap();
        assert_eq!(warnings(&filter, "2026-11-26"), [""; 0]);
        for name in packs::NAMES {
            let alone = config::parse(packs::file(name).unwrap().as_bytes(), None).unwrap();
            assert!(alone.rules.iter().all(|rule| rule.description.is_some()), "{name}");
        }
    }
}

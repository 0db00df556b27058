//! Warnings about valid configurations that are probably mistakes: rules that never match, match everything, or feed
//! themselves.

use super::config::{MeantRule, meant_pack_rule};
use super::cost;
use super::model::{Condition, Filter, Rule, Test, literals};
use super::pattern::Pattern;
use super::suggest::nearest;

/// The keys of a [record](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
const RECORD_KEYS: [&str; 31] = [
    "additionalEventData", "addendum", "apiVersion", "awsRegion", "edgeDeviceDetails", "errorCode", "errorMessage",
    "eventCategory", "eventContext", "eventID", "eventName", "eventSource", "eventTime", "eventType", "eventVersion",
    "managementEvent", "readOnly", "recipientAccountId", "requestID", "requestParameters", "resources",
    "responseElements", "serviceEventDetails", "sessionCredentialFromConsole", "sharedEventID", "sourceIPAddress",
    "tlsDetails", "userAgent", "userIdentity", "vpcEndpointAccountId", "vpcEndpointId",
];

/// The keys of [`userIdentity`](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
const IDENTITY_KEYS: [&str; 14] = [
    "accessKeyId", "accountId", "arn", "credentialId", "identityProvider", "identityStoreArn", "inScopeOf",
    "invokedBy", "onBehalfOf", "principalId", "sessionContext", "type", "userName", "webIdFederationData",
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
pub(crate) fn warnings(filter: &Filter) -> Vec<String> {
    let of_rules = filter.rules.iter().flat_map(|rule| {
        let warnings = [name(rule, filter), own_calls(&rule.condition, filter)].into_iter().flatten();
        warnings.chain(of_condition(&rule.condition)).map(|warning| format!("rule {}: {warning}", rule.name))
    });
    let of_ignore = filter
        .ignore
        .iter()
        .enumerate()
        .flat_map(|(i, entry)| of_condition(entry).map(move |warning| format!("ignore[{i}]: {warning}")));
    of_rules.chain(of_ignore).collect()
}

fn of_condition(condition: &Condition) -> impl Iterator<Item = String> {
    let warnings = [source(condition), event(condition), everything(condition)].into_iter().flatten();
    warnings.chain(condition.tests().filter_map(path)).chain(cost::slow(condition))
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
    const SUFFIX: &str = ".amazonaws.com";
    let pattern = condition.event_source.as_ref()?;
    literals(pattern).iter().find_map(|name| {
        let small = name.to_lowercase();
        if small != *name && !pattern.is_match(&small) {
            return Some(format!("`source` matches `{name}`, but CloudTrail writes sources in lower case: `{small}`"));
        }
        let is_short = !name.is_empty()
            && !name.contains(SUFFIX)
            && pattern.is_match(name)
            && !pattern.is_match(&format!("{name}{SUFFIX}"));
        is_short.then(|| {
            format!(
                "`source` matches `{name}`, but CloudTrail writes `{name}{SUFFIX}`: leave out the `$`, or add the rest"
            )
        })
    })
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

fn everything(condition: &Condition) -> Option<String> {
    let matches_all = |pattern: &Option<Pattern>| {
        pattern.as_ref().is_some_and(|pattern| ["q", "0", "Z", "-"].iter().all(|text| pattern.is_match(text)))
    };
    let what = match (matches_all(&condition.event_source), matches_all(&condition.event_name)) {
        (true, true) => "`source` and `regexp` match",
        (true, false) => "`source` matches",
        (false, true) => "`regexp` matches",
        (false, false) => return None,
    };
    Some(format!("{what} everything: narrow it down, or leave it out"))
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
        || filter.ignore.iter().any(|i| by_caller(&i.wheres))
    {
        return None;
    }
    Some(format!(
        "it matches {event} of {source}, which this function calls itself: where the trail logs such data events, every \
         alert leads to the next; add to `ignore`: {{\"where\": {{\"userIdentity.arn\": \
         \":assumed-role/NAME-OF-THE-FUNCTION'S-ROLE/\"}}}}"
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
        assert_eq!(warnings(&filter), [""; 0]);
        for name in packs::NAMES {
            let alone = config::parse(packs::file(name).unwrap().as_bytes(), None).unwrap();
            assert!(alone.rules.iter().all(|rule| rule.description.is_some()), "{name}");
        }
    }
}

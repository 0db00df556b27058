//! The packs as they are shipped: complete, tested by their own tests, and without exceptions that a caller can choose.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::program::{folder, run, run_in};

/// The rules of both packs.
fn rules() -> Vec<Value> {
    let rules = |pack| serde_json::from_str::<Value>(&run(&["packs", pack]).stdout).unwrap()["rules"].take();
    ["cis", "threats"].into_iter().flat_map(|pack| rules(pack).as_array().unwrap().clone()).collect()
}

#[test]
fn the_packs_are_valid_without_warning_and_pass_their_tests() {
    let configuration =
        br#"{"packs": ["cis", "threats"], "sns": {"topicARN": "arn:aws:sns:us-east-1:123456789012:t"}}"#;
    let folder = folder(&[("c.json", configuration)]);
    let checked = run_in(folder.path(), &["check", "c.json"], Vec::new());
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    let tests = |prefix: &str| -> usize {
        let rules = rules().into_iter().filter(|rule| rule["name"].as_str().unwrap().starts_with(prefix));
        rules.map(|rule| rule["tests"].as_array().unwrap().len()).sum()
    };
    let [cis, threats] = ["cis-", "threat-"].map(tests);
    let passed = format!("  pack cis: {cis} tests passed\n  pack threats: {threats} tests passed\n");
    assert!(checked.stdout.ends_with(&passed), "{checked:?}");
}

#[test]
fn each_rule_says_what_it_tells_what_to_do_and_where_to_read_on_and_has_tests_both_ways() {
    let mut names = HashSet::new();
    for rule in rules() {
        let name = rule["name"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name}");
        for key in ["description", "runbook"] {
            let text = rule[key].as_str().unwrap_or_default();
            assert!(text.ends_with('.') && text.len() <= 700, "{name}: {key}: {text}");
        }
        let texts = |key: &str| -> Vec<String> {
            rule[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        assert!(texts("references").iter().all(|text| text.starts_with("https://")), "{name}");
        let is_technique = |tag: &String| {
            let digits = tag.strip_prefix("attack.t").unwrap_or_default();
            digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        };
        let is_tag = |tag: &String| tag.starts_with("attack.") || tag.starts_with("cis.");
        assert!(texts("tags").iter().any(is_technique) && texts("tags").iter().all(is_tag), "{name}");
        let rule_tests = rule["tests"].as_array().unwrap();
        let [fires, stays_silent] = [false, true].map(|silent| {
            rule_tests.iter().filter(|test| (test["alerts"] == false || test["alerts"] == 0) == silent).count()
        });
        assert!(fires > 0 && stays_silent > 0 && rule_tests.iter().all(|test| test["name"].is_string()), "{name}");
    }
}

/// The paths that rules of the packs may except calls by, each with the reason why a caller can't choose what is there.
const NOT_CHOSEN: [(&str, &str); 11] = [
    ("errorCode", "AWS writes whether a call failed, and a failed one did nothing"),
    ("eventName", "it is what was done"),
    ("eventType", "AWS writes who made the event"),
    ("readOnly", "it is what was done"),
    ("userIdentity.invokedBy", "AWS writes which service made the call"),
    ("userIdentity.accessKeyId", "AWS writes which key signed the call"),
    ("sourceIPAddress", "AWS writes the name of a service, or where a request came from"),
    ("vpcEndpointAccountId", "AWS writes whose endpoint a request came through"),
    ("additionalEventData.MFAUsed", "AWS writes how somebody signed in"),
    ("requestParameters.omitted", "AWS writes it, and another rule tells it"),
    ("userIdentity.sessionContext.sessionIssuer.arn", "it is looked at from its beginning to a path that is AWS's own"),
];

/// The parameters that rules except calls by, which a caller chooses, but with them also what is done.
const CHOSEN_WITH_THE_EFFECT: [(&str, &str, &str); 15] = [
    ("threat-trail-selectors-narrowed", "requestParameters.advancedEventSelectors", "other selectors are looked at"),
    ("threat-trail-selectors-narrowed", "requestParameters.eventSelectors", "other selectors are looked at"),
    (
        "threat-trail-selectors-narrowed",
        "requestParameters.advancedEventSelectors.fieldSelectors",
        "the trail keeps all management events",
    ),
    ("threat-trail-insights-off", "requestParameters.insightSelectors", "some insights stay on"),
    ("threat-guardduty-findings-archived", "requestParameters.action", "the filter archives nothing"),
    ("threat-root-key-created", "requestParameters.userName", "the key is that user's and not the root user's"),
    ("threat-public-access-block-weakened", "requestParameters.PublicAccessBlockConfiguration", "all of it is on"),
    ("threat-account-public-access-opened", "requestParameters.PublicAccessBlockConfiguration", "all of it is on"),
    ("threat-bucket-logging-stopped", "requestParameters.BucketLoggingStatus.LoggingEnabled", "logging is on"),
    ("threat-resource-policy-public", "requestParameters.condition", "the grant has a condition"),
    ("threat-function-shared", "requestParameters.principal", "it is the function's own account"),
    ("threat-function-public", "requestParameters.principalOrgID", "only that organization is let in"),
    ("threat-function-public", "requestParameters.organizationId", "only that organization is let in"),
    ("threat-cluster-access-granted", "requestParameters.type", "the entry is for nodes, and gives people nothing"),
    ("threat-secret-read-by-person", "requestParameters.versionId", "who reads must have looked it up before"),
];

#[test]
fn nothing_that_a_caller_chooses_is_an_exception() {
    let mut unused: Vec<_> = CHOSEN_WITH_THE_EFFECT.iter().map(|(rule, path, _)| (*rule, *path)).collect();
    let rules = rules();
    for rule in &rules {
        let name = rule["name"].as_str().unwrap();
        assert!(rule.get("ignore").is_none(), "{name}: only users know whom to ignore");
        let conditions = rule["any"].as_array().into_iter().flatten().chain([rule]);
        let unless = conditions.filter_map(|condition| condition["unless"].as_object()).flat_map(Map::iter);
        for (path, test) in unless {
            let is_known = NOT_CHOSEN.iter().any(|(known, _)| path == known);
            let is_listed =
                CHOSEN_WITH_THE_EFFECT.iter().any(|(rule, known, _)| (*rule, *known) == (name, path.as_str()));
            unused.retain(|known| *known != (name, path.as_str()));
            assert!(is_known || is_listed, "{name}: {path}");
            let is_anchored = |pattern: &str| pattern == "." || pattern == "true" || pattern.starts_with('^');
            assert!(test.as_str().is_none_or(is_anchored), "{name}: {path}: {test}");
        }
    }
    assert!(unused.is_empty(), "{unused:?}");
}

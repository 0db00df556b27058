//! The rules of a configuration, as a person writes, checks and tries them.

use serde_json::{Value, json};

use crate::program::{Run, folder, run, run_in};
use crate::{log, record};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";

fn check_text(configuration: &[u8]) -> Run {
    run_in(folder(&[("c.json", configuration)]).path(), &["check", "c.json"], Vec::new())
}

fn check(configuration: &Value) -> Run {
    check_text(configuration.to_string().as_bytes())
}

/// Runs `scan` on a log of these records, with more arguments.
fn scan(configuration: &Value, arguments: &[&str], records: &[Value]) -> Run {
    let folder = folder(&[("c.json", configuration.to_string().as_bytes())]);
    let arguments = [&["scan", "--config", "c.json", "-"], arguments].concat();
    run_in(folder.path(), &arguments, log(records))
}

/// The alerts of these records as JSON.
fn alerts(configuration: &Value, records: &[Value]) -> Vec<Value> {
    let scanned = scan(configuration, &["--format", "json"], records);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    scanned.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn call(number: usize, source: &str, event: &str) -> Value {
    let mut record = record(number);
    record["eventSource"] = json!(source);
    record["eventName"] = json!(event);
    record
}

/// Asserts one message of that kind for each of `expected`, with all its parts.
fn assert_says(kind: &str, run: &Run, expected: &[&[&str]], case: &str) {
    let said: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(said.len(), expected.len(), "{case}: {}", run.stderr);
    for parts in expected {
        let found = said.iter().any(|line| line.starts_with(kind) && parts.iter().all(|part| line.contains(part)));
        assert!(found, "{case}: no {parts:?} in\n{}", run.stderr);
    }
}

fn assert_refused(configuration: &str, expected: &[&[&str]]) {
    let checked = check_text(configuration.as_bytes());
    assert_eq!((checked.code, checked.stdout.as_str()), (2, ""), "{configuration}: {checked:?}");
    assert_says("error: c.json: ", &checked, expected, configuration);
}

#[test]
fn six_mistakes_get_six_messages_in_one_run() {
    let rule = "{\"name\": \"users\", \"regexp\": \"(?!List)User\", \"where\": {\"userIdentity.type\": \"(Root\"}}";
    let configuration = format!(
        "{{\"sns\": {{\"region\": \"us-west-2\", \"topicARN\": \"{TOPIC}\"}}, \"ruels\": [], \"rules\": [{rule},
            {{\"name\": \"keys\", \"regexp\": \"AccessKey\", \"severity\": \"hihg\"}}, {{\"name\": \"idle\"}}]}}"
    );
    let expected: [&[&str]; 6] = [
        &["sns.region", "us-west-2", "us-east-1"],
        &["`ruels`", "did you mean `rules`"],
        &["rule users", "regexp", "(?!List)User", "look-around", "`unless`"],
        &["rule users", "where userIdentity.type", "(Root", "unclosed group"],
        &["rule keys", "severity", "`hihg`", "did you mean `high`"],
        &["rule idle", "has no condition"],
    ];
    assert_refused(&configuration, &expected);
}

#[test]
fn every_mistake_is_said_once_with_its_place_and_what_to_do() {
    let with = |json: &str| format!(r#"{{"source": "iam", "regexp": "User", {json}}}"#);
    let rule = |json: &str| format!(r#"{{"rules": [{{"name": "r", {json}}}]}}"#);
    let topics = r#""regexp": "x", "topicARN": "arn:aws:sns:us-east-1:123456789012:t""#;
    let cases: &[(String, &[&str])] = &[
        ("[]".into(), &["an array", "object"]),
        (r#"{"rules": []}"#.into(), &["no rule", "`rules`", "`packs`"]),
        (r#"{"rules": {}}"#.into(), &["rules", "an object", "array"]),
        (r#"{"rules": [5]}"#.into(), &["rules[0]", "a number", "object"]),
        (r#"{"rules": [{"regexp": "x"}]}"#.into(), &["rules[0]", "`name` is missing"]),
        (r#"{"rules": [{"name": "", "regexp": "x"}]}"#.into(), &["name", "1 to 100"]),
        (r#"{"rules": [{"name": "a\nb", "regexp": "x"}]}"#.into(), &["name", "control"]),
        (rule(r#""severity": "high""#), &["rule r", "has no condition", "where, unless and any"]),
        (rule(r#""where": {}, "unless": {}"#), &["rule r", "has no condition"]),
        (with(r#""ignore": [{}]"#), &["ignore[0]", "has no condition"]),
        (with(r#""ignore": [{"where": {"eventType": "["}}]"#), &["ignore[0]", "where eventType", "`[`"]),
        (with(r#""ignore": [{"name": "x", "regexp": "x"}]"#), &["ignore[0]", "`name`"]),
        (with(r#""rules": [{"name": "r", "regexp": "x"}, {"name": "r", "regexp": "y"}]"#), &["two rules", "`r`"]),
        (with(r#""rules": [{"name": "default", "regexp": "x"}]"#), &["two rules", "`default`"]),
        (r#"{"source": "iam"}"#.into(), &["`regexp` is missing"]),
        (rule(r#""regexp": "x", "severity": "urgent""#), &["rule r", "severity", "`urgent`", "info, low, medium"]),
        (rule(r#""regexp": "x", "severity": 3"#), &["rule r", "severity", "a number", "string"]),
        (rule(r#""regexp": "x", "topicARN": "alerts""#), &["rule r", "topicARN", "`alerts`", "arn:aws:sns:"]),
        (with(&format!(r#""sns": {{"topicARN": "{TOPIC}:5a1e05f5"}}"#)), &["sns.topicARN", "5a1e05f5", "subscription"]),
        (rule(r#""regexp": "(User)\\1""#), &["rule r", "regexp", r"`(User)\1`", "write out"]),
        (rule(r#""where": {"errorCode": "^(?<!Un)Auth"}"#), &["rule r", "where errorCode", "(?<!Un)Auth", "`unless`"]),
        (rule(r#""unless": {"a": "*"}"#), &["rule r", "unless a", "`*`"]),
        (rule(r#""regexp": "(\\w{900}){900}""#), &["rule r", "regexp", r"(\w{900}){900}", "too large"]),
        (rule(r#""where": {"readOnly": false}"#), &["rule r", "where readOnly", "a boolean", "pattern in quotes"]),
        (rule(r#""where": {"userIdentity..type": "x"}"#), &["rule r", "where", "`userIdentity..type`", "dot"]),
        (rule(r#""regex": "x", "source": "iam""#), &["rule r", "`regex`", "did you mean `regexp`"]),
        (rule(r#""regexp": "x", "topicArn": "x""#), &["rule r", "`topicArn`", "did you mean `topicARN`"]),
        (with(r#""colour": "red""#), &["`colour`", "known names: ", "source, regexp, sns"]),
        (with(r#""sns": {"topic": "x"}"#), &["sns", "`topic`"]),
        (with(r#""source": "sts""#), &["`source`", "twice"]),
        (rule(r#""where": {"eventType": "x", "eventType": "y"}"#), &["rule r", "where", "`eventType`", "twice"]),
        (with(r#""accounts": {"123456789012": "a", "123456789012": "b"}"#), &["accounts", "123456789012", "twice"]),
        (with(r#""accounts": {"12345": "a"}"#), &["accounts", "`12345`", "12 digits"]),
        (with(r#""accounts": {"123456789012": 5}"#), &["accounts", "123456789012", "string"]),
        (with(r#""format": "html""#), &["format", "`html`", "text, json, chatbot"]),
        (rule(r#""regexp": "x", "format": "json""#), &["rule r", "format", "topicARN"]),
        (
            format!(
                r#"{{"rules": [{{"name": "a", {topics}, "format": "json"}}, {{"name": "b", {topics}, "format": "text"}}]}}"#
            ),
            &["rule a", "`json`", "rule b", "`text`"],
        ),
        (
            format!(
                r#"{{"format": "chatbot", "sns": {{"topicARN": "{TOPIC}"}}, "rules": [
                {{"name": "a", "regexp": "x", "topicARN": "{TOPIC}", "format": "json"}}]}}"#
            )
            .replace('\n', ""),
            &["rule a", "`json`", "top level", "`chatbot`"],
        ),
        (r#"{"packs": ["cia"]}"#.into(), &["packs", "`cia`", "did you mean `cis`"]),
        (r#"{"packs": ["everything"]}"#.into(), &["packs", "`everything`", "known names: cis, threats"]),
        (r#"{"packs": ["cis", "cis"]}"#.into(), &["packs", "`cis`", "twice"]),
        (r#"{"packs": "cis"}"#.into(), &["packs", "a string", "array"]),
        (
            r#"{"rules": [{"name": "cis-4.3-root-usage", "severity": "low"}]}"#.into(),
            &[
                "rule cis-4.3-root-usage",
                "overrides",
                "does not name `cis`",
                "add `cis` to `packs`, or delete this rule",
            ],
        ),
        (
            r#"{"packs": ["cis"], "rules": [{"name": "cis-4.3-root-useage", "severity": "low"}]}"#.into(),
            &["rule cis-4.3-root-useage", "did you mean to override `cis-4.3-root-usage`"],
        ),
        (
            r#"{"packs": ["cis"], "rules": [{"name": "cis-4.1-unauthorized-api-calls", "where": {}, "unless": {}}]}"#
                .into(),
            &["rule cis-4.1-unauthorized-api-calls", "has no condition"],
        ),
        (with(r#""maxAlertsPerLog": 0"#), &["maxAlertsPerLog", "it is 0", "whole number of at least 1"]),
        (with(r#""maxAlertsPerLog": -1"#), &["maxAlertsPerLog", "it is -1,"]),
        (with(r#""maxAlertsPerLog": -1.5"#), &["maxAlertsPerLog", "it is -1.5,"]),
        (with(r#""maxAlertsPerLog": 1.5"#), &["maxAlertsPerLog", "it is 1.5", "whole number of at least 1"]),
        (with(r#""maxAlertsPerLog": 1e-2"#), &["maxAlertsPerLog", "it is 1e-2,"]),
        (with(r#""maxAlertsPerLog": 0e5"#), &["maxAlertsPerLog", "it is 0e5,"]),
        (with(r#""maxAlertsPerLog": 1e30"#), &["maxAlertsPerLog", "it is 1e30,"]),
        (with(r#""maxAlertsPerLog": 1e400"#), &["maxAlertsPerLog", "it is 1e400,"]),
        (with(r#""maxAlertsPerLog": "10""#), &["maxAlertsPerLog", "a string"]),
    ];
    for (configuration, parts) in cases {
        assert_refused(configuration, &[parts]);
    }
}

#[test]
fn every_mistake_of_what_a_rule_remembers_is_said_at_once() {
    let stages = r#""threshold": {"count": 1, "by": [], "within": "0s"}, "firstSeen": {"by": ["a..b"], "whithin": "1h"},
        "suppress": {"by": ["a"], "for": "1w"}"#;
    let expected: [&[&str]; 7] = [
        &["rule r, threshold, count: it is 1,", "from 2 to 1000"],
        &["rule r, threshold, by: it is empty"],
        &["rule r, threshold, within: `0s` is not a duration", "10m"],
        &["rule r, firstSeen: ", "`whithin`", "did you mean `within`"],
        &["rule r, firstSeen: `within` is missing"],
        &["rule r, firstSeen, by: `a..b` is not a path"],
        &["rule r, suppress, for: `1w` is not a duration", "at most 90d"],
    ];
    let rule = format!(r#"{{"rules": [{{"name": "r", "regexp": "x", {}}}]}}"#, stages.replace('\n', ""));
    assert_refused(&rule, &expected);
}

#[test]
fn a_file_that_is_not_json_is_recognized() {
    let json = r#"{"source": "iam", "regexp": "User"}"#;
    assert_eq!(check_text(format!("\u{feff}{json}").as_bytes()).code, 0, "a byte order mark is ignored");
    let utf_16: Vec<u8> = format!("\u{feff}{json}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (file, what) in [
        (utf_16.as_slice(), "it is UTF-16"),
        (&crate::gzip(json.as_bytes()), "it is gzipped"),
        (b" \n", "it is empty"),
        (b"source: iam", "it is not valid JSON: unexpected word on line 1 column 1"),
    ] {
        let checked = check_text(file);
        assert_eq!(checked.code, 2, "{what}");
        assert_says("error: c.json: ", &checked, &[&[what]], what);
    }
}

#[test]
fn a_configuration_may_have_one_mebibyte() {
    let mut configuration = br#"{"source": "iam", "regexp": "User"}"#.to_vec();
    configuration.resize(1 << 20, b' ');
    assert_eq!(check_text(&configuration).code, 0);
    configuration.push(b' ');
    assert_refused(std::str::from_utf8(&configuration).unwrap(), &[&["1048576 bytes"]]);
}

#[test]
fn a_whole_number_may_be_written_in_any_way_of_json() {
    for number in ["2", "2.0", "2e0", "20E-1", "0.2e+1"] {
        let configuration = format!(r#"{{"source": "iam", "regexp": "User", "maxAlertsPerLog": {number}}}"#);
        let calls: Vec<_> = (0..5).map(|n| call(n, "iam", "CreateUser")).collect();
        let folder = folder(&[("c.json", configuration.as_bytes())]);
        let scanned = run_in(folder.path(), &["scan", "--config", "c.json", "-"], log(&calls));
        assert_eq!(scanned.subjects().len(), 3, "{number}: two alerts and a summary: {scanned:?}");
    }
}

/// A hundred rules, each with a pattern of this form and the number of the rule.
fn hundred_rules(pattern: &str) -> Value {
    let rule = |n: usize| {
        let pattern = pattern.replace('%', &n.to_string());
        json!({ "name": format!("r{n}"), "where": { "userIdentity.userName": pattern } })
    };
    json!({ "rules": (0..100).map(rule).collect::<Vec<_>>() })
}

#[test]
fn a_configuration_that_needs_more_memory_than_a_function_has_is_refused_with_its_largest_patterns() {
    let attack = hundred_rules(r"^[\w+=,.@-]{1,64}-tmp%$");
    let pattern = r"`^[\w+=,.@-]{1,64}-tmp2$` with 3.4 MB (18 KB with (?-u) before it)";
    let named = ["rule r0, ", "rule r1, ", "rule r2, where userIdentity.userName: ", pattern];
    let parts = [&["48 MB", "256 MB", "(?-u:\\w)", "+ for a repetition"], &named[..]].concat();
    assert_refused(&attack.to_string(), &[&parts]);
    // The mistakes behind it are said, too.
    let mut with_mistake = attack.clone();
    with_mistake["rules"][99]["where"]["userAgent"] = json!("(");
    assert_refused(&with_mistake.to_string(), &[&parts, &["rule r99, where userAgent", "unclosed group"]]);
    // What the message says helps.
    for pattern in [r"(?-u)^[\w+=,.@-]{1,64}-tmp%$", r"^[\w+=,.@-]+-tmp%$", r"^[A-Za-z0-9_+=,.@-]{1,64}-tmp%$"] {
        assert_eq!(warnings_of(hundred_rules(pattern)).stderr, "", "{pattern}");
    }
    // Patterns of which one is too large.
    let large: Vec<_> =
        (0..20).map(|n| json!({ "name": format!("r{n}"), "regexp": format!(r"\w{{{}}}", 900 + n) })).collect();
    let checked = check(&json!({ "rules": large }));
    assert_eq!(checked.code, 2, "{checked:?}");
    let first = r"rule r0, regexp: `\w{900}` is too large when compiled (104 KB with (?-u) before it)";
    assert!(checked.stderr.contains(first), "{checked:?}");
    // Many small things.
    let tests: serde_json::Map<_, _> = (0..60_000).map(|n| (format!("a{n}"), json!("b"))).collect();
    assert_refused(&json!({ "rules": [{ "name": "r", "where": tests }] }).to_string(), &[&["48 MB", "fewer rules"]]);
}

#[cfg(target_os = "linux")]
#[test]
fn refusing_a_configuration_takes_little_memory() {
    let classes = |class: &str| json!({ "rules": [{ "name": "r", "regexp": class.repeat(100_000) }] });
    let tests: serde_json::Map<_, _> = (0..70_000).map(|n| (format!("a{n}"), json!("b"))).collect();
    for (name, configuration) in [
        ("many", hundred_rules(r"^[\w+=,.@-]{1,64}-tmp%$")),
        ("large", hundred_rules(r"\w{%00}")),
        ("long", classes(r"\W")),
        ("plain", classes("a|")),
        ("tests", json!({ "rules": [{ "name": "r", "where": tests }] })),
    ] {
        let folder = folder(&[("c.json", configuration.to_string().as_bytes())]);
        let limited = format!("ulimit -d {} && exec '{}' check c.json", 96 << 10, crate::PROGRAM);
        let mut command = std::process::Command::new("sh");
        let output = command.env_clear().current_dir(folder.path()).args(["-c", &limited]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
    }
}

/// Runs `check` on this configuration with a topic added. It must be valid.
fn warnings_of(mut configuration: Value) -> Run {
    configuration["sns"] = json!({ "topicARN": TOPIC });
    let checked = check(&configuration);
    assert_eq!(checked.code, 0, "{configuration}: {checked:?}");
    checked
}

/// Asserts that `check` warns of the first rule of each case, in these words, and not of the second, which is similar.
fn assert_warns(cases: &[(Value, &[&str], Value)]) {
    for (suspicious, parts, sound) in cases {
        let configuration = |rule: &Value| {
            let mut rule = rule.clone();
            rule["name"] = json!("r");
            json!({ "rules": [rule] })
        };
        let parts = [&["rule r"], *parts].concat();
        assert_says("warning: c.json: ", &warnings_of(configuration(suspicious)), &[&parts], &suspicious.to_string());
        assert_eq!(warnings_of(configuration(sound)).stderr, "", "{sound}");
    }
}

#[test]
fn check_warns_of_groups_that_hold_nothing_back_and_of_those_that_hold_back_critical_alerts() {
    let with = |keys: Value| {
        let mut rule = json!({ "source": "^iam\\.", "regexp": "^CreateUser$" });
        rule.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        rule
    };
    let by = |path: &str| with(json!({ "suppress": { "by": ["awsRegion", path], "for": "1h" } }));
    let critical = |stage: &str, keys: Value| with(json!({ "severity": "critical", stage: keys }));
    let distinct = |path: &str| {
        with(json!({ "threshold": { "count": 5, "by": ["awsRegion"], "within": "1h", "distinct": path } }))
    };
    let of_suppress = json!({ "by": ["userIdentity.arn", "awsRegion"], "for": "2h" });
    let of_first_seen = json!({ "by": ["userIdentity.arn"], "within": "2h" });
    assert_warns(&[
        (
            by("userIdentity.username"),
            &["rule r: suppress: ", "`userIdentity.username`", "did you mean `userName`"],
            by("userIdentity.userName"),
        ),
        (
            by("requestParameters.username"),
            &["rule r: suppress: ", "no parameter `username`", "did you mean `userName`"],
            by("requestParameters.userName"),
        ),
        (
            distinct("userIdentity.accountID"),
            &["rule r: threshold: ", "did you mean `accountId`"],
            distinct("userIdentity.accountId"),
        ),
        (
            by("eventID"),
            &["suppress: `eventID` in `by` is new in each event, so each event is a group of its own: leave it out"],
            by("eventName"),
        ),
        (
            with(json!({ "firstSeen": { "by": ["eventTime"], "within": "1h" } })),
            &["firstSeen: `eventTime` in `by`"],
            distinct("requestID"),
        ),
        (
            critical("suppress", of_suppress.clone()),
            &[
                "suppress: it holds back critical alerts within 2 hours of one with the same userIdentity.arn and awsRegion: \
               delete it if each must be sent",
            ],
            with(json!({ "suppress": of_suppress })),
        ),
        (
            critical("firstSeen", of_first_seen.clone()),
            &["firstSeen: it holds back critical alerts within 2 hours of one with the same userIdentity.arn"],
            with(json!({ "firstSeen": of_first_seen })),
        ),
        (
            critical("threshold", json!({ "count": 5, "by": ["awsRegion"], "within": "1h" })),
            &["threshold: it holds back critical alerts until there are 5 with the same awsRegion"],
            distinct("userIdentity.arn"),
        ),
        (
            distinct("awsRegion"),
            &["threshold: `awsRegion` is in `by` too, so that all matches of a group have one text"],
            distinct("userAgent"),
        ),
    ]);
}

#[test]
fn check_warns_of_paths_and_values_that_no_record_has() {
    assert_warns(&[
        (
            json!({ "where": { "requestParamters.userName": "." } }),
            &["`requestParamters.userName`", "no key `requestParamters`", "did you mean `requestParameters`"],
            json!({ "where": { "requestParameters.usrName": "." } }),
        ),
        (
            json!({ "regexp": "User", "unless": { "userIdentity.username": "." } }),
            &["`userIdentity.username`", "no key `username`", "did you mean `userName`"],
            json!({ "regexp": "User", "unless": { "userIdentity.userName": "." } }),
        ),
        (
            json!({ "where": { "userIdentity.sesionContext.attributes.mfaAuthenticated": "true" } }),
            &["`sesionContext`", "did you mean `sessionContext`"],
            json!({ "where": { "userIdentity.sessionContext.attributes.mfaAuthenticated": "true" } }),
        ),
        (
            json!({ "where": { "requestParameters.items[0].userName": "." } }),
            &["no key `items[0]`", "any of its elements"],
            json!({ "where": { "requestParameters.items.userName": "." } }),
        ),
        (
            json!({ "where": { "$.errorCode": "." } }),
            &["no key `$`", "leave out the `$.`"],
            json!({ "where": { "errorCode": "." } }),
        ),
        (
            json!({ "where": { "insightDetails.state": "Start" } }),
            &["`insightDetails.state`", "only Insights events", "skips their files"],
            json!({ "where": { "userIdentity.invokedByDelegate.accountId": "." } }),
        ),
        (
            json!({ "where": { "eventCategory": "^Insight$" } }),
            &["`eventCategory`", "`Insight`", "skips their files"],
            json!({ "where": { "eventCategory": "Insight|Data" } }),
        ),
        (
            json!({ "where": { "eventCategory": "^Aggregated$" } }),
            &["`eventCategory`", "only aggregated events are `Aggregated`", "skips their files"],
            json!({ "where": { "eventCategory": "^NetworkActivity$" } }),
        ),
        (
            json!({ "where": { "eventCategory": "Aggregated|Insight" } }),
            &["`eventCategory`", "skips their files"],
            json!({ "where": { "eventCategory": "Aggregated|Management" } }),
        ),
        (
            json!({ "where": { "eventType": "Insight" } }),
            &["`eventType`", "`AwsCloudTrailInsight`"],
            json!({ "where": { "eventType": "^AwsApiCall$" } }),
        ),
        (
            json!({ "regexp": "User", "unless": { "eventContext.tagContext": "x" } }),
            &["`eventContext.tagContext`", "log files have no key `eventContext`", "only event data stores"],
            json!({ "regexp": "User", "unless": { "requestParameters.tags.key": "x" } }),
        ),
        (json!({ "where": { "colour": "red" } }), &["no key `colour`"], json!({ "where": { "errorCode": "red" } })),
        (
            json!({ "where": { "userIdentity.sessionContext.attributes.mfaAuthentcated": "true" } }),
            &["CloudTrail's userIdentity.sessionContext.attributes has no key", "did you mean `mfaAuthenticated`"],
            json!({ "where": { "userIdentity.sessionContext.webIdFederationData.attributes.sub": "x" } }),
        ),
        (
            json!({ "where": { "tlsDetails.tlsversion": "1.0", "userAgent": "." } }),
            &["CloudTrail's tlsDetails has no key `tlsversion`", "did you mean `tlsVersion`"],
            json!({ "where": { "additionalEventData.tlsversion": "1.0", "userIdentity.inScopeOf.sourceArn": "." } }),
        ),
        (
            json!({ "where": { "eventName.text": "." } }),
            &["CloudTrail's eventName has no key `text`"],
            json!({ "where": { "responseElements.eventName.text": "." } }),
        ),
        (
            json!({ "where": { "resources": { "element": { "arn": ".", "type": "." } } } }),
            &["`resources.arn`", "did you mean `ARN`"],
            json!({ "where": { "resources": { "element": { "ARN": ".", "type": { "sameAs": "accountId" } } } } }),
        ),
        (
            json!({ "where": { "userIdentity.accountId": { "sameAs": "recipientAccountID" } } }),
            &["`recipientAccountID`", "did you mean `recipientAccountId`"],
            json!({ "regexp": "User", "unless": { "userIdentity.accountId": { "sameAs": "recipientAccountId" } } }),
        ),
        (
            json!({ "any": [{ "regexp": "User" }, { "where": { "errorcode": { "atLeast": 1 } } }] }),
            &["any[1]: `errorcode`", "did you mean `errorCode`"],
            json!({ "any": [{ "regexp": "User" }, { "where": { "errorCode": { "all": ["a", "b"] } } }] }),
        ),
        (
            json!({ "regexp": "User", "ignore": [{ "where": { "eventname": "x" } }] }),
            &["ignore[0]: `eventname`", "did you mean `eventName`"],
            json!({ "regexp": "User", "ignore": [{ "where": { "eventName": "^CreateUser$" } }] }),
        ),
    ]);
}

#[test]
fn check_knows_where_in_the_identity_a_key_stands() {
    assert_warns(&[
        (
            json!({ "where": { "userIdentity.mfaAuthenticated": "true" } }),
            &["no key `mfaAuthenticated`", "did you mean `userIdentity.sessionContext.attributes.mfaAuthenticated`"],
            json!({ "where": { "userIdentity.sessionContext.attributes.mfaAuthenticated": "true" } }),
        ),
        (
            json!({ "where": { "userIdentity.sessionIssuer.userName": "x" } }),
            &["no key `sessionIssuer`", "did you mean `userIdentity.sessionContext.sessionIssuer.userName`"],
            json!({ "where": { "userIdentity.sessionContext.sessionIssuer.userName": "x" } }),
        ),
    ]);
}

#[test]
fn check_warns_of_parameters_that_a_call_does_not_have() {
    let rule = |source: &str, name: &str, key: &str| {
        let mut rule = json!({ "regexp": name, "where": { format!("requestParameters.{key}"): "." } });
        if !source.is_empty() {
            rule["source"] = json!(source);
        }
        rule
    };
    assert_warns(&[
        (
            rule("^iam\\.", "^CreateUser$", "username"),
            &["`requestParameters.username`", "did you mean `userName`"][..],
            rule("", "^CreateUser$", "username"), // of Amazon Connect
        ),
        (
            rule("", "^(CreateTrail|UpdateTrail)$", "isMultiregionTrail"),
            &["did you mean `isMultiRegionTrail`"],
            rule("", "^(CreateTrail|CreateFlowLogs)$", "isMultiregionTrail"), // EC2 has a key around the parameters
        ),
        (
            rule("^s3", "PutBucketPolicy", "bucket.x"),
            &["did you mean `bucketName`"],
            rule("^s3", "Put.*Policy", "bucket"),
        ),
        (
            rule("iam|sts", "^AssumeRole", "roleSesionName"),
            &["did you mean `roleSessionName`"],
            rule("iam|sts", "^AssumeRole", "roleSessionName"),
        ),
        (
            rule("^guardduty", "^UpdateOrganizationConfiguration$", "AutoEnable"),
            &["did you mean `autoEnable`"],
            rule("^(guardduty|securityhub)", "^UpdateOrganizationConfiguration$", "AutoEnable"), // of Security Hub
        ),
        (
            rule("", "^UpdateFunctionCode20150331", "s3bucket"),
            &["did you mean `s3Bucket`"],
            rule("", "^UpdateFunctionCode20150331", "somethingNew"),
        ),
        (
            json!({ "source": "^iam", "any": [{ "regexp": "^DeleteUser$", "where": { "requestParameters.user": "." } }] }),
            &["any[0]", "did you mean `userName`"],
            json!({ "source": "^iam", "any": [{ "regexp": "^Delete.*User$", "where": { "requestParameters.user": "." } }] }),
        ),
        (
            json!({ "regexp": "^PutSecretValue$", "unless": { "requestParameters": { "element": { "secretID": "." } } } }),
            &["`requestParameters.secretID`", "did you mean `secretId`"],
            json!({ "regexp": "^PutSecretValue$", "unless": { "requestParameters": { "element": { "secretId": "." } } } }),
        ),
    ]);
}

#[test]
fn check_warns_of_events_that_aws_does_not_have() {
    let named = |pattern: Value| json!({ "where": { "eventName": pattern } });
    assert_warns(&[
        (
            json!({ "regexp": "^CreateUsr$" }),
            &["`regexp`: no known event is called `CreateUsr`; did you mean `CreateUser`?"][..],
            json!({ "regexp": "^CreateUser$" }),
        ),
        (
            json!({ "regexp": "createuser|DeleteUser" }),
            &["no known event has `createuser` in its name; did you mean `CreateUser`?"],
            json!({ "regexp": "(?i)createuser|DeleteUser" }),
        ),
        (
            json!({ "regexp": "^(ListAllMyBuckets|ListBuckets)$" }),
            &["`ListAllMyBuckets`; compare it with a record"],
            json!({ "regexp": "^(Start|Stop|Create)(Logging|Trail)$" }), // There is no StartTrail.
        ),
        (
            json!({ "regexp": "^Create(Usr|Grop)$" }),
            &["no known event is called `Create"],
            json!({ "regexp": "^Create(User|Grop)$" }),
        ),
        (json!({ "regexp": "^Consoel" }), &["has `Consoel` in its name"], json!({ "regexp": "^Console|Login$" })),
        (
            named(json!("^ConsolLogin$")),
            &["`eventName`", "`ConsoleLogin`"],
            named(json!("^(ConsoleLogin|SwitchRole)$")),
        ),
        (named(json!({ "all": ["^Get", "Objct"] })), &["`Objct`"], named(json!({ "all": ["^Get", "Object"] }))),
        (
            json!({ "any": [{ "regexp": "^UpdateFunctionCode2015$" }] }),
            &["any[0]", "`UpdateFunctionCode2015`"],
            json!({ "any": [{ "regexp": "^(UpdateFunctionCode20150331v2|GetAlias20150331v2|GitPush)$" }] }),
        ),
    ]);
    // A pattern with freedom tells nothing of the names that it means.
    assert_eq!(warnings_of(json!({ "rules": [{ "name": "r", "regexp": "^User.*Created$|^CreateUsr$" }] })).stderr, "");
}

#[test]
fn check_warns_of_networks_in_the_place_of_patterns() {
    let cidr = "write {\"cidr\": [\"10.0.0.0/8\"";
    assert_warns(&[
        (
            json!({ "regexp": "User", "unless": { "sourceIPAddress": "10.0.0.0/8" } }),
            &["`sourceIPAddress`", cidr][..],
            json!({ "regexp": "User", "unless": { "sourceIPAddress": { "cidr": ["10.0.0.0/8"] } } }),
        ),
        (
            json!({ "where": { "sourceIPAddress": r"^10\.0\.0\.1/8$|2001:db8::/32" } }),
            &[cidr, ", \"2001:db8::/32\"]}"],
            json!({ "where": { "sourceIPAddress": r"^10\.0\.0\.1$|2001:db8::" } }),
        ),
        (
            json!({ "any": [{ "where": { "sourceIPAddress": "10.0.0.0/8" } }] }),
            &["any[0]", cidr],
            json!({ "where": { "requestParameters.ipPermissions.items.ipRanges.items.cidrIp": "10.0.0.0/8" } }),
        ),
    ]);
}

#[test]
fn check_lists_what_an_override_takes_away() {
    let printed: Value = serde_json::from_str(&run(&["packs", "cis"]).stdout).unwrap();
    let has_both = |rule: &&Value| rule["where"].is_object() && rule["unless"].is_object();
    let original = printed["rules"].as_array().unwrap().iter().find(has_both).unwrap();
    let lines = |key: &str, tests: Value| {
        let mut rule = json!({ "name": original["name"], "severity": "low" });
        rule[key] = tests;
        let warned = warnings_of(json!({ "packs": ["cis"], "rules": [rule] })).stderr;
        warned.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for key in ["where", "unless"] {
        let mut tests = original[key].clone();
        tests["errorMessage"] = json!("x");
        assert_eq!(lines(key, tests), [""; 0]);
        let [warning] = &lines(key, json!({ "errorMessage": "x" }))[..] else { panic!("{original}") };
        assert!(warning.contains(&format!("`{key}` replaces that of the pack's rule, which also has `")), "{warning}");
        let paths: Vec<&String> = original[key].as_object().unwrap().keys().collect();
        assert!(paths.iter().all(|path| warning.contains(path.as_str())), "{warning}");
    }
}

#[test]
fn check_warns_of_exceptions_that_end() {
    let entry = |until: &str| json!({ "where": { ARN: "^arn:aws:iam::123456789012:user/alice$" }, "until": until });
    let rule = json!({ "name": "r", "regexp": "User", "ignore": [entry("9999-01-01"), entry("2001-01-01")] });
    let warned = warnings_of(json!({ "rules": [rule], "ignore": [entry("2002-01-01"), entry("9999-01-01")] }));
    let expected: [&[&str]; 2] = [
        &["rule r: ignore[1]: it ended on 2001-01-01: delete it, or give it a later `until`"],
        &["c.json: ignore[0]: it ended on 2002-01-01"],
    ];
    assert_says("warning: c.json: ", &warned, &expected, "until");
}

#[test]
fn check_warns_of_probable_mistakes() {
    assert_warns(&[
        (json!({ "source": "^iam$" }), &["source", "`iam`", "`iam.amazonaws.com`"][..], json!({ "source": "^iam" })),
        (json!({ "source": "IAM|sts" }), &["`IAM`", "`iam.amazonaws.com`"], json!({ "source": "(?i)IAM|sts" })),
        (json!({ "source": "^(iam|sts)$" }), &["`iam`"], json!({ "source": r"^(iam|sts)\.amazonaws\.com$" })),
        (
            json!({ "source": r"^aws\.ec2$", "regexp": "^RunInstances$" }),
            &["`aws.ec2`", "CloudTrail writes `ec2.amazonaws.com`"],
            json!({ "source": r"^(aws\.)?ec2\.", "regexp": "^RunInstances$" }),
        ),
        (json!({ "source": r"^aws\." }), &["`aws.`", "names such as `iam.amazonaws.com`"], json!({ "source": "^aws" })),
        (
            json!({ "source": "^amazonaws$" }),
            &["`amazonaws`", "names such as `iam.amazonaws.com`"],
            json!({ "source": "^(iam|amazonaws)\\.", "regexp": "User" }),
        ),
        (
            json!({ "source": r"^amazonaws\.com$" }),
            &["`amazonaws.com`", "names such as"],
            json!({ "source": r"^iam\." }),
        ),
        (
            json!({ "source": r"^iam\.amazonaws$" }),
            &["`iam.amazonaws`", "CloudTrail writes `iam.amazonaws.com`"],
            json!({ "source": r"^iam\.amazonaws" }),
        ),
        (json!({ "source": r"^iam\.$" }), &["`iam.`", "`iam.amazonaws.com`"], json!({ "source": r"^iam\." })),
        (json!({ "source": "aws.iam" }), &["`aws.iam`", "`iam.amazonaws.com`"], json!({ "source": "iam" })),
        (
            json!({ "source": r"^aws\.(sts|cloudwatch)\.amazonaws\.com$" }),
            &["`aws.sts.amazonaws.com`", "CloudTrail writes `sts.amazonaws.com`"],
            json!({ "source": r"^(sts|monitoring)\.amazonaws\.com$" }),
        ),
        (
            json!({ "source": "^cloudwatch" }),
            &["`cloudwatch`", "`monitoring.amazonaws.com`"],
            json!({ "source": "tag" }),
        ),
        (
            json!({ "regexp": "^CreateFunction$" }),
            &["regexp", "`CreateFunction`", "`CreateFunction20150331`"],
            json!({ "regexp": "^CreateFunction" }),
        ),
        (
            json!({ "source": "^lambda", "regexp": "^(UpdateFunctionCode|AddPermission)$" }),
            &["`UpdateFunctionCode`", "UpdateFunctionCode20150331"],
            json!({ "source": "^sns", "regexp": "^AddPermission$" }),
        ),
        (
            json!({ "source": "iam", "regexp": ".*" }),
            &["`regexp` matches everything"],
            json!({ "source": "iam", "regexp": ".*User" }),
        ),
        (
            json!({ "source": "", "where": { "errorCode": "." } }),
            &["`source` matches everything"],
            json!({ "source": "iam", "where": { "errorCode": "." } }),
        ),
        (
            json!({ "where": { "eventSource": "amazonaws" } }),
            &["it matches every call"],
            json!({ "where": { "eventSource": "amazonaws", "readOnly": "false" } }),
        ),
        (
            json!({ "regexp": "User", "unless": { "userIdentity.accountId": "^[0-9]+$" } }),
            &["`userIdentity.accountId` in `unless` excepts every call"],
            json!({ "regexp": "User", "unless": { "userIdentity.accountId": "^123456789012$" } }),
        ),
        (
            json!({ "where": { "userAgent": r"\w{200}Z" } }),
            &["`userAgent`", r"`\w{200}Z` with 10.6 MB (28 KB with (?-u) before it)", "seconds"],
            json!({ "where": { "userAgent": r"(?-u)\w{200}Z" } }),
        ),
        (
            json!({ "unless": { "errorMessage": r"(\w+ ){100}" }, "regexp": "User" }),
            &["`errorMessage`", "seconds"],
            json!({ "unless": { "errorMessage": r"(\w+ )+" }, "regexp": "User" }),
        ),
        (
            json!({ "source": "sns" }),
            &["Publish", "sns.amazonaws.com", "`ignore`", "userIdentity.arn"],
            json!({ "source": "sns", "regexp": "Topic" }),
        ),
        (
            json!({ "source": "^s3", "regexp": "Object" }),
            &["GetObject", "s3.amazonaws.com", "`ignore`"],
            json!({ "source": "^s3", "regexp": "PutObject" }),
        ),
    ]);
    let ignore = json!({ "regexp": "User", "source": "iam", "ignore": [
        { "where": { "useridentity.arn": "x" } }, { "regexp": ".*" }, { "source": "^iam$" }, { "regexp": "^Get" } ] });
    let expected: [&[&str]; 3] = [
        &["ignore[0]", "did you mean `userIdentity`"],
        &["ignore[1]", "it matches every call"],
        &["ignore[2]", "`iam.amazonaws.com`"],
    ];
    assert_says("warning: c.json: ", &warnings_of(ignore), &expected, "ignore");
}

/// A path, a pattern there that matches texts of others too, and a part of such a text.
const FORGEABLE: [(&str, &str, &str); 60] = [
    (ARN, ":assumed-role/terraform/", "iam::999999999999:user/:assumed-role/terraform/"),
    (ARN, "^.*:assumed-role/terraform/", "arn:aws:iam::999999999999:user/"),
    (ARN, "terraform", "arn:aws:iam::999999999999:user/terraform"),
    (ARN, "^arn:.*terraform", "user/arn:terraform"),
    (ARN, "(?m)^arn:aws:sts::123456789012:assumed-role/terraform", "terraformx"),
    (ARN, "^arn:aws:sts::111122223333:assumed-role/ci-42", "assumed-role/ci-42x"),
    (ARN, "^arn:aws:sts::111122223333:assumed-role/.*terraform/", "role/xterraform/"),
    (ARN, "^arn:aws:sts::[0-9]{12}:assumed-role/terraform/", "sts::999999999999:assumed-role/terraform/"),
    (ARN, r"^arn:aws:sts::\d+:assumed-role/terraform/", "sts::999999999999:assumed-role/terraform/"),
    (ARN, "^arn:aws:sts::.*:assumed-role/terraform/", "sts::999999999999:assumed-role/terraform/"),
    (ARN, "^arn:aws-cn:sts::[0-9]*:assumed-role/a/", "aws-cn:sts::999999999999:assumed-role/a/"),
    (
        ARN,
        r"^arn:aws:sts::[0-9]{12}:assumed-role/AWSReservedSSO_A_[0-9a-f]+/al\.i-ce@example\.com$",
        "sts::999999999999:assumed-role/AWS",
    ),
    (ARN, "^arn:aws:iam::123456789012:user/alice", "user/alicex"),
    (ARN, "^arn:aws:sts::123456789012:assumed-role/terraform.*/", "role/terraformx/"),
    (ARN, "^arn:aws:sts::123456789012:assumed-role/[A-Za-z]*terraform/", "role/xterraform/"),
    (ARN, "^arn:aws[^/]*:assumed-role/terraform/", "sts::999999999999:assumed-role/terraform/"),
    (ARN, "^arn:aws:.*/terraform/", "user/arn:aws:/terraform/"),
    (ARN, "^arn:aws:iam::[0-9]+:root$", "iam::999999999999:root"),
    (ARN, "^arn:aws:iam::.*:user/alice$", "iam::999999999999:user/"),
    (ARN, "111122223333", "user/111122223333"),
    (ARN, ":assumed-role/ci-", "iam::999999999999:user/:assumed-role/ci-"),
    (ARN, "^arn:aws:iam::123456789012:user/max", "user/max-x"),
    (ARN, "^arn:aws:iam::123456789012:user/.*alice$", "user/xalice"),
    (ARN, "^arn:aws:iam::123456789012:user/(alice$|bob)", "user/bobx"),
    (ARN, ":user/alice$", "arn:aws:iam::999999999999:user/:user/alice"),
    (ARN, r"user/al\.i-ce$", "arn:aws:iam::999999999999:user/user/al.i-ce"),
    (ARN, "^arn:aws:iam::123456789012:user/alice$|:user/bob$", "user/:user/bob"),
    (ARN, ":federated-user/eve$", "user/:federated-user/eve"),
    (ARN, ":root$", "user/:root"),
    (ARN, "ci$", "user/ci"),
    (ARN, "-ci$", "user/-ci"),
    (ARN, "/i-[0-9a-f]+/", "user//i-a/"),
    (ARN, "user/[a-z]+/ci$", "user/user/x/ci"),
    ("userIdentity.userName", "-bot$", "x-bot"),
    (ARN, "/ci$", "user//ci"),
    (ARN, "^arn:aws:sts::111122223333:assumed-role/[^/]+/ci$", "111122223333:assumed-role/mallory/ci"),
    (ISSUER, ":role/terraform$", "999999999999:role/:role/terraform"),
    (ISSUER, "terraform", "999999999999:role/terraform"),
    (
        ISSUER,
        "^arn:aws[a-z-]*:iam::[0-9]{12}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_",
        "iam::999999999999:role/aws",
    ),
    ("userIdentity.sessionContext.sessionIssuer.userName", "^deploy", "deployx"),
    ("userIdentity.userName", "alice", "xalice"),
    ("userIdentity.userName", "alice$", "xalice"),
    ("userIdentity.accountId", "^1234", "123499999999"),
    ("userIdentity.principalId", "alice", "AROAOTHER:alice"),
    ("userIdentity.principalId", ":release-42$", "AROAOTHER:release-42"),
    ("userIdentity.principalId", "AIDAQ", "AROAOTHER:AIDAQ"),
    ("userIdentity.sessionContext.sourceIdentity", "(?i)alice$", "xalice"),
    ("additionalEventData.UserName", "alice", "xalice"),
    ("requestParameters.userName", "ci-", "xci-"),
    ("requestParameters.roleName", "terraform$", "xterraform"),
    ("requestParameters.roleArn", ":role/reader$", "999999999999:role/:role/reader"),
    ("requestParameters.policyArn", ":policy/ReadOnlyAccess$", "999999999999:policy/:policy/ReadOnlyAccess"),
    ("responseElements.assumedRoleUser.arn", "terraform", "assumed-role/mallory/terraform"),
    ("resources.ARN", "::backups/", "arn:aws:s3:::mallory/::backups/"),
    ("resources.ARN", "my-bucket", "arn:aws:s3:::mallory/my-bucket"),
    ("resources.ARN", "^arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucketx"),
    ("sourceIPAddress", "10.0.", "`210.0."),
    ("sourceIPAddress", r"^10\.1", "`10.19."),
    ("sourceIPAddress", "^10.", "`109."),
    ("sourceIPAddress", r"^192\.0\.2\.1", "`192.0.2.19`"),
];

const ARN: &str = "userIdentity.arn";
const ISSUER: &str = "userIdentity.sessionContext.sessionIssuer.arn";

/// What `check` says of tests in `unless`, one rule each, and in `ignore`, one entry each.
fn warnings_of_exceptions(tests: &[Value]) -> (Vec<String>, Vec<String>) {
    let rules =
        tests.iter().enumerate().map(|(i, test)| json!({ "name": format!("r{i}"), "regexp": "User", "unless": test }));
    let ignore = tests.iter().map(|test| json!({ "where": test }));
    let warned =
        warnings_of(json!({ "rules": rules.collect::<Vec<_>>(), "ignore": ignore.collect::<Vec<_>>() })).stderr;
    let (unless, ignore): (Vec<_>, Vec<_>) =
        warned.lines().partition(|line| line.starts_with("warning: c.json: rule r"));
    let after =
        |lines: Vec<&str>| lines.into_iter().map(|line| line.splitn(4, ": ").last().unwrap().to_owned()).collect();
    (after(unless), after(ignore))
}

#[test]
fn check_warns_of_exceptions_that_match_others_too_and_shows_the_anchored_form() {
    let (unless, ignore) = warnings_of_exceptions(&FORGEABLE.map(|(path, pattern, _)| json!({ path: pattern })));
    assert_eq!((&unless, unless.len()), (&ignore, FORGEABLE.len()));
    let proposed = unless.iter().zip(FORGEABLE).map(|(warning, (path, pattern, other))| {
        let (said, test) = warning.split_once(": write it in full, as in `").unwrap();
        assert!(said.starts_with(&format!("`{path}`: `{pattern}` also matches `")), "{warning}");
        assert!(format!("{said}`").contains(other), "{warning}");
        // It can be pasted.
        serde_json::from_str(&format!("{{{}}}", test.trim_end_matches('`'))).unwrap()
    });
    assert_eq!(warnings_of_exceptions(&proposed.collect::<Vec<_>>()), (vec![], vec![]), "{unless:#?}");

    let chosen = ["userAgent", "requestParameters.externalId", "requestParameters.roleSessionName"];
    let (unless, ignore) = warnings_of_exceptions(&chosen.map(|path| json!({ path: "terraform" })));
    assert_eq!((&unless, unless.len()), (&ignore, chosen.len()));
    assert!(unless.iter().all(|warning| warning.contains("the caller chooses it")), "{unless:?}");
    let objects = ["requestParameters", "userIdentity", "userIdentity.sessionContext.sessionIssuer"];
    let (unless, ignore) = warnings_of_exceptions(&objects.map(|path| json!({ path: "terraform" })));
    assert_eq!((&unless, unless.len()), (&ignore, objects.len()));
    assert!(unless.iter().all(|warning| warning.contains("name the key that is meant")), "{unless:?}");
}

#[test]
fn check_says_nothing_of_exceptions_that_match_no_others() {
    let sound = [
        json!({ "userIdentity.arn": "^arn:aws:sts::123456789012:assumed-role/terraform/" }),
        json!({ "userIdentity.arn": "^arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_[0-9a-f]+/alice@example\\.com$" }),
        json!({ "userIdentity.arn": "^arn:aws:sts::(111122223333|444455556666):assumed-role/terraform/" }),
        json!({ "userIdentity.arn": "^arn:aws:iam::123456789012:user/.*/alice$" }),
        json!({ "userIdentity.arn": "^arn:aws:iam::123456789012:user/.*-ci$" }),
        json!({ "userIdentity.arn": "^arn:aws:sts::123456789012:assumed-role/[a-z]+-deploy/" }),
        json!({ ISSUER: "^arn:aws[a-z-]*:iam::[0-9]{12}:role/aws-reserved/sso\\.amazonaws\\.com/" }),
        json!({ "userIdentity.accountId": "^(111122223333|444455556666)$" }),
        json!({ "userIdentity.accountId": "123456789012" }),
        json!({ "additionalEventData.UserName": "^alice$" }),
        json!({ "resources.ARN": "^arn:aws:s3:::my-bucket/logs" }),
        json!({ "resources.ARN": "^arn:aws:s3:::(a|b)(/|$)" }),
        json!({ "userIdentity.arn": "^arn:aws:(iam::123456789012:user/(alice|bob)|sts::123456789012:assumed-role/ci/.*)$" }),
        json!({ "userIdentity.arn": "^arn:aws:sts::123456789012:assumed-role/ci/release-42" }),
        json!({ "userIdentity.userName": "^(alice|bob)$" }),
        json!({ "userIdentity.userName": "^ci-" }),
        json!({ "userIdentity.userName": "^[a-z]+-ci$" }),
        json!({ "userIdentity.userName": "^ci-[a-z]+$" }),
        json!({ "userIdentity.principalId": "^AROAQ:" }),
        json!({ "userIdentity.invokedBy": "." }),
        json!({ "requestParameters.userName": "." }),
        json!({ "requestParameters.roleArn": "^arn:aws:iam::123456789012:role/reader$" }),
        json!({ "requestParameters": "\"bucketName\":\"scratch\"" }),
        json!({ "sourceIPAddress": "^203\\.0\\.113\\." }),
        json!({ "sourceIPAddress": "^10.0." }),
        json!({ "sourceIPAddress": "^10\\.0\\.0\\.[1-9][0-9]?$" }),
        json!({ "sourceIPAddress": "^(10\\.|192\\.168\\.|2001:db8:)" }),
        json!({ "sourceIPAddress": "amazonaws.com$" }),
    ];
    assert_eq!(warnings_of_exceptions(&sound), (vec![], vec![]));
    // All tests of an entry must match, so the first is enough. What `unless` takes from an entry is told again.
    let warned = warnings_of(json!({ "source": "iam", "regexp": "User", "ignore": [
        { "where": { "userIdentity.arn": "^arn:aws:iam::123456789012:user/alice$", "userAgent": "Terraform" } },
        { "where": { "userIdentity.type": "^IAMUser$" }, "unless": { "userIdentity.userName": "admin" } },
    ] }));
    assert_eq!(warned.stderr, "");
    // What a call is about is the caller's choice, so it does not name the caller for certain.
    let about = ["userName", "roleArn", "policyArn"].map(|key| {
        json!({ "where": { ARN: "terraform", format!("requestParameters.{key}"): "^arn:aws:iam::123456789012:role/r$" } })
    });
    let warned = warnings_of(json!({ "source": "iam", "regexp": "User", "ignore": about }));
    assert_eq!(warned.stderr.lines().count(), 3, "{warned:?}");
}

#[test]
fn check_warns_of_exceptions_of_every_form() {
    let rule = |unless: Value| json!({ "regexp": "User", "unless": unless });
    let alice = "^arn:aws:iam::123456789012:user/alice$";
    assert_warns(&[
        (
            json!({ "any": [{ "regexp": "User", "unless": { "userAgent": "x" } }] }),
            &["any[0]: `userAgent`: the caller chooses it"][..],
            json!({ "any": [{ "regexp": "User", "unless": { ARN: alice } }] }),
        ),
        (
            json!({ "regexp": "User", "ignore": [{ "where": { ARN: ":user/alice" } }] }),
            &["ignore[0]: `userIdentity.arn`: `:user/alice` also matches"],
            json!({ "regexp": "User", "ignore": [{ "where": { ARN: alice } }] }),
        ),
        (
            rule(json!({ ARN: { "all": [":assumed-role/", "terraform"] } })),
            &[
                "`:assumed-role/` with `terraform` also matches `arn:aws:iam::999999999999:user/:assumed-role/terraform`",
            ],
            rule(json!({ ARN: { "all": ["^arn:aws:sts::123456789012:assumed-role/terraform/", "ci"] } })),
        ),
        (
            rule(json!({ "requestParameters": { "element": { "externalId": { "all": ["x"] } } } })),
            &["`requestParameters.externalId`: the caller chooses it"],
            rule(json!({ "userIdentity": { "element": { "arn": alice, "userName": "a" } } })),
        ),
        (
            rule(json!({ "userAgent": { "sameAs": "requestParameters.userAgent" } })),
            &["`userAgent`: the caller chooses it"],
            rule(json!({ "userIdentity.accountId": { "sameAs": "recipientAccountId" } })),
        ),
        (
            rule(json!({ "sourceIPAddress": "10.0." })),
            &["also matches `210.0.", "as in `\"sourceIPAddress\": {\"cidr\": [\"203.0.113.0/24\"]}`"],
            rule(json!({ "sourceIPAddress": { "cidr": ["10.0.0.0/16"] }, "requestParameters.size": { "atLeast": 1 } })),
        ),
    ]);
}

#[test]
fn an_exception_for_all_accounts_is_sound_where_another_test_names_them() {
    let terraform = "^arn:aws:sts::[0-9]{12}:assumed-role/terraform/";
    let warned = |tests: &Value| {
        let rule = json!({ "name": "r", "regexp": "User", "where": tests, "unless": { ARN: terraform } });
        let mut entry = tests.clone();
        entry[ARN] = json!(terraform);
        warnings_of(json!({ "rules": [rule], "ignore": [{ "where": entry }] })).stderr.lines().count()
    };
    for path in ["userIdentity.accountId", "userIdentity.sessionContext.sessionIssuer.accountId"] {
        assert_eq!(warned(&json!({ path: "^(111122223333|444455556666)$" })), 0);
    }
    // In the account whose trail it is, callers of others appear too. The rest lets others in.
    for tests in [
        json!({ "recipientAccountId": "^111122223333$" }),
        json!({ "awsRegion": "^us-east-1$" }),
        json!({ "requestParameters.accountId": "^111122223333$" }),
    ] {
        assert_eq!(warned(&tests), 2, "{tests}");
    }
    for accounts in ["^[0-9]+$", "^1111", "."] {
        assert!(warned(&json!({ "userIdentity.accountId": accounts })) >= 2, "{accounts}");
    }
    // Within the account, somebody can have a user with such a path. And another account's role can be called so.
    let entry = |tests: Value| warnings_of(json!({ "packs": ["cis"], "ignore": [{ "where": tests }] })).stderr;
    let in_path = entry(json!({ "userIdentity.accountId": "^111122223333$", ARN: ":assumed-role/terraform/" }));
    assert!(in_path.contains("`arn:aws:iam::111122223333:user/:assumed-role/terraform/`"), "{in_path}");
    let reader =
        json!({ "userIdentity.accountId": "^111122223333$", "requestParameters.roleArn": "[0-9]:role/reader$" });
    assert!(entry(reader).contains("999999999999:role/"));
}

#[test]
fn check_warns_of_an_ignore_entry_that_matches_everything() {
    let everything = [
        json!({ "where": { "eventSource": "." } }),
        json!({ "where": { "userIdentity.arn": "" } }),
        json!({ "where": { "userIdentity.arn": "arn:aws" } }),
        json!({ "where": { "recipientAccountId": ".*", "eventID": "" } }),
        json!({ "source": "com$", "where": { "eventVersion": "^1" } }),
    ];
    let narrow = [
        json!({ "where": { "userIdentity.invokedBy": "." } }),
        json!({ "where": { "errorCode": "." } }),
        json!({ "where": { "readOnly": "true" } }),
        json!({ "where": { "eventSource": "^kms" } }),
        json!({ "unless": { "errorCode": "." } }),
    ];
    let entries = [&everything[..], &narrow].concat();
    let warned = warnings_of(json!({ "source": "iam", "regexp": "User", "ignore": entries })).stderr;
    let expected: Vec<_> = (0..everything.len())
        .map(|i| format!("warning: c.json: ignore[{i}]: it matches every call: narrow it down, or delete it"))
        .collect();
    assert_eq!(warned.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_ignore_entry_that_a_warning_proposes_silences_it() {
    let mut configuration = json!({ "source": "sns", "regexp": "Publish" });
    let warning = warnings_of(configuration.clone()).stderr;
    let entry = &warning[warning.find('{').unwrap()..=warning.rfind('}').unwrap()];
    configuration["ignore"] = json!([serde_json::from_str::<Value>(entry).unwrap()]);
    assert_eq!(warnings_of(configuration).stderr, "");
}

#[test]
fn check_lists_the_topics_that_the_rules_use() {
    let other = "arn:aws-us-gov:sns:us-gov-west-1:123456789012:others.fifo";
    let checked = check(&json!({ "sns": { "topicARN": TOPIC }, "rules": [
        { "name": "a", "regexp": "x" },
        { "name": "b", "regexp": "y", "topicARN": other, "format": "json" },
        { "name": "c", "regexp": "z", "topicARN": other },
    ] }));
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    let lines: Vec<&str> = checked.stdout.lines().collect();
    assert_eq!(
        lines,
        ["c.json is valid: 3 rules", &format!("  {TOPIC}: 1 rule as text"), &format!("  {other}: 2 rules as json")]
    );
}

#[test]
fn packs_are_listed_and_printed_ready_to_use() {
    let list = run(&["packs"]);
    let names: Vec<_> = list.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!((list.code, &names[..]), (0, &["cis", "threats"][..]), "{list:?}");
    for name in names {
        let printed = run(&["packs", name]);
        let pack: Value = serde_json::from_str(&printed.stdout).unwrap();
        let rules = pack["rules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["description"].is_string() && rule["severity"].is_string()), "{name}");
        for configuration in [pack.clone(), json!({ "packs": [name] })] {
            let checked = warnings_of(configuration);
            assert_eq!(checked.stderr, "", "{name}");
            assert!(checked.stdout.contains(&format!(" {} rules", rules.len())), "{name}: {}", checked.stdout);
        }
    }
    let unknown = run(&["packs", "treats"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("did you mean `threats`"), "{unknown:?}");
}

#[test]
fn a_rule_named_after_a_packs_rule_overrides_the_keys_that_it_gives_and_only_those() {
    let calls = [
        call(0, "cloudtrail.amazonaws.com", "StopLogging"),
        call(1, "cloudtrail.amazonaws.com", "DeleteTrail"),
        call(2, "example.amazonaws.com", "DeleteTrail"),
    ];
    let found = |configuration: Value| -> Vec<(Value, Value, Value)> {
        let alerts = alerts(&configuration, &calls).into_iter();
        alerts
            .map(|alert| (alert["event"]["eventID"].clone(), alert["rules"].clone(), alert["severity"].clone()))
            .collect()
    };
    let plain = found(json!({ "packs": ["cis"] }));
    assert_eq!(plain.len(), 2, "{plain:?}");
    let (name, severity) = (&plain[0].1[0], &plain[0].2);
    let other = if severity == "info" { "low" } else { "info" };
    let louder = found(json!({ "packs": ["cis"], "rules": [{ "name": name, "severity": other }] }));
    let expected: Vec<_> = plain.iter().map(|(id, rules, _)| (id.clone(), rules.clone(), json!(other))).collect();
    assert_eq!(louder, expected);
    let narrower = found(json!({ "packs": ["cis"], "rules": [{ "name": name, "regexp": "^DeleteTrail$" }] }));
    assert_eq!(narrower, plain[1..], "its source is still the pack's");
    // The rules of the pack come first, in its order, whether overridden or not.
    let more = json!({ "packs": ["cis"], "source": "cloudtrail", "regexp": "StopLogging", "rules": [
        { "name": "more", "regexp": "StopLogging" }, { "name": name, "severity": other } ] });
    assert_eq!(found(more)[0].1, json!(["default", name, "more"]));
}

#[test]
fn scan_shows_one_rules_alerts() {
    let configuration = json!({ "rules": [
        { "name": "users", "regexp": "User", "severity": "low" },
        { "name": "creations", "regexp": "^Create", "severity": "high" },
    ] });
    let calls = [call(0, "iam", "CreateUser"), call(1, "iam", "DeleteUser"), call(2, "iam", "CreateRole")];
    let scanned = scan(&configuration, &["--rule", "users"], &calls);
    let subjects: Vec<_> = scanned.stdout.lines().filter(|line| line.starts_with("Subject: ")).collect();
    let subject = |event| format!("Subject: [low] {event} in 123456789012 us-east-1");
    assert_eq!(subjects, [subject("CreateUser"), subject("DeleteUser")]);
    assert!(!scanned.stdout.contains("creations") && !scanned.stderr.contains("creations"), "{scanned:?}");
    // So does a rule that sends nothing yet.
    for key in ["enabled", "dryRun"] {
        let mut silent = configuration.clone();
        silent["rules"][0][key] = json!(key == "dryRun");
        let shown = scan(&silent, &["--rule", "users"], &calls);
        assert_eq!((&shown.stdout, &shown.stderr), (&scanned.stdout, &scanned.stderr), "{key}");
    }
    let many: Vec<_> = (0..31).map(|n| json!({ "name": format!("rule-{n:02}"), "regexp": "x" })).collect();
    let unknown = scan(&json!({ "rules": many }), &["--rule", "nope"], &calls);
    let said = "the rule `nope` is not known; the names are in the file, and `cloudtrail-alerter packs NAME` shows";
    assert!(unknown.code == 2 && unknown.stderr.contains(said), "{unknown:?}");
    let unknown = scan(&configuration, &["--rule", "user"], &calls);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""), "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean `users`"), "{unknown:?}");
}

/// The lines of a summary, with one blank between words.
fn table_of(scanned: &Run) -> Vec<String> {
    scanned.stderr.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn scan_counts_by_rule_dry_runs_and_exceptions_and_those_that_have_expired() {
    let until = |day: &str| json!([{ "regexp": "^Delete", "reason": "a migration", "until": day }]);
    let rules = [
        json!({ "name": "plain", "regexp": "User" }),
        json!({ "name": "dry", "regexp": "User", "dryRun": true }),
        json!({ "name": "excepted", "regexp": "User", "ignore": until("2026-11-20") }),
        json!({ "name": "expired", "regexp": "User", "ignore": until("2026-11-19") }),
        json!({ "name": "off", "regexp": "User", "where": { "nowhere": "." }, "enabled": false }),
    ];
    let mut calls: Vec<_> = (0..3).map(|n| call(n, "iam", if n < 2 { "CreateUser" } else { "DeleteUser" })).collect();
    for call in &mut calls {
        call["eventTime"] = json!("2026-11-20T21:08:30Z");
    }
    let head = "messages/day rule top callers";
    for (shown, columns, rows) in [
        (&[0][..], "matches alerts", &["3 3 3.0 plain"][..]),
        (&[1], "matches alerts dry", &["3 0 3 0.0 dry"]),
        (&[0, 2], "matches alerts ignored", &["3 2 1 2.0 excepted", "3 3 0 3.0 plain"]),
        (
            &[0, 1, 2, 3, 4],
            "matches alerts dry ignored expired",
            &["3 0 3 0 0 0.0 dry", "3 2 0 1 0 2.0 excepted", "3 3 0 0 1 3.0 expired", "3 3 0 0 0 3.0 plain"],
        ),
    ] {
        let shown: Vec<_> = shown.iter().map(|n| rules[*n].clone()).collect();
        let scanned = scan(&json!({ "rules": shown }), &[], &calls);
        let table = table_of(&scanned);
        let rest = &table[table.iter().position(String::is_empty).unwrap() + 1..];
        assert_eq!(rest[0], format!("{columns} {head}"), "{scanned:?}");
        let found = rest[1..].iter().map_while(|row| row.strip_suffix(" - (3)"));
        assert_eq!(found.collect::<Vec<_>>(), rows, "{scanned:?}");
        let subjects = scanned.stdout.lines().filter(|line| line.starts_with("Subject: ")).count();
        assert_eq!(subjects, if shown[0]["name"] == "dry" { 0 } else { 3 }, "{scanned:?}");
        let ends = if shown.len() == rules.len() { ["disabled:", "off"] } else { [""; 2] };
        assert!(ends[0].is_empty() || table.ends_with(&ends.map(str::to_owned)), "{scanned:?}");
    }
}

#[test]
fn scan_names_paths_without_a_value_in_all_conditions_and_elements() {
    let mut calls: Vec<_> = (0..3).map(|n| call(n, "iam", "CreateUser")).collect();
    // The second one's bytes lack what the rules look for.
    for (call, parameters) in calls.iter_mut().zip([
        json!({ "items": [[{ "from": 1, "to": { "port": 22 } }], { "from": 2 }], "kind": "a" }),
        json!({ "items": [{ "cidr.ip": "0.0.0.0/0", "inner": [{ "key": "k" }] }] }),
        json!({}),
    ]) {
        call["requestParameters"] = parameters;
    }
    let element = |tests: Value| json!({ "requestParameters.items": { "element": tests } });
    let unseen = |rule: Value| -> Vec<String> {
        let mut rule = rule;
        rule["name"] = json!("r");
        let configuration = json!({ "rules": [rule] });
        let table = table_of(&scan(&configuration, &["--verbose"], &calls));
        let note = "r never matched; no record that it looked at had a value at";
        let paths = table.iter().position(|row| row == note).map_or(Vec::new(), |at| table[at + 1..].to_vec());
        let short = table_of(&scan(&configuration, &[], &calls));
        let of_paths = if paths.is_empty() { "" } else { ", and test paths that no record had (--verbose names them)" };
        assert_eq!(short[short.len() - 2..], [format!("never matched{of_paths}:"), "r".to_owned()]);
        paths
    };
    let none: [&str; 0] = [];
    let items = |keys: &[&str]| keys.iter().map(|key| format!("requestParameters.items.{key}")).collect::<Vec<_>>();
    let all = json!({ "from": "9", "to.port": "9", "cidr\\.ip": "9", "inner": { "element": { "key": "9" } } });
    assert_eq!(unseen(json!({ "where": element(all.clone()) })), none);
    let mut after_another = element(all);
    after_another["eventName"] = json!("Nothing");
    assert_eq!(unseen(json!({ "where": after_another })), none);
    let typos =
        json!({ "form": "1", "from": "9", "to.prot": "22", "inner": { "element": { "key": "9", "kee": "9" } } });
    assert_eq!(unseen(json!({ "where": element(typos) })), items(&["form", "inner.kee", "to.prot"]));
    let outer = json!({ "requestParameters.itms": { "element": { "from": ".", "to": "." } } });
    assert_eq!(unseen(json!({ "where": outer })), ["requestParameters.itms"]);
    let five =
        json!({ "errorCode": ".", "errorMessage": ".", "vpcEndpointId": ".", "sharedEventID": ".", "apiVersion": "." });
    assert_eq!(
        unseen(json!({ "where": five })),
        ["apiVersion", "errorCode", "errorMessage", "sharedEventID", "vpcEndpointId"]
    );
    let any = json!([
        { "where": { "requestParameters.kind": "b", "requestParameters.kynd": "a" } },
        { "where": element(json!({ "form": "1" })) },
        { "regexp": "Create", "where": { "requestParameters.kynd": "b" }, "unless": { "errorCode": "." } },
        { "regexp": "Delete", "where": { "errorMessage": "." } },
    ]);
    let mut expected = vec!["requestParameters.kynd".to_owned()];
    expected.extend(items(&["form"]));
    expected.push("errorMessage".to_owned());
    assert_eq!(unseen(json!({ "source": "iam", "any": any })), expected);
}

#[test]
fn scan_ends_with_what_each_rule_would_have_sent() {
    let configuration = json!({ "maxAlertsPerLog": 4, "rules": [
        { "name": "users", "regexp": "User" },
        { "name": "creations", "regexp": "^Create", "severity": "critical" },
        { "name": "roots", "where": { "userIdentity.type": "^Root$" } },
        { "name": "lost", "where": { "userIdentity.type": ".", "responseElements.user\\.name": "x", "errorCode": "." } },
    ], "ignore": [{ "where": { "eventTime": "T23:" } }] });
    let mut calls: Vec<_> = (0..13).map(|n| call(n, "iam", if n < 2 { "CreateUser" } else { "DeleteUser" })).collect();
    for (number, call) in calls.iter_mut().enumerate() {
        let name = if number % 3 == 0 { "alice" } else { "bob" };
        call["userIdentity"] = json!({ "type": "IAMUser", "userName": name });
        call["eventTime"] = json!(format!("2026-11-20T{:02}:00:00Z", number));
    }
    // Eight days without logs lie in between.
    calls[11]["eventTime"] = json!("2026-11-29T00:00:00Z");
    calls[12]["eventTime"] = json!("2026-11-20T23:00:00Z");
    let scanned = scan(&configuration, &[], &calls);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    let table = table_of(&scanned);
    let rows = |first: &str| table.iter().filter(|row| row.starts_with(first)).cloned().collect::<Vec<_>>();
    assert_eq!(
        rows("1 log"),
        ["1 log, 13 records, 13 matches, 1 of them ignored, from 2026-11-20T00:00:00Z to 2026-11-29T00:00:00Z"]
    );
    // Four alerts and a summary on two days.
    assert_eq!(rows("matches"), ["matches alerts ignored messages/day rule top callers"]);
    assert_eq!(rows("13 "), ["13 12 1 2.5 users bob (account unknown) (8), 1 more"]);
    assert_eq!(rows("2 "), ["2 2 0 1.0 creations alice (account unknown) (1), 1 more"]);
    let after = |title: &str| &table[table.iter().position(|row| row == title).unwrap() + 1];
    assert_eq!(after("never matched:"), "roots", "there is a value, which never matched: {table:?}");
    assert_eq!(after("never matched, and test paths that no record had (--verbose names them):"), "lost");
    let verbose = scan(&configuration, &["--verbose"], &calls);
    assert!(verbose.stderr.starts_with(&scanned.stderr), "{verbose:?}");
    let lost =
        "lost never matched; no record that it looked at had a value at\n  errorCode\n  responseElements.user\\.name\n";
    assert!(verbose.stderr.ends_with(lost), "{verbose:?}");
    let empty = scan(&configuration, &[], &[]);
    assert!(empty.stderr.ends_with("\n1 log, 0 records, 0 matches\n"), "no rule is to blame: {}", empty.stderr);
}

#[test]
fn scan_shows_a_flood_once() {
    let configuration = json!({ "source": "iam", "regexp": "User", "maxAlertsPerLog": 1 }).to_string();
    let users = |numbers: &[usize]| log(&numbers.iter().map(|n| call(*n, "iam", "CreateUser")).collect::<Vec<_>>());
    let folder = folder(&[
        ("c.json", configuration.as_bytes()),
        ("logs/a.json", &users(&[0, 1, 2])),
        ("logs/again.json", &users(&[0, 1, 2])),
        ("logs/b.json", &users(&[0, 1, 2, 3])),
    ]);
    let scanned = run_in(folder.path(), &["scan", "--config", "c.json", "logs"], Vec::new());
    let subjects: Vec<_> = scanned.stdout.lines().filter(|line| line.starts_with("Subject: ")).collect();
    let alert = "Subject: [medium] CreateUser in 123456789012 us-east-1";
    let more = "Subject: [medium] 2 more alerts of default in 123456789012 us-east-1";
    assert_eq!(subjects, [alert, more, alert], "{scanned:?}");
    assert!(scanned.stderr.contains("3 logs, 10 records, 4 matches, 6 repeats"), "{scanned:?}");
}

//! What `check` says of the tests of rules, and of the mistakes in the language of rules.

use serde_json::{Value, json};

use crate::program::{Run, folder, run, run_in};

const TOPIC: &str = r#""sns": {"topicARN": "arn:aws:sns:us-east-1:123456789012:alerts"}"#;

fn check(configuration: &str) -> Run {
    run_in(folder(&[("c.json", configuration.as_bytes())]).path(), &["check", "c.json"], Vec::new())
}

/// A configuration of one rule, with more keys of it and of the top level.
fn rule(keys: &str, more: &str) -> String {
    format!(r#"{{{TOPIC}, "rules": [{{"name": "r", {keys}}}]{more}}}"#)
}

/// What `check` says of the one test that fails, without the number of such tests.
fn failure(configuration: &str) -> String {
    let checked = check(configuration);
    assert_eq!((checked.code, checked.stdout.as_str()), (2, ""), "{configuration}: {checked:?}");
    let mut said: Vec<_> = checked.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert_eq!(said.pop(), Some("c.json: 1 of 1 test failed"), "{checked:?}");
    said.join("\n").strip_prefix("error: c.json: rule r, tests[0]").unwrap_or_else(|| panic!("{checked:?}")).to_owned()
}

#[test]
fn a_failing_test_says_which_part_of_the_condition_failed_at_which_value() {
    let call = r#""eventSource": "iam.amazonaws.com", "eventName": "CreateUser""#;
    for (condition, fields, expected) in [
        (r#""source": "^sts""#, "", "source: `^sts` fails at `iam.amazonaws.com`"),
        (r#""source": "iam", "regexp": "^Delete""#, "", "regexp: `^Delete` fails at `CreateUser`"),
        (r#""where": {"errorCode": "."}"#, "", "where errorCode: `.` fails, there is no value at this path"),
        (r#""where": {"a": "^x$"}"#, r#", "a": ["y", 1.50, true]"#, "where a: `^x$` fails at `y`, `1.50`, `true`"),
        (r#""where": {"a": "x"}"#, r#", "a": [1, 2, 3, 4, 5]"#, "where a: `x` fails at `1`, `2`, `3` and 2 more"),
        (r#""where": {"a": {"all": ["x", "y"]}}"#, r#", "a": "x""#, "where a: all `x`, `y` fails at `x`"),
        (
            r#""where": {"a": {"cidr": ["10.0.0.0/8", "2001:db8::/32"]}}"#,
            r#", "a": "11.0.0.1""#,
            "where a: cidr `10.0.0.0/8`, `2001:db8::/32` fails at `11.0.0.1`",
        ),
        (
            r#""where": {"a": {"atLeast": 2, "atMost": 3.5}}"#,
            r#", "a": 4"#,
            "where a: atLeast 2, atMost 3.5 fails at `4`",
        ),
        (
            r#""where": {"a": {"sameAs": "b.c"}}"#, r#", "a": 1, "b": {"c": "2"}"#,
            "where a: sameAs b.c (`2`) fails at `1`",
        ),
        (
            r#""where": {"a": {"element": {"b": "x", "c": "y"}}}"#,
            r#", "a": [{"b": "x"}, {"c": "y"}]"#,
            "where a: no object passes: [0] c: `y` fails, there is no value at this path; [1] b: `x` fails, there is no value at this path",
        ),
        (
            r#""where": {"a": {"element": {"b": "x"}}}"#,
            r#", "a": "x""#,
            "where a: element fails, there is no object at this path",
        ),
        (r#""unless": {"a\\.b": "x"}, "source": "iam""#, r#", "a.b": "xy""#, r"unless a\.b: `x` passes at `xy`"),
        (
            r#""any": [{"regexp": "^Delete"}, {"where": {"a": "x"}}]"#,
            "",
            "no condition of `any` holds:\n  any[0]: regexp: `^Delete` fails at `CreateUser`\n  any[1]: where a: `x` fails, there is no value at this path",
        ),
        (
            r#""source": "iam", "ignore": [{"where": {"b": "x"}}, {"regexp": "User", "reason": "it is a drill"}]"#,
            "",
            "this rule's ignore[1] (it is a drill) suppresses it",
        ),
        (
            r#""source": "sts", "where": {"a": "x"}"#,
            "",
            "source: `sts` fails at `iam.amazonaws.com`\n  where a: `x` fails, there is no value at this path",
        ),
    ] {
        let test = format!(r#""tests": [{{"record": {{{call}{fields}}}, "alerts": true}}]"#);
        let said = failure(&rule(&format!("{condition}, {test}"), ""));
        assert_eq!(said, format!(": it expects at least one alert, but the rule makes none\n  {expected}"));
    }
    let said = failure(&rule(r#""regexp": "x", "tests": [{"record": {}, "alerts": true}]"#, ""));
    assert!(said.ends_with("\n  regexp: `x` fails, there is no eventName"), "{said}");
    let long = "x".repeat(5_000);
    let said = failure(&rule(
        &format!(r#""where": {{"a": "{long}y"}}, "tests": [{{"record": {{"a": "{long}"}}, "alerts": true}}]"#),
        "",
    ));
    assert!(said.len() < 500 && said.ends_with("xxx…`"), "{said}");
}

#[test]
fn a_failing_test_that_expects_no_alert_shows_the_values_that_made_it() {
    let said = failure(&rule(
        r#""source": "iam", "any": [{"where": {"a": "x"}}, {"where": {"b": "y"}}], "tests": [{"name": "bob's", "alerts": false,
            "record": {"eventSource": "iam", "a": "z", "b": ["y", "n"]}}]"#,
        "",
    ));
    let expected = "it expects no alert, but the rule makes 1\n  source: `iam` passes at `iam`\n  any[1]: where b: `y` passes at `y`, `n`";
    assert_eq!(said, format!(" (bob's): {expected}"));
}

#[test]
fn a_failing_test_of_several_records_explains_each() {
    let record = |id: &str, name: &str| format!(r#"{{"eventID": "{id}", "eventName": "{name}"}}"#);
    let records = [record("1", "User"), record("2", "Role"), record("1", "User"), record("3", "User")].join(",");
    let test = |alerts: &str| format!(r#""regexp": "User", "tests": [{{"records": [{records}], "alerts": {alerts}}}]"#);
    for sound in ["2", "2.0", "true"] {
        assert_eq!(check(&rule(&test(sound), "")).code, 0, "{sound}");
    }
    let said = failure(&rule(&test("3"), ""));
    let expected = [
        ": it expects 3 alerts, but the rule makes 2",
        "  records[0]: regexp: `User` passes at `User`",
        "  records[1]: regexp: `User` fails at `Role`",
        "  records[2]: no alert, because a record before it has its eventID: they are one event",
        "  records[3]: regexp: `User` passes at `User`",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert!(failure(&rule(&test("false"), "")).starts_with(": it expects no alert, but the rule makes 2\n"));
    // Records without eventID are never one event.
    let same =
        r#""regexp": "User", "tests": [{"records": [{"eventName": "User"}, {"eventName": "User"}], "alerts": 2}]"#;
    assert_eq!(check(&rule(same, "")).code, 0);
    let many = vec!["{}"; 1_000].join(",");
    let said = failure(&rule(&format!(r#""regexp": "User", "tests": [{{"records": [{many}], "alerts": 1}}]"#), ""));
    assert_eq!((said.lines().count(), said.lines().last()), (22, Some("  and 980 more records")));
}

#[test]
fn tests_count_the_alerts_that_the_memory_lets_pass() {
    let at = |minute: u32, more: &str| {
        format!(r#"{{"eventName": "User", "awsRegion": "r", "eventTime": "2026-11-20T21:{minute:02}:00Z"{more}}}"#)
    };
    let test = |records: &[String], alerts: &str| {
        format!(r#""regexp": "User", "tests": [{{"records": [{}], "alerts": {alerts}}}]"#, records.join(","))
    };
    let suppress = r#""suppress": {"by": ["awsRegion"], "for": "10m"}, "#;
    // Records without eventID that look alike are different events, and each test begins anew.
    let alike = [at(0, ""), at(0, ""), at(9, ""), at(10, "")];
    let twice = test(&alike, "2").replace("[{", "[{\"name\": \"once\", ");
    let again =
        twice.replace("\"tests\": [", "\"tests\": [{\"record\": {\"eventName\": \"User\"}, \"alerts\": true}, ");
    for keys in ["", r#""enabled": false, "#, r#""dryRun": true, "#] {
        assert_eq!(check(&rule(&format!("{keys}{suppress}{again}"), "")).code, 0, "{keys}");
    }
    // Another rule's memory does not matter, and neither does a record that this rule does not match.
    let others = r#", {"name": "other", "regexp": "User", "suppress": {"by": ["awsRegion"], "for": "1d"}},
        {"name": "another", "where": {"awsRegion": "."}, "suppress": {"by": ["awsRegion"], "for": "1d"}}"#;
    let stages = r#""threshold": {"count": 2, "by": ["awsRegion", "x"], "within": "10m"}, "#;
    let role = at(1, "").replace("User", "Role");
    let with_id = |minute, id: &str| at(minute, &format!(", \"eventID\": \"{id}\""));
    let records =
        [with_id(0, "1"), with_id(1, "1"), role, with_id(2, "2"), with_id(3, "3"), at(4, ", \"eventTime\": \"?\"")];
    let rules = |alerts: &str| {
        let first = format!(r#"{{"name": "r", {stages}{suppress}{}}}"#, test(&records, alerts));
        format!(r#"{{"rules": [{first}{others}], "maxAlertsPerLog": 1}}"#)
    };
    assert_eq!(check(&rules("2")).code, 0);
    let said = failure(&rules("3"));
    let expected = [
        ": it expects 3 alerts, but the rule makes 2",
        "  records[0]: no alert, because threshold holds it back: it is match 1 with the same awsRegion and x",
        "  records[1]: no alert, because a record before it has its eventID: they are one event",
        "  records[2]: regexp: `User` fails at `Role`",
        "  records[3]: regexp: `User` passes at `User`",
        "  records[4]: no alert, because threshold holds it back: it is match 3 with the same awsRegion and x",
        "  records[5]: regexp: `User` passes at `User`",
        "  records[5]: the record has no valid eventTime, so it always passes threshold, suppress",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let said = failure(&rule(&format!("{suppress}{}", test(&alike, "4")), ""));
    assert!(said.contains("records[2]: no alert, because suppress holds it back: it is match 3 with"), "{said}");
}

#[test]
fn a_record_that_always_passes_the_memory_says_so() {
    let stages = r#""firstSeen": {"by": ["a"], "within": "1h"}, "suppress": {"by": ["a"], "for": "1h"}"#;
    let test = r#""tests": [{"records": [{"eventName": "User"}, {"eventName": "User", "n": 1}], "alerts": 1}]"#;
    let said = failure(&rule(&format!("\"regexp\": \"User\", {stages}, {test}"), ""));
    let why = "  records[1]: the record has no valid eventTime, so it always passes firstSeen, suppress";
    assert!(said.starts_with(": it expects 1 alert, but the rule makes 2\n") && said.ends_with(why), "{said}");
}

#[test]
fn tests_run_with_the_whole_configuration() {
    let test = |record: &str, alerts: &str| {
        format!(r#""regexp": "User", "tests": [{{"record": {record}, "alerts": {alerts}}}]"#)
    };
    let user = r#"{"eventName": "User", "eventTime": "2026-11-20T21:08:30Z", "number": 1.50}"#;
    // What makes no alerts outside of tests does in them.
    for keys in [r#""enabled": false"#, r#""dryRun": true"#, r#""enabled": false, "dryRun": true"#] {
        assert_eq!(check(&rule(&format!("{keys}, {}", test(user, "true")), "")).code, 0, "{keys}");
    }
    let several =
        format!(r#""regexp": "User", "tests": [{{"records": [{}], "alerts": 50}}]"#, vec![user; 50].join(","));
    assert_eq!(check(&rule(&several, r#", "maxAlertsPerLog": 2"#)).code, 0, "the limit is not applied");
    let number = format!(r#""where": {{"number": "^1\\.50$"}}, {}"#, test(user, "true"));
    assert_eq!(check(&rule(&number, "")).code, 0, "numbers keep their text");
    // An exception, and one that has expired by the time of the record, or can't tell.
    let ignore = |entry: &str| format!(r#", "ignore": [{{"where": {{"number": "2"}}}}, {entry}]"#);
    for (entry, alerts, record, expected) in [
        (
            r#"{"regexp": "User", "reason": "they are ours"}"#,
            "true",
            user,
            "the top level's ignore[1] (they are ours) suppresses it",
        ),
        (r#"{"regexp": "User", "until": "2026-11-20"}"#, "true", user, "the top level's ignore[1] suppresses it"),
        (
            r#"{"regexp": "User", "until": "2026-11-19"}"#,
            "false",
            user,
            "regexp: `User` passes at `User`\n  the top level's ignore[1] counts until 2026-11-19, and the record is of 2026-11-20",
        ),
        (
            r#"{"regexp": "User", "until": "2026-11-19"}"#,
            "false",
            r#"{"eventName": "User"}"#,
            "regexp: `User` passes at `User`\n  the top level's ignore[1] has `until`, and the record has no valid eventTime",
        ),
    ] {
        let said = failure(&rule(&test(record, alerts), &ignore(entry)));
        assert_eq!(said.split_once("\n  ").unwrap().1, expected);
    }
    // Other rules' alerts do not count.
    let more = format!(r#", "source": "", "regexp": "", "ignore": [{{"regexp": "{}"}}]"#, "Role");
    assert_eq!(check(&rule(&test(r#"{"eventSource": "iam", "eventName": "Group"}"#, "false"), &more)).code, 0);
}

#[test]
fn failing_tests_are_counted_and_own_rules_without_tests_are_named() {
    let test = |alerts: bool| json!({ "record": { "eventName": "x" }, "alerts": alerts });
    let own = |name: &str, tests: &[Value]| match tests {
        [] => json!({ "name": name, "regexp": "x" }),
        tests => json!({ "name": name, "regexp": "x", "tests": tests }),
    };
    let file = |rules: &[Value]| json!({ "source": "x", "regexp": "x", "packs": ["cis"], "rules": rules }).to_string();
    let mut rules = vec![own("a", &[test(true), test(true)])];
    let last_of = |rules: &[Value]| {
        let checked = check(&file(rules));
        assert_eq!(checked.code, 0, "{checked:?}");
        checked.stdout.lines().find(|line| line.starts_with("  c.json: ")).map(str::to_owned)
    };
    assert_eq!(last_of(&rules).unwrap(), "  c.json: 2 tests passed");
    rules.push(own("b", &[]));
    assert_eq!(last_of(&rules).unwrap(), "  c.json: 2 tests passed; 1 rule has none: b");
    assert_eq!(last_of(&rules[1..]), None, "nobody writes tests");
    rules.extend(["c", "d", "e", "f"].map(|name| own(name, &[])));
    assert_eq!(last_of(&rules).unwrap(), "  c.json: 2 tests passed; 5 rules have none: b, c, d and 2 more");
    rules.push(own("g", &[test(false), test(true), test(false)]));
    let failed = check(&file(&rules));
    assert_eq!((failed.code, failed.stdout.as_str()), (2, ""), "{failed:?}");
    assert_eq!(failed.stderr.lines().last(), Some("c.json: 2 of 5 tests failed"), "{failed:?}");
}

/// The number of tests in a pack.
fn tests_of_pack(name: &str) -> usize {
    let pack: Value = serde_json::from_str(&run(&["packs", name]).stdout).unwrap();
    let rules = pack["rules"].as_array().unwrap();
    rules.iter().map(|rule| rule["tests"].as_array().map_or(0, Vec::len)).sum()
}

#[test]
fn packs_are_tested_as_they_are_shipped_and_overrides_as_they_result() {
    let root = |alerts: bool| {
        json!({ "record": { "eventSource": "iam.amazonaws.com", "eventName": "X", "eventType": "AwsApiCall",
            "userIdentity": { "type": "Root" } }, "alerts": alerts })
    };
    let with = |keys: Value| {
        let mut over = keys;
        over["name"] = json!("cis-4.3-root-usage");
        let mut configuration = json!({ "packs": ["cis"], "rules": [over] });
        configuration["sns"] = json!({ "topicARN": "arn:aws:sns:us-east-1:123456789012:alerts" });
        configuration
    };
    let passed = |configuration: &Value, own: usize| {
        let checked = check(&configuration.to_string());
        assert_eq!(checked.code, 0, "{configuration}: {checked:?}");
        let of_pack = format!("  pack cis: {} tests passed\n", tests_of_pack("cis"));
        let of_own = format!("  c.json: {own} test");
        assert!(checked.stdout.contains(&of_pack), "{checked:?}");
        assert_eq!(checked.stdout.contains(&of_own), own > 0, "{checked:?}");
    };
    // The override has the pack's condition, and the pack's tests know nothing of it.
    passed(&with(json!({ "severity": "low", "tests": [root(true)] })), 1);
    let quiet = json!({ "enabled": false, "where": { "userIdentity.type": "^Nobody$" }, "tests": [root(false)] });
    passed(&with(quiet), 1);
    let mut ignoring = with(json!({ "tests": [root(false)] }));
    ignoring["ignore"] = json!([{ "where": { "userIdentity.type": "Root" } }]);
    passed(&ignoring, 1);
    passed(&with(json!({ "severity": "low" })), 0);
    ignoring["rules"][0]["tests"] = json!([root(true)]);
    let failed = check(&ignoring.to_string());
    assert_eq!(failed.code, 2);
    assert!(failed.stderr.contains("rule cis-4.3-root-usage, tests[0]: it expects at least one alert"), "{failed:?}");
    assert!(failed.stderr.contains("ignore[0] suppresses it"), "{failed:?}");
}

/// A part of an XML document: a tag with its attributes and whether it ends an element, or a text.
#[derive(Debug, PartialEq)]
enum Xml {
    Start(String, Vec<(String, String)>),
    End(String),
    Text(String),
}

/// Reads the XML that `check` writes, strictly.
fn xml(document: &str) -> Vec<Xml> {
    let allowed =
        |c: char| matches!(c, '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(document.chars().all(allowed), "{document:?}");
    let text = |text: &str| {
        let mut parts = text.split('&');
        let first = parts.next().unwrap().to_owned();
        assert!(!text.contains(['<', '>']), "{text}");
        parts.fold(first, |text, part| {
            let (name, rest) = part.split_once(';').unwrap_or_else(|| panic!("{part}"));
            let of = [("amp", "&"), ("lt", "<"), ("gt", ">"), ("quot", "\"")];
            text + of.iter().find(|(known, _)| *known == name).unwrap().1 + rest
        })
    };
    let rest = document.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    let (mut parts, mut open) = (Vec::new(), Vec::new());
    for piece in rest.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.to_owned()), "{document}");
            parts.push(Xml::End(name.to_owned()));
        } else {
            let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut read = Vec::new();
            while let Some((key, value)) = attributes.split_once("=\"") {
                let (value, next) = value.split_once('"').unwrap();
                read.push((key.trim().to_owned(), text(value)));
                attributes = next;
            }
            assert_eq!(attributes, "", "{document}");
            parts.push(Xml::Start(name.to_owned(), read));
            if is_empty { parts.push(Xml::End(name.to_owned())) } else { open.push(name.to_owned()) }
        }
        if !after.trim().is_empty() {
            parts.push(Xml::Text(text(after)));
        }
    }
    assert!(open.is_empty(), "{open:?}");
    parts
}

/// Runs `check --junit` on a configuration: its status, and of each test case the class, the name and the failure.
fn junit(configuration: &str) -> (i32, Vec<(String, String, Option<String>)>) {
    let folder = folder(&[("c.json", configuration.as_bytes())]);
    let checked = run_in(folder.path(), &["check", "--junit", "results.xml", "c.json"], Vec::new());
    let document = std::fs::read_to_string(folder.path().join("results.xml")).unwrap();
    let mut cases: Vec<(String, String, Option<String>)> = Vec::new();
    let mut said = Vec::new();
    for part in xml(&document) {
        match part {
            Xml::Start(name, attributes) if name == "testcase" => {
                assert_eq!(attributes.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["classname", "name"]);
                cases.push((attributes[0].1.clone(), attributes[1].1.clone(), None));
            }
            Xml::Start(name, attributes) if name == "testsuite" => said.push(attributes),
            Xml::Text(failure) => cases.last_mut().unwrap().2 = Some(failure),
            _ => {}
        }
    }
    let count = |key: &str| {
        let counts = said.iter().flatten().filter(|(name, _)| name == key);
        counts.map(|(_, count)| count.parse::<usize>().unwrap()).sum::<usize>()
    };
    let failed = cases.iter().filter(|case| case.2.is_some()).count();
    assert_eq!((count("tests"), count("failures")), (cases.len(), failed), "{document}");
    (checked.code, cases)
}

#[test]
fn the_results_are_written_as_junit() {
    let case = |class: &str, name: &str, failure: Option<&str>| {
        (class.to_owned(), name.to_owned(), failure.map(str::to_owned))
    };
    let valid = case("c.json", "the configuration is valid", None);
    let tests = r#""regexp": "x", "tests": [{"name": "a", "record": {"eventName": "x"}, "alerts": true},
        {"record": {}, "alerts": true}, {"name": "b", "records": [{}, {}], "alerts": 1}]"#;
    let why = "regexp: `x` fails, there is no eventName";
    let expected = [
        valid.clone(),
        case("r", "a", None),
        case("r", "tests[1]", Some(&format!("it expects at least one alert, but the rule makes none\n{why}"))),
        case(
            "r",
            "b",
            Some(&format!("it expects 1 alert, but the rule makes none\nrecords[0]: {why}\nrecords[1]: {why}")),
        ),
    ];
    assert_eq!(junit(&rule(tests, "")), (2, expected.to_vec()));
    assert_eq!(junit(&rule(r#""regexp": "x""#, "")), (0, vec![valid]));
    // A pack's tests are there too.
    let (code, cases) = junit(&format!(r#"{{{TOPIC}, "packs": ["cis"]}}"#));
    assert_eq!((code, cases.len()), (0, 1 + tests_of_pack("cis")));
    // A configuration that can't be used.
    let (code, cases) =
        junit(r#"{"rules": [{"name": "<r>", "regexp": "("}, {"name": "&", "regexp": "x", "colour": 1}]}"#);
    assert_eq!(code, 2);
    let [(_, _, Some(failure))] = &cases[..] else { panic!("{cases:?}") };
    let lines: Vec<_> = failure.lines().collect();
    assert!(
        lines[0].starts_with("rule <r>, regexp: `(` is not") && lines[1].starts_with("rule &: the key"),
        "{failure}"
    );
    let missing = run_in(folder(&[]).path(), &["check", "--junit", "r.xml", "missing.json"], Vec::new());
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[test]
fn names_and_values_of_strangers_forge_neither_lines_nor_xml() {
    let odd = "\"><failure>&amp;]]>\u{0}\u{1b}[31m\n\u{fffe}\u{202e}error: forged 'é😀";
    let configuration = json!({ "sns": { "topicARN": "arn:aws:sns:us-east-1:123456789012:alerts" }, "rules": [
        { "name": "<\u{202e}&\">", "where": { odd: "^\"><failure>&amp;" }, "ignore": [{ "where": { "a": "x" }, "reason": odd }], "tests": [
            { "name": odd, "record": { odd: odd }, "alerts": 1 },
            { "name": odd, "records": [{ odd: odd, "a": "x" }, { odd: "no" }], "alerts": 2 } ] } ] });
    let (code, cases) = junit(&configuration.to_string());
    assert_eq!((code, cases.len()), (2, 3), "{cases:?}");
    assert_eq!(
        (cases[1].0.as_str(), cases[1].1.contains("\"><failure>&amp;]]>\\u0000\\u001b[31m\\n")),
        ("<\\u202e&\">", true)
    );
    let checked = check(&configuration.to_string());
    let harmless = |c: char| c == '\n' || !c.is_control() && !"\u{202e}\u{fffe}".contains(c);
    assert!(checked.stderr.chars().all(harmless), "{:?}", checked.stderr);
    assert!(!checked.stderr.lines().any(|line| line.starts_with("error: forged")), "{}", checked.stderr);
    assert_eq!(checked.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", checked.stderr);
}

#[test]
fn results_do_not_replace_the_configuration_and_a_file_that_cannot_be_written_is_an_error() {
    let configuration = rule(r#""regexp": "x""#, "");
    let folder = folder(&[("c.json", configuration.as_bytes()), ("d/x", b"")]);
    for junit in ["c.json", "./c.json", "d/../c.json"] {
        let refused = run_in(folder.path(), &["check", "--junit", junit, "c.json"], Vec::new());
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
        assert!(refused.stderr.contains("--junit names the configuration itself"), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("c.json")).unwrap(), configuration);
    let failed = run_in(folder.path(), &["check", "--junit", "d", "c.json"], Vec::new());
    assert_eq!((failed.code, failed.stdout.as_str()), (1, ""), "{failed:?}");
    assert!(failed.stderr.contains("error: d: it can't be written: "), "{failed:?}");
}

fn assert_refused(configuration: &str, parts: &[&str]) {
    let checked = check(configuration);
    assert_eq!((checked.code, checked.stdout.as_str()), (2, ""), "{configuration}: {checked:?}");
    assert_eq!(checked.stderr.lines().count(), 1, "{configuration}: {}", checked.stderr);
    for part in ["error: c.json: "].iter().chain(parts) {
        assert!(checked.stderr.contains(part), "{configuration}: no {part:?} in {}", checked.stderr);
    }
}

#[test]
fn every_mistake_of_the_language_is_said_once_with_its_place_and_what_to_do() {
    let deep = (0..9).fold("\"x\"".to_owned(), |test, _| format!(r#"{{"element": {{"b": {test}}}}}"#));
    let long = format!(r#"{{"sameAs": "{}"}}"#, ["k"; 65].join("."));
    let one_kind = "it must have one of `all`, `cidr`, `sameAs`, `element`, or `atLeast` and `atMost`, and only one";
    for (test, parts) in [
        ("{}", &["where a: ", one_kind][..]),
        ("[]", &["where a: it is an array", "pattern in quotes", "object such as"]),
        ("5", &["where a: it is a number", "pattern in quotes"]),
        (r#"{"al": ["x"]}"#, &["where a: the key `al` is not known; did you mean `all`?"]),
        (r#"{"all": []}"#, &["where a, all: it is empty: give at least one"]),
        (r#"{"all": "x"}"#, &["where a, all: it is a string, but must be an array"]),
        (r#"{"all": ["("]}"#, &["where a, all: `(` is not a valid regular expression"]),
        (r#"{"all": ["x"], "cidr": ["10.0.0.0/8"]}"#, &["where a: ", one_kind]),
        (r#"{"sameAs": "b", "atMost": 1}"#, &["where a: ", one_kind]),
        (r#"{"cidr": []}"#, &["where a, cidr: it is empty"]),
        (r#"{"cidr": ["10.1.0.0/8"]}"#, &["where a, cidr: `10.1.0.0/8`", "bits", "write `10.0.0.0/8`"]),
        (r#"{"cidr": ["10.0.0/8"]}"#, &["where a, cidr: `10.0.0/8` is not a network: write one such as"]),
        (r#"{"cidr": ["10.0.0.0/33"]}"#, &["`10.0.0.0/33` is not a network"]),
        (r#"{"cidr": ["fe80::1%eth0"]}"#, &["`fe80::1%eth0` is not a network"]),
        (r#"{"cidr": [10]}"#, &["where a, cidr: it is a number, but must be a string"]),
        (r#"{"atLeast": 5, "atMost": 4}"#, &["where a: `atLeast` 5 is over `atMost` 4", "no number passes"]),
        (r#"{"atLeast": "5"}"#, &["where a, atLeast: it is a string, but must be a number, without quotes"]),
        (r#"{"atMost": 1e400}"#, &["where a, atMost: `1e400` is too large"]),
        (r#"{"sameAs": "b..c"}"#, &["where a, sameAs: `b..c` is not a path", "dots between them"]),
        (r#"{"sameAs": 5}"#, &["where a, sameAs: it is a number, but must be a string"]),
        (r#"{"element": {}}"#, &["where a, element: it is empty: give at least one path and its test"]),
        (r#"{"element": []}"#, &["where a, element: it is an array, but must be an object"]),
        (r#"{"element": {"b": {}}}"#, &["where a, element b: ", one_kind]),
        (r#"{"element": {"b.": "x"}}"#, &["where a, element: `b.` is not a path"]),
        (&long, &["where a, sameAs: `k.k.k.", "k.…` has more than 64 keys"]),
        (&deep, &["element b: `element` may stand in `element` up to 8 times"]),
    ] {
        let condition = format!(r#""where": {{"a": {test}}}"#);
        assert_refused(&rule(&condition, ""), &[&["rule r, "], parts].concat());
        // It is the same in each place that takes a test.
        for (key, place) in [("any", "rule r, any[0], "), ("ignore", "rule r, ignore[0], ")] {
            let keys = format!(r#""regexp": "x", "{key}": [{{{condition}}}]"#);
            assert_refused(&rule(&keys, ""), &[&[place], parts].concat());
        }
        let entry = format!(r#", "ignore": [{{{condition}}}]"#);
        assert_refused(&rule(r#""regexp": "x""#, &entry), &[&["c.json: ignore[0], "], parts].concat());
        let unless: Vec<_> = parts.iter().map(|part| part.replace("where a", "unless a")).collect();
        let unless: Vec<_> = unless.iter().map(String::as_str).collect();
        assert_refused(&rule(&format!(r#""regexp": "x", {}"#, condition.replace("where", "unless")), ""), &unless);
    }
    for (keys, parts) in [
        (r#""any": []"#, &["any: it is empty: give at least one, or leave it out"][..]),
        (r#""any": {}"#, &["any: it is an object, but must be an array"]),
        (r#""any": [{}]"#, &["any[0]: has no condition: give at least one of source, regexp, where and unless"]),
        (r#""any": [{"where": {}}]"#, &["any[0]: has no condition"]),
        (r#""any": [5]"#, &["any[0]: it is a number, but must be an object"]),
        (r#""any": [{"regexp": "x", "any": []}]"#, &["any[0]: the key `any` is not known"]),
        (r#""ignore": []"#, &["ignore: it is empty"]),
        (r#""ignore": [{"reason": "x"}]"#, &["ignore[0]: has no condition"]),
        (r#""ignore": [{"regexp": "x", "ignore": []}]"#, &["ignore[0]: the key `ignore` is not known"]),
        (r#""ignore": [{"regexp": "x", "reason": " "}]"#, &["ignore[0], reason: it is empty: write something"]),
        (r#""ignore": [{"regexp": "x", "reason": 1}]"#, &["ignore[0], reason: it is a number"]),
        (
            r#""ignore": [{"regexp": "x", "until": "2027-02-29"}]"#,
            &["until: `2027-02-29` is not a day", "as 2027-03-01"],
        ),
        (r#""ignore": [{"regexp": "x", "until": "2027-2-1"}]"#, &["until: `2027-2-1` is not a day"]),
        (r#""ignore": [{"regexp": "x", "until": "2027-02-01T00:00:00Z"}]"#, &["is not a day", "the last day"]),
        (r#""ignore": [{"regexp": "x", "until": 20270201}]"#, &["until: it is a number, but must be a string"]),
        (r#""tests": []"#, &["tests: it is empty"]),
        (r#""tests": [5]"#, &["tests[0]: it is a number, but must be an object"]),
        (r#""tests": [{"alerts": true}]"#, &["tests[0]: give `record` or `records`, and only one of them"]),
        (r#""tests": [{"alerts": true, "record": {}, "records": [{}]}]"#, &["tests[0]: give `record` or `records`"]),
        (r#""tests": [{"alerts": true, "records": []}]"#, &["tests[0], records: it is empty"]),
        (r#""tests": [{"alerts": true, "records": [{}, 5, "x"]}]"#, &["tests[0]: a record must be an object"]),
        (r#""tests": [{"alerts": true, "record": "x"}]"#, &["tests[0]: a record must be an object"]),
        (r#""tests": [{"record": {}}]"#, &["tests[0]: `alerts` is missing: give true, false or the number"]),
        (r#""tests": [{"record": {}, "alerts": "yes"}]"#, &["tests[0], alerts: it must be true, false or a number"]),
        (
            r#""tests": [{"record": {}, "alerts": -1}]"#,
            &["alerts: it is -1, but must be a whole number", "false for none"],
        ),
        (r#""tests": [{"record": {}, "alerts": 1.5}]"#, &["alerts: it is 1.5, but must be a whole number"]),
        (r#""tests": [{"record": {}, "alerts": true, "name": ""}]"#, &["tests[0], name: it is empty"]),
        (r#""tests": [{"record": {}, "alerts": true, "rule": "r"}]"#, &["tests[0]: the key `rule` is not known"]),
        (r#""tags": []"#, &["tags: it is empty"]),
        (r#""tags": ["a", ""]"#, &["tags: it is empty: write something"]),
        (r#""references": "https://example.com""#, &["references: it is a string, but must be an array"]),
        (r#""references": [5]"#, &["references: it is a number, but must be a string"]),
        (r#""runbook": """#, &["runbook: it is empty: write something, or leave it out"]),
        (r#""author": 5"#, &["author: it is a number, but must be a string"]),
        (r#""enabled": "no""#, &["enabled: it is a string, but must be true or false, without quotes"]),
        (r#""dryRun": 0"#, &["dryRun: it is a number, but must be true or false"]),
        (r#""metrics": null"#, &["metrics: it is null, but must be true or false"]),
        (r#""enabeld": false"#, &["the key `enabeld` is not known; did you mean `enabled`?"]),
    ] {
        assert_refused(&rule(&format!(r#""regexp": "x", {keys}"#), ""), &[&["rule r"], parts].concat());
    }
    assert_refused(&rule(r#""regexp": "x""#, r#", "$schema": 5"#), &["$schema: it is a number, but must be a string"]);
}

#[test]
fn forms_of_other_languages_are_answered_with_those_of_this_one() {
    for (test, parts) in [
        ("[\"x\", \"y\"]", &["for several values write one pattern, such as `^(a|b)$`"]),
        ("5", &["where a: it is a number, but must be a pattern in quotes: \"^5$\""]),
        ("1.50", &["pattern in quotes: \"^1\\\\.50$\""]),
        ("true", &["where a: it is a boolean, but must be a pattern in quotes: \"^true$\""]),
        (
            r#"{"exists": true}"#,
            &[
                "where a: the key `exists` is not known; `\".\"` asks for any value; for an absent or a different one use `unless`",
            ],
        ),
        (r#"{"not": "x"}"#, &["where a: the key `not` is not known; `\".\"` asks for any value"]),
    ] {
        assert_refused(&rule(&format!(r#""where": {{"a": {test}}}"#), ""), parts);
    }
    for (keys, parts) in [
        (r#""Count": 5"#, &["the key `Count` is not known; to count matches, write {\"threshold\": {\"count\": 5, "]),
        (r#""groupBy": "x""#, &["the key `groupBy` is not known; to count matches, write "]),
    ] {
        assert_refused(&rule(&format!(r#""regexp": "x", {keys}"#), ""), parts);
    }
}

#[test]
fn comments_and_trailing_commas_are_fine_and_errors_name_the_place_in_the_file() {
    let commented = "// The rules of the team.\n{\n  \"$schema\": \"schema.json\", /* for\n editors */\n".to_owned()
        + &format!(
            "  {TOPIC},\n  \"rules\": [ {{ \"name\": \"r\", \"regexp\": \"//x/*\", }}, ], // the last\n}}\n// end"
        );
    let checked = check(&commented);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    let broken = commented.replace("], // the last", "] \"x\"");
    assert_refused(&broken, &["it is not valid JSON: ", "line 6 column "]);
    for (file, parts) in [
        ("{\"source\": \"a\", # no\n\"regexp\": \"b\"}", &["line 1 column 17"][..]),
        ("{\n'source': 'a'}", &["single-quoted strings", "line 2 column 1"]),
        ("{\"source\": \"a\"\n\"regexp\": \"b\"}", &["expected comma", "line 1 column 15"]),
        ("{\"source\": \"a\",, \"regexp\": \"b\"}", &["line 1 column 16"]),
        ("{source: \"a\"}", &["line 1 column 2"]),
        ("{\"maxAlertsPerLog\": 0x10}", &["hexadecimal", "line 1 column 21"]),
        ("{\"maxAlertsPerLog\": +1}", &["line 1 column 21"]),
        ("{\"maxAlertsPerLog\": .5}", &["line 1 column 21"]),
        ("{\"maxAlertsPerLog\": NaN}", &["line 1 column 21"]),
        ("{\"source\": \"\\x41\"}", &["escape", "line 1 column 13"]),
        ("{\"source\": \"\\ud800\"}", &["surrogate", "line 1 column 13"]),
        ("{\"source\": \"a\" /* open }", &["unterminated comment", "line 1 column 16"]),
        ("{\n\"rules\": [\n{}", &["unterminated", "line 2 column 10"]),
        ("{} {}", &["line 1 column 4"]),
        ("// nothing", &["there is no value"]),
        ("{\"source\":\n \"é\\\"s\n\"}", &["control character in a string", "line 2 column 7"]),
        ("{\"\t\": 1}", &["control character in a string", "line 1 column 3"]),
        ("// \u{a0}\u{1}\r{ /*/ \" \u{b} */ \"a\u{a0}\\\\\":\u{a0}1}", &["a blank that JSON", "line 1 column 27"]),
        ("{\u{c}}", &["a blank that JSON does not have", "line 1 column 2"]),
    ] {
        assert_refused(file, &[&["it is not valid JSON: "], parts].concat());
    }
}

#[test]
fn explanations_and_suggestions_end_before_they_take_minutes() {
    let any = vec![r#"{"regexp": "^x$"}"#; 25].join(",");
    let tests = vec![r#"{"record": {"eventName": "y"}, "alerts": true}"#; 25].join(",");
    let checked = check(&rule(&format!(r#""any": [{any}], "tests": [{tests}]"#), ""));
    let said: Vec<_> = checked.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let explained = |line: &str| checked.stderr.lines().filter(|said| *said == line).count();
    assert_eq!(
        [explained("  any[19]: regexp: `^x$` fails at `y`"), explained("  and 5 more")],
        [20, 20],
        "{checked:?}"
    );
    assert_eq!(said.len(), 25, "{checked:?}");
    assert!(said[24].ends_with("tests[24]: it expects at least one alert, but the rule makes none"), "{checked:?}");
    let entries = vec![r#"{"source": "^iam\\.amazonaws\\.com$", "regexp": "^CreateUsr$"}"#; 60].join(",");
    let checked = check(&rule(r#""regexp": "^CreateUser$""#, &format!(r#", "ignore": [{entries}]"#)));
    let ends = |end: &str| checked.stderr.lines().filter(|line| line.ends_with(end)).count();
    let (near, unknown) = (ends("; did you mean `CreateUser`?"), ends("; compare it with a record"));
    assert!(near > 20 && unknown > 0 && near + unknown == 60, "{checked:?}");
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for deep in [
        "[".repeat(100_000),
        "{\"rules\":".repeat(100_000),
        format!("{{\"rules\": {}{}}}", "[".repeat(50_000), "]".repeat(50_000)),
        rule(
            &format!(
                r#""regexp": "x", "tests": [{{"alerts": true, "record": {{"a": {}1{}}}}}]"#,
                "[".repeat(10_000),
                "]".repeat(10_000)
            ),
            "",
        ),
    ] {
        assert_refused(&deep, &["it is not valid JSON: ", "nesting depth", "line 1 column "]);
    }
    // As deep as it may be.
    let record = format!(r#"{{"eventName": "x", "a": {}1{}}}"#, "[".repeat(400), "]".repeat(400));
    let tests = format!(r#""regexp": "x", "where": {{"a": "1"}}, "tests": [{{"alerts": false, "record": {record}}}]"#);
    assert_eq!(check(&rule(&tests, "")).code, 0, "arrays of more than 32 levels have no texts");
}

#[cfg(target_os = "linux")]
#[test]
fn a_configuration_of_many_small_parts_takes_little_memory() {
    let many = |part: &str| vec![part; (1_000_000 - 500) / (part.len() + 1)].join(",");
    for (name, keys, code) in [
        ("tests", format!(r#""regexp": "x", "tests": [{}]"#, many(r#"{"alerts":false,"record":{}}"#)), 0),
        ("mistakes", format!(r#""regexp": "x", "tests": [{}]"#, many("{}")), 2),
        ("records", format!(r#""regexp": "x", "tests": [{{"alerts": 1, "records": [{}]}}]"#, many("{}")), 2),
        ("all", format!(r#""where": {{"a": {{"all": [{}]}}}}"#, many("\"1\"")), 2),
    ] {
        let folder = folder(&[("c.json", rule(&keys, "").as_bytes())]);
        let limited = format!("ulimit -d {} && exec '{}' check c.json", 96 << 10, crate::PROGRAM);
        let mut command = std::process::Command::new("sh");
        let output = command.env_clear().current_dir(folder.path()).args(["-c", &limited]).output().unwrap();
        let first: String = String::from_utf8_lossy(&output.stderr).chars().take(500).collect();
        assert_eq!(output.status.code(), Some(code), "{name}: {first}");
    }
}

//! Sigma's rules for CloudTrail as rules of a configuration: `import sigma`.

use serde_json::{Value, json};

use crate::program::{Run, folder, run_in};
use crate::rules::call;
use crate::{log, path};

const LOGINS: &str = r"title: Console login by somebody
id: 5c2f0d3e-0000-4000-8000-000000000001
status: test
license: DRL-1.1
description: |
    Somebody signed in
    to the console
author: Alice
references: [https://example.com/logins]
tags: [attack.initial-access, attack.t1078.004]
logsource:
    product: aws
    service: cloudtrail
detection:
    selection:
        eventSource: signin.amazonaws.com
        eventName: ConsoleLogin
    filter_admins:
        userIdentity.arn|endswith: ':user/admin'
        sourceIPAddress|cidr: [203.0.113.0/24, 198.51.100.7/32]
    filter_bots:
        userAgent|contains: 'curl/*'
    condition: selection and not 1 of filter_*
falsepositives: [People at work, Anything]
level: informational
";

const LOGINS_IMPORTED: &str = r#"{ "rules": [
  { "name": "sigma-logins", "severity": "info",
    "description": "Console login by somebody. Somebody signed in to the console. False positives: People at work. Anything. Licence: DRL-1.1.",
    "source": "(?i)^signin\\.amazonaws\\.com$", "regexp": "(?i)^ConsoleLogin$",
    "unless": { "userAgent": "(?i)curl/" },
    "ignore": [
      { "where": {
          "userIdentity.arn": "(?i):user/admin$",
          "sourceIPAddress": { "cidr": ["203.0.113.0/24", "198.51.100.7/32"] } } } ],
    "references": ["https://example.com/logins", "sigma:5c2f0d3e-0000-4000-8000-000000000001"],
    "tags": ["attack.initial-access", "attack.t1078.004"],
    "author": "Alice" }
] }
"#;

/// A rule for CloudTrail with this `detection`.
fn rule(detection: &str) -> String {
    format!("title: T\nlogsource: {{product: aws, service: cloudtrail}}\ndetection: {detection}\n")
}

fn import(files: &[(&str, &str)], paths: &[&str]) -> Run {
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    run_in(folder(&files).path(), &[&["import", "sigma"], paths].concat(), Vec::new())
}

/// The numbers of the records that an imported rule alerts on.
fn alerted(detection: &str, records: &[Value]) -> Vec<usize> {
    let imported = import(&[("r.yml", &rule(detection))], &["r.yml"]);
    assert_eq!(imported.code, 0, "{detection}: {imported:?}");
    let folder = folder(&[("c.json", imported.stdout.as_bytes())]);
    let numbered = records.iter().enumerate().map(|(number, record)| {
        let mut whole = call(number, "s3.amazonaws.com", "PutObject");
        whole.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
        whole
    });
    let records: Vec<_> = numbered.collect();
    let arguments = ["scan", "--config", "c.json", "--format", "json", "-"];
    let scanned = run_in(folder.path(), &arguments, log(&records));
    assert_eq!(scanned.code, 0, "{scanned:?}");
    let alerts = scanned.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    alerts.map(|alert| records.iter().position(|record| alert["event"] == *record).unwrap()).collect()
}

#[test]
fn a_sigma_rule_becomes_a_rule_with_all_that_it_says() {
    let imported = import(&[("logins.yml", LOGINS)], &["logins.yml"]);
    assert_eq!((imported.code, imported.stdout.as_str()), (0, LOGINS_IMPORTED), "{imported:?}");
    assert_eq!(imported.stderr, "1 rule imported, 0 files refused\n");
    let as_windows_writes_it = format!("\u{feff}{}", LOGINS.replace('\n', "\r\n"));
    assert_eq!(import(&[("logins.yml", &as_windows_writes_it)], &["logins.yml"]).stdout, imported.stdout);
    let folder = folder(&[("c.json", imported.stdout.as_bytes())]);
    let checked = run_in(folder.path(), &["check", "c.json"], Vec::new());
    assert_eq!((checked.code, checked.stdout.as_str()), (0, "c.json is valid: 1 rule\n"), "{checked:?}");
}

#[test]
fn each_value_of_sigma_matches_the_texts_that_it_means() {
    let texts = |values: &[&str]| values.iter().map(|text| json!({ "userAgent": text })).collect::<Vec<_>>();
    for (field, value, matching, others) in [
        ("userAgent", "aws-CLI", &["aws-cli", "AWS-CLI"][..], &["aws-cli/2", "", "xaws-cli"][..]),
        ("userAgent", "'a*c'", &["ac", "ABC", "a\nc"], &["abcd", "xac"]),
        ("userAgent", "'a?c'", &["abc", "a*c", "aéc"], &["ac", "abbc"]),
        ("userAgent", r"'a\*c'", &["a*c", "A*C"], &["abc", r"a\*c"]),
        ("userAgent", r"'a\\c'", &[r"a\c"], &[r"a\\c", "ac"]),
        ("userAgent", r"'a\b'", &[r"a\b"], &["ab"]),
        ("userAgent", "''", &[""], &["a", " "]),
        ("userAgent", "['a', '5', 'b*']", &["A", "5", "bc"], &["ab", "55"]),
        ("userAgent", "5", &["5"], &["5.0", "55"]),
        ("userAgent|contains", "'b.d'", &["ab.de", "B.D"], &["bcd"]),
        ("userAgent|contains|all", "[a, b]", &["ab", "B a"], &["a", "b"]),
        ("userAgent|startswith", "'a$'", &["A$b"], &["ba$"]),
        ("userAgent|endswith", "'z'", &["aZ"], &["za"]),
        ("userAgent|cased", "'Ab'", &["Ab"], &["ab", "AB"]),
        ("userAgent|re", r"'^a\d+$'", &["a12", "a12\n"], &["A12", "a", "a١", "a12\n\n", "a12\nb"]),
        ("userAgent|re|i", "'b'", &["aBc"], &["ac"]),
        ("userAgent|re|m", "'^b$'", &["a\nb\nc"], &["ab"]),
        ("userAgent|re|s", "'a.b'", &["a\nb"], &["ab"]),
        ("userAgent|cidr", "10.0.0.0/8", &["10.1.2.3"], &["11.1.2.3", "10.1.2.3/8", "x"]),
        ("userAgent|gt", "5", &["6", "5.5"], &["5", "4", "x"]),
        ("userAgent|lt", "5", &["4.9999", "-1"], &["5", "6", ""]),
        ("userAgent|gte", "5", &["5", "5.0"], &["4.9"]),
        ("userAgent|lte", "0.5", &["0.5", "-7"], &["0.51"]),
        ("userAgent", "1.5", &["1.5", "1.50"], &["1.51", "x"]),
    ] {
        let detection = format!("{{s: {{{field}: {value}}}, condition: s}}");
        let expected: Vec<usize> = (0..matching.len()).collect();
        assert_eq!(alerted(&detection, &texts(&[matching, others].concat())), expected, "{detection}");
        let negated = detection.replace("condition: s", "condition: not s");
        let expected: Vec<usize> = (matching.len()..matching.len() + others.len()).collect();
        assert_eq!(alerted(&negated, &texts(&[matching, others].concat())), expected, "{negated}");
    }
}

#[test]
fn each_form_of_a_field_matches_as_sigma_means_it() {
    for (detection, matching, others) in [
        (
            "{s: {errorCode: null}, condition: s}",
            vec![json!({}), json!({ "errorCode": null })],
            vec![json!({ "errorCode": "x" }), json!({ "errorCode": "" }), json!({ "errorCode": 0 })],
        ),
        (
            "{s: {requestParameters.enable: 'False'}, condition: s}",
            vec![
                json!({ "requestParameters": { "enable": false } }),
                json!({ "requestParameters": { "enable": "false" } }),
            ],
            vec![json!({ "requestParameters": { "enable": true } }), json!({ "requestParameters": null })],
        ),
        // An object's text is its JSON, and an array is any of its elements.
        (
            r#"{s: {requestParameters|contains: '"a":"B"'}, condition: s}"#,
            vec![json!({ "requestParameters": { "x": { "a": "b" } } })],
            vec![json!({ "requestParameters": { "a": "c" } })],
        ),
        (
            "{s: {requestParameters.a.b: x}, condition: s}",
            vec![json!({ "requestParameters": { "a": [{ "b": "y" }, { "b": ["x"] }] } })],
            vec![json!({ "requestParameters": { "a": ["x"] } }), json!({ "requestParameters": {} })],
        ),
        (
            "{s: {requestParameters.a: x}, condition: not s}",
            vec![json!({ "requestParameters": { "a": ["y", "z"] } }), json!({ "requestParameters": {} })],
            vec![json!({ "requestParameters": { "a": ["y", "x"] } })],
        ),
        (
            "{s: {userIdentity.userName|fieldref: requestParameters.userName}, condition: s}",
            vec![json!({ "userIdentity": { "userName": "a" }, "requestParameters": { "userName": "a" } })],
            vec![json!({ "userIdentity": { "userName": "a" }, "requestParameters": { "userName": "b" } }), json!({})],
        ),
        (
            "{s: {eventSource: S3.amazonaws.com, eventName: putobject}, condition: s}",
            vec![json!({})],
            vec![json!({ "eventName": "PutObjectAcl" }), json!({ "eventName": null }), json!({ "eventSource": "s3" })],
        ),
        (
            "{s: {eventName: 5, eventSource: true}, condition: s}",
            vec![json!({ "eventName": 5, "eventSource": true }), json!({ "eventName": "5", "eventSource": "True" })],
            vec![json!({ "eventName": 55, "eventSource": true }), json!({ "eventName": 5, "eventSource": false })],
        ),
    ] {
        let expected: Vec<usize> = (0..matching.len()).collect();
        assert_eq!(alerted(detection, &[matching, others].concat()), expected, "{detection}");
    }
}

#[test]
fn a_refused_file_gets_a_line_and_the_others_are_imported() {
    let files = [
        ("good.yml", rule("{s: {eventName: A}, condition: s}")),
        ("bad.yml", rule("{s: {a|exists: true}, condition: s}")),
        ("other.yml", rule("{s: {a: b}, condition: s}").replace("cloudtrail", "waf")),
        ("bytes.yml", "title: \u{1b}[2J\u{202e}".to_owned()),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let imported = import(&files, &["good.yml", "bad.yml", "other.yml", "bytes.yml", "missing.yml"]);
    assert_eq!(imported.code, 1, "{imported:?}");
    assert!(imported.stdout.contains("\"name\": \"sigma-good\""), "{imported:?}");
    let said: Vec<_> = imported.stderr.lines().collect();
    for (line, expected) in said.iter().zip([
        "error: bad.yml: `a`: `exists` tells an absent field from `null`",
        "error: other.yml: it is for other logs than CloudTrail's (product aws, service cloudtrail)",
        "error: bytes.yml: it is not a valid Sigma rule: ",
        "error: missing.yml: it can't be read: No such file",
        "1 rule imported, 3 files refused",
    ]) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(!imported.stderr.contains(['\u{1b}', '\u{202e}']), "{imported:?}");
}

#[test]
fn a_folder_gives_its_rules_for_cloudtrail_by_name_and_counts_the_rest() {
    let cloudtrail = rule("{s: {eventName: A}, condition: s}");
    let others = cloudtrail.replace("cloudtrail", "waf").replace("T\n", "Not for cloudtrail\n");
    let files = [
        ("rules/b/second.yaml", cloudtrail.as_str()),
        ("rules/a/first.yml", &cloudtrail),
        ("rules/a/other.yml", &others),
        ("rules/workflow.yml", "on: push"),
        ("rules/broken.yml", "a: [b"),
        ("rules/readme.md", "cloudtrail"),
    ];
    let imported = import(&files, &["rules"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(imported.stderr, "2 rules imported, 0 files refused, 3 files for other logs\n");
    let names: Vec<_> = imported.stdout.lines().filter_map(|line| line.split("\"name\": ").nth(1)).collect();
    assert_eq!(names, ["\"sigma-first\",", "\"sigma-second\","]);
}

#[test]
fn two_files_of_one_name_are_not_confused() {
    let text = rule("{s: {eventName: A}, condition: s}");
    let long = "x".repeat(120);
    let (one, other) = (format!("{long}1.yml"), format!("{long}2.yml"));
    let files = [("a/r.yml", text.as_str()), ("b/r.yaml", &text), (&one, &text), (&other, &text)];
    let imported = import(&files, &["a", "b", &one, &other]);
    assert_eq!(imported.code, 1, "{imported:?}");
    let said: Vec<_> = imported.stderr.lines().collect();
    assert!(
        said[0].ends_with("b/r.yaml: the rule of a/r.yml has the name `sigma-r` too: rename one of the files"),
        "{said:?}"
    );
    assert!(said[1].contains(&format!("the name `sigma-{}` too", "x".repeat(94))), "{said:?}");
    assert_eq!(said[2..], ["2 rules imported, 2 files refused"]);
}

#[test]
fn deprecated_rules_say_so() {
    for (status, expected) in [("deprecated", "T. Its authors call it deprecated."), ("stable", "T.")] {
        let text = format!("{}status: {status}\n", rule("{s: {eventName: A}, condition: s}"));
        let imported = import(&[("r.yml", &text)], &["r.yml"]);
        assert!(imported.stdout.contains(&format!("\"description\": \"{expected}\"")), "{imported:?}");
    }
}

#[test]
fn no_rule_at_all_is_a_valid_configuration_and_no_path_is_a_wrong_command_line() {
    let imported = import(&[("rules/x.yml", "a: b")], &["rules"]);
    assert_eq!((imported.code, imported.stdout.as_str()), (0, "{ \"rules\": [\n] }\n"), "{imported:?}");
    let empty = import(&[("rules/x.txt", "cloudtrail")], &["rules"]);
    let said = "error: rules: there is no .yml or .yaml file in it\n0 rules imported, 0 files refused\n";
    assert_eq!((empty.code, empty.stdout.as_str(), empty.stderr.as_str()), (1, "{ \"rules\": [\n] }\n", said));
    assert_eq!(import(&[], &[]).code, 2);
    assert_eq!(run_in(&path(""), &["import"], Vec::new()).code, 2);
}

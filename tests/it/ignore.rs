//! `ignore`: from an alert to the exception that silences it.

use serde_json::{Value, json};

use crate::program::{Run, folder, run, run_in};
use crate::{event, file, log, record};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";

/// Runs `ignore` on what stdin holds.
fn ignore(alert: &str) -> Run {
    run_in(folder(&[]).path(), &["ignore", "--from", "-"], alert.as_bytes().to_vec())
}

fn entry(alert: &Value) -> Value {
    let made = ignore(&alert.to_string());
    assert_eq!(made.code, 0, "{alert}: {made:?}");
    serde_json::from_str(&made.stdout).unwrap()
}

/// The entry once its user has filled it in.
fn filled(mut entry: Value) -> Value {
    entry["reason"] = json!("they do it every week");
    entry["until"] = json!("2027-03-01");
    entry
}

fn call(identity: Value) -> Value {
    let mut call = record(1);
    call["userIdentity"] = identity;
    call["eventTime"] = json!("2026-11-20T21:08:30Z");
    call
}

fn configuration(ignore: &[Value]) -> String {
    let rule = json!({ "name": "all", "where": { "eventName": "[a-zA-Z]" } });
    json!({ "sns": { "topicARN": TOPIC }, "rules": [rule], "ignore": ignore }).to_string()
}

/// The alerts of a log in JSON, with a configuration.
fn alerts(configuration: &str, log: &[u8]) -> Vec<Value> {
    let folder = folder(&[("c.json", configuration.as_bytes())]);
    let scanned = run_in(folder.path(), &["scan", "--config", "c.json", "--format", "json", "-"], log.to_vec());
    assert_eq!(scanned.code, 0, "{scanned:?}");
    scanned.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_entry_names_the_caller_exactly() {
    let account = ("userIdentity.accountId", "^123456789012$");
    let of_type = |pattern| ("userIdentity.type", pattern);
    let arn = |arn: &str| json!({ "type": "X", "accountId": "123456789012", "principalId": "AROAX:x", "arn": arn });
    let session = |name: &str| arn(&format!("arn:aws:sts::123456789012:assumed-role/{name}"));
    let mut by_alice = session("deploy/botocore-session-1763675310");
    by_alice["sessionContext"] = json!({ "sourceIdentity": "alice" });
    let mut as_root = arn("arn:aws:iam::123456789012:root");
    as_root["sessionContext"] = json!({ "assumedRoot": "true", "sourceIdentity": "alice" });
    for (identity, tests, is_for_role) in [
        (arn("arn:aws:iam::123456789012:root"), vec![("userIdentity.arn", "^arn:aws:iam::123456789012:root$")], false),
        (
            arn("arn:aws-cn:iam::123456789012:user/a.b/al.i+c-e=x@example.com"),
            vec![("userIdentity.arn", r"^arn:aws-cn:iam::123456789012:user/a\.b/al\.i\+c-e=x@example\.com$")],
            false,
        ),
        (
            session("deploy/release-42"),
            vec![("userIdentity.arn", "^arn:aws:sts::123456789012:assumed-role/deploy/release-42$")],
            false,
        ),
        (
            session("de.ploy/botocore-session-1763675310"),
            vec![("userIdentity.arn", r"^arn:aws:sts::123456789012:assumed-role/de\.ploy/")],
            true,
        ),
        (
            by_alice,
            vec![
                ("userIdentity.arn", "^arn:aws:sts::123456789012:assumed-role/deploy/"),
                ("userIdentity.sessionContext.sourceIdentity", "^alice$"),
            ],
            true,
        ),
        // A permission set's session has its person's name, even if that looks made up.
        (
            session("AWSReservedSSO_Admin_0123456789abcdef/1763675310"),
            vec![(
                "userIdentity.arn",
                "^arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/1763675310$",
            )],
            false,
        ),
        // The path of a user may look like a session.
        (
            arn("arn:aws:iam::123456789012:user/:assumed-role/deploy/1763675310"),
            vec![("userIdentity.arn", "^arn:aws:iam::123456789012:user/:assumed-role/deploy/1763675310$")],
            false,
        ),
        (
            as_root,
            vec![
                ("userIdentity.arn", "^arn:aws:iam::123456789012:root$"),
                ("userIdentity.sessionContext.assumedRoot", "^true$"),
            ],
            false,
        ),
        (
            json!({ "type": "AWSAccount", "principalId": "AROAQ:ci", "accountId": "123456789012" }),
            vec![account, ("userIdentity.principalId", "^AROAQ:ci$"), of_type("^AWSAccount$")],
            false,
        ),
        (
            json!({ "type": "AWSAccount", "principalId": "AROAQ:1763675310", "accountId": "123456789012" }),
            vec![account, ("userIdentity.principalId", "^AROAQ:"), of_type("^AWSAccount$")],
            true,
        ),
        (
            json!({ "type": "IdentityCenterUser", "accountId": "123456789012", "onBehalfOf": { "userId": "u-1" } }),
            vec![account, ("userIdentity.onBehalfOf.userId", "^u-1$"), of_type("^IdentityCenterUser$")],
            false,
        ),
        (
            json!({ "type": "AWSService", "invokedBy": "ec2.amazonaws.com" }),
            vec![("userIdentity.invokedBy", r"^ec2\.amazonaws\.com$"), of_type("^AWSService$")],
            false,
        ),
        (
            json!({ "type": "IAMUser", "arn": "", "principalId": null, "userName": "alice", "accountId": "123456789012" }),
            vec![account, ("userIdentity.userName", "^alice$"), of_type("^IAMUser$")],
            false,
        ),
    ] {
        let alert = call(identity);
        let made = ignore(&alert.to_string());
        assert_eq!(made.code, 0, "{alert}: {made:?}");
        let entry: Value = serde_json::from_str(&made.stdout).unwrap();
        let wheres: serde_json::Map<_, _> =
            tests.iter().map(|(path, text)| ((*path).to_owned(), json!(text))).collect();
        assert_eq!(entry["where"], Value::Object(wheres), "{alert}");
        let call = (&entry["source"], &entry["regexp"]);
        assert_eq!(call, (&json!(r"^iam\.amazonaws\.com$"), &json!("^CreateUser$")));
        assert_eq!(made.stderr.contains("all sessions of the role"), is_for_role, "{alert}: {made:?}");
        assert!(made.stdout.starts_with("{\n  \"source\": \"^iam\\\\.") && made.stdout.ends_with("\n}\n"), "{made:?}");
    }
}

#[test]
fn an_entry_is_refused_until_it_is_filled_in_and_then_silences_its_alert_and_nothing_else() {
    let callers = file("fixtures/callers.json");
    let all = alerts(&configuration(&[]), &callers);
    assert!(all.len() > 20, "{}", all.len());
    let mut entries = Vec::new();
    for alert in &all {
        let made = ignore(&alert.to_string());
        let event = &alert["event"];
        let call = |alert: &Value| ["eventSource", "eventName"].map(|key| alert["event"][key].clone());
        if made.code == 2 {
            assert!(made.stderr.contains("does not say who called what"), "{event}: {made:?}");
            continue;
        }
        let entry: Value = serde_json::from_str(&made.stdout).unwrap();
        let left = alerts(&configuration(&[filled(entry.clone())]), &callers);
        let is_left = |alert: &&Value| left.iter().any(|left| left["id"] == alert["id"]);
        let silenced: Vec<_> = all.iter().filter(|alert| !is_left(alert)).collect();
        assert!(silenced.contains(&alert), "{event}: {entry}");
        assert!(silenced.iter().all(|other| call(other) == call(alert)), "{event}: {silenced:?}");
        entries.push(entry);
    }
    assert!(entries.len() > 20, "{}", entries.len());
    let check = |entries: &[Value]| {
        let folder = folder(&[("c.json", configuration(entries).as_bytes())]);
        run_in(folder.path(), &["check", "c.json"], Vec::new())
    };
    let refused = check(&entries);
    assert_eq!((refused.code, refused.stderr.lines().count()), (2, 2 * entries.len()), "{refused:?}");
    for what in ["ignore[0], reason: it is empty", "ignore[0], until: `YYYY-MM-DD` is not a day"] {
        assert!(refused.stderr.contains(what), "{refused:?}");
    }
    let checked = check(&entries.into_iter().map(filled).collect::<Vec<_>>());
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(!checked.stderr.contains("ignore["), "an entry that check warns of: {}", checked.stderr);
}

#[test]
fn callers_with_similar_names_still_alert() {
    let by = |arn: &str| call(json!({ "type": "IAMUser", "arn": arn }));
    let user = by("arn:aws:iam::123456789012:user/al.ice");
    let others = [
        "arn:aws:iam::123456789012:user/al.ice2",
        "arn:aws:iam::123456789012:user/al-ice",
        "arn:aws:iam::999999999999:user/al.ice",
        "arn:aws:iam::123456789012:user/arn:aws:iam::123456789012:user/al.ice",
        "arn:aws:iam::123456789012:user/al.ice\n",
    ]
    .map(by);
    let mut calls = [std::slice::from_ref(&user), &others[..]].concat();
    for (key, other) in
        [("eventName", "CreateUser2"), ("eventSource", "iam.amazonaws.com.cn"), ("eventSource", "iam-amazonaws.com")]
    {
        let mut call = user.clone();
        call[key] = json!(other);
        calls.push(call);
    }
    for (n, call) in calls.iter_mut().enumerate() {
        call["eventID"] = json!(format!("e{n}"));
    }
    let configuration = configuration(&[filled(entry(&user))]);
    assert_eq!(alerts(&configuration, &log(&calls)).len(), calls.len() - 1);
}

#[test]
fn an_entry_takes_no_call_of_a_caller_who_shares_its_key() {
    let root = json!({ "type": "Root", "principalId": "123456789012", "accountId": "123456789012",
        "arn": "arn:aws:iam::123456789012:root" });
    let with = |identity: &Value, key: &str, value: Value| {
        let mut identity = identity.clone();
        identity[key] = value;
        identity
    };
    let as_root = with(&root, "sessionContext", json!({ "assumedRoot": "true" }));
    let signed_in = with(&root, "sessionContext", json!({ "attributes": { "mfaAuthenticated": "true" } }));
    let [root_without_arn, as_root_without_arn] = [&root, &as_root].map(|root| with(root, "arn", Value::Null));
    let by_service = json!({ "type": "AWSService", "invokedBy": "ec2.amazonaws.com" });
    let through_service = json!({ "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice",
        "accountId": "123456789012", "invokedBy": "ec2.amazonaws.com" });
    let bob = json!({ "type": "IAMUser", "userName": "bob", "accountId": "123456789012" });
    for (caller, other) in [
        (&root, &as_root),
        (&as_root, &root),
        (&signed_in, &as_root),
        (&root_without_arn, &as_root_without_arn),
        (&by_service, &through_service),
        (&bob, &with(&bob, "accountId", json!("999999999999"))),
    ] {
        let [mut taken, mut left] = [caller, other].map(|identity| call(identity.clone()));
        (taken["eventID"], left["eventID"]) = (json!("taken"), json!("left"));
        let configuration = configuration(&[filled(entry(&taken))]);
        let left_over = alerts(&configuration, &log(&[taken, left]));
        assert_eq!(left_over.iter().map(|alert| &alert["id"]).collect::<Vec<_>>(), ["left"], "{caller}");
    }
    let is_but_for = |identity: &Value| entry(&call(identity.clone()))["unless"].clone();
    assert_eq!(is_but_for(&root), json!({ "userIdentity.sessionContext.assumedRoot": "true" }));
    assert_eq!([is_but_for(&as_root), is_but_for(&bob)], [Value::Null, Value::Null]);
}

#[test]
fn an_alert_may_come_in_the_envelopes_in_which_people_have_it() {
    let record = call(json!({ "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice" }));
    let alert = json!({ "version": 1, "rules": ["r"], "event": record });
    let sns = json!({ "Type": "Notification", "TopicArn": TOPIC, "Subject": "s", "Message": alert.to_string() });
    let sqs = |body: &Value| json!({ "Messages": [{ "MessageId": "m", "Body": body.to_string() }] });
    let expected = entry(&record);
    for form in [
        alert.clone(),
        sns.clone(),
        sqs(&sns),
        sqs(&alert),
        json!({ "Records": [{ "eventSource": "aws:sqs", "body": sns.to_string() }] }),
        json!({ "Records": [{ "EventSource": "aws:sns", "Sns": sns }] }),
        json!({ "Records": [record] }),
        json!({ "Events": [{ "EventId": "e", "CloudTrailEvent": record.to_string() }] }),
        json!({ "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam", "detail": record }),
    ] {
        assert_eq!(entry(&form), expected, "{form}");
    }
    let json = "give one alert in the format json, or its record, which `cloudtrail-alerter scan --format json` prints";
    for (form, why) in [
        ("Event  : CreateUser\nSource : iam.amazonaws.com\n".to_owned(), "a message in text does not hold the record"),
        (json!({ "Records": [record, record] }).to_string(), "it has 2 Records"),
        (event("sqs-sns-alerts").to_string(), "it has 3 Records"),
        (json!({ "version": 1, "summary": { "more": 5 } }).to_string(), "a summary, which stands for many records"),
        (json!({ "version": "1.0", "source": "custom", "content": {} }).to_string(), "there is no record in it"),
        ("5".to_owned(), "there is no record in it"),
        (String::new(), "it is not JSON"),
    ] {
        let refused = ignore(&form);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{form}: {refused:?}");
        assert!(refused.stderr.starts_with("error: -: ") && refused.stderr.contains(why), "{form}: {refused:?}");
        assert!(refused.stderr.contains(json) && refused.stderr.lines().count() == 1, "{form}: {refused:?}");
    }
    for several in [format!("{alert}\n{alert}\n"), format!("{record}{record}{{")] {
        let refused = ignore(&several);
        let said = "error: -: it holds several alerts: give one, for example with `head -1`\n";
        assert_eq!((refused.code, refused.stderr.as_str()), (2, said));
    }
    let missing = run(&["ignore", "--from", "missing.json"]);
    assert_eq!((missing.code, missing.stderr.starts_with("error: missing.json: it can't be read: ")), (2, true));
}

#[test]
fn the_rules_of_the_alert_say_where_the_entry_belongs() {
    let said = |rules: Value| {
        let identity = json!({ "arn": "arn:aws:iam::123456789012:user/alice" });
        let alert = json!({ "version": 1, "rules": rules, "event": call(identity) });
        let sns = json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": alert.to_string() } }] });
        let [direct, by_sns] = [alert, sns].map(|alert| ignore(&alert.to_string()).stderr);
        assert_eq!(direct, by_sns);
        let end = "\nOr, for all rules, add it to `ignore` at the top level.\nFill in `reason`. Fill in `until`, the last day on which it counts, or leave it out. `check` reports\nboth blanks as errors until they are filled in.\n";
        direct.strip_suffix(end).unwrap_or_else(|| panic!("{direct}")).to_owned()
    };
    assert_eq!(said(json!(null)), "Add it to `ignore` in the alert's rule.");
    assert_eq!(said(json!(["own\u{202e}"])), "Add it to `ignore` in the rule own\\u202e.");
    assert_eq!(
        said(json!(["a", "cis-4.3-root-usage"])),
        "Add it to `ignore` in the rule a.\nAdd it to `ignore` in the rule cis-4.3-root-usage.\nIt is of a pack: write { \"name\": \"cis-4.3-root-usage\", \"ignore\": [ … ] } in `rules`."
    );
}

#[test]
fn a_record_that_names_nobody_makes_no_entry() {
    for identity in [
        json!({}),
        json!({ "type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL" }),
        json!({ "type": "AWSAccount", "principalId": "Anonymous", "accountId": "anonymous" }),
        json!({ "type": "IAMUser", "accountId": "123456789012", "userName": "HIDDEN_DUE_TO_SECURITY_REASONS" }),
        json!({ "type": "IAMUser", "accountId": "123456789012" }),
        // Their like are in other accounts, and of other types.
        json!({ "type": "IAMUser", "userName": "bob" }),
        json!({ "invokedBy": "ec2.amazonaws.com" }),
        json!({ "arn": ["arn:aws:iam::123456789012:user/alice"] }),
        json!("alice"),
    ] {
        let refused = ignore(&call(identity.clone()).to_string());
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{identity}: {refused:?}");
        assert!(refused.stderr.contains("does not say who called what"), "{identity}: {refused:?}");
        assert!(refused.stderr.contains("`unless`"), "{identity}: {refused:?}");
    }
    let mut nothing = call(json!({ "arn": "arn:aws:iam::123456789012:user/alice" }));
    nothing["eventSource"] = Value::Null;
    assert_eq!(ignore(&nothing.to_string()).code, 2);
    let huge = call(json!({ "arn": format!("arn:aws:iam::123456789012:user/{}", "x".repeat(400_000)) }));
    let refused = ignore(&huge.to_string());
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
}

#[test]
fn what_the_entry_would_silence_of_logs_is_counted_and_shown() {
    let by = |number: usize, name: &str| {
        let mut call = record(number);
        call["userIdentity"] = json!({ "arn": format!("arn:aws:iam::123456789012:user/{name}") });
        call["eventTime"] = json!(format!("2026-11-20T21:08:{number:02}Z"));
        call
    };
    let first: Vec<_> = (0..8).map(|n| by(n, if n == 3 { "bob" } else { "alice" })).collect();
    let mut ignored = by(20, "alice");
    ignored["requestParameters"]["userName"] = json!("drill");
    let configuration = json!({ "sns": { "topicARN": TOPIC }, "maxAlertsPerLog": 1, "rules": [
        { "name": "users", "regexp": "User" }, { "name": "unused", "regexp": "Role" } ],
        "ignore": [{ "where": { "requestParameters.userName": "^drill$" } }] });
    let folder = folder(&[
        ("c.json", configuration.to_string().as_bytes()),
        ("alert.json", by(1, "alice").to_string().as_bytes()),
        ("logs/a.json", &log(&first)),
        ("logs/b.json", &log(&[by(1, "alice"), ignored])),
        ("bad.json", b"{}"),
        ("wrong.json", b"{"),
    ]);
    let ignore = |arguments: &[&str]| {
        run_in(folder.path(), &[&["ignore", "--from", "alert.json", "--config"], arguments].concat(), Vec::new())
    };
    let shown = ignore(&["c.json", "logs"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout).unwrap()["regexp"], "^CreateUser$");
    let lines: Vec<&str> = shown.stderr.lines().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("In these logs (2 logs, 10 records, 1 repeat, from 2026-11-20T21:08:00Z to ")),
        "{shown:?}"
    );
    assert!(shown.stderr.contains("), it would silence 8 matches, 1 of them ignored:\n\nmatches "), "{shown:?}");
    let row = lines.iter().find(|line| line.contains("  users ")).unwrap();
    assert!(row.contains("user/alice (") && !row.contains("bob"), "{row}");
    assert!(!shown.stderr.contains("unused"), "{shown:?}");
    let examples: Vec<_> = lines.iter().filter(|line| line.starts_with("  2026-11-20T21:08:")).collect();
    assert_eq!(examples.len(), 5, "{shown:?}");
    assert!(examples[0].ends_with(r#"  00000000-0000-4000-8000-000000000000  {"userName":"user-0"}"#), "{examples:?}");
    // Without logs, the configuration does not matter.
    assert_eq!(ignore(&["missing.json"]).code, 0);
    let failed = ignore(&["c.json", "bad.json", "logs"]);
    assert_eq!((failed.code, failed.stdout.is_empty()), (1, false), "{failed:?}");
    assert!(failed.stderr.contains("error: bad.json: ") && failed.stderr.contains("silence 8 matches"), "{failed:?}");
    let wrong = ignore(&["wrong.json", "logs"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
    let missing = run_in(&folder.path().join("logs"), &["ignore", "--from", "../alert.json", "."], Vec::new());
    assert_eq!((missing.code, missing.stdout.as_str()), (2, ""), "{missing:?}");
    assert!(missing.stderr.contains("filter_config.json: it can't be read: "), "{missing:?}");
    assert!(missing.stderr.ends_with(": name the configuration with --config\n"), "{missing:?}");
    // Examples are also those of dry runs.
    let dry = configuration.to_string().replace("\"regexp\":\"User\"", "\"regexp\":\"User\",\"dryRun\":true");
    assert!(dry.contains("dryRun"), "{dry}");
    std::fs::write(folder.path().join("c.json"), dry).unwrap();
    let shown = ignore(&["c.json", "logs"]);
    assert_eq!(shown.stderr.lines().filter(|line| line.starts_with("  2026-11-20T21:08:")).count(), 5, "{shown:?}");
    std::fs::write(folder.path().join("c.json"), configuration.to_string().replace("User", "Nothing")).unwrap();
    let nothing = ignore(&["c.json", "logs"]);
    assert!(nothing.stderr.ends_with("), it would silence 0 matches\n"), "{nothing:?}");
    let both = run_in(folder.path(), &["ignore", "--from", "-", "--config", "c.json", "-"], Vec::new());
    assert_eq!((both.code, both.stderr.as_str()), (2, "error: -: stdin can't be both the alert and a log\n"));
}

#[test]
fn what_a_stranger_has_written_forges_no_line_and_stays_exact() {
    let odd = "x\u{202e}\u{1b}[31m\n\"error: forged\",\u{2028}\u{7f}😀$";
    let mut alert = call(json!({ "arn": format!("arn:aws:iam::123456789012:user/{odd}") }));
    alert["eventID"] = json!(odd);
    alert["requestParameters"] = json!({ odd: odd });
    let name = "\u{202e}.json";
    let folder = folder(&[("c.json", configuration(&[]).as_bytes()), (name, &log(&[alert.clone()]))]);
    std::fs::write(folder.path().join("alert"), alert.to_string()).unwrap();
    let made = run_in(folder.path(), &["ignore", "--from", "alert", "--config", "c.json", name], Vec::new());
    assert_eq!(made.code, 0, "{made:?}");
    for text in [&made.stdout, &made.stderr] {
        let harmless = |c: char| c == '\n' || !c.is_control() && !"\u{2028}\u{202e}".contains(c);
        assert!(text.chars().all(harmless), "{text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("\"error: forged")), "{text}");
    }
    assert!(made.stderr.contains(" 1 match:"), "{made:?}");
    let entry: Value = serde_json::from_str(&made.stdout).unwrap();
    let mut other = alert.clone();
    other["eventID"] = json!("2");
    other["userIdentity"]["arn"] = json!(format!("arn:aws:iam::123456789012:user/{odd}x"));
    let left = alerts(&configuration(&[filled(entry)]), &log(&[alert, other]));
    assert_eq!(left.iter().map(|alert| &alert["id"]).collect::<Vec<_>>(), ["2"]);
    let missing = run(&["ignore", "--from", name]);
    assert!(missing.code == 2 && missing.stderr.starts_with("error: \\u202e.json: "), "{missing:?}");
}

#[test]
fn help_shows_how_to_get_from_an_alert_to_its_entry() {
    let help = run(&["ignore", "--help"]);
    assert_eq!(help.code, 0);
    for part in ["Examples:\n  cloudtrail-alerter scan --format json ", "ignore --from alert.json AWSLogs/"] {
        assert!(help.stdout.contains(part), "{}", help.stdout);
    }
}

//! `scan --report`: a page in one file that asks nothing of any other place, whose numbers are those of the alerts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine as _;
use fastrand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Run, folder, run_in};
use crate::world::CONFIG;
use crate::{log, record};

/// Texts of a caller who would like to be more than a text.
const HOSTILE: [&str; 7] = [
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=alert(1)>",
    "</pre></details></main><h1>Nothing happened</h1>",
    "\u{202e}gnitset\u{202c}\u{200b}",
    "]]>--><!--",
    "' style='position:fixed' a='",
    "&lt;b&gt;",
];

/// A page, and the alerts that were printed beside it.
struct Report {
    page: String,
    run: Run,
    alerts: Vec<Value>,
}

impl Report {
    fn of(configuration: &Value, records: &[Value]) -> Self {
        let log = log(records);
        let files = [("c.json", &configuration.to_string().into_bytes()[..]), ("log.json", &log[..])];
        let folder = folder(&files);
        let run = run_in(
            folder.path(),
            &["scan", "--config", "c.json", "--format", "json", "--verbose", "--report", "r.html", "log.json"],
            Vec::new(),
        );
        assert_eq!(run.code, 0, "{}", run.stderr);
        let alerts = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let page = fs::read_to_string(folder.path().join("r.html")).unwrap().replace("<wbr>", "");
        Report { page, run, alerts }
    }

    /// The text behind each of these marks, up to the end of its element.
    fn texts(&self, mark: &str) -> Vec<String> {
        let texts = self.page.split(mark).skip(1).map(|rest| rest.split('<').next().unwrap());
        texts.map(unescaped).collect()
    }

    fn number(&self, id: &str) -> usize {
        self.texts(&format!("<dd id=\"{id}\">"))[0].parse().unwrap()
    }

    /// The part of the page that answers a question.
    fn section(&self, id: &str) -> &str {
        let (_, rest) = self.page.split_once(&format!("<section id=\"{id}\"")).unwrap();
        rest.split_once("</section>").unwrap().0
    }

    /// The edits: the messages that each saves, the rule's name, and the text to paste.
    fn edits(&self) -> Vec<(usize, String, String)> {
        let mut edits = Vec::new();
        for part in self.section("quieter").split("<summary><b>").skip(1) {
            let rule = part.split_once("</b>").unwrap().0;
            for edit in part.split("data-saved=\"").skip(1) {
                let saved = edit.split('"').next().unwrap().parse().unwrap();
                let text = edit.split_once("<code>").unwrap().1.split("</code>").next().unwrap();
                assert!(part.contains(&format!("ave {saved} of ")), "{part}");
                edits.push((saved, unescaped(rule), unescaped(text)));
            }
        }
        edits
    }

    fn assert_is_whole(&self, case: &str) {
        let Report { page, run, alerts } = self;
        assert!(page.len() <= 1_000_000, "{case}: {} bytes", page.len());
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.ends_with("</html>"), "{case}");
        // Nothing leads out of the page, and the policy lets nothing but its own style and script be.
        for attribute in ["src=", "href=", "url(", "action=", "@import"] {
            let mut rest = &page[..];
            while let Some(at) = rest.find(attribute) {
                rest = &rest[at + attribute.len()..];
                let is_in_tag = at > 0 && attribute == "href=" && rest.starts_with('"');
                assert!(!is_in_tag || rest.starts_with("\"#"), "{case}: {}", &rest[..60]);
            }
        }
        for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
            let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
            let (text, rest) = rest.split_once(&format!("</{element}>")).unwrap();
            assert!(!rest.contains(&format!("<{element}")), "{case}: another <{element}>");
            let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
            assert!(page.contains(&format!("{directive} 'sha256-{hash}'")), "{case}: {element}");
        }
        assert!(page.contains("content=\"default-src 'none'; "), "{case}");
        // Its numbers are those of the alerts, and of the table.
        assert_eq!(self.number("messages"), alerts.len(), "{case}");
        assert!(run.stderr.contains(&format!("{} match", self.number("matches"))), "{case}: {}", run.stderr);
        let mut by_rule = BTreeMap::<&str, usize>::new();
        for rule in alerts.iter().flat_map(|alert| alert["rules"].as_array().unwrap()) {
            *by_rule.entry(rule.as_str().unwrap()).or_default() += 1;
        }
        for (rule, messages) in by_rule {
            let said = format!("\n{rule} (");
            let block = run.stderr.split_once(&said).unwrap_or_else(|| panic!("{rule}: {}", run.stderr)).1;
            let said: usize = block.split_once("): ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, messages, "{case}: {rule}");
            let row = self.section("rules").split("<tr>").find(|row| row.contains(&format!("\">{rule}</a>")));
            let row = row.unwrap_or_else(|| panic!("{case}: {rule}"));
            let cell = row.split("<td class=\"n\">").nth(1).unwrap().split('<').next().unwrap();
            assert_eq!(cell, messages.to_string(), "{case}: {rule}");
        }
        let mut severities = BTreeMap::<&str, usize>::new();
        for alert in alerts {
            *severities.entry(alert["severity"].as_str().unwrap()).or_default() += 1;
        }
        for (severity, messages) in severities {
            assert!(self.section("when").contains(&format!(">{severity}: {messages}<")), "{case}: {severity}");
        }
    }
}

fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// A call of a caller at a minute of November 2026.
fn call(number: usize, event: &str, arn: &str, minute: usize) -> Value {
    let mut call = record(number);
    call["eventName"] = json!(event);
    call["userIdentity"] = json!({ "type": "IAMUser", "arn": arn });
    let (day, hour) = (1 + minute / 1_440, minute / 60 % 24);
    call["eventTime"] = json!(format!("2026-11-{day:02}T{hour:02}:{:02}:00Z", minute % 60));
    call["sourceIPAddress"] = json!(format!("203.0.113.{}", number % 7));
    call
}

fn user(name: &str) -> String {
    format!("arn:aws:iam::123456789012:user/{name}")
}

fn session(role: &str, session: &str) -> String {
    format!("arn:aws:sts::123456789012:assumed-role/{role}/{session}")
}

#[test]
fn a_page_for_nothing_for_an_ordinary_log_and_for_ten_thousand_hostile_alerts() {
    let rules = json!({ "packs": ["cis", "threats"], "rules": [
        { "name": "users", "regexp": "User", "severity": "high" },
        { "name": "creations", "regexp": "^Create", "severity": "low", "unless": { "eventName": "Role" } },
        { "name": "quiet", "regexp": "Role", "suppress": { "by": ["userIdentity.arn"], "for": "1d" } },
    ] });
    let nothing = Report::of(&rules, &[]);
    nothing.assert_is_whole("nothing");
    assert_eq!(nothing.number("messages"), 0);
    assert!(nothing.page.contains("No message would have been sent."));
    let calls: Vec<_> = (0..300)
        .map(|n| call(n, ["CreateUser", "CreateRole", "ListUsers"][n % 3], &user(["alice", "bob"][n % 2]), 100 * n))
        .collect();
    let ordinary = Report::of(&rules, &calls);
    ordinary.assert_is_whole("ordinary");
    assert!(ordinary.section("who").contains(&user("alice")) && ordinary.page.contains("<svg class=\"bars\""));
    assert_eq!(ordinary.number("days"), 21, "days with records");
    let calls: Vec<_> = (0..10_000)
        .map(|n| {
            let text = HOSTILE[n % HOSTILE.len()];
            let long = if n % 100 == 0 { "x<".repeat(5_000) } else { String::new() };
            let mut call = call(n, &format!("CreateUser{text}"), &(user(text) + &long + &n.to_string()), n);
            for key in ["userAgent", "sourceIPAddress", "awsRegion", "recipientAccountId", "errorMessage"] {
                call[key] = json!(format!("{text}{}", n % 1_000));
            }
            call["requestParameters"] = json!({ text: text });
            call
        })
        .collect();
    let hostile = Report::of(&json!({ "rules": rules["rules"] }), &calls);
    hostile.assert_is_whole("hostile");
    assert!(hostile.alerts.len() >= 10_000, "{}", hostile.alerts.len());
    let shown = hostile.page.split("</style>").nth(1).unwrap().split("<script>").next().unwrap();
    for text in ["<script", "<img", "<h1>Nothing", "\u{202e}", "\u{200b}", " onerror=alert(1)>", "<!--", "' style="] {
        assert!(!shown.contains(text) || text == "' style=", "{text}");
    }
    assert!(shown.contains("&lt;script&gt;") && shown.contains("\\u202e"), "they are shown as texts");
    for end in ["</main>", "</h1>"] {
        assert_eq!(shown.matches(end).count(), 1, "{end}");
    }
}

/// A configuration with an edit of the page in it.
fn edited(configuration: &Value, rule: &str, text: &str) -> Value {
    let mut configuration = configuration.clone();
    let is_whole = serde_json::from_str::<Value>(text).is_ok_and(|edit| edit.get("name").is_some());
    let mut edit: Value =
        serde_json::from_str(text).unwrap_or_else(|_| serde_json::from_str(&format!("{{{text}}}")).unwrap());
    let filled = |entry: &mut Value| {
        entry["reason"] = json!("A test.");
        entry.as_object_mut().unwrap().remove("until");
    };
    let rules = configuration["rules"].as_array_mut().unwrap();
    if is_whole {
        edit.get_mut("ignore").into_iter().for_each(|entries| filled(&mut entries[0]));
        rules.push(edit);
        return configuration;
    }
    let rule = rules.iter_mut().find(|known| known["name"] == rule).unwrap();
    if edit.get("source").is_some() {
        filled(&mut edit);
        let mut entries = rule["ignore"].as_array().cloned().unwrap_or_default();
        entries.push(edit);
        rule["ignore"] = json!(entries);
    } else {
        rule["suppress"] = edit["suppress"].clone();
    }
    configuration
}

/// Takes each edit of a page, scans again, and asserts that so many messages fewer are sent; gives the edits.
fn assert_exact(configuration: &Value, records: &[Value]) -> Vec<(usize, String, String)> {
    let report = Report::of(configuration, records);
    let edits = report.edits();
    for (saved, rule, text) in &edits {
        let after = Report::of(&edited(configuration, rule, text), records);
        assert_eq!(report.alerts.len() - after.alerts.len(), *saved, "{rule}: {text}\n{configuration}");
        assert!(*saved > 0, "{text}");
    }
    edits
}

#[test]
fn the_edit_that_saves_most_is_proposed_with_its_exact_number() {
    let rule = |severity: &str| json!({ "rules": [{ "name": "users", "regexp": "User", "severity": severity }] });
    let busy: Vec<_> = (0..60).map(|n| call(n, "CreateUser", &user("alice"), 10 * n)).collect();
    // Ten hours of one caller: a window of a day leaves one, an entry none.
    let [(saved, _, text), (less, _, window)] = &assert_exact(&rule("high"), &busy)[..] else { panic!() };
    assert_eq!((*less, window.as_str()), (59, r#""suppress": { "by": ["userIdentity.arn"], "for": "1d" }"#));
    assert!(
        *saved == 60 && text.contains("\"userIdentity.arn\": \"^arn:aws:iam::123456789012:user/alice$\""),
        "{text}"
    );
    // Of thirty callers, an entry takes only one.
    let many: Vec<_> = (0..60).map(|n| call(n, "CreateUser", &user(&format!("u{}", n % 30)), n)).collect();
    let [(saved, _, text)] = &assert_exact(&rule("high"), &many)[..] else { panic!() };
    assert_eq!((*saved, text.as_str()), (30, r#""suppress": { "by": ["userIdentity.arn"], "for": "1h" }"#));
    // Nobody should hold back what is critical.
    let [(saved, _, text)] = &assert_exact(&rule("critical"), &many)[..] else { panic!() };
    assert!(*saved == 2 && text.contains("\"userIdentity.arn\""), "{text}");
    // A program makes up the names of its sessions. One of them has a person's.
    let mut sessions: Vec<_> = (0..40)
        .map(|n| call(n, "CreateUser", &session("deploy", &format!("{}", 1_763_675_310 + n)), 1_000 * n))
        .collect();
    sessions.push(call(40, "CreateUser", &session("deploy", "alice"), 5));
    let [(saved, _, text)] = &assert_exact(&rule("high"), &sessions)[..] else { panic!() };
    assert!(*saved == 41 && text.contains("assumed-role/deploy/\""), "{saved} {text}");
    // A rule of a pack gets an override.
    let packs = json!({ "packs": ["cis"], "rules": [] });
    let roots: Vec<_> = (0..9)
        .map(|n| {
            let mut call = call(n, "CreateUser", "arn:aws:iam::123456789012:root", 200 * n);
            call["userIdentity"]["type"] = json!("Root");
            call["userIdentity"]["accountId"] = json!("123456789012");
            call
        })
        .collect();
    let edits = assert_exact(&packs, &roots);
    assert!(edits.iter().any(|(_, rule, text)| text.contains(&format!("\"name\": \"{rule}\""))), "{edits:?}");
}

#[test]
fn no_edit_is_proposed_whose_number_only_another_scan_could_tell() {
    let calls: Vec<_> = (0..60).map(|n| call(n, "CreateUser", &user("alice"), 10 * n)).collect();
    let with = |keys: &str| -> Value { serde_json::from_str(&format!("{{{keys}}}")).unwrap() };
    for keys in [
        // Others would not be beyond the limit.
        r#""maxAlertsPerLog": 10, "rules": [{"name": "r", "regexp": "User"}]"#,
        r#""maxAlertsPerLog": 10, "rules": [{"name": "r", "regexp": "User"}, {"name": "s", "regexp": "Create"}]"#,
        // Another rule sends the messages.
        r#""rules": [{"name": "r", "regexp": "User"}, {"name": "s", "regexp": "Create"}]"#,
        r#""rules": [{"name": "r", "regexp": "User", "dryRun": true}]"#,
        r#""rules": [{"name": "r", "regexp": "User", "suppress": {"by": ["awsRegion"], "for": "20m"}}]"#,
    ] {
        let configuration = with(keys);
        assert_eq!(assert_exact(&configuration, &calls), [], "{configuration}");
    }
    for (keys, saved) in [
        (r#""maxAlertsPerLog": 60, "rules": [{"name": "r", "regexp": "User"}]"#, &[60, 59][..]),
        // A window of a caller comes after the other steps.
        (
            r#""rules": [{"name": "r", "regexp": "User", "threshold": {"count": 2, "by": ["awsRegion"], "within": "20m"}}]"#,
            &[29],
        ),
        // The message goes to another topic.
        (
            r#""rules": [{"name": "r", "regexp": "User", "topicARN": "arn:aws:sns:us-east-1:123456789012:t"},
                {"name": "s", "regexp": "Create", "dryRun": true}]"#,
            &[60, 59],
        ),
    ] {
        let configuration = with(keys);
        let edits = assert_exact(&configuration, &calls);
        assert_eq!(edits.iter().map(|edit| edit.0).collect::<Vec<_>>(), saved, "{configuration}");
    }
}

#[test]
fn the_numbers_of_edits_are_exact_for_random_rules_and_callers() {
    let mut proposed = 0;
    for seed in 0..8 {
        let mut rng = Rng::with_seed(seed);
        let mut rules: Vec<_> = (0..rng.usize(1..5))
            .map(|n| {
                let regexp = ["User", "Create", "Role$", "^Delete", "."][rng.usize(..5)];
                let mut rule = json!({ "name": format!("r{n}"), "regexp": regexp });
                rule["severity"] = json!(["low", "high", "critical"][rng.usize(..3)]);
                if rng.u8(..4) == 0 {
                    rule["topicARN"] = json!("arn:aws:sns:us-east-1:123456789012:other");
                }
                if rng.u8(..4) == 0 {
                    rule["firstSeen"] = json!({ "by": ["sourceIPAddress"], "within": "3h" });
                }
                if rng.u8(..4) == 0 {
                    rule["ignore"] = json!([{ "where": { "userIdentity.arn": "user/u3" } }]);
                }
                rule
            })
            .collect();
        rules[0]["regexp"] = json!("User");
        let configuration = json!({ "rules": rules });
        let records: Vec<_> = (0..200)
            .map(|n| {
                let event = ["CreateUser", "DeleteUser", "CreateRole", "DeleteRole"][rng.usize(..4)];
                let arn = match rng.u8(..4) {
                    0 => session("deploy", &rng.u64(1_000_000_000..9_000_000_000).to_string()),
                    1 => session("deploy", "alice"),
                    _ => user(&format!("u{}", rng.u8(..6) * rng.u8(..2))),
                };
                let mut call = call(n, event, &arn, rng.usize(..4_000));
                match rng.u8(..12) {
                    0 => call["userIdentity"] = json!({ "type": "AWSService", "invokedBy": "ec2.amazonaws.com" }),
                    1 => call["userIdentity"]["sessionContext"] = json!({ "sourceIdentity": "alice" }),
                    2 => call["eventTime"] = json!("once"),
                    3 => call["userIdentity"] = json!({ "type": "IAMUser", "principalId": "AIDA", "accountId": "1" }),
                    _ => {}
                }
                call
            })
            .collect();
        proposed += assert_exact(&configuration, &records).len();
    }
    assert!(proposed > 8, "{proposed}");
}

#[test]
fn the_page_shows_the_first_and_the_most_recent_alert_of_each_rule_as_they_are_sent() {
    let configuration =
        json!({ "rules": [{ "name": "users", "regexp": "User" }, { "name": "once", "regexp": "Role" }] });
    let mut calls: Vec<_> =
        [50, 20, 90, 40].into_iter().enumerate().map(|(n, at)| call(n, "CreateUser", &user("a"), at)).collect();
    calls.push(call(9, "CreateRole", &user("a"), 30));
    let report = Report::of(&configuration, &calls);
    let folder = folder(&[("c.json", configuration.to_string().as_bytes()), ("log.json", &log(&calls))]);
    let texts = run_in(folder.path(), &["scan", "--config", "c.json", "log.json"], Vec::new());
    let alerts = texts.alerts();
    let shown = |n: usize| format!("{}\n\n{}", alerts[n].0, alerts[n].1.trim_end());
    let pres = report.section("alerts").split("<pre tabindex=\"0\">").skip(1);
    let pres: Vec<_> = pres.map(|pre| unescaped(pre.split("</pre>").next().unwrap())).collect();
    assert_eq!(pres, [shown(1), shown(2), shown(4)]);
}

#[test]
fn logs_that_can_not_be_read_are_named_on_the_page() {
    let folder = folder(&[("logs/good.json", &log(&[record(0)])), ("logs/<b>bad.json", b"{\"Records\":[{\"a\":")]);
    let run = run_in(folder.path(), &["scan", "--report", "r.html", "logs"], Vec::new());
    assert_eq!(run.code, 1);
    let page = fs::read_to_string(folder.path().join("r.html")).unwrap();
    assert!(page.contains("1 log</strong> could not be read") || page.contains("1 log could not be read"), "{page}");
    assert!(page.contains("logs/&lt;b&gt;bad.json: "), "{page}");
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_report_that_can_not_be_written_is_named_and_the_alerts_are_still_printed() {
    let folder = folder(&[("log.json", &log(&[record(0)])), ("r.html/file", b"")]);
    for file in ["nowhere/r.html", "r.html"] {
        let run = run_in(folder.path(), &["scan", "--report", file, "log.json"], Vec::new());
        assert_eq!((run.code, run.alerts().len()), (1, 1), "{run:?}");
        assert!(run.stderr.contains(&format!("error: {file}: the report can't be written: ")), "{run:?}");
    }
    // Where the name was forgotten, a log or the configuration would be overwritten.
    for file in ["-", "..", "log.json", CONFIG, "/dev/stdout"] {
        let run = run_in(folder.path(), &["scan", "--report", file, "log.json"], Vec::new());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(run.stderr.contains("--report needs the name of a file that ends in .html"), "{run:?}");
    }
    // A report takes the place of the one before, and nothing else is left.
    fs::write(folder.path().join("old.html"), "old").unwrap();
    let run = run_in(folder.path(), &["scan", "--report", "old.html", "log.json"], Vec::new());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(fs::read_to_string(folder.path().join("old.html")).unwrap().starts_with("<!DOCTYPE html>"));
    // It keeps a link and its permissions.
    let [link, file] = ["link.html", "kept.html"].map(|name| folder.path().join(name));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(run_in(folder.path(), &["scan", "--report", "link.html", "log.json"], Vec::new()).code, 0);
    assert!(link.is_symlink() && fs::read_to_string(&file).unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(names(folder.path()).iter().all(|name| !name.starts_with('.')), "{:?}", names(folder.path()));
}

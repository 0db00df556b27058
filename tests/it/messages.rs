//! The texts of messages, and the topics that they go to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::fake_aws::{Message, S3Fault};
use crate::golden::{assert_golden, shows};
use crate::program::{folder, run_in};
use crate::world::{
    BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, assert_counts, json_of, messages_of, put_keys, world, world_of, world_with,
};
use crate::{event, file, gzip, log, record, records};

const JSON_TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:json";
/// The first record of `fixtures/logs/iam-signin-sts.json`.
const FIRST: &str = "5a1e05f5-c5ca-424a-b837-959e25d6aea7";
const CHAT_TOPIC: &str = "arn:aws:sns:ap-southeast-2:123456789012:chat";

/// A configuration that sends each match to three topics, one per format. `extra` is added to each rule.
fn three_formats(extra: &Value) -> Value {
    let rule = |name: &str, topic: &str, format: &str| {
        saying(json!({ "name": name, "source": "iam", "topicARN": topic, "format": format }), extra)
    };
    json!({ "rules": [rule("t", TOPIC, "text"), rule("j", JSON_TOPIC, "json"), rule("c", CHAT_TOPIC, "chatbot")] })
}

/// What rules say beside their description.
fn sayings() -> Value {
    json!({
        "runbook": "Ask who made the user.\nIf nobody did, call <!here>.",
        "references": ["https://wiki.example/users?a=1&b=2", "https://attack.mitre.org/techniques/T1136/003/"],
        "tags": ["attack.t1136.003", "team:`identity`"],
    })
}

/// A rule that also says this.
fn saying(mut rule: Value, more: &Value) -> Value {
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

/// The title and the lines of a chat message in the form that Amazon Q Developer wants.
fn chat_of(message: &Message) -> (String, Vec<String>) {
    let body = json_of(message);
    let content = &body["content"];
    let (title, description) = (content["title"].as_str().unwrap(), content["description"].as_str().unwrap());
    let keywords = content["keywords"].as_array().unwrap();
    assert_eq!(keywords.last().unwrap(), message.attribute("severity").unwrap());
    let mut whole =
        json!({ "textType": "client-markdown", "title": title, "description": description, "keywords": keywords });
    if let Some(steps) = content.get("nextSteps") {
        assert!((1..=10).contains(&steps.as_array().unwrap().len()), "{steps}");
        whole["nextSteps"] = steps.clone();
    }
    let thread = body["metadata"]["threadId"].as_str().unwrap();
    let metadata = json!({ "threadId": thread });
    assert_eq!(body, json!({ "version": "1.0", "source": "custom", "content": whole, "metadata": metadata }));
    assert!(description.chars().count() <= 8_000);
    (title.to_owned(), description.lines().map(str::to_owned).collect())
}

fn line<'a>(message: &'a Message, label: &str) -> &'a str {
    let found = message.body.lines().find_map(|line| line.strip_prefix(&format!("{label:8}: ")));
    found.unwrap_or_else(|| panic!("no {label} in {}", message.body))
}

/// The subjects of each topic's messages, sorted.
fn by_topic(messages: &[Message]) -> BTreeMap<&str, Vec<&str>> {
    let mut topics: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for message in messages {
        topics.entry(&message.topic).or_default().push(&message.subject);
    }
    for subjects in topics.values_mut() {
        subjects.sort_unstable();
    }
    topics
}

/// The messages that have the rule in their attribute.
fn of_rule<'a>(messages: &'a [Message], rule: &str) -> Vec<&'a Message> {
    let names = |m: &Message| -> Vec<String> { serde_json::from_str(m.attribute("rule").unwrap()).unwrap() };
    messages.iter().filter(|m| names(m).iter().any(|name| name == rule)).collect()
}

/// A call in the session of a role, with secrets in its parameters and its answer.
fn telling_record() -> Value {
    let mut record = record(7);
    let session = "arn:aws:sts::123456789012:assumed-role/deployer/release-42";
    let more = json!({
        "userIdentity": { "type": "AssumedRole", "arn": session, "accountId": "123456789012" },
        "eventTime": "2026-11-20T21:08:30Z",
        "sourceIPAddress": "203.0.113.9",
        "userAgent": "aws-cli/2.15",
        "errorCode": "AccessDenied",
        "errorMessage": "not you",
        "requestParameters": { "userName": "bob", "oldPassword": "SECRET", "password": "SECRET" },
        "responseElements": { "credentials": { "sessionToken": "SECRET", "secretAccessKey": "SECRET" } },
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

#[tokio::test]
async fn the_messages_of_the_documentation() {
    let event = event("s3-put");
    let key = event["Records"][0]["s3"]["object"]["key"].as_str().unwrap();
    for (format, name) in [("text", "text.txt"), ("json", "json.json"), ("chatbot", "chatbot.json")] {
        let mut world = world().await;
        let mut configuration: Value = serde_json::from_slice(&file(CONFIG)).unwrap();
        configuration["format"] = json!(format);
        world.aws.put(BUCKET, CONFIG, configuration.to_string());
        world.aws.put(BUCKET, key, gzip(&file("fixtures/logs/iam-signin-sts.json")));
        world.counts(&event).await;
        let messages = world.aws.messages();
        assert_golden(name, &messages.iter().find(|m| m.attribute("eventID") == Some(FIRST)).unwrap().body);
    }
}

#[tokio::test]
async fn several_rules_make_one_message_that_names_all_and_the_account() {
    let configuration = json!({
        "accounts": { "123456789012": "production" },
        "rules": [
            { "name": "quiet", "regexp": "User", "severity": "low", "runbook": "Ask who made the user.",
              "references": ["https://wiki.example/users"], "tags": ["users", "attack.t1136.003"] },
            { "name": "loud", "regexp": "^Create", "severity": "critical", "runbook": "Call the owner.",
              "references": ["https://wiki.example/made", "https://wiki.example/users"],
              "tags": ["attack.t1136.003", "made", "users"] },
            { "name": "same", "regexp": "CreateUser", "runbook": "Ask who made the user.", "tags": ["made"] },
            { "name": "silent", "regexp": "CreateUser" },
            { "name": "other", "regexp": "Role", "runbook": "Not this.", "tags": ["other"] },
            { "name": "dry", "regexp": "User", "dryRun": true, "runbook": "Not this.", "tags": ["dry"] },
        ],
    });
    let messages = messages_of(&configuration, &[telling_record()]).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message.subject, "[critical] CreateUser by deployer/release-42 in production us-east-1");
    assert_golden("several-rules.txt", &message.body);
    let attribute = |name| message.attributes.iter().find(|a| a.0 == name).map(|a| (a.1.as_str(), a.2.as_str()));
    assert_eq!(attribute("rule"), Some(("String.Array", r#"["quiet","loud","same","silent"]"#)));
    assert_eq!(attribute("tag"), Some(("String.Array", r#"["users","attack.t1136.003","made"]"#)));
    assert_eq!(attribute("severity"), Some(("String", "critical")));
    assert_eq!(attribute("result"), Some(("String", "Failure")));
    assert_eq!(attribute("accountId"), Some(("String", "123456789012")), "its number, whatever its name");
}

#[tokio::test]
async fn json_is_the_whole_record_without_its_secrets() {
    let messages = messages_of(&three_formats(&json!({})), &[telling_record()]).await;
    let message = messages.iter().find(|m| m.topic == JSON_TOPIC).unwrap();
    let mut event = telling_record();
    event["requestParameters"] = json!({ "userName": "bob", "oldPassword": "****", "password": "****" });
    event["responseElements"] = json!({ "credentials": { "sessionToken": "****", "secretAccessKey": "****" } });
    let log = format!("s3://{BUCKET}/{KEY}");
    let who = &event["userIdentity"]["arn"];
    let whole = json!({
        "version": 1, "id": event["eventID"], "title": message.subject, "rules": ["j"], "severity": "medium",
        "result": "Failure", "who": who, "topic": JSON_TOPIC, "log": log, "event": event,
    });
    assert_eq!(json_of(message), whole);
    let start = format!(
        r#"{{"version":1,"id":{},"title":"{}","rules":["j"],"severity":"medium","result":"Failure","who":{who},"topic":"{JSON_TOPIC}","log":"{log}","event":{{"#,
        event["eventID"], message.subject
    );
    assert!(message.body.starts_with(&start), "{}", message.body);
}

#[tokio::test]
async fn a_chat_message_tells_what_the_text_tells() {
    let rule = json!({ "severity": "high", "description": "Somebody makes users." });
    let messages = messages_of(&three_formats(&rule), &[telling_record()]).await;
    let [chat, text] = [CHAT_TOPIC, TOPIC].map(|topic| messages.iter().find(|m| m.topic == topic).unwrap());
    assert_eq!(chat.subject, text.subject);
    let (title, lines) = chat_of(chat);
    assert_eq!(title, "[high] CreateUser by deployer/release-42 in 123456789012 us-east-1");
    assert_eq!(lines[0], "Somebody makes users.");
    for told in
        text.body.lines().filter_map(|line| line.split_once(": ")).map(|(_, told)| told.replace("t (high)", "c (high)"))
    {
        assert!(lines.iter().any(|line| line.contains(&told)), "no {told} in {lines:#?}");
    }
    let link = lines.iter().find(|line| line.contains("https://")).unwrap();
    assert!(link.ends_with("-000000000007") && !link.contains('`'), "it can be followed: {link}");
}

#[tokio::test]
async fn every_format_tells_what_its_rules_say() {
    let messages = messages_of(&three_formats(&sayings()), &[telling_record()]).await;
    let [text, object, chat] =
        [TOPIC, JSON_TOPIC, CHAT_TOPIC].map(|topic| messages.iter().find(|m| m.topic == topic).unwrap());
    for message in &messages {
        assert_eq!(message.attribute("tag"), Some(r#"["attack.t1136.003","team:`identity`"]"#));
    }
    let labels: Vec<_> = text.body.lines().filter_map(|line| Some(line.split_once(": ")?.0.trim_end())).collect();
    assert_eq!(labels[8..12], ["Response", "Runbook", "References", "Tags"]);
    let said = "\nRunbook : Ask who made the user.\\nIf nobody did, call <!here>.\n\
        References: https://wiki.example/users?a=1&b=2, https://attack.mitre.org/techniques/T1136/003/\n\
        Tags    : attack.t1136.003, team:`identity`\nFrom ";
    assert!(text.body.contains(said), "{}", text.body);

    let said = sayings();
    let start = format!(
        r#","runbooks":[{}],"references":{},"tags":{},"event":{{"#,
        said["runbook"], said["references"], said["tags"]
    );
    assert!(object.body.contains(&start), "{}", object.body);

    let content = &json_of(chat)["content"];
    assert_eq!(content["nextSteps"], json!(["Ask who made the user.\\nIf nobody did, call &lt;!here&gt;."]));
    let (_, lines) = chat_of(chat);
    let references =
        "*References:* https://wiki.example/users?a=1&amp;b=2, https://attack.mitre.org/techniques/T1136/003/";
    for line in [references, "*Tags:* `attack.t1136.003, team:'identity'`"] {
        assert!(lines.iter().any(|told| told == line), "no {line} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("made the user")), "the next steps have the runbook: {lines:#?}");
}

/// The first block of each format's section: the alert of a rule with a runbook.
#[tokio::test]
async fn the_manual_shows_the_same_alert_in_every_format() {
    let manual = String::from_utf8(file("docs/messages.md")).unwrap();
    let rule = json!({
        "name": "key-for-somebody-else", "severity": "high", "regexp": "^CreateAccessKey$",
        "description": "An access key was created for a named user.",
        "runbook": "Ask the caller why. If nobody can say, deactivate the key.",
        "references": ["https://attack.mitre.org/techniques/T1098/001/"],
        "tags": ["attack.t1098.001", "attack.persistence"],
    });
    for format in ["text", "json", "chatbot"] {
        let accounts = json!({ "123456789012": "production" });
        let mut world = world_of(&json!({ "format": format, "accounts": accounts, "rules": [rule] }), &[]).await;
        world.aws.put(BUCKET, KEY, file("fixtures/logs/iam-signin-sts.json"));
        world.counts(&put_keys(&[KEY])).await;
        let messages = world.aws.messages();
        let message = messages.iter().find(|message| message.attribute("result") == Some("Success")).unwrap();
        let whole = format!("Subject: {}\n\n{}", message.subject, message.body);
        let told = if format == "text" { &whole } else { &message.body };
        let section = manual.split(&format!("\n## {format}\n")).nth(1).unwrap();
        let shown = section.split("```\n").nth(1).unwrap();
        assert_eq!(shown.lines().count(), told.lines().count(), "{told}");
        for (shown, line) in shown.lines().zip(told.lines()) {
            assert!(shows(shown, line), "{shown:?} is not {line:?}");
        }
    }
}

#[tokio::test]
async fn no_format_shows_a_secret() {
    for message in messages_of(&three_formats(&json!({})), &[telling_record()]).await {
        assert!(message.body.contains("****") && !message.body.contains("SECRET"), "{}", message.body);
    }
}

#[tokio::test]
async fn callers_can_neither_mention_nor_link_nor_forge_in_a_chat() {
    let evil =
        "x](https://evil.example) <!channel> <https://evil.example|log in> `@here`\n*Rule:* none &lt; ``` \u{202e}";
    let mut record = record(1);
    record["userIdentity"] = json!({ "type": "IAMUser", "userName": evil });
    for key in ["eventName", "userAgent", "errorMessage", "eventTime", "awsRegion", "eventID", "recipientAccountId"] {
        record[key] = json!(evil);
    }
    record["requestParameters"] = json!({ evil: evil });
    let messages = messages_of(&three_formats(&json!({ "description": "Users." })), &[record]).await;
    let chat = messages.iter().find(|m| m.topic == CHAT_TOPIC).unwrap();
    let (title, lines) = chat_of(chat);
    let title = title.strip_prefix("[medium] `").and_then(|title| title.strip_suffix('`')).unwrap();
    assert!(!title.contains(['<', '>', '`', '\n']), "nothing in it is markup, since it is code: {title}");
    assert_eq!(lines[0], "Users.");
    let mut labels = BTreeSet::new();
    for line in &lines[1..] {
        let (label, value) = line.split_once(":* ").unwrap();
        assert!(labels.insert(label), "{label} is there twice: {lines:#?}");
        let Some(inside) = value.strip_prefix('`').and_then(|value| value.strip_suffix('`')) else {
            assert!(label == "*Console" && !value.contains([' ', '<', '(', ']', '@', '`']), "{line}");
            continue;
        };
        assert!(!inside.contains(['<', '>', '`', '\u{202e}']), "{line}");
    }
    assert!(labels.contains("*Rule") && labels.contains("*Who"), "{labels:?}");
}

#[tokio::test]
async fn a_chat_message_keeps_its_link_however_long_the_rest_is() {
    let mut record = telling_record();
    for key in ["userAgent", "errorMessage"] {
        record[key] = json!("&".repeat(3_000));
    }
    record["requestParameters"] = json!({ "document": "&".repeat(3_000) });
    let messages = messages_of(&three_formats(&json!({})), &[record]).await;
    let (_, lines) = chat_of(messages.iter().find(|m| m.topic == CHAT_TOPIC).unwrap());
    assert!(lines.iter().map(|line| line.chars().count() + 1).sum::<usize>() <= 8_000);
    for label in ["*Rule:*", "*Who:*", "*Console:* https://", "*Log:*"] {
        assert!(lines.iter().any(|line| line.starts_with(label)), "no {label}");
    }
    assert!(lines.iter().all(|line| line.matches('`').count() % 2 == 0), "what is code ends");
}

#[tokio::test]
async fn the_console_is_that_of_the_records_partition() {
    let regions = ["ap-southeast-2", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"];
    let mut calls = records(4);
    calls.iter_mut().zip(regions).for_each(|(call, region)| call["awsRegion"] = json!(region));
    let messages = messages_of(&json!({ "source": "iam", "regexp": "User" }), &calls).await;
    let hosts =
        ["console.aws.amazon.com", "console.amazonaws-us-gov.com", "console.amazonaws.cn", "console.amazonaws-eusc.eu"];
    for (n, message) in messages.iter().enumerate() {
        let (region, host) = (regions[n], hosts[n]);
        let home = format!("https://{region}.{host}/cloudtrailv2/home?region={region}");
        assert_eq!(line(message, "Console"), format!("{home}#/events/00000000-0000-4000-8000-00000000000{n}"));
    }
    assert_eq!(messages.len(), 4);
}

/// Every type of identity that AWS documents, and every way in which a call says that it failed.
#[tokio::test]
async fn every_caller_and_every_result_in_every_format() {
    let log: Value = serde_json::from_slice(&file("fixtures/callers.json")).unwrap();
    let records = log["Records"].as_array().unwrap();
    let mut bodies = Vec::new();
    for (format, golden) in [("text", "callers.txt"), ("json", "callers.json"), ("chatbot", "callers.chatbot.json")] {
        let mut world = world().await;
        let configuration = json!({ "source": ".", "regexp": ".", "format": format });
        world.aws.put(BUCKET, CONFIG, configuration.to_string());
        world.aws.put(BUCKET, KEY, file("fixtures/callers.json"));
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], records.len());
        let mut messages = world.aws.messages();
        messages.sort_by_key(|message| message.attribute("eventID").unwrap().to_owned());
        let is_text = format == "text";
        let shown =
            |m: &Message| if is_text { format!("Subject: {}\n\n{}", m.subject, m.body) } else { m.body.clone() };
        assert_golden(golden, &messages.iter().map(shown).collect::<Vec<_>>().join("\n"));
        bodies.push(messages);
    }
    let [texts, objects, chats] = &bodies[..] else { panic!("three formats") };
    for (((text, object), chat), record) in texts.iter().zip(objects).zip(chats).zip(records) {
        let (object, id) = (json_of(object), &record["eventID"]);
        let (who, identity) = (line(text, "Who"), &record["userIdentity"]);
        let kind = identity["type"].as_str().unwrap_or_default();
        assert!(who != kind && who != identity["principalId"] && who != identity["userName"], "{id}: {who}");
        assert_eq!(object["who"].as_str().unwrap_or("-"), who, "{id}");
        assert!(chat_of(chat).1.contains(&format!("*Who:* `{who}`")) || who == "-", "{id}");
        let result = text.attribute("result").unwrap();
        assert_eq!(object["result"], result, "{id}");
        assert_eq!(line(text, "Result") == "Success", result == "Success", "{id}");
        let arn = identity["arn"].as_str().unwrap_or_default();
        assert!(who.starts_with(arn), "{id}: {who} does not start with {arn}");
    }
}

/// The identities that `fixtures/callers.json` does not have.
#[tokio::test]
async fn who_is_the_most_complete_name_of_the_caller() {
    let arn = "arn:aws:iam::123456789012:user/team/alice";
    let session = "arn:aws:sts::123456789012:assumed-role/autoscaling/i-0abc";
    let root = "arn:aws:iam::123456789012:root";
    let root_session = |context: Value| {
        let mut context = context;
        context["assumedRoot"] = json!("true");
        json!({ "type": "Root", "arn": root, "principalId": "123456789012:alice", "sessionContext": context })
    };
    let cases = [
        (json!({ "type": "IAMUser", "arn": arn, "userName": "al", "principalId": "AIDA" }), arn, " by alice "),
        (
            json!({ "type": "AssumedRole", "arn": session, "invokedBy": "autoscaling.amazonaws.com" }),
            &format!("{session}, through autoscaling.amazonaws.com"),
            " by autoscaling/i-0abc ",
        ),
        (json!({ "type": "SAMLUser", "userName": "zoe", "principalId": "x:zoe" }), "zoe (provider x)", " by zoe "),
        (
            json!({ "type": "AWSService", "invokedBy": "cloudformation.amazonaws.com" }),
            "cloudformation.amazonaws.com (AWS service)",
            " by cloudformation.amazonaws.com ",
        ),
        (
            json!({ "type": "AWSAccount", "principalId": "AROAEXAMPLE:audit-session", "accountId": "111122223333" }),
            "AROAEXAMPLE:audit-session (account 111122223333)",
            " by audit-session (account 111122223333) in 123456789012 ",
        ),
        (
            json!({ "type": "AWSAccount", "accountId": "111122223333" }),
            "unidentified (AWSAccount, account 111122223333)",
            " by unidentified (account 111122223333) ",
        ),
        (
            json!({ "type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/eve", "accountId": "111122223333" }),
            "arn:aws:iam::111122223333:user/eve (account 111122223333)",
            " by eve (account 111122223333) in 123456789012 ",
        ),
        (json!({ "type": "Root", "arn": root }), root, " by root "),
        (
            json!({ "type": "Root", "accountId": "123456789012", "userName": "alias" }),
            "root (account 123456789012)",
            " by root ",
        ),
        (root_session(json!({})), &format!("{root} (AssumeRoot by alice)"), " by root (AssumeRoot by alice) "),
        (
            root_session(json!({ "sourceIdentity": "alice@example.com" })),
            &format!("{root} (AssumeRoot by alice@example.com)"),
            " by root (AssumeRoot by alice@example.com) ",
        ),
        (
            json!({ "type": "AssumedRole", "principalId": "AROAEXAMPLE:deploy", "accountId": "123456789012" }),
            "AROAEXAMPLE:deploy (account 123456789012)",
            " by deploy ",
        ),
        (
            json!({ "type": "Unknown", "principalId": "Anonymous", "accountId": "123456789012" }),
            "anonymous (account 123456789012)",
            " by anonymous ",
        ),
        (
            json!({ "type": "NewIdentity", "arn": "arn:aws:new::123456789012:thing/a/b", "principalId": "NEWEXAMPLE" }),
            "arn:aws:new::123456789012:thing/a/b (NewIdentity, principal NEWEXAMPLE)",
            " by b ",
        ),
        (json!({ "type": "NewIdentity" }), "unidentified (NewIdentity)", " by unidentified "),
        (json!({}), "-", "CreateUser in "),
    ];
    let call = |(n, (identity, _, _)): (usize, &(Value, &str, &str))| {
        let mut call = record(n);
        call["userIdentity"] = identity.clone();
        call
    };
    let calls: Vec<_> = cases.iter().enumerate().map(call).collect();
    let messages = messages_of(&json!({ "source": "iam", "regexp": "User" }), &calls).await;
    assert_eq!(messages.len(), cases.len());
    for (message, (identity, who, by)) in messages.iter().zip(&cases) {
        assert_eq!(line(message, "Who"), *who, "{identity}");
        assert!(message.subject.contains(by), "{identity}: {}", message.subject);
    }
}

#[tokio::test]
async fn scan_and_summaries_group_by_the_same_caller() {
    let configuration = json!({ "maxAlertsPerLog": 1, "source": "iam", "regexp": "User" });
    let mut calls = records(4);
    for call in &mut calls {
        call["userIdentity"] =
            json!({ "type": "AWSAccount", "principalId": "AROAEXAMPLE:deploy", "accountId": "999988887777" });
    }
    let who = "AROAEXAMPLE:deploy (account 999988887777)";
    let messages = messages_of(&configuration, &calls).await;
    let summary = messages.iter().find(|message| message.attribute("eventID").is_none()).unwrap();
    assert!(line(summary, "Who").contains(&format!("{who} (3)")), "{}", summary.body);
    let configuration = configuration.to_string();
    let folder = folder(&[("config.json", configuration.as_bytes()), ("log.json", &log(&calls))]);
    let scanned = run_in(folder.path(), &["scan", "--config", "config.json", "log.json"], Vec::new());
    assert!(scanned.stderr.contains(&format!("{who} (4)")), "{}", scanned.stderr);
}

/// The fake SNS reports what the real one would refuse.
#[tokio::test]
async fn every_format_stays_within_the_limits_of_sns() {
    let odd = "ü\u{2028}\u{1}🦊<&`\"\\\n";
    let kilobytes = |n: usize| odd.repeat(n * 1024 / odd.len());
    let mut calls = records(8);
    calls[0]["userAgent"] = json!(kilobytes(256));
    calls[1]["requestParameters"]["policy"] = json!(kilobytes(256));
    calls[2]["errorMessage"] = json!(kilobytes(256));
    calls[3]["eventName"] = json!(kilobytes(100));
    calls[4]["eventID"] = json!(kilobytes(100));
    calls[5]["userIdentity"] = json!({ "arn": kilobytes(200), "accountId": kilobytes(50) });
    calls[6]["awsRegion"] = json!(kilobytes(100));
    calls[7]["responseElements"] = (0..2_000).map(|n| json!({ format!("{n}"): odd.repeat(6) })).collect();
    let said = json!({
        "description": odd.repeat(500), "runbook": kilobytes(50), "references": [kilobytes(50), "b"],
        "tags": (0..3_000).map(|n| format!("{n}{odd}")).collect::<Vec<_>>(),
    });
    let messages = messages_of(&three_formats(&said), &calls).await;
    assert_eq!(messages.len(), 24);
    for message in &messages {
        match message.topic.as_str() {
            JSON_TOPIC => assert!(json_of(message)["event"].is_object()),
            CHAT_TOPIC => assert!(!chat_of(message).1.is_empty()),
            _ => assert!(message.body.starts_with("Event  : "), "{}", message.body),
        }
    }
    // Hundreds of rules on one record.
    let of = |format: &str, topic: &str| -> Vec<Value> {
        let description = odd.repeat(30);
        let rule = |n| {
            let name = format!("{format:.1}{n:02}{}", "ü".repeat(97));
            json!({ "name": name, "source": "iam", "topicARN": topic, "format": format, "description": description })
        };
        (0..100).map(rule).collect()
    };
    let rules = [of("text", TOPIC), of("json", JSON_TOPIC), of("chatbot", CHAT_TOPIC)].concat();
    let messages = messages_of(&json!({ "rules": rules }), &calls[1..2]).await;
    assert_eq!(messages.len(), 3);
    for message in &messages {
        let rules: Vec<String> = serde_json::from_str(message.attribute("rule").unwrap()).unwrap();
        assert_eq!(rules.len(), 100);
    }
}

#[tokio::test]
async fn each_match_goes_once_to_each_topic_that_its_rules_name() {
    let other = "arn:aws:sns:eu-west-1:123456789012:security";
    let configuration = json!({
        "sns": { "topicARN": TOPIC }, "source": "iam", "regexp": "User",
        "rules": [
            { "name": "creations", "regexp": "^Create", "severity": "high" },
            { "name": "keys", "regexp": "AccessKey", "severity": "info", "topicARN": other, "format": "json" },
            { "name": "deletions", "regexp": "^Delete", "severity": "critical", "topicARN": other },
            { "name": "roles", "regexp": "Role", "severity": "low", "topicARN": TOPIC },
        ],
    });
    let events = ["CreateUser", "CreateAccessKey", "DeleteAccessKey", "DeleteUser", "DeleteRole", "ListGroups"];
    let call = |(n, event): (usize, &&str)| {
        let mut call = record(n);
        call["eventName"] = json!(event);
        call
    };
    let calls: Vec<_> = events.iter().enumerate().map(call).collect();
    let mut world = world_of(&configuration, &calls).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    let expected = json!({
        "objects": 1, "logs": 1, "records": 6, "matched": 5, "unmatched": 1, "alerts": 8, "published": 8,
    });
    assert_counts(&counts, &expected);
    let messages = world.aws.messages();
    let place = "in 123456789012 us-east-1";
    let subjects = |list: &[&str]| list.iter().map(|what| format!("[{what} {place}")).collect::<Vec<_>>();
    let here = subjects(&["high] CreateAccessKey", "high] CreateUser", "low] DeleteRole", "medium] DeleteUser"]);
    let there = subjects(&[
        "critical] DeleteAccessKey", "critical] DeleteRole", "critical] DeleteUser", "info] CreateAccessKey",
    ]);
    assert_eq!(
        by_topic(&messages),
        BTreeMap::from([
            (TOPIC, here.iter().map(String::as_str).collect()),
            (other, there.iter().map(String::as_str).collect()),
        ])
    );
    for message in messages.iter().filter(|m| m.topic == other) {
        let body = json_of(message);
        assert_eq!(message.attribute("rule").unwrap(), body["rules"].to_string());
        assert_eq!(message.attribute("severity"), body["severity"].as_str());
    }
    let both = of_rule(&messages, "keys").into_iter().find(|m| m.subject.contains("DeleteAccessKey")).unwrap();
    assert_eq!(json_of(both)["rules"], json!(["keys", "deletions"]));
    let users = of_rule(&messages, "default");
    assert_eq!(
        users.iter().map(|m| m.attribute("rule").unwrap()).collect::<Vec<_>>(),
        [r#"["default","creations"]"#, r#"["default"]"#]
    );
}

/// Twelve calls by alice and bob, an hour apart, newest first; the last five delete.
fn flood() -> Vec<Value> {
    let mut calls = records(12);
    for (n, call) in calls.iter_mut().enumerate() {
        let who = ["alice", "bob", "alice"][n % 3];
        call["userIdentity"] = json!({ "type": "IAMUser", "arn": format!("arn:aws:iam::123456789012:user/{who}") });
        call["eventTime"] = json!(format!("2026-11-20T{:02}:00:00Z", 20 - n));
        call["eventName"] = json!(if n < 7 { "CreateUser" } else { "DeleteUser" });
    }
    calls
}

#[tokio::test]
async fn a_flood_is_summarised_and_nothing_goes_uncounted() {
    let configuration = json!({
        "maxAlertsPerLog": 3, "accounts": { "123456789012": "production" },
        "rules": [
            saying(json!({ "name": "users", "regexp": "User", "severity": "low" }), &sayings()),
            { "name": "deletions", "regexp": "^Delete", "severity": "critical" },
            saying(json!({ "name": "copy", "regexp": "^Create", "topicARN": JSON_TOPIC, "format": "json" }), &sayings()),
        ],
    });
    let mut world = world_of(&configuration, &flood()).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    // 3 of `users`, the 5 deletions, which are critical, 3 of `copy`, and two summaries.
    let expected = json!({
        "objects": 1, "logs": 1, "records": 12, "matched": 12, "alerts": 21, "published": 13, "summarised": 8,
    });
    assert_counts(&counts, &expected);
    let messages = world.aws.messages();
    let (summaries, single): (Vec<_>, Vec<_>) =
        messages.iter().cloned().partition(|m| m.attribute("eventID").is_none());
    assert_eq!(
        (of_rule(&single, "users").len(), of_rule(&single, "deletions").len(), of_rule(&single, "copy").len()),
        (8, 5, 3)
    );

    let [users] = of_rule(&summaries, "users")[..] else { panic!("{summaries:?}") };
    assert_eq!(users.topic, TOPIC);
    assert_eq!(users.subject, "[low] 4 more alerts of users in production us-east-1");
    assert_eq!(line(users, "Rule"), "users (low)");
    assert!(line(users, "More").starts_with("4 "), "{}", users.body);
    assert_eq!((line(users, "First"), line(users, "Last")), ("2026-11-20T14:00:00Z", "2026-11-20T17:00:00Z"));
    assert_eq!(line(users, "Who"), "arn:aws:iam::123456789012:user/alice (3), arn:aws:iam::123456789012:user/bob (1)");
    assert_eq!(line(users, "Log"), format!("s3://{BUCKET}/{KEY}"));
    assert_golden("summary.txt", &users.body);
    let names: Vec<_> = users.attributes.iter().map(|a| (a.0.as_str(), a.2.as_str())).collect();
    let expected = [
        ("accountId", "123456789012"),
        ("awsRegion", "us-east-1"),
        ("eventName", "CreateUser"),
        ("eventSource", "iam.amazonaws.com"),
        ("result", "Success"),
        ("rule", r#"["users"]"#),
        ("severity", "low"),
        ("tag", r#"["attack.t1136.003","team:`identity`"]"#),
    ];
    assert_eq!(names, expected);

    let [copy] = of_rule(&summaries, "copy")[..] else { panic!("{summaries:?}") };
    let principal =
        |who: &str, count: u64| json!({ "who": format!("arn:aws:iam::123456789012:user/{who}"), "count": count });
    let summary = json!({
        "more": 4, "first": "2026-11-20T14:00:00Z", "last": "2026-11-20T17:00:00Z",
        "events": [{ "source": "iam.amazonaws.com", "name": "CreateUser", "count": 4 }],
        "otherEvents": { "count": 0, "atLeast": false, "alerts": 0 },
        "principals": [principal("alice", 3), principal("bob", 1)],
        "otherPrincipals": { "count": 0, "atLeast": false, "alerts": 0 },
    });
    let log = format!("s3://{BUCKET}/{KEY}");
    let told = json_of(copy);
    let id = told["id"].as_str().unwrap();
    assert!(id.starts_with("summary of 4 copy in s3://"), "{id}");
    let body = json!({
        "version": 1, "id": id, "title": copy.subject, "rules": ["copy"], "severity": "medium", "result": "Success",
        "who": "arn:aws:iam::123456789012:user/alice (3), arn:aws:iam::123456789012:user/bob (1)",
        "topic": JSON_TOPIC, "log": log, "summary": summary,
        "runbooks": [sayings()["runbook"]], "references": sayings()["references"], "tags": sayings()["tags"],
    });
    assert_eq!(told, body);
    assert_golden("summary.json", &copy.body);

    // A retry of Lambda in the same environment sends nothing twice.
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["summarised"]), (&json!(0), &json!(8)));
    assert_eq!(world.aws.messages().len(), 0);
}

#[tokio::test]
async fn the_one_success_among_failures_is_not_summarised() {
    let mut calls = records(5);
    for (n, call) in calls.iter_mut().enumerate() {
        call["eventName"] = json!("ConsoleLogin");
        call["responseElements"] = json!({ "ConsoleLogin": if n == 3 { "Success" } else { "Failure" } });
    }
    let messages =
        messages_of(&json!({ "maxAlertsPerLog": 1, "rules": [{ "name": "l", "regexp": "Login" }] }), &calls).await;
    let alerts: Vec<_> =
        messages.iter().filter_map(|m| Some((m.attribute("eventID")?, m.attribute("result")?))).collect();
    let id = |n: usize| calls[n]["eventID"].as_str().unwrap();
    assert_eq!(alerts, [(id(0), "Failure"), (id(3), "Success")]);
}

#[tokio::test]
async fn a_retry_tells_of_the_part_of_a_flood_that_was_not_read_before() {
    let configuration = json!({ "maxAlertsPerLog": 1, "source": "iam", "regexp": "User" });
    let mut world = world_of(&configuration, &records(400)).await;
    world.aws.s3_fault(BUCKET, KEY, S3Fault::CutAfter(gzip(&log(&records(400))).len() / 2), usize::MAX);
    world.fails(&put_keys(&[KEY]), "LogUnavailable", &[]).await;
    world.aws.s3_fault(BUCKET, KEY, S3Fault::CutAfter(0), 0);
    world.aws.messages();
    world.counts(&put_keys(&[KEY])).await;
    let messages = world.aws.messages();
    let [summary] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(summary.subject, "[medium] 399 more alerts of default in 123456789012 us-east-1");
}

#[tokio::test]
async fn an_event_is_published_once_however_often_it_is_logged() {
    let rule = |name: &str, topic: &str| json!({ "name": name, "source": "iam", "topicARN": topic });
    let configuration = json!({ "rules": [rule("a", TOPIC), rule("b", JSON_TOPIC)] });
    let mut world = world_of(&configuration, &[record(1), record(2), record(1)]).await;
    world.aws.put(BUCKET, "second", log(&[record(2), record(3)]));
    let counts = world.counts(&put_keys(&[KEY, "second"])).await;
    let expected = json!({
        "objects": 2, "logs": 2, "records": 5, "matched": 5, "alerts": 10, "published": 6, "duplicates": 4,
    });
    assert_counts(&counts, &expected);
    let messages = world.aws.messages();
    for topic in [TOPIC, JSON_TOPIC] {
        let ids: Vec<_> = messages.iter().filter(|m| m.topic == topic).filter_map(|m| m.attribute("eventID")).collect();
        assert_eq!(ids, ["1", "2", "3"].map(|n| format!("00000000-0000-4000-8000-00000000000{n}")), "{topic}");
    }
    // The same events in a third log, some minutes later.
    world.aws.put(BUCKET, "third", log(&[record(3), record(4)]));
    let counts = world.counts(&put_keys(&["third"])).await;
    assert_eq!((&counts["published"], &counts["duplicates"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn ignored_records_are_counted_and_not_alerted_on() {
    let configuration = json!({
        "source": "iam", "regexp": "User",
        "ignore": [
            { "where": { "requestParameters.userName": "-[13]$" }, "unless": { "awsRegion": "west" } },
            { "source": "nothing" },
        ],
    });
    let mut calls = records(5);
    calls[3]["awsRegion"] = json!("us-west-2");
    calls[4]["eventName"] = json!("ListRoles");
    calls[4]["requestParameters"]["userName"] = json!("user-1");
    let mut world = world_of(&configuration, &calls).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    let expected = json!({
        "objects": 1, "logs": 1, "records": 5, "matched": 3, "ignored": 1, "unmatched": 1, "alerts": 3, "published": 3,
    });
    assert_counts(&counts, &expected);
    let numbers: Vec<_> =
        world.aws.messages().iter().map(|m| m.attribute("eventID").unwrap()[35..].to_owned()).collect();
    assert_eq!(numbers, ["0", "2", "3"]);
}

#[tokio::test]
async fn a_record_that_very_many_rules_match_still_makes_a_message() {
    for format in ["text", "json", "chatbot"] {
        let mut world = world_with(&[], TIMEOUT).await;
        let name = |n: usize| format!("{n}{}", "\"ü".repeat(48));
        let rules: Vec<_> = (0..3000).map(|n| json!({ "name": name(n), "regexp": "User" })).collect();
        let configuration = json!({ "format": format, "sns": { "topicARN": TOPIC }, "rules": rules });
        world.aws.put(BUCKET, CONFIG, configuration.to_string());
        world.aws.put(BUCKET, KEY, log(&records(1)));
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1, "{format}");
        let messages = world.aws.messages();
        let told: Vec<String> = serde_json::from_str(messages[0].attribute("rule").unwrap()).unwrap();
        assert_eq!(told[0], name(0));
        assert_eq!(*told.last().unwrap(), format!("({} more)", 3000 - (told.len() - 1)));
        if format == "json" {
            let body = json_of(&messages[0]);
            assert_eq!((&body["rules"], &body["event"]), (&json!(told), &record(0)));
        }
    }
}

#[tokio::test]
async fn another_log_under_the_same_key_has_a_summary_of_its_own() {
    let configuration = json!({ "maxAlertsPerLog": 1, "rules": [{ "name": "users", "regexp": "User" }] });
    let mut world = world_of(&configuration, &records(4)).await;
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2);
    world.aws.put(BUCKET, KEY, log(&(4..8).map(record).collect::<Vec<_>>()));
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2);
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["duplicates"]), (&json!(0), &json!(2)), "it is known again");
}

#[tokio::test]
async fn a_summary_is_as_safe_and_bounded_as_an_alert() {
    for format in ["text", "json", "chatbot"] {
        let mut world = world_with(&[], TIMEOUT).await;
        let configuration = json!({ "maxAlertsPerLog": 1, "source": "iam", "regexp": "User", "format": format,
            "sns": { "topicARN": TOPIC } });
        world.aws.put(BUCKET, CONFIG, configuration.to_string());
        let mut calls = records(4);
        for (number, call) in calls.iter_mut().enumerate() {
            let name = format!("{number}\u{2028}\u{202e}\u{ffff}\u{9b}{}", "x".repeat(150_000));
            call["userIdentity"] = json!({ "type": "SAMLUser", "userName": name });
        }
        world.aws.put(BUCKET, KEY, log(&calls));
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 2, "{format}");
        let messages = world.aws.messages();
        let [summary] = &messages.iter().filter(|m| m.subject.contains("3 more")).collect::<Vec<_>>()[..] else {
            panic!("{format}: {messages:?}")
        };
        assert!(summary.body.len() < 20_000, "{format}: {} bytes", summary.body.len());
        assert!(!summary.body.contains(['\u{2028}', '\u{202e}', '\u{ffff}', '\u{9b}']), "{format}");
        if format == "json" {
            let principals = &json_of(summary)["summary"]["principals"];
            assert!(principals[0]["who"].as_str().unwrap().starts_with("1\u{2028}\u{202e}\u{ffff}\u{9b}x"));
        }
    }
}

#[tokio::test]
async fn a_fifo_topic_groups_by_account_and_knows_events_and_summaries_again() {
    let topic = format!("{TOPIC}.fifo");
    let configuration =
        json!({ "maxAlertsPerLog": 1, "source": "iam", "regexp": "User", "sns": { "topicARN": topic } });
    let mut calls = records(4);
    calls[3]["recipientAccountId"] = json!("111122223333");
    let mut runs = Vec::new();
    for _ in 0..2 {
        // Another environment, without a memory of the first, must send the same IDs.
        let mut world = world_with(&[], TIMEOUT).await;
        world.aws.put(BUCKET, CONFIG, configuration.to_string());
        world.aws.put(BUCKET, KEY, log(&calls));
        world.aws.put(BUCKET, "other", log(&[calls[3].clone(), record(4), record(5), record(6)]));
        assert_eq!(world.counts(&put_keys(&[KEY, "other"])).await["published"], 4);
        let ids = |m: Message| (m.subject, m.group_id.unwrap(), m.deduplication_id.unwrap());
        runs.push(world.aws.messages().into_iter().map(ids).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
    let groups: Vec<_> = runs[0].iter().map(|run| run.1.as_str()).collect();
    let ids: BTreeSet<_> = runs[0].iter().map(|run| run.2.as_str()).collect();
    assert_eq!(ids.len(), 4, "both logs have a summary of three: {runs:?}");
    assert_eq!(groups.iter().filter(|group| **group == "111122223333").count(), 1, "{runs:?}");
    for n in [0, 3] {
        assert!(ids.contains(&*format!("00000000-0000-4000-8000-00000000000{n}")), "{ids:?}");
    }
}

#[test]
fn a_summary_tells_what_its_alerts_had_to_tell() {
    let rule = json!({ "name": "r", "regexp": ".", "suppress": { "by": ["awsRegion"], "for": "1m" } });
    let configuration = json!({ "maxAlertsPerLog": 1, "rules": [rule] }).to_string();
    let at = |second: usize| {
        json!({
            "eventName": "CreateUser", "awsRegion": "r", "eventID": second.to_string(),
            "eventTime": format!("2026-11-20T21:{:02}:{:02}Z", second / 60, second % 60),
        })
    };
    let folder = folder(&[
        ("c.json", configuration.as_bytes()),
        ("a.json", &log(&(0..600).map(at).collect::<Vec<_>>())),
        ("b.json", &log(&[at(600)])),
    ]);
    let scanned =
        run_in(folder.path(), &["scan", "--config", "c.json", "--format", "json", "a.json", "b.json"], Vec::new());
    let held = |line: &str| serde_json::from_str::<Value>(line).unwrap()["held"]["count"].as_u64().unwrap_or(0);
    assert_eq!(scanned.stdout.lines().map(held).collect::<Vec<_>>(), [0, 9 * 59, 59], "{scanned:?}");
}

//! What a message must not show: secrets, invisible characters, and an event that hides in a flood.

use serde_json::{Map, Value, json};

use crate::fake_aws::Message;
use crate::world::{KEY, TOPIC, json_of, messages_of, put_keys, world_of};
use crate::{record, records};

const FORMATS: [&str; 3] = ["text", "json", "chatbot"];

/// Calls of AWS's APIs with `HUSH` wherever they carry a secret, and what is shown of each as JSON.
const CALLS: &[(&str, &str)] = &[
    (
        r#"{"masterUserPassword":"HUSH","manageMasterUserPassword":false}"#,
        r#"{"masterUserPassword":"****","manageMasterUserPassword":false}"#,
    ),
    (r#"{"NewPassword":["HUSH",{"a":"HUSH"}],"n":1}"#, r#"{"NewPassword":"****","n":1}"#),
    (
        r#"{"name":"db","secretString":"{\"user\":\"HUSH\"}","secretBinary":[72,85]}"#,
        r#"{"name":"db","secretString":"****","secretBinary":"****"}"#,
    ),
    (
        r#"{"authenticateOidcConfig":{"clientId":"c","clientSecret":"HUSH"}}"#,
        r#"{"authenticateOidcConfig":{"clientId":"c","clientSecret":"****"}}"#,
    ),
    (
        r#"{"clientId":"c","secretHash":"HUSH","authParameters":{"REFRESH_TOKEN":"HUSH"}}"#,
        r#"{"clientId":"c","secretHash":"****","authParameters":{"REFRESH_TOKEN":"****"}}"#,
    ),
    (r#"{"certificate":{"hb":[1]},"privateKey":{"hb":["HUSH"]}}"#, r#"{"certificate":{"hb":[1]},"privateKey":"****"}"#),
    (
        r#"{"keyName":"k","keyMaterial":"HUSH","privateKeyBase64":"HUSH"}"#,
        r#"{"keyName":"k","keyMaterial":"****","privateKeyBase64":"****"}"#,
    ),
    (
        r#"{"sAMLAssertion":"HUSH","webIdentityToken":"HUSH","roleArn":"r"}"#,
        r#"{"sAMLAssertion":"****","webIdentityToken":"****","roleArn":"r"}"#,
    ),
    (
        r#"{"credentials":{"accessKeyId":"AKIAIOSFODNN7EXAMPLE","SESSIONTOKEN":"HUSH","secretaccesskey":"HUSH"}}"#,
        r#"{"credentials":{"accessKeyId":"AKIAIOSFODNN7EXAMPLE","SESSIONTOKEN":"****","secretaccesskey":"****"}}"#,
    ),
    (
        r#"{"accessToken":"HUSH","idToken":"HUSH","tokenType":"Bearer","expiresIn":60}"#,
        r#"{"accessToken":"****","idToken":"****","tokenType":"Bearer","expiresIn":60}"#,
    ),
    (
        r#"{"options":{"tunnelOptions":[{"preSharedKey":"HUSH","startupAction":"add"}]}}"#,
        r#"{"options":{"tunnelOptions":[{"preSharedKey":"****","startupAction":"add"}]}}"#,
    ),
    (
        r#"{"X-Amz-Date":"d","X-Amz-Security-Token":"HUSH","X-Amz-Signature":"HUSH"}"#,
        r#"{"X-Amz-Date":"d","X-Amz-Security-Token":"****","X-Amz-Signature":"****"}"#,
    ),
    (
        r#"{"url":"https://b.example/k?X-Amz-Date=d&X-Amz-Signature=HUSH"}"#,
        r#"{"url":"https://b.example/k?X-Amz-Date=d&X-Amz-Signature=****"}"#,
    ),
    (
        r#"{"environment":{"variables":{"LD_PRELOAD":"HUSH"}}}"#,
        r#"{"environment":{"variables":{"LD_PRELOAD":"****"}}}"#,
    ),
    (
        r#"{"containerDefinitions":[{"name":"c","environment":[{"name":"A","value":"HUSH"}]}]}"#,
        r#"{"containerDefinitions":[{"name":"c","environment":[{"name":"A","value":"****"}]}]}"#,
    ),
    (
        r#"{"environmentVariablesOverride":[{"name":"A","value":"HUSH","type":"PLAINTEXT"}]}"#,
        r#"{"environmentVariablesOverride":[{"name":"A","value":"****","type":"PLAINTEXT"}]}"#,
    ),
    (r#"{"attribute":"userData","userData":{"value":"HUSH"}}"#, r#"{"attribute":"userData","userData":"****"}"#),
    (
        r#"{"document":"{ \"a\": \"{\\\"dbPassword\\\":\\\"HUSH\\\"}\" }"}"#,
        r#"{"document":"{ \"a\": \"{\\\"dbPassword\\\":\\\"****\\\"}\" }"}"#,
    ),
    (
        r#"{"command":["sh","-c","login --password=HUSH '{\"token\":\"HUSH\"}'"]}"#,
        r#"{"command":["sh","-c","login --password=**** '{\"token\":\"****\"}'"]}"#,
    ),
    (
        r#"{"parameters":[{"parameterValue":"HUSH","parameterKey":"DBPassword"},{"parameterValue":"1","parameterKey":"Port"}]}"#,
        r#"{"parameters":[{"parameterValue":"****","parameterKey":"DBPassword"},{"parameterValue":"1","parameterKey":"Port"}]}"#,
    ),
    (
        r#"{"headerParameters":[{"value":"HUSH","key":"X-Pin","isValueSecret":true},{"key":"X-Pin","value":"1","isValueSecret":false}]}"#,
        r#"{"headerParameters":[{"value":"****","key":"X-Pin","isValueSecret":true},{"key":"X-Pin","value":"1","isValueSecret":false}]}"#,
    ),
    (
        r#"{"name":"/prod/db","value":"HUSH","type":"SecureString"}"#,
        r#"{"name":"/prod/db","value":"****","type":"SecureString"}"#,
    ),
    (
        r#"{"templateBody":"Resources:\n  Db:\n    MasterUserPassword: HUSH\n    Port: 1\n"}"#,
        r#"{"templateBody":"Resources:\n  Db:\n    MasterUserPassword: ****\n    Port: 1\n"}"#,
    ),
    (
        r#"{"commands":["curl -H 'Authorization: Bearer HUSH' https://bob:HUSH@b.example","mysql --password HUSH -h db"],"args":["--password","HUSH"]}"#,
        r#"{"commands":["curl -H 'Authorization: ****' https://bob:****@b.example","mysql --password **** -h db"],"args":["--password","****"]}"#,
    ),
    (
        r#"{"apiKey":{"id":"HUSH"},"createApiKeyInput":{"name":"k","value":"HUSH"},"headers":{"x-api-key":"HUSH","https://b.example?token=HUSH":1}}"#,
        r#"{"apiKey":"****","createApiKeyInput":{"name":"k","value":"****"},"headers":{"x-api-key":"****","https://b.example?token=****":1}}"#,
    ),
    (
        r#"{"virtualMFADevice":{"serialNumber":"s","qRCodePNG":{"hb":["HUSH"]}},"text":"-----BEGIN PRIVATE KEY-----\nHUSH\n-----END PRIVATE KEY-----"}"#,
        r#"{"virtualMFADevice":{"serialNumber":"s","qRCodePNG":"****"},"text":"-----BEGIN PRIVATE KEY-----****-----END PRIVATE KEY-----"}"#,
    ),
    (
        r#"{"containerProperties":{"environment":{"name":"HUSH","image":"HUSH"}},"stage":{"variables":{"a":"HUSH"}}}"#,
        r#"{"containerProperties":{"environment":{"name":"****","image":"****"}},"stage":{"variables":{"a":"****"}}}"#,
    ),
    // Nothing of these is secret.
    (
        r#"{"bucketName":"b","key":"exfil/token=/a","userName":"token=bob","roleArn":"arn:aws:iam::123456789012:role/secret=/x"}"#,
        r#"{"bucketName":"b","key":"exfil/token=/a","userName":"token=bob","roleArn":"arn:aws:iam::123456789012:role/secret=/x"}"#,
    ),
    (
        r#"{"secretId":"arn:aws:secretsmanager:us-east-1:123456789012:secret:db-password-AbCdEf","publicKey":"p","creationToken":"c"}"#,
        r#"{"secretId":"arn:aws:secretsmanager:us-east-1:123456789012:secret:db-password-AbCdEf","publicKey":"p","creationToken":"c"}"#,
    ),
    (
        r#"{"policyDocument":"{\"Statement\":[{\"Action\":\"secretsmanager:GetSecretValue\",\"Resource\":\"arn:aws:iam::123456789012:user/token=bob\"}]}"}"#,
        r#"{"policyDocument":"{\"Statement\":[{\"Action\":\"secretsmanager:GetSecretValue\",\"Resource\":\"arn:aws:iam::123456789012:user/token=bob\"}]}"}"#,
    ),
    (
        r#"{"secretId":"s","tokenId":"t","keyId":"k","passwordResetRequired":true,"passwordLastUsed":"2026","clientToken":"c"}"#,
        r#"{"secretId":"s","tokenId":"t","keyId":"k","passwordResetRequired":true,"passwordLastUsed":"2026","clientToken":"c"}"#,
    ),
];

fn of_format(format: &str) -> Value {
    json!({ "source": "iam", "regexp": "User", "format": format })
}

fn id(message: &Message) -> &str {
    message.attribute("eventID").unwrap()
}

#[tokio::test]
async fn no_format_shows_a_secret_of_any_api() {
    let mut calls = records(CALLS.len());
    for (call, (parameters, _)) in calls.iter_mut().zip(CALLS) {
        call["requestParameters"] = serde_json::from_str(parameters).unwrap();
        call["responseElements"] = call["requestParameters"].clone();
        call["errorMessage"] = json!("no https://b.example/?X-Amz-Security-Token=HUSH&n=1");
        call["userAgent"] = json!("curl/8 https://b.example/?token=HUSH");
        call["resources"] = json!([{ "ARN": { "password": "HUSH" } }]);
    }
    for format in FORMATS {
        let messages = messages_of(&of_format(format), &calls).await;
        assert_eq!(messages.len(), CALLS.len());
        for message in messages {
            let number: usize = id(&message).rsplit('-').next().unwrap().parse().unwrap();
            let (_, shown) = CALLS[number];
            assert!(!message.body.contains("HUSH") && !message.subject.contains("HUSH"), "{}", message.body);
            match format {
                "text" => {
                    let params = message.body.lines().find_map(|line| line.strip_prefix("Params : ")).unwrap();
                    let [params, shown]: [Value; 2] = [params, shown].map(|json| serde_json::from_str(json).unwrap());
                    assert_eq!(params, shown);
                }
                "json" => {
                    let mut event = calls[number].clone();
                    event["requestParameters"] = serde_json::from_str(shown).unwrap();
                    event["responseElements"] = event["requestParameters"].clone();
                    event["errorMessage"] = json!("no https://b.example/?X-Amz-Security-Token=****&n=1");
                    event["userAgent"] = json!("curl/8 https://b.example/?token=****");
                    event["resources"] = json!([{ "ARN": { "password": "****" } }]);
                    assert_eq!(json_of(&message)["event"], event);
                }
                _ => assert!(message.body.contains("token=****"), "{}", message.body),
            }
        }
    }
}

#[tokio::test]
async fn a_message_that_is_cut_to_size_shows_no_secret_either() {
    let mut call = record(1);
    call["clientSecret"] = json!({ "a": ["HUSH"] });
    call["Password"] = json!(5_417_386);
    call["environment"] = json!({ "variables": { "A": "HUSH" } });
    call["requestParameters"] = json!({ "userName": "bob", "sessionToken": "HUSH" });
    (call["id"], call["name"], call["value"]) = (json!(1), json!("db-password"), json!("HUSH"));
    call["userIdentity"] = json!({ "userName": "token=bob" });
    call["resources"] = json!("x".repeat(300_000));
    let messages = messages_of(&of_format("json"), &[call]).await;
    let event = &json_of(&messages[0])["event"];
    assert_eq!(event["resources"], "(left out: 300002 bytes)");
    assert_eq!((&event["clientSecret"], &event["Password"]), (&json!("****"), &json!("****")));
    assert_eq!(event["environment"], json!({ "variables": { "A": "****" } }));
    assert_eq!(event["requestParameters"], json!({ "userName": "bob", "sessionToken": "****" }));
    assert_eq!((&event["name"], &event["value"]), (&json!("db-password"), &json!("****")));
    assert_eq!(event["userIdentity"], json!({ "userName": "token=bob" }));
}

/// A caller could hide otherwise: names of IAM may have `=` in them, and paths nearly everything.
#[tokio::test]
async fn callers_whose_names_look_like_secrets_are_shown() {
    let mut calls = records(2);
    for (call, user) in calls.iter_mut().zip(["token=mallory", "https://?secret=/eve"]) {
        let arn = format!("arn:aws:iam::123456789012:user/{user}");
        call["userIdentity"] = json!({ "type": "IAMUser", "arn": arn, "userName": user, "accountId": "123456789012" });
        call["requestParameters"] =
            json!({ "userName": "password=x", "roleArn": "arn:aws:iam::123456789012:role/token=x" });
        call["errorMessage"] = json!("arn:aws:iam::123456789012:user/token=mallory may not do this");
        call["resources"] = json!([{ "ARN": "arn:aws:iam::123456789012:user/secret=bob" }]);
    }
    for format in FORMATS {
        let messages = messages_of(&of_format(format), &calls).await;
        assert_eq!(messages.len(), 2);
        for message in messages {
            assert!(!message.body.contains("****") && !message.subject.contains("****"), "{}", message.body);
        }
    }
}

#[tokio::test]
async fn rules_see_what_messages_redact() {
    let rule = |name: &str, path: &str, test: &str| json!({ "name": name, "where": { path: test } });
    let rules = [
        rule("password", "requestParameters.password", "^HUSH$"),
        rule("object", "requestParameters", r#""password":"HUSH""#),
        rule("url", "requestParameters.url", "token=HUSH$"),
        rule("stars", "requestParameters.password", r"\*"),
    ];
    let mut call = record(1);
    call["requestParameters"] = json!({ "password": "HUSH", "url": "https://a/?token=HUSH" });
    let messages = messages_of(&json!({ "rules": rules }), &[call]).await;
    assert_eq!(messages[0].attribute("rule"), Some(r#"["password","object","url"]"#));
    assert!(!messages[0].body.contains("HUSH"));
}

/// Otherwise, two events would be one.
#[tokio::test]
async fn events_whose_ids_look_like_secrets_are_different_events() {
    let mut calls = records(2);
    for (number, call) in calls.iter_mut().enumerate() {
        call["eventID"] = json!(format!("token={number}"));
    }
    assert_eq!(messages_of(&of_format("text"), &calls).await.len(), 2);
}

#[tokio::test]
async fn no_format_shows_an_invisible_character_and_json_is_the_same_json() {
    let invisible = "\u{ad}\u{34f}\u{115f}\u{180e}\u{200b}\u{200d}\u{2060}\u{2064}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fffa}\
                     \u{e0001}\u{e0041}\u{e007f}\u{202e}";
    let mut calls = records(2);
    for key in ["errorMessage", "userAgent", "awsRegion"] {
        calls[0][key] = json!(format!("a{invisible}b"));
    }
    calls[0]["userIdentity"] = json!({ "userName": invisible });
    calls[0]["requestParameters"] = json!({ invisible: invisible });
    // This one is cut to size, its keys escaped.
    let keys = (0..500).map(|n| (format!("{n}{invisible}"), json!("x".repeat(600))));
    calls[1].as_object_mut().unwrap().extend(keys.collect::<Map<_, _>>());
    for format in FORMATS {
        let messages = messages_of(&of_format(format), &calls).await;
        assert_eq!(messages.len(), 2, "{format}");
        for message in &messages {
            assert!(!message.body.contains(|c| invisible.contains(c)), "{format}: {}", message.body);
            let size: usize =
                message.attributes.iter().map(|(name, kind, value)| name.len() + kind.len() + value.len()).sum();
            assert!(size + message.body.len() <= 262_144);
            match (format, id(message)) {
                ("json", "00000000-0000-4000-8000-000000000000") => assert_eq!(json_of(message)["event"], calls[0]),
                ("json", _) => {
                    let event = json_of(message)["event"].as_object().unwrap().clone();
                    assert_eq!(event.len(), calls[1].as_object().unwrap().len());
                    assert!(event.keys().all(|key| calls[1].get(key).is_some()));
                }
                _ => {}
            }
        }
    }
}

/// The alerts of one rule without a summary, and the summary.
fn split(messages: Vec<Message>) -> (Vec<Message>, Message) {
    let (mut summaries, single): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|m| m.attribute("eventID").is_none());
    assert_eq!(summaries.len(), 1, "{summaries:?}");
    (single, summaries.remove(0))
}

#[tokio::test]
async fn the_first_alert_of_each_kind_in_a_flood_is_sent_and_the_rest_is_counted() {
    // Every seventh caller is one of its own, and between the users something else happens three times.
    let mut calls = records(60);
    for (n, call) in calls.iter_mut().enumerate() {
        let who = if n % 7 == 6 { format!("guest-{n}") } else { format!("user-{}", n % 7) };
        call["userIdentity"] = json!({ "type": "IAMUser", "arn": format!("arn:aws:iam::123456789012:user/{who}") });
        call["eventTime"] = json!(format!("2026-11-20T21:00:{n:02}Z"));
        match n {
            40 | 50 | 51 => call["eventName"] = json!("DeleteUser"),
            45 => call["eventSource"] = json!("iam-copy.amazonaws.com"),
            _ => {}
        }
    }
    let mut configuration = json!({ "source": "iam", "regexp": "User", "maxAlertsPerLog": 3 });
    let mut world = world_of(&configuration, &calls).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["matched"], &counts["alerts"]), (&json!(60), &json!(61)));
    assert_eq!((&counts["published"], &counts["summarised"]), (&json!(6), &json!(55)));
    let (single, summary) = split(world.aws.messages());
    let sent: Vec<_> = single.iter().map(|m| id(m)[34..].to_owned()).collect();
    assert_eq!(sent, ["00", "01", "02", "40", "45"]);
    let arn = |who: &str| format!("arn:aws:iam::123456789012:user/{who}");
    for line in [
        "More    : 55 alerts beyond the first 3 of this log and the first of each kind of event\n".to_owned(),
        "Events  : CreateUser of iam.amazonaws.com (53), DeleteUser of iam.amazonaws.com (2)\n".to_owned(),
        format!("Who     : {} (8), {} (8), {} (8), ", arn("user-0"), arn("user-1"), arn("user-2")),
        "Others  : 9 callers (15 alerts)\n".to_owned(),
    ] {
        assert!(summary.body.contains(&line), "no {line}in {}", summary.body);
    }

    configuration["format"] = json!("json");
    let (_, summary) = split(messages_of(&configuration, &calls).await);
    let summary = &json_of(&summary)["summary"];
    let event = |name: &str, count: u64| json!({ "source": "iam.amazonaws.com", "name": name, "count": count });
    assert_eq!(summary["events"], json!([event("CreateUser", 53), event("DeleteUser", 2)]));
    assert_eq!(summary["otherEvents"], json!({ "count": 0, "atLeast": false, "alerts": 0 }));
    assert_eq!(summary["principals"].as_array().unwrap().len(), 5);
    assert_eq!(summary["otherPrincipals"], json!({ "count": 9, "atLeast": false, "alerts": 15 }));
}

#[tokio::test]
async fn kinds_and_callers_without_end_do_not_defeat_the_limit() {
    let mut calls = records(2_500);
    for (n, call) in calls.iter_mut().enumerate() {
        call["eventName"] = json!(format!("CreateUser{n}"));
        call["userIdentity"] = json!({ "type": "IAMUser", "userName": format!("user-{n}") });
    }
    let mut configuration = json!({ "source": "iam", "regexp": "User", "maxAlertsPerLog": 3, "format": "json" });
    let mut world = world_of(&configuration, &calls).await;
    let counts = world.counts(&put_keys(&[KEY])).await;
    assert_eq!((&counts["published"], &counts["summarised"]), (&json!(1_001), &json!(1_500)));
    let (_, summary) = split(world.aws.messages());
    let summary = &json_of(&summary)["summary"];
    for others in ["otherEvents", "otherPrincipals"] {
        assert_eq!(summary[others], json!({ "count": 996, "atLeast": true, "alerts": 1_495 }), "{others}");
    }
    configuration["format"] = json!("text");
    let (_, summary) = split(messages_of(&configuration, &calls).await);
    let others = "Others  : at least 996 kinds of event (1495 alerts), at least 996 callers (1495 alerts)\n";
    assert!(summary.body.contains(others), "{}", summary.body);
}

#[tokio::test]
async fn a_kind_is_the_first_of_its_kind_for_each_rule() {
    let mut calls = records(6);
    calls[1]["eventName"] = json!("DeleteUser");
    for n in [1, 4, 5] {
        calls[n]["requestParameters"]["userName"] = json!("admin");
    }
    let configuration = json!({ "maxAlertsPerLog": 1, "sns": { "topicARN": TOPIC }, "rules": [
        { "name": "users", "regexp": "User" },
        { "name": "admins", "regexp": "User", "where": { "requestParameters.userName": "admin" } },
    ] });
    let messages = messages_of(&configuration, &calls).await;
    let mut sent: Vec<_> = messages.iter().map(|m| (m.attribute("rule").unwrap(), m.subject.as_str())).collect();
    sent.sort_unstable();
    let place = "in 123456789012 us-east-1";
    let subjects = ["1 more alert of admins", "3 more alerts of users", "CreateUser", "CreateUser", "DeleteUser"];
    let subjects = subjects.map(|what| format!("[medium] {what} {place}"));
    let [admins, users, create, ..] = subjects.each_ref().map(String::as_str);
    let both = r#"["users","admins"]"#;
    let expected = [
        (r#"["admins"]"#, admins),
        (both, create), // the first one for `admins`, though both rules have reached their limits
        (both, subjects[4].as_str()),
        (r#"["users"]"#, users),
        (r#"["users"]"#, create),
    ];
    assert_eq!(sent, expected);
}

//! The rules of the packs on records in AWS's documented forms: all forms of a call, and harmless neighbours.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::program::{folder, run, run_in};
use crate::rules::call;

/// The names of the rules of `threats` that match each of these records, written as JSON.
fn matching(records: &[String]) -> Vec<Vec<String>> {
    let folder = folder(&[("c.json", br#"{"packs": ["threats"]}"#)]);
    let log = format!("{{\"Records\":[{}]}}", records.join(",")).into_bytes();
    let scanned = run_in(folder.path(), &["scan", "--config", "c.json", "--format", "json", "-"], log);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    let mut found = vec![Vec::new(); records.len()];
    for alert in scanned.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let number = alert["event"]["requestID"].as_str().unwrap().parse::<usize>().unwrap();
        found[number] =
            alert["rules"].as_array().unwrap().iter().map(|rule| rule.as_str().unwrap().to_owned()).collect();
    }
    found
}

/// A record as JSON, with this number.
fn numbered(number: usize, mut record: Value) -> Value {
    record["requestID"] = json!(number.to_string());
    record["eventID"] = json!(format!("id-{number}"));
    record
}

/// Asserts that a rule of `threats` matches the calls with the first parameters, and none with the others.
fn assert_tells<T: Display>(rule: &str, source: &str, event: &str, told: &[T], others: &[T]) {
    let parameters: Vec<String> = told.iter().chain(others).map(ToString::to_string).collect();
    let record = |(number, parameters): (usize, &String)| {
        let mut record = numbered(number, call(number, &format!("{source}.amazonaws.com"), event));
        record["requestParameters"] = json!("THE PARAMETERS");
        record.to_string().replace("\"THE PARAMETERS\"", parameters)
    };
    let records: Vec<String> = parameters.iter().enumerate().map(record).collect();
    for (number, rules) in matching(&records).iter().enumerate() {
        let is_told = rules.iter().any(|name| name == rule);
        assert_eq!(is_told, number < told.len(), "{rule}: {event} {}: {rules:?}", parameters[number]);
    }
}

#[test]
fn a_trail_that_loses_management_events_is_told_in_every_form_of_the_call() {
    let basic = |selector: Value| json!({ "trailName": "t", "eventSelectors": [selector] });
    let advanced = |selectors: Value| {
        let selector = |fields: &Value| json!({ "name": "n", "fieldSelectors": fields });
        let selectors: Vec<_> = selectors.as_array().unwrap().iter().map(selector).collect();
        json!({ "trailName": "t", "advancedEventSelectors": selectors })
    };
    let management = json!({ "field": "eventCategory", "equals": ["Management"] });
    let data = json!([{ "field": "eventCategory", "equals": ["Data"] }, { "field": "resources.type", "equals": ["AWS::S3::Object"] }]);
    let forged = json!("\"fieldSelectors\":[{\"field\":\"eventCategory\",\"equals\":[\"Management\"]}]");
    assert_tells(
        "threat-trail-selectors-narrowed",
        "cloudtrail",
        "PutEventSelectors",
        &[
            basic(json!({ "readWriteType": "All", "includeManagementEvents": false, "dataResources": [] })),
            basic(json!({ "readWriteType": "ReadOnly", "includeManagementEvents": true })),
            basic(json!({ "readWriteType": "WriteOnly", "includeManagementEvents": true })),
            basic(json!({ "readWriteType": "All", "includeManagementEvents": true,
                "excludeManagementEventSources": ["kms.amazonaws.com"] })),
            advanced(json!([data])),
            advanced(json!([[{ "field": "eventCategory", "equals": ["NetworkActivity"] }]])),
            advanced(json!([[management, { "field": "readOnly", "equals": ["true"] }]])),
            advanced(json!([data, [management, { "field": "eventSource", "notEquals": ["iam.amazonaws.com"] }]])),
            json!({ "trailName": "t", "advancedEventSelectors": [{ "name": forged, "fieldSelectors": data }] }),
            json!({ "trailName": "t", "eventSelectors": [] }),
            json!({ "advancedEventSelectors": [], "trailName": "t" }),
            json!({ "advancedEventSelectors": [], "eventSelectors": [], "trailName": "t" }),
            json!({ "trailName": "t" }),
        ],
        &[
            basic(json!({ "readWriteType": "All", "includeManagementEvents": true, "dataResources": [],
                "excludeManagementEventSources": [] })),
            advanced(json!([[management]])),
            advanced(json!([data, [management]])),
            advanced(json!([[{ "equals": ["Management"], "field": "eventCategory" }]])),
            json!({ "trailName": "t", "advancedEventSelectors": [],
                "eventSelectors": [{ "readWriteType": "All", "includeManagementEvents": true }] }),
        ],
    );
    let store = |selectors: Value| json!({ "eventDataStore": "e", "advancedEventSelectors": selectors });
    assert_tells(
        "threat-trail-selectors-narrowed",
        "cloudtrail",
        "UpdateEventDataStore",
        &[store(json!([{ "fieldSelectors": data }]))],
        &[store(json!([{ "fieldSelectors": [management] }])), json!({ "eventDataStore": "e", "retentionPeriod": 90 })],
    );
    assert_tells(
        "threat-trail-weakened",
        "cloudtrail",
        "UpdateEventDataStore",
        &["multiRegionEnabled", "organizationEnabled", "terminationProtectionEnabled"].map(|key| json!({ key: false })),
        &[json!({ "eventDataStore": "e", "multiRegionEnabled": true })],
    );
    let omitted = json!({ "omitted": true, "originalSize": 131_000, "reason": "requestParameters too large" });
    for (source, event) in [
        ("cloudtrail", "PutEventSelectors"),
        ("cloudtrail", "UpdateEventDataStore"),
        ("ec2", "AuthorizeSecurityGroupIngress"),
        ("ec2", "ModifySecurityGroupRules"),
        ("lightsail", "PutInstancePublicPorts"),
        ("s3", "PutBucketPolicy"),
    ] {
        let other = json!({ "trailName": "\"omitted\":true" });
        assert_tells("threat-parameters-hidden", source, event, &[&omitted], &[&other]);
    }
    let all = json!({ "name": "t", "isMultiRegionTrail": true, "isOrganizationTrail": true });
    let without = |key: &str| json!({ "name": "t", key: false });
    assert_tells(
        "threat-trail-weakened",
        "cloudtrail",
        "UpdateTrail",
        &["isMultiRegionTrail", "isOrganizationTrail", "includeGlobalServiceEvents", "enableLogFileValidation"]
            .map(without),
        &[all],
    );
}

#[test]
fn an_admin_port_that_is_opened_is_told_in_every_form_of_the_call() {
    let world = json!({ "ipRanges": { "items": [{ "cidrIp": "0.0.0.0/0" }] }, "ipv6Ranges": {} });
    let office = json!({ "ipRanges": { "items": [{ "cidrIp": "203.0.113.0/24", "description": "0.0.0.0/0" }] }, "ipv6Ranges": {} });
    let permission = |protocol: &str, ports: Option<(u32, u32)>, to: &Value| {
        let mut permission = to.clone();
        permission["ipProtocol"] = json!(protocol);
        if let Some((from, to)) = ports {
            permission["fromPort"] = json!(from);
            permission["toPort"] = json!(to);
        }
        permission
    };
    let authorized = |items: &[Value]| json!({ "groupId": "sg-1", "ipPermissions": { "items": items } });
    let to = |cidr: &str| {
        let mut ranges =
            json!({ "ipRanges": { "items": [{ "cidrIp": "10.0.0.0/8" }] }, "ipv6Ranges": { "items": [] } });
        let (version, key) = if cidr.contains(':') { ("ipv6Ranges", "cidrIpv6") } else { ("ipRanges", "cidrIp") };
        ranges[version]["items"].as_array_mut().unwrap().push(json!({ key: cidr }));
        ranges
    };
    let one = |permission: Value| authorized(&[permission]);
    let open = [(22, 22), (20, 25), (0, 65535), (1, 65535), (22, 80), (0, 22), (3389, 3389), (3000, 4000), (23, 3389)];
    let closed = [(0, 21), (23, 3388), (3390, 65535), (443, 443), (80, 80), (2200, 2299), (8022, 8022), (5, 5)];
    let tcp = |to: &Value, ports: &[(u32, u32)]| -> Vec<Value> {
        ports.iter().map(|ports| permission("tcp", Some(*ports), to)).collect()
    };
    let mut told: Vec<Value> = tcp(&world, &open).into_iter().map(one).collect();
    for network in ["::/0", "2000::/3", "0.0.0.0/1", "128.0.0.0/1"] {
        told.push(one(permission("6", Some((22, 22)), &to(network))));
    }
    told.extend([
        one(permission("-1", None, &world)),
        authorized(&[permission("tcp", Some((443, 443)), &world), permission("tcp", Some((22, 22)), &world)]),
    ]);
    let mut others: Vec<Value> = tcp(&world, &closed).into_iter().map(one).collect();
    others.extend(tcp(&office, &open).into_iter().map(one));
    for network in ["10.0.0.0/8", "fd00::/8", "fc00::/7", "2001:db8::/32", "203.0.113.9/32"] {
        others.push(one(permission("tcp", Some((22, 22)), &to(network))));
    }
    // Each permission is looked at by itself.
    others.push(authorized(&[permission("tcp", Some((443, 443)), &world), permission("tcp", Some((22, 22)), &office)]));
    others.push(one(permission("icmp", Some((8, 0)), &world)));
    assert_tells("threat-admin-port-opened", "ec2", "AuthorizeSecurityGroupIngress", &told, &others);

    // Keys are sorted above. Logs have them in this order too.
    let declared = |from: u32, to: u32, v4: &str, v6: &str| {
        format!(
            r#"{{"groupId":"sg-1","ipPermissions":{{"items":[{{"ipProtocol":"tcp","fromPort":{from},"toPort":{to},
            "groups":{{}},"ipRanges":{{"items":[{{"cidrIp":"{v4}"}}]}},"ipv6Ranges":{{"items":[{{"cidrIpv6":"{v6}"}}]}}}}]}}}}"#
        )
    };
    let told = open.map(|(from, to)| declared(from, to, "10.0.0.0/8", "::/0"));
    let others = closed.map(|(from, to)| declared(from, to, "0.0.0.0/0", "::/0"));
    assert_tells("threat-admin-port-opened", "ec2", "AuthorizeSecurityGroupIngress", &told, &others);

    let flat = |protocol: &str, (from, to): (u32, u32), cidr: &str| json!({ "groupId": "sg-1", "ipProtocol": protocol, "fromPort": from, "toPort": to, "cidrIp": cidr });
    let mut told: Vec<Value> = open.iter().map(|ports| flat("tcp", *ports, "0.0.0.0/0")).collect();
    told.push(json!({ "groupId": "sg-1", "ipProtocol": "-1", "cidrIp": "0.0.0.0/0" }));
    let mut host_bits = flat("tcp", (22, 22), "198.51.100.7/0");
    host_bits["ipPermissions"] = json!({});
    told.push(host_bits);
    let mut others: Vec<Value> = closed.iter().map(|ports| flat("tcp", *ports, "0.0.0.0/0")).collect();
    others.extend(open.iter().map(|ports| flat("tcp", *ports, "203.0.113.0/24")));
    assert_tells("threat-admin-port-opened-flat", "ec2", "AuthorizeSecurityGroupIngress", &told, &others);

    let modified =
        |rules: Value| json!({ "ModifySecurityGroupRulesRequest": { "GroupId": "sg-1", "SecurityGroupRule": rules } });
    let rule = |(from, to): (u32, u32), cidr: &str| {
        let key = if cidr.contains(':') { "CidrIpv6" } else { "CidrIpv4" };
        json!({ "SecurityGroupRuleId": "sgr-1", "tag": 1,
            "SecurityGroupRule": { "IpProtocol": "tcp", "FromPort": from, "ToPort": to, key: cidr, "Description": "" } })
    };
    let mut told: Vec<Value> = open.iter().map(|ports| modified(rule(*ports, "0.0.0.0/0"))).collect();
    told.push(modified(rule((22, 22), "::/0")));
    told.push(modified(json!([rule((80, 80), "0.0.0.0/0"), rule((3000, 4000), "0.0.0.0/0")])));
    let whole = |fields: Value| modified(json!({ "SecurityGroupRuleId": "sgr-1", "SecurityGroupRule": fields }));
    let text = |ports: (u32, u32)| {
        whole(
            json!({ "IpProtocol": "6", "FromPort": ports.0.to_string(), "ToPort": ports.1.to_string(), "CidrIpv4": "0.0.0.0/0" }),
        )
    };
    told.extend(open.map(text));
    told.push(whole(json!({ "IpProtocol": -1, "CidrIpv4": "0.0.0.0/0" })));
    told.push(whole(json!({ "IpProtocol": "-1", "CidrIpv6": "::/0" })));
    let mut others: Vec<Value> = closed.iter().map(|ports| modified(rule(*ports, "0.0.0.0/0"))).collect();
    others.push(modified(json!([rule((80, 80), "0.0.0.0/0"), rule((22, 22), "203.0.113.0/24")])));
    others.extend(closed.map(text));
    others.push(whole(json!({ "IpProtocol": 1, "CidrIpv4": "0.0.0.0/0", "FromPort": -1, "ToPort": -1 })));
    assert_tells("threat-admin-port-rule-modified", "ec2", "ModifySecurityGroupRules", &told, &others);
}

#[test]
fn an_admin_port_of_lightsail_that_is_opened_is_told_in_every_form_of_the_call() {
    let open = [(22, 22), (0, 65535), (3389, 3389), (3000, 4000)];
    let closed = [(443, 443), (0, 21), (3390, 65535)];
    let port = |(from, to): (u32, u32), addresses: Value| {
        let mut port = json!({ "fromPort": from, "protocol": "TCP", "toPort": to });
        port.as_object_mut().unwrap().append(&mut addresses.as_object().unwrap().clone());
        port
    };
    let of = |port: Value| json!({ "instanceName": "i", "portInfo": port });
    // Without any address, a port is open to all.
    let world = [
        json!({}),
        json!({ "cidrs": ["203.0.113.0/24", "0.0.0.0/0"] }),
        json!({ "cidrs": ["203.0.113.0/24"], "ipv6Cidrs": ["::/0"] }),
        json!({ "cidrListAliases": ["lightsail-connect"], "cidrs": ["0.0.0.0/1"] }),
    ];
    let office = [
        json!({ "cidrs": ["203.0.113.0/24"] }),
        json!({ "cidrs": ["203.0.113.9"], "ipv6Cidrs": ["2001:db8::/32"] }),
        json!({ "cidrListAliases": ["lightsail-connect"] }),
        json!({ "cidrs": [], "ipv6Cidrs": ["fc00::/7"], "cidrListAliases": ["lightsail-connect"] }),
    ];
    let to = |ports: &[(u32, u32)], addresses: &[Value]| -> Vec<Value> {
        ports.iter().flat_map(|ports| addresses.iter().map(|to| port(*ports, to.clone()))).collect()
    };
    let (told, mut others) = (to(&open, &world), to(&closed, &world));
    others.extend(to(&open, &office));
    let one = |ports: &[Value]| ports.iter().cloned().map(of).collect::<Vec<_>>();
    let rule = "threat-admin-port-opened-lightsail";
    assert_tells(rule, "lightsail", "OpenInstancePublicPorts", &one(&told), &one(&others));
    let web = port((443, 443), json!({}));
    let all = |ports: &[Value]| -> Vec<Value> {
        ports.iter().map(|port| json!({ "instanceName": "i", "portInfos": [web, port] })).collect()
    };
    assert_tells(rule, "lightsail", "PutInstancePublicPorts", &all(&told), &all(&others));
    let declared = |text: &str| format!("{{\"portInfo\":{{{text}}},\"instanceName\":\"i\"}}");
    let told = [
        r#""fromPort":22,"toPort":22,"protocol":"TCP""#,
        r#""protocol":"all","fromPort":0,"toPort":65535"#,
        r#""fromPort":22,"toPort":22,"protocol":"TCP","cidrs":["0.0.0.0/0"]"#,
        r#""fromPort":22,"toPort":22,"cidrs":["0.0.0.0/0"],"protocol":"TCP""#,
    ];
    let others = [r#""fromPort":22,"toPort":22,"protocol":"TCP","cidrs":["192.0.2.1/32"]"#];
    assert_tells(rule, "lightsail", "OpenInstancePublicPorts", &told.map(declared), &others.map(declared));
}

#[test]
fn a_policy_is_read_in_every_form_that_iam_and_s3_take() {
    let of = |text: String| json!({ "roleName": "r", "policyName": "p", "policyDocument": text });
    let document = |statements: Value| of(json!({ "Version": "2012-10-17", "Statement": statements }).to_string());
    let allow = |action: Value| document(json!([{ "Effect": "Allow", "Action": action, "Resource": "*" }]));
    let condition = json!({ "StringEquals": { "aws:PrincipalTag/a}": "${aws:username}{" } });
    let told = [
        allow(json!("*")),
        allow(json!(["*"])),
        allow(json!(["s3:Get*", "*"])),
        allow(json!(["s3:Get*", "ec2:Describe*", "iam:*"])),
        allow(json!("IAM:*")),
        allow(json!("*:*")),
        allow(json!("iam*")),
        document(json!({ "Action": "*", "Effect": "Allow", "Resource": "*" })),
        document(json!([{ "Effect": "Allow", "NotAction": ["s3:*"], "Resource": "*" }])),
        document(json!([{ "Effect": "Allow", "Condition": condition, "Resource": ["a{", "}"], "Action": "*" }])),
        document(json!([{ "Effect": "Deny", "Action": "s3:*" }, { "Effect": "Allow", "Action": ["sts:*", "*"] }])),
        of("{\"Statement\": [\n  {\"Effect\" :\n \"Allow\",\n \"Action\": [\n \"s3:*\",\n \"*\"\n ]}]}".to_owned()),
        of(r#"{"Statement":[{"Effect":"Allow","Action":"\u002a","Resource":"*"}]}"#.to_owned()),
    ];
    let others = [
        allow(json!("s3:*")),
        allow(json!(["s3:*", "iam:Get*", "iam:PassRole"])),
        document(
            json!([{ "Effect": "Deny", "Action": "*", "Resource": "*" }, { "Effect": "Allow", "Action": "s3:Get*" }]),
        ),
        document(json!([{ "Effect": "Allow", "Action": "s3:Get*" }, { "Effect": "Deny", "NotAction": "iam:*" }])),
        document(
            json!([{ "Sid": "x", "Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Condition": condition }]),
        ),
    ];
    for event in ["PutRolePolicy", "CreatePolicyVersion"] {
        assert_tells("threat-admin-policy-written", "iam", event, &told, &others);
    }
    assert_tells(
        "threat-iam-parameters-hidden",
        "iam",
        "PutRolePolicy",
        &[json!({ "omitted": true, "originalSize": 131_000, "reason": "requestParameters too large" })],
        &[allow(json!("*"))],
    );

    let principals =
        |principal: Value| json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
    let (one, two) = ("arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:role/r");
    let public = [
        json!("*"),
        json!({ "AWS": "*" }),
        json!({ "AWS": [one, "*"] }),
        json!({ "Service": "x", "AWS": [one, two, "*"] }),
    ];
    let known = [json!({ "AWS": one }), json!({ "AWS": [one, two] }), json!({ "Service": "lambda.amazonaws.com" })];
    for (event, key) in [("UpdateAssumeRolePolicy", "policyDocument"), ("CreateRole", "assumeRolePolicyDocument")] {
        let trust = |principal: &Value| {
            let document = json!({ "Version": "2012-10-17", "Statement": [principals(principal.clone())] });
            let plain = json!({ "roleName": "r", key: document.to_string() });
            [plain, json!({ "roleName": "r", key: serde_json::to_string_pretty(&document).unwrap() })]
        };
        let told: Vec<_> = public.iter().flat_map(trust).collect();
        let others: Vec<_> = known.iter().flat_map(trust).collect();
        assert_tells("threat-role-trust-public", "iam", event, &told, &others);
    }

    let bucket = |statements: Value| json!({ "bucketName": "b", "bucketPolicy": { "Statement": statements } });
    let told: Vec<_> = public.iter().map(|principal| bucket(json!([principals(principal.clone())]))).collect();
    let mut others: Vec<_> = known.iter().map(|principal| bucket(json!([principals(principal.clone())]))).collect();
    // Nearly every bucket denies plain HTTP to everybody.
    let only_tls = json!({ "Sid": "Allow", "Effect": "Deny", "Principal": "*", "Action": "s3:*" });
    others.push(bucket(json!([only_tls, principals(known[0].clone())])));
    assert_tells("threat-bucket-policy-public", "s3", "PutBucketPolicy", &told, &others);
}

#[test]
fn other_calls_are_told_in_every_form() {
    let lifecycle = |rule: Value| json!({ "bucketName": "b", "LifecycleConfiguration": { "Rule": rule } });
    assert_tells(
        "threat-bucket-emptied-by-lifecycle",
        "s3",
        "PutBucketLifecycle",
        &[
            lifecycle(json!({ "Status": "Enabled", "Expiration": { "Days": 1 } })),
            lifecycle(json!([{ "Expiration": { "Days": 90 } }, { "ID": "x", "Expiration": { "Days": 3 } }])),
            lifecycle(json!({ "Expiration": { "Date": "2026-11-21T00:00:00Z" } })),
        ],
        &[
            lifecycle(json!({ "Expiration": { "Days": 30 } })),
            lifecycle(json!({ "Expiration": { "ExpiredObjectDeleteMarker": true } })),
        ],
    );
    let block =
        |flags: Value| json!({ "bucketName": "b", "publicAccessBlock": "", "PublicAccessBlockConfiguration": flags });
    assert_tells(
        "threat-public-access-block-weakened",
        "s3",
        "PutBucketPublicAccessBlock",
        &[
            block(
                json!({ "BlockPublicAcls": true, "BlockPublicPolicy": false, "IgnorePublicAcls": true, "RestrictPublicBuckets": true }),
            ),
            // What is left out is off.
            block(json!({ "BlockPublicAcls": true })),
            block(
                json!({ "BlockPublicAcls": true, "BlockPublicPolicy": false, "IgnorePublicAcls": true, "RestrictPublicBuckets": true, "x": true }),
            ),
        ],
        &[block(
            json!({ "xmlns": "http://s3.amazonaws.com/doc/2006-03-01/", "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true }),
        )],
    );
    assert_tells(
        "threat-user-data-changed",
        "ec2",
        "ModifyInstanceAttribute",
        &[
            json!({ "instanceId": "i-1", "userData": "<sensitiveDataRemoved>" }),
            json!({ "instanceId": "i-1", "attribute": "userData", "value": "<sensitiveDataRemoved>" }),
        ],
        &[json!({ "instanceId": "i-1", "attribute": "disableApiTermination", "value": "false" })],
    );
    let action = |action: &str| json!({ "detectorId": "d", "name": "n", "action": action });
    let set = json!({ "detectorId": "d", "name": "n", "location": "s3://b/k", "activate": true });
    for event in ["CreateIPSet", "UpdateIPSet", "CreateTrustedEntitySet", "UpdateTrustedEntitySet"] {
        assert_tells("threat-guardduty-findings-hidden", "guardduty", event, &[&set, &action("NOOP")], &[]);
    }
    for event in ["CreateFilter", "UpdateFilter"] {
        let told = [action("ARCHIVE"), json!({ "detectorId": "d", "findingCriteria": {} })];
        assert_tells("threat-guardduty-findings-archived", "guardduty", event, &told, &[action("NOOP")]);
    }
    let launch = |item: Value| json!({ "imageId": "ami-1", "launchPermission": { "add": { "items": [item] } } });
    assert_tells(
        "threat-image-shared",
        "ec2",
        "ModifyImageAttribute",
        &[
            launch(json!({ "userId": "111122223333" })),
            launch(json!({ "organizationArn": "arn:aws:organizations::1:organization/o-1" })),
            launch(json!({ "organizationalUnitArn": "arn:aws:organizations::1:ou/o-1/ou-1" })),
        ],
        &[
            launch(json!({ "group": "all" })),
            json!({ "imageId": "ami-1", "launchPermission": { "remove": { "items": [{ "userId": "1" }] } } }),
        ],
    );
}

/// The paths that rules of the packs may except calls by, each with the reason why a caller can't choose what is there.
const NOT_CHOSEN: [(&str, &str); 7] = [
    ("errorCode", "AWS writes whether a call failed, and a failed one did nothing"),
    ("eventName", "it is what was done"),
    ("eventType", "AWS writes who made the event"),
    ("userIdentity.invokedBy", "AWS writes which service made the call"),
    ("sourceIPAddress", "AWS writes the name of a service"),
    ("additionalEventData.MFAUsed", "AWS writes how somebody signed in"),
    ("userIdentity.sessionContext.sessionIssuer.arn", "it is looked at from its beginning to a path that is AWS's own"),
];

/// The parameters that rules except calls by, which a caller chooses, but with them also what is done.
const CHOSEN_WITH_THE_EFFECT: [(&str, &str, &str); 4] = [
    (
        "threat-trail-selectors-narrowed",
        "requestParameters.advancedEventSelectors",
        "the trail keeps all management events",
    ),
    ("threat-guardduty-findings-archived", "requestParameters.action", "the filter archives nothing"),
    ("threat-root-key-created", "requestParameters.userName", "the key is that user's and not the root user's"),
    ("threat-public-access-block-weakened", "requestParameters.PublicAccessBlockConfiguration", "all of it is on"),
];

#[test]
fn nothing_that_a_caller_chooses_is_an_exception() {
    let mut unused: Vec<_> = CHOSEN_WITH_THE_EFFECT.iter().map(|(rule, path, _)| (*rule, *path)).collect();
    for name in ["cis", "threats"] {
        let pack: Value = serde_json::from_str(&run(&["packs", name]).stdout).unwrap();
        for rule in pack["rules"].as_array().unwrap() {
            let name = rule["name"].as_str().unwrap();
            for (path, pattern) in rule["unless"].as_object().into_iter().flatten() {
                let is_known = NOT_CHOSEN.iter().any(|(known, _)| path == known);
                let before = unused.len();
                unused.retain(|known| *known != (name, path));
                assert!(is_known || unused.len() < before, "{name}: {path}");
                let pattern = pattern.as_str().unwrap();
                assert!(pattern == "." || pattern.starts_with(['^', '"', '(']), "{name}: {path}: {pattern}");
            }
        }
    }
    assert!(unused.is_empty(), "{unused:?}");

    let mut assumed = call(0, "sts.amazonaws.com", "AssumeRole");
    assumed["userIdentity"] = json!({ "type": "AWSAccount", "accountId": "111122223333", "principalId": "AIDAQ" });
    assumed["requestParameters"] = json!({ "roleArn": "arn:aws:iam::123456789012:role/r", "externalId": "x" });
    let mut token = call(1, "signin.amazonaws.com", "GetSigninToken");
    token["userAgent"] = json!("Jersey/${project.version} (HttpUrlConnection 1.8.0)");
    let issuer = |arn: &str| json!({ "type": "AssumedRole", "sessionContext": { "sessionIssuer": { "arn": arn } } });
    token["userIdentity"] = issuer("arn:aws:iam::123456789012:role/deployer");
    let mut identity_center = token.clone();
    identity_center["userIdentity"] = issuer(
        "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_A_0123456789abcdef",
    );
    let records = [assumed, token, identity_center].into_iter().enumerate();
    let found = matching(&records.map(|(number, record)| numbered(number, record).to_string()).collect::<Vec<_>>());
    assert_eq!(found, [vec!["threat-role-assumed-from-outside"], vec!["threat-console-federation"], vec![]]);
}

//! A function with all that it talks to, and what tests say about its counts and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_aws::{FakeAws, Message};
use crate::runtime_api::{Failure, Lambda};
use crate::{file, gzip, log};

pub const BUCKET: &str = "cloudtrail-logs-123456789012";
pub const CONFIG: &str = "filter_config.json";
pub const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";
pub const KEY: &str = "AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/log.json.gz";

/// The timeout of the function, where a test does not need another.
pub const TIMEOUT: Duration = Duration::from_mins(5);

/// One function, and the Lambda, S3 and SNS that it talks to.
pub struct World {
    pub aws: FakeAws,
    pub lambda: Lambda,
    invocations: usize,
}

/// The configuration of this repository, without its limit: logs of tests have more alerts.
pub fn configuration() -> Vec<u8> {
    let mut configuration: Value = serde_json::from_slice(&file(CONFIG)).unwrap();
    assert!(configuration.as_object_mut().unwrap().remove("maxAlertsPerLog").is_some());
    configuration.to_string().into_bytes()
}

/// A function with this configuration and a topic from the environment.
pub async fn world() -> World {
    world_with(&[("TOPIC_ARN", TOPIC)], TIMEOUT).await
}

/// The same with other environment variables and another timeout.
pub async fn world_with(environment: &[(&str, &str)], timeout: Duration) -> World {
    let aws = FakeAws::start().await;
    aws.put(BUCKET, CONFIG, configuration());
    World::start(aws, environment, timeout).await
}

/// A function with this configuration and a log of these records.
pub async fn world_of(configuration: &Value, records: &[Value]) -> World {
    let world = world().await;
    world.aws.put(BUCKET, CONFIG, configuration.to_string());
    world.aws.put(BUCKET, KEY, gzip(&log(records)));
    world
}

/// The messages that one invocation of such a function sends.
pub async fn messages_of(configuration: &Value, records: &[Value]) -> Vec<Message> {
    let mut world = world_of(configuration, records).await;
    world.counts(&put_keys(&[KEY])).await;
    world.aws.messages()
}

/// The JSON of a message, which stands on one line.
pub fn json_of(message: &Message) -> Value {
    assert_eq!(message.body.lines().count(), 1, "{}", message.body);
    serde_json::from_str(&message.body).unwrap_or_else(|e| panic!("{e}: {}", message.body))
}

impl World {
    /// Starts a function with what S3 holds already.
    pub async fn start(aws: FakeAws, environment: &[(&str, &str)], timeout: Duration) -> Self {
        let lambda = Lambda::start(aws.address, environment, timeout).await;
        World { aws, lambda, invocations: 0 }
    }

    /// Ends the environment, and starts another one.
    pub async fn restarted(self, environment: &[(&str, &str)]) -> Self {
        let World { aws, lambda, .. } = self;
        drop(lambda);
        World::start(aws, environment, TIMEOUT).await
    }

    pub async fn invoke(&mut self, payload: &Value) -> Result<Value, Failure> {
        self.invocations += 1;
        self.lambda.invoke(payload).await
    }

    /// Invokes, asserts success and counts that add up, and returns the counts.
    pub async fn counts(&mut self, payload: &Value) -> Value {
        let counts = self.invoke(payload).await.unwrap();
        add_up(&counts);
        counts
    }

    /// Invokes, asserts this error with a message that contains all `parts`, and returns the counts of the log line.
    pub async fn fails(&mut self, payload: &Value, kind: &str, parts: &[&str]) -> Value {
        let failure = self.invoke(payload).await.expect_err(kind);
        assert_eq!(failure.kind, kind, "{failure:?}");
        for part in parts {
            assert!(failure.message.contains(part), "no {part:?} in {failure:?}");
        }
        self.logged().await
    }

    /// The counts of the last invocation, from its log line.
    pub async fn logged(&mut self) -> Value {
        let line = self.lambda.logged(self.invocations).await;
        assert_eq!(line["level"], "INFO", "{line}");
        let counts = if line["fields"].is_object() { line["fields"].clone() } else { line };
        add_up(&counts);
        counts
    }

    /// The lines that the last invocation logged; the metrics are the last.
    pub async fn lines(&mut self) -> Vec<Value> {
        self.lambda.lines(self.invocations).await
    }
}

/// Asserts that the counts of an invocation add up.
pub fn add_up(counts: &Value) {
    let count = |name: &&str| counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}"));
    let sum = |names: &[&str]| names.iter().map(count).sum::<u64>();
    assert_eq!(sum(&["records"]), sum(&["matched", "ignored", "unmatched"]), "{counts}");
    assert_eq!(
        sum(&["alerts"]),
        sum(&["published", "duplicates", "summarised", "suppressed", "unsent", "failed"]),
        "{counts}"
    );
    let rules = counts["rules"].as_object().unwrap_or_else(|| panic!("no rules in {counts}"));
    for (name, of_rule) in rules {
        let known = ["matches", "alerts", "dry", "ignored", "expired", "suppressed"];
        let is_count = |(key, n): (&String, &Value)| known.contains(&key.as_str()) && n.as_u64() > Some(0);
        assert!(of_rule.as_object().unwrap().iter().all(is_count), "{name}: {counts}");
        let [matches, alerts, dry, ignored, expired, suppressed] = known.map(|key| of_rule[key].as_u64().unwrap_or(0));
        assert!(
            matches == alerts + dry + ignored && expired <= alerts + dry && suppressed <= alerts,
            "{name}: {counts}"
        );
    }
    let count_of = |name: &str, key: &str| rules[name][key].as_u64().unwrap_or(0);
    // Several rules may match one record, and one alert may name several. Of one rule there are just as many.
    let bounds = |key: &str| {
        let of_one = rules.keys().filter(|name| *name != OTHER_RULES).map(|name| count_of(name, key)).max();
        of_one.unwrap_or(0)..=rules.keys().map(|name| count_of(name, key)).sum::<u64>()
    };
    assert!(bounds("matches").contains(&sum(&["matched", "ignored"])), "{counts}");
    let (of_rules, alerts) = (bounds("alerts"), sum(&["alerts"]));
    assert!(of_rules.contains(&alerts) || counts["summarised"] != 0 && alerts > *of_rules.end(), "{counts}");
}

/// Stands for the rules that find no room in the counts.
pub const OTHER_RULES: &str = "(other rules)";

/// Asserts that an invocation ended before Lambda would have killed it. The clock of the program counts: on a busy
/// machine this process may see the answer late.
pub fn assert_in_time(counts: &Value, timeout: Duration, name: &str) {
    let milliseconds = counts["milliseconds"].as_u64().unwrap_or_else(|| panic!("no milliseconds in {counts}"));
    assert!(u128::from(milliseconds) < timeout.as_millis(), "{name}: {counts}");
}

/// Asserts these counts, and 0 for all others except `bytes` and `milliseconds`, which no test can know, and `rules`.
pub fn assert_counts(counts: &Value, expected: &Value) {
    let mut all = json!({
        "objects": 0, "logs": 0, "records": 0, "matched": 0, "ignored": 0, "unmatched": 0, "alerts": 0, "published": 0,
        "duplicates": 0, "summarised": 0, "suppressed": 0, "unsent": 0, "failed": 0, "mails": 0, "mailed": 0,
        "skipped": {
            "digest": 0, "insight": 0, "aggregated": 0, "otherService": 0, "placeholder": 0, "configuration": 0,
            "testEvent": 0, "otherEvent": 0, "configMessage": 0, "confirmation": 0,
        },
        "bytes": counts["bytes"].as_u64().unwrap(), "milliseconds": counts["milliseconds"].as_u64().unwrap(),
        "rules": counts["rules"],
    });
    for (name, count) in expected.as_object().unwrap() {
        match count.as_object() {
            Some(reasons) if name == "skipped" => {
                reasons.iter().for_each(|(reason, count)| all[name][reason] = count.clone());
            }
            _ => all[name] = count.clone(),
        }
    }
    assert_eq!(*counts, all);
}

/// The notification of S3 that names these objects.
pub fn put_keys(keys: &[&str]) -> Value {
    let records = keys.iter().map(|key| {
        json!({ "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": BUCKET }, "object": { "key": key } } })
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// The metrics of a line in CloudWatch's embedded metric format, which it parses as strictly as CloudWatch.
pub fn metrics(line: &Value) -> BTreeMap<String, u64> {
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_600_000_000_000, "{line}");
    assert!(directive["Namespace"].as_str().is_some_and(|name| !name.is_empty()), "{line}");
    for dimension in directive["Dimensions"][0].as_array().unwrap() {
        assert!(line[dimension.as_str().unwrap()].as_str().is_some_and(|value| !value.is_empty()), "{line}");
    }
    let metrics = directive["Metrics"].as_array().unwrap().iter().map(|metric| {
        let name = metric["Name"].as_str().unwrap();
        assert!(["Count", "Bytes", "Seconds"].contains(&metric["Unit"].as_str().unwrap()), "{line}");
        (name.to_owned(), line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}")))
    });
    let metrics: BTreeMap<_, _> = metrics.collect();
    // Another field would be a dimension or a metric that the directive omits.
    let dimensions = directive["Dimensions"][0].as_array().unwrap().len();
    assert_eq!(line.as_object().unwrap().len(), metrics.len() + dimensions + 3, "{line}");
    metrics
}

/// The metrics of rules in the lines of an invocation: how often each has matched.
pub fn rule_metrics(lines: &[Value]) -> BTreeMap<String, u64> {
    let of_rules = lines.iter().filter(|line| line.get("Rule").is_some()).map(|line| {
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["FunctionName", "Rule"]]), "{line}");
        let metrics = metrics(line);
        assert_eq!(metrics.len(), 1, "{line}");
        let name = line["Rule"].as_str().unwrap();
        // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html
        assert!(name.len() <= 1024 && !name.trim().is_empty(), "{line}");
        assert!(name.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line}");
        (name.to_owned(), metrics["Matched"])
    });
    let found: Vec<_> = of_rules.collect();
    let by_rule: BTreeMap<_, _> = found.iter().cloned().collect();
    assert_eq!(found.len(), by_rule.len(), "{found:?}");
    by_rule
}

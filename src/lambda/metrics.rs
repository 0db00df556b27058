//! The counts as CloudWatch metrics, which CloudWatch takes from the log, without a request, in the
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracing::Level;

use super::report::Report;
use crate::environment::Settings;

const NAMESPACE: &str = "CloudTrailAlerter";

const COUNT: &str = "Count";

/// A name, a value and its unit.
type Metric = (&'static str, u64, &'static str);

/// Writes an invocation's metrics: to stdout and not by way of the log, whose level may leave them out.
pub(super) fn write(report: &Report, settings: &Settings) {
    let now = SystemTime::now();
    let write = |metrics: &[Metric], rule| {
        let _ = writeln!(io::stdout(), "{}", line(metrics, rule, settings, now));
    };
    // A line can't have several values of a dimension.
    for (rule, [matched, suppressed]) in &report.rule_metrics {
        let metrics = [("Matched", *matched, COUNT), ("Suppressed", *suppressed, COUNT)];
        write(&metrics[..if *suppressed > 0 { 2 } else { 1 }], Some(rule));
    }
    write(&metrics(report), None);
}

/// A metric costs money in each hour in which it has a value. A metric that is usually zero is left out while it is.
fn metrics(report: &Report) -> Vec<Metric> {
    let always = [
        ("Logs", report.logs, COUNT),
        ("Records", report.records, COUNT),
        ("Matched", report.matched, COUNT),
        ("Published", report.published, COUNT),
        ("Bytes", report.bytes, "Bytes"),
    ];
    let rarely = [
        ("Ignored", report.ignored, COUNT),
        ("Duplicates", report.duplicates, COUNT),
        ("Summarised", report.summarised, COUNT),
        ("Suppressed", report.suppressed, COUNT),
        ("Failed", report.failed, COUNT),
        ("SkippedDigest", report.skipped.digest, COUNT),
        ("SkippedInsight", report.skipped.insight, COUNT),
        ("SkippedAggregated", report.skipped.aggregated, COUNT),
        ("SkippedOtherService", report.skipped.other_service, COUNT),
        ("SkippedPlaceholder", report.skipped.placeholder, COUNT),
        ("SkippedConfiguration", report.skipped.configuration, COUNT),
        ("SkippedTestEvent", report.skipped.test_event, COUNT),
        ("SkippedOtherEvent", report.skipped.other_event, COUNT),
        ("SkippedConfigMessage", report.skipped.config_message, COUNT),
        ("SkippedConfirmation", report.skipped.confirmation, COUNT),
        ("HandedBack", report.handed_back, COUNT),
        ("StateUnavailable", report.state_unavailable, COUNT),
        ("Mails", report.mails, COUNT),
        ("Mailed", report.mailed, COUNT),
    ];
    let rarely = rarely.into_iter().filter(|(_, value, _)| *value > 0);
    let failures = report.failures.iter().map(|(kind, n)| (*kind, *n, COUNT));
    let delay = report.delay.map(|seconds| ("Delay", seconds, "Seconds"));
    always.into_iter().chain(rarely).chain(failures).chain(delay).collect()
}

/// The metrics of the function, or those of one of its rules.
fn line(metrics: &[Metric], rule: Option<&String>, settings: &Settings, now: SystemTime) -> Value {
    // Lambda leaves out lines of JSON below the function's level, and takes those without level or time for INFO:
    // https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    let level = match settings.log_level {
        Level::ERROR => "FATAL",
        level => level.as_str(),
    };
    let mut line = json!({
        "level": level,
        "timestamp": humantime::format_rfc3339_millis(now).to_string(),
        "_aws": {
            "Timestamp": now.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0)),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": metrics.iter().map(|(name, _, unit)| json!({"Name": name, "Unit": unit})).collect::<Vec<_>>(),
            }],
        },
        "FunctionName": settings.function,
    });
    for (name, value, _) in metrics {
        line[name] = (*value).into();
    }
    if let Some(rule) = rule {
        line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] = json!([["FunctionName", "Rule"]]);
        line["Rule"] = dimension(rule).into();
    }
    line
}

/// The name of a rule as CloudWatch takes it: in ASCII, not blank, and at most 1,024 characters long. See
/// [Dimension](https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html).
fn dimension(rule: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ' && !rule.trim().is_empty();
    rule.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

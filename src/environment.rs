//! The environment variables, read once at the start.

use std::env;

/// The variable by which Lambda tells a program that it is a function.
pub const AWS_LAMBDA_RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// The variable that names the topic of configurations that name none.
pub(crate) const TOPIC_ARN: &str = "TOPIC_ARN";
/// The variable that names the mail topic.
pub(crate) const MAIL_TOPIC_ARN: &str = "MAIL_TOPIC_ARN";
/// The configuration's default key, and its default file name for the command line.
pub(crate) const DEFAULT_CONFIG_FILE: &str = "filter_config.json";

/// The settings that the environment gives. A variable that is set to nothing counts as not set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configuration's bucket; `None` for the log's own.
    pub config_bucket: Option<String>,
    /// The configuration's key.
    pub(crate) config_key: String,
    /// The topic of configurations that name none.
    pub(crate) topic_arn: Option<String>,
    /// The mail topic, which gets emails made of alerts.
    pub(crate) mail_topic_arn: Option<String>,
    /// The table of the memory that environments share; `None` if each remembers for itself.
    pub state_table: Option<String>,
    /// The function's name, for metrics.
    pub(crate) function: String,
    /// The least severe level that is logged.
    pub log_level: tracing::Level,
    /// Whether log lines are JSON objects.
    pub log_json: bool,
}

impl Settings {
    /// Reads the process's environment. A level or format that Lambda's
    /// [logging controls](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html) do not
    /// define counts as their default.
    pub fn from_env() -> Self {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let level = get("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
        Settings {
            config_bucket: get("FILTER_CONFIG_BUCKET"),
            config_key: get("FILTER_CONFIG_FILE").unwrap_or_else(|| DEFAULT_CONFIG_FILE.to_owned()),
            topic_arn: get(TOPIC_ARN),
            mail_topic_arn: get(MAIL_TOPIC_ARN),
            state_table: get("STATE_TABLE"),
            function: get("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            log_level: match level.to_ascii_uppercase().as_str() {
                "FATAL" => tracing::Level::ERROR,
                level => level.parse().unwrap_or(tracing::Level::INFO),
            },
            log_json: get("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json")),
        }
    }
}

//! Turns CloudTrail log files into SNS alerts: in AWS Lambda as S3 announces them, on the command line from files.
//!
//! # How an alert is made
//!
//! ```text
//! lambda/event ─► aws/s3 ─► log/ ─► rules/ ─► evaluate ─► alert/ ─► lambda/outbox ─► aws/sns
//! which logs      bytes     records  which     repeats,    message    batches          SNS
//!                                    match     floods
//! ```
//!
//! `log`, `rules`, `alert` and `evaluate` are pure: no AWS, no clock, no environment, no async. [`lambda`] handles one
//! invocation, [`cli`] one command. `docs/architecture.md` says what each module may use.
//!
//! # Environment
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `FILTER_CONFIG_BUCKET` | the log's own bucket | where the configuration is |
//! | `FILTER_CONFIG_FILE` | `filter_config.json` | its key |
//! | `TOPIC_ARN` | none | the topic, where the configuration names none |
//! | `MAIL_TOPIC_ARN` | none | the mail topic |
//! | `AWS_LAMBDA_LOG_LEVEL`, `AWS_LAMBDA_LOG_FORMAT` | Lambda's | as Lambda's logging controls define them |

mod alert;
pub mod aws;
pub mod cli;
pub mod environment;
mod error;
pub mod evaluate;
pub mod lambda;
pub mod log;
pub mod rules;

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
//! | room | owns | may use |
//! |---|---|---|
//! | `main.rs` | Lambda or command line; builds the clients | everything |
//! | [`environment`] | environment variables, read once | – |
//! | [`error`](mod@error) | the error enum; its variants are the `errorType`s that Lambda shows | `log` |
//! | [`log`] | gzip → JSON → one record at a time; a record's fields; which keys are logs | – |
//! | [`rules`] | the configuration file: parse, check, match; packs; warnings | `log` |
//! | [`alert`] | the facts of a call, and messages within SNS's limits | `log`, `rules` |
//! | [`evaluate`] | what becomes of each record of a log | `log`, `rules`, `alert` |
//! | [`aws`] | the only files that name an AWS client | `error`, and the values `S3Object`, `Alert`, `TopicArn` |
//! | [`lambda`] | one invocation: payload, configuration, outbox, report, metrics | all but `cli` |
//! | [`cli`] | `check`, `scan`, `packs` | all but `lambda` |
//!
//! `log`, `rules`, `alert` and `evaluate` are pure: no AWS, no clock, no environment, no async.
//!
//! # Environment
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `FILTER_CONFIG_BUCKET` | the log's own bucket | where the configuration is |
//! | `FILTER_CONFIG_FILE` | `filter_config.json` | its key |
//! | `TOPIC_ARN` | none | the topic, where the configuration names none |
//! | `AWS_LAMBDA_LOG_LEVEL`, `AWS_LAMBDA_LOG_FORMAT` | Lambda's | as Lambda's logging controls define them |

pub mod alert;
pub mod aws;
pub mod cli;
pub mod environment;
pub mod error;
pub mod evaluate;
pub mod lambda;
pub mod log;
pub mod rules;

//! Turns CloudTrail log files into SNS alerts: in AWS Lambda as S3 announces them, on the command line from files.
//!
//! # The way of one alert
//!
//! ```text
//! invocation ──► event ──► storage ──► log_file ──► filter ──► alert ──► publish ──► report
//!  payload     which logs  S3 bytes    records    which match  messages    SNS     what happened
//! ```
//!
//! [`handler`] walks it for one invocation, and [`cli`] for files. [`event`], [`log_file`], [`record`], [`filter`] and
//! [`alert`] are pure: no AWS, no clock, no environment. Only [`storage`] and [`publish`] talk to AWS,
//! by way of [`https`].
//!
//! # Environment
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `FILTER_CONFIG_BUCKET` | the log's own bucket | where the configuration is |
//! | `FILTER_CONFIG_FILE` | `filter_config.json` | its key |
//! | `TOPIC_ARN` | none | the topic, where the configuration names none |
//! | `AWS_LAMBDA_LOG_LEVEL`, `AWS_LAMBDA_LOG_FORMAT` | Lambda's | as Lambda's logging controls define them |

pub mod advice;
pub mod alert;
pub mod cli;
pub mod configuration;
pub mod error;
pub mod event;
pub mod filter;
pub mod handler;
pub mod https;
pub mod in_order;
pub mod log_file;
pub mod object;
pub mod packs;
pub mod publish;
pub mod record;
pub mod report;
pub mod scan;
pub mod settings;
pub mod storage;
pub mod summary;
pub mod triage;

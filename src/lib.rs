//! Turns CloudTrail log files into SNS alerts: in AWS Lambda as S3 announces them, on the command line from files.
//!
//! # How an alert is made
//!
//! ```text
//! lambda/event ─► aws/s3 ─► log/ ─► rules/ ─► evaluate ─► alert/ ─► lambda/outbox ─► aws/sns
//! which logs      bytes     records  which     repeats,    message    batches          SNS
//!                                    match     floods
//!                                              ▲
//!                                              └─ memory/: which matches are held back
//! ```
//!
//! `log`, `rules`, `alert`, `memory` and `evaluate` are pure: no AWS, no clock, no environment, no async. [`lambda`] handles one
//! invocation, [`cli`] one command. `docs/architecture.md` says what each module may use.

mod alert;
pub mod aws;
pub mod cli;
pub mod environment;
mod error;
pub mod evaluate;
pub mod lambda;
pub mod log;
mod memory;
pub mod rules;

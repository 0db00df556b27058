//! The Lambda function: one invocation from payload to answer, and the state that an execution environment keeps.

pub mod batch_job;
mod config_store;
mod deadline;
mod dedup;
pub mod event;
mod invocation;
mod log_lines;
mod mail;
mod memory;
mod metrics;
mod outbox;
mod places;
mod queues;
mod reading;
mod report;
mod shared;

pub use self::invocation::Handler;
pub use self::log_lines::LogLines;

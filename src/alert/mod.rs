//! From a match to a message that SNS takes, whatever the record holds: subject, body, attributes.

pub(crate) mod call;
pub(crate) mod compose;
pub(crate) mod context;
pub(crate) mod flood;
pub(crate) mod id;
pub mod message;
mod render;
mod sanitize;
mod subject;

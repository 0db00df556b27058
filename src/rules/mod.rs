//! The configuration: how it is written, what it means, and which of its rules match a record.

pub mod config;
mod draft;
mod json_tree;
pub mod lint;
pub mod matcher;
pub mod model;
pub mod packs;
pub mod suggest;
pub mod topic_arn;

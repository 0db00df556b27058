//! The configuration: how it is written, what it means, and which of its rules match a record.

mod calls;
mod condition;
pub mod config;
mod cost;
mod draft;
mod examples;
mod exceptions;
mod explain;
mod json_tree;
pub(crate) mod lint;
mod matcher;
mod model;
mod needle;
mod overrides;
pub(crate) mod packs;
mod paths;
mod pattern;
mod reader;
mod spelled;
mod stage;
mod stage_reader;
mod suggest;
mod topic_arn;

pub(crate) use self::condition::{Check, Test, path_text};
pub(crate) use self::explain::explain;
pub(crate) use self::matcher::{Hit, RuleIndex};
pub use self::matcher::{Learned, Matcher};
pub use self::model::Filter;
pub(crate) use self::model::{Format, Rule, RuleTest, Severity};
pub(crate) use self::pattern::escaped;
pub(crate) use self::stage::{Stage, StageKind};
pub(crate) use self::suggest::suggestion;
pub(crate) use self::topic_arn::TopicArn;

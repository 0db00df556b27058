//! The memory between logs: which matches of a rule alert, and which are held back and told later.

mod bounded;
mod group;
mod groups;
mod sighting;

pub(crate) use self::bounded::Bounded;
pub(crate) use self::group::{Group, Sighted};
pub(crate) use self::groups::{Decision, Groups};
pub(crate) use self::sighting::Sighting;

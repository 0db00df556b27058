//! From a match to a message that SNS takes, whatever the record holds: subject, body, attributes.

mod call;
pub(crate) mod compose;
mod context;
pub(crate) mod digest;
mod facts;
mod flood;
pub(crate) mod id;
mod message;
mod render;
mod sanitize;
mod short_name;
mod subject;
mod tally;
mod told;
mod who;

pub(crate) use self::call::Call;
pub(crate) use self::context::Context;
pub(crate) use self::flood::{FLOODS_ROOM, Flood, KINDS_LIMIT};
pub(crate) use self::message::Alert;
pub(crate) use self::message::{NOTHING, SIZE_LIMIT};
pub(crate) use self::sanitize::{escape, truncate};
pub(crate) use self::short_name::is_made_up;
pub(crate) use self::tally::{Others, Tally};
pub(crate) use self::told::{GroupId, Held, Receipt, Told};

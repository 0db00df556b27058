//! The subjects of messages, shortened to what SNS takes.

use super::call::Call;
use super::context::Context;
use super::message::NOTHING;
use super::sanitize::{to_ascii, truncate};
use crate::rules::Severity;

/// SNS takes [fewer than 100 characters](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), of ASCII, without
/// line breaks.
const LIMIT: usize = 99;

/// The caller's name keeps at least so many characters.
const NAME_MINIMUM: usize = 20;

/// `[severity] event by caller in account region`. A long name of the caller gives way to the account and the region.
pub(super) fn of_call(call: &Call, severity: Severity, context: &Context<'_>) -> String {
    let location = context.location(call.account.as_deref(), call.region.as_deref());
    let what = format!("[{severity}] {}", call.event_name.as_deref().unwrap_or(NOTHING));
    let by = match &call.short_name {
        Some(name) => {
            let room = LIMIT.saturating_sub(what.len() + location.len() + " by ".len());
            format!(" by {}", truncate(to_ascii(name), room.max(NAME_MINIMUM), "..."))
        }
        None => String::new(),
    };
    shorten(&(what + &by + &location))
}

/// A text as SNS takes it for a subject.
pub(super) fn shorten(text: &str) -> String {
    truncate(to_ascii(text), LIMIT, "...")
}

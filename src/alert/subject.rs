//! The subjects of messages, shortened to what SNS takes.

use super::call::Call;
use super::context::Context;
use super::message::NOTHING;
use super::sanitize::{to_ascii, truncate};
use crate::rules::Severity;

/// SNS takes [fewer than 100 characters](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), of ASCII, without
/// line breaks.
const LIMIT: usize = 99;

/// The caller and the event keep at least so many characters each.
const LEAST_ROOM: usize = 20;

/// `[severity] event by caller in account region`. What is too long gives way to the account and the region: the caller's
/// name first, then the event.
pub(super) fn of_call(call: &Call, severity: Severity, context: &Context<'_>) -> String {
    let severity = format!("[{severity}] ");
    let location = to_ascii(&context.location(call.account.as_deref(), call.region.as_deref()));
    let event = to_ascii(call.event_name.as_deref().unwrap_or(NOTHING));
    let room = LIMIT.saturating_sub(severity.len() + location.len());
    let by = call.short_name.as_ref().map_or_else(String::new, |name| {
        let room = room.saturating_sub(event.len() + " by ".len());
        format!(" by {}", name.fit(room.max(LEAST_ROOM)))
    });
    let event = truncate(event, room.saturating_sub(by.len()).max(LEAST_ROOM), "...");
    shorten(&(severity + &event + &by + &location))
}

/// A text as SNS takes it for a subject.
pub(super) fn shorten(text: &str) -> String {
    truncate(to_ascii(text), LIMIT, "...")
}

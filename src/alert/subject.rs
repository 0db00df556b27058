//! The subjects of messages, shortened to what SNS takes.

use super::call::Call;
use super::context::Context;
use super::message::NOTHING;
use super::sanitize::{to_ascii, truncate};
use crate::rules::{Rule, Severity};

/// SNS takes [fewer than 100 characters](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html), of ASCII, without
/// line breaks.
pub(super) const LIMIT: usize = 99;

/// The event, the caller, the name of an account and the name of a rule keep at least so many characters each.
const LEAST_ROOM: usize = 20;

/// `[severity] event by caller in account region`. Where that is too long, the name of the account is cut first; then
/// gives way the caller's role, then the end of the event, then the caller's own account, and the person last.
pub(super) fn of_call(call: &Call<'_>, severity: Severity, context: &Context<'_>) -> String {
    let severity = ["[", severity.name(), "] "].concat();
    let event = to_ascii(call.event_name.as_deref().unwrap_or(NOTHING));
    let name = call.identity.short();
    let by = |room: usize, most: usize| {
        let [room, most] = [room, most].map(|room| room.saturating_sub(" by ".len()).max(LEAST_ROOM));
        name.as_ref().map_or_else(String::new, |name| [" by ", &name.fit(room, most)].concat())
    };
    let whole = by(usize::MAX, usize::MAX);
    let length = severity.len() + event.len() + whole.len();
    let left = LIMIT.saturating_sub(length);
    let location = location(call.account.as_deref(), call.region.as_deref(), left, context);
    if length + location.len() <= LIMIT {
        return [severity, event.into_owned(), whole, location].concat();
    }
    let room = LIMIT.saturating_sub(severity.len() + location.len());
    let by = by(room.saturating_sub(event.len()), room.saturating_sub(event.len().min(LEAST_ROOM)));
    let event = truncate(event, room.saturating_sub(by.len()).max(LEAST_ROOM), "...");
    truncate(severity + &event + &by + &location, LIMIT, "...").into_owned()
}

/// `[severity] n more alerts of rule in account region`. Where that is too long, the names of the account and the rule are
/// cut.
pub(super) fn of_flood(
    rule: &Rule,
    more: &str,
    account: Option<&str>,
    region: Option<&str>,
    context: &Context<'_>,
) -> String {
    let start = format!("[{}] {more} of ", rule.severity);
    let name = to_ascii(&rule.name);
    let location = location(account, region, LIMIT.saturating_sub(start.len() + name.len()), context);
    let room = LIMIT.saturating_sub(start.len() + location.len());
    truncate(start + &truncate(name, room.max(LEAST_ROOM), "...") + &location, LIMIT, "...").into_owned()
}

/// ` in ACCOUNT REGION`, in ASCII, as far as they are known. The account's name is cut to this room, but not much.
fn location(account: Option<&str>, region: Option<&str>, room: usize, context: &Context<'_>) -> String {
    let region = region.map_or_else(String::new, |region| [" ", &to_ascii(region)].concat());
    let room = room.saturating_sub(" in ".len() + region.len()).max(LEAST_ROOM);
    let account = account.map_or_else(String::new, |id| {
        let name = context.filter.accounts.get(id).map_or(id, String::as_str);
        [" ", &truncate(to_ascii(name), room, "...")].concat()
    });
    let start = if account.is_empty() && region.is_empty() { "" } else { " in" };
    [start, &account, &region].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::log::Record;
    use crate::rules::config;

    #[test]
    fn a_subject_is_short_and_tells_the_person_however_long_its_parts_are() {
        let config = r#"{"rules": [{"name": "r", "source": "iam"}], "accounts": {"123456789012": "the account of everything that there is"}}"#;
        let filter = config::parse(config.as_bytes(), None).unwrap();
        let context = Context { filter: &filter, log: "", format: None };
        let long = "x".repeat(200);
        for (event, region, account, severity) in [
            ("CreateUser", "us-east-1", "123456789012", Severity::Low),
            (&*long, "ap-southeast-2", "123456789012", Severity::Critical),
            (&long, &*long, "123456789012", Severity::Critical),
            ("CreateUser", &long, &*long, Severity::Critical),
        ] {
            let identity = json!({ "type": "SAMLUser", "userName": "alice@example.com", "accountId": "2" });
            let record = json!({
                "eventName": event, "awsRegion": region, "recipientAccountId": account, "userIdentity": identity,
            });
            let record = record.to_string();
            let subject = of_call(&Call::of(&Record::parse(&record).unwrap()), severity, &context);
            assert!(subject.len() <= LIMIT && subject.contains(" by alice@example.com"), "{subject}");
            assert!(region.len() > 20 || subject.ends_with(region), "{subject}");
        }
    }
}

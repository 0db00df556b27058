//! The caller of a call: a text for each type of identity, and a short name for subjects.

use super::sanitize::{to_ascii, truncate, truncate_and_count};
use crate::log::Record;

/// The values of `type` that
/// [AWS documents](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
const DOCUMENTED: [&str; 12] = [
    "AWSAccount", "AWSService", "AssumedRole", "Directory", "FederatedUser", "IAMUser", "IdentityCenterUser", "Role",
    "Root", "SAMLUser", "Unknown", "WebIdentityUser",
];

/// Stand in `accountId` and `principalId` where nobody signed the request.
const ANONYMOUS: [&str; 2] = ["ANONYMOUS_PRINCIPAL", "Anonymous"];

/// Names a caller of whom only a type or an account is known.
const UNKNOWN: &str = "unidentified";

/// A permission set of IAM Identity Center has a role, whose name is this, the set's name, `_` and 16 more characters.
const PERMISSION_SET: &str = "AWSReservedSSO_";

/// The most characters of a caller's ARN or name, and of what follows it. An ARN has 2,048 at most, and usually a tenth.
const LIMIT: usize = 2_000;

/// With less room than this, a part of a short name tells nothing.
const LEAST_ROOM: usize = 8;

pub(super) struct Caller {
    /// The ARN, or else a name, and what tells it apart from others.
    pub(super) full: String,
    pub(super) short: ShortName,
}

/// `role/person (notes)`.
pub(super) struct ShortName {
    role: String,
    person: String,
    notes: Vec<String>,
}

impl ShortName {
    /// In ASCII. Where `room` is too small, the role gives way first, then the notes, then the end of the person. A person
    /// whom a program has named gives way to the role.
    pub(super) fn fit(&self, room: usize) -> String {
        let part = |text: &str, room: usize| {
            let fits = text.len() <= room || room >= LEAST_ROOM;
            if fits { truncate(to_ascii(text), room, "...") } else { String::new() }
        };
        let role_tells = !self.role.is_empty() && is_made_up(&self.person);
        let (first, second) = if role_tells { (&self.role, &self.person) } else { (&self.person, &self.role) };
        let first = truncate(to_ascii(first), room, "...");
        let room = room.saturating_sub(first.len());
        let notes = part(&self.notes.join(", "), room.saturating_sub(" ()".len()));
        let notes = if notes.is_empty() { notes } else { format!(" ({notes})") };
        let second = part(second, room.saturating_sub(notes.len() + "/".len()));
        match (second.is_empty(), role_tells) {
            (true, _) => first + &notes,
            (false, true) => format!("{first}/{second}{notes}"),
            (false, false) => format!("{second}/{first}{notes}"),
        }
    }
}

/// Whether a program has made up the name of a session: it has a time or a random number in it.
fn is_made_up(name: &str) -> bool {
    name.as_bytes().chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit()).any(|digits| digits.len() >= 10)
}

/// The caller; `None` where the record tells nothing.
pub(super) fn of(record: &Record<'_>) -> Option<Caller> {
    let identity = Identity::of(record);
    let head = identity.head()?;
    Some(Caller { full: identity.full(&head), short: identity.short(&head) })
}

/// What a record tells of its caller. Which fields it has depends on the type of identity.
struct Identity {
    kind: String,
    arn: Option<String>,
    name: Option<String>,
    /// The ID of a user of IAM Identity Center.
    user: Option<String>,
    principal: Option<String>,
    provider: Option<String>,
    account: Option<String>,
    /// The account, if it is not the one in which the call happened.
    other_account: Option<String>,
    /// The source identity of the session.
    source: Option<String>,
    /// In a session of `AssumeRoot`: who acts as root, as far as the record tells.
    acts_as_root: Option<String>,
    service: Option<String>,
    delegate: Option<String>,
}

/// What tells most about a caller.
enum Head<'a> {
    Arn(&'a str),
    Name(&'a str),
    /// An ID, or IDs and a name with colons between them.
    Principal(&'a str),
    Service(&'a str),
    /// There is a type or an account, and no more.
    Unknown,
}

impl Identity {
    fn of(record: &Record<'_>) -> Self {
        let text = |key| record.text(&["userIdentity", key]);
        let session = |key| record.text(&["userIdentity", "sessionContext", key]);
        let kind = text("type").unwrap_or_default();
        let (arn, principal, account) = (text("arn"), text("principalId"), account(record));
        let is_unsigned = ["accountId", "principalId"].into_iter().filter_map(text).any(|id| is_anonymous(&id));
        let in_identity_center = kind == "IdentityCenterUser";
        let name = match kind.as_str() {
            _ if is_unsigned => Some("anonymous".to_owned()),
            // Its userName is the account's alias.
            "Root" => Some("root".to_owned()),
            // A sign-in names the user in its details.
            "IdentityCenterUser" => text("userName").or_else(|| record.text(&["additionalEventData", "UserName"])),
            _ => text("userName"),
        };
        // The call to AssumeRoot may say so too. It is made in the session of a role.
        let is_role = arn.as_deref().is_some_and(|arn| arn.contains(":assumed-role/"));
        let acts_as_root = (!is_role && session("assumedRoot").as_deref() == Some("true")).then(|| {
            let issuer = record.text(&["userIdentity", "sessionContext", "sessionIssuer", "arn"]);
            let issuer = issuer.filter(|issuer| Some(issuer) != arn.as_ref());
            let name = || Some(principal.as_deref()?.split_once(':')?.1.to_owned());
            issuer.or_else(|| session("sourceIdentity")).or_else(name).unwrap_or_default()
        });
        let here = record.text(&["recipientAccountId"]);
        Identity {
            other_account: account.clone().filter(|account| here.is_some_and(|here| here != *account)),
            user: record.text(&["userIdentity", "onBehalfOf", "userId"]).filter(|_| in_identity_center),
            provider: text("identityProvider"),
            source: session("sourceIdentity"),
            service: text("invokedBy"),
            delegate: record.text(&["userIdentity", "invokedByDelegate", "accountId"]),
            kind,
            arn,
            name,
            principal,
            account,
            acts_as_root,
        }
    }

    fn head(&self) -> Option<Head<'_>> {
        let name = self.name.as_deref().or(self.user.as_deref());
        self.arn
            .as_deref()
            .map(Head::Arn)
            .or(name.map(Head::Name))
            .or(self.principal.as_deref().map(Head::Principal))
            .or(self.service.as_deref().map(Head::Service))
            .or((!self.kind.is_empty() || self.account.is_some()).then_some(Head::Unknown))
    }

    /// `head (notes), through service`.
    fn full(&self, head: &Head<'_>) -> String {
        let is_new = !self.kind.is_empty() && !DOCUMENTED.contains(&self.kind.as_str());
        let (text, account) = match head {
            Head::Arn(text) | Head::Service(text) => (*text, &self.other_account),
            Head::Name(text) | Head::Principal(text) => (*text, &self.account),
            Head::Unknown => (UNKNOWN, &self.account),
        };
        let note = |label: &str, note: &Option<String>| {
            Some(format!("{label}{}", note.as_deref().filter(|note| *note != text)?))
        };
        let notes = [
            (is_new || matches!(head, Head::Unknown)).then(|| self.kind.clone()),
            note("principal ", &self.principal).filter(|_| is_new),
            note("user ", &self.user),
            note("provider ", &self.provider),
            matches!(head, Head::Service(_)).then(|| "AWS service".to_owned()),
            self.acts_as_root.as_deref().map(as_root),
            note("account ", account),
        ];
        let notes: Vec<_> = notes.into_iter().flatten().filter(|note| !note.is_empty()).collect();
        let mut rest = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        rest.extend(note(", through ", &self.service));
        rest.extend(note(", through the delegate ", &self.delegate));
        truncate_and_count(text, LIMIT) + &truncate_and_count(&rest, LIMIT)
    }

    fn short(&self, head: &Head<'_>) -> ShortName {
        let (role, person) = match head {
            _ if self.acts_as_root.is_some() => ("", "root"),
            Head::Arn(arn) => {
                let resource = arn.splitn(6, ':').last().unwrap_or(arn);
                let session = resource.strip_prefix("assumed-role/").and_then(|session| session.split_once('/'));
                session.unwrap_or(("", after_last('/', resource)))
            }
            Head::Name(name) | Head::Service(name) => ("", *name),
            Head::Principal(id) => ("", after_last(':', id)),
            Head::Unknown => ("", UNKNOWN),
        };
        // A session may have any name. The source identity is the person, and the name of a session of a permission set.
        let source = self.source.as_deref();
        let set = role.strip_prefix(PERMISSION_SET).map(|name| name.rsplit_once('_').map_or(name, |(set, _)| set));
        let told_last = set.or_else(|| source.and((!role.is_empty()).then_some(role)));
        let (role, person) = if told_last.is_some() { ("", source.unwrap_or(person)) } else { (role, person) };
        let mut notes: Vec<_> = told_last.map(str::to_owned).into_iter().collect();
        notes.extend(self.acts_as_root.as_deref().map(|by| as_root(after_last('/', by))));
        notes.extend(self.other_account.as_ref().map(|id| format!("account {id}")));
        ShortName { role: role.to_owned(), person: person.to_owned(), notes }
    }
}

/// The caller's account.
pub(super) fn account(record: &Record<'_>) -> Option<String> {
    record.text(&["userIdentity", "accountId"]).filter(|id| !is_anonymous(id))
}

fn is_anonymous(id: &str) -> bool {
    ANONYMOUS.contains(&id)
}

/// A note on a session of `AssumeRoot`.
fn as_root(by: &str) -> String {
    if by.is_empty() { "AssumeRoot".to_owned() } else { format!("AssumeRoot by {by}") }
}

fn after_last(separator: char, text: &str) -> &str {
    text.rsplit(separator).next().unwrap_or(text)
}

//! The caller of a call: a text for each type of identity, a short name for subjects, and what repeats have in common.

use super::sanitize::truncate_and_count;
use super::short_name::{ShortName, is_made_up};
use crate::log::{Record, is_account};

/// Stand in `accountId` and `principalId` where nobody signed the request, in any case.
const ANONYMOUS: [&str; 2] = ["ANONYMOUS_PRINCIPAL", "anonymous"];

/// Names a caller of whom only a type or an account is known.
const UNIDENTIFIED: &str = "unidentified";

/// A permission set of IAM Identity Center has a role, whose name is this, the set's name, `_` and 16 more characters.
const PERMISSION_SET: &str = "AWSReservedSSO_";

/// The most characters of a caller's ARN or name, and of what follows it. An ARN has 2,048 at most, and usually a tenth.
const LIMIT: usize = 2_000;

pub(super) struct Caller {
    /// The ARN, or else a name, and what tells it apart from others.
    pub(super) full: String,
    pub(super) short: ShortName,
    /// The same in every session of a person or a program.
    pub(super) steady: String,
}

/// The caller; `None` where the record tells nothing.
pub(super) fn of(record: &Record<'_>) -> Option<Caller> {
    let identity = Identity::of(record);
    let (name, notes) = identity.name_with_account()?;
    let made_up = if name.is_session && is_made_up(&name.person) { &*name.person } else { "" };
    let steady = name.text.strip_suffix(made_up).unwrap_or(&name.text).to_owned() + &notes;
    Some(Caller {
        full: identity.full(&name, notes),
        steady: identity.source.clone().unwrap_or(steady),
        short: identity.short(name),
    })
}

/// The caller in full, as [`of`] has it.
pub(super) fn full(record: &Record<'_>) -> Option<String> {
    let identity = Identity::of(record);
    identity.name_with_account().map(|(name, notes)| identity.full(&name, notes))
}

#[derive(Default)]
struct Name {
    text: String,
    role: String,
    person: String,
    /// Whether the text ends in the name of a session, which is the person.
    is_session: bool,
    note: Option<&'static str>,
    /// The account, if it is told beside the name: of an ARN or a service only if it is another one.
    account: Option<String>,
}

/// What a record tells of its caller. Which fields it has depends on the type of identity.
struct Identity {
    kind: String,
    arn: Option<String>,
    user_name: Option<String>,
    /// The ID of a user of IAM Identity Center.
    user: Option<String>,
    /// Unless it is the account.
    principal: Option<String>,
    access_key: Option<String>,
    provider: Option<String>,
    account: Option<String>,
    /// The account, if it is not the one in which the call happened.
    other_account: Option<String>,
    is_unsigned: bool,
    /// Whether it is a session of `AssumeRoot`.
    acts_as_root: bool,
    session: Option<String>,
    /// The ARN of the role or the user from which the session comes.
    issuer: Option<String>,
    /// The source identity.
    source: Option<String>,
    service: Option<String>,
    delegate: Option<String>,
}

impl Identity {
    fn of(record: &Record<'_>) -> Self {
        let text = |path: &[&str]| record.text(&[&["userIdentity"], path].concat());
        let (kind, arn, principal) = (text(&["type"]).unwrap_or_default(), text(&["arn"]), text(&["principalId"]));
        // Records of Identity Center had the type Unknown at first. A sign-in names the user in its details.
        let center = |path: &[&str]| record.text(path).filter(|_| matches!(&*kind, "IdentityCenterUser" | "Unknown"));
        let user_name = text(&["userName"]).or_else(|| center(&["additionalEventData", "UserName"]));
        let store = center(&["userIdentity", "onBehalfOf", "identityStoreArn"]);
        let issuer = text(&["sessionContext", "sessionIssuer", "arn"]).filter(|issuer| Some(issuer) != arn.as_ref());
        // The call to AssumeRoot may say so too. It is made in the session of a role.
        let is_role = arn.as_deref().is_some_and(|arn| arn.contains(":assumed-role/"));
        let assumed_root = scalar(record, &["userIdentity", "sessionContext", "assumedRoot"]);
        let acts_as_root = !is_role && assumed_root.as_deref() == Some("true");
        // A session is in the account of its issuer, unless it acts as another account's root.
        let in_account = [&arn, if acts_as_root { &None } else { &issuer }, &store];
        let account = account(record).or_else(|| in_account.into_iter().flatten().find_map(|arn| account_of(arn)));
        let here = record.text(&["recipientAccountId"]);
        let provider = text(&["identityProvider"]).or_else(|| {
            let provider = principal.as_deref()?.strip_suffix(user_name.as_deref()?)?.strip_suffix(':')?;
            (kind == "SAMLUser" && !provider.is_empty()).then(|| provider.to_owned())
        });
        Identity {
            other_account: account.clone().filter(|account| here.is_some_and(|here| here != *account)),
            is_unsigned: text(&["accountId"]).iter().chain(&principal).any(|id| is_anonymous(id)),
            session: principal.as_deref().and_then(|id| Some(id.split_once(':')?.1.to_owned())),
            user: center(&["userIdentity", "onBehalfOf", "userId"]),
            access_key: text(&["accessKeyId"]),
            source: text(&["sessionContext", "sourceIdentity"]),
            service: text(&["invokedBy"]),
            delegate: text(&["invokedByDelegate", "accountId"]),
            principal: principal.filter(|id| Some(id) != account.as_ref()),
            kind,
            arn,
            user_name,
            provider,
            account,
            acts_as_root,
            issuer,
        }
    }

    /// The ARN, or else what names a caller of this
    /// [type](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html);
    /// and what is told beside it.
    fn name_and_notes(&self) -> Option<(Name, Vec<String>)> {
        let labelled = |label: &str, text: &Option<String>| text.as_ref().map(|text| format!("{label} {text}"));
        let user_name = self.user_name.as_deref().map(|name| self.plain(name));
        let (own, note) = match self.kind.as_str() {
            _ if self.is_unsigned => (Some(self.anybody("anonymous")), None),
            _ if self.acts_as_root => (Some(self.plain("root")), Some(self.as_root())),
            // Its userName is the account's alias.
            "Root" => (Some(self.plain("root")), None),
            "AssumedRole" if self.arn.is_none() && self.issuer.is_some() => {
                (self.issuer.as_deref().map(|role| self.session_of(role)), labelled("session", &self.session))
            }
            "SAMLUser" | "WebIdentityUser" => (user_name, labelled("provider", &self.provider)),
            "IdentityCenterUser" | "Unknown" if user_name.is_none() => {
                (self.user.as_deref().map(|id| self.plain(id)), None)
            }
            "IdentityCenterUser" | "Unknown" => (user_name, labelled("user", &self.user)),
            "AWSService" => {
                let names = [&self.service, &self.user_name, &self.principal];
                (names.into_iter().flatten().next().map(|name| self.service(name)), None)
            }
            "" | "AWSAccount" | "AssumedRole" | "Directory" | "FederatedUser" | "IAMUser" | "Role" => (user_name, None),
            new => {
                let principal = self.principal.as_ref().filter(|_| self.arn.is_some() || user_name.is_some());
                let note = principal.map_or_else(|| new.to_owned(), |id| format!("{new}, principal {id}"));
                (user_name, Some(note))
            }
        };
        let name = self.arn.as_deref().map(|arn| self.named_by_arn(arn)).or(own);
        let name = name.or_else(|| self.principal.as_deref().map(|id| self.named_by_id(id)));
        let name = name.or_else(|| self.service.as_deref().map(|name| self.service(name)));
        let access_key = |id: &String| Name { note: Some("access key"), ..self.plain(id) };
        if let Some(name) = name.or_else(|| self.access_key.as_ref().map(access_key)) {
            let notes = [note, name.note.map(str::to_owned)];
            return Some((name, notes.into_iter().flatten().collect()));
        }
        let kind = Some(&self.kind).filter(|kind| !kind.is_empty());
        let notes = kind.cloned().into_iter().chain(note.filter(|note| Some(note) != kind)).collect();
        (kind.is_some() || self.account.is_some()).then(|| (self.anybody(UNIDENTIFIED), notes))
    }

    /// The name, and in brackets all that is told beside it, the account last.
    fn name_with_account(&self) -> Option<(Name, String)> {
        let (name, mut notes) = self.name_and_notes()?;
        notes.extend(name.account.as_ref().map(|account| format!("account {account}")));
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        Some((name, notes))
    }

    fn full(&self, name: &Name, notes: String) -> String {
        let service = self.service.as_ref().filter(|service| **service != name.text);
        let service = service.map(|by| format!(", through {by}")).unwrap_or_default();
        let delegate = self.delegate.as_ref().map(|by| format!(", through the delegate {by}")).unwrap_or_default();
        truncate_and_count(&name.text, LIMIT) + &truncate_and_count(&(notes + &service + &delegate), LIMIT)
    }

    fn short(&self, name: Name) -> ShortName {
        let account = self.other_account.clone();
        if self.acts_as_root {
            let by = self.person_as_root().or(self.issuer.as_deref().map(|role| after_last('/', role)));
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            let person = format!("root (AssumeRoot{by})");
            return ShortName { person, role: String::new(), is_role_behind: false, account };
        }
        let Name { role, person, .. } = name;
        let set = role.strip_prefix(PERMISSION_SET).map(|name| name.rsplit_once('_').map_or(name, |(set, _)| set));
        let is_role_behind = self.source.is_some() || set.is_some();
        let (person, role) = match (&self.source, set.unwrap_or(&role)) {
            (None, role) => (person, role.to_owned()),
            // A session may have any name. The source identity is the person.
            (Some(source), role) => {
                let role = if role.is_empty() { &person } else { role };
                (source.clone(), Some(role).filter(|role| role != source).unwrap_or_default().to_owned())
            }
        };
        ShortName { person, role, is_role_behind, account }
    }

    fn named_by_arn(&self, arn: &str) -> Name {
        let resource = arn.splitn(6, ':').last().unwrap_or(arn);
        let session = resource.strip_prefix("assumed-role/").and_then(|session| session.split_once('/'));
        let (role, person) = session.unwrap_or(("", after_last('/', resource)));
        let (role, person, is_session) = (role.to_owned(), person.to_owned(), session.is_some());
        Name { text: arn.to_owned(), role, person, is_session, note: None, account: self.other_account.clone() }
    }

    fn session_of(&self, role: &str) -> Name {
        let name = self.named_by_arn(role);
        match &self.session {
            Some(session) => Name { role: name.person, person: session.clone(), ..name },
            None => name,
        }
    }

    /// `principalId`: an ID, or IDs and a name with colons between them.
    fn named_by_id(&self, id: &str) -> Name {
        if id.starts_with("arn:") {
            return self.named_by_arn(id);
        }
        let person = after_last(':', id).to_owned();
        Name { is_session: person != id, person, ..self.plain(id) }
    }

    /// A name that could be anybody's: its account is told even if it is not known.
    fn plain(&self, name: &str) -> Name {
        let unknown = self.provider.is_none().then(|| "unknown".to_owned());
        Name { account: self.account.clone().or(unknown), ..self.anybody(name) }
    }

    fn service(&self, name: &str) -> Name {
        Name { note: Some("AWS service"), account: self.other_account.clone(), ..self.anybody(name) }
    }

    fn anybody(&self, name: &str) -> Name {
        let (text, person) = (name.to_owned(), name.to_owned());
        Name { text, person, account: self.account.clone(), ..Name::default() }
    }

    /// A note on a session of `AssumeRoot`.
    fn as_root(&self) -> String {
        match (self.person_as_root().or(self.issuer.as_deref()), &self.issuer) {
            (Some(person), Some(role)) if person != role => format!("AssumeRoot by {person} as {role}"),
            (Some(person), _) => format!("AssumeRoot by {person}"),
            (None, _) => "AssumeRoot".to_owned(),
        }
    }

    fn person_as_root(&self) -> Option<&str> {
        self.source.as_deref().or(self.session.as_deref())
    }
}

pub(super) fn account(record: &Record<'_>) -> Option<String> {
    scalar(record, &["userIdentity", "accountId"]).filter(|id| !is_anonymous(id))
}

fn account_of(arn: &str) -> Option<String> {
    arn.split(':').nth(4).filter(|id| is_account(id)).map(str::to_owned)
}

fn is_anonymous(id: &str) -> bool {
    ANONYMOUS.iter().any(|name| name.eq_ignore_ascii_case(id))
}

/// The text of a string, a number or a boolean. AWS's services do not agree on what is which.
pub(super) fn scalar(record: &Record<'_>, path: &[&str]) -> Option<String> {
    let is_bare = |json: &&str| !json.starts_with(['"', '{', '[']);
    record.text(path).or_else(|| record.raw_json(path).filter(is_bare).map(str::to_owned))
}

fn after_last(separator: char, text: &str) -> &str {
    text.rsplit(separator).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn caller(identity: &Value) -> Caller {
        let record = json!({ "userIdentity": identity, "recipientAccountId": "123456789012" }).to_string();
        of(&Record::parse(&record).unwrap()).unwrap()
    }

    #[test]
    fn no_name_stands_without_an_account() {
        let issuer = |arn: &str| json!({ "sessionIssuer": { "arn": arn } });
        let admin = issuer("arn:aws:iam::999988887777:role/team/Admin");
        let center =
            json!({ "userId": "u-1", "identityStoreArn": "arn:aws:identitystore::999988887777:identitystore/d" });
        let arn = "arn:aws:sts::999988887777:assumed-role/Admin/bob";
        for (identity, full, short) in [
            (
                json!({ "type": "IAMUser", "principalId": "AIDAEXAMPLE" }),
                "AIDAEXAMPLE (account unknown)",
                "AIDAEXAMPLE",
            ),
            (json!({ "type": "Role", "principalId": "AROA:pipe" }), "AROA:pipe (account unknown)", "pipe"),
            (json!({ "type": "Directory", "userName": "alice" }), "alice (account unknown)", "alice"),
            (json!({ "type": "Root" }), "root (account unknown)", "root"),
            (json!({ "type": "SAMLUser", "userName": "zoe" }), "zoe (account unknown)", "zoe"),
            (json!({ "type": "SAMLUser", "userName": "zoe", "principalId": "x:zoe" }), "zoe (provider x)", "zoe"),
            (
                json!({ "type": "SAMLUser", "identityProvider": "x" }),
                "unidentified (SAMLUser, provider x)",
                "unidentified",
            ),
            (json!({ "accessKeyId": "AKIAEXAMPLE" }), "AKIAEXAMPLE (access key, account unknown)", "AKIAEXAMPLE"),
            (
                json!({ "type": "AWSAccount", "principalId": "AIDA", "accountId": 999_988_887_777_u64 }),
                "AIDA (account 999988887777)",
                "AIDA (account 999988887777)",
            ),
            (
                json!({ "type": "AWSAccount", "principalId": "999988887777", "accountId": "999988887777" }),
                "unidentified (AWSAccount, account 999988887777)",
                "unidentified (account 999988887777)",
            ),
            (
                json!({ "type": "AWSService", "principalId": "x.amazonaws.com" }),
                "x.amazonaws.com (AWS service)",
                "x.amazonaws.com",
            ),
            (
                json!({ "type": "AssumedRole", "arn": arn }),
                &format!("{arn} (account 999988887777)"),
                "Admin/bob (account 999988887777)",
            ),
            (
                json!({ "type": "AWSAccount", "principalId": arn, "accountId": "999988887777" }),
                &format!("{arn} (account 999988887777)"),
                "Admin/bob (account 999988887777)",
            ),
            (
                json!({ "type": "AssumedRole", "principalId": "AROA:bob", "sessionContext": admin }),
                "arn:aws:iam::999988887777:role/team/Admin (session bob, account 999988887777)",
                "Admin/bob (account 999988887777)",
            ),
            (
                json!({ "type": "AssumedRole", "sessionContext": issuer("arn:aws:iam::123456789012:role/Admin") }),
                "arn:aws:iam::123456789012:role/Admin",
                "Admin",
            ),
            (
                json!({ "type": "FederatedUser", "principalId": "x:bob", "sessionContext": issuer("arn:aws:iam::123456789012:user/a") }),
                "x:bob (account 123456789012)",
                "bob",
            ),
            (
                json!({ "type": "IdentityCenterUser", "onBehalfOf": center }),
                "u-1 (account 999988887777)",
                "u-1 (account 999988887777)",
            ),
            (
                json!({ "type": "Unknown", "userName": "alice", "onBehalfOf": center }),
                "alice (user u-1, account 999988887777)",
                "alice (account 999988887777)",
            ),
        ] {
            let caller = caller(&identity);
            assert_eq!((caller.full.as_str(), caller.short.fit(99, 99).as_str()), (full, short), "{identity}");
        }
    }

    #[test]
    fn nobody_is_anonymous_in_any_case() {
        for id in ["ANONYMOUS_PRINCIPAL", "anonymous", "Anonymous"] {
            for identity in [
                json!({ "type": "AWSAccount", "principalId": "", "accountId": id }),
                json!({ "type": "Unknown", "principalId": id }),
            ] {
                let caller = caller(&identity);
                assert_eq!((caller.full.as_str(), caller.short.fit(99, 99).as_str()), ("anonymous", "anonymous"));
            }
        }
    }

    #[test]
    fn root_is_told_with_the_person_who_acts_as_root() {
        let root = "arn:aws:iam::123456789012:root";
        let role = "arn:aws:iam::111122223333:role/Security";
        let context = json!({ "assumedRoot": true, "sourceIdentity": "alice", "sessionIssuer": { "arn": role } });
        let caller = caller(&json!({ "type": "Root", "arn": root, "sessionContext": context }));
        assert_eq!(caller.full, format!("{root} (AssumeRoot by alice as {role})"));
        assert_eq!(caller.short.fit(0, 30), "root (AssumeRoot by alice)");
    }

    #[test]
    fn a_source_identity_is_the_person() {
        for (arn, short) in [
            ("arn:aws:sts::123456789012:assumed-role/Deploy/x", "alice (Deploy)"),
            ("arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/x", "alice (Admin)"),
            ("arn:aws:sts::123456789012:federated-user/x", "alice (x)"),
            ("arn:aws:sts::123456789012:federated-user/alice", "alice"),
        ] {
            let caller = caller(&json!({ "arn": arn, "sessionContext": { "sourceIdentity": "alice" } }));
            assert_eq!(caller.short.fit(99, 99), short);
        }
    }

    #[test]
    fn the_sessions_of_a_program_have_a_steady_name_and_people_have_their_own() {
        let session = |name: &str| json!({ "arn": format!("arn:aws:sts::123456789012:assumed-role/Deploy/{name}") });
        let outside = |name: &str| json!({ "principalId": format!("AROA:{name}"), "accountId": "999988887777" });
        let sourced = |name: &str, source: &str| json!({ "arn": session(name)["arn"], "sessionContext": { "sourceIdentity": source } });
        let (first, second) = ("botocore-session-1763675310", "botocore-session-1763679999");
        let user = |name: &str| json!({ "type": "IAMUser", "userName": name, "accountId": "123456789012" });
        for (one, other, same) in [
            (session(first), session(second), true),
            (session(first), session("alice"), false),
            (session("alice"), session("bob"), false),
            (session("i-0abcdef1234567890"), session("i-0fedcba1234567890"), false),
            (outside(first), outside(second), true),
            (outside("alice"), outside("bob"), false),
            (sourced(first, "alice"), sourced("another", "alice"), true),
            (sourced(first, "alice"), sourced(second, "bob"), false),
            (user("1763675310"), user("1763679999"), false),
        ] {
            assert_eq!(caller(&one).steady == caller(&other).steady, same, "{one} {other}");
        }
    }
}

//! The caller of a call: a text for each type of identity, a short name for subjects, and what repeats have in common.

use std::borrow::Cow;

use super::sanitize::truncate_and_count;
use super::short_name::{ShortName, is_made_up};
use crate::log::{Shown, is_account};

/// Stand in `accountId` and `principalId` where nobody signed the request, in any case.
const ANONYMOUS: [&str; 2] = ["ANONYMOUS_PRINCIPAL", "anonymous"];

/// Names a caller of whom only a type or an account is known.
const UNIDENTIFIED: &str = "unidentified";

/// A permission set of IAM Identity Center has a role, whose name is this, the set's name, `_` and 16 more characters.
const PERMISSION_SET: &str = "AWSReservedSSO_";

/// The most characters of a caller's ARN or name, and of what follows it. An ARN has 2,048 at most, and usually a tenth.
const LIMIT: usize = 2_000;

/// The caller's name.
#[derive(Clone, Copy, Default)]
struct Name<'i> {
    text: &'i str,
    role: &'i str,
    person: &'i str,
    /// Whether the text ends in the name of a session, which is the person.
    is_session: bool,
    note: Option<&'static str>,
    /// The account, if it is told beside the name: of an ARN or a service only if it is another one.
    account: Option<&'i str>,
}

/// What a record tells of its caller. Which fields it has depends on the type of identity.
pub(super) struct Identity<'a> {
    kind: Cow<'a, str>,
    arn: Option<Cow<'a, str>>,
    user_name: Option<Cow<'a, str>>,
    /// The ID of a user of IAM Identity Center.
    user: Option<Cow<'a, str>>,
    principal_id: Option<Cow<'a, str>>,
    access_key: Option<Cow<'a, str>>,
    provider: Option<Cow<'a, str>>,
    account: Option<Cow<'a, str>>,
    /// Whether the account is not the one in which the call happened.
    is_from_outside: bool,
    is_unsigned: bool,
    /// Whether it is a session of `AssumeRoot`.
    acts_as_root: bool,
    /// The ARN of the role or the user from which the session comes.
    issuer: Option<Cow<'a, str>>,
    /// The source identity.
    source: Option<Cow<'a, str>>,
    service: Option<Cow<'a, str>>,
    delegate: Option<Cow<'a, str>>,
}

impl<'a> Identity<'a> {
    /// The caller of a call that happened in that account.
    pub(super) fn of(record: &Shown<'_, 'a>, here: Option<&str>) -> Self {
        let identity = record.at("userIdentity");
        let (context, behalf) = (identity.at("sessionContext"), identity.at("onBehalfOf"));
        let (kind, arn) = (identity.text("type").unwrap_or_default(), identity.text("arn"));
        let principal_id = identity.text("principalId");
        // Records of Identity Center had the type Unknown at first. A sign-in names the user in its details.
        let is_of_center = matches!(&*kind, "IdentityCenterUser" | "Unknown");
        let center = |place: &Shown<'_, 'a>, key| if is_of_center { place.text(key) } else { None };
        let user_name = identity.text("userName");
        let user_name = user_name.or_else(|| center(&record.at("additionalEventData"), "UserName"));
        let store = center(&behalf, "identityStoreArn");
        let issuer = context.at("sessionIssuer").text("arn").filter(|issuer| Some(issuer) != arn.as_ref());
        // The call to AssumeRoot may say so too. It is made in the session of a role.
        let is_role = arn.as_deref().is_some_and(|arn| arn.contains(":assumed-role/"));
        let acts_as_root = !is_role && context.scalar("assumedRoot").as_deref() == Some("true");
        // A session is in the account of its issuer, unless it acts as another account's root.
        let in_account = [&arn, if acts_as_root { &None } else { &issuer }, &store];
        let account_id = identity.scalar("accountId");
        let is_unsigned = account_id.iter().chain(&principal_id).any(|id| is_anonymous(id));
        let account = account_id.filter(|id| !is_anonymous(id));
        let account = account.or_else(|| in_account.into_iter().flatten().find_map(|arn| account_of(arn)));
        let provider = identity.text("identityProvider").or_else(|| {
            let provider = principal_id.as_deref()?.strip_suffix(user_name.as_deref()?)?.strip_suffix(':')?;
            (kind == "SAMLUser" && !provider.is_empty()).then(|| provider.to_owned().into())
        });
        Identity {
            is_from_outside: here.is_some_and(|here| account.as_deref().is_some_and(|account| account != here)),
            is_unsigned,
            user: center(&behalf, "userId"),
            access_key: identity.text("accessKeyId"),
            source: context.text("sourceIdentity"),
            service: identity.text("invokedBy"),
            delegate: identity.at("invokedByDelegate").text("accountId"),
            principal_id,
            kind,
            arn,
            user_name,
            provider,
            account,
            acts_as_root,
            issuer,
        }
    }

    fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The account, if it is not the one in which the call happened.
    fn other_account(&self) -> Option<&str> {
        self.account().filter(|_| self.is_from_outside)
    }

    /// The principal, unless it is the account.
    fn principal(&self) -> Option<&str> {
        self.principal_id.as_deref().filter(|id| Some(*id) != self.account())
    }

    fn session(&self) -> Option<&str> {
        Some(self.principal_id.as_deref()?.split_once(':')?.1)
    }

    /// The ARN, or else what names a caller of this
    /// [type](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html);
    /// and what is told beside it.
    fn name_and_notes(&self) -> Option<(Name<'_>, Vec<Cow<'_, str>>)> {
        let labelled = |label: &str, text: Option<&str>| text.map(|text| format!("{label} {text}").into());
        let user_name = self.user_name.as_deref().map(|name| self.plain(name));
        let (own, note): (_, Option<Cow<'_, str>>) = match &*self.kind {
            _ if self.is_unsigned => (Some(self.anybody("anonymous")), None),
            _ if self.acts_as_root => (Some(self.plain("root")), Some(self.as_root().into())),
            // Its userName is the account's alias.
            "Root" => (Some(self.plain("root")), None),
            "AssumedRole" if self.arn.is_none() && self.issuer.is_some() => {
                (self.issuer.as_deref().map(|role| self.session_of(role)), labelled("session", self.session()))
            }
            "SAMLUser" | "WebIdentityUser" => (user_name, labelled("provider", self.provider.as_deref())),
            "IdentityCenterUser" | "Unknown" if user_name.is_none() => {
                (self.user.as_deref().map(|id| self.plain(id)), None)
            }
            "IdentityCenterUser" | "Unknown" => (user_name, labelled("user", self.user.as_deref())),
            "AWSService" => {
                let names = [self.service.as_deref(), self.user_name.as_deref(), self.principal()];
                (names.into_iter().flatten().next().map(|name| self.service(name)), None)
            }
            "" | "AWSAccount" | "AssumedRole" | "Directory" | "FederatedUser" | "IAMUser" | "Role" => (user_name, None),
            new => {
                let principal = self.principal().filter(|_| self.arn.is_some() || user_name.is_some());
                let note = principal.map_or(new.into(), |id| format!("{new}, principal {id}").into());
                (user_name, Some(note))
            }
        };
        let name = self.arn.as_deref().map(|arn| self.named_by_arn(arn)).or(own);
        let name = name.or_else(|| self.principal().map(|id| self.named_by_id(id)));
        let name = name.or_else(|| self.service.as_deref().map(|name| self.service(name)));
        let access_key = |id| Name { note: Some("access key"), ..self.plain(id) };
        if let Some(name) = name.or_else(|| self.access_key.as_deref().map(access_key)) {
            return Some((name, note.into_iter().chain(name.note.map(Cow::Borrowed)).collect()));
        }
        let kind = Some(&*self.kind).filter(|kind| !kind.is_empty());
        let note = note.filter(|note| Some(&**note) != kind);
        let notes = kind.map(Cow::Borrowed).into_iter().chain(note).collect();
        (kind.is_some() || self.account.is_some()).then(|| (self.anybody(UNIDENTIFIED), notes))
    }

    /// The name, and in brackets all that is told beside it, the account last.
    fn name_with_account(&self) -> Option<(Name<'_>, String)> {
        let (name, mut notes) = self.name_and_notes()?;
        notes.extend(name.account.map(|account| format!("account {account}").into()));
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        Some((name, notes))
    }

    /// The ARN, or else a name, and what tells it apart from others; `None` where the record tells nothing.
    pub(super) fn full(&self) -> Option<String> {
        let (name, mut notes) = self.name_with_account()?;
        let service = self.service.as_deref().filter(|service| *service != name.text);
        for (through, by) in [(", through ", service), (", through the delegate ", self.delegate.as_deref())] {
            notes.extend(by.into_iter().flat_map(|by| [through, by]));
        }
        Some([truncate_and_count(name.text, LIMIT), truncate_and_count(&notes, LIMIT)].concat())
    }

    /// What is the same in every session of a person or a program.
    pub(super) fn steady(&self) -> Option<Cow<'_, str>> {
        let (name, notes) = self.name_with_account()?;
        let made_up = if name.is_session && is_made_up(name.person) { name.person } else { "" };
        let steady = || [name.text.strip_suffix(made_up).unwrap_or(name.text), &notes].concat().into();
        Some(self.source.as_deref().map_or_else(steady, Cow::Borrowed))
    }

    /// For subjects.
    pub(super) fn short(&self) -> Option<ShortName<'_>> {
        let (Name { role, person, .. }, _) = self.name_and_notes()?;
        let account = self.other_account();
        if self.acts_as_root {
            let by = self.person_as_root().or(self.issuer.as_deref().map(|role| after_last('/', role)));
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            let person = format!("root (AssumeRoot{by})").into();
            return Some(ShortName { person, role: "", is_role_behind: false, account });
        }
        let set = role.strip_prefix(PERMISSION_SET).map(|name| name.rsplit_once('_').map_or(name, |(set, _)| set));
        let is_role_behind = self.source.is_some() || set.is_some();
        let (person, role) = match (self.source.as_deref(), set.unwrap_or(role)) {
            (None, role) => (person, role),
            // A session may have any name. The source identity is the person.
            (Some(source), role) => {
                let role = if role.is_empty() { person } else { role };
                (source, Some(role).filter(|role| *role != source).unwrap_or_default())
            }
        };
        Some(ShortName { person: person.into(), role, is_role_behind, account })
    }

    fn named_by_arn<'i>(&'i self, arn: &'i str) -> Name<'i> {
        let resource = arn.splitn(6, ':').last().unwrap_or(arn);
        let session = resource.strip_prefix("assumed-role/").and_then(|session| session.split_once('/'));
        let (role, person) = session.unwrap_or(("", after_last('/', resource)));
        Name { text: arn, role, person, is_session: session.is_some(), note: None, account: self.other_account() }
    }

    fn session_of<'i>(&'i self, role: &'i str) -> Name<'i> {
        let name = self.named_by_arn(role);
        self.session().map_or(name, |session| Name { role: name.person, person: session, ..name })
    }

    /// `principalId`: an ID, or IDs and a name with colons between them.
    fn named_by_id<'i>(&'i self, id: &'i str) -> Name<'i> {
        if id.starts_with("arn:") {
            return self.named_by_arn(id);
        }
        let person = after_last(':', id);
        Name { is_session: person != id, person, ..self.plain(id) }
    }

    /// A name that could be anybody's: its account is told even if it is not known.
    fn plain<'i>(&'i self, name: &'i str) -> Name<'i> {
        let unknown = self.provider.is_none().then_some("unknown");
        Name { account: self.account().or(unknown), ..self.anybody(name) }
    }

    fn service<'i>(&'i self, name: &'i str) -> Name<'i> {
        Name { note: Some("AWS service"), account: self.other_account(), ..self.anybody(name) }
    }

    fn anybody<'i>(&'i self, name: &'i str) -> Name<'i> {
        Name { text: name, person: name, account: self.account(), ..Name::default() }
    }

    /// A note on a session of `AssumeRoot`.
    fn as_root(&self) -> String {
        match (self.person_as_root().or(self.issuer.as_deref()), self.issuer.as_deref()) {
            (Some(person), Some(role)) if person != role => format!("AssumeRoot by {person} as {role}"),
            (Some(person), _) => format!("AssumeRoot by {person}"),
            (None, _) => "AssumeRoot".to_owned(),
        }
    }

    fn person_as_root(&self) -> Option<&str> {
        self.source.as_deref().or(self.session())
    }
}

/// The account that a record names beside its caller.
pub(super) fn account<'a>(record: &Shown<'_, 'a>) -> Option<Cow<'a, str>> {
    record.at("userIdentity").scalar("accountId").filter(|id| !is_anonymous(id))
}

fn account_of(arn: &str) -> Option<Cow<'static, str>> {
    arn.split(':').nth(4).filter(|id| is_account(id)).map(|id| id.to_owned().into())
}

fn is_anonymous(id: &str) -> bool {
    ANONYMOUS.iter().any(|name| name.eq_ignore_ascii_case(id))
}

fn after_last(separator: char, text: &str) -> &str {
    text.rsplit(separator).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::log::Record;

    fn caller(identity: &Value) -> Identity<'static> {
        let record = Record::parse(json!({ "userIdentity": identity }).to_string().leak()).unwrap();
        Identity::of(&record.shown(), Some("123456789012"))
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
            assert_eq!(
                (caller.full().unwrap().as_str(), caller.short().unwrap().fit(99, 99).as_str()),
                (full, short),
                "{identity}"
            );
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
                assert_eq!(
                    (caller.full().unwrap().as_str(), caller.short().unwrap().fit(99, 99).as_str()),
                    ("anonymous", "anonymous")
                );
            }
        }
    }

    #[test]
    fn root_is_told_with_the_person_who_acts_as_root() {
        let root = "arn:aws:iam::123456789012:root";
        let role = "arn:aws:iam::111122223333:role/Security";
        let context = json!({ "assumedRoot": true, "sourceIdentity": "alice", "sessionIssuer": { "arn": role } });
        let caller = caller(&json!({ "type": "Root", "arn": root, "sessionContext": context }));
        assert_eq!(caller.full().unwrap(), format!("{root} (AssumeRoot by alice as {role})"));
        assert_eq!(caller.short().unwrap().fit(0, 30), "root (AssumeRoot by alice)");
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
            assert_eq!(caller.short().unwrap().fit(99, 99), short);
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
            assert_eq!(caller(&one).steady() == caller(&other).steady(), same, "{one} {other}");
        }
    }
}

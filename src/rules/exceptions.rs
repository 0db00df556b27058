//! Warnings about exceptions (`unless`, `ignore`) that match more callers than they mean. Each shows a text that somebody
//! else can be called, and that the pattern matches all the same.

use super::examples::{examples, matches_everything};
use super::model::{Condition, Test};
use crate::log::is_account;

/// The account in patterns that warnings propose.
const ACCOUNT: &str = "123456789012";

/// An account that nobody means.
const STRANGER: &str = "999999999999";

/// The kinds of text that exceptions look into, by how somebody can make one that contains another text.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Whoever sends the request chooses all of it.
    Chosen,
    /// An object, with texts of the caller in it.
    Object,
    /// The ARN of a user, role or policy, whose path may hold any text; or of a session.
    Arn(&'static str),
    /// The ARN of any resource, such as an object, whose key may hold any text.
    Resource,
    /// The name of a user or role.
    Name,
    /// A unique id, and behind a colon the name of a session.
    Principal,
}

/// The kind of the text at a test's path, if it names somebody or is the caller's choice.
fn kind(test: &Test) -> Option<Kind> {
    let keys: Vec<&str> = test.path.iter().map(String::as_str).collect();
    Some(match keys[..] {
        ["userAgent"]
        | ["tlsDetails", "clientProvidedHostHeader"]
        | ["requestParameters", .., "externalId" | "roleSessionName" | "sourceIdentity"] => Kind::Chosen,
        ["requestParameters" | "userIdentity"] | ["userIdentity", .., "sessionContext" | "sessionIssuer"] => {
            Kind::Object
        }
        ["userIdentity", .., "sessionIssuer", "arn"] | [.., "roleArn"] => Kind::Arn("role"),
        ["userIdentity", .., "arn"] => Kind::Arn("user"),
        ["resources", "ARN"] => Kind::Resource,
        [.., "policyArn"] => Kind::Arn("policy"),
        [.., "userName" | "sourceIdentity"] => Kind::Name,
        [.., "principalId"] => Kind::Principal,
        _ => return None,
    })
}

/// The warning about a test that alone makes an exception, as each one of an `unless` does.
pub(super) fn of_test(test: &Test) -> Option<String> {
    let (path, kind) = (test.path_text(), kind(test)?);
    if kind == Kind::Chosen {
        return Some(format!(
            "`{path}`: the caller chooses it, so that anybody can be excepted: except callers by `userIdentity.arn` instead"
        ));
    }
    if matches_everything(&test.pattern) {
        return None;
    }
    let (example, other) = examples(&test.pattern).into_iter().find_map(|example| {
        let other = others(kind, &example).into_iter().find(|other| test.pattern.is_match(other))?;
        Some((example, other))
    })?;
    let why = match kind {
        Kind::Object => "which anybody can send: name the key that is meant".to_owned(),
        _ => format!("which somebody else can have: anchor it, as in `{}`", anchored(kind, &example)),
    };
    Some(format!("`{path}`: `{}` also matches `{other}`, {why}", test.pattern.as_str()))
}

/// The warnings about an `ignore` entry. All of its tests must match, so one that names a caller for certain is enough.
pub(super) fn of_ignore(entry: &Condition) -> Vec<String> {
    let is_certain = |test: &Test| {
        let names = matches!(kind(test), Some(Kind::Arn(_) | Kind::Name | Kind::Principal));
        names && !matches_everything(&test.pattern) && of_test(test).is_none()
    };
    let tests = entry.wheres.iter();
    if tests.clone().any(is_certain) { Vec::new() } else { tests.filter_map(of_test).collect() }
}

/// Texts of others that a pattern for this one matches too, unless it is anchored.
fn others(kind: Kind, example: &str) -> Vec<String> {
    let longer = example.ends_with(char::is_alphanumeric).then(|| format!("{example}x"));
    match kind {
        Kind::Chosen => Vec::new(),
        Kind::Object => serde_json::to_string(example).map(|text| format!("{{\"x\":{text}}}")).into_iter().collect(),
        Kind::Arn(of) => {
            let in_path = format!("arn:aws:iam::{STRANGER}:{of}/{example}");
            let session = session(example).map(|(_, name)| name);
            let other_role = session.map(|name| format!("arn:aws:sts::{ACCOUNT}:assumed-role/mallory/{name}"));
            // Sessions of one role are one caller's.
            let longer = longer.filter(|_| session.is_none());
            let in_account = other_role.map(|arn| arn.replace(ACCOUNT, account(example)));
            [in_path.clone(), format!("{in_path}/x")].into_iter().chain(in_account).chain(longer).collect()
        }
        Kind::Resource => vec![format!("arn:aws:s3:::mallory/{example}")],
        Kind::Name => [format!("x{example}")].into_iter().chain(longer).collect(),
        Kind::Principal => vec![format!("AROAOTHER:{}", example.trim_start_matches(':'))],
    }
}

/// The role and the name in the ARN of a role's session.
fn session(arn: &str) -> Option<(&str, &str)> {
    let (role, name) = arn.split_once("assumed-role/")?.1.split_once('/')?;
    (!name.is_empty()).then_some((role, name))
}

fn account(arn: &str) -> &str {
    arn.split(':').find(|part| is_account(part)).unwrap_or(ACCOUNT)
}

/// A pattern that matches a text like this one and no text of others.
fn anchored(kind: Kind, example: &str) -> String {
    let after = |start: &str| example.split_once(start).map(|(_, rest)| rest);
    let last = || example.trim_matches(['/', ':']).rsplit(['/', ':']).next().unwrap_or_default();
    let plain = |name: &str, instead: &str| match name.trim_matches(['.', '/']) {
        "" => instead.to_owned(),
        _ => regex::escape(name),
    };
    let account = account(example);
    match kind {
        Kind::Arn(of) => {
            let identity = format!("^arn:aws:iam::{account}:");
            let names =
                ["user/", "role/", "policy/"].into_iter().find_map(|kind| Some((kind, after(&format!(":{kind}"))?)));
            match (after("assumed-role/"), names) {
                (Some(role), _) => {
                    let role = role.split('/').next().unwrap_or_default();
                    format!("^arn:aws:sts::{account}:assumed-role/{}/", plain(role, "NAME-OF-THE-ROLE"))
                }
                (None, Some((kind, name))) => format!("{identity}{kind}{}$", plain(name, "NAME")),
                (None, None) if of == "user" => {
                    format!("^arn:aws:sts::{account}:assumed-role/{}/", plain(last(), "NAME-OF-THE-ROLE"))
                }
                (None, None) => format!("{identity}{of}/{}$", plain(last(), "NAME")),
            }
        }
        Kind::Resource if example.starts_with("arn:") => format!("^{}", regex::escape(example)),
        Kind::Resource => format!("^arn:aws:s3:::{}", plain(last(), "NAME")),
        Kind::Principal => {
            format!("^{}", plain(example.strip_prefix(':').map_or(example, |_| "AROAEXAMPLE:"), "AROAEXAMPLE:"))
        }
        _ => format!("^{}$", plain(example, "NAME")),
    }
}

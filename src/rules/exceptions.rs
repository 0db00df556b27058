//! Warnings about exceptions (`unless`, `ignore`) that match more callers than they mean. Each shows a text that somebody
//! else can be called, and that the pattern matches all the same.

use super::examples::{examples, matches_everything};
use super::model::{Condition, Test};

/// The account in patterns that warnings propose.
const ACCOUNT: &str = "123456789012";

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
            let in_path = format!("arn:aws:iam::999999999999:{of}/{example}");
            let of_other_role = session(example).map(|(before, name)| format!("{before}assumed-role/mallory/{name}"));
            // Sessions of one role are one caller's.
            let longer = longer.filter(|_| of_other_role.is_none());
            [in_path.clone(), format!("{in_path}/x")].into_iter().chain(of_other_role).chain(longer).collect()
        }
        Kind::Resource => vec![format!("arn:aws:s3:::mallory/{example}")],
        Kind::Name => [format!("x{example}")].into_iter().chain(longer).collect(),
        Kind::Principal => vec![format!("AROAOTHER:{}", example.trim_start_matches(':'))],
    }
}

/// The ARN of a role's session before its role, and the name of the session.
fn session(arn: &str) -> Option<(&str, &str)> {
    let (before, session) = arn.split_once("assumed-role/")?;
    let (_, name) = session.split_once('/')?;
    (!name.is_empty()).then_some((before, name))
}

/// A pattern that matches a text like this one and no text of others.
fn anchored(kind: Kind, example: &str) -> String {
    match kind {
        Kind::Arn(of) => anchored_arn(of, example),
        Kind::Resource if example.starts_with("arn:") => format!("^{}", regex_syntax::escape(example)),
        Kind::Resource => format!("^arn:aws:s3:::{}", escaped(example.trim_start_matches(':'))),
        Kind::Principal if example.starts_with(':') => "^AROAEXAMPLE:".to_owned(),
        Kind::Principal => format!("^{}", escaped(example)),
        _ => format!("^{}$", escaped(example)),
    }
}

fn anchored_arn(of: &str, example: &str) -> String {
    let resource = if example.starts_with("arn:") { example.splitn(6, ':').nth(5) } else { None };
    // An example has zeros where a pattern has digits.
    let given =
        resource.and_then(|resource| example.strip_suffix(resource)).map(|arn| arn.replace("000000000000", ACCOUNT));
    let start = |service: &str| given.clone().unwrap_or_else(|| format!("arn:aws:{service}::{ACCOUNT}:"));
    let resource = resource.unwrap_or(example).trim_start_matches([':', '/']);
    let (kind, name) = ["assumed-role/", "user/", "role/", "policy/"]
        .into_iter()
        .find_map(|kind| Some((kind, resource.split_once(kind)?.1)))
        // A name alone is most often that of a role, and a caller's ARN is then that of its session.
        .unwrap_or((if of == "user" { "assumed-role/" } else { "" }, resource));
    match kind {
        "assumed-role/" => {
            let role = name.split('/').next().unwrap_or_default();
            format!("^{}assumed-role/{}/", start("sts"), escaped(role))
        }
        "" => format!("^{}{of}/{}$", start("iam"), escaped(name)),
        _ => format!("^{}{kind}{}$", start("iam"), escaped(name)),
    }
}

/// A name for a pattern, or a placeholder where an example has none.
fn escaped(name: &str) -> String {
    match name.trim_matches(['.', '/']) {
        "" => "NAME".to_owned(),
        _ => regex_syntax::escape(name),
    }
}

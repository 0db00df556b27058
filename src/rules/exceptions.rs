//! Warnings about exceptions (`unless`, `ignore`) that match more callers than they mean. Each shows a text that somebody
//! else can be called, and that the test finds all the same.

use std::net::Ipv4Addr;
use std::slice;

use super::condition::{Check, Condition, Test};
use super::examples::{examples, matches_everything};
use super::paths::flat;
use crate::log::is_account;

/// The account of somebody else.
const OTHER_ACCOUNT: &str = "999999999999";

/// Stands before the role in the ARN of a session.
const ROLE_OF_SESSION: &str = "assumed-role/";

/// The most texts of a test that are looked at.
const TEXTS: usize = 16;

/// The kinds of text that exceptions look into, by how somebody can make one that contains another text.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Whoever sends the request chooses all of it.
    Chosen,
    /// An object, with texts of the caller in it.
    Object,
    /// The number of the caller's account.
    Account,
    /// The ARN of a user, role or policy, whose path may hold any text; or of a session.
    Arn(&'static str),
    /// The ARN of any resource, such as an object, whose key may hold any text.
    Resource,
    /// The name of a user or role.
    Name,
    /// A unique id, and behind a colon the name of a session.
    Principal,
    /// An IP address.
    Address,
}

/// The kind of the text at a path, if it names somebody or is the caller's choice.
fn kind(path: &[String]) -> Option<Kind> {
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    Some(match keys[..] {
        ["userAgent"]
        | ["tlsDetails", "clientProvidedHostHeader"]
        | ["requestParameters", .., "externalId" | "roleSessionName" | "sourceIdentity"] => Kind::Chosen,
        ["requestParameters" | "userIdentity"] | ["userIdentity", .., "sessionContext" | "sessionIssuer"] => {
            Kind::Object
        }
        ["sourceIPAddress"] => Kind::Address,
        ["userIdentity", "accountId"] | ["userIdentity", .., "sessionIssuer", "accountId"] => Kind::Account,
        ["userIdentity", .., "sessionIssuer", "arn"] | [.., "role", "arn"] | [.., "roleArn"] => Kind::Arn("role"),
        [.., "assumedRoleUser", "arn"] => Kind::Arn("assumed-role"),
        ["userIdentity", .., "arn"] | [.., "user", "arn"] => Kind::Arn("user"),
        [.., "policy", "arn"] | [.., "policyArn"] => Kind::Arn("policy"),
        ["resources", "ARN"] => Kind::Resource,
        [.., "userName" | "UserName" | "username" | "roleName" | "sourceIdentity"] => Kind::Name,
        [.., "principalId" | "assumedRoleId"] => Kind::Principal,
        _ => return None,
    })
}

/// The warnings about an `ignore` entry. All of its tests must pass, so one that names a caller for certain is enough.
pub(super) fn of_ignore(entry: &Condition) -> Vec<String> {
    let account = account(&entry.wheres);
    let warning = |test: &Test| of_test(test, account.as_deref());
    let is_certain = |test: &Test| {
        let names = matches!(kind(&test.path), Some(Kind::Arn(_) | Kind::Name | Kind::Principal));
        names && test.is_within("userIdentity") && is_specific(test) && warning(test).is_none()
    };
    let tests = entry.wheres.iter();
    if tests.clone().any(is_certain) { Vec::new() } else { tests.filter_map(warning).collect() }
}

/// Whether a test asks for more than that there is a text.
fn is_specific(test: &Test) -> bool {
    test.patterns().iter().any(|pattern| !matches_everything(pattern))
}

/// An account of which callers must be, if tests let in no other than they name.
pub(super) fn account<'a>(wheres: impl IntoIterator<Item = &'a Test>) -> Option<String> {
    let is_certain =
        |test: &&Test| kind(&test.path) == Some(Kind::Account) && is_specific(test) && of_test(test, None).is_none();
    wheres.into_iter().filter(is_certain).flat_map(texts).find(|text| is_account(text))
}

/// Texts that a test finds, or that it may find.
fn texts(test: &Test) -> Vec<String> {
    let put_together = |starts: Vec<String>, ends: Vec<String>| {
        starts.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).take(TEXTS).collect()
    };
    test.patterns().iter().map(examples).reduce(put_together).unwrap_or_default()
}

/// The warning about a test that alone makes an exception, as each one of an `unless` does. Callers are of any account,
/// or of this one.
pub(super) fn of_test(test: &Test, account: Option<&str>) -> Option<String> {
    if let Check::Element(_) = test.check {
        // All of its tests must pass, so one that names nobody else is enough.
        let warnings: Option<Vec<_>> = flat(slice::from_ref(test)).iter().map(|test| of_test(test, account)).collect();
        return warnings?.into_iter().next();
    }
    let (path, kind) = (test.path_text(), kind(&test.path)?);
    if kind == Kind::Chosen {
        return Some(format!(
            "`{path}`: the caller chooses it, so that anybody can be excepted: except callers by `userIdentity.arn` instead"
        ));
    }
    if !is_specific(test) {
        return None;
    }
    let account = account.filter(|_| test.is_within("userIdentity"));
    let is_found = |text: &str| test.patterns().iter().all(|pattern| pattern.is_match(text));
    let (example, other) = texts(test).into_iter().find_map(|example| {
        let others = others(kind, &example, &is_found, account);
        let other = others.into_iter().find(|other| *other != example && is_found(other))?;
        Some((example, other))
    })?;
    let written: Vec<_> = test.patterns().iter().map(|pattern| format!("`{}`", pattern.as_str())).collect();
    let why = match instead(kind, &example) {
        Some(instead) => format!("which somebody else can have: write it in full, as in `\"{path}\": {instead}`"),
        None => "which anybody can send: name the key that is meant".to_owned(),
    };
    Some(format!("`{path}`: {} also matches `{other}`, {why}", written.join(" with ")))
}

/// A test that finds nobody else, with a name to be filled in.
fn instead(kind: Kind, example: &str) -> Option<&'static str> {
    let has = |part: &str| example.contains(part);
    Some(match kind {
        Kind::Chosen | Kind::Object => return None,
        Kind::Account => r#""^123456789012$""#,
        Kind::Arn(_) if has(":root") => r#""^arn:aws:iam::123456789012:root$""#,
        Kind::Arn(_) if has("federated-user/") => r#""^arn:aws:sts::123456789012:federated-user/NAME$""#,
        Kind::Arn("user") if has("user/") => r#""^arn:aws:iam::123456789012:user/NAME$""#,
        Kind::Arn("user" | "assumed-role") => r#""^arn:aws:sts::123456789012:assumed-role/NAME/""#,
        Kind::Arn("policy") => r#""^arn:aws:iam::(aws|123456789012):policy/NAME$""#,
        Kind::Arn(_) => r#""^arn:aws:iam::123456789012:role/NAME$""#,
        Kind::Resource => r#""^arn:aws:s3:::NAME(/|$)""#,
        Kind::Name => r#""^NAME$""#,
        Kind::Principal => r#""^AROAEXAMPLE:""#,
        Kind::Address => r#"{"cidr": ["203.0.113.0/24"]}"#,
    })
}

/// Texts of others that a pattern for this one matches too, unless it is anchored. The others are in any account, or in
/// this one.
fn others(kind: Kind, example: &str, is_found: &dyn Fn(&str) -> bool, account: Option<&str>) -> Vec<String> {
    let ends_open = is_name(example) && example.ends_with(char::is_alphanumeric);
    let longer = ends_open.then(|| suffixed(example));
    match kind {
        Kind::Chosen => Vec::new(),
        Kind::Object => serde_json::to_string(example).map(|text| format!("{{\"x\":{text}}}")).into_iter().collect(),
        Kind::Account => vec![format!("{example:9<12}"), OTHER_ACCOUNT.to_owned(), format!("{example:9>12}")],
        Kind::Arn(of) => {
            let in_path = match of {
                "assumed-role" => format!("arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/mallory/{example}"),
                _ => format!("arn:aws:iam::{}:{of}/{example}", account.unwrap_or(OTHER_ACCOUNT)),
            };
            let mut others = vec![in_path.clone(), format!("{in_path}/x")];
            let [before, name, after] = named(example).unwrap_or([example, "", ""]);
            if before.ends_with(ROLE_OF_SESSION) && after.len() > 1 {
                others.push(format!("{before}mallory{after}"));
            } else {
                // Sessions of one role are one caller's.
                others.extend(longer);
            }
            // A name that begins or ends with another character is part of several names on purpose.
            let shorter = name.starts_with(char::is_alphanumeric).then(|| prefixed(name));
            let longer = name.ends_with(char::is_alphanumeric).then(|| suffixed(name));
            let renamed = shorter.into_iter().chain(longer).filter(|_| is_name(name));
            others.extend(renamed.map(|other| format!("{before}{other}{after}")));
            others.extend(in_other_account(example).filter(|_| account.is_none()));
            others
        }
        Kind::Resource => {
            // The rest of an ARN is within what it names.
            let longer = longer.filter(|_| !example.contains('/'));
            [format!("arn:aws:s3:::mallory/{example}")].into_iter().chain(longer).collect()
        }
        Kind::Name => [prefixed(example)].into_iter().chain(longer).collect(),
        Kind::Principal => vec![format!("AROAOTHER:{}", example.trim_start_matches(':'))],
        Kind::Address => addresses(example, is_found),
    }
}

/// Whether a text has more than what stands for any character.
fn is_name(text: &str) -> bool {
    text.rsplit(['/', ':']).next().is_some_and(|name| name.chars().any(|c| c.is_alphanumeric() && c != 'x'))
}

/// An ARN before the role of a session or before its last name, that role or name, and what follows it.
fn named(arn: &str) -> Option<[&str; 3]> {
    let role = arn.find(ROLE_OF_SESSION).map(|at| at + ROLE_OF_SESSION.len());
    let (before, names) = arn.split_at(role.or_else(|| arn.rfind('/').map(|slash| slash + 1))?);
    let (name, after) = names.split_at(names.find('/').unwrap_or(names.len()));
    Some([before, name, after])
}

/// The same ARN in another account. AWS alone makes what is in the paths that are its own: they name nobody.
fn in_other_account(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let resource = parts.last()?;
    let names_nobody = resource.is_empty() || resource.starts_with("role/aws-") && resource.ends_with('/');
    let start = if parts.len() == 6 { parts[..4].join(":") } else { "arn:aws:sts:".to_owned() };
    (!names_nobody).then(|| format!("{start}:{OTHER_ACCOUNT}:{resource}"))
}

/// Another name. Classes stand for an `x` in examples, and most of them hold no hyphen.
fn prefixed(name: &str) -> String {
    format!("{}{name}", if name.starts_with('x') { "x-" } else { "x" })
}

/// Another name, as above.
fn suffixed(name: &str) -> String {
    format!("{name}{}", if name.ends_with('x') { "-x" } else { "x" })
}

/// Addresses that a test for this one, or for those that begin with it, lets in: where it is open to any text before or
/// after it, or has a dot that stands for any character.
fn addresses(example: &str, is_open: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut starts = Vec::new();
    if is_open(&format!("{example}!")) {
        starts.push(example.to_owned());
    }
    if is_open(&format!("!{example}")) {
        starts.extend(["2", "1", "9."].map(|before| format!("{before}{example}")));
    }
    for (dot, _) in example.match_indices('.') {
        let with = |other: &str| Some(format!("{}{other}{}", example.get(..dot)?, example.get(dot + 1..)?));
        starts.extend(with("9").filter(|_| with("!").is_some_and(|text| is_open(&text))));
    }
    let ends = ["", "9", ".9", "9.9", ".9.9", "9.9.9", ".9.9.9"];
    let is_meant = |text: &String| {
        let rest = text.strip_prefix(example);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || example.ends_with('.'))
    };
    let texts = starts.iter().flat_map(|start| ends.map(|end| format!("{start}{end}")));
    texts.filter(|text| text.parse::<Ipv4Addr>().is_ok() && !is_meant(text)).collect()
}

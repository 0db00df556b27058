//! The exceptions that warnings propose instead of one that matches others too.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::kinds::Kind;
use super::pattern::Pattern;
use crate::log::is_account;

/// The account in proposals, where a pattern names none.
const ACCOUNT: &str = "123456789012";

/// A test that matches a text like this one and no text of others, ready to be pasted into a configuration.
pub(super) fn proposed(kind: Kind, path: &str, example: &str, pattern: &Pattern) -> String {
    let literal = literal(example, pattern);
    let example = if kind == Kind::Address { example } else { &literal };
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let (path, pattern) = match kind {
        // Of an id, only the name of a session can be chosen. Its ARN names the role, too.
        Kind::Principal if !begins_with_id(example) => {
            let name = closed(example.trim_start_matches(':'));
            (format!("{parent}.arn"), format!("^arn:aws:sts::{ACCOUNT}:assumed-role/NAME/{name}"))
        }
        Kind::Arn("user") if is_account(example.trim_matches(':')) => {
            (format!("{parent}.accountId"), format!("^{}$", example.trim_matches(':')))
        }
        _ => (path.to_owned(), anchored(kind, example, !pattern.is_match(&format!("{example}/")))),
    };
    format!("{}: {}", Value::from(path), Value::from(pattern))
}

/// An example with a dot for each name in it that a pattern does not hold as it is, so that it stands for several.
fn literal(example: &str, pattern: &Pattern) -> String {
    let text = pattern.as_str().to_lowercase().replace('\\', "");
    let is_literal = |name: &str| !name.starts_with('-') && text.contains(&name.to_lowercase());
    let names = example.split_inclusive([':', '/']).map(|part| {
        let name = part.trim_end_matches([':', '/']);
        if is_literal(name) { part.to_owned() } else { part.replace(name, ".") }
    });
    names.collect()
}

/// Whether a text begins as unique ids do, in capitals.
fn begins_with_id(text: &str) -> bool {
    let id = text.split(':').next().unwrap_or_default();
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn anchored(kind: Kind, example: &str, is_end: bool) -> String {
    let start = format!("^{}", escaped(example));
    match kind {
        Kind::Account => format!("^{ACCOUNT}$"),
        Kind::Arn(of) => arn(of, example, is_end),
        Kind::Resource => resource(example),
        Kind::Address if example.ends_with('.') => start,
        Kind::Address if example.parse::<Ipv4Addr>().is_err() => format!("{start}\\."),
        Kind::Name => format!("^{}", closed(example)),
        Kind::Principal => start,
        _ => format!("{start}$"),
    }
}

fn arn(of: &str, example: &str, is_end: bool) -> String {
    let parts: Vec<&str> = example.splitn(6, ':').collect();
    let (partition, account, resource) = match parts[..] {
        ["arn", partition, _, _, account, resource] => (partition, account, resource),
        ["arn", .., resource] => ("", "", resource),
        _ => ("", "", example),
    };
    let partition = if partition.starts_with("aws") { partition } else { "aws" };
    let account = match account {
        account if is_account(account) => account.to_owned(),
        // AWS's own policies have a name in place of the account.
        _ if of == "policy" => format!("(aws|{ACCOUNT})"),
        _ => ACCOUNT.to_owned(),
    };
    let start = |service: &str| format!("^arn:{partition}:{service}::{account}:");
    let (kind, name) = ["assumed-role/", "federated-user/", "user/", "role/", "policy/"]
        .into_iter()
        .find_map(|kind| Some((kind, resource.split_once(kind)?.1)))
        .unwrap_or(("", resource.trim_start_matches(':')));
    let is_caller = matches!(of, "user" | "assumed-role");
    match kind {
        "" if name == "root" => format!("{}root$", start("iam")),
        // A user, or a session of any role.
        "" if of == "user" && is_end && !name.ends_with('/') => {
            let name = closed(name.trim_start_matches('/'));
            format!("^arn:{partition}:(iam::{account}:user|sts::{account}:assumed-role/NAME)/{name}")
        }
        // A name alone is most often that of a role, and a caller's ARN is then that of its session.
        "" if !is_caller => format!("{}{of}/{}", start("iam"), closed(name.trim_start_matches('/'))),
        "" | "assumed-role/" => {
            let (role, session) = name.trim_start_matches('/').split_once('/').unwrap_or((name, ""));
            let session = if is_placeholder(role) && !session.is_empty() { closed(session) } else { String::new() };
            let end = if is_beginning(role) { "" } else { "/" };
            format!("{}assumed-role/{}{end}{session}", start("sts"), escaped(role))
        }
        "federated-user/" => format!("{}{kind}{}", start("sts"), closed(name)),
        _ => format!("{}{kind}{}", start("iam"), closed(name)),
    }
}

/// A bucket and its objects, where an ARN is not complete.
fn resource(example: &str) -> String {
    let is_whole = example.starts_with("arn:") && example.matches(':').count() >= 5;
    let name = if is_whole { example } else { example.trim_end_matches(':').rsplit(':').next().unwrap_or_default() };
    let end = if name.contains('/') || is_beginning(name) { "" } else { "(/|$)" };
    format!("^{}{}{end}", if is_whole { "" } else { "arn:aws:s3:::" }, escaped(name))
}

/// A name for a pattern, or a placeholder where an example has none.
fn escaped(name: &str) -> String {
    let is_special = |c| r"\.+*?()|[]{}^$".contains(c);
    let escape = |c| is_special(c).then_some('\\').into_iter().chain([c]);
    let part = |part: &str| if part == "." { "NAME".to_owned() } else { part.chars().flat_map(escape).collect() };
    match name {
        "" => part("."),
        _ => name.split('/').map(part).collect::<Vec<_>>().join("/"),
    }
}

/// A name with its end, unless it is the beginning of names.
fn closed(name: &str) -> String {
    escaped(name) + if is_beginning(name) { "" } else { "$" }
}

/// Whether more follows a name for certain, as in `ci-`.
fn is_beginning(name: &str) -> bool {
    !name.ends_with(char::is_alphanumeric) && !is_placeholder(name)
}

fn is_placeholder(name: &str) -> bool {
    name.trim_matches(['.', '/']).is_empty()
}

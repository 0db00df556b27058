//! Warnings about exceptions (`unless`, `ignore`) that match more callers than they mean. Each shows a text that somebody
//! else can be called, and that the pattern matches all the same.

use std::net::Ipv4Addr;

use super::anchored::proposed;
use super::condition::{Condition, Test};
use super::examples::{examples, matches_everything};
use super::kinds::{Kind, kind};
use super::pattern::Pattern;
use crate::log::is_account;

/// The account of somebody else.
const OTHER_ACCOUNT: &str = "999999999999";

/// The warnings about an `ignore` entry. All of its tests must match, so one that names a caller for certain is enough.
pub(super) fn of_ignore(entry: &Condition) -> Vec<String> {
    let account = account(&entry.wheres);
    let warning = |test: &Test| of_test(test, account.as_deref());
    let is_certain = |test: &Test| {
        let is_of_caller = test.path.first().is_some_and(|key| key == "userIdentity");
        let names = is_of_caller && matches!(kind(test), Some(Kind::Arn(_) | Kind::Name | Kind::Principal));
        names && test.pattern().is_some_and(|pattern| !matches_everything(pattern)) && warning(test).is_none()
    };
    let tests = entry.wheres.iter();
    if tests.clone().any(is_certain) { Vec::new() } else { tests.filter_map(warning).collect() }
}

/// An account of which callers must be, if tests let in no other than they name.
pub(super) fn account(wheres: &[Test]) -> Option<String> {
    let is_certain = |test: &&Test| {
        kind(test) == Some(Kind::Account)
            && test.pattern().is_some_and(|pattern| !matches_everything(pattern))
            && of_test(test, None).is_none()
    };
    let mut examples = wheres.iter().filter(is_certain).filter_map(|test| test.pattern()).flat_map(examples);
    examples.find(|example| is_account(example))
}

/// The warning about a test that alone makes an exception, as each one of an `unless` does. Callers are of any account,
/// or of this one.
pub(super) fn of_test(test: &Test, account: Option<&str>) -> Option<String> {
    let (path, kind) = (test.path_text(), kind(test)?);
    if kind == Kind::Chosen {
        return Some(format!(
            "`{path}`: the caller chooses it, so that anybody can be excepted: except callers by `userIdentity.arn` instead"
        ));
    }
    let pattern = test.pattern()?;
    if matches_everything(pattern) {
        return None;
    }
    let account = account.filter(|_| test.path.first().is_some_and(|key| key == "userIdentity"));
    let (example, other) = examples(pattern).into_iter().find_map(|example| {
        let others = others(kind, &example, pattern, account);
        let other = others.into_iter().find(|other| *other != example && pattern.is_match(other))?;
        Some((example, other))
    })?;
    let why = if kind == Kind::Object {
        "which anybody can send: name the key that is meant".to_owned()
    } else {
        format!("which somebody else can have: write it in full, as in `{}`", proposed(kind, &path, &example, pattern))
    };
    Some(format!("`{path}`: `{}` also matches `{other}`, {why}", pattern.as_str()))
}

/// Texts of others that a pattern for this one matches too, unless it is anchored. The others are in any account, or in
/// this one.
fn others(kind: Kind, example: &str, pattern: &Pattern, account: Option<&str>) -> Vec<String> {
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
            let of_other_role = session(example).map(|(before, name)| format!("{before}assumed-role/mallory/{name}"));
            // Sessions of one role are one caller's.
            let longer = longer.filter(|_| of_other_role.is_none());
            let elsewhere = in_other_account(example, of).filter(|_| account.is_none());
            let in_path = [in_path.clone(), format!("{in_path}/x")].into_iter();
            let renamed = with_other_names(example);
            in_path.chain(of_other_role).chain(longer).chain(renamed).chain(elsewhere).collect()
        }
        Kind::Resource => {
            // The rest of an ARN is within what it names.
            let longer = longer.filter(|_| !example.contains('/'));
            [format!("arn:aws:s3:::mallory/{example}")].into_iter().chain(longer).collect()
        }
        Kind::Name => [prefixed(example)].into_iter().chain(longer).collect(),
        Kind::Principal => vec![format!("AROAOTHER:{}", example.trim_start_matches(':'))],
        Kind::Address => addresses(example, pattern),
    }
}

/// Whether a text has more than what stands for any character.
fn is_name(text: &str) -> bool {
    text.rsplit(['/', ':']).next().is_some_and(|name| name.chars().any(|c| c.is_alphanumeric() && c != 'x'))
}

/// The ARN of a role's session before its role, and the name of the session.
fn session(arn: &str) -> Option<(&str, &str)> {
    let (before, session) = arn.split_once("assumed-role/")?;
    let (_, name) = session.split_once('/')?;
    (!name.is_empty()).then_some((before, name))
}

/// The same ARN in another account. AWS alone makes what is in the paths that are its own: they name nobody.
fn in_other_account(arn: &str, of: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let resource = parts.last()?;
    let names_nobody = resource.is_empty() || resource.starts_with("role/aws-") && resource.ends_with('/');
    let start = match parts[..] {
        ["arn", partition, service, region, ..] if parts.len() == 6 => format!("arn:{partition}:{service}:{region}:"),
        _ if of == "user" && resource.contains("assumed-role/") => "arn:aws:sts::".to_owned(),
        _ => "arn:aws:iam::".to_owned(),
    };
    (!names_nobody).then(|| format!("{start}{OTHER_ACCOUNT}:{resource}"))
}

/// ARNs with other names, which begin or end like this one's.
fn with_other_names(arn: &str) -> Vec<String> {
    let start = match arn.split_once("assumed-role/") {
        Some((before, _)) => Some(before.len() + "assumed-role/".len()),
        None => arn.rfind('/').map(|slash| slash + 1),
    };
    let Some((before, names)) = start.and_then(|start| arn.split_at_checked(start)) else { return Vec::new() };
    let (name, after) = names.split_at(names.find('/').unwrap_or(names.len()));
    // A name that begins or ends with another character is part of several names on purpose.
    let shorter = name.starts_with(char::is_alphanumeric).then(|| prefixed(name));
    let longer = name.ends_with(char::is_alphanumeric).then(|| suffixed(name));
    let others = shorter.into_iter().chain(longer).filter(|_| is_name(name));
    others.map(|other| format!("{before}{other}{after}")).collect()
}

/// Another name. Classes stand for an `x` in examples, and most of them hold no hyphen.
fn prefixed(name: &str) -> String {
    format!("{}{name}", if name.starts_with('x') { "x-" } else { "x" })
}

/// Another name, as above.
fn suffixed(name: &str) -> String {
    format!("{name}{}", if name.ends_with('x') { "-x" } else { "x" })
}

/// Addresses that a pattern for this one, or for those that begin with it, lets in: where it is open to any text before
/// or after it, or has a dot that stands for any character.
fn addresses(example: &str, pattern: &Pattern) -> Vec<String> {
    let is_open = |text: &str| pattern.is_match(text);
    let mut starts = Vec::new();
    if is_open(&format!("{example}!")) {
        starts.push(example.to_owned());
    }
    if is_open(&format!("!{example}")) {
        starts.extend(["2", "1", "9.", "9.9.", "9.9.9."].map(|before| format!("{before}{example}")));
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

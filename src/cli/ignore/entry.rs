//! The narrowest exception for a record: its event source, its event name and its caller, and nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::alert::{escape, is_made_up};
use crate::log::{Record, Shown};
use crate::rules::{config, escaped};

/// The keys of `userIdentity` that tell callers apart, the best first. A user of IAM Identity Center has only the second.
const CALLER: [&str; 6] = ["arn", "onBehalfOf.userId", "principalId", "invokedBy", "userName", "accessKeyId"];

/// Stand in place of a caller, in any case: nobody signed the request, or the user who tried to sign in does not exist.
const NOBODY: [&str; 3] = ["ANONYMOUS_PRINCIPAL", "anonymous", "HIDDEN_DUE_TO_SECURITY_REASONS"];

/// The sessions of a permission set of IAM Identity Center have their person's name, however it looks.
const PERMISSION_SET: &str = "AWSReservedSSO_";

/// A name of a session that a program may have made up.
pub(in crate::cli) const MADE_UP: &str = "0000000000";

/// What is left to do with an entry.
pub(in crate::cli) const FILL_IN: &str =
    "Fill in `reason`. Fill in `until`, the last day on which it counts, or leave it out. `check` reports
both blanks as errors until they are filled in.";

/// An entry of `ignore`, as it is pasted into a configuration. `check` refuses it until its last two keys are filled in.
#[derive(Serialize)]
pub(in crate::cli) struct Entry {
    source: String,
    regexp: String,
    #[serde(rename = "where")]
    wheres: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unless: BTreeMap<String, String>,
    reason: &'static str,
    until: &'static str,
    /// Whether it takes all sessions of the caller's role: a program has made up the name of this one.
    #[serde(skip)]
    pub(in crate::cli) is_for_role: bool,
    /// The event's name and the caller, for people.
    #[serde(skip)]
    pub(in crate::cli) calls: [String; 2],
}

impl Entry {
    /// The entry for a record; `None` for one that does not say who called what.
    pub(in crate::cli) fn of(record: &Record<'_>) -> Option<Self> {
        let shown = record.shown();
        let identity = shown.at("userIdentity");
        let text = |object: &Shown<'_, '_>, key: &str| {
            let text = object.text(key).map(Cow::into_owned);
            text.filter(|text| !NOBODY.iter().any(|name| name.eq_ignore_ascii_case(text)))
        };
        let [source, name] = [text(&shown, "eventSource")?, text(&shown, "eventName")?];
        let mut wheres = BTreeMap::new();
        let mut require = |key: &str, pattern: String| drop(wheres.insert(format!("userIdentity.{key}"), pattern));
        let of_caller = |key: &str| match key.split_once('.') {
            Some((within, key)) => text(&identity.at(within), key),
            None => text(&identity, key),
        };
        let [kind, account] = ["type", "accountId"].map(of_caller);
        // Only an ARN tells a caller from those of other types; a name may be in any account.
        let is_enough = |key: &&&str| **key == "arn" || kind.is_some() && (**key != "userName" || account.is_some());
        let (key, caller) = CALLER.iter().filter(is_enough).find_map(|key| Some((*key, of_caller(key)?)))?;
        let role = of_role(&caller);
        match role {
            Some(role) => require(key, format!("^{}", escaped(role))),
            None => require(key, exactly(&caller)),
        }
        let is_root = caller.ends_with(":root") || kind.as_deref() == Some("Root");
        for (name, text) in [("type", kind), ("accountId", account)] {
            if let Some(text) = text.filter(|_| key != "arn") {
                require(name, exactly(&text));
            }
        }
        if let Some(person) = of_caller("sessionContext.sourceIdentity").filter(|_| role.is_some()) {
            require("sessionContext.sourceIdentity", exactly(&person));
        }
        // The root user and the sessions that AssumeRoot opens as it have one ARN.
        let mut unless = BTreeMap::new();
        let as_root = record.raw_json(&["userIdentity", "sessionContext", "assumedRoot"]);
        if as_root.is_some_and(|json| json.trim_matches('"') == "true") {
            require("sessionContext.assumedRoot", exactly("true"));
        } else if is_root {
            unless.insert("userIdentity.sessionContext.assumedRoot".to_owned(), "true".to_owned());
        }
        let (is_for_role, who) = (role.is_some(), role.map_or(caller.clone(), |role| format!("{role}…")));
        Some(Entry {
            source: exactly(&source),
            regexp: exactly(&name),
            wheres,
            unless,
            reason: "",
            until: "YYYY-MM-DD",
            is_for_role,
            calls: [name, who],
        })
    }

    /// The entry as text, which may hold what a stranger has written.
    pub(in crate::cli) fn to_text(&self) -> String {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.lines().map(|line| escape(line) + "\n").collect()
    }

    /// A configuration with one rule: the condition of the entry, and the test that it matches what it is made for.
    pub(in crate::cli) fn as_configuration(&self, record: &Value) -> Vec<u8> {
        let [source, name, identity] = ["eventSource", "eventName", "userIdentity"].map(|key| record.get(key));
        let record = json!({ "eventSource": source, "eventName": name, "userIdentity": identity });
        let Entry { source, regexp, wheres, unless, .. } = self;
        let rule = json!({ "name": "entry", "source": source, "regexp": regexp, "where": wheres, "unless": unless,
            "tests": [{ "record": record, "alerts": true }] });
        json!({ "rules": [rule] }).to_string().into_bytes()
    }
}

/// A session's ARN, or its `principalId`, up to the name that a program has made up for it.
pub(in crate::cli) fn of_role(caller: &str) -> Option<&str> {
    let arn = caller.splitn(6, ':').last()?.strip_prefix("assumed-role/").and_then(|session| session.split_once('/'));
    let (role, session) = arn.or_else(|| caller.split_once(':').filter(|(id, _)| id.starts_with("AROA")))?;
    let is_programs = is_made_up(session) && !role.starts_with(PERMISSION_SET);
    caller.strip_suffix(session).filter(|_| is_programs)
}

fn exactly(text: &str) -> String {
    format!("^{}$", escaped(text))
}

/// Where an entry for an alert of this rule belongs.
pub(in crate::cli) fn place(rule: &str) -> String {
    let shape = format!("\nIt is of a pack: write {{ \"name\": \"{rule}\", \"ignore\": [ … ] }} in `rules`.");
    let shape = if config::is_of_pack(rule) { &shape } else { "" };
    format!("Add it to `ignore` in the rule {}.{shape}", escape(rule))
}

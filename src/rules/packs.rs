//! The built-in sets of rules.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The names of the packs.
pub(crate) const NAMES: [&str; 2] = ["cis", "threats"];

/// A pack's file: a configuration that consists of `rules`, to be used as it is or to be copied and edited.
pub(crate) fn file(name: &str) -> Option<&'static str> {
    match name {
        "cis" => Some(include_str!("packs/cis.json")),
        "threats" => Some(include_str!("packs/threats.json")),
        _ => None,
    }
}

/// A pack's file without the tests of its rules, which are four fifths of it: a function that starts need not read them.
pub(super) fn without_tests(name: &str) -> Option<String> {
    let mut pack: BTreeMap<&str, Vec<BTreeMap<&str, &RawValue>>> = serde_json::from_str(file(name)?).ok()?;
    for rule in pack.values_mut().flatten() {
        rule.remove("tests");
    }
    serde_json::to_string(&pack).ok()
}

/// What a pack is for, in a sentence.
pub(crate) fn purpose(name: &str) -> &'static str {
    match name {
        "cis" => "the monitoring controls of the CIS AWS Foundations Benchmark (section 4)",
        _ => "calls that attackers are known for, and that a quiet account does not make",
    }
}

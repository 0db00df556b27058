//! The built-in sets of rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The names of the packs.
pub(crate) const NAMES: [&str; 2] = ["cis", "threats"];

/// The files of a pack, each with `rules`.
fn files(name: &str) -> &'static [&'static str] {
    match name {
        "cis" => &[include_str!("packs/cis.json")],
        "threats" => &[
            include_str!("packs/threats/detection.json"),
            include_str!("packs/threats/exposure.json"),
            include_str!("packs/threats/identity.json"),
        ],
        _ => &[],
    }
}

/// The rules of a pack; `None` if there is none of that name.
fn rules<'a, R: Deserialize<'a>>(name: &str) -> Option<Vec<R>> {
    let mut rules = Vec::new();
    for file in files(name) {
        let file: BTreeMap<&str, Vec<R>> = serde_json::from_str(file).ok()?;
        rules.extend(file.into_values().flatten());
    }
    (!rules.is_empty()).then_some(rules)
}

/// A pack as one configuration that consists of `rules`, to be used as it is or to be copied and edited.
pub(crate) fn file(name: &str) -> Option<String> {
    let rules: Vec<&RawValue> = rules(name)?;
    let rules: Vec<_> = rules.into_iter().map(RawValue::get).collect();
    Some(format!("{{ \"rules\": [\n  {}\n] }}\n", rules.join(",\n\n  ")))
}

/// The same without the tests of its rules, which are four fifths of it: a function that starts need not read them.
pub(super) fn without_tests(name: &str) -> Option<String> {
    let mut rules: Vec<BTreeMap<&str, &RawValue>> = rules(name)?;
    for rule in &mut rules {
        rule.remove("tests");
    }
    serde_json::to_string(&BTreeMap::from([("rules", rules)])).ok()
}

/// What a pack is for, in a sentence.
pub(crate) fn purpose(name: &str) -> &'static str {
    match name {
        "cis" => "the monitoring controls of the CIS AWS Foundations Benchmark (section 4)",
        _ => "calls that attackers are known for, and that a quiet account does not make",
    }
}

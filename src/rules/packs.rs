//! The built-in sets of rules.

use std::collections::BTreeMap;

use memchr::memmem;
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

/// The same without the tests of its rules, which are four fifths of it: a function that starts need not read them. They
/// stand last in a rule, and begin a line.
pub(super) fn without_tests(name: &str) -> Option<String> {
    let mut rules = String::new();
    for file in files(name) {
        let mut rest = file.split_once("\n  {")?.1;
        while let Some((rule, tests)) =
            memmem::find(rest.as_bytes(), b"\n    \"tests\":").and_then(|at| rest.split_at_checked(at))
        {
            rules.extend(["{", rule, "},"]);
            let next = memmem::find(tests.as_bytes(), b"\n  {").map_or(tests.len(), |at| at + "\n  {".len());
            rest = tests.get(next..)?;
        }
    }
    (!rules.is_empty()).then(|| format!("{{\"rules\":[{rules}]}}"))
}

/// What a pack is for, in a sentence.
pub(crate) fn purpose(name: &str) -> &'static str {
    match name {
        "cis" => "the monitoring controls of the CIS AWS Foundations Benchmark (section 4)",
        _ => "calls that attackers are known for, and that a quiet account does not make",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::config;
    use super::*;

    #[test]
    fn packs_are_read_without_their_tests() {
        for name in NAMES {
            let mut all: Value = serde_json::from_str(&file(name).unwrap()).unwrap();
            all["rules"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|rule| _ = rule.as_object_mut().unwrap().remove("tests"));
            let without = without_tests(name).unwrap().replace(",}", "}").replace(",]", "]");
            assert_eq!(serde_json::from_str::<Value>(&without).unwrap(), all, "{name}");
        }
        assert_eq!(without_tests("none"), None);
    }

    #[test]
    fn the_patterns_of_packs_take_no_more_memory_than_is_counted() {
        let memory = |file: &str| config::parse(file.as_bytes(), None).unwrap().memory;
        for name in NAMES {
            let (compiled, counted) =
                (memory(&without_tests(name).unwrap()), memory(&format!(r#"{{"packs":["{name}"]}}"#)));
            assert!((compiled..compiled + (1 << 20)).contains(&counted), "{name}: {compiled}, {counted}");
        }
    }
}

//! Warnings about rules that override a pack's rule and take something away from it, or that miss it.

use super::condition::{Condition, Test, path_text};
use super::config::{MeantRule, meant_pack_rule};
use super::explain::asked;
use super::model::{Filter, Rule};

/// The warnings about a rule of a configuration with these packs.
pub(super) fn warnings(rule: &Rule, filter: &Filter, packs: &[Filter]) -> Vec<String> {
    if let Some(original) = packs.iter().flat_map(|pack| &pack.rules).find(|original| original.name == rule.name) {
        return lost(original, rule);
    }
    let Some(MeantRule { name: meant, pack, rules }) = meant_pack_rule(&rule.name) else { return Vec::new() };
    if meant != rule.name {
        return vec![format!("no pack has a rule of that name to override; did you mean `{meant}`?")];
    }
    let is_copy = rules.iter().all(|name| filter.rules.iter().any(|rule| rule.name == *name));
    let why = format!("`packs` does not name `{pack}`, which has a rule of that name: this one stands alone");
    if is_copy { Vec::new() } else { vec![why] }
}

/// The conditions of a pack's rule that an override of it leaves out, or leaves in force beside its own.
fn lost(original: &Rule, rule: &Rule) -> Vec<String> {
    let mut warnings = Vec::new();
    let of_keys = keys(original).into_iter().zip(keys(rule)).map(|((key, before), (_, now))| (key, before, now));
    let of_stages = original.stages.iter().filter_map(|before| {
        let now = rule.stages.iter().find(|now| now.name() == before.name())?;
        Some((before.name(), paths(before.paths()), paths(now.paths())))
    });
    for (key, before, now) in of_keys.chain(of_stages) {
        let lost = before.iter().filter(|part| !now.iter().any(|now| now.contains(*part)));
        let lost: Vec<_> = lost.map(|part| format!("`{}`", part.trim())).collect();
        if !lost.is_empty() {
            let what = format!("`{key}` replaces that of the pack's rule, which also has {}", lost.join(" and "));
            warnings.push(format!("{what}: copy that too, if it is still wanted"));
        }
    }
    let any = |rule: &Rule| rule.any.iter().map(line).collect::<Vec<_>>();
    let is_new = asks(&rule.condition) != asks(&original.condition);
    if is_new && !rule.any.is_empty() && any(rule) == any(original) {
        let what = "the `any` of the pack's rule applies too, since the override has none: one of its conditions must \
                    also hold; give an `any` of your own if that is not meant";
        warnings.push(what.to_owned());
    }
    warnings
}

/// The keys of a rule from which an override may take something away, and what they hold.
fn keys(rule: &Rule) -> [(&'static str, Vec<String>); 4] {
    let Rule { condition, any, ignore, .. } = rule;
    [
        ("where", paths(condition.wheres.iter().map(|test| &test.path))),
        ("unless", tests(&condition.unless).collect()),
        ("any", any.iter().map(line).collect()),
        ("ignore", ignore.iter().map(|entry| line(&entry.condition)).collect()),
    ]
}

fn paths<'p>(paths: impl Iterator<Item = &'p Vec<String>>) -> Vec<String> {
    paths.map(|path| format!("{} ", path_text(path))).collect()
}

fn tests(tests: &[Test]) -> impl Iterator<Item = String> {
    tests.iter().map(|test| format!("{}: {}", test.path_text(), asked(test, None).replace('`', "")))
}

/// A condition without its exceptions.
fn asks(condition: &Condition) -> Vec<String> {
    let call = condition.call().map(|(key, pattern)| format!("{key}: {}", pattern.as_str()));
    call.chain(tests(&condition.wheres)).collect()
}

/// A condition in a line.
fn line(condition: &Condition) -> String {
    let unless = tests(&condition.unless).map(|test| format!("unless {test}"));
    asks(condition).into_iter().chain(unless).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::lost;

    #[test]
    fn conditions_and_exceptions_that_an_override_leaves_out_are_told() {
        let rule = |keys: &str| {
            let file = format!(r#"{{"rules": [{{"name": "r", "regexp": "x", {keys}}}]}}"#);
            config::parse(file.as_bytes(), None).unwrap().rules.remove(0)
        };
        let original = rule(
            r#""unless": {"errorCode": ".", "sourceIPAddress": {"cidr": ["10.0.0.0/8"]}},
               "any": [{"regexp": "a"}, {"source": "s", "where": {"p": {"atLeast": 1}}}],
               "ignore": [{"where": {"a": "b"}, "unless": {"c": "d"}, "reason": "r"}]"#,
        );
        for (keys, expected) in [
            (
                r#""unless": {"errorCode": ".|x", "sourceIPAddress": {"cidr": ["10.0.0.0/8", "2001:db8::/32"]}}"#,
                &["any: `regexp: a` and `source: s, p: atLeast 1`", "ignore: `a: b, unless c: d`"][..],
            ),
            (
                r#""unless": {"sourceIPAddress": "^10"}, "any": [{"regexp": "b"}, {"regexp": "a"}],
                   "ignore": [{"regexp": "z"}, {"where": {"a": "b"}, "unless": {"c": "d"}, "until": "2027-01-01"}]"#,
                &["unless: `errorCode: .` and `sourceIPAddress: cidr 10.0.0.0/8`", "any: `source: s, p: atLeast 1`"],
            ),
        ] {
            let told: Vec<_> = expected
                .iter()
                .map(|expected| expected.split_once(": ").unwrap())
                .map(|(key, what)| {
                    let what = format!("`{key}` replaces that of the pack's rule, which also has {what}");
                    format!("{what}: copy that too, if it is still wanted")
                })
                .collect();
            assert_eq!(lost(&original, &rule(keys)), told, "{keys}");
        }
        let any = r#""any": [{"regexp": "a"}, {"where": {"p": "q"}}]"#;
        let told = lost(&rule(any), &rule(&format!(r#""where": {{"new": "x"}}, {any}"#)));
        assert!(told.len() == 1 && told[0].starts_with("the `any` of the pack's rule applies too"), "{told:?}");
        assert_eq!(lost(&rule(any), &rule(any)), [""; 0]);

        let stages = r#""threshold": {"count": 5, "by": ["a", "b.c"], "within": "1m", "distinct": "d"},
            "suppress": {"by": ["a"], "for": "1d"}"#;
        let told = lost(&rule(stages), &rule(r#""threshold": {"count": 9, "by": ["b.c", "a.b"], "within": "1h"}"#));
        let what = "`threshold` replaces that of the pack's rule, which also has `a` and `d`";
        assert_eq!(told, [format!("{what}: copy that too, if it is still wanted")]);
        assert_eq!(lost(&rule(stages), &rule(stages)), [""; 0]);
    }
}

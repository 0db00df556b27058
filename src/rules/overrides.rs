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

/// The conditions of a pack's rule that an override of it leaves out.
fn lost(original: &Rule, rule: &Rule) -> Vec<String> {
    let of_keys = [
        ("where", paths(&original.condition.wheres), paths(&rule.condition.wheres)),
        ("unless", tests(&original.condition.unless), tests(&rule.condition.unless)),
        ("any", each(&original.any), each(&rule.any)),
        (
            "ignore",
            each(original.ignore.iter().map(|entry| &entry.condition)),
            each(rule.ignore.iter().map(|entry| &entry.condition)),
        ),
    ];
    let of_stages = original.stages.iter().filter_map(|before| {
        let now = rule.stages.iter().find(|now| now.name() == before.name())?;
        Some((before.name(), shown(before.paths()), shown(now.paths())))
    });
    let warning = |(key, before, now): (&str, Vec<String>, Vec<String>)| {
        let lost = before.iter().filter(|part| !now.iter().any(|now| now.contains(*part)));
        let lost: Vec<_> = lost.map(|part| format!("`{}`", part.trim())).collect();
        let what = format!("`{key}` replaces that of the pack's rule, which also has {}", lost.join(" and "));
        (!lost.is_empty()).then(|| format!("{what}: copy that too, if it is still wanted"))
    };
    of_keys.into_iter().chain(of_stages).filter_map(warning).chain(still_in_force(original, rule)).collect()
}

/// Conditions of a pack's rule that an override with conditions of its own leaves in force.
fn still_in_force(original: &Rule, rule: &Rule) -> Option<String> {
    let own = |rule: &Rule| {
        let Condition { event_source, event_name, wheres, .. } = &rule.condition;
        let patterns =
            [event_source, event_name].map(|pattern| pattern.as_ref().map(|pattern| pattern.as_str().to_owned()));
        (patterns, tests(wheres))
    };
    let is_kept = !rule.any.is_empty() && each(&rule.any) == each(&original.any) && own(rule) != own(original);
    let what =
        "the `any` of the pack's rule applies too, since the override has none: one of its conditions must also hold";
    is_kept.then(|| format!("{what}; give an `any` of your own if that is not meant"))
}

fn paths(tests: &[Test]) -> Vec<String> {
    shown(tests.iter().map(|test| &test.path))
}

fn shown<'p>(paths: impl Iterator<Item = &'p Vec<String>>) -> Vec<String> {
    paths.map(|path| format!("{} ", path_text(path))).collect()
}

fn tests(tests: &[Test]) -> Vec<String> {
    tests.iter().map(|test| format!("{}: {}", test.path_text(), asked(test, None).replace('`', ""))).collect()
}

/// The conditions of a list, each in a line.
fn each<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<String> {
    let each = conditions.into_iter().map(|condition| {
        let names = [("source", &condition.event_source), ("regexp", &condition.event_name)];
        let names =
            names.into_iter().filter_map(|(key, pattern)| Some(format!("{key}: {}", pattern.as_ref()?.as_str())));
        let unless = tests(&condition.unless).into_iter().map(|test| format!("unless {test}"));
        names.chain(tests(&condition.wheres)).chain(unless).collect::<Vec<_>>().join(", ")
    });
    each.collect()
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

//! Reads a rule's `threshold`, `firstSeen` and `suppress`.

use super::json_tree::{At, KeyAt, Node};
use super::reader::Reader;
use super::stage::{Span, Stage, StageKind};

/// The fewest and the most that a threshold counts. A group keeps an entry for each.
const COUNTS: std::ops::RangeInclusive<u64> = 2..=1_000;

/// What a path of a stage takes beside its text, in bytes, the stage counted.
const STAGE_MEMORY: usize = 256;

impl Reader {
    pub(super) fn threshold(&mut self, at: At<'_>, node: Node<'_>) -> Option<Stage> {
        let [count, by, within, distinct] = self.problems.object(at, node, ["count", "by", "within", "distinct"])?;
        let count = self.given(at, "count", count, "20").and_then(|node| {
            let key = KeyAt(at, "count");
            let range = format!("from {} to {}", COUNTS.start(), COUNTS.end());
            let count = self.problems.count(&key, node, &format!("; a threshold counts {range}"))?;
            if !COUNTS.contains(&count) {
                self.problems.add(&key, format!("it is {count}, but must be {range}"));
            }
            usize::try_from(count).ok()
        });
        let had_distinct = distinct.is_some();
        let distinct = distinct.and_then(|node| {
            let key = KeyAt(at, "distinct");
            let path = self.problems.text(&key, node)?;
            self.path(&key, &path)
        });
        let (by, span) = (self.by(at, by), self.span(at, "within", within));
        if had_distinct && distinct.is_none() {
            return None;
        }
        Some(Stage { kind: StageKind::Threshold { count: count?, distinct }, by: by?, span: span? })
    }

    pub(super) fn first_seen(&mut self, at: At<'_>, node: Node<'_>) -> Option<Stage> {
        let [by, within] = self.problems.object(at, node, ["by", "within"])?;
        let (by, span) = (self.by(at, by), self.span(at, "within", within));
        Some(Stage { kind: StageKind::FirstSeen, by: by?, span: span? })
    }

    pub(super) fn suppress(&mut self, at: At<'_>, node: Node<'_>) -> Option<Stage> {
        let [by, span] = self.problems.object(at, node, ["by", "for"])?;
        let (by, span) = (self.by(at, by), self.span(at, "for", span));
        Some(Stage { kind: StageKind::Suppress, by: by?, span: span? })
    }

    fn by(&mut self, at: At<'_>, by: Option<Node<'_>>) -> Option<Vec<Vec<String>>> {
        let by = self.given(at, "by", by, r#"["userIdentity.arn"]"#)?;
        let at = KeyAt(at, "by");
        let paths = self.problems.some_array(&at, by).into_iter().filter_map(|path| {
            let path = self.problems.text(&at, path)?;
            self.patterns.spend(STAGE_MEMORY + path.len());
            self.path(&at, &path)
        });
        Some(paths.collect())
    }

    fn span(&mut self, at: At<'_>, key: &str, span: Option<Node<'_>>) -> Option<Span> {
        let span = self.given(at, key, span, "\"1h\"")?;
        let at = KeyAt(at, key);
        let text = self.problems.text(&at, span)?;
        let span = Span::parse(&text);
        if span.is_none() {
            let what = format!("`{text}` is not a duration: write one such as 30s, 10m, 1h or 30d, at most 90d");
            self.problems.add(&at, what);
        }
        span
    }

    /// A key that must be there.
    fn given<'n>(&mut self, at: At<'_>, key: &str, node: Option<Node<'n>>, example: &str) -> Option<Node<'n>> {
        if node.is_none() {
            self.problems.add(at, format!("`{key}` is missing: give one, for example {example}"));
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::super::config;

    /// The mistakes of a rule with these keys, without the rule's name.
    fn mistakes(keys: &str) -> Vec<String> {
        let file = format!(r#"{{"rules": [{{"name": "r", "regexp": "x", {keys}}}]}}"#);
        let mistakes = config::parse(file.as_bytes(), None).err().unwrap_or_default();
        mistakes.iter().map(|mistake| mistake.strip_prefix("rule r, ").unwrap().to_owned()).collect()
    }

    #[test]
    fn each_mistake_says_its_key_and_what_to_do() {
        let span = "is not a duration: write one such as 30s, 10m, 1h or 30d, at most 90d";
        let by = r#"`by` is missing: give one, for example ["userIdentity.arn"]"#;
        let path = "is not a path: write keys with dots between them, such as userIdentity.type";
        let long = vec!["a"; 65].join(".");
        for (keys, expected) in [
            (
                r#""threshold": {}"#.to_owned(),
                vec![
                    "threshold: `count` is missing: give one, for example 20".to_owned(),
                    format!("threshold: {by}"),
                    "threshold: `within` is missing: give one, for example \"1h\"".to_owned(),
                ],
            ),
            (
                r#""firstSeen": {"distinct": "a"}, "suppress": {"within": "1h"}"#.to_owned(),
                vec![
                    "firstSeen: the key `distinct` is not known; known names: by, within".to_owned(),
                    format!("firstSeen: {by}"),
                    "firstSeen: `within` is missing: give one, for example \"1h\"".to_owned(),
                    "suppress: the key `within` is not known; known names: by, for".to_owned(),
                    format!("suppress: {by}"),
                    "suppress: `for` is missing: give one, for example \"1h\"".to_owned(),
                ],
            ),
            (
                r#""threshold": 5, "firstSeen": [], "suppress": "1h""#.to_owned(),
                vec![
                    "threshold: it is a number, but must be an object: {…}".to_owned(),
                    "firstSeen: it is an array, but must be an object: {…}".to_owned(),
                    "suppress: it is a string, but must be an object: {…}".to_owned(),
                ],
            ),
            (
                r#""threshold": {"count": "5", "by": "a", "within": 10, "distinct": ["a"]}"#.to_owned(),
                vec![
                    "threshold, count: it is a string, but must be a number, without quotes".to_owned(),
                    "threshold, distinct: it is an array, but must be a string".to_owned(),
                    "threshold, by: it is a string, but must be an array: […]".to_owned(),
                    "threshold, within: it is a number, but must be a string".to_owned(),
                ],
            ),
            (
                format!(r#""suppress": {{"by": ["a", 5, "a..b", "", "{long}"], "for": "1h"}}"#),
                vec![
                    "suppress, by: it is a number, but must be a string".to_owned(),
                    format!("suppress, by: `a..b` {path}"),
                    format!("suppress, by: `` {path}"),
                    format!("suppress, by: `{}…` has more than 64 keys", &long[..100]),
                ],
            ),
            (
                r#""suppress": {"by": [], "for": "1h"}"#.to_owned(),
                vec!["suppress, by: it is empty: give at least one, or leave it out".to_owned()],
            ),
            (
                r#""threshold": {"count": 2, "by": ["a"], "within": "1h", "distinct": ".a"}"#.to_owned(),
                vec![format!("threshold, distinct: `.a` {path}")],
            ),
        ] {
            assert_eq!(mistakes(&keys), expected, "{keys}");
        }
        for (count, expected) in [
            ("1", "it is 1, but must be from 2 to 1000"),
            ("1001", "it is 1001, but must be from 2 to 1000"),
            ("2.5", "it is 2.5, but must be a whole number of at least 1; a threshold counts from 2 to 1000"),
            ("0", "it is 0, but must be a whole number of at least 1; a threshold counts from 2 to 1000"),
        ] {
            let keys = format!(r#""threshold": {{"count": {count}, "by": ["a"], "within": "1h"}}"#);
            assert_eq!(mistakes(&keys), [format!("threshold, count: {expected}")]);
        }
        for text in ["0s", "91d", "1w", "10 m", "1.5h", "", "1h30m"] {
            let keys = format!(r#""suppress": {{"by": ["a"], "for": "{text}"}}"#);
            assert_eq!(mistakes(&keys), [format!("suppress, for: `{text}` {span}")]);
        }
    }

    #[test]
    fn a_match_passes_the_stages_in_their_order_and_an_override_gives_each_for_itself() {
        let stages = |file: &str, name: &str| -> Vec<String> {
            let filter = config::parse(file.as_bytes(), None).unwrap();
            let rule = filter.rules.iter().find(|rule| rule.name == name).unwrap();
            rule.stages.iter().map(|stage| format!("{} {} {}", stage.name(), stage.span, stage.by_text())).collect()
        };
        let rule = r#"{"name": "r", "regexp": "x", "suppress": {"by": ["a"], "for": "1h"},
            "firstSeen": {"by": ["b", "c"], "within": "30d"},
            "threshold": {"count": 1e1, "by": ["a", "b", "a\\.b"], "within": "007m"}}"#;
        let file = format!(r#"{{"rules": [{rule}]}}"#);
        assert_eq!(stages(&file, "r"), ["threshold 7m a, b and a\\.b", "firstSeen 30d b and c", "suppress 1h a"]);
        let name = "cis-4.3-root-usage";
        let with = |keys: &str| format!(r#"{{"packs": ["cis"], "rules": [{{"name": "{name}"{keys}}}]}}"#);
        let of_pack = stages(&with(""), name);
        let given = stages(&with(r#", "firstSeen": {"by": ["a"], "within": "3d"}"#), name);
        assert!(given.contains(&"firstSeen 3d a".to_owned()));
        let others =
            |stages: Vec<String>| stages.into_iter().filter(|it| !it.starts_with("firstSeen")).collect::<Vec<_>>();
        assert_eq!(others(given), others(of_pack));
    }
}

//! Reads a rule's `threshold`, `firstSeen` and `suppress`.

use super::json_tree::Node;
use super::reader::Reader;
use super::stage::{Span, Stage, StageKind};

/// The fewest and the most that a threshold counts. A group keeps an entry for each.
const COUNTS: std::ops::RangeInclusive<u64> = 2..=1_000;

/// What a stage takes beside its paths, in bytes.
const STAGE_MEMORY: usize = 256;

impl Reader {
    pub(super) fn threshold(&mut self, at: &str, node: Node<'_>) -> Option<Stage> {
        let [count, by, within, distinct] = self.problems.object(at, node, ["count", "by", "within", "distinct"])?;
        let count = self.given(at, "count", count, "20").and_then(|node| {
            let key = format!("{at}, count");
            let count = self.problems.count(&key, node, "")?;
            if !COUNTS.contains(&count) {
                let (least, most) = (COUNTS.start(), COUNTS.end());
                self.problems.add(&key, format!("it must be from {least} to {most}"));
            }
            usize::try_from(count).ok()
        });
        let had_distinct = distinct.is_some();
        let distinct = distinct.and_then(|node| {
            let key = format!("{at}, distinct");
            let path = self.problems.text(&key, node)?;
            self.path(&key, &path)
        });
        let (by, span) = (self.by(at, by), self.span(at, "within", within));
        if had_distinct && distinct.is_none() {
            return None;
        }
        Some(Stage { kind: StageKind::Threshold { count: count?, distinct }, by: by?, span: span? })
    }

    pub(super) fn first_seen(&mut self, at: &str, node: Node<'_>) -> Option<Stage> {
        let [by, within] = self.problems.object(at, node, ["by", "within"])?;
        let (by, span) = (self.by(at, by), self.span(at, "within", within));
        Some(Stage { kind: StageKind::FirstSeen, by: by?, span: span? })
    }

    pub(super) fn suppress(&mut self, at: &str, node: Node<'_>) -> Option<Stage> {
        let [by, span] = self.problems.object(at, node, ["by", "for"])?;
        let (by, span) = (self.by(at, by), self.span(at, "for", span));
        Some(Stage { kind: StageKind::Suppress, by: by?, span: span? })
    }

    fn by(&mut self, at: &str, by: Option<Node<'_>>) -> Option<Vec<Vec<String>>> {
        let by = self.given(at, "by", by, r#"["userIdentity.arn"]"#)?;
        let at = format!("{at}, by");
        let paths = self.texts(&at, by);
        self.patterns.spend(STAGE_MEMORY + paths.iter().map(String::len).sum::<usize>());
        let read: Vec<_> = paths.iter().filter_map(|path| self.path(&at, path)).collect();
        (!read.is_empty() && read.len() == paths.len()).then_some(read)
    }

    fn span(&mut self, at: &str, key: &str, span: Option<Node<'_>>) -> Option<Span> {
        let span = self.given(at, key, span, "\"1h\"")?;
        let at = format!("{at}, {key}");
        let text = self.problems.text(&at, span)?;
        let span = Span::parse(&text);
        if span.is_none() {
            let what = format!("`{text}` is not a duration: write one such as 30s, 10m, 1h or 30d, at most 90d");
            self.problems.add(&at, what);
        }
        span
    }

    /// A key that must be there.
    fn given<'n>(&mut self, at: &str, key: &str, node: Option<Node<'n>>, example: &str) -> Option<Node<'n>> {
        if node.is_none() {
            self.problems.add(at, format!("`{key}` is missing: give one, for example {example}"));
        }
        node
    }
}

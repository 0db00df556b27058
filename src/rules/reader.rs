//! Reads conditions, tests and other values of the configuration file, and collects its mistakes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::condition::{Check, Condition, Test};
use super::draft::ConditionDraft;
use super::json_tree::{At, KeyAt, Node, Problems, to_json};
use super::model::{Exception, Format, RuleTest};
use super::pattern::{Pattern, Patterns};
use super::topic_arn::TopicArn;

/// What a test takes beside its patterns while it is read, in bytes: measured, and rounded up.
const TEST_MEMORY: usize = 2 << 10;

/// What a rule's test, and each of its records, takes beside the record's text, in bytes.
const RECORD_MEMORY: usize = 128;

/// How deep `element` may stand within `element`. CloudTrail's own records need two.
const ELEMENTS_LIMIT: usize = 8;

/// The most keys of a path. One of 500,000 would take 100 MB.
const KEYS_LIMIT: usize = 64;

const NO_CONDITION: &str = "has no condition: give at least one of source, regexp, where and unless";

/// The mistakes, patterns and tests of one file. Its methods give what they can, so that no mistake hides the next.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Problems,
    /// How many tests of conditions have been read.
    pub(super) tests: usize,
    pub(super) patterns: Patterns,
}

/// The keys of a path as the configuration writes it: with dots between them, and a backslash before a dot within a key.
fn parse_path(path: &str) -> Option<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    let mut goes_on = false;
    for part in path.split('.') {
        match keys.last_mut().filter(|_| goes_on) {
            Some(key) => {
                key.pop();
                key.extend([".", part]);
            }
            None => keys.push(part.to_owned()),
        }
        goes_on = part.ends_with('\\');
    }
    keys.iter().all(|key| !key.is_empty()).then_some(keys)
}

impl Reader {
    /// The keys of a condition as one place gives them: `source`, `regexp`, `where`, `unless`.
    pub(super) fn condition(&mut self, at: At<'_>, keys: [Option<Node<'_>>; 4]) -> ConditionDraft {
        let [source, regexp, wheres, unless] = keys;
        ConditionDraft {
            source: source.and_then(|pattern| self.pattern(&KeyAt(at, "source"), pattern)),
            regexp: regexp.and_then(|pattern| self.pattern(&KeyAt(at, "regexp"), pattern)),
            wheres: wheres.map(|tests| self.tests(&KeyAt(at, "where"), tests, 0)),
            unless: unless.map(|tests| self.tests(&KeyAt(at, "unless"), tests, 0)),
        }
    }

    /// Whether a condition is missing, and not because of one that can't be used, which is a problem of its own.
    pub(super) fn is_missing(&self, has_no_condition: bool, problems_before: usize) -> bool {
        has_no_condition && self.problems.0.len() == problems_before && !self.patterns.is_full()
    }

    fn whole_condition(&mut self, at: At<'_>, problems_before: usize, keys: [Option<Node<'_>>; 4]) -> Condition {
        let draft = self.condition(at, keys);
        if self.is_missing(draft.is_empty(), problems_before) {
            self.problems.add(at, NO_CONDITION);
        }
        draft.into_condition()
    }

    /// The conditions of `any`.
    pub(super) fn any(&mut self, at: At<'_>, any: Node<'_>) -> Vec<Condition> {
        let mut read = Vec::new();
        for (i, condition) in self.problems.some_array(at, any).into_iter().enumerate() {
            let (at, before): (At<'_>, _) = (&format_args!("{at}[{i}]"), self.problems.0.len());
            if let Some(keys) = self.problems.object(at, condition, ["source", "regexp", "where", "unless"]) {
                read.push(self.whole_condition(at, before, keys));
            }
        }
        read
    }

    /// The entries of an `ignore`.
    pub(super) fn ignore(&mut self, at: At<'_>, entries: Vec<Node<'_>>) -> Vec<Exception> {
        let mut read = Vec::new();
        for (i, entry) in entries.into_iter().enumerate() {
            let (at, before): (At<'_>, _) = (&format_args!("{at}[{i}]"), self.problems.0.len());
            let known = ["source", "regexp", "where", "unless", "reason", "until"];
            if let Some([source, regexp, wheres, unless, reason, until]) = self.problems.object(at, entry, known) {
                read.push(Exception {
                    reason: reason.and_then(|reason| self.problems.some_text(&KeyAt(at, "reason"), reason)),
                    until: until.and_then(|day| self.day(&KeyAt(at, "until"), day)),
                    condition: self.whole_condition(at, before, [source, regexp, wheres, unless]),
                });
            }
        }
        read
    }

    fn day(&mut self, at: At<'_>, node: Node<'_>) -> Option<String> {
        let day = self.problems.text(at, node)?;
        let is_day = day.len() == 10 && humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).is_ok();
        if !is_day {
            self.problems
                .add(at, format!("`{day}` is not a day: write the last day on which it counts, as 2027-03-01"));
        }
        Some(day)
    }

    /// The tests of a `where`, an `unless` or an `element`, by path. `depth` is the number of `element`s around them.
    fn tests(&mut self, at: At<'_>, tests: Node<'_>, depth: usize) -> Vec<Test> {
        let mut read = Vec::new();
        for (path, node) in self.problems.entries(at, tests) {
            let check = self.check(&format_args!("{at} {path}"), node, depth);
            if let (Some(keys), Some(check)) = (self.path(at, &path), check) {
                let test = Test::new(self.tests, keys, check);
                self.tests += 1;
                self.patterns.spend(TEST_MEMORY + if self.patterns.are_known { 0 } else { test.memory() });
                read.push(test);
            }
        }
        read
    }

    pub(super) fn path(&mut self, at: At<'_>, path: &str) -> Option<Vec<String>> {
        let is_long = path.len() > KEYS_LIMIT && path.replace("\\.", "").matches('.').count() >= KEYS_LIMIT;
        let keys = if is_long { None } else { parse_path(path) };
        if keys.is_none() {
            let what = match path.char_indices().nth(100) {
                Some((end, _)) if is_long => format!("`{}…` has more than {KEYS_LIMIT} keys", &path[..end]),
                _ => format!("`{path}` is not a path: write keys with dots between them, such as userIdentity.type"),
            };
            self.problems.add(at, what);
        }
        keys
    }

    fn check(&mut self, at: At<'_>, node: Node<'_>, depth: usize) -> Option<Check> {
        if node.as_object().is_none() {
            let quoted = |text: &str| serde_json::Value::from(format!("^{}$", regex_syntax::escape(text))).to_string();
            let expected = match &node {
                Node::BooleanLit(boolean) => format!("a pattern in quotes: {}", quoted(&boolean.value.to_string())),
                Node::NumberLit(number) => format!("a pattern in quotes: {}", quoted(number.value)),
                _ => "a pattern in quotes, or an object such as {\"cidr\": [\"10.0.0.0/8\"]}".to_owned(),
            };
            let several = "; for several values write one pattern, such as `^(a|b)$`";
            let hint = if node.as_array().is_some() { several } else { "" };
            return self.pattern_or(at, node, &(expected + hint)).map(Check::Pattern);
        }
        let before = self.problems.0.len();
        let known = ["all", "cidr", "atLeast", "atMost", "sameAs", "element"];
        let keys = self.problems.object(at, node, known)?;
        let all_known = self.problems.0.len() == before;
        let key = |key| KeyAt(at, key);
        match keys {
            [Some(all), None, None, None, None, None] => {
                let patterns = self.problems.some_array(&key("all"), all);
                self.patterns.spend(TEST_MEMORY * patterns.len());
                Some(Check::All(patterns.into_iter().filter_map(|node| self.pattern(&key("all"), node)).collect()))
            }
            [None, Some(cidr), None, None, None, None] => {
                let networks = self.problems.some_array(&key("cidr"), cidr);
                Some(Check::Cidr(networks.into_iter().filter_map(|node| self.network(&key("cidr"), node)).collect()))
            }
            [None, None, None, None, Some(path), None] => {
                let path = self.problems.text(&key("sameAs"), path)?;
                self.path(&key("sameAs"), &path).map(Check::SameAs)
            }
            [None, None, None, None, None, Some(_)] if depth == ELEMENTS_LIMIT => {
                self.problems.add(at, format!("`element` may stand in `element` up to {ELEMENTS_LIMIT} times"));
                None
            }
            [None, None, None, None, None, Some(element)] => {
                if element.as_object().is_some_and(|element| element.properties.is_empty()) {
                    self.problems.add(&key("element"), "it is empty: give at least one path and its test");
                }
                Some(Check::Element(self.tests(&key("element"), element, depth + 1)))
            }
            [None, None, at_least, at_most, None, None] if at_least.is_some() || at_most.is_some() => {
                let mut bound =
                    |name, node: Option<Node<'_>>| node.and_then(|node| self.problems.number(&key(name), node));
                let (at_least, at_most) = (bound("atLeast", at_least), bound("atMost", at_most));
                if let (Some(least), Some(most)) = (at_least, at_most)
                    && least > most
                {
                    self.problems.add(at, format!("`atLeast` {least} is over `atMost` {most}, so no number passes"));
                }
                Some(Check::Range { at_least, at_most })
            }
            _ => {
                if all_known {
                    let kinds = "`all`, `cidr`, `sameAs`, `element`, or `atLeast` and `atMost`";
                    self.problems.add(at, format!("it must have one of {kinds}, and only one"));
                }
                None
            }
        }
    }

    fn network(&mut self, at: At<'_>, node: Node<'_>) -> Option<IpNet> {
        let text = self.problems.text(at, node)?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        // `IpNet` reads leading zeros, which elsewhere make a number octal.
        let address = text.split('/').next().unwrap_or_default().parse::<IpAddr>();
        match network.filter(|_| address.is_ok()) {
            Some(network) if network.addr() == network.network() => return Some(network),
            Some(network) => {
                let what = format!(
                    "`{text}` is not a network, since bits are set behind the prefix: write `{}`",
                    network.trunc()
                );
                self.problems.add(at, what);
            }
            None => {
                self.problems
                    .add(at, format!("`{text}` is not a network: write one such as 10.0.0.0/8 or 2001:db8::/32"));
            }
        }
        None
    }

    pub(super) fn pattern(&mut self, at: At<'_>, node: Node<'_>) -> Option<Pattern> {
        self.pattern_or(at, node, "a string")
    }

    fn pattern_or(&mut self, at: At<'_>, node: Node<'_>, expected: &str) -> Option<Pattern> {
        let text = self.problems.text_or(at, node, expected)?;
        self.patterns.compile(at, text).map_err(|why| self.problems.add(at, why)).ok()?
    }

    pub(super) fn topic(&mut self, at: At<'_>, arn: &str) -> Option<TopicArn> {
        TopicArn::parse(arn).map_err(|why| self.problems.add(at, why)).ok()
    }

    pub(super) fn format(&mut self, at: At<'_>, node: Node<'_>) -> Option<Format> {
        self.problems.choice(at, node, &Format::NAMES)
    }

    /// The texts of an array.
    pub(super) fn texts(&mut self, at: At<'_>, node: Node<'_>) -> Vec<String> {
        let texts = self.problems.some_array(at, node);
        texts.into_iter().filter_map(|text| self.problems.some_text(at, text)).collect()
    }

    /// The tests of a rule.
    pub(super) fn rule_tests(&mut self, at: At<'_>, tests: Node<'_>) -> Vec<RuleTest> {
        let mut read = Vec::new();
        for (i, test) in self.problems.some_array(at, tests).into_iter().enumerate() {
            let at: At<'_> = &format_args!("{at}[{i}]");
            let known = ["name", "record", "records", "alerts"];
            let Some([name, record, records, alerts]) = self.problems.object(at, test, known) else { continue };
            let records = match (record, records) {
                (Some(record), None) => vec![record],
                (None, Some(records)) => self.problems.some_array(&KeyAt(at, "records"), records),
                _ => {
                    self.problems.add(at, "give `record` or `records`, and only one of them");
                    Vec::new()
                }
            };
            if records.iter().any(|record| record.as_object().is_none()) {
                self.problems.add(at, "a record must be an object: {…}");
            }
            let records: Vec<_> = records.iter().map(to_json).collect();
            self.patterns.spend(RECORD_MEMORY + records.iter().map(|json| RECORD_MEMORY + json.len()).sum::<usize>());
            read.push(RuleTest {
                name: name.and_then(|name| self.problems.some_text(&KeyAt(at, "name"), name)),
                records,
                alerts: self.expected_alerts(at, alerts),
            });
        }
        read
    }

    /// The number of alerts that a test expects; `None` for at least one.
    fn expected_alerts(&mut self, at: At<'_>, alerts: Option<Node<'_>>) -> Option<u64> {
        match alerts {
            Some(Node::BooleanLit(alerts)) => (!alerts.value).then_some(0),
            Some(Node::NumberLit(alerts)) if alerts.value == "0" => Some(0),
            Some(alerts) if alerts.as_number_lit().is_some() => {
                self.problems.count(&KeyAt(at, "alerts"), alerts, "; or write true, or false for none")
            }
            Some(_) => {
                self.problems.add(&KeyAt(at, "alerts"), "it must be true, false or a number, without quotes");
                None
            }
            None => {
                self.problems
                    .add(at, "`alerts` is missing: give true, false or the number of alerts that the rule sends");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_dots_that_no_backslash_precedes() {
        for (path, keys) in [
            ("a", Some(&["a"] as &[_])),
            ("a.b.c", Some(&["a", "b", "c"])),
            (r"a\.b.c", Some(&["a.b", "c"])),
            (r"a\.b\.c", Some(&["a.b.c"])),
            (r"a\\.b", Some(&[r"a\.b"])),
            (r"a\b", Some(&[r"a\b"])),
            (r"a\", Some(&[r"a\"])),
            ("a\0.b\\.\0", Some(&["a\0", "b.\0"])),
            ("", None),
            (".a", None),
            ("a..b", None),
            ("a.", None),
        ] {
            assert_eq!(parse_path(path), keys.map(|keys| keys.iter().map(ToString::to_string).collect()), "{path}");
        }
    }
}

//! A valid configuration: rules, their conditions, and the topics that they alert.

use std::collections::HashMap;
use std::fmt;

use memchr::memmem::Finder;
use regex_syntax::hir::literal::Extractor;

use super::pattern::{Pattern, Searches};
use super::topic_arn::TopicArn;
use crate::log::{Record, is_plain};

/// A valid configuration, ready to match records.
#[derive(Debug)]
pub struct Filter {
    /// The rules, in the order in which a message names them.
    pub(crate) rules: Vec<Rule>,
    /// Records that any of these matches are never alerted on.
    pub(crate) ignore: Vec<Condition>,
    /// The topics that rules use, each once.
    pub(crate) topics: Vec<Topic>,
    /// Names for account numbers.
    pub(crate) accounts: HashMap<String, String>,
    /// The most alerts of one rule to one topic in one log. A summary stands for the rest.
    pub(crate) max_alerts_per_log: Option<u64>,
    /// How many [`Test`]s its conditions hold; their ids are below it.
    pub(crate) test_count: usize,
    /// The memory that it takes, in bytes.
    pub(crate) memory: usize,
}

/// A condition, and where its alerts go.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Unique in a configuration; `default` for the top-level `source` and `regexp`.
    pub(crate) name: String,
    /// The meaning of a match, for people.
    pub(crate) description: Option<String>,
    /// The importance of a match.
    pub(crate) severity: Severity,
    pub(crate) condition: Condition,
    /// The topic of its alerts: an index of [`Filter::topics`].
    pub(crate) topic: usize,
}

/// A topic, and the format of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    /// `None` where nothing names a topic, which only the command line lets pass.
    pub(crate) arn: Option<TopicArn>,
    pub(crate) format: Format,
}

/// A conjunction. A part that is left out matches every record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    /// Searched in `eventSource`.
    pub(crate) event_source: Option<Pattern>,
    /// Searched in `eventName`.
    pub(crate) event_name: Option<Pattern>,
    /// Every one must match.
    pub(crate) wheres: Vec<Test>,
    /// None may match.
    pub(crate) unless: Vec<Test>,
}

/// A pattern that is searched in a record's texts at a path.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// Tells it from the other tests of its filter.
    pub(crate) id: usize,
    /// The keys that lead to the value; arrays on the way count as any of their elements.
    pub(crate) path: Vec<String>,
    /// Searched in the text, unanchored.
    pub(crate) pattern: Pattern,
    /// Texts that the bytes of a matching record must hold: the last key, in quotes, and any of the texts that the pattern
    /// can match. Empty where that is not certain.
    key: Option<Finder<'static>>,
    values: Vec<Finder<'static>>,
}

impl Test {
    /// A test with this id.
    pub(crate) fn new(id: usize, path: Vec<String>, pattern: Pattern) -> Self {
        let all_plain = |text: &str| !text.is_empty() && text.bytes().all(is_plain);
        let key = path.last().filter(|key| all_plain(key)).map(|key| Finder::new(&format!("\"{key}\"")).into_owned());
        let literals = literals(&pattern);
        // A leading colon may be the one between a key and a value, which may have blanks around it.
        let is_certain = |text: &String| all_plain(text) && !text.starts_with(':');
        let certain = literals.iter().all(is_certain) && literals.len() <= VALUES_LIMIT;
        let values = literals.iter().filter(|_| certain).map(|literal| Finder::new(literal).into_owned()).collect();
        Test { id, path, pattern, key, values }
    }

    /// The path as the configuration writes it.
    pub(crate) fn path_text(&self) -> String {
        let keys: Vec<_> = self.path.iter().map(|key| key.replace('.', "\\.")).collect();
        keys.join(".")
    }

    /// Whether a record may have a text at the path, as far as can be told without parsing it.
    pub(super) fn may_have_text(&self, record: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|key| key.find(record).is_some())
    }

    /// Whether a record may match, as far as can be told without parsing it.
    pub(super) fn may_match(&self, record: &[u8]) -> bool {
        self.may_have_text(record)
            && (self.values.is_empty() || self.values.iter().any(|value| value.find(record).is_some()))
    }

    /// Whether any of the record's texts at the path matches. Notes in `seen` that there is a text.
    pub(super) fn matches(&self, record: &Record<'_>, seen: &mut [bool], searches: &mut Searches) -> bool {
        let texts = record.raw_texts(&self.path);
        if let (false, Some(seen)) = (texts.is_empty(), seen.get_mut(self.id)) {
            *seen = true;
        }
        texts.iter().any(|text| searches.find(&self.pattern, text))
    }
}

/// The most texts of a pattern that are searched for before a record is parsed.
const VALUES_LIMIT: usize = 8;

/// The texts that a pattern matches, if it matches only a few.
pub(crate) fn literals(pattern: &Pattern) -> Vec<String> {
    let Ok(parsed) = regex_syntax::parse(pattern.as_str()) else { return Vec::new() };
    let found = Extractor::new().extract(&parsed);
    if !found.is_exact() {
        return Vec::new();
    }
    let literals = found.literals().unwrap_or_default().iter();
    literals.filter_map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok()).collect()
}

impl Condition {
    /// Whether it has neither a pattern for `eventSource` nor one for `eventName`, and so may match any call.
    pub(super) fn is_for_any_call(&self) -> bool {
        self.event_source.is_none() && self.event_name.is_none()
    }

    pub(super) fn tests(&self) -> impl Iterator<Item = &Test> {
        self.wheres.iter().chain(&self.unless)
    }

    pub(super) fn matches_source(&self, source: Option<&str>) -> bool {
        self.finds_source(source, &mut Searches::default())
    }

    pub(super) fn matches_name(&self, name: Option<&str>) -> bool {
        self.finds_name(name, &mut Searches::default())
    }

    /// As [`matches_source`](Self::matches_source), for many searches.
    pub(super) fn finds_source(&self, source: Option<&str>, searches: &mut Searches) -> bool {
        self.event_source.as_ref().is_none_or(|pattern| source.is_some_and(|text| searches.find(pattern, text)))
    }

    /// As [`matches_name`](Self::matches_name), for many searches.
    pub(super) fn finds_name(&self, name: Option<&str>, searches: &mut Searches) -> bool {
        self.event_name.as_ref().is_none_or(|pattern| name.is_some_and(|text| searches.find(pattern, text)))
    }

    /// Whether the tests pass. A path at which no record has had a text yet is looked up although the answer is known, so
    /// that `scan` can name paths that lead nowhere.
    pub(super) fn passes_tests(&self, record: &Record<'_>, seen: &mut [bool], searches: &mut Searches) -> bool {
        let mut all = true;
        for test in &self.wheres {
            if all || seen.get(test.id) == Some(&false) {
                all &= test.matches(record, seen, searches);
            }
        }
        all && !self.unless.iter().any(|test| test.matches(record, seen, searches))
    }
}

/// The importance of a match, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Severity {
    /// Good to know.
    Info,
    /// Worth a look some day.
    Low,
    /// The default.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody; never summarised.
    Critical,
}

impl Severity {
    /// As the configuration and messages write them.
    pub(super) const NAMES: [(&'static str, Severity); 5] = [
        ("info", Self::Info),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, severity)| *severity == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn named(name: &str) -> Option<Severity> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, severity)| *severity)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format of a topic's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One line of JSON for programs.
    Json,
    /// The custom notification of Amazon Q Developer in chat applications.
    Chatbot,
}

impl Format {
    /// As the configuration writes them.
    pub(crate) const NAMES: [(&'static str, Format); 3] =
        [("text", Self::Text), ("json", Self::Json), ("chatbot", Self::Chatbot)];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

//! The filter: which rules a record matches. Pure. How it is written down is [`crate::configuration`]'s matter.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use memchr::memmem::Finder;
use regex::Regex;
use regex_syntax::hir::literal::Extractor;

use crate::object;
use crate::record::Record;

/// A valid configuration, ready to match records.
#[derive(Debug)]
pub struct Filter {
    /// The rules, in the order in which a message names them.
    pub rules: Vec<Rule>,
    /// What is never alerted on.
    pub ignore: Vec<Condition>,
    /// The topics that rules use, each once.
    pub topics: Vec<Topic>,
    /// Names for account numbers.
    pub accounts: HashMap<String, String>,
    /// How many alerts of one rule to one topic a log may bring, before a summary stands for the rest.
    pub max_alerts_per_log: Option<u64>,
    /// How many [`Test`]s its conditions hold; their ids are below it.
    pub tests: usize,
}

/// What to alert on, and where.
#[derive(Debug)]
pub struct Rule {
    /// Unique in a configuration; `default` for the top-level `source` and `regexp`.
    pub name: String,
    /// What a match means, for people.
    pub description: Option<String>,
    /// How much a match matters.
    pub severity: Severity,
    /// What matches.
    pub condition: Condition,
    /// Where its alerts go: an index of [`Filter::topics`].
    pub topic: usize,
}

/// Where alerts go, and how they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// `None` where nothing names a topic, which only the command line lets pass.
    pub arn: Option<TopicArn>,
    /// The form of its messages.
    pub format: Format,
}

/// A conjunction: what is left out matches every record.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// Searched in `eventSource`.
    pub source: Option<Regex>,
    /// Searched in `eventName`.
    pub event: Option<Regex>,
    /// Every one must match.
    pub wheres: Vec<Test>,
    /// None may match.
    pub unless: Vec<Test>,
}

/// A pattern that is searched in a record's texts at a path.
#[derive(Debug, Clone)]
pub struct Test {
    /// Tells it from the other tests of its filter.
    pub id: usize,
    /// The keys that lead to the value; arrays on the way count as any of their elements.
    pub path: Vec<String>,
    /// Searched in the text, unanchored.
    pub pattern: Regex,
    /// Texts that a record must hold to match, as far as they are written plainly: the last key, and any of the texts
    /// that the pattern stands for.
    key: Option<Finder<'static>>,
    values: Vec<Finder<'static>>,
}

impl Test {
    /// A test with this id.
    #[must_use]
    pub fn new(id: usize, path: Vec<String>, pattern: Regex) -> Self {
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(object::is_plain);
        let key = path.last().filter(|key| is_plain(key)).map(|key| Finder::new(&format!("\"{key}\"")).into_owned());
        let literals = literals(&pattern);
        // A colon may be that between a key and a value, which may have blanks around it.
        let is_plain = |text: &String| is_plain(text) && !text.starts_with(':');
        let all_plain = literals.iter().all(is_plain) && literals.len() <= VALUES_LIMIT;
        let values = literals.iter().filter(|_| all_plain).map(|literal| Finder::new(literal).into_owned()).collect();
        Test { id, path, pattern, key, values }
    }

    /// The path as the configuration writes it.
    #[must_use]
    pub fn path_text(&self) -> String {
        let keys: Vec<_> = self.path.iter().map(|key| key.replace('.', "\\.")).collect();
        keys.join(".")
    }

    /// Whether a record may have a text at the path, as far as can be told without parsing it.
    fn may_be_in(&self, record: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|key| key.find(record).is_some())
    }

    /// Whether a record may match, as far as can be told without parsing it.
    fn may_match(&self, record: &[u8]) -> bool {
        self.may_be_in(record)
            && (self.values.is_empty() || self.values.iter().any(|value| value.find(record).is_some()))
    }

    /// Whether any of the record's texts at the path matches. Notes in `seen` that there is a text at all.
    fn matches(&self, record: &Record<'_>, seen: &mut [bool]) -> bool {
        let texts = record.texts(&self.path);
        if let (false, Some(seen)) = (texts.is_empty(), seen.get_mut(self.id)) {
            *seen = true;
        }
        texts.iter().any(|text| self.pattern.is_match(text))
    }
}

/// The most texts of a pattern that are searched before a record is parsed.
const VALUES_LIMIT: usize = 8;

/// The texts that a pattern stands for, if these are few and all that it can match.
#[must_use]
pub fn literals(pattern: &Regex) -> Vec<String> {
    let Ok(parsed) = regex_syntax::parse(pattern.as_str()) else { return Vec::new() };
    let found = Extractor::new().extract(&parsed);
    if !found.is_exact() {
        return Vec::new();
    }
    let literals = found.literals().unwrap_or_default().iter();
    literals.filter_map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok()).collect()
}

impl Condition {
    /// Whether it looks at every source and name.
    fn is_unconditional(&self) -> bool {
        self.source.is_none() && self.event.is_none()
    }

    fn source_matches(&self, source: Option<&str>) -> bool {
        self.source.as_ref().is_none_or(|pattern| source.is_some_and(|text| pattern.is_match(text)))
    }

    fn event_matches(&self, name: Option<&str>) -> bool {
        self.event.as_ref().is_none_or(|pattern| name.is_some_and(|text| pattern.is_match(text)))
    }

    /// Whether the rest of the record matches. A path that no record has shown yet is looked for although the answer is
    /// known, so that `scan` can tell people of paths that lead nowhere.
    fn rest_matches(&self, record: &Record<'_>, seen: &mut [bool]) -> bool {
        let mut all = true;
        for test in &self.wheres {
            if all || seen.get(test.id) == Some(&false) {
                all &= test.matches(record, seen);
            }
        }
        all && !self.unless.iter().any(|test| test.matches(record, seen))
    }
}

/// How much a match matters, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Worth a look some day.
    Low,
    /// What is not said otherwise.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody; never summarised.
    Critical,
}

impl Severity {
    /// All of them, from least to most.
    pub const ALL: [Severity; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As the configuration and messages write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a topic's messages are written.
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
    /// All of them.
    pub const ALL: [Format; 3] = [Self::Text, Self::Json, Self::Chatbot];

    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Chatbot => "chatbot",
        }
    }
}

/// An SNS topic's ARN, `arn:partition:sns:region:account:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicArn(String);

impl TopicArn {
    /// Reads an ARN.
    ///
    /// # Errors
    /// How a topic's ARN looks, where this is none.
    pub fn parse(arn: &str) -> Result<TopicArn, String> {
        let name_ok = |name: &str| {
            let base = name.strip_suffix(".fifo").unwrap_or(name);
            !base.is_empty() && base.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let region_ok = |r: &str| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "sns", region, account, name]
                if partition.starts_with("aws") && region_ok(region) && is_account(account) && name_ok(name) =>
            {
                Ok(TopicArn(arn.to_owned()))
            }
            _ => Err(format!(
                "`{arn}` is no topic's ARN; one looks like arn:aws:sns:us-east-1:123456789012:alerts (a subscription's \
                 has one part more)"
            )),
        }
    }

    /// The region that the topic is in: requests for it must go there.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// Whether it is a [FIFO topic](https://docs.aws.amazon.com/sns/latest/dg/sns-fifo-topics.html).
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.0.rsplit('.').next() == Some("fifo")
    }

    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text has the form of an AWS account's number.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// What a filter says of a record.
#[derive(Debug)]
pub enum Verdict<'f> {
    /// No rule matches.
    Unmatched,
    /// A rule matches, and the configuration says to ignore it.
    Ignored,
    /// These rules match, in the filter's order; at least one.
    Matched(Vec<&'f Rule>),
}

/// Matches records, and remembers which rules may match which calls: logs hold few different ones, many times.
pub struct Matcher<'f> {
    filter: &'f Filter,
    /// The rules that look at every source and name.
    unconditional: Vec<usize>,
    memory: Memory,
    /// For each [`Test`], whether a record has had a text at its path; empty if nobody wants to know.
    seen: Vec<bool>,
}

/// Which rules of a filter may match which calls, as far as they have been seen.
#[derive(Debug, Default)]
pub struct Memory {
    sources: HashMap<String, Source, RandomState>,
    /// One for each name that the [`Source`]s hold.
    found: Vec<Vec<usize>>,
}

/// What is known of an event source.
#[derive(Debug)]
struct Source {
    /// The rules whose `source` matches it.
    rules: Vec<usize>,
    /// By `eventName`, where those of them stand whose `regexp` matches it.
    events: HashMap<String, usize, RandomState>,
}

/// The most names remembered, and the longest: AWS has about 20,000 calls, an account uses some hundreds.
const NAMES_LIMIT: usize = 10_000;
const NAME_LENGTH_LIMIT: usize = 256;

impl Memory {
    /// The rules that have a `source` or a `regexp`, and whose match.
    fn rules(&mut self, filter: &Filter, source: Option<&str>, event: Option<&str>) -> Cow<'_, [usize]> {
        let rules = &filter.rules;
        let by_source = || {
            let of_source =
                |i: &usize| !rules[*i].condition.is_unconditional() && rules[*i].condition.source_matches(source);
            (0..rules.len()).filter(of_source).collect::<Vec<_>>()
        };
        let by_event =
            |of: &[usize]| of.iter().copied().filter(|i| rules[*i].condition.event_matches(event)).collect::<Vec<_>>();
        let (Some(source), Some(event)) = (source, event) else { return by_event(&by_source()).into() };
        if source.len() > NAME_LENGTH_LIMIT || event.len() > NAME_LENGTH_LIMIT {
            return by_event(&by_source()).into();
        }
        let known = self.sources.get(source).and_then(|source| source.events.get(event).copied());
        let known = known.unwrap_or_else(|| {
            if self.found.len() == NAMES_LIMIT {
                *self = Memory::default();
            }
            let new = || Source { rules: by_source(), events: HashMap::default() };
            let source = self.sources.entry(source.to_owned()).or_insert_with(new);
            source.events.insert(event.to_owned(), self.found.len());
            self.found.push(by_event(&source.rules));
            self.found.len() - 1
        });
        Cow::Borrowed(&self.found[known])
    }
}

impl<'f> Matcher<'f> {
    /// Matches with this filter. `noting` has it look at more than it must, to know which paths have had a text.
    #[must_use]
    pub fn new(filter: &'f Filter, noting: bool) -> Self {
        let is_unconditional = |i: &usize| filter.rules[*i].condition.is_unconditional();
        let unconditional = (0..filter.rules.len()).filter(is_unconditional).collect();
        let seen = vec![false; if noting { filter.tests } else { 0 }];
        Matcher { filter, unconditional, memory: Memory::default(), seen }
    }

    /// Matches with what a matcher of the same filter has learnt.
    #[must_use]
    pub fn resume(filter: &'f Filter, memory: Memory) -> Self {
        Matcher { memory, ..Self::new(filter, false) }
    }

    /// What it has learnt, for [`resume`](Self::resume).
    #[must_use]
    pub fn into_memory(self) -> Memory {
        self.memory
    }

    /// The filter that it matches with.
    #[must_use]
    pub fn filter(&self) -> &'f Filter {
        self.filter
    }

    /// For each [`Test`], by its id, whether a record that it looked at had a text at its path, if it is noting that.
    #[must_use]
    pub fn seen(&self) -> &[bool] {
        &self.seen
    }

    /// The rules that a record may match, in their order: their `source` and `regexp` match; `None` is a field that is
    /// missing or no string; and the record holds the texts that they need. `plain` are its bytes, unless it writes plain
    /// characters as escapes.
    ///
    /// Only where there are any does a record have to be parsed.
    pub fn candidates(&mut self, source: Option<&str>, event: Option<&str>, plain: Option<&[u8]>) -> Vec<usize> {
        let Matcher { filter, unconditional, memory, seen } = self;
        let is_new = |test: &Test| seen.get(test.id) == Some(&false);
        let is_candidate = |i: &usize| {
            let wheres = &filter.rules[*i].condition.wheres;
            plain.is_none_or(|record| {
                wheres.iter().all(|test| test.may_match(record))
                    || wheres.iter().any(|test| is_new(test) && test.may_be_in(record))
            })
        };
        let conditional = memory.rules(filter, source, event);
        let mut found: Vec<_> = conditional.iter().chain(&*unconditional).copied().filter(is_candidate).collect();
        found.sort_unstable();
        found
    }

    /// What the filter says of a record, of which these are the [`candidates`](Self::candidates).
    pub fn verdict(&mut self, candidates: &[usize], record: &Record<'_>) -> Verdict<'f> {
        let Filter { rules, ignore, .. } = self.filter;
        let seen = &mut self.seen;
        let matched: Vec<_> =
            candidates.iter().map(|i| &rules[*i]).filter(|rule| rule.condition.rest_matches(record, seen)).collect();
        if matched.is_empty() {
            return Verdict::Unmatched;
        }
        let (source, event) = (record.string(&["eventSource"]), record.string(&["eventName"]));
        let ignored = ignore.iter().any(|condition| {
            condition.source_matches(source.as_deref())
                && condition.event_matches(event.as_deref())
                && condition.rest_matches(record, seen)
        });
        if ignored { Verdict::Ignored } else { Verdict::Matched(matched) }
    }
}

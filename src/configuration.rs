//! The configuration file: parsed and validated, with all its mistakes at once. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::filter::{Condition, Filter, Format, Rule, Severity, Test, Topic, TopicArn, is_account};
use crate::packs;

/// The largest configuration, in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;

/// The longest name of a rule, in characters. Names stand in subjects of summaries and in filter policies.
const NAME_LIMIT: usize = 100;

/// The name of the rule that the top-level `source` and `regexp` make.
const DEFAULT_RULE: &str = "default";

/// Parses and validates a configuration file. `default_topic` is `TOPIC_ARN`, for a configuration that names none.
///
/// # Errors
/// Every mistake of the file, each with the rule and the key that it is in and what to do.
pub fn parse(file: &[u8], default_topic: Option<&str>) -> Result<Filter, Vec<String>> {
    if file.len() > SIZE_LIMIT {
        return Err(vec![format!("it is larger than {SIZE_LIMIT} bytes, and no more are read")]);
    }
    // Windows' editors begin UTF-8 with it.
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let document = serde_json::from_slice(file).map_err(|e| vec![no_json(file, &e)])?;
    let mut reader = Reader::default();
    let filter = reader.filter(document, default_topic);
    match filter {
        Some(filter) if reader.problems.is_empty() => Ok(filter),
        _ => Err(reader.problems),
    }
}

fn no_json(file: &[u8], error: &serde_json::Error) -> String {
    match file {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it is UTF-16, as PowerShell's `>` writes: save it as UTF-8".to_owned(),
        [0x1F, 0x8B, ..] => "it is gzipped: unpack it".to_owned(),
        _ if file.trim_ascii().is_empty() => "it is empty".to_owned(),
        _ => format!("it is no valid JSON: {error}"),
    }
}

/// A pack and the names of its rules.
pub type PackRules = (&'static str, Vec<String>);

/// The pack's rule that a name stands for, or misses by a slip of up to three characters.
#[must_use]
pub fn meant_pack_rule(name: &str) -> Option<(&'static PackRules, &'static str)> {
    static PACKS: LazyLock<Vec<PackRules>> = LazyLock::new(|| {
        let names = |pack: &&'static str| {
            let filter = parse(packs::file(pack)?.as_bytes(), None).ok()?;
            Some((*pack, filter.rules.into_iter().map(|rule| rule.name).collect()))
        };
        packs::NAMES.iter().filter_map(names).collect()
    });
    PACKS.iter().find_map(|pack| {
        let names: Vec<&str> = pack.1.iter().map(String::as_str).collect();
        let near = nearest(name, &names).filter(|near| strsim::damerau_levenshtein(near, name) <= 3)?;
        Some((pack, near))
    })
}

/// A path as the configuration writes it: keys between dots, a dot within a key behind a backslash.
fn parse_path(path: &str) -> Option<Vec<String>> {
    let keys = path.replace("\\.", "\0").split('.').map(|key| key.replace('\0', ".")).collect::<Vec<_>>();
    keys.iter().all(|key| !key.is_empty()).then_some(keys)
}

/// A rule as one place of the file gives it, key by key: another place may give it others.
#[derive(Default)]
struct Draft {
    description: Option<String>,
    severity: Option<Severity>,
    source: Option<Regex>,
    event: Option<Regex>,
    wheres: Option<Vec<Test>>,
    unless: Option<Vec<Test>>,
    topic: Option<TopicArn>,
    format: Option<Format>,
}

impl Draft {
    /// Takes over the keys that the other one gives.
    fn override_with(&mut self, other: Draft) {
        fn take<T>(mine: &mut Option<T>, theirs: Option<T>) {
            if theirs.is_some() {
                *mine = theirs;
            }
        }
        take(&mut self.description, other.description);
        take(&mut self.severity, other.severity);
        take(&mut self.source, other.source);
        take(&mut self.event, other.event);
        take(&mut self.wheres, other.wheres);
        take(&mut self.unless, other.unless);
        take(&mut self.topic, other.topic);
        take(&mut self.format, other.format);
    }

    fn condition(&self) -> Condition {
        Condition {
            source: self.source.clone(),
            event: self.event.clone(),
            wheres: self.wheres.clone().unwrap_or_default(),
            unless: self.unless.clone().unwrap_or_default(),
        }
    }

    fn says_nothing(&self) -> bool {
        let none = |tests: &Option<Vec<Test>>| tests.as_ref().is_none_or(Vec::is_empty);
        self.source.is_none() && self.event.is_none() && none(&self.wheres) && none(&self.unless)
    }
}

/// The rules of a file in their order, by name.
#[derive(Default)]
struct Drafts {
    drafts: Vec<(String, Draft)>,
    /// Names of packs' rules that nothing has overridden yet.
    from_packs: Vec<String>,
}

/// Reads the file and collects its mistakes. Its methods give what they can, so that no mistake hides the next.
#[derive(Default)]
struct Reader {
    problems: Vec<String>,
    /// How many tests have been read.
    tests: usize,
    /// What was compiled: many rules ask for the same event source.
    patterns: HashMap<String, Regex>,
}

const FILE_KEYS: [&str; 9] =
    ["source", "regexp", "sns", "format", "packs", "rules", "ignore", "accounts", "maxAlertsPerLog"];
const RULE_KEYS: [&str; 9] =
    ["name", "description", "severity", "source", "regexp", "where", "unless", "topicARN", "format"];
const SAYS_NOTHING: &str = "says nothing: give at least one of source, regexp, where and unless";

impl Reader {
    fn problem(&mut self, at: &str, what: impl fmt::Display) {
        self.problems.push(if at.is_empty() { what.to_string() } else { format!("{at}: {what}") });
    }

    fn filter(&mut self, document: Node, default_topic: Option<&str>) -> Option<Filter> {
        let [source, regexp, sns, format, packs, rules, ignore, accounts, max_alerts] =
            self.object("", document, FILE_KEYS)?;
        let mut drafts = Drafts::default();
        if source.is_some() || regexp.is_some() {
            drafts.drafts.push((DEFAULT_RULE.to_owned(), self.default_rule(source, regexp)));
        }
        let (region, topic) = sns.map(|sns| self.sns(sns)).unwrap_or_default();
        let topic = topic.or_else(|| self.topic("TOPIC_ARN in the environment", default_topic?));
        if let (Some(region), Some(topic)) = (region, &topic)
            && region != topic.region()
        {
            let of_topic = topic.region();
            let what = format!("`{region}`, but the topic is in {of_topic}: correct one, or leave it out");
            self.problem("sns.region", what);
        }
        let format = format.and_then(|format| self.format("format", format));
        for pack in packs.map(|packs| self.array("packs", packs)).unwrap_or_default() {
            self.pack(pack, &mut drafts);
        }
        for (i, rule) in rules.map(|rules| self.array("rules", rules)).unwrap_or_default().into_iter().enumerate() {
            self.rule(i, rule, &mut drafts);
        }
        let ignore = ignore.map(|ignore| self.array("ignore", ignore)).unwrap_or_default();
        let ignore = ignore.into_iter().enumerate().filter_map(|(i, entry)| self.ignore(i, entry)).collect();
        let accounts = accounts.map(|accounts| self.accounts(accounts)).unwrap_or_default();
        let max_alerts_per_log = max_alerts.and_then(|max| self.max_alerts(&max));
        if drafts.drafts.is_empty() && self.problems.is_empty() {
            self.problem("", "it has no rule: give `source` and `regexp`, or `rules`, or `packs`");
        }
        let (rules, topics) = self.rules_and_topics(drafts, topic.as_ref(), format);
        Some(Filter { rules, ignore, topics, accounts, max_alerts_per_log, tests: self.tests })
    }

    fn default_rule(&mut self, source: Option<Node>, regexp: Option<Node>) -> Draft {
        let mut pattern = |key: &str, node: Option<Node>, example: &str| match node {
            Some(node) => self.pattern(key, node),
            None => {
                self.problem("", format!("`{key}` is missing: give a regular expression, for example \"{example}\""));
                None
            }
        };
        let source = pattern("source", source, "iam|signin|sts");
        let event = pattern("regexp", regexp, "Password|AccessKey|Login");
        Draft { source, event, ..Draft::default() }
    }

    /// The region and the topic, as far as they are given.
    fn sns(&mut self, sns: Node) -> (Option<String>, Option<TopicArn>) {
        let Some([region, topic]) = self.object("sns", sns, ["region", "topicARN"]) else { return (None, None) };
        let region = region.and_then(|region| self.text("sns.region", region));
        let topic = topic.and_then(|topic| self.text("sns.topicARN", topic));
        (region, topic.and_then(|topic| self.topic("sns.topicARN", &topic)))
    }

    fn pack(&mut self, pack: Node, drafts: &mut Drafts) {
        let Some(name) = self.text("packs", pack) else { return };
        let Some(file) = packs::file(&name) else {
            let known = packs::NAMES;
            self.problem("packs", format!("`{name}` is not known{}", suggestion(&name, &known)));
            return;
        };
        let Ok(Node::Object(entries)) = serde_json::from_str(file) else { return };
        for (_, rules) in entries {
            for (i, rule) in self.array(&name, rules).into_iter().enumerate() {
                if let Some((rule, draft)) = self.draft(i, rule) {
                    if drafts.drafts.iter().any(|(known, _)| *known == rule) {
                        self.problem("packs", format!("`{name}` stands there twice"));
                        return;
                    }
                    drafts.from_packs.push(rule.clone());
                    drafts.drafts.push((rule, draft));
                }
            }
        }
    }

    fn rule(&mut self, i: usize, rule: Node, drafts: &mut Drafts) {
        let before = self.problems.len();
        let Some((name, draft)) = self.draft(i, rule) else { return };
        if let Some((_, known)) = drafts.drafts.iter_mut().find(|(known, _)| *known == name) {
            match drafts.from_packs.iter().position(|pack_rule| *pack_rule == name) {
                Some(at) => {
                    drafts.from_packs.swap_remove(at);
                    known.override_with(draft);
                    if known.says_nothing() && self.problems.len() == before {
                        self.problem(&format!("rule {name}"), SAYS_NOTHING);
                    }
                }
                None => self.problem("", format!("two rules have the name `{name}`: rename one")),
            }
            return;
        }
        if draft.says_nothing() && self.problems.len() == before {
            let what = match meant_pack_rule(&name) {
                Some(((pack, _), meant)) if meant == name => {
                    format!("only overrides, and `packs` does not name `{pack}`, which has a rule of that name: add it")
                }
                Some((_, meant)) => format!("{SAYS_NOTHING}; or did you mean to override `{meant}`?"),
                None => SAYS_NOTHING.to_owned(),
            };
            self.problem(&format!("rule {name}"), what);
        }
        drafts.drafts.push((name, draft));
    }

    /// A rule as written, with its name.
    fn draft(&mut self, i: usize, rule: Node) -> Option<(String, Draft)> {
        let named = rule.member("name");
        let at = named.map_or_else(|| format!("rules[{i}]"), |name| format!("rule {}", name.escape_debug()));
        let [name, description, severity, source, regexp, wheres, unless, topic, format] =
            self.object(&at, rule, RULE_KEYS)?;
        let key = |key: &str| format!("{at}, {key}");
        let name = match name {
            Some(name) => self.text(&key("name"), name).filter(|name| {
                let fits = !name.is_empty() && name.chars().count() <= NAME_LIMIT && !name.contains(char::is_control);
                if !fits {
                    self.problem(
                        &at,
                        format!("its name must have 1 to {NAME_LIMIT} characters, none of them a control"),
                    );
                }
                fits
            }),
            None => {
                self.problem(&at, "`name` is missing: alerts name the rule that they come from");
                None
            }
        };
        let draft = Draft {
            description: description.and_then(|text| self.text(&key("description"), text)),
            severity: severity.and_then(|severity| {
                let choices = Severity::ALL.map(|severity| (severity.name(), severity));
                self.choice(&key("severity"), severity, &choices)
            }),
            source: source.and_then(|pattern| self.pattern(&key("source"), pattern)),
            event: regexp.and_then(|pattern| self.pattern(&key("regexp"), pattern)),
            wheres: wheres.map(|tests| self.tests(&key("where"), tests)),
            unless: unless.map(|tests| self.tests(&key("unless"), tests)),
            topic: topic
                .and_then(|arn| self.text(&key("topicARN"), arn))
                .and_then(|arn| self.topic(&key("topicARN"), &arn)),
            format: format.and_then(|format| self.format(&key("format"), format)),
        };
        Some((name?, draft))
    }

    fn ignore(&mut self, i: usize, entry: Node) -> Option<Condition> {
        let at = format!("ignore[{i}]");
        let [source, regexp, wheres, unless] = self.object(&at, entry, ["source", "regexp", "where", "unless"])?;
        let before = self.problems.len();
        let draft = Draft {
            source: source.and_then(|pattern| self.pattern(&format!("{at}, source"), pattern)),
            event: regexp.and_then(|pattern| self.pattern(&format!("{at}, regexp"), pattern)),
            wheres: wheres.map(|tests| self.tests(&format!("{at}, where"), tests)),
            unless: unless.map(|tests| self.tests(&format!("{at}, unless"), tests)),
            ..Draft::default()
        };
        if draft.says_nothing() && self.problems.len() == before {
            self.problem(&at, SAYS_NOTHING);
        }
        Some(draft.condition())
    }

    fn accounts(&mut self, accounts: Node) -> HashMap<String, String> {
        let mut names = HashMap::new();
        for (account, name) in self.entries("accounts", accounts) {
            if !is_account(&account) {
                self.problem("accounts", format!("`{account}` is no account's number, which has 12 digits"));
            }
            match self.text(&format!("accounts, {account}"), name) {
                Some(name) if name.is_empty() => self.problem("accounts", format!("the name of {account} is empty")),
                Some(name) => drop(names.insert(account, name)),
                None => {}
            }
        }
        names
    }

    fn max_alerts(&mut self, max: &Node) -> Option<u64> {
        match max {
            Node::Whole(max) if *max > 0 => Some(*max),
            other => {
                let what = if matches!(other, Node::Whole(_)) { "0" } else { other.kind() };
                self.problem(
                    "maxAlertsPerLog",
                    format!("it is {what}, but must be a whole number from 1; leave it out for no limit"),
                );
                None
            }
        }
    }

    /// Joins rules and topics, each topic with one form of message.
    fn rules_and_topics(
        &mut self,
        drafts: Drafts,
        default_topic: Option<&TopicArn>,
        default_format: Option<Format>,
    ) -> (Vec<Rule>, Vec<Topic>) {
        // By topic, the form that is asked for, and where.
        let mut forms: HashMap<Option<TopicArn>, (Format, String)> = HashMap::new();
        forms.insert(default_topic.cloned(), (default_format.unwrap_or_default(), "the top level".to_owned()));
        for (name, draft) in &drafts.drafts {
            let Some(format) = draft.format else { continue };
            if draft.topic.is_none() {
                let why =
                    "`format` is a matter of a topic: give the rule a topicARN too, or set `format` at the top level";
                self.problem(&format!("rule {name}"), why);
                continue;
            }
            let here = (format, format!("rule {name}"));
            let (known, place) = forms.entry(draft.topic.clone()).or_insert_with(|| here.clone());
            if *known != format {
                let what = format!("`{}`, but {place} asks for `{}`: a topic has one", format.name(), known.name());
                self.problem(&format!("rule {name}, format"), what);
            }
        }
        let mut topics: Vec<Topic> = Vec::new();
        let mut rules = Vec::new();
        for (name, draft) in drafts.drafts {
            let arn = draft.topic.as_ref().or(default_topic).cloned();
            let topic = topics.iter().position(|topic| topic.arn == arn).unwrap_or_else(|| {
                let format = forms.get(&arn).map(|(format, _)| *format).or(default_format).unwrap_or_default();
                topics.push(Topic { arn, format });
                topics.len() - 1
            });
            let condition = draft.condition();
            let severity = draft.severity.unwrap_or(Severity::Medium);
            rules.push(Rule { name, description: draft.description, severity, condition, topic });
        }
        (rules, topics)
    }

    fn tests(&mut self, at: &str, tests: Node) -> Vec<Test> {
        let mut read = Vec::new();
        for (path, pattern) in self.entries(at, tests) {
            let pattern = self.pattern(&format!("{at} {path}"), pattern);
            let Some(keys) = parse_path(&path) else {
                let what =
                    format!("`{path}` is no path: write keys with a dot between them, such as userIdentity.type");
                self.problem(at, what);
                continue;
            };
            if let Some(pattern) = pattern {
                read.push(Test::new(self.tests, keys, pattern));
                self.tests += 1;
            }
        }
        read
    }

    fn pattern(&mut self, at: &str, node: Node) -> Option<Regex> {
        let pattern = self.text(at, node)?;
        if let Some(known) = self.patterns.get(&pattern) {
            return Some(known.clone());
        }
        let compiled =
            Regex::new(&pattern).map_err(|e| self.problem(at, format!("`{pattern}` {}", reason(&e)))).ok()?;
        self.patterns.insert(pattern, compiled.clone());
        Some(compiled)
    }

    fn topic(&mut self, at: &str, arn: &str) -> Option<TopicArn> {
        TopicArn::parse(arn).map_err(|why| self.problem(at, why)).ok()
    }

    fn format(&mut self, at: &str, node: Node) -> Option<Format> {
        self.choice(at, node, &Format::ALL.map(|format| (format.name(), format)))
    }

    fn choice<T: Copy>(&mut self, at: &str, node: Node, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(at, node)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problem(at, format!("`{text}` is not known{}", suggestion(&text, &names)));
        }
        found.map(|(_, choice)| *choice)
    }

    fn text(&mut self, at: &str, node: Node) -> Option<String> {
        match node {
            Node::Text(text) => Some(text),
            other => {
                self.problem(at, format!("it is {}, but must be a string", other.kind()));
                None
            }
        }
    }

    fn array(&mut self, at: &str, node: Node) -> Vec<Node> {
        match node {
            Node::Array(items) => items,
            other => {
                self.problem(at, format!("it is {}, but must be an array: […]", other.kind()));
                Vec::new()
            }
        }
    }

    /// The entries of an object; repeated keys are mistakes.
    fn entries(&mut self, at: &str, node: Node) -> Vec<(String, Node)> {
        let Node::Object(entries) = node else {
            self.problem(at, format!("it is {}, but must be an object: {{…}}", node.kind()));
            return Vec::new();
        };
        let mut known = HashSet::new();
        let (unique, repeated): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| known.insert(key.clone()));
        for (key, _) in repeated {
            self.problem(at, format!("the key `{key}` stands there twice: delete one"));
        }
        unique
    }

    /// The values of the known keys of an object, `None` where it is no object; other keys are mistakes.
    fn object<const N: usize>(&mut self, at: &str, node: Node, known: [&str; N]) -> Option<[Option<Node>; N]> {
        let is_object = matches!(node, Node::Object(_));
        let mut values = [const { None }; N];
        for (key, value) in self.entries(at, node) {
            match known.iter().position(|k| *k == key) {
                Some(i) => values[i] = Some(value),
                None => self.problem(at, format!("the key `{key}` is not known{}", suggestion(&key, &known))),
            }
        }
        is_object.then_some(values)
    }
}

/// How a sentence about an unknown name ends: with the one that was probably meant, or else with all.
#[must_use]
pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The known name that is most like one that is not, if any is like it.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    let near = known.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= near.chars().count().div_ceil(3)).then_some(*near)
}

/// What is wrong with a pattern, in one line.
fn reason(error: &regex::Error) -> String {
    let regex::Error::Syntax(text) = error else {
        return format!("is too large when compiled ({error}): repeat less, or use (?-u) and ASCII classes");
    };
    let last = text.lines().last().unwrap_or_default();
    let why = last.strip_prefix("error: ").unwrap_or(last);
    let hint = if why.contains("look-around") {
        " (JavaScript has it, this engine does not; to leave events out, use `unless`)"
    } else if why.contains("backreferences") {
        " (JavaScript has them, this engine does not: write out what they stand for)"
    } else {
        ""
    };
    format!("is no valid regular expression: {why}{hint}")
}

/// JSON as the file has it, repeated keys included.
enum Node {
    Text(String),
    Whole(u64),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
    Other(&'static str),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Node::Text(_) => "a string",
            Node::Whole(_) => "a number",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
            Node::Other(kind) => kind,
        }
    }

    /// A text in an object.
    fn member(&self, name: &str) -> Option<String> {
        let Node::Object(entries) = self else { return None };
        match entries.iter().find(|(key, _)| key == name) {
            Some((_, Node::Text(text))) => Some(text.clone()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Whole(number))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Other("a negative number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Other("a fraction"))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other("a boolean"))
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other("null"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Node::Array(array))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut object = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    object.push(entry);
                }
                Ok(Node::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: &str) -> Vec<String> {
        let filter = parse(config.as_bytes(), None).unwrap();
        filter.rules.into_iter().map(|rule| format!("{} {}", rule.name, rule.severity)).collect()
    }

    #[test]
    fn paths_are_split_at_dots_that_no_backslash_precedes() {
        for (path, keys) in [
            ("a", Some(&["a"] as &[_])),
            ("a.b.c", Some(&["a", "b", "c"])),
            (r"a\.b.c", Some(&["a.b", "c"])),
            (r"a\b", Some(&[r"a\b"])),
            ("", None),
            (".a", None),
            ("a..b", None),
            ("a.", None),
        ] {
            assert_eq!(parse_path(path), keys.map(|keys| keys.iter().map(ToString::to_string).collect()), "{path}");
        }
    }

    #[test]
    fn default_comes_first_then_packs_then_rules() {
        let names = rules(
            r#"{"rules": [{"name": "own", "regexp": "x"}], "packs": ["threats", "cis"], "regexp": "y", "source": "z"}"#,
        );
        let first = |prefix: &str| names.iter().position(|name| name.starts_with(prefix)).unwrap();
        assert_eq!((first("default"), first("threat"), names.len() - first("own")), (0, 1, 1));
        assert!(first("threat") < first("cis"));
    }

    #[test]
    fn packs_are_valid_and_free_of_warnings() {
        let all = format!(r#"{{"packs": {:?}}}"#, packs::NAMES);
        let filter = parse(all.as_bytes(), None).unwrap();
        assert_eq!(crate::advice::warnings(&filter), [""; 0]);
        for name in packs::NAMES {
            let alone = parse(packs::file(name).unwrap().as_bytes(), None).unwrap();
            assert!(alone.rules.iter().all(|rule| rule.description.is_some()), "{name}");
        }
    }

    #[test]
    fn the_topic_of_the_environment_is_for_configurations_that_name_none() {
        let topic = |config: &str, default: Option<&str>| {
            parse(config.as_bytes(), default).map(|filter| filter.topics[0].arn.as_ref().map(ToString::to_string))
        };
        let (own, other) = ("arn:aws:sns:eu-west-1:123456789012:own", "arn:aws:sns:eu-west-1:123456789012:other");
        let named = format!(r#"{{"source": "a", "regexp": "b", "sns": {{"topicARN": "{own}"}}}}"#);
        let unnamed = r#"{"source": "a", "regexp": "b"}"#;
        assert_eq!(topic(&named, Some(other)), Ok(Some(own.to_owned())));
        assert_eq!(topic(unnamed, Some(other)), Ok(Some(other.to_owned())));
        assert_eq!(topic(unnamed, None), Ok(None));
        assert!(topic(unnamed, Some("x")).unwrap_err()[0].starts_with("TOPIC_ARN in the environment: `x`"));
        let elsewhere = r#"{"source": "a", "regexp": "b", "sns": {"region": "us-west-2"}}"#;
        assert_eq!(topic(elsewhere, None), Ok(None));
        assert!(topic(elsewhere, Some(other)).unwrap_err()[0].starts_with("sns.region: `us-west-2`, but the topic"));
    }

    #[test]
    fn the_nearest_name_is_one_that_is_near() {
        let known = ["severity", "source", "regexp", "topicARN"];
        for (name, near) in [
            ("serverity", Some("severity")),
            ("regex", Some("regexp")),
            ("topicArn", Some("topicARN")),
            ("colour", None),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
    }
}

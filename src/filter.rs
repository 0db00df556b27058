//! The filter configuration: parsed, validated with all its mistakes at once, and matched against records. Pure.

use std::fmt;

use regex::Regex;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The largest configuration, in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;

/// A valid configuration.
#[derive(Debug)]
pub struct Filter {
    /// The rules, in the order in which a message names them.
    pub rules: Vec<Rule>,
    /// The topic of rules that name none; `None` where neither the configuration nor `TOPIC_ARN` names one.
    pub topic: Option<TopicArn>,
}

/// What to alert on.
#[derive(Debug)]
pub struct Rule {
    /// Unique in a configuration; `default` for the top-level `source` and `regexp`.
    pub name: String,
    /// How much a match matters.
    pub severity: Severity,
    source: Regex,
    event: Regex,
}

/// How much a match matters, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// What is not said otherwise.
    Medium,
}

impl Severity {
    /// As the configuration and messages write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Medium => "medium",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Filter {
    /// Parses and validates a configuration file. `default_topic` is `TOPIC_ARN`, for a configuration that names none.
    ///
    /// # Errors
    /// Every mistake of the file, each with the key that it is in and what to do.
    pub fn parse(file: &[u8], default_topic: Option<&str>) -> Result<Filter, Vec<String>> {
        if file.len() > SIZE_LIMIT {
            return Err(vec![format!("it has {} bytes; at most {SIZE_LIMIT} are read", file.len())]);
        }
        let document = serde_json::from_slice(file).map_err(|e| vec![format!("it is no valid JSON: {e}")])?;
        let mut problems = Problems::default();
        let filter = problems.filter(document, default_topic);
        match filter {
            Some(filter) if problems.0.is_empty() => Ok(filter),
            _ => Err(problems.0),
        }
    }

    /// The rules that a record with these fields matches; a field that is missing or no string is `None`, and matches
    /// nothing.
    pub fn matches(&self, source: Option<&str>, event: Option<&str>) -> impl Iterator<Item = &Rule> {
        let (source, event) = (source.zip(event)).unzip();
        self.rules.iter().filter(move |rule| {
            source.is_some_and(|s| rule.source.is_match(s)) && event.is_some_and(|e| rule.event.is_match(e))
        })
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
                if partition.starts_with("aws")
                    && region_ok(region)
                    && account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit())
                    && name_ok(name) =>
            {
                Ok(TopicArn(arn.to_owned()))
            }
            _ => Err(format!(
                "`{arn}` is no topic's ARN; one looks like arn:aws:sns:us-east-1:123456789012:alerts (a subscription's \
                 ARN has one part more)"
            )),
        }
    }

    /// The region that the topic is in: requests for it must go there.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
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

/// JSON as the file has it, repeated keys included.
enum Node {
    Text(String),
    Object(Vec<(String, Node)>),
    Other(&'static str),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Node::Text(_) => "a string",
            Node::Object(_) => "an object",
            Node::Other(kind) => kind,
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
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other("null"))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other("a boolean"))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Other("a number"))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Other("a number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Other("a number"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                while items.next_element::<Node>()?.is_some() {}
                Ok(Node::Other("an array"))
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

/// The mistakes found so far. Its methods give what they can, so that one mistake does not hide the next.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.push(problem);
    }

    fn filter(&mut self, document: Node, default_topic: Option<&str>) -> Option<Filter> {
        let [source, regexp, sns] = self.object("the file", document, ["source", "regexp", "sns"])?;
        let source = self.pattern("source", source);
        let event = self.pattern("regexp", regexp);
        let topic = match sns {
            Some(sns) => self.sns(sns),
            None => None,
        };
        let topic = topic.or_else(|| match default_topic.map(TopicArn::parse)? {
            Ok(topic) => Some(topic),
            Err(problem) => {
                self.add(format!("TOPIC_ARN in the environment: {problem}"));
                None
            }
        });
        let rule = Rule { name: "default".to_owned(), severity: Severity::Medium, source: source?, event: event? };
        Some(Filter { rules: vec![rule], topic })
    }

    fn sns(&mut self, sns: Node) -> Option<TopicArn> {
        let [region, topic] = self.object("sns", sns, ["region", "topicARN"])?;
        let region = region.and_then(|node| self.text("sns.region", node));
        let arn = topic.and_then(|node| self.text("sns.topicARN", node))?;
        let topic = TopicArn::parse(&arn).map_err(|problem| self.add(format!("sns.topicARN: {problem}"))).ok()?;
        if let Some(region) = region.filter(|region| region != topic.region()) {
            let of_topic = topic.region();
            self.add(format!(
                "sns.region is `{region}`, but the topic is in {of_topic}: correct one, or leave region out"
            ));
        }
        Some(topic)
    }

    /// A required pattern.
    fn pattern(&mut self, key: &str, node: Option<Node>) -> Option<Regex> {
        let Some(node) = node else {
            self.add(format!("`{key}` is missing: give a regular expression, for example \"{}\"", example(key)));
            return None;
        };
        let pattern = self.text(key, node)?;
        Regex::new(&pattern).map_err(|e| self.add(format!("{key}: `{pattern}` {}", reason(&e)))).ok()
    }

    fn text(&mut self, key: &str, node: Node) -> Option<String> {
        match node {
            Node::Text(text) => Some(text),
            other => {
                self.add(format!("{key} is {}, but must be a string", other.kind()));
                None
            }
        }
    }

    /// The values of the known keys of an object; other keys and repeated ones are mistakes.
    fn object<const N: usize>(&mut self, at: &str, node: Node, known: [&str; N]) -> Option<[Option<Node>; N]> {
        let Node::Object(entries) = node else {
            self.add(format!("{at} holds {}, but must hold an object: {{…}}", node.kind()));
            return None;
        };
        let mut values = [const { None }; N];
        for (key, value) in entries {
            match known.iter().position(|k| *k == key) {
                None => {
                    self.add(format!("{at}: the key `{key}` is not known; known are {}", known.join(", ")));
                }
                Some(i) if values[i].is_some() => self.add(format!("{at}: the key `{key}` stands there twice")),
                Some(i) => values[i] = Some(value),
            }
        }
        Some(values)
    }
}

fn example(key: &str) -> &'static str {
    if key == "source" { "iam|signin|sts" } else { "Password|AccessKey|Login" }
}

/// What is wrong with a pattern, in one line.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("is too large: it would need over {limit} bytes when compiled"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            let why = last.strip_prefix("error: ").unwrap_or(last);
            let hint = if why.contains("look-around") || why.contains("backreferences") {
                " (JavaScript has it, this engine does not; to leave something out, match less, \
                 for example ^(CreateUser|DeleteUser)$)"
            } else {
                ""
            };
            format!("is no valid regular expression: {why}{hint}")
        }
    }
}

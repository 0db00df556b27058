//! The configuration file as a tree of JSON, repeated keys included, and its values by type, mistakes collected.

use std::collections::HashSet;
use std::fmt;

use foldhash::fast::RandomState;
use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::suggest::suggestion;

/// A value of the file.
pub(super) type Node<'a> = Value<'a>;

/// Parses JSON with comments and trailing commas. An error says what is wrong, at which line and column.
pub(super) fn parse(text: &str) -> Result<Node<'_>, String> {
    let value = tree(text)?;
    if let Some((at, what)) = not_json(text) {
        let before = &text[..at];
        let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |newline| newline + 1));
        return Err(format!("{what} on line {line} column {}", before[start..].chars().count() + 1));
    }
    value.ok_or_else(|| "there is no value".to_owned())
}

/// The same of a text that is known to be JSON: a pack's.
pub(super) fn parse_known(text: &str) -> Option<Node<'_>> {
    tree(text).ok()?
}

fn tree(text: &str) -> Result<Option<Node<'_>>, String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|e| {
        let position = e.to_string().split_off(e.kind().to_string().len());
        format!("{}{position}", e.kind().to_string().to_lowercase())
    })?;
    Ok(parsed.value)
}

/// Where a text that was parsed has a character that JSON does not have there, and what to do about it.
fn not_json(text: &str) -> Option<(usize, &'static str)> {
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match first {
            '"' => {
                let mut is_escaped = false;
                let ends = |c: char| {
                    let is_end = c < ' ' || c == '"' && !is_escaped;
                    is_escaped = c == '\\' && !is_escaped;
                    is_end
                };
                let end = 1 + rest[1..].find(ends)?;
                if !rest[end..].starts_with('"') {
                    return Some((at + end, "a control character in a string (write it as \\n, \\t or \\u00xx)"));
                }
                end + 1
            }
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '/' => 4 + rest.get(2..)?.find("*/")?,
            ' '..='~' | '\t' | '\n' | '\r' => 1,
            _ => return Some((at, "a blank that JSON does not have (write a space)")),
        };
    }
    None
}

/// The value's type, with its article.
fn kind(node: &Node<'_>) -> &'static str {
    match node {
        Node::StringLit(_) => "a string",
        Node::NumberLit(_) => "a number",
        Node::BooleanLit(_) => "a boolean",
        Node::Object(_) => "an object",
        Node::Array(_) => "an array",
        Node::NullKeyword(_) => "null",
    }
}

/// The string at a key of an object.
pub(super) fn member<'n>(node: &'n Node<'_>, key: &str) -> Option<&'n str> {
    Some(&node.as_object()?.get_string(key)?.value)
}

/// Writes a value as JSON, numbers as the file does.
pub(super) fn to_json(node: &Node<'_>) -> String {
    let string = |text: &str| serde_json::Value::from(text).to_string();
    match node {
        Node::StringLit(text) => string(&text.value),
        Node::NumberLit(number) => number.value.to_owned(),
        Node::BooleanLit(boolean) => boolean.value.to_string(),
        Node::NullKeyword(_) => "null".to_owned(),
        Node::Array(array) => format!("[{}]", array.elements.iter().map(to_json).collect::<Vec<_>>().join(",")),
        Node::Object(object) => {
            let entries = object.properties.iter();
            let entries = entries.map(|entry| format!("{}:{}", string(entry.name.as_str()), to_json(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

/// Where in the file something stands. It is written out only for a mistake.
pub(super) type At<'a> = &'a dyn fmt::Display;

/// A key at a place.
#[derive(Clone, Copy)]
pub(super) struct KeyAt<'a>(pub(super) At<'a>, pub(super) &'a str);

impl fmt::Display for KeyAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyAt(at, key) = self;
        write!(f, "{at}, {key}")
    }
}

/// The most mistakes that are kept. Nobody reads more, and a file of 1 MiB may have 300,000.
const LIMIT: usize = 10_000;

/// The mistakes of a file, each with the rule and the key that it is in. Its methods give what they can, so that no
/// mistake hides the next.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<String>);

impl Problems {
    /// Adds a mistake; `at` is the place, and empty for the file as a whole.
    pub(super) fn add(&mut self, at: At<'_>, what: impl fmt::Display) {
        if self.0.len() < LIMIT {
            let at = at.to_string();
            self.0.push(if at.is_empty() { what.to_string() } else { format!("{at}: {what}") });
        }
    }

    pub(super) fn text(&mut self, at: At<'_>, node: Node<'_>) -> Option<String> {
        self.text_or(at, node, "a string")
    }

    /// A string, where more than a string may stand, as `expected` says.
    pub(super) fn text_or(&mut self, at: At<'_>, node: Node<'_>, expected: &str) -> Option<String> {
        match node {
            Node::StringLit(text) => Some(text.value.into_owned()),
            other => self.wrong(at, &other, expected),
        }
    }

    /// A string that is not empty.
    pub(super) fn some_text(&mut self, at: At<'_>, node: Node<'_>) -> Option<String> {
        let text = self.text(at, node)?;
        if text.trim().is_empty() {
            self.add(at, "it is empty: write something, or leave it out");
        }
        Some(text)
    }

    pub(super) fn boolean(&mut self, at: At<'_>, node: Node<'_>) -> Option<bool> {
        match node {
            Node::BooleanLit(boolean) => Some(boolean.value),
            other => self.wrong(at, &other, "true or false, without quotes"),
        }
    }

    /// A number that a double can hold.
    pub(super) fn number(&mut self, at: At<'_>, node: Node<'_>) -> Option<f64> {
        let text = self.number_text(at, node)?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.add(at, format!("`{text}` is too large"));
        }
        number
    }

    /// A whole number of at least 1, which may be written as `1e2` or `100.0`.
    pub(super) fn count(&mut self, at: At<'_>, node: Node<'_>, hint: &str) -> Option<u64> {
        let text = self.number_text(at, node)?;
        // A double is written without exponent, so that a fraction shows.
        let count = text.parse::<f64>().ok().and_then(|number| number.to_string().parse().ok());
        let count = count.filter(|count| *count > 0);
        if count.is_none() {
            self.add(at, format!("it is {text}, but must be a whole number of at least 1{hint}"));
        }
        count
    }

    fn number_text<'a>(&mut self, at: At<'_>, node: Node<'a>) -> Option<&'a str> {
        match node {
            Node::NumberLit(number) => Some(number.value),
            other => self.wrong(at, &other, "a number, without quotes"),
        }
    }

    fn wrong<T>(&mut self, at: At<'_>, node: &Node<'_>, expected: &str) -> Option<T> {
        self.add(at, format!("it is {}, but must be {expected}", kind(node)));
        None
    }

    /// One of several names.
    pub(super) fn choice<T: Copy>(&mut self, at: At<'_>, node: Node<'_>, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(at, node)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.add(at, format!("`{text}` is not known{}", suggestion(&text, &names)));
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn array<'a>(&mut self, at: At<'_>, node: Node<'a>) -> Vec<Node<'a>> {
        match node {
            Node::Array(array) => array.elements,
            other => self.wrong(at, &other, "an array: […]").unwrap_or_default(),
        }
    }

    /// An array with at least one element.
    pub(super) fn some_array<'a>(&mut self, at: At<'_>, node: Node<'a>) -> Vec<Node<'a>> {
        if node.as_array().is_some_and(|array| array.elements.is_empty()) {
            self.add(at, "it is empty: give at least one, or leave it out");
        }
        self.array(at, node)
    }

    /// The entries of an object; repeated keys are mistakes.
    pub(super) fn entries<'a>(&mut self, at: At<'_>, node: Node<'a>) -> Vec<(String, Node<'a>)> {
        let entries = match node {
            Node::Object(object) => object.properties,
            other => self.wrong(at, &other, "an object: {…}").unwrap_or_default(),
        };
        let mut known = HashSet::with_capacity_and_hasher(entries.len(), RandomState::default());
        let are_first: Vec<_> = entries.iter().map(|entry| known.insert(entry.name.as_str())).collect();
        let mut unique = Vec::with_capacity(entries.len());
        for (entry, is_first) in entries.into_iter().zip(are_first) {
            let key = entry.name.into_string();
            if is_first {
                unique.push((key, entry.value));
            } else {
                self.add(at, format!("the key `{key}` is there twice: delete one"));
            }
        }
        unique
    }

    /// The values at the known keys of an object, `None` if it is not an object; other keys are mistakes.
    pub(super) fn object<'a, const N: usize>(
        &mut self,
        at: At<'_>,
        node: Node<'a>,
        known: [&str; N],
    ) -> Option<[Option<Node<'a>>; N]> {
        let is_object = node.as_object().is_some();
        let mut values = [const { None }; N];
        for (key, value) in self.entries(at, node) {
            match known.iter().position(|k| *k == key) {
                Some(i) => values[i] = Some(value),
                None => self.add(at, format!("the key `{key}` is not known{}", suggestion(&key, &known))),
            }
        }
        is_object.then_some(values)
    }
}

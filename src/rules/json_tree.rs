//! The configuration file as a tree of JSON, repeated keys included, and its values by type, mistakes collected.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::suggest::suggestion;

/// A value of the file.
pub(super) enum Node {
    Text(String),
    Whole(u64),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
    Other(&'static str),
}

impl Node {
    /// The value's type, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Text(_) => "a string",
            Node::Whole(_) => "a number",
            Node::Array(_) => "an array",
            Node::Object(_) => "an object",
            Node::Other(kind) => kind,
        }
    }

    /// The string at a key of an object.
    pub(super) fn member(&self, name: &str) -> Option<&str> {
        let Node::Object(entries) = self else { return None };
        match entries.iter().find(|(key, _)| key == name) {
            Some((_, Node::Text(text))) => Some(text),
            _ => None,
        }
    }
}

/// The mistakes of a file, each with the rule and the key that it is in. Its methods give what they can, so that no
/// mistake hides the next.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<String>);

impl Problems {
    /// Adds a mistake; `at` is the place, and empty for the file as a whole.
    pub(super) fn add(&mut self, at: &str, what: impl fmt::Display) {
        self.0.push(if at.is_empty() { what.to_string() } else { format!("{at}: {what}") });
    }

    pub(super) fn text(&mut self, at: &str, node: Node) -> Option<String> {
        match node {
            Node::Text(text) => Some(text),
            other => {
                self.add(at, format!("it is {}, but must be a string", other.kind()));
                None
            }
        }
    }

    /// One of several names.
    pub(super) fn choice<T: Copy>(&mut self, at: &str, node: Node, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(at, node)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.add(at, format!("`{text}` is not known{}", suggestion(&text, &names)));
        }
        found.map(|(_, choice)| *choice)
    }

    pub(super) fn array(&mut self, at: &str, node: Node) -> Vec<Node> {
        match node {
            Node::Array(items) => items,
            other => {
                self.add(at, format!("it is {}, but must be an array: […]", other.kind()));
                Vec::new()
            }
        }
    }

    /// The entries of an object; repeated keys are mistakes.
    pub(super) fn entries(&mut self, at: &str, node: Node) -> Vec<(String, Node)> {
        let Node::Object(entries) = node else {
            self.add(at, format!("it is {}, but must be an object: {{…}}", node.kind()));
            return Vec::new();
        };
        let mut known = HashSet::new();
        let (unique, repeated): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| known.insert(key.clone()));
        for (key, _) in repeated {
            self.add(at, format!("the key `{key}` is there twice: delete one"));
        }
        unique
    }

    /// The values at the known keys of an object, `None` if it is not an object; other keys are mistakes.
    pub(super) fn object<const N: usize>(
        &mut self,
        at: &str,
        node: Node,
        known: [&str; N],
    ) -> Option<[Option<Node>; N]> {
        let is_object = matches!(node, Node::Object(_));
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
            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(match number.to_string().parse() {
                    // It may be written as 1e2 or 100.0.
                    Ok(whole) => Node::Whole(whole),
                    Err(_) if number < 0.0 => Node::Other("a negative number"),
                    Err(_) if number.fract() == 0.0 => Node::Other("a very large number"),
                    Err(_) => Node::Other("a fraction"),
                })
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

//! A boolean expression over the fields of a record, as the conditions of a rule.

use super::layout::{list, member, object, quoted};
use super::pattern::Pattern;

/// The most conditions of a rule's `any` or `ignore`.
const CONDITIONS_LIMIT: usize = 100;

/// What a text of a field must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Check {
    Pattern(Pattern),
    /// It is an address in one of them.
    Networks(Vec<String>),
    /// A test of another kind, as the configuration writes it.
    Object(String),
}

impl Check {
    /// Makes it pass where the other one does, too; false where no check can.
    fn or(&mut self, other: &Check) -> bool {
        match (&mut *self, other) {
            (Check::Pattern(mine), Check::Pattern(other)) => mine.or(other),
            (Check::Networks(mine), Check::Networks(others)) => {
                mine.extend_from_slice(others);
                true
            }
            (mine, other) => mine == other,
        }
    }

    fn json(&self) -> String {
        match self {
            Check::Pattern(pattern) => quoted(&pattern.to_string()),
            Check::Networks(networks) => object(&[member("cidr", &list(networks, 8))], 0),
            Check::Object(json) => json.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// A text at a path passes a check.
    Test(String, Check),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

use Expression::{All, Any, Not, Test};

impl Expression {
    /// Any of these. Tests of one path become one test where that is possible.
    pub(super) fn any(parts: Vec<Expression>) -> Expression {
        let flat = parts.into_iter().flat_map(|part| if let Any(inner) = part { inner } else { vec![part] });
        let mut joined: Vec<Expression> = Vec::new();
        for part in flat {
            let joins = |known: &mut Expression| match (known, &part) {
                (Test(path, known), Test(at, check)) => path == at && known.or(check),
                _ => false,
            };
            if !joined.iter_mut().any(joins) {
                joined.push(part);
            }
        }
        if joined.len() == 1 { joined.remove(0) } else { Any(joined) }
    }

    pub(super) fn all(mut parts: Vec<Expression>) -> Expression {
        if parts.len() == 1 { parts.remove(0) } else { All(parts) }
    }
}

/// A test that passes, or does not.
type Literal = (String, Check, bool);

/// Adds a test to a condition. Gives it back if its path has one that it can't be joined with: of the elements of an array,
/// one may pass the first and another one the second.
fn add(condition: &mut Vec<Literal>, literal: Literal) -> Option<Literal> {
    let (path, check, passes) = &literal;
    let Some((_, known, _)) = condition.iter_mut().find(|(known, _, is)| known == path && is == passes) else {
        condition.push(literal);
        return None;
    };
    let is_joined = if *passes { known == check } else { known.or(check) };
    (!is_joined).then_some(literal)
}

/// The keys of a condition, those of one line together.
fn lines(condition: &[Literal], indent: usize) -> Vec<String> {
    let (mut call, mut wheres, mut unless) = (Vec::new(), Vec::new(), Vec::new());
    for (path, check, passes) in condition {
        let json = check.json();
        match (path.as_str(), check) {
            _ if !passes => unless.push(member(path, &json)),
            ("eventSource", Check::Pattern(_)) => call.insert(0, member("source", &json)),
            ("eventName", Check::Pattern(_)) => call.push(member("regexp", &json)),
            _ => wheres.push(member(path, &json)),
        }
    }
    let objects = [("where", wheres), ("unless", unless)].into_iter().filter(|(_, tests)| !tests.is_empty());
    let call = (!call.is_empty()).then(|| call.join(", "));
    call.into_iter().chain(objects.map(|(key, tests)| member(key, &object(&tests, indent)))).collect()
}

/// The lines that a rule has for an expression: its condition, `any` and `ignore`.
pub(super) fn conditions(expression: Expression) -> Result<Vec<String>, String> {
    let (mut base, mut any, mut ignore) = (Vec::new(), Vec::new(), Vec::new());
    let mut factors = vec![(expression, true)];
    while let Some((factor, holds)) = factors.pop() {
        match (factor, holds) {
            (Not(inner), _) => factors.push((*inner, !holds)),
            (All(parts), true) | (Any(parts), false) => {
                factors.extend(parts.into_iter().rev().map(|part| (part, holds)));
            }
            (Test(path, check), _) => {
                let left = add(&mut base, (path, check, holds));
                let rest = if holds { &mut any } else { &mut ignore };
                rest.extend(left.map(|(path, check, _)| Test(path, check)));
            }
            (part, true) => any.push(part),
            (part, false) => ignore.push(part),
        }
    }
    if base.is_empty() && any.is_empty() {
        any.extend(ignore.drain(..).map(|part| Not(Box::new(part))));
    }
    let mut lines = lines(&base, 6);
    if !any.is_empty() {
        lines.push(member("any", &alternatives(&All(any))?));
    }
    if !ignore.is_empty() {
        lines.push(member("ignore", &alternatives(&Any(ignore))?));
    }
    Ok(lines)
}

/// The list of conditions of which one holds if an expression does.
fn alternatives(expression: &Expression) -> Result<String, String> {
    let mut conditions = Vec::new();
    for literals in disjunction(expression, true)? {
        let mut condition = Vec::new();
        if let Some((path, ..)) = literals.into_iter().find_map(|literal| add(&mut condition, literal)) {
            return Err(format!("`{path}` has several tests that must pass together: write them as one"));
        }
        conditions.push(format!("{{ {} }}", lines(&condition, 10).join(",\n        ")));
    }
    Ok(format!("[\n      {} ]", conditions.join(",\n      ")))
}

/// The disjunctive normal form of an expression, or of its negation.
fn disjunction(expression: &Expression, holds: bool) -> Result<Vec<Vec<Literal>>, String> {
    let mut joined = Vec::new();
    match (expression, holds) {
        (Test(path, check), _) => joined.push(vec![(path.clone(), check.clone(), holds)]),
        (Not(inner), _) => joined = disjunction(inner, !holds)?,
        (Any(parts), true) | (All(parts), false) => {
            for part in parts {
                joined.extend(disjunction(part, holds)?);
            }
        }
        (All(parts), true) | (Any(parts), false) => {
            joined.push(Vec::new());
            for part in parts {
                let factor = disjunction(part, holds)?;
                let with_each =
                    |one: &Vec<_>| factor.iter().map(|other| [&one[..], other].concat()).collect::<Vec<_>>();
                joined = joined.iter().flat_map(with_each).take(CONDITIONS_LIMIT + 1).collect();
            }
        }
    }
    let fits = joined.len() <= CONDITIONS_LIMIT;
    let why = || format!("written out it has more than {CONDITIONS_LIMIT} alternatives: make several rules of it");
    fits.then_some(joined).ok_or_else(why)
}

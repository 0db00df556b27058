//! A boolean expression over tests, as the conditions of a rule.

use super::check::Check;
use super::layout::{Entries, Json};

/// The most conditions of a rule's `any` or `ignore`.
const CONDITIONS_LIMIT: usize = 100;

#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// The value at a path passes a check.
    Test(String, Check),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

use Expression::{All, Any, Not, Test};

impl Expression {
    pub(super) fn negated(self) -> Expression {
        Not(Box::new(self))
    }

    /// All of them. Tests of one path are tests of one text, and so become one where that is possible.
    pub(super) fn all(of: Vec<Expression>) -> Expression {
        let mut joined = Vec::new();
        for expression in of {
            match expression {
                All(inner) => inner.into_iter().for_each(|inner| join(&mut joined, inner, Check::and)),
                other => join(&mut joined, other, Check::and),
            }
        }
        if joined.len() == 1 { joined.remove(0) } else { All(joined) }
    }

    /// Any of them.
    pub(super) fn any(of: Vec<Expression>) -> Expression {
        let mut joined = Vec::new();
        for expression in of {
            match expression {
                Any(inner) => inner.into_iter().for_each(|inner| join(&mut joined, inner, Check::or)),
                other => join(&mut joined, other, Check::or),
            }
        }
        if joined.len() == 1 { joined.remove(0) } else { Any(joined) }
    }
}

/// Adds an expression to a list, or joins it with the test of the same path there.
fn join(list: &mut Vec<Expression>, expression: Expression, with: fn(&mut Check, &Check) -> bool) {
    if let Test(path, check) = &expression {
        let joins = |known: &mut Expression| match known {
            Test(at, known) => at == path && with(known, check),
            _ => false,
        };
        if list.iter_mut().any(joins) {
            return;
        }
    }
    list.push(expression);
}

/// A test that must pass, or must not.
type Literal = (String, Check, bool);

/// A condition of the configuration. In each of its maps, a path has one test.
#[derive(Default)]
struct Condition {
    wheres: Vec<(String, Check)>,
    unless: Vec<(String, Check)>,
}

impl Condition {
    /// Adds a test; gives it back if its path has one that it can't be joined with.
    fn add(&mut self, (path, check, passes): Literal) -> Option<Literal> {
        let (tests, join): (_, fn(&mut Check, &Check) -> bool) =
            if passes { (&mut self.wheres, Check::and) } else { (&mut self.unless, Check::or) };
        match tests.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) => (!join(known, &check)).then_some((path, check, passes)),
            None => {
                tests.push((path, check));
                None
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.wheres.is_empty() && self.unless.is_empty()
    }

    /// `source` and `regexp`, then `where`, then `unless`.
    fn groups(&self) -> [Entries; 3] {
        let key = |path: &str, check: &Check| match path {
            "eventSource" if check.pattern().is_some() => Some("source"),
            "eventName" if check.pattern().is_some() => Some("regexp"),
            _ => None,
        };
        let mut call = Entries::new();
        let mut wheres = Entries::new();
        for (path, check) in &self.wheres {
            match key(path, check) {
                Some("source") => call.insert(0, ("source".to_owned(), check.to_json())),
                Some(key) => call.push((key.to_owned(), check.to_json())),
                None => wheres.push((path.clone(), check.to_json())),
            }
        }
        let unless = self.unless.iter().map(|(path, check)| (path.clone(), check.to_json())).collect();
        [call, object("where", wheres), object("unless", unless)]
    }
}

fn object(key: &str, entries: Entries) -> Entries {
    if entries.is_empty() { entries } else { vec![(key.to_owned(), Json::Object(entries))] }
}

fn list(key: &str, conditions: &[Condition]) -> Entries {
    let condition = |condition: &Condition| Json::Object(condition.groups().into_iter().flatten().collect());
    let conditions: Vec<_> = conditions.iter().map(condition).collect();
    if conditions.is_empty() { Entries::new() } else { vec![(key.to_owned(), Json::List(conditions))] }
}

/// What a rule has for an expression: the keys of its condition, `any` and `ignore`.
pub(super) fn conditions(expression: Expression) -> Result<Vec<Entries>, String> {
    let (mut base, mut alternatives, mut exceptions) = (Condition::default(), Vec::new(), Vec::new());
    let mut factors = vec![(expression, true)];
    while let Some((factor, holds)) = factors.pop() {
        match (factor, holds) {
            (Not(inner), _) => factors.push((*inner, !holds)),
            (All(inner), true) | (Any(inner), false) => {
                factors.extend(inner.into_iter().rev().map(|inner| (inner, holds)));
            }
            (Test(path, check), _) => match base.add((path, check, holds)) {
                Some((path, check, true)) => alternatives.push(Test(path, check)),
                Some((path, check, false)) => exceptions.push(Test(path, check)),
                None => {}
            },
            (any @ Any(_), true) => alternatives.push(any),
            (all @ All(_), false) => exceptions.push(all),
        }
    }
    if base.is_empty() && alternatives.is_empty() {
        alternatives.extend(exceptions.drain(..).map(Expression::negated));
    }
    let any = if alternatives.is_empty() { Vec::new() } else { alternatives_of(&All(alternatives))? };
    let ignore = if exceptions.is_empty() { Vec::new() } else { alternatives_of(&Any(exceptions))? };
    Ok(base.groups().into_iter().chain([list("any", &any), list("ignore", &ignore)]).collect())
}

/// The conditions of which one must hold.
fn alternatives_of(expression: &Expression) -> Result<Vec<Condition>, String> {
    let condition = |literals: Vec<Literal>| {
        let mut condition = Condition::default();
        match literals.into_iter().find_map(|literal| condition.add(literal)) {
            Some((path, ..)) => Err(format!(
                "`{path}` has two tests in one alternative that one test can't stand for: make two rules of it"
            )),
            None => Ok(condition),
        }
    };
    disjunction(expression, true)?.into_iter().map(condition).collect()
}

/// The disjunctive normal form of an expression, or of its negation.
fn disjunction(expression: &Expression, holds: bool) -> Result<Vec<Vec<Literal>>, String> {
    let mut joined = Vec::new();
    match (expression, holds) {
        (Test(path, check), _) => joined.push(vec![(path.clone(), check.clone(), holds)]),
        (Not(inner), _) => joined = disjunction(inner, !holds)?,
        (Any(inner), true) | (All(inner), false) => {
            for inner in inner {
                joined.extend(disjunction(inner, holds)?);
            }
        }
        (All(inner), true) | (Any(inner), false) => {
            joined.push(Vec::new());
            for inner in inner {
                let factor = disjunction(inner, holds)?;
                let with_each =
                    |one: &Vec<Literal>| factor.iter().map(|other| [&one[..], other].concat()).collect::<Vec<_>>();
                joined = joined.iter().flat_map(with_each).collect();
                limit(&joined)?;
            }
        }
    }
    limit(&joined)?;
    Ok(joined)
}

fn limit(alternatives: &[Vec<Literal>]) -> Result<(), String> {
    let fits = alternatives.len() <= CONDITIONS_LIMIT;
    fits.then_some(()).ok_or_else(|| {
        format!(
            "its condition has more than {CONDITIONS_LIMIT} alternatives when written out: make several rules of it"
        )
    })
}

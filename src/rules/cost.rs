//! Warnings about patterns that can take seconds for a long text.

use super::condition::Condition;
use super::pattern::{Pattern, SMALLER};

/// A warning for each slow pattern of a condition.
pub(super) fn slow(condition: &Condition) -> impl Iterator<Item = String> {
    let (source, name) = (condition.event_source.as_ref(), condition.event_name.as_ref());
    let calls = [("source", source), ("regexp", name)].into_iter().filter_map(|(key, pattern)| Some((key, pattern?)));
    let calls = calls.map(|(key, pattern)| (format!("`{key}`"), pattern));
    let tests = condition
        .tests()
        .flat_map(|test| test.patterns().iter().map(|pattern| (format!("`{}`", test.path_text()), pattern)));
    let slow = calls.chain(tests).filter(|(_, pattern): &(String, &Pattern)| pattern.is_slow());
    slow.map(|(at, pattern)| format!("{at}: {} can take seconds for a text of 100 KB: {SMALLER}", pattern.cost()))
}

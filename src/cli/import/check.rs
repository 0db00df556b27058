//! The test of one field, and tests of one field joined to one.

use super::layout::Json;
use super::pattern::Pattern;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Check {
    /// All are found in one text.
    Patterns(Vec<Pattern>),
    Networks(Vec<String>),
    Range {
        at_least: Option<f64>,
        at_most: Option<f64>,
    },
    SameAs(String),
}

impl Check {
    /// Makes it ask for the other one too, of the same text; false where no check can.
    pub(super) fn and(&mut self, other: &Check) -> bool {
        match (&mut *self, other) {
            (mine, other) if mine == other => true,
            (Check::Patterns(mine), Check::Patterns(others)) => {
                mine.extend(others.iter().cloned());
                true
            }
            (Check::Range { at_least, at_most }, Check::Range { at_least: least, at_most: most }) => {
                *at_least = [*at_least, *least].into_iter().flatten().reduce(f64::max);
                *at_most = [*at_most, *most].into_iter().flatten().reduce(f64::min);
                true
            }
            _ => false,
        }
    }

    /// Makes it pass where the other one does, too; false where no check can.
    pub(super) fn or(&mut self, other: &Check) -> bool {
        match (&mut *self, other) {
            (mine, other) if mine == other => true,
            (Check::Patterns(mine), Check::Patterns(others)) => match (&mut mine[..], &others[..]) {
                ([mine], [others]) => mine.or(others),
                _ => false,
            },
            (Check::Networks(mine), Check::Networks(others)) => {
                mine.extend(others.iter().cloned());
                true
            }
            _ => false,
        }
    }

    /// The pattern, if it is nothing else.
    pub(super) fn pattern(&self) -> Option<&Pattern> {
        match self {
            Check::Patterns(patterns) => <&[Pattern; 1]>::try_from(&patterns[..]).ok().map(|[pattern]| pattern),
            _ => None,
        }
    }

    pub(super) fn to_json(&self) -> Json {
        let (key, value) = match self {
            Check::Patterns(patterns) => match &patterns[..] {
                [pattern] => return Json::Text(pattern.to_string()),
                patterns => ("all", Json::texts(patterns)),
            },
            Check::Networks(networks) => ("cidr", Json::texts(networks)),
            Check::SameAs(path) => ("sameAs", Json::Text(path.clone())),
            Check::Range { at_least, at_most } => {
                let bounds = [("atLeast", at_least), ("atMost", at_most)];
                let bound = |(key, bound): (&str, &Option<f64>)| Some((key.to_owned(), Json::Number((*bound)?)));
                return Json::Object(bounds.into_iter().filter_map(bound).collect());
            }
        };
        Json::Object(vec![(key.to_owned(), value)])
    }
}

//! Regular expressions for Sigma's strings, and one for several of them.

use std::fmt;

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

use crate::rules::escaped;

/// A text matches if one of the alternatives does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    /// Whether letters match in both cases; `None` where there are none.
    ignores_case: Option<bool>,
    /// Each with its anchors, `^` and `$` or nothing.
    alternatives: Vec<([&'static str; 2], String)>,
}

impl Pattern {
    /// A regular expression that is searched in the text. The empty one is found in any.
    pub(super) fn regex(regex: String) -> Pattern {
        Pattern { ignores_case: (!regex.is_empty()).then_some(false), alternatives: vec![([""; 2], regex)] }
    }

    /// A string that the text equals, as far as its start and its end are fixed.
    pub(super) fn string(string: &SigmaString, from_start: bool, to_end: bool, is_cased: bool) -> Pattern {
        let is_open = |part: &StringPart| *part == StringPart::Special(SpecialChar::WildcardMulti);
        let parts = &string.parts;
        let from_start = from_start && !parts.first().is_some_and(is_open);
        let to_end = to_end && !parts.last().is_some_and(is_open);
        let first = parts.iter().position(|part| !is_open(part)).unwrap_or(parts.len());
        let last = parts.iter().rposition(|part| !is_open(part)).map_or(first, |last| last + 1);
        let body = parts[first..last].iter().map(|part| match part {
            StringPart::Plain(text) => escaped(text),
            StringPart::Special(SpecialChar::WildcardMulti) => "(?s:.*)".to_owned(),
            StringPart::Special(SpecialChar::WildcardSingle) => "(?s:.)".to_owned(),
        });
        let has_case =
            |part: &StringPart| matches!(part, StringPart::Plain(text) if text.contains(char::is_alphabetic));
        let anchors = [if from_start { "^" } else { "" }, if to_end { "$" } else { "" }];
        Pattern {
            ignores_case: parts.iter().any(has_case).then_some(!is_cased),
            alternatives: vec![(anchors, body.collect())],
        }
    }

    /// Makes it match what the other one matches, too; false where one expression can't.
    pub(super) fn or(&mut self, other: &Pattern) -> bool {
        let case = self.ignores_case.or(other.ignores_case);
        if other.ignores_case.is_some_and(|others| case != Some(others)) {
            return false;
        }
        self.ignores_case = case;
        self.alternatives.extend_from_slice(&other.alternatives);
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common = self.alternatives.first().map_or([""; 2], |(anchors, _)| *anchors);
        let is_common = self.alternatives.len() > 1
            && common != [""; 2]
            && self.alternatives.iter().all(|(anchors, _)| *anchors == common);
        let alternative = |(anchors, body): &([&str; 2], String)| match anchors {
            _ if is_common => body.clone(),
            [start, end] => format!("{start}{body}{end}"),
        };
        let alternatives = self.alternatives.iter().map(alternative).collect::<Vec<_>>().join("|");
        let case = if self.ignores_case == Some(true) { "(?i)" } else { "" };
        let [start, end] = common;
        if is_common { write!(f, "{case}{start}({alternatives}){end}") } else { write!(f, "{case}{alternatives}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_sigma_become_regular_expressions() {
        for (string, expected) in [
            ("CreateUser", "(?i)^CreateUser$"),
            ("iam.amazonaws.com", r"(?i)^iam\.amazonaws\.com$"),
            ("123456789012", "^123456789012$"),
            ("", "^$"),
            ("*", ""),
            ("***", ""),
            ("a*", "(?i)^a"),
            ("*a", "(?i)a$"),
            ("*a*", "(?i)a"),
            ("a*b", "(?i)^a(?s:.*)b$"),
            ("?", "^(?s:.)$"),
            ("*?*", "(?s:.)"),
            (r"\*", r"^\*$"),
            (r"\?", r"^\?$"),
            (r"\\", r"^\\$"),
            (r"a\\*", r"(?i)^a\\"),
            (r"a\\\*", r"(?i)^a\\\*$"),
            (r"a\b", r"(?i)^a\\b$"),
            (r"a\", r"(?i)^a\\$"),
            ("ß(1|2)$", r"(?i)^ß\(1\|2\)\$$"),
        ] {
            assert_eq!(Pattern::string(&SigmaString::new(string), true, true, false).to_string(), expected, "{string}");
        }
    }

    #[test]
    fn several_strings_become_one_regular_expression_where_case_allows_it() {
        let string = |text, from_start, to_end| Pattern::string(&SigmaString::new(text), from_start, to_end, false);
        let either = |mut one: Pattern, other: &Pattern| one.or(other).then(|| one.to_string());
        assert_eq!(either(string("a", true, true), &string("b", true, true)).unwrap(), "(?i)^(a|b)$");
        assert_eq!(either(string("a", true, false), &string("b", true, true)).unwrap(), "(?i)^a|^b$");
        assert_eq!(either(string("a", false, false), &string("b", true, true)).unwrap(), "(?i)a|^b$");
        assert_eq!(either(string("1", true, true), &string("b", true, true)).unwrap(), "(?i)^(1|b)$");
        let cased = Pattern::string(&SigmaString::new("A"), true, true, true);
        assert_eq!(cased.to_string(), "^A$");
        assert_eq!(either(string("a", true, true), &cased), None);
        assert_eq!(either(string("1", true, true), &cased).unwrap(), "^(1|A)$");
    }
}

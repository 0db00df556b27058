//! Regular expressions for Sigma's strings, and one for several of them.

use std::fmt;

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

/// A text matches if one of the alternatives does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    /// Whether letters match in both cases; `None` where there are none.
    ignores_case: Option<bool>,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug, PartialEq)]
struct Alternative {
    /// Where it begins at the start of the text.
    from_start: bool,
    body: String,
    /// Where it reaches the end of the text.
    to_end: bool,
}

impl Pattern {
    /// Any text, the empty one too.
    pub(super) fn anything() -> Pattern {
        Pattern::regex(String::new())
    }

    /// A regular expression that is searched in the text as it is.
    pub(super) fn regex(body: String) -> Pattern {
        Pattern { ignores_case: None, alternatives: vec![Alternative { from_start: false, body, to_end: false }] }
    }

    /// A string that the text equals, begins with or ends with, or that is found in it.
    pub(super) fn string(string: &SigmaString, from_start: bool, to_end: bool, is_cased: bool) -> Pattern {
        let is_open = |part: Option<&StringPart>| part == Some(&StringPart::Special(SpecialChar::WildcardMulti));
        let mut parts = &string.parts[..];
        let from_start = from_start && !is_open(parts.first());
        let to_end = to_end && !is_open(parts.last());
        while let [first, rest @ ..] = parts
            && is_open(Some(first))
        {
            parts = rest;
        }
        while let [rest @ .., last] = parts
            && is_open(Some(last))
        {
            parts = rest;
        }
        let body = |part: &StringPart| match part {
            StringPart::Plain(text) => escaped(text),
            StringPart::Special(SpecialChar::WildcardMulti) => "(?s:.*)".to_owned(),
            StringPart::Special(SpecialChar::WildcardSingle) => "(?s:.)".to_owned(),
        };
        let has_letters =
            |part: &StringPart| matches!(part, StringPart::Plain(text) if text.contains(char::is_alphabetic));
        Pattern {
            ignores_case: parts.iter().any(has_letters).then_some(!is_cased),
            alternatives: vec![Alternative { from_start, body: parts.iter().map(body).collect(), to_end }],
        }
    }

    /// Makes it match what the other one matches, too; false where one expression can't.
    pub(super) fn or(&mut self, other: &Pattern) -> bool {
        if let (Some(mine), Some(others)) = (self.ignores_case, other.ignores_case)
            && mine != others
        {
            return false;
        }
        self.ignores_case = self.ignores_case.or(other.ignores_case);
        let new = other.alternatives.iter().filter(|alternative| !self.alternatives.contains(alternative));
        let new: Vec<_> = new.cloned().collect();
        self.alternatives.extend(new);
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all_from_start = self.alternatives.iter().all(|alternative| alternative.from_start);
        let all_to_end = self.alternatives.iter().all(|alternative| alternative.to_end);
        let alternative = |Alternative { from_start, body, to_end }: &Alternative| {
            let start = if *from_start && !all_from_start { "^" } else { "" };
            let end = if *to_end && !all_to_end { "$" } else { "" };
            format!("{start}{body}{end}")
        };
        let mut alternatives = self.alternatives.iter().map(alternative).collect::<Vec<_>>().join("|");
        if self.alternatives.len() > 1 && (all_from_start || all_to_end) {
            alternatives = format!("({alternatives})");
        }
        let case = if self.ignores_case == Some(true) { "(?i)" } else { "" };
        let (start, end) = (if all_from_start { "^" } else { "" }, if all_to_end { "$" } else { "" });
        write!(f, "{case}{start}{alternatives}{end}")
    }
}

fn escaped(text: &str) -> String {
    let escape = |c| r"\.+*?()|[]{}^$".contains(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escape).collect()
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
        assert_eq!(either(string("a", true, false), &string("b", true, true)).unwrap(), "(?i)^(a|b$)");
        assert_eq!(either(string("a", false, false), &string("b", true, true)).unwrap(), "(?i)a|^b$");
        assert_eq!(either(string("a", true, true), &string("a", true, true)).unwrap(), "(?i)^a$");
        assert_eq!(either(string("1", true, true), &string("b", true, true)).unwrap(), "(?i)^(1|b)$");
        let cased = Pattern::string(&SigmaString::new("A"), true, true, true);
        assert_eq!(cased.to_string(), "^A$");
        assert_eq!(either(string("a", true, true), &cased), None);
        assert_eq!(either(string("1", true, true), &cased).unwrap(), "^(1|A)$");
    }
}

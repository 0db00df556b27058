//! Sigma's regular expressions, which are PCRE's, in the syntax of the rules here.

/// What stands for PCRE's escapes: its classes are those of ASCII.
const ESCAPES: [(char, &str); 7] = [
    ('d', "[0-9]"),
    ('D', "[^0-9]"),
    ('w', "[0-9A-Za-z_]"),
    ('W', "[^0-9A-Za-z_]"),
    ('s', r"[\t-\r ]"),
    ('S', r"[^\t-\r ]"),
    ('b', r"(?-u:\b)"),
];

/// An expression that finds what the given one finds, or what it has that may mean something else here.
pub(super) fn translated(regex: &str, is_multiline: bool) -> Result<String, String> {
    let mut translated = String::new();
    let (mut is_in_class, mut behind_quantifier) = (false, false);
    let mut rest = regex;
    while let Some(first) = rest.chars().next() {
        let next = rest[first.len_utf8()..].chars().next();
        let is_quantifier = !is_in_class && "*+?{".contains(first);
        // PCRE takes braces around anything but numbers as they are, blanks only before its version 10.43.
        let in_braces = rest[first.len_utf8()..].split_once('}').map_or("-", |(inside, _)| inside);
        let is_literal = first == '{' && !in_braces.chars().all(|c| c.is_ascii_digit() || c == ',');
        // `a+?` is lazy, which does not matter; `a++` is possessive in PCRE, and repeated here.
        let is_refused = match (first, next) {
            ('\\', Some(next)) => {
                let is_known = ESCAPES.iter().any(|(known, _)| *known == next) && !(is_in_class && next == 'b');
                !is_known && (next.is_alphanumeric() || "<>".contains(next)) && !"tnrfAz".contains(next)
            }
            ('(', Some('?')) if !is_in_class => !["(?:", "(?i)", "(?i:"].iter().any(|known| rest.starts_with(known)),
            ('$', Some(next)) if !is_in_class && !is_multiline => !"|)".contains(next),
            ('[', _) => is_in_class,
            ('&' | '-' | '~', next) if is_in_class => next == Some(first),
            _ => is_quantifier && (behind_quantifier && first != '?' || is_literal),
        };
        if is_refused {
            let part: String = rest.chars().take(if "\\(".contains(first) { 3 } else { 2 }).collect();
            return Err(format!("`{part}` may mean something else here"));
        }
        let length = match (first, next) {
            ('\\', Some(next)) => 1 + next.len_utf8(),
            ('(', Some('?')) if !is_in_class => 2,
            ('[', Some('^')) if rest.starts_with("[^]") => 3,
            ('[', Some(']' | '^')) => 2,
            _ => first.len_utf8(),
        };
        let escape = ESCAPES.iter().find(|(escape, _)| first == '\\' && next == Some(*escape));
        translated += match escape {
            Some((_, text)) => text,
            // PCRE's also stands before a line break at the end.
            None if first == '$' && !is_in_class && !is_multiline => r"\n?$",
            None => &rest[..length],
        };
        is_in_class = (is_in_class || first == '[') && first != ']';
        behind_quantifier = is_quantifier || first == '}';
        rest = &rest[length..];
    }
    Ok(translated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_keep_the_meaning_that_pcre_gives_them() {
        for (pcre, expected) in [
            ("^a+[b-d]{1,2}(e|f)?.*$", r"^a+[b-d]{1,2}(e|f)?.*\n?$"),
            (r"(a$|[$]\$$)", r"(a\n?$|[$]\$\n?$)"),
            (r"AKIA\d\D\w\W\s\S", r"AKIA[0-9][^0-9][0-9A-Za-z_][^0-9A-Za-z_][\t-\r ][^\t-\r ]"),
            (r"[\w.-]+@[^\s\D]", r"[[0-9A-Za-z_].-]+@[^[\t-\r ][^0-9]]"),
            (r"a{2}b{1,}?[{ }]\{ }", r"a{2}b{1,}?[{ }]\{ }"),
            (r"\bé\b\\d", r"(?-u:\b)é(?-u:\b)\\d"),
            (r"(?i:a)(?:b)\/\.[]a][^]\]*+?(]a+?b*?", r"(?i:a)(?:b)\/\.[]a][^]\]*+?(]a+?b*?"),
        ] {
            assert_eq!(translated(pcre, false).unwrap(), expected, "{pcre}");
            regex_syntax::parse(expected).unwrap();
        }
        assert_eq!(translated("a$\nb$", true).unwrap(), "a$\nb$");
    }

    #[test]
    fn regular_expressions_that_may_mean_something_else_here_are_refused() {
        for (pcre, part) in [
            ("(?=a)", "(?="),
            ("(?>a)", "(?>"),
            ("(?x)a b", "(?x"),
            (r"(a)\1", r"\1"),
            (r"\p{L}", r"\p{"),
            (r"[\b]", r"\b]"),
            (r"a\Bb", r"\Bb"),
            (r"\<a", r"\<a"),
            (r"\h", r"\h"),
            ("ab++", "+"),
            ("a?+", "+"),
            ("a{2}{3}", "{3"),
            ("a{1, 2}", "{1"),
            ("a{ 2}", "{ "),
            ("a{2\u{a0}}", "{2"),
            ("a{", "{"),
            ("a$?b", "$?"),
            ("a$\\n", "$\\"),
            ("a+?*", "*"),
            ("[a[b]]", "[b"),
            ("[a&&b]", "&&"),
            ("[a--b]", "--"),
            ("[a~~b]", "~~"),
        ] {
            let refusal = translated(pcre, false).expect_err(pcre);
            assert_eq!(refusal, format!("`{part}` may mean something else here"), "{pcre}");
        }
    }
}

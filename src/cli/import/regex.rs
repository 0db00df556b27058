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
        let after = &rest[first.len_utf8()..];
        let next = after.chars().next();
        let is_quantifier = !is_in_class && "*+?{".contains(first);
        // PCRE takes braces around anything but numbers as they are, blanks only before its version 10.43.
        let in_braces = after.split_once('}').map_or("-", |(inside, _)| inside);
        let is_literal = first == '{' && !in_braces.chars().all(|c| c.is_ascii_digit() || c == ',');
        let as_it_is = |length: usize| Ok((length, &rest[..length]));
        // The length of the next part and what stands for it, or else how many characters show what is refused.
        let part = match (first, next) {
            ('\\', Some(next)) => match ESCAPES.iter().find(|(known, _)| *known == next) {
                Some((_, text)) if !(is_in_class && next == 'b') => Ok((2, *text)),
                _ if (next.is_alphanumeric() || "<>".contains(next)) && !"tnrfAz".contains(next) => Err(3),
                _ => as_it_is(1 + next.len_utf8()),
            },
            ('(', Some('?')) if !is_in_class => {
                let is_known = ["(?:", "(?i)", "(?i:"].iter().any(|known| rest.starts_with(known));
                if is_known { as_it_is(2) } else { Err(3) }
            }
            ('$', Some(next)) if !is_in_class && !is_multiline && !"|)".contains(next) => Err(2),
            // PCRE's also stands before a line break at the end.
            ('$', _) if !is_in_class && !is_multiline => Ok((1, r"\n?$")),
            ('[', _) if is_in_class => Err(2),
            ('[', Some('^')) if rest.starts_with("[^]") => as_it_is(3),
            ('[', Some(']' | '^')) => as_it_is(2),
            ('&' | '-' | '~', _) if is_in_class && next == Some(first) => Err(2),
            // `a+?` is lazy, which does not matter; `a++` is possessive in PCRE, and repeated here.
            _ if is_quantifier && (behind_quantifier && first != '?' || is_literal) => Err(2),
            _ => as_it_is(first.len_utf8()),
        };
        let (length, text) = part.map_err(|shown| {
            let refused: String = rest.chars().take(shown).collect();
            format!("`{refused}` may mean something else here")
        })?;
        translated += text;
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

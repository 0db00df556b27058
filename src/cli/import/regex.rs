//! Sigma's regular expressions, which are PCRE's, in the syntax of the rules here.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    Assertion, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetBinaryOp, ClassSetItem, Flag, Flags,
    FlagsItemKind, GroupKind, LiteralKind, Span, SpecialLiteralKind, Visitor, visit,
};

/// An expression that finds what the given one finds, or why there is none.
pub(super) fn translated(regex: &str) -> Result<String, String> {
    let ast = Parser::new().parse(regex).map_err(|error| error.kind().to_string())?;
    let mut translated = regex.to_owned();
    for (span, text) in visit(&ast, Differences::default())?.into_iter().rev() {
        translated.replace_range(span.start.offset..span.end.offset, &text);
    }
    Ok(translated)
}

/// What must be written in another way, in the order of the expression.
#[derive(Default)]
struct Differences(Vec<(Span, String)>);

/// PCRE's classes are those of ASCII.
fn members(class: &ClassPerl) -> &'static str {
    match class.kind {
        ClassPerlKind::Digit => "0-9",
        ClassPerlKind::Space => r"\t-\r ",
        ClassPerlKind::Word => "0-9A-Za-z_",
    }
}

impl Differences {
    fn class(&mut self, class: &ClassPerl, is_in_brackets: bool) {
        let members = members(class);
        let text = match (class.negated, is_in_brackets) {
            (true, _) => format!("[^{members}]"),
            (false, false) => format!("[{members}]"),
            (false, true) => members.to_owned(),
        };
        self.0.push((class.span, text));
    }
}

fn refused<T>(what: &str) -> Result<T, String> {
    Err(format!("{what}, which does not mean the same everywhere"))
}

fn check(flags: &Flags) -> Result<(), String> {
    let is_common = |kind: &FlagsItemKind| {
        use Flag::{CaseInsensitive, DotMatchesNewLine, MultiLine};
        !matches!(kind, FlagsItemKind::Flag(flag) if !matches!(flag, CaseInsensitive | DotMatchesNewLine | MultiLine))
    };
    if flags.items.iter().all(|item| is_common(&item.kind)) {
        Ok(())
    } else {
        refused("it has a flag beside i, m and s")
    }
}

impl Visitor for Differences {
    type Output = Vec<(Span, String)>;
    type Err = String;

    fn finish(self) -> Result<Self::Output, String> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        use AssertionKind::{EndLine, EndText, StartLine, StartText, WordBoundary};
        match ast {
            Ast::ClassPerl(class) => self.class(class, false),
            Ast::ClassUnicode(_) => return refused(r"it has a class of Unicode (\p)"),
            Ast::Assertion(assertion) => match **assertion {
                Assertion { kind: StartLine | EndLine | StartText | EndText, .. } => {}
                Assertion { kind: WordBoundary, span } => self.0.push((span, r"(?-u:\b)".to_owned())),
                _ => return refused(r"it has an anchor beside ^, $, \A, \z and \b"),
            },
            Ast::Repetition(repetition) if matches!(*repetition.ast, Ast::Repetition(_)) => {
                return refused("it has a quantifier behind a quantifier");
            }
            Ast::Literal(literal) if literal.kind == LiteralKind::Special(SpecialLiteralKind::VerticalTab) => {
                return refused(r"it has \v");
            }
            Ast::Flags(flags) => check(&flags.flags)?,
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    check(flags)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Perl(class) => self.class(class, true),
            ClassSetItem::Bracketed(_) => return refused("it has [ within [] (write \\[)"),
            ClassSetItem::Unicode(_) => return refused(r"it has a class of Unicode (\p)"),
            ClassSetItem::Literal(literal) if literal.kind == LiteralKind::Special(SpecialLiteralKind::VerticalTab) => {
                return refused(r"it has \v");
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), String> {
        refused("it has &&, -- or ~~ within []")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_keep_the_meaning_that_pcre_gives_them() {
        for (pcre, expected) in [
            ("^a+[b-d]{1,2}(e|f)?.*$", "^a+[b-d]{1,2}(e|f)?.*$"),
            (r"AKIA\d\D\w\W\s\S", r"AKIA[0-9][^0-9][0-9A-Za-z_][^0-9A-Za-z_][\t-\r ][^\t-\r ]"),
            (r"[\w.-]+@[^\s\D]", r"[0-9A-Za-z_.-]+@[^\t-\r [^0-9]]"),
            (r"\bé\b", r"(?-u:\b)é(?-u:\b)"),
            (r"(?i:a)(?ms)b\/\x41[[:alpha:]]", r"(?i:a)(?ms)b\/\x41[[:alpha:]]"),
        ] {
            assert_eq!(translated(pcre).unwrap(), expected, "{pcre}");
            regex_syntax::parse(expected).unwrap();
        }
    }

    #[test]
    fn regular_expressions_that_mean_something_else_here_are_refused() {
        for (pcre, why) in [
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("a++", "a quantifier behind a quantifier"),
            ("a{2}{3}", "a quantifier behind a quantifier"),
            ("(?>a)", "unrecognized flag"),
            ("(?x)a b", "a flag beside i, m and s"),
            ("(?U:a*)", "a flag beside i, m and s"),
            ("[a[b]", "unclosed character class"),
            ("[a[b]]", "[ within []"),
            ("[a&&b]", "&&, -- or ~~ within []"),
            (r"\p{L}", "a class of Unicode"),
            (r"[\pL]", "a class of Unicode"),
            (r"a\Bb", "an anchor beside"),
            (r"\<a", "an anchor beside"),
            (r"\v", r"\v"),
            (r"[\v]", r"\v"),
            (r"\h", "unrecognized escape"),
            ("a{,3}", "repetition"),
            ("(", "unclosed group"),
        ] {
            let refusal = translated(pcre).expect_err(pcre);
            assert!(refusal.contains(why), "{pcre}: {refusal}");
        }
    }
}

//! Texts that a pattern matches, so that warnings can show what a pattern lets in.

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

use super::pattern::Pattern;

/// The most examples of a pattern.
const LIMIT: usize = 16;

/// Whether a pattern only asks whether there is a text.
pub(super) fn matches_everything(pattern: &Pattern) -> bool {
    ["q", "0", "Z", "-"].iter().all(|text| pattern.is_match(text))
}

/// Short texts that a pattern matches, one for each of its alternatives. Look-around such as `\b` may refuse one.
pub(super) fn examples(pattern: &Pattern) -> Vec<String> {
    regex_syntax::parse(pattern.as_str()).map(|parsed| of(&parsed)).unwrap_or_default()
}

fn of(part: &Hir) -> Vec<String> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8_lossy(&literal.0).into_owned()],
        HirKind::Class(class) => member(class).map(String::from).into_iter().collect(),
        HirKind::Repetition(repeated) if repeated.min == 0 => vec![String::new()],
        HirKind::Repetition(repeated) => {
            of(&repeated.sub).iter().map(|text| text.repeat(repeated.min as usize)).collect()
        }
        HirKind::Capture(group) => of(&group.sub),
        HirKind::Alternation(parts) => parts.iter().flat_map(of).take(LIMIT).collect(),
        HirKind::Concat(parts) => parts.iter().fold(vec![String::new()], |starts, part| {
            let ends = of(part);
            let joined = starts.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}")));
            joined.take(LIMIT).collect()
        }),
    }
}

/// A plain character of a class. A dot, because an unescaped `.` usually means one.
fn member(class: &Class) -> Option<char> {
    let class = match class {
        Class::Unicode(class) => class.clone(),
        // It is one of ASCII, since patterns are searched in texts.
        Class::Bytes(class) => class.to_unicode_class()?,
    };
    let ranges = class.ranges();
    let has = |wanted: &char| ranges.iter().any(|range| (range.start()..=range.end()).contains(wanted));
    let last_ascii = ranges.iter().rev().find(|range| range.start().is_ascii());
    ['.', 'x'].into_iter().find(has).or_else(|| last_ascii.or(ranges.first()).map(ClassUnicodeRange::start))
}

#[cfg(test)]
mod tests {
    use super::super::pattern::tests::pattern as compiled;
    use super::*;

    #[test]
    fn examples_are_matched_and_stand_for_each_alternative() {
        for (pattern, expected) in [
            ("^aws.(ec2|iam)$", &["aws.ec2", "aws.iam"][..]),
            (
                r"^arn:aws:iam::\d{12}:(user|role)/x.*",
                &["arn:aws:iam::000000000000:user/x", "arn:aws:iam::000000000000:role/x"],
            ),
            ("(?i)Alice", &["alice"]),
            ("[^.]+[a-z]?a{0}(b|c){2}", &["xbb"]),
            ("a|b{2,}", &["a", "bb"]),
            ("", &[""]),
            ("[a&&b]", &[]),
        ] {
            let pattern = compiled(pattern);
            let found = examples(&pattern);
            assert_eq!(found, expected, "{pattern:?}");
            assert!(found.iter().all(|text| pattern.is_match(text)), "{pattern:?}");
        }
        assert!(examples(&compiled("(a|b)(c|d)(e|f)(g|h)(i|j)(k|l)")).len() <= LIMIT);
    }
}

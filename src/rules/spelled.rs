//! Patterns that only spell a few texts, as most do: they need no automaton, which would take far longer to make.

use memchr::memmem;

/// The longest such pattern and the most texts of one, in bytes.
const LENGTH: usize = 8 << 10;

/// The most texts, and the most that are searched anywhere in a text, one after the other.
const MANY: usize = 250;
const FEW: usize = 12;

/// How deep its groups may stand within groups.
const DEPTH: usize = 10;

/// Texts, of which one must be in a text.
pub(super) struct Texts {
    pub(super) one_of: Vec<Text>,
}

/// A text at the start of another one, at its end, or all of it, if so said.
pub(super) struct Text {
    at_start: bool,
    at_end: bool,
    pub(super) it: String,
}

impl Texts {
    /// The texts that a pattern is made of; `None` if it is made of something else, or of many.
    pub(super) fn of(pattern: &str) -> Option<Self> {
        if pattern.len() > LENGTH {
            return None;
        }
        let (mut rest, mut one_of) = (pattern, Vec::new());
        loop {
            let at_start = skip(&mut rest, '^');
            let texts = branch(&mut rest, DEPTH)?;
            let at_end = skip(&mut rest, '$');
            one_of.extend(texts.into_iter().map(|it| Text { at_start, at_end, it }));
            if !skip(&mut rest, '|') {
                break;
            }
        }
        let anywhere = one_of.iter().filter(|text| !text.at_start && !text.at_end).count();
        (rest.is_empty() && one_of.len() <= MANY && anywhere <= FEW).then_some(Texts { one_of })
    }

    pub(super) fn are_in(&self, text: &str) -> bool {
        self.one_of.iter().any(|Text { at_start, at_end, it }| match (at_start, at_end) {
            (true, true) => text == it,
            (true, false) => text.starts_with(it),
            (false, true) => text.ends_with(it),
            (false, false) => memmem::find(text.as_bytes(), it.as_bytes()).is_some(),
        })
    }
}

fn skip(rest: &mut &str, c: char) -> bool {
    let after = rest.strip_prefix(c);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

/// The texts up to the end of the group, or of the pattern.
fn alternatives(rest: &mut &str, depth: usize) -> Option<Vec<String>> {
    let mut texts = branch(rest, depth)?;
    while skip(rest, '|') {
        texts.append(&mut branch(rest, depth)?);
    }
    Some(texts)
}

/// The characters of a class of letters and digits, such as `[A-Za-z_]`, behind its `[`.
fn class(rest: &mut &str) -> Option<Vec<String>> {
    let (mut members, after) = rest.split_once(']')?;
    *rest = after;
    let plain = |text: &str| text.bytes().next().filter(|c| c.is_ascii_alphanumeric() || *c == b'_');
    let mut texts = Vec::new();
    while let Some(first) = plain(members) {
        members = &members[1..];
        let mut last = first;
        if skip(&mut members, '-') {
            last = plain(members).filter(|last| *last >= first)?;
            members = &members[1..];
        }
        texts.extend((first..=last).map(|c| char::from(c).to_string()));
    }
    (members.is_empty() && !texts.is_empty()).then_some(texts)
}

/// The texts up to the next `|` or `$`, the end of the group, or of the pattern.
fn branch(rest: &mut &str, depth: usize) -> Option<Vec<String>> {
    let is_special =
        |c: &char| matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$');
    let mut texts = vec![String::new()];
    loop {
        // Most of a pattern is plain characters. The last one may have a `?` behind it.
        let plain = rest.find(|c| is_special(&c)).unwrap_or(rest.len());
        let run = if rest[plain..].starts_with('?') { rest[..plain].char_indices().next_back() } else { None };
        let (run, after) = rest.split_at(run.map_or(plain, |(last, _)| last));
        for text in &mut texts {
            text.push_str(run);
        }
        *rest = after;
        let Some(first) = rest.chars().next().filter(|c| !['|', ')', '$'].contains(c)) else { break };
        *rest = &rest[first.len_utf8()..];
        let mut part = match first {
            '(' => {
                let group = alternatives(rest, depth.checked_sub(1)?)?;
                *rest = rest.strip_prefix(')')?;
                group
            }
            '[' => class(rest)?,
            '\\' => {
                let escaped = rest.chars().next().filter(is_special)?;
                *rest = &rest[1..];
                vec![escaped.to_string()]
            }
            c if is_special(&c) => return None,
            c => vec![c.to_string()],
        };
        if skip(rest, '?') {
            part.push(String::new());
        }
        match &part[..] {
            [only] => texts.iter_mut().for_each(|text| text.push_str(only)),
            _ => texts = texts.iter().flat_map(|text| part.iter().map(move |part| format!("{text}{part}"))).collect(),
        }
        if texts.len() > MANY || texts.iter().map(String::len).sum::<usize>() > LENGTH {
            return None;
        }
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_spell_texts_are_told_from_others() {
        for (pattern, texts) in [
            ("^(Create|Delete)(User)?$", Some("CreateUser|Create|DeleteUser|Delete")),
            (r"Users?|s3\.", Some("Users|User|s3.")),
            ("^(a|(b|)c)", Some("a|bc|c")),
            ("ü?", Some("ü|")),
            (r"\$$", Some("$")),
            ("", Some("")),
            ("^a|b|c$|^(d|e)$", Some("a|b|c|d|e")),
            ("x[0-2a_]?", Some("x0|x1|x2|xa|x_|x")),
            ("[0-9]|ab", Some("0|1|2|3|4|5|6|7|8|9|ab")),
            ("[0-9]|a|b|c", None),
            ("[^a]", None),
            ("[a-]", None),
            ("[]a]", None),
            ("[cb-a]", None),
            ("[a&&b]", None),
            ("[[:alpha:]]", None),
            ("[a]+", None),
            ("(^a)", None),
            ("(a$)", None),
            ("a$b", None),
            ("a$?", None),
            ("a??", None),
            ("(?i)a", None),
            (r"\d", None),
            (r"\", None),
            ("(a", None),
            ("a)", None),
            ("a]", None),
            ("a{2}", None),
        ] {
            let joined = |found: Texts| found.one_of.into_iter().map(|text| text.it).collect::<Vec<_>>().join("|");
            let found = Texts::of(pattern).map(joined);
            assert_eq!(found.as_deref(), texts, "{pattern}");
        }
        assert!(Texts::of(&"^(a|b)".repeat(9)[..]).is_none());
        assert!(Texts::of(&format!("^{}", "(a|b)".repeat(9))).is_none(), "512 texts");
        assert!(Texts::of(&format!("{}a{}", "(".repeat(1000), ")".repeat(1000))).is_none());
    }
}

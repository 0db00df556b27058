//! Patterns that only spell a few texts, as most do: they need no automaton, which would take far longer to make.

use memchr::memmem;

/// The longest such pattern and the most texts of one, in bytes.
const LENGTH: usize = 8 << 10;

/// The most texts, and the most that are searched one after the other.
const MANY: usize = 250;
const FEW: usize = 8;

/// How deep its groups may stand within groups.
const DEPTH: usize = 10;

/// Texts, of which one must be in a text; at its start, at its end, or be all of it, if so said.
pub(super) struct Texts {
    pub(super) at_start: bool,
    pub(super) at_end: bool,
    pub(super) one_of: Vec<String>,
}

impl Texts {
    /// The texts that a pattern is made of; `None` if it is made of something else, or of many.
    pub(super) fn of(pattern: &str) -> Option<Self> {
        let mut rest = pattern.strip_prefix('^').unwrap_or(pattern);
        let at_start = rest.len() < pattern.len();
        let end = rest.strip_suffix('$').filter(|rest| !rest.ends_with('\\'));
        let at_end = end.is_some();
        rest = end.unwrap_or(rest);
        // A `|` that stands in no group would part the anchors.
        let read = if at_start || at_end { branch } else { alternatives };
        let one_of = read(&mut rest, DEPTH).filter(|_| pattern.len() <= LENGTH && rest.is_empty())?;
        (at_start || at_end || one_of.len() <= FEW).then_some(Texts { at_start, at_end, one_of })
    }

    pub(super) fn are_in(&self, text: &str) -> bool {
        self.one_of.iter().any(|it| match (self.at_start, self.at_end) {
            (true, true) => text == it,
            (true, false) => text.starts_with(it),
            (false, true) => text.ends_with(it),
            (false, false) => memmem::find(text.as_bytes(), it.as_bytes()).is_some(),
        })
    }
}

/// The texts up to the end of the group, or of the pattern.
fn alternatives(rest: &mut &str, depth: usize) -> Option<Vec<String>> {
    let mut texts = branch(rest, depth)?;
    while let Some(others) = rest.strip_prefix('|') {
        *rest = others;
        texts.append(&mut branch(rest, depth)?);
    }
    Some(texts)
}

/// The texts up to the next `|`, the end of the group, or of the pattern.
fn branch(rest: &mut &str, depth: usize) -> Option<Vec<String>> {
    let is_special = |c: &char| r"\.+*?()|[]{}^$".contains(*c);
    let mut texts = vec![String::new()];
    while let Some(first) = rest.chars().next().filter(|c| !['|', ')'].contains(c)) {
        *rest = &rest[first.len_utf8()..];
        let mut part = match first {
            '(' => {
                let group = alternatives(rest, depth.checked_sub(1)?)?;
                *rest = rest.strip_prefix(')')?;
                group
            }
            '\\' => {
                let escaped = rest.chars().next().filter(is_special)?;
                *rest = &rest[1..];
                vec![escaped.to_string()]
            }
            c if is_special(&c) => return None,
            c => vec![c.to_string()],
        };
        if let Some(after) = rest.strip_prefix('?') {
            *rest = after;
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
            ("a|b|c|d|e|f|g|h|i", None),
            ("^a|b", None),
            ("a|b$", None),
            ("(^a)", None),
            ("a??", None),
            ("(?i)a", None),
            (r"\d", None),
            (r"\", None),
            ("(a", None),
            ("a)", None),
            ("a]", None),
            ("a{2}", None),
        ] {
            let found = Texts::of(pattern).map(|texts| texts.one_of.join("|"));
            assert_eq!(found.as_deref(), texts, "{pattern}");
        }
        assert!(Texts::of(&"^(a|b)".repeat(9)[..]).is_none());
        assert!(Texts::of(&format!("^{}", "(a|b)".repeat(9))).is_none(), "512 texts");
        assert!(Texts::of(&format!("{}a{}", "(".repeat(1000), ")".repeat(1000))).is_none());
    }
}

//! Secrets in texts that are not JSON: URLs, commands, templates, headers.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr_iter, memchr3, memmem};
use regex_automata::Input;
use regex_automata::meta::Regex;

use super::secrets::is_secret;

/// Stands in the place of a secret.
pub(super) const REDACTED: &str = "****";

/// Where in a text secrets are looked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scope {
    /// In URLs only. What else looks like a secret is one's name: an IAM user may be called `token=bob`.
    Urls,
    All,
}

/// A pattern whose first group is a secret.
type Pattern = LazyLock<Option<Regex>>;

/// `HUSH` of `https://bob:HUSH@example.com`.
static PASSWORD_OF_URL: Pattern = LazyLock::new(|| Regex::new(r#"://[^:\s/?#"'<>]*:([^\s/?#"'<>]+)@"#).ok());

/// What stands between the marks of a private key in PEM.
static PRIVATE_KEY: Pattern =
    LazyLock::new(|| Regex::new("(?s)-----BEGIN [^-]*PRIVATE KEY[^-]*-----(.+?)(?:-----END |$)").ok());

pub(super) fn redact(text: &str, scope: Scope) -> Cow<'_, str> {
    let has_url = memchr_iter(b':', text.as_bytes()).any(|at| text[at..].starts_with("://"));
    if scope == Scope::Urls && !has_url {
        return text.into();
    }
    let mut text = Cow::Borrowed(text);
    if has_url {
        text = hide(text, |text, from| first_group(&PASSWORD_OF_URL, "://", text, from));
    }
    let text = hide(text, |text, from| assigned(text, from, scope));
    if scope == Scope::Urls {
        return text;
    }
    hide(hide(text, value_of_option), |text, from| first_group(&PRIVATE_KEY, "-----BEGIN ", text, from))
}

/// Redacts what `next` finds: the first secret from a place on.
fn hide(text: Cow<'_, str>, next: impl Fn(&str, usize) -> Option<Range<usize>>) -> Cow<'_, str> {
    let mut out = String::new();
    let mut at = 0;
    while let Some(secret) = next(&text, at) {
        out.push_str(&text[at..secret.start]);
        out.push_str(REDACTED);
        at = secret.end;
    }
    if at == 0 { text } else { (out + &text[at..]).into() }
}

/// The first group of a pattern whose matches have that start. Nearly no text has it, and where none does, the pattern is never
/// compiled.
fn first_group(pattern: &Pattern, start: &str, text: &str, from: usize) -> Option<Range<usize>> {
    memmem::find(&text.as_bytes()[from..], start.as_bytes())?;
    let pattern = pattern.as_ref()?;
    let input = Input::new(text).range(from..);
    // Nearly all texts have no match, and captures take memory.
    pattern.search_half(&input)?;
    let mut captures = pattern.create_captures();
    pattern.search_captures(&input, &mut captures);
    Some(captures.get_group(1)?.range())
}

/// What is assigned to a secret name: in the query of a URL, in a shell, in a connection string (`token=…`, with
/// percent-encoding `token%3D…`), in something like JSON (`"token": …`), and in lines of YAML and headers (`token: …`).
fn assigned(text: &str, mut from: usize, scope: Scope) -> Option<Range<usize>> {
    if scope == Scope::Urls && from == 0 {
        from = memmem::find(text.as_bytes(), b"://")?;
    }
    while let Some(found) = memchr3(b'=', b'%', b':', &text.as_bytes()[from..]) {
        let (before, after) = text.split_at(from + found);
        from = before.len() + 1;
        let sign = match after.as_bytes() {
            [b'%', b'3', b'D' | b'd', ..] => "%3D",
            [b'%', ..] | [b':', b'=', ..] => continue,
            [b':', ..] => ":",
            _ => "=",
        };
        let (name, is_quoted) = name_at_the_end(before, sign);
        let lead = name.trim_end_matches(is_of_name);
        let name = &name[name.trim_end_matches(|c| is_of_name(c) || c == ' ').len()..];
        let counts = match (scope, sign) {
            _ if !name.ends_with(is_of_name) => false,
            (Scope::Urls, _) => sign == "=" && lead.ends_with(['?', '&', '#']),
            (Scope::All, ":") => is_quoted || begins_line(lead),
            // Not in a path, such as that of a user or an object.
            (Scope::All, _) => !lead.ends_with('/') || is_switch(lead),
        };
        if !counts || !is_secret(name) {
            continue;
        }
        let ends = match sign {
            ":" if !is_quoted && !is_switch(lead) => Ends::Line,
            "%3D" => Ends::Encoded,
            _ => Ends::Word,
        };
        let value = value_at(text, before.len() + sign.len(), ends);
        // These only say whether something is set.
        if !value.is_empty() && !["true", "false", "null"].contains(&&text[value.clone()]) {
            return Some(value);
        }
    }
    None
}

/// What stands before a sign, without quotes and the like, and whether it had some.
fn name_at_the_end<'a>(before: &'a str, sign: &str) -> (&'a str, bool) {
    let before = before.trim_end_matches([' ', '\t']);
    // Also `:=`, `+=` and `?=`.
    let before = if sign == "=" { before.trim_end_matches([':', '+', '?', ' ']) } else { before };
    let name = before.trim_end_matches(['"', '\'', '\\', ']']);
    (name, name.len() < before.len())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a name behind this is a key of YAML or a header. Other texts have colons behind words, too.
fn begins_line(lead: &str) -> bool {
    let lead = if is_switch(lead) { "" } else { lead.trim_end_matches([' ', '\t']) };
    lead.is_empty() || lead.ends_with(['\n', '\r', '"', '\'', '\\', '{', '[', '(', ',', ';', '&', '|', '-'])
}

/// Whether this ends in the `/` of an option, as Windows has them.
fn is_switch(lead: &str) -> bool {
    lead.strip_suffix('/').is_some_and(|lead| lead.is_empty() || lead.ends_with([' ', '\t', '\n', '"', '\'']))
}

/// `HUSH` of `--password HUSH`.
fn value_of_option(text: &str, from: usize) -> Option<Range<usize>> {
    memchr_iter(b'-', &text.as_bytes()[from..]).find_map(|at| {
        let (before, option) = text.split_at(from + at);
        if !before.is_empty() && !before.ends_with(|c: char| c.is_whitespace() || "\"'".contains(c)) {
            return None;
        }
        let rest = option.trim_start_matches(is_of_name);
        if !rest.starts_with([' ', '\t']) || !is_secret(&option[..option.len() - rest.len()]) {
            return None;
        }
        let value = value_at(text, text.len() - rest.len(), Ends::Word);
        (!value.is_empty() && !text[value.clone()].starts_with('-')).then_some(value)
    })
}

/// Where a value ends that has no quotes.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Word,
    /// The same, and at a percent-encoded character that a URL has between its values.
    Encoded,
    Line,
}

/// The value that begins at a place, without its quotes.
fn value_at(text: &str, from: usize, ends: Ends) -> Range<usize> {
    let text = &text[from..];
    let value = text.trim_start_matches([' ', '\t', '=', '>']);
    let start = from + text.len() - value.len();
    let slashes = value.bytes().take_while(|b| *b == b'\\').count();
    match value.as_bytes().get(slashes) {
        Some(&quote @ (b'"' | b'\'')) => {
            let value = &value[slashes + 1..];
            let slashes_before = |at: &usize| value[..*at].bytes().rev().take_while(|b| *b == b'\\').count();
            let end = memchr_iter(quote, value.as_bytes()).find(|at| slashes_before(at) == slashes);
            let start = start + slashes + 1;
            start..start + end.map_or(value.len(), |at| at - slashes)
        }
        Some(b'{' | b'[') if ends != Ends::Line => start..start + value.len(),
        // `Secret::` is no key.
        Some(b':') if ends == Ends::Line => start..start,
        _ => {
            let is_end = |(at, c): &(usize, char)| match c {
                '\n' | '\r' | '"' | '\'' | '`' => true,
                '\\' => ends == Ends::Line,
                _ if ends == Ends::Line => false,
                '&' | '<' | '>' => true,
                '%' if ends == Ends::Encoded => {
                    let code = value.get(at + 1..at + 3).unwrap_or_default();
                    ["26", "20", "22", "23", "27", "3C", "3E", "3c", "3e"].contains(&code)
                }
                c => c.is_whitespace(),
            };
            let word = value.char_indices().find(is_end).map_or(value.len(), |(at, _)| at);
            // The scheme of an authorization, which stands before the secret.
            let schemes = ["bearer", "basic", "token", "digest"];
            let is_scheme = schemes.iter().any(|scheme| value[..word].eq_ignore_ascii_case(scheme));
            let rest = value[word..].strip_prefix(' ').filter(|_| is_scheme);
            let is_of_secret = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=*".contains(b);
            start..start + word + rest.map_or(0, |rest| 1 + rest.bytes().take_while(is_of_secret).count())
        }
    }
}

//! Patterns: compiled within the memory that a configuration may take, and searched within bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use foldhash::fast::RandomState;
use regex_automata::Input;
use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, Look};

use super::json_tree::At;
use super::needle::{Needle, cut, plain_texts};
use super::spelled::Texts;

/// The most memory that the rules of a configuration may take, in bytes. A function of 256 MB has it twice while a new
/// configuration is read, beside 64 MB for logs and alerts.
const MEMORY_LIMIT: usize = 48 << 20;

/// Compiling takes up to five times the size that can be limited, that of one automaton in the making.
const COMPILING: usize = 5;

/// What parsing takes, measured: for each byte of a pattern, and for each of its classes, of which `\W` is the largest.
const PARSING_BYTE: usize = 400;
const PARSING_CLASS: usize = 26 << 10;
const PARSING_LIMIT: usize = MEMORY_LIMIT / 2;

/// What a compiled pattern takes beside its automata, measured.
const PATTERN_MEMORY: usize = 4 << 10;

/// What a compiled pattern of a pack takes, on average.
const PACK_PATTERN: usize = 40 << 10;

/// The most memory of a lazy DFA, the engine that needs the same few nanoseconds for each byte.
const LAZY_DFA: usize = 2 << 20;

/// A pattern that is this large, and for which a lazy DFA has no room, takes more than half a second for 100 KB of text in
/// a function of 256 MB.
const SLOW: usize = 2 << 20;

/// A pattern of which a message about memory need not speak.
const LARGE: usize = 100 << 10;

/// Texts that are no longer than this, in bytes, take no time that counts.
const SHORT: usize = 10_000;

/// The most memory that is kept for the next searches of a filter, in bytes.
const SEARCHES_LIMIT: usize = 24 << 20;

/// The most bytes of a pattern that a message shows.
const SHOWN: usize = 200;

/// A regular expression. Copies share what it was compiled to.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    /// Tells it from the other patterns of its configuration.
    id: usize,
    text: String,
    /// A pack's pattern is compiled when it is searched first: most of them never are.
    search: OnceLock<Search>,
    /// What a pack's pattern was parsed to for its needle, until it is compiled.
    parsed: Mutex<Option<Hir>>,
    /// Made where a test asks for it.
    needle: OnceLock<Option<Needle>>,
    /// As [`plain_texts`] finds them.
    plain_texts: OnceLock<Option<Vec<String>>>,
    memory: usize,
}

enum Search {
    /// `.`, which asks whether there is a text.
    Anything,
    /// Most patterns are made of a few texts. They need no automaton, which would take far longer to make.
    Texts(Texts),
    Regex(Regex),
}

impl Compiled {
    fn search(&self) -> &Search {
        // What can't be compiled never gets here.
        let nothing = || Search::Texts(Texts { one_of: Vec::new() });
        // Finding the literals of a prefilter takes a third of the time. What is searched most has been searched for its
        // needle before.
        let config = || config(MEMORY_LIMIT).auto_prefilter(false);
        let parsed = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let regex = || compiled(&parsed().map_or_else(|| parse(&self.text), Ok).ok()?, config()).map(Search::Regex);
        self.search.get_or_init(|| regex().unwrap_or_else(nothing))
    }
}

impl Pattern {
    /// As the configuration writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it is found in a text, for a single search. Those of records go through [`Searches`].
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match self.0.search() {
            Search::Anything => is_anything(text),
            Search::Texts(texts) => texts.are_in(text),
            Search::Regex(regex) => is_found(regex, &mut regex.create_cache(), text),
        }
    }

    /// What a record must hold if it is found in one of its texts; `None` where that is not certain.
    pub(super) fn needle(&self) -> Option<&Needle> {
        let plain_texts = || {
            let parsed = parse(&self.0.text).ok()?;
            let texts = plain_texts(&parsed);
            *self.0.parsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(parsed);
            texts
        };
        let texts = || self.0.plain_texts.get_or_init(plain_texts);
        self.0.needle.get_or_init(|| Needle::one_of(texts().clone()?)).as_ref()
    }

    /// Whether it can take seconds on a text of 100 KB.
    pub(super) fn is_slow(&self) -> bool {
        let Search::Regex(regex) = self.0.search() else { return false };
        regex.memory_usage() > SLOW && parse(&self.0.text).is_ok_and(|hir| is_slow(&hir, regex))
    }

    /// The pattern and its size, and what would make it smaller.
    pub(super) fn cost(&self) -> String {
        let Compiled { text, memory, .. } = &*self.0;
        format!("{} with {}{}", shown(text), size(*memory), in_ascii(text, *memory))
    }
}

/// A pattern for a text as it is. Only what means something in a pattern is escaped, so that names stay readable.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |c| r"\.+*?()|[]{}^$".contains(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escape).collect()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Compiles the patterns of a configuration, each once, and counts the memory that its rules take.
#[derive(Default)]
pub(super) struct Patterns {
    known: HashMap<String, Pattern, RandomState>,
    /// The large ones, and where each was given first.
    large: Vec<(String, Pattern)>,
    /// What the rules take.
    memory: usize,
    /// What patterns may have taken that are too large.
    refused: usize,
    /// Whether the patterns are those of a pack: valid, and not large.
    pub(super) are_known: bool,
}

impl Patterns {
    /// Compiles a pattern that stands at a place. Once the memory is used up it is only checked, and `None`. An error says
    /// why it can't be used.
    pub(super) fn compile(&mut self, at: At<'_>, text: String) -> Result<Option<Pattern>, String> {
        let known = self.known.get(&text);
        if known.is_some() && !self.is_full() {
            return Ok(known.cloned());
        }
        if self.is_full() {
            return parse(&text).map(|_| None);
        }
        let (search, plain_texts, memory) = if text == "." {
            (Some(Search::Anything), Some(None), 0)
        } else if let Some(texts) = Texts::of(&text) {
            let memory = texts.one_of.iter().map(|text| size_of_val(text) + text.spelled.len()).sum();
            let plain_texts = cut(texts.one_of.iter().map(|text| text.spelled.as_bytes()));
            (Some(Search::Texts(texts)), Some(plain_texts), memory)
        } else if self.are_known {
            (None, None, PACK_PATTERN)
        } else {
            let hir = parse(&text)?;
            let limit = (MEMORY_LIMIT - self.used()) / COMPILING;
            let Some(regex) = build(&hir, limit) else {
                let is_too_large = self.used() < MEMORY_LIMIT / 2;
                // Finding out takes time. More than a few attempts of that kind would take minutes.
                self.refused += if is_too_large { limit } else { MEMORY_LIMIT };
                let why =
                    || format!("{} is too large when compiled{}: {SMALLER}", shown(&text), in_ascii(&text, limit));
                return if is_too_large { Err(why()) } else { Ok(None) };
            };
            let memory = regex.memory_usage();
            (Some(Search::Regex(regex)), Some(plain_texts(&hir)), memory)
        };
        let of_plain =
            plain_texts.iter().flatten().flatten().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let memory = memory + of_plain + 2 * text.len() + PATTERN_MEMORY;
        self.spend(memory);
        let search = search.map_or_else(OnceLock::new, OnceLock::from);
        let plain_texts = plain_texts.map_or_else(OnceLock::new, OnceLock::from);
        let (id, text_of_it, needle) = (self.known.len(), text.clone(), OnceLock::new());
        let pattern = Pattern(Arc::new(Compiled {
            id,
            text: text_of_it,
            search,
            parsed: Mutex::default(),
            needle,
            plain_texts,
            memory,
        }));
        self.known.insert(text, pattern.clone());
        if memory > LARGE {
            self.large.push((at.to_string(), pattern.clone()));
        }
        Ok(Some(pattern))
    }

    /// Counts what else the rules take.
    pub(super) fn spend(&mut self, memory: usize) {
        self.memory = self.memory.saturating_add(memory);
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    fn used(&self) -> usize {
        self.memory + self.refused
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= MEMORY_LIMIT
    }

    /// Why the configuration can't be used, if it takes too much memory, with the patterns that take most.
    pub(super) fn problem(&self) -> Option<String> {
        // Otherwise patterns are to blame that are too large by themselves.
        let is_due = self.is_full() && self.memory > MEMORY_LIMIT / 4;
        let mut largest: Vec<_> = self.large.iter().collect();
        largest.sort_by_key(|(_, pattern)| Reverse(pattern.0.memory));
        let largest: Vec<_> = largest.iter().take(3).map(|(at, pattern)| format!("{at}: {}", pattern.cost())).collect();
        let what_to_do = if largest.is_empty() {
            "give it fewer rules, tests or patterns".to_owned()
        } else {
            format!("{SMALLER}; the largest are {}", largest.join("; "))
        };
        is_due.then(|| {
            let limit = size(MEMORY_LIMIT);
            format!(
                "its rules need more than {limit} of memory, all that a function of 256 MB has for them: {what_to_do}"
            )
        })
    }
}

/// What to do about patterns that are too large.
pub(super) const SMALLER: &str = "write ASCII classes where they are enough, such as [A-Za-z0-9_] or (?-u:\\w) for \\w, \
     and + for a repetition such as {1,64}";

/// Parses a pattern. An error says why it can't be used.
fn parse(text: &str) -> Result<Hir, String> {
    let is_class = |pair: &&[u8]| matches!(pair, [b'[', _] | [b'\\', b'w' | b'W' | b'p' | b'P']);
    let classes = text.as_bytes().windows(2).filter(is_class).count();
    if PARSING_BYTE * text.len() + PARSING_CLASS * classes > PARSING_LIMIT {
        let length = text.len();
        return Err(format!("{} is too large, with {length} bytes: divide it among several rules", shown(text)));
    }
    hir(text).map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let why = last.strip_prefix("error: ").unwrap_or(last);
        let hint = if why.contains("look-around") {
            " (JavaScript has it, this engine does not; to leave events out, use `unless`)"
        } else if why.contains("backreferences") {
            " (JavaScript has them, this engine does not: write out the text that they stand for)"
        } else {
            ""
        };
        format!("{} is not a valid regular expression: {why}{hint}", shown(text))
    })
}

fn hir(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    // With `(?-u)`, `[^"]` matches a part of a letter, too. Nobody asks where a match begins and ends.
    ParserBuilder::new().utf8(false).build().parse(text).map_err(Box::new)
}

/// Compiles a pattern, unless an automaton of it takes more than `limit` bytes.
fn build(hir: &Hir, limit: usize) -> Option<Regex> {
    compiled(hir, config(limit))
}

fn config(limit: usize) -> Config {
    // The one-pass engine is for groups, which nothing asks for.
    let config = Regex::config().nfa_size_limit(Some(limit)).hybrid_cache_capacity(LAZY_DFA).onepass(false);
    config.which_captures(WhichCaptures::Implicit)
}

fn compiled(hir: &Hir, config: Config) -> Option<Regex> {
    Regex::builder().configure(config).build_from_hir(hir).ok()
}

fn is_slow(hir: &Hir, regex: &Regex) -> bool {
    let properties = hir.properties();
    let starts_at_start = properties.look_set_prefix().contains(Look::Start);
    let most_bytes = properties.maximum_len().filter(|_| starts_at_start);
    // The cache is the lazy DFA's, until another engine is in use.
    let has_lazy_dfa = || regex.create_cache().memory_usage() > 0;
    most_bytes.is_none_or(|bytes| bytes > SHORT) && !properties.is_alternation_literal() && !has_lazy_dfa()
}

/// What a pattern would take if it matched ASCII only, where that is much less.
fn in_ascii(text: &str, memory: usize) -> String {
    let hir = hir(&format!("(?-u){text}")).ok();
    let ascii = hir.and_then(|hir| build(&hir, memory / COMPILING));
    let ascii = ascii.map(|regex| regex.memory_usage() + PATTERN_MEMORY).filter(|ascii| *ascii < memory / 4);
    ascii.map(|ascii| format!(" ({} with (?-u) before it)", size(ascii))).unwrap_or_default()
}

/// A pattern as messages show it.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    if end < text.len() { format!("`{}…`", &text[..end]) } else { format!("`{text}`") }
}

fn size(bytes: usize) -> String {
    let (kb, tenths) = (bytes.div_ceil(1 << 10), (bytes * 10) >> 20);
    if kb < 1 << 10 {
        format!("{kb} KB")
    } else {
        format!("{}.{} MB", tenths / 10, tenths % 10).replace(".0 MB", " MB")
    }
}

/// What searches work in, kept for the next searches with the patterns of the same configuration.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// By a pattern's id.
    caches: Vec<Option<Box<Cache>>>,
    memory: usize,
}

impl Searches {
    /// Whether a pattern is found in a text.
    pub(super) fn find(&mut self, pattern: &Pattern, text: &str) -> bool {
        if self.memory > SEARCHES_LIMIT {
            *self = Searches::default();
        }
        let id = &pattern.0.id;
        let regex = match pattern.0.search() {
            Search::Anything => return is_anything(text),
            Search::Texts(texts) => return texts.are_in(text),
            Search::Regex(regex) => regex,
        };
        if self.caches.len() <= *id {
            self.caches.resize_with(id + 1, || None);
        }
        let cache = &mut self.caches[*id];
        let before = cache.as_deref().map_or(0, memory);
        let cache = cache.get_or_insert_with(|| Box::new(regex.create_cache()));
        let is_found = is_found(regex, cache, text);
        self.memory = self.memory + memory(cache) - before;
        is_found
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

/// Whether `.` is found in a text.
fn is_anything(text: &str) -> bool {
    text.bytes().any(|byte| byte != b'\n')
}

fn is_found(regex: &Regex, cache: &mut Cache, text: &str) -> bool {
    regex.search_half_with(cache, &Input::new(text).earliest(true)).is_some()
}

fn memory(cache: &Cache) -> usize {
    size_of::<Cache>() + cache.memory_usage()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pattern that stands alone.
    pub(in crate::rules) fn pattern(text: &str) -> Pattern {
        Patterns::default().compile(&"", text.to_owned()).unwrap().unwrap()
    }

    #[test]
    fn a_pattern_is_slow_if_each_byte_of_a_long_text_costs_much() {
        for (pattern, is_slow) in [
            (r"\w{200}Z", true),
            (r"^.*\w{200}", true),
            (r"\w{150}$", true),
            (r"(?i)(\w+-){80}", true),
            (r"(?-u)\w{200}Z", false),
            (r"\w+Z", false),
            (r"\w{20}", false),
            (r"[a-z]{200}Z", false),
            (r"[^/]{200}Z", false),
            // It looks at 300 bytes at most.
            (r"^[\w+=,.@-]{1,64}-tmp$", false),
            (r"^arn:aws[a-z-]*:(iam|sts)::\d{12}:(role|user|assumed-role)/.{1,100}$", false),
            (r"(?i)password|secret|token", false),
            (r"^(?:\d{1,3}\.){3}\d{1,3}$", false),
        ] {
            assert_eq!(self::pattern(pattern).is_slow(), is_slow, "{pattern}");
        }
        let names = |count| (0..count).map(|n| format!("arn:aws:iam::123456789012:user/name-{n}")).collect::<Vec<_>>();
        assert!(!pattern(&names(500).join("|")).is_slow());
        assert!(!pattern(&format!("^({})$", names(500).join("|"))).is_slow());
    }

    #[test]
    fn the_manual_gives_the_right_sizes() {
        let manual = include_str!("../../docs/configuration.md");
        let table = manual.split("| pattern | memory |\n|---|---|\n").nth(1).unwrap().split("\n\n").next().unwrap();
        let rows: Vec<_> = table.lines().map(|row| row.trim_matches(['|', ' ']).split_once("` | ").unwrap()).collect();
        assert_eq!(rows.len(), 4);
        for (pattern, memory) in rows {
            let pattern = self::pattern(pattern.trim_start_matches('`'));
            assert_eq!(size(pattern.0.memory), memory, "{pattern:?}");
        }
    }

    #[test]
    fn a_pattern_is_found_as_the_regex_crate_would_find_it() {
        let mut searches = Searches::default();
        let mut patterns = Patterns::default();
        for (pattern, text, is_found) in [
            ("User", "CreateUser", true),
            ("user", "CreateUser", false),
            ("(?i)user", "CreateUser", true),
            ("^User", "CreateUser", false),
            (r"^\w+$", "Größe", true),
            (r"(?-u)^\w+$", "Größe", false),
            ("(?-u)^a[^b]{2}c.$", "aücx", true),
            ("(?i-u)^A[^b]*c", "aüüC", true),
            ("a.c", "a\nc", false),
            ("a.c", "aüc", true),
            ("", "", true),
            (".", "", false),
            (".", "\n", false),
            (".", "\nü", true),
            ("iam|sts", "sts.amazonaws.com", true),
            (r"\w{200}Z", "q", false),
            (r"^[\w-]{1,64}-tmp$", "alice-tmp", true),
            (r"\d+$", "1 2 3", true),
            // Made of a few texts.
            ("^(Create|Delete)(User)?$", "Delete", true),
            ("^(Create|Delete)(User)?$", "DeleteUsers", false),
            ("^(Create|Delete)(User)?$", "xDelete", false),
            ("^ec2", "ec2.amazonaws.com", true),
            ("^ec2", "xec2", false),
            (r"\.com$", "sts.com", true),
            (r"\.com$", "sts.com\n", false),
            (r"ü\*|é", "xü*", true),
            ("^$", "", true),
            ("^$", "x", false),
            // They begin or end at several places.
            ("^a|b$", "ax", true),
            ("^a|b$", "xa", false),
            ("(?m)^a$", "x\na", true),
            ("^(a|^b$)", "bx", false),
            (r"\bkali\b", "kalium", false),
            ("a|b|c|d|e|f|g|h|[ij]", "xj", true),
            (r"[a&&b]", "a", false),
        ] {
            let pattern = patterns.compile(&"", pattern.to_owned()).unwrap().unwrap();
            for _ in 0..2 {
                assert_eq!(searches.find(&pattern, text), is_found, "{pattern:?} in {text}");
            }
            assert_eq!(pattern.is_match(text), is_found, "{pattern:?} in {text}");
        }
    }

    #[test]
    fn searches_stay_within_their_memory_and_count_it() {
        let mut patterns = Patterns::default();
        let patterns: Vec<_> =
            (0..20).map(|n| patterns.compile(&"", format!(r"\w{{30}}-{n}")).unwrap().unwrap()).collect();
        let text: String = (' '..'\u{3000}').collect();
        let mut searches = Searches::default();
        let mut most = 0;
        for pattern in patterns.iter().chain(&patterns) {
            searches.find(pattern, &text);
            let counted: usize = searches.caches.iter().flatten().map(|cache| memory(cache)).sum();
            assert_eq!(searches.memory(), counted);
            most = most.max(counted);
        }
        assert!((SEARCHES_LIMIT / 2..SEARCHES_LIMIT + (8 << 20)).contains(&most), "{most}");
    }

    #[test]
    fn compiling_stops_when_the_memory_is_used_up_and_goes_on_checking() {
        let mut patterns = Patterns::default();
        let mut compiled = 0;
        while let Some(pattern) = patterns.compile(&"", format!(r"^[\w+=,.@-]{{1,64}}-{compiled}")).unwrap() {
            assert!(patterns.memory() > 3 << 20, "{pattern:?}");
            compiled += 1;
        }
        assert!((5..20).contains(&compiled), "{compiled}");
        assert!(patterns.compile(&"", "a".to_owned()).unwrap().is_none());
        assert!(patterns.compile(&"", "(".to_owned()).unwrap_err().contains("unclosed group"));
        let problem = patterns.problem().unwrap();
        assert!(problem.contains("-0` with 3.4 MB (18 KB with (?-u) before it)"), "{problem}");
    }
}

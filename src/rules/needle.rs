//! What the bytes of a record must hold before it is parsed: texts that the log can't write in another way.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, packed};
use memchr::memmem::Finder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor, Literal};

use crate::log::is_plain;

/// Shorter texts are in almost every record.
const LEAST: usize = 3;

/// Few texts.
const FEW: usize = 8;

/// The most texts for which vectors have room.
const PACKED: usize = 64;

/// The most bytes of a text that vectors are given, where there are more texts.
const BEGINNING: usize = 12;

/// The most bytes of texts for which the fastest automaton is made. It takes 256 times as many, and rules that may match any
/// call share one.
const FAST_BYTES: usize = 8 << 10;

/// Texts of which a record's bytes must hold one.
#[derive(Debug, Clone)]
pub(super) struct Needle {
    texts: Vec<String>,
    search: Search,
}

#[derive(Debug, Clone)]
enum Search {
    /// Of a few texts: one after the other.
    Each(Arc<[Finder<'static>]>),
    /// Of many texts: all at once, many bytes at a time. What searches so takes longer to make.
    Packed(Arc<packed::Searcher>),
    /// Of more texts: all at once, byte by byte, where one of their beginnings is.
    Automaton(Option<Arc<packed::Searcher>>, Arc<AhoCorasick>),
}

impl Needle {
    /// A key in its quotes, if a record can't write it otherwise.
    pub(super) fn key(key: &str) -> Option<Self> {
        let is_certain = !key.is_empty() && key.bytes().all(is_plain);
        is_certain.then(|| Needle::one_of(vec![format!("\"{key}\"")]))?
    }

    /// One of the texts.
    pub(super) fn one_of(texts: Vec<String>) -> Option<Self> {
        let each = || Search::Each(texts.iter().map(|text| Finder::new(text).into_owned()).collect());
        let search = if texts.len() <= FEW { each() } else { Needle::together(&texts, 0)? };
        Some(Needle { texts, search })
    }

    fn together(texts: &[String], fast_bytes: usize) -> Option<Search> {
        if texts.len() <= PACKED
            && let Some(searcher) = packed::Searcher::new(texts)
        {
            return Some(Search::Packed(searcher.into()));
        }
        let cut_to = |length: usize| texts.iter().map(|text| text.get(..length).unwrap_or(text)).collect();
        let few = |beginnings: &BTreeSet<&str>| beginnings.len() <= PACKED;
        let beginnings = (LEAST..=BEGINNING).rev().map(cut_to).find(few);
        let beginnings = beginnings.and_then(packed::Searcher::new).map(Arc::new);
        let length: usize = texts.iter().map(String::len).sum();
        let kind = if length <= fast_bytes { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        // Its own search for rare bytes finds many of them in JSON, and then slows it down.
        let mut builder = AhoCorasick::builder();
        Some(Search::Automaton(beginnings, builder.kind(Some(kind)).prefilter(false).build(texts).ok()?.into()))
    }

    /// One needle for what several must hold, to be searched in every record.
    pub(super) fn any<'n>(needles: impl Iterator<Item = &'n Needle>) -> Option<Self> {
        let mut texts: Vec<_> = needles.flat_map(|needle| &needle.texts).cloned().collect();
        texts.sort_unstable();
        texts.dedup();
        Some(Needle { search: Needle::together(&texts, FAST_BYTES)?, texts })
    }

    pub(super) fn is_in(&self, record: &[u8]) -> bool {
        match &self.search {
            Search::Each(finders) => finders.iter().any(|finder| finder.find(record).is_some()),
            Search::Packed(searcher) => searcher.find(record).is_some(),
            Search::Automaton(beginnings, searcher) => {
                beginnings.as_ref().is_none_or(|beginnings| beginnings.find(record).is_some())
                    && searcher.is_match(record)
            }
        }
    }

    /// How little it is to be expected in records.
    pub(super) fn rarity(&self) -> usize {
        let is_usual = |text: &String| ["true", "false"].contains(&text.as_str()) || text.starts_with('"');
        if self.texts.iter().any(is_usual) { 0 } else { shortest(&self.texts) }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.search {
            Search::Each(_) => 0,
            Search::Packed(searcher) => searcher.memory_usage(),
            Search::Automaton(beginnings, searcher) => {
                searcher.memory_usage() + beginnings.as_ref().map_or(0, |beginnings| beginnings.memory_usage())
            }
        }
    }
}

fn shortest(texts: &[String]) -> usize {
    texts.iter().map(String::len).min().unwrap_or_default()
}

/// Texts of which all matches of a pattern hold one, cut to what a log writes in one way only: those with which matches
/// begin, or else those with which they end; `None` where there are none that are long enough.
pub(super) fn plain_texts(parsed: &Hir) -> Option<Vec<String>> {
    let of = |kind| {
        cut(Extractor::new().kind(kind).limit_total(PACKED).extract(parsed).literals()?.iter().map(Literal::as_bytes))
    };
    of(ExtractKind::Prefix).or_else(|| of(ExtractKind::Suffix))
}

/// Texts, cut to what a log writes in one way only; `None` if that leaves too little of one.
pub(super) fn cut<'t>(literals: impl Iterator<Item = &'t [u8]>) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for literal in literals {
        let runs = literal.split(|byte| !is_plain(*byte));
        // The first of those with the longest name: names of programs are rarer than what follows them, and before a colon
        // stands an ARN's account.
        let name = |run: &&[u8]| run.rsplit(|byte| *byte == b':').next().map_or(0, <[u8]>::len);
        let longest = runs.rev().max_by_key(|run| name(run).max(run.len().min(LEAST)))?;
        // A leading colon may be the one between a key and a value, which may have blanks around it.
        texts.push(str::from_utf8(longest).ok()?.trim_start_matches(':').to_owned());
    }
    texts.sort_unstable();
    texts.dedup();
    if texts.len() > FEW {
        // A class of digits makes ten texts of one.
        texts = texts.iter().map(|text| text.trim_matches(|c: char| c.is_ascii_digit()).to_owned()).collect();
        texts.sort_unstable();
        texts.dedup();
    }
    (shortest(&texts) >= LEAST).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::super::pattern::tests::pattern;

    #[test]
    fn needles_are_the_plain_texts_that_all_matches_hold() {
        for (pattern, texts) in [
            ("^Root$", Some(&["Root"] as &[_])),
            ("UnauthorizedOperation$|^AccessDenied", Some(&["AccessDenied", "UnauthorizedOperation"])),
            (r"Scout Suite/\d", Some(&["Scout"])),
            (r"[a-z]+\.example", Some(&[".example"])),
            (r"^\{.*public", Some(&["public"])),
            (":aws:", Some(&["aws:"])),
            ("^arn:aws:iam::123456789012:user/somebody$", Some(&["somebody"])),
            ("^arn:aws:iam::123456789012:role/x$", Some(&["arn:aws:iam::123456789012:role"])),
            ("[0-9]parrot[0-9]|kali", Some(&["kali", "parrot"])),
            ("ab|.*", None),
            ("[a-z]+", None),
            ("ab", None),
            ("", None),
            ("Ünlü", None),
        ] {
            let pattern = self::pattern(pattern);
            assert_eq!(
                pattern.needle().map(|needle| &needle.texts[..]),
                texts.map(|texts| texts.iter().map(ToString::to_string).collect::<Vec<_>>()).as_deref(),
                "{pattern:?}"
            );
        }
        assert!(pattern("(?i)kali").needle().unwrap().is_in(b"xKaLi"));
    }
}

//! The summary of a scan: what each rule would have sent, so that it can be tuned before it pages anyone.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::alert::NOTHING;
use crate::filter::{Filter, Test};
use crate::triage::Match;

/// How many callers and events of a rule are named.
const TOP: usize = 3;

/// What is known of a log at its end.
#[derive(Debug, Default)]
pub struct LogEnd {
    /// How many it had.
    pub records: u64,
    /// How many of them rules match and the configuration ignores.
    pub ignored: u64,
    /// When they happened.
    pub span: Span,
    /// As [`Matcher::seen`](crate::filter::Matcher::seen) gives it.
    pub seen: Vec<bool>,
    /// Why it could not be read further.
    pub error: Option<String>,
}

/// The counts of a run.
pub struct Summary<'f> {
    filter: &'f Filter,
    /// Read to the end.
    pub logs: u64,
    records: u64,
    ignored: u64,
    /// Records that rules match, each event once.
    pub matches: u64,
    /// Matches of an event that had been there before.
    pub repeats: u64,
    /// Files that Lambda would skip by their key.
    pub skipped: u64,
    /// Files that could not be read.
    pub failed: u64,
    span: Span,
    /// As [`Matcher::seen`](crate::filter::Matcher::seen) gives it, of all logs.
    seen: Vec<bool>,
    rules: HashMap<&'f str, RuleCounts>,
}

/// What one rule brought.
#[derive(Default)]
struct RuleCounts {
    matches: u64,
    messages: u64,
    callers: HashMap<String, u64>,
    events: HashMap<String, u64>,
}

impl<'f> Summary<'f> {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(filter: &'f Filter) -> Self {
        Summary {
            filter,
            logs: 0,
            records: 0,
            ignored: 0,
            matches: 0,
            repeats: 0,
            skipped: 0,
            failed: 0,
            span: Span::default(),
            seen: vec![false; filter.tests],
            rules: HashMap::new(),
        }
    }

    /// Counts a match.
    pub fn count(&mut self, matched: &Match<'f>) {
        self.matches += 1;
        for rule in &matched.rules {
            let counts = self.rules.entry(&rule.name).or_default();
            counts.matches += 1;
            for (counts, what) in [(&mut counts.callers, &matched.who), (&mut counts.events, &matched.event)] {
                let what = what.as_deref().unwrap_or(NOTHING);
                // Most are known, and then need no memory of their own.
                match counts.get_mut(what) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(what.to_owned(), 1)),
                }
            }
        }
    }

    /// Counts a message of these rules.
    pub fn count_message(&mut self, rules: &[String]) {
        for rule in rules {
            if let Some(counts) = self.rules.get_mut(rule.as_str()) {
                counts.messages += 1;
            }
        }
    }

    /// Counts a log.
    pub fn end_log(&mut self, log: &LogEnd) {
        self.records += log.records;
        self.ignored += log.ignored;
        self.span.join(&log.span);
        for (seen, also) in self.seen.iter_mut().zip(&log.seen) {
            *seen |= also;
        }
    }

    /// The summary as people read it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let matches = if self.matches == 1 { "1 match".to_owned() } else { format!("{} matches", self.matches) };
        let mut text = format!("{}, {}, {matches}", counted(self.logs, "log"), counted(self.records, "record"));
        for (n, what) in [
            (self.ignored, format!("{} ignored", self.ignored)),
            (self.repeats, counted(self.repeats, "repeat")),
            (self.skipped, format!("{} skipped", counted(self.skipped, "file"))),
            (self.failed, format!("{} not read", self.failed)),
        ] {
            if n > 0 {
                let _ = write!(text, ", {what}");
            }
        }
        let days = self.span.days();
        if let (Some(first), Some(last)) = (&self.span.first, &self.span.last) {
            let _ = write!(text, ", from {first} to {last}");
        }
        text.push('\n');
        // Rules are not to blame.
        if self.records == 0 {
            return text;
        }
        let mut counts: Vec<_> = self.rules.iter().collect();
        counts.sort_by_key(|(name, counts)| (Reverse(counts.matches), **name));
        let width = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(4);
        if !counts.is_empty() {
            let _ = writeln!(text, "\nmatches  messages/day  {:width$}  top callers; top events", "rule");
        }
        for (name, counts) in counts {
            #[allow(clippy::cast_precision_loss)] // of counts, shown with one decimal
            let per_day = counts.messages as f64 / days;
            let (callers, events) = (top(&counts.callers), top(&counts.events));
            let _ = writeln!(text, "{:>7}  {per_day:>12.1}  {name:width$}  {callers}; {events}", counts.matches);
        }
        let never: Vec<_> =
            self.filter.rules.iter().filter(|rule| !self.rules.contains_key(rule.name.as_str())).collect();
        if !never.is_empty() {
            let _ = writeln!(text, "\nnever matched");
        }
        for rule in never {
            let unseen = rule.condition.wheres.iter().filter(|test| !self.seen.get(test.id).is_some_and(|seen| *seen));
            let unseen: Vec<_> = unseen.map(Test::path_text).collect();
            let note = if unseen.is_empty() {
                String::new()
            } else {
                format!("  (no record that it looked at had a value at {})", unseen.join(", "))
            };
            let _ = writeln!(text, "      0  {}{note}", rule.name);
        }
        text
    }
}

/// The most frequent ones, most first.
fn top(counts: &HashMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(what, n)| (Reverse(**n), *what));
    let shown = counts.iter().take(TOP).map(|(what, n)| format!("{} ({n})", what.escape_debug()));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if counts.len() > TOP {
        let _ = write!(text, ", {} more", counts.len() - TOP);
    }
    text
}

/// A number and its noun.
#[must_use]
pub fn counted(n: impl TryInto<u64>, what: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The times of the first and the last event.
#[derive(Debug, Default)]
pub struct Span {
    first: Option<String>,
    last: Option<String>,
}

impl Span {
    /// Takes a record's `eventTime` into account. It is found as text, because most records are not parsed.
    pub fn extend(&mut self, record: &[u8]) {
        const KEY: &str = "\"eventTime\"";
        static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(KEY));
        const LENGTH: usize = "2026-11-20T21:08:30Z".len();
        let Some(at) = FINDER.find(record) else { return };
        let rest = &record[at + KEY.len()..];
        let Some(quote) = rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b':')) else { return };
        let time = rest.get(quote + 1..quote + 1 + LENGTH).unwrap_or_default();
        // Times of one form sort as text; most records lie between the two.
        let is_new =
            |bound: &Option<String>, order: Ordering| bound.as_ref().is_none_or(|b| time.cmp(b.as_bytes()) == order);
        let (first, last) = (is_new(&self.first, Ordering::Less), is_new(&self.last, Ordering::Greater));
        if !first && !last {
            return;
        }
        let Some(time) = str::from_utf8(time).ok().filter(|time| humantime::parse_rfc3339(time).is_ok()) else {
            return;
        };
        if first {
            self.first = Some(time.to_owned());
        }
        if last {
            self.last = Some(time.to_owned());
        }
    }

    fn join(&mut self, other: &Span) {
        for (mine, theirs, order) in
            [(&mut self.first, &other.first, Ordering::Less), (&mut self.last, &other.last, Ordering::Greater)]
        {
            if let Some(theirs) = theirs
                && mine.as_ref().is_none_or(|mine| theirs.cmp(mine) == order)
            {
                *mine = Some(theirs.clone());
            }
        }
    }

    /// The length in days; at least one, because a shorter piece tells little of a day.
    fn days(&self) -> f64 {
        let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref()?).ok();
        let span = time(&self.last).zip(time(&self.first)).and_then(|(last, first)| last.duration_since(first).ok());
        span.map_or(1.0, |span| (span.as_secs_f64() / 86_400.0).max(1.0))
    }
}

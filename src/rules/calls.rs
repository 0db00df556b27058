//! The events of AWS's APIs and services and the keys of their parameters, as `tools/calls.py` collects them, and warnings
//! about others.

use std::cell::Cell;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

use super::condition::{Condition, literals, path_text};
use super::examples::examples;
use super::pattern::Pattern;

/// The shortest version that a service writes behind the name of an event: `CreateFunction20150331`.
const VERSION_LENGTH: usize = "20150331".len();

/// The most comparisons with known names for suggestions. They take a tenth of a second.
const COMPARISONS: usize = 500_000;

/// The events, a line each.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::new();
    let read = GzDecoder::new(&include_bytes!("calls.txt.gz")[..]).read_to_string(&mut text);
    debug_assert!(read.is_ok(), "{read:?}");
    text
});

/// The names of events in their order, each with the keys of its parameters as `iam=path,userName`, by source. A star stands
/// for other sources with an event of that name; nothing, for sources whose keys are not known.
pub(super) struct Calls {
    events: Vec<(&'static str, &'static str)>,
    /// How many comparisons are left.
    comparisons: Cell<usize>,
}

impl Calls {
    pub(super) fn new() -> Self {
        let events = TEXT.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        Calls { events, comparisons: Cell::new(COMPARISONS) }
    }

    /// A warning about a pattern for the names of events with a text that no name has.
    pub(super) fn unknown(&self, key: &str, pattern: &Pattern) -> Option<String> {
        let literals = literals(pattern);
        let mut unknown: Vec<&String> = literals.iter().filter(|literal| !self.knows(pattern, literal)).collect();
        // Of texts that are put together, as in `(Create|Delete)(User|Role)`, one that is known will do.
        if unknown.len() < literals.len() {
            unknown.retain(|literal| pattern.as_str().contains(literal.as_str()));
        }
        let name = unknown.first()?;
        let is_whole = anchors(pattern, name) == (true, true);
        let what = if is_whole { format!("is called `{name}`") } else { format!("has `{name}` in its name") };
        let meant = self.near(name, self.events.iter().map(|(known, _)| *known));
        let meant = meant.map_or("compare it with a record".to_owned(), |near| format!("did you mean `{near}`?"));
        Some(format!("`{key}`: no known event {what}; {meant}"))
    }

    fn knows(&self, pattern: &Pattern, literal: &str) -> bool {
        let bare = literal.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '_' | 'v'));
        let is_versioned = || literal.len() >= bare.len() + VERSION_LENGTH && self.place(bare).is_ok();
        let is_of_any_case = || [literal.to_lowercase(), literal.to_uppercase()].iter().all(|it| pattern.is_match(it));
        self.place(literal).is_ok() || is_versioned() || is_of_any_case() || !self.named(pattern, literal).is_empty()
    }

    /// A name with a version behind it that a service writes where a pattern asks for the name alone.
    pub(super) fn versioned(&self, condition: &Condition) -> Option<String> {
        let pattern = condition.event_name.as_ref()?;
        let is_versioned = |name: &str, known: &str| {
            let version = known.strip_prefix(name).unwrap_or_default();
            let is_version = version.len() >= VERSION_LENGTH && version.starts_with(|c: char| c.is_ascii_digit());
            let source = if version.contains('_') { "cloudfront.amazonaws.com" } else { "lambda.amazonaws.com" };
            is_version && condition.matches_source(Some(source))
        };
        let (name, versioned) =
            literals(pattern).into_iter().filter(|name| pattern.is_match(name)).find_map(|name| {
                let mut longer =
                    self.events[self.place(&name).ok()?..].iter().take_while(|(known, _)| known.starts_with(&name));
                let (versioned, _) = longer.find(|(known, _)| is_versioned(&name, known))?;
                (!pattern.is_match(versioned)).then_some((name, versioned))
            })?;
        Some(format!(
            "`regexp` matches `{name}`, but CloudTrail writes a version behind it, such as `{versioned}`: leave out the `$`"
        ))
    }

    /// The keys of the parameters of the calls of conditions that hold together; none, if they are not known.
    pub(super) fn parameters(&self, conditions: &[&Condition]) -> Vec<&'static str> {
        let source = |source: &str| format!("{source}.amazonaws.com");
        let is_of = |source: &str| conditions.iter().all(|it| it.matches_source(Some(source)));
        let is_of_any = is_of(&source("-"));
        // Texts of patterns for sources, each of which must be of one whose keys are known.
        let asked: Vec<_> = conditions.iter().filter_map(|it| it.event_source.as_ref()).map(examples).collect();
        let Some(pattern) = conditions.iter().find_map(|it| it.event_name.as_ref()) else { return Vec::new() };
        let mut keys = Vec::new();
        for literal in literals(pattern) {
            let named = self.named(pattern, &literal).into_iter();
            for (name, parameters) in named.filter(|(name, _)| conditions.iter().all(|it| it.matches_name(Some(name))))
            {
                let sources = parameters.split(' ').filter_map(|keys| keys.split_once('='));
                let sources: Vec<_> = sources.map(|(name, keys)| (source(name), keys)).collect();
                let is_known = |text: &String| sources.iter().any(|(source, _)| source.contains(text.as_str()));
                let is_of_known = !is_of_any && asked.iter().any(|texts| texts.iter().all(is_known));
                if parameters.ends_with('*') && !is_of_known || parameters.is_empty() && (is_of_any || name == literal)
                {
                    return Vec::new();
                }
                keys.extend(sources.iter().filter(|(source, _)| is_of(source)).flat_map(|(_, keys)| keys.split(',')));
            }
        }
        keys
    }

    /// The events in whose names a pattern finds this text of it.
    fn named(&self, pattern: &Pattern, literal: &str) -> Vec<(&'static str, &'static str)> {
        let anchors = anchors(pattern, literal);
        let is_found = |name: &str| match anchors {
            (true, true) => name == literal,
            (true, false) => name.starts_with(literal),
            (false, true) => name.ends_with(literal),
            (false, false) => name.contains(literal),
        };
        self.events.iter().filter(|(name, _)| is_found(name)).copied().collect()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.events.binary_search_by_key(&name, |(known, _)| known)
    }

    /// A warning about a path to a parameter that calls with these parameters don't have.
    pub(super) fn unknown_parameter(&self, path: &[String], known: &[&str]) -> Option<String> {
        let (_, key) = path.first().zip(path.get(1)).filter(|(root, _)| *root == "requestParameters")?;
        let near = if known.contains(&key.as_str()) { None } else { self.near(key, known.iter().copied()) }?;
        Some(format!("`{}`: the calls have no parameter `{key}`; did you mean `{near}`?", path_text(path)))
    }

    /// The known name that was probably meant: up to two of its letters differ, or it goes on. None when no comparisons
    /// are left.
    fn near<'a>(&self, name: &str, known: impl ExactSizeIterator<Item = &'a str>) -> Option<&'a str> {
        self.comparisons.set(self.comparisons.get().checked_sub(known.len())?);
        let plain = |name: &str| name.to_lowercase().replace(['_', '-'], "");
        let wanted = plain(name);
        let distance = |known: &str| {
            let plain = plain(known);
            if plain.len().abs_diff(wanted.len()) <= 2 {
                let distance = strsim::damerau_levenshtein(&plain, &wanted);
                return (distance <= 2 && 3 * distance <= plain.len()).then_some(distance);
            }
            let rest = known.get(name.len()..).filter(|_| plain.starts_with(&wanted) && !wanted.is_empty())?;
            rest.starts_with(char::is_uppercase).then_some(rest.len())
        };
        known.filter_map(|known| Some((distance(known)?, known))).min().map(|(_, known)| known)
    }
}

/// Whether a pattern lets nothing stand before a text of it, and behind it.
fn anchors(pattern: &Pattern, literal: &str) -> (bool, bool) {
    (!pattern.is_match(&format!("x{literal}")), !pattern.is_match(&format!("{literal}x")))
}

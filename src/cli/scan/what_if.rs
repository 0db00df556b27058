//! The edits of each rule that would have saved most messages. They are tried on the matches while they are counted, with
//! the code that the edited configuration would run, so that what they save is exact; where it can't be, none is offered.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::super::ignore::entry::{self, Entry};
use super::super::summary::Edit;
use crate::alert::{Tally, escape};
use crate::evaluate::{Evaluator, Match, Verdict};
use crate::log::{LogFile, Record};
use crate::memory::{Groups, Sighting};
use crate::rules::{Filter, Hit, Learned, Matcher, Rule, Severity, StageKind, config};

/// How long `suppress` is tried for, the shortest first.
const SPANS: [&str; 2] = ["1h", "1d"];

/// What tells the callers of `suppress` apart.
const CALLER: &str = "userIdentity.arn";

/// How much the groups of all tried rules may take, in bytes. With those of the scan itself they fit into a scan's memory.
const MEMORY: usize = 32 << 20;

/// How many bytes the kinds of call may take that entries of `ignore` tell apart.
const KINDS_ROOM: usize = 8 << 20;

/// The most entries of a rule that are tried: those for the most frequent kinds of call.
const ENTRIES: usize = 3;

/// The rules that only suppress, each in the place of one of the configuration.
#[derive(Debug)]
pub(in crate::cli) struct WhatIf {
    places: HashMap<String, usize>,
    /// By span; none where there are too many rules.
    filters: Option<Vec<Filter>>,
}

/// What a match would be to the tried edits.
#[derive(Debug)]
pub(super) struct Tried<'f> {
    /// By rule, then by span.
    sightings: Vec<(&'f Rule, Vec<Sighting<'f>>)>,
    /// The parts of its record at which entries look.
    kind: Option<String>,
}

/// What the edits would have saved.
pub(super) struct Trials<'f> {
    groups: Groups,
    rules: HashMap<&'f str, Trial<'f>>,
    /// Rules that reached the limit of a log.
    limited: HashSet<String>,
    room: usize,
}

/// What the edits of a rule would have saved.
struct Trial<'f> {
    /// Messages that name no other rule: only they would not have been sent.
    alone: u64,
    /// The rules with which it shares messages.
    shared: BTreeSet<&'f str>,
    /// By kind of call, of those alone.
    kinds: Tally<String>,
    /// By span.
    saved: [u64; SPANS.len()],
    /// Whether a match has no ID, by which a window knows it.
    has_unknown: bool,
}

impl WhatIf {
    pub(super) fn new(filter: &Filter) -> Self {
        let places = filter.rules.iter().enumerate().map(|(place, rule)| (rule.name.clone(), place)).collect();
        let suppressing = |span: &str| {
            let by_caller = json!({ "by": [CALLER], "for": span });
            let rule = |place: usize| json!({ "name": place.to_string(), "regexp": ".", "suppress": by_caller });
            let rules: Vec<_> = (0..filter.rules.len()).map(rule).collect();
            config::parse(json!({ "rules": rules }).to_string().as_bytes(), None).ok()
        };
        WhatIf { places, filters: SPANS.into_iter().map(suppressing).collect() }
    }

    /// What a match with this record would be to the edits.
    pub(super) fn tried<'f>(&'f self, matched: &Match<'f>, record: &Record<'_>) -> Tried<'f> {
        let sent = || matched.hits.iter().filter(|hit| hit.is_sent());
        let of_rule = |hit: &Hit<'f>| {
            let place = *self.places.get(&hit.rule.name).filter(|_| may_suppress(hit.rule))?;
            let event = matched.event?;
            let sightings = self
                .filters
                .iter()
                .flatten()
                .filter_map(|filter| Sighting::of(filter, filter.rules.get(place)?, record, || event));
            Some((hit.rule, sightings.collect()))
        };
        let kind = sent().next().and_then(|_| kind(record));
        Tried { sightings: sent().filter_map(of_rule).collect(), kind }
    }
}

impl Tried<'_> {
    /// The memory that it takes, in bytes, about.
    pub(super) fn size(&self) -> usize {
        const SIGHTING: usize = 256;
        SIGHTING * SPANS.len() * self.sightings.len() + self.kind.as_ref().map_or(0, String::len)
    }
}

impl Default for Trials<'_> {
    fn default() -> Self {
        Trials { groups: Groups::new(MEMORY), rules: HashMap::new(), limited: HashSet::new(), room: KINDS_ROOM }
    }
}

impl<'f> Trials<'f> {
    /// Tries the edits on a match, in the order of the output.
    pub(super) fn count(&mut self, matched: &Match<'f>, tried: &Tried<'f>) {
        for hit in matched.hits.iter().filter(|hit| hit.is_sent()) {
            let others = matched.hits.iter().filter(|other| other.is_sent() && other.rule.topic == hit.rule.topic);
            let others: Vec<_> = others.map(|other| other.rule.name.as_str()).collect();
            let is_alone = others.len() == 1;
            let trial = self.rules.entry(&hit.rule.name).or_insert_with(Trial::new);
            trial.has_unknown |= matched.event.is_none();
            if is_alone {
                trial.alone += 1;
                if let Some(kind) = &tried.kind {
                    trial.kinds.count(kind, kind.len(), &mut self.room);
                }
            } else {
                trial.shared.extend(others);
            }
            let sightings = tried.sightings.iter().find(|(rule, _)| rule.name == hit.rule.name);
            let sightings = sightings.into_iter().flat_map(|(_, sightings)| sightings);
            for (sighting, saved) in sightings.zip(&mut trial.saved) {
                let decision = self.groups.decide(sighting, 0);
                *saved += u64::from(decision.held && is_alone);
                decision.told.iter().for_each(|told| self.groups.published(told.receipt));
            }
        }
    }

    /// Notes that these rules had more alerts in a log than its limit lets pass one by one.
    pub(super) fn limit(&mut self, rules: &[String]) {
        self.limited.extend(rules.iter().cloned());
    }

    /// The edit of a rule that would have saved most messages, and of those that would have saved the same, the one that hides
    /// least. If that is an entry, the window that would have saved at least half as much comes after it.
    pub(super) fn edits(&self, filter: &Filter, rule: &'f Rule, remembers_all: bool) -> Vec<Edit> {
        let Some(trial) = self.rules.get(rule.name.as_str()) else { return Vec::new() };
        // Without these alerts, others would not have been beyond the limit.
        let is_limited = |name: &str| self.limited.contains(name);
        if is_limited(&rule.name) || trial.shared.iter().any(|name| is_limited(name)) {
            return Vec::new();
        }
        let is_default = rule.name == config::DEFAULT_RULE;
        let mut windows = Vec::new();
        if may_suppress(rule) && !is_default && !trial.has_unknown && remembers_all && self.groups.has_all() {
            windows.extend(SPANS.iter().zip(trial.saved).map(|(span, saved)| suppress(rule, span, saved)));
        }
        // An entry would change what a memory sees. One for `default` takes matches of all rules.
        let is_known = trial.kinds.all().map(|(_, n)| n).sum::<u64>() == trial.alone;
        let may_ignore = rule.stages.is_empty() && is_known && (!is_default || filter.rules.len() == 1);
        let entry = may_ignore.then(|| trial.entry(rule)).flatten();
        // The longest one is the last of those that save the same.
        let window = windows.into_iter().rev().max_by_key(|edit| edit.saved);
        let mut edits: Vec<_> = entry.into_iter().chain(window).filter(|edit| edit.saved > 0).collect();
        if let [entry, window] = &edits[..] {
            if window.saved >= entry.saved {
                edits.remove(0);
            } else if 2 * window.saved < entry.saved {
                edits.pop();
            }
        }
        edits
    }
}

impl Trial<'_> {
    fn new() -> Self {
        let kinds = Tally::new(usize::MAX);
        Trial { alone: 0, shared: BTreeSet::new(), kinds, saved: [0; SPANS.len()], has_unknown: false }
    }

    /// The entry of `ignore` that would have saved most.
    fn entry(&self, rule: &Rule) -> Option<Edit> {
        let counts: Vec<_> = self.kinds.all().collect();
        let kinds: Vec<_> = counts.iter().map(|(kind, _)| kind.as_str()).collect();
        let document = format!("{{\"Records\":[{}]}}", kinds.join(","));
        let candidates = self.kinds.top(ENTRIES, self.alone).named;
        let edits = candidates.into_iter().filter_map(|(kind, _)| {
            let entry = Entry::of(&Record::parse(kind).ok()?)?;
            let value: Value = serde_json::from_str(kind).ok()?;
            let filter = config::parse(&entry.as_configuration(&value), None).ok()?;
            let taken = matches(&filter, document.as_bytes())?;
            let saved = counts.iter().zip(taken).filter(|(_, is_taken)| *is_taken).map(|((_, n), _)| n).sum();
            Some(ignore(rule, &entry, saved))
        });
        edits.max_by_key(|edit| edit.saved)
    }
}

/// Nobody should hold back anything of a critical rule.
fn may_suppress(rule: &Rule) -> bool {
    rule.severity != Severity::Critical && !rule.stages.iter().any(|stage| stage.kind == StageKind::Suppress)
}

/// Which records of a log a filter matches.
fn matches(filter: &Filter, log: &[u8]) -> Option<Vec<bool>> {
    let learned = Learned::new(filter);
    let mut evaluator = Evaluator::new(Matcher::new(filter, &learned), "", None);
    let (mut file, mut found) = (LogFile::default(), Vec::new());
    for piece in [Some(log), None] {
        let mut records = file.read(piece);
        while let Some(record) = records.next().ok()? {
            found.push(!matches!(evaluator.evaluate(&record).ok()?, Verdict::Unmatched));
        }
    }
    Some(found)
}

/// The parts of a record at which entries look, as a record: calls of one kind are the same to every entry, so a session's name
/// that a program has made up has another one in its place. `None` for a record whose parts are not texts.
fn kind(record: &Record<'_>) -> Option<String> {
    let member = |path: &[&str]| {
        let key = path.last()?;
        match record.raw_json(path) {
            None | Some("null") => Some(None),
            Some(json) if json.starts_with('"') || *key == "assumedRoot" => Some(Some(format!("\"{key}\":{json}"))),
            Some(_) => None,
        }
    };
    let named = |key: &str| {
        let name = record.raw_string(&["userIdentity", key]).and_then(|name| Some(entry::of_role(&name)?.to_owned()));
        match name {
            Some(role) => Some(Some(format!("\"{key}\":{}", Value::String(role + entry::MADE_UP)))),
            None => member(&["userIdentity", key]),
        }
    };
    if record.raw_json(&["userIdentity"]).is_some_and(|json| json.starts_with('[')) {
        return None;
    }
    let session = |key| member(&["userIdentity", "sessionContext", key]);
    let session = object("sessionContext", [session("sourceIdentity")?, session("assumedRoot")?]);
    let person = object("onBehalfOf", [member(&["userIdentity", "onBehalfOf", "userId"])?]);
    let [account, kind] = [named("accountId")?, named("type")?];
    let callers = [named("arn")?, named("principalId")?, named("invokedBy")?, named("userName")?];
    let identity = object("userIdentity", callers.into_iter().chain([account, kind, Some(session), Some(person)]));
    let call = [member(&["eventSource"])?, member(&["eventName"])?, Some(identity)];
    Some(format!("{{{}}}", call.into_iter().flatten().collect::<Vec<_>>().join(",")))
}

/// A field with an object of these fields.
fn object(key: &str, fields: impl IntoIterator<Item = Option<String>>) -> String {
    format!("\"{key}\":{{{}}}", fields.into_iter().flatten().collect::<Vec<_>>().join(","))
}

fn suppress(rule: &Rule, span: &str, saved: u64) -> Edit {
    let stage = format!("\"suppress\": {{ \"by\": [\"{CALLER}\"], \"for\": \"{span}\" }}");
    Edit {
        what: format!("suppress by caller for {span}"),
        place: place(rule, "suppress"),
        hides: format!("what the same caller does within {span} of an alert; the next alert tells how much that was"),
        text: if config::is_of_pack(&rule.name) {
            format!("{{ \"name\": {}, {stage} }}", json!(rule.name))
        } else {
            stage
        },
        saved,
    }
}

fn ignore(rule: &Rule, entry: &Entry, saved: u64) -> Edit {
    let of_pack = config::is_of_pack(&rule.name) && rule.ignore.is_empty();
    let text = entry.to_text();
    Edit {
        what: format!("ignore {} by {}", entry.calls[0], entry.calls[1]),
        place: if of_pack { place(rule, "ignore") } else { entry::place(&rule.name) }
            + " "
            + &entry::FILL_IN.replace('\n', " "),
        hides: "every such call by this caller, also an attacker's who has taken it over".to_owned(),
        text: match text.trim_end().replace('\n', "\n    ") {
            text if of_pack => format!("{{ \"name\": {},\n  \"ignore\": [\n    {text} ] }}", json!(rule.name)),
            _ => text,
        },
        saved,
    }
}

/// Where the key of a rule belongs.
fn place(rule: &Rule, key: &str) -> String {
    let name = escape(&rule.name);
    if config::is_of_pack(&rule.name) {
        format!("Add it to `rules`. If the rule {name} is there already, add only `{key}` to it.")
    } else {
        format!("Add it to the rule {name}.")
    }
}

//! What becomes of each record of a log: nothing, alerts, or a part in a summary. Pure.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::alert::{self, Alert, Context};
use crate::filter::{Format, Matcher, Rule, Severity, Verdict};
use crate::log_file::RawRecord;
use crate::record::{self, Record};

/// How many eventIDs of a log are remembered to know repeats. CloudTrail's logs hold some thousand events.
const EVENTS_LIMIT: usize = 50_000;

/// How many callers a flood tells apart.
const CALLERS_LIMIT: usize = 1_000;

/// The longest text that a flood keeps of a record, in bytes. An ARN has 2,048 at most; what callers make up may have any
/// length.
const TEXT_LIMIT: usize = 2_048;

/// Goes through the records of one log.
pub struct Triage<'a, 'f> {
    matcher: &'a mut Matcher<'f>,
    context: Context<'a>,
    /// The events that matched.
    events: HashSet<String>,
    /// By rule: how many alerts it has brought.
    alerts: BTreeMap<&'f str, u64>,
    /// By rule: what came after it had brought all it may.
    floods: BTreeMap<&'f str, (&'f Rule, Flood)>,
}

/// What became of a record.
#[derive(Debug)]
pub enum Outcome<'f> {
    /// No rule matches it.
    Unmatched,
    /// A rule matches it, and the configuration says to ignore it.
    Ignored,
    /// Rules match it.
    Matched(Match<'f>),
}

/// What a record that rules match leads to.
#[derive(Debug)]
pub struct Match<'f> {
    /// The rules, in the configuration's order.
    pub rules: Vec<&'f Rule>,
    /// The record's `eventID`.
    pub event_id: Option<String>,
    /// The record's `eventName`.
    pub event: Option<String>,
    /// Who made the call.
    pub who: Option<String>,
    /// One for each topic, unless it is counted below.
    pub alerts: Vec<Alert>,
    /// Alerts that are not made, because the log has the event already.
    pub duplicates: u64,
    /// Alerts that are not made, because a summary will stand for them.
    pub summarised: u64,
}

/// What came of one rule after its limit.
#[derive(Debug, Default, Clone)]
pub struct Flood {
    /// How many alerts.
    pub more: u64,
    /// A number that stands for which events they are about, in any order, and is the same wherever it is made.
    pub events: u64,
    /// The earliest `eventTime`.
    pub first: Option<String>,
    /// The latest `eventTime`.
    pub last: Option<String>,
    /// How many by each caller; a flood of very many callers tells only the first of them apart.
    pub callers: BTreeMap<String, u64>,
    /// What all of them have in common.
    pub common: Option<Common>,
}

/// What floods of alerts have in common: `None` is what differs, or none has.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// The account.
    pub account: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// `eventSource`.
    pub source: Option<String>,
    /// `eventName`.
    pub event: Option<String>,
    /// `Success` or `Failure`.
    pub result: Option<String>,
}

impl Flood {
    fn add(&mut self, record: &Record<'_>) {
        let short = |mut text: String| {
            text.truncate(text.floor_char_boundary(TEXT_LIMIT));
            text
        };
        let one = Common {
            account: alert::account(record),
            region: alert::text(record, &["awsRegion"]),
            source: alert::text(record, &["eventSource"]),
            event: alert::text(record, &["eventName"]),
            result: Some(alert::result(record).to_owned()),
        };
        let same = |mine: Option<String>, others: Option<String>| mine.filter(|mine| others.as_ref() == Some(mine));
        self.common = Some(match self.common.take() {
            None => one,
            Some(all) => Common {
                account: same(all.account, one.account),
                region: same(all.region, one.region),
                source: same(all.source, one.source),
                event: same(all.event, one.event),
                result: same(all.result, one.result),
            },
        });
        self.more += 1;
        let mut hasher = DefaultHasher::new();
        alert::text(record, &["eventID"]).hash(&mut hasher);
        self.events = self.events.wrapping_add(hasher.finish());
        if let Some(time) = alert::text(record, &["eventTime"]).map(short) {
            // Times of one form sort as text.
            self.first = self.first.take().map_or_else(|| Some(time.clone()), |first| Some(first.min(time.clone())));
            self.last = self.last.take().max(Some(time));
        }
        let who = alert::who(record).map_or_else(|| alert::NOTHING.to_owned(), short);
        if self.callers.len() < CALLERS_LIMIT || self.callers.contains_key(&who) {
            *self.callers.entry(who).or_default() += 1;
        }
    }

    /// The callers with the most calls, most first.
    #[must_use]
    pub fn top_callers(&self, n: usize) -> Vec<(&str, u64)> {
        let mut callers: Vec<_> = self.callers.iter().map(|(who, calls)| (who.as_str(), *calls)).collect();
        callers.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        callers.truncate(n);
        callers
    }
}

impl<'a, 'f> Triage<'a, 'f> {
    /// Begins a log of that name. `format` overrides the topics' own.
    pub fn new(matcher: &'a mut Matcher<'f>, log: &'a str, format: Option<Format>) -> Self
    where
        'f: 'a,
    {
        let context = Context { filter: matcher.filter(), log, format };
        Triage { matcher, context, events: HashSet::new(), alerts: BTreeMap::new(), floods: BTreeMap::new() }
    }

    /// Decides about the next record.
    ///
    /// # Errors
    /// Why it is no JSON, which shows only if a rule has to look into it.
    pub fn record(&mut self, raw: &RawRecord<'_>) -> Result<Outcome<'f>, String> {
        let candidates =
            self.matcher.candidates(raw.source.as_deref(), raw.name.as_deref(), (!raw.disguised).then_some(raw.bytes));
        if candidates.is_empty() {
            return Ok(Outcome::Unmatched);
        }
        let text = record::readable(raw.bytes);
        let record = Record::parse(&text)?;
        Ok(match self.matcher.verdict(&candidates, &record) {
            Verdict::Unmatched => Outcome::Unmatched,
            Verdict::Ignored => Outcome::Ignored,
            Verdict::Matched(rules) => Outcome::Matched(self.matched(&record, rules)),
        })
    }

    fn matched(&mut self, record: &Record<'_>, rules: Vec<&'f Rule>) -> Match<'f> {
        let mut by_topic: BTreeMap<usize, Vec<&Rule>> = BTreeMap::new();
        for rule in &rules {
            by_topic.entry(rule.topic).or_default().push(rule);
        }
        let (mut alerts, mut duplicates, mut summarised) = (Vec::new(), 0, 0);
        let event_id = alert::text(record, &["eventID"]);
        if self.is_repeat(event_id.as_deref()) {
            duplicates = by_topic.len() as u64;
        } else {
            for rules in by_topic.into_values() {
                if self.is_flooded(&rules) {
                    for rule in rules {
                        self.floods.entry(&rule.name).or_insert_with(|| (rule, Flood::default())).1.add(record);
                    }
                    summarised += 1;
                } else {
                    alerts.push(alert::about(record, &rules, &self.context));
                }
            }
        }
        let (event, who) = (alert::text(record, &["eventName"]), alert::who(record));
        Match { rules, event_id, event, who, alerts, duplicates, summarised }
    }

    /// Whether the log has had the event. A record without eventID is never taken for a repeat.
    fn is_repeat(&mut self, event_id: Option<&str>) -> bool {
        let Some(event_id) = event_id else { return false };
        if self.events.len() == EVENTS_LIMIT {
            self.events.clear();
        }
        !self.events.insert(event_id.to_owned())
    }

    /// Counts an alert of these rules, all of one topic, and tells whether none of them may bring one more.
    fn is_flooded(&mut self, rules: &[&'f Rule]) -> bool {
        let Some(limit) = self.context.filter.max_alerts_per_log else { return false };
        let mut flooded = true;
        for rule in rules {
            let alerts = self.alerts.entry(&rule.name).or_default();
            flooded &= *alerts >= limit && rule.severity != Severity::Critical;
            *alerts += 1;
        }
        flooded
    }

    /// Ends the log: the summaries of what was left out.
    #[must_use]
    pub fn summaries(self) -> Vec<Alert> {
        self.floods.into_values().map(|(rule, flood)| alert::summary(rule, &flood, &self.context)).collect()
    }
}

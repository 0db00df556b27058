//! Decides what becomes of each record of a log: nothing, alerts, or a part of a summary. Where the memory between logs has
//! a say, it is asked in between.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::{ptr, vec};

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::alert::{Alert, Call, Context, FLOODS_ROOM, Flood, KINDS_LIMIT, Told, compose, id};
use crate::log::{Malformed, RawRecord, Record};
use crate::memory::{Decision, Sighting};
use crate::rules::{Filter, Format, Hit, Matcher, Rule, RuleIndex, Severity};

/// The most eventIDs of a log that are remembered to know repeats. CloudTrail's logs hold some thousand events. A set of so
/// many hashes takes 280 KB, and of one more twice as much; twenty logs may be open at once.
const EVENTS_LIMIT: usize = 14_000;

/// The most kinds of event of all rules together that are remembered.
const ALL_KINDS_LIMIT: usize = 14_000;

/// Goes through the records of one log.
pub struct Evaluator<'a, 'f, 'l> {
    matcher: Matcher<'f, 'l>,
    /// The eventIDs' hashes, because an ID may be as long as a record.
    events: HashSet<u128, RandomState>,
    /// Whether every match has to wait for those before it, so that the right ones are summarised: the memory decides about some,
    /// or an earlier log has had their events.
    in_order: bool,
    /// Makes the alerts of matches about which the memory has decided, too.
    pub(crate) limiter: Limiter<'a, 'f>,
}

/// Makes the alerts of one log, up to its limit, and summaries for the rest.
pub(crate) struct Limiter<'a, 'f> {
    context: Context<'a>,
    /// By rule.
    counts: BTreeMap<&'f str, Alerted>,
    /// The hashes of rules, each with the source, name and result of an event that it has alerted on.
    kinds: HashSet<u128, RandomState>,
    /// By rule: its alerts beyond the limit.
    floods: BTreeMap<&'f str, Flood<'f>>,
    /// How many bytes the floods may still take.
    floods_room: usize,
}

/// What a rule has had in the log.
#[derive(Default)]
struct Alerted {
    alerts: u64,
    kinds: usize,
}

/// What became of a rule's matches: matches = alerts + dry + ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RuleCounts {
    pub(crate) matches: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) alerts: u64,
    /// Of the alerts: those that the memory between logs held back.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) suppressed: u64,
    /// Matches of a rule in a dry run.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) dry: u64,
    /// Matches that an exception took.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) ignored: u64,
    /// Of all but the ignored ones: those that an exception would have taken that has expired.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) expired: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RuleCounts {
    pub(crate) fn count(&mut self, hit: &Hit<'_>) {
        self.matches += 1;
        *if hit.ignored {
            &mut self.ignored
        } else if hit.rule.dry_run {
            &mut self.dry
        } else {
            &mut self.alerts
        } += 1;
        self.suppressed += u64::from(hit.held);
        self.expired += u64::from(hit.expired);
    }

    pub(crate) fn add(&mut self, other: &RuleCounts) {
        self.matches += other.matches;
        self.alerts += other.alerts;
        self.suppressed += other.suppressed;
        self.dry += other.dry;
        self.ignored += other.ignored;
        self.expired += other.expired;
    }
}

/// The decision about a record.
pub enum Verdict<'m, 'f> {
    /// No rule matches it.
    Unmatched,
    /// Rules match it.
    Matched(Match<'f>, Box<Alerts<'m>>),
    /// Rules match it, as it was parsed, and the memory between logs decides which of them alert.
    Pending(Box<Pending<'f>>, Record<'m>),
}

/// A match that waits for the memory's decision.
pub struct Pending<'f> {
    record: String,
    /// As in [`Match`].
    pub(crate) hits: Vec<Hit<'f>>,
    pub(crate) event: Option<u128>,
    /// The matches of the rules that have stages.
    sightings: Vec<Sighting<'f>>,
}

impl<'f> Pending<'f> {
    pub(crate) fn sightings(&self) -> &[Sighting<'f>] {
        &self.sightings
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record::known(&self.record)
    }

    /// Whether it makes an alert of a rule, which may be held back.
    pub(crate) fn alerts(&self, rule: &Rule) -> bool {
        self.hits.iter().any(|hit| hit.alerts() && ptr::eq(hit.rule, rule))
    }

    /// The memory that it takes, in bytes, about.
    pub(crate) fn size(&self) -> usize {
        const SIGHTING: usize = 256;
        self.record.len() + size_of_val(self.hits.as_slice()) + SIGHTING * (1 + self.sightings.len())
    }
}

/// The consequences of a record that rules match.
#[derive(Debug)]
pub struct Match<'f> {
    /// The rules that match it, in the configuration's order.
    pub(crate) hits: Vec<Hit<'f>>,
    /// The hash of the eventID, because an ID may be as long as a record.
    pub(crate) event: Option<u128>,
    /// Alerts that are not made, because the log has had the event already.
    pub duplicates: u64,
    /// Alerts that are not made, because a summary will stand for them.
    pub summarised: u64,
    /// Alerts that are not made, because the memory between logs holds them back.
    pub suppressed: u64,
}

impl Match<'_> {
    /// Whether the configuration says to ignore the record: exceptions leave none of its rules.
    pub(crate) fn is_ignored(&self) -> bool {
        self.hits.iter().all(|hit| hit.ignored)
    }

    /// Whether the memory between logs holds back all that it would alert.
    pub(crate) fn is_suppressed(&self) -> bool {
        let mut alerting = self.hits.iter().filter(|hit| hit.alerts()).peekable();
        alerting.peek().is_some() && alerting.all(|hit| hit.held)
    }
}

/// The alerts of a match, one for each topic, less those that its counts stand for. Each is made when it is asked for,
/// because all of them together may be many times as large as the record.
pub struct Alerts<'m> {
    record: Record<'m>,
    /// Read when it is asked for.
    call: OnceCell<Call<'m>>,
    context: Context<'m>,
    /// The rules of each topic.
    topics: vec::IntoIter<Vec<&'m Rule>>,
    told: Vec<Told<'m>>,
}

impl<'m> Alerts<'m> {
    /// The facts of the call that they are about.
    pub(crate) fn call(&self) -> &Call<'m> {
        self.call.get_or_init(|| Call::of(&self.record))
    }

    pub(crate) fn record(&self) -> &Record<'m> {
        &self.record
    }

    /// Those that have not been asked for, in the format for people, whatever their own is.
    pub(crate) fn in_text(&self) -> Vec<Alert> {
        let context = Context { format: Some(Format::Text), ..self.context };
        self.topics.as_slice().iter().map(|rules| self.alert(rules, &context)).collect()
    }

    fn alert(&self, rules: &[&Rule], context: &Context<'_>) -> Alert {
        let is_of = |told: &&Told<'_>| rules.iter().any(|rule| ptr::eq(*rule, told.rule));
        let told: Vec<_> = self.told.iter().filter(is_of).copied().collect();
        compose::about(&self.record, self.call(), rules, &told, context)
    }
}

impl Iterator for Alerts<'_> {
    type Item = Alert;

    fn next(&mut self) -> Option<Alert> {
        let rules = self.topics.next()?;
        Some(self.alert(&rules, &self.context))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.topics.size_hint()
    }
}

impl ExactSizeIterator for Alerts<'_> {}

impl<'a, 'f: 'a, 'l> Evaluator<'a, 'f, 'l> {
    /// Begins a log of that name. `format` overrides the topics' own.
    pub fn new(matcher: Matcher<'f, 'l>, log: &'a str, format: Option<Format>) -> Self {
        let filter = matcher.filter();
        Evaluator {
            matcher,
            events: HashSet::default(),
            in_order: filter.max_alerts_per_log.is_some() && filter.remembers(),
            limiter: Limiter::new(filter, log, format),
        }
    }

    /// The same for one of several logs of which an event counts once.
    pub(crate) fn of_several(matcher: Matcher<'f, 'l>, log: &'a str, format: Option<Format>) -> Self {
        let in_order = matcher.filter().max_alerts_per_log.is_some();
        Evaluator { in_order, ..Evaluator::new(matcher, log, format) }
    }

    /// Decides about the next record.
    ///
    /// # Errors
    /// The record is not JSON, which shows only if a rule has to look into it.
    pub fn evaluate<'m>(&mut self, raw: &'m RawRecord<'_>) -> Result<Verdict<'m, 'f>, Malformed>
    where
        'a: 'm,
    {
        let candidates = self.candidates(raw);
        self.decide(raw, &candidates)
    }

    /// The rules that a record may match, for [`decide`](Self::decide).
    pub(crate) fn candidates(&mut self, raw: &RawRecord<'_>) -> Vec<RuleIndex> {
        self.matcher.candidates(raw)
    }

    /// As [`evaluate`](Self::evaluate), once the record's candidates are known.
    pub(crate) fn decide<'m>(
        &mut self,
        raw: &'m RawRecord<'_>,
        candidates: &[RuleIndex],
    ) -> Result<Verdict<'m, 'f>, Malformed>
    where
        'a: 'm,
    {
        if candidates.is_empty() {
            return Ok(Verdict::Unmatched);
        }
        let record = Record::parse(raw.text()).map_err(|problem| raw.malformed(&problem))?;
        let hits = self.matcher.hits(candidates, raw, &record);
        if hits.is_empty() {
            return Ok(Verdict::Unmatched);
        }
        let event = Call::event_id(&record).map(|event_id| id::hash([event_id.as_str()]));
        let alerts = || hits.iter().filter(|hit| hit.alerts());
        if alerts().next().is_some() {
            if event.is_some_and(|event| self.note_event(event)) {
                let (matched, alerts) = self.limiter.repeated(record, hits, event);
                return Ok(Verdict::Matched(matched, Box::new(alerts)));
            }
            // A record without eventID is an event of its own, wherever its log is read.
            let place = || id::hash([self.limiter.context.log, &raw.number.to_string()]);
            let seen_as = || event.unwrap_or_else(place);
            let filter = self.limiter.context.filter;
            let sightings: Vec<_> =
                alerts().filter_map(|hit| Sighting::of(filter, hit.rule, &record, seen_as)).collect();
            if self.in_order || !sightings.is_empty() {
                let pending = Pending { record: raw.text().to_owned(), hits, event, sightings };
                return Ok(Verdict::Pending(Box::new(pending), record));
            }
        }
        let (matched, alerts) = self.limiter.alerts(record, hits, event, Vec::new());
        Ok(Verdict::Matched(matched, Box::new(alerts)))
    }

    /// Notes an event; gives whether the log has had it. A record without eventID is never taken for a repeat.
    fn note_event(&mut self, event: u128) -> bool {
        if self.events.len() == EVENTS_LIMIT {
            self.events.clear();
        }
        !self.events.insert(event)
    }

    /// Ends the log: the summaries of alerts that were not made.
    pub fn summaries(self) -> Vec<Alert> {
        self.limiter.summaries()
    }
}

impl<'a, 'f: 'a> Limiter<'a, 'f> {
    pub(crate) fn new(filter: &'f Filter, log: &'a str, format: Option<Format>) -> Self {
        Limiter {
            context: Context { filter, log, format },
            counts: BTreeMap::new(),
            kinds: HashSet::default(),
            floods: BTreeMap::new(),
            floods_room: FLOODS_ROOM,
        }
    }

    /// Makes the alerts of a match as the memory decided, by sighting; `None` where it holds all of them back.
    pub(crate) fn decided<'m>(
        &mut self,
        pending: &'m Pending<'f>,
        decisions: Vec<Decision<'f>>,
    ) -> (Match<'f>, Option<Alerts<'m>>)
    where
        'a: 'm,
    {
        let (mut hits, mut told) = (pending.hits.clone(), Vec::new());
        for (sighting, decision) in pending.sightings.iter().zip(decisions) {
            if decision.held {
                hits.iter_mut().filter(|hit| ptr::eq(hit.rule, sighting.rule)).for_each(|hit| hit.held = true);
            } else {
                told.extend(decision.told);
            }
        }
        if !hits.iter().any(Hit::is_sent) {
            let suppressed = by_topic(&hits).len() as u64;
            return (Match { hits, event: pending.event, duplicates: 0, summarised: 0, suppressed }, None);
        }
        let (matched, alerts) = self.alerts(pending.record(), hits, pending.event, told);
        (matched, Some(alerts))
    }

    /// The alerts of a match: those that are neither held back nor beyond the limit.
    fn alerts<'m>(
        &mut self,
        record: Record<'m>,
        hits: Vec<Hit<'f>>,
        event: Option<u128>,
        told: Vec<Told<'f>>,
    ) -> (Match<'f>, Alerts<'m>)
    where
        'a: 'm,
    {
        let mut alerts =
            Alerts { record, call: OnceCell::new(), context: self.context, topics: Vec::new().into_iter(), told };
        let (mut topics, mut summarised, mut suppressed) = (Vec::<Vec<&'m Rule>>::new(), 0, 0);
        for rules in by_topic(&hits).into_values() {
            if rules.is_empty() {
                suppressed += 1;
            } else if self.count_alert(&rules, &alerts) {
                for rule in rules {
                    let flood = self.floods.entry(&rule.name).or_insert_with(|| Flood::new(rule));
                    flood.add(alerts.call(), event, &mut self.floods_room);
                    let of_rule = alerts.told.iter().filter(|told| ptr::eq(told.rule, rule));
                    of_rule.for_each(|told| flood.add_told(told, &mut self.floods_room));
                }
                summarised += 1;
            } else {
                topics.push(rules);
            }
        }
        alerts.topics = topics.into_iter();
        (Match { hits, event, duplicates: 0, summarised, suppressed }, alerts)
    }

    /// A match whose event the log has had: it makes no alerts.
    fn repeated<'m>(&self, record: Record<'m>, hits: Vec<Hit<'f>>, event: Option<u128>) -> (Match<'f>, Alerts<'m>)
    where
        'a: 'm,
    {
        let duplicates = by_topic(&hits).len() as u64;
        let topics = Vec::new().into_iter();
        let alerts = Alerts { record, call: OnceCell::new(), context: self.context, topics, told: Vec::new() };
        (Match { hits, event, duplicates, summarised: 0, suppressed: 0 }, alerts)
    }

    /// Counts an alert of these rules, all of one topic; gives whether a summary stands for it: each of them had reached its
    /// limit, and had alerted on such an event.
    fn count_alert(&mut self, rules: &[&'f Rule], alerts: &Alerts<'_>) -> bool {
        let Some(limit) = self.context.filter.max_alerts_per_log else { return false };
        let call = alerts.call();
        let [source, name] = [&call.event_source, &call.event_name].map(|text| text.as_deref().unwrap_or_default());
        let mut flooded = true;
        for rule in rules {
            let counts = self.counts.entry(&rule.name).or_default();
            let may_be_first = counts.kinds < KINDS_LIMIT && self.kinds.len() < ALL_KINDS_LIMIT;
            let kind = || id::hash([rule.name.as_str(), source, name, call.result()]);
            let is_first = may_be_first && self.kinds.insert(kind());
            flooded &= counts.alerts >= limit && !is_first && rule.severity != Severity::Critical;
            counts.kinds += usize::from(is_first);
            counts.alerts += 1;
        }
        flooded
    }

    /// The names of the rules of which more alerts came than one log may have.
    pub(crate) fn limited(&self) -> Vec<String> {
        let Some(limit) = self.context.filter.max_alerts_per_log else { return Vec::new() };
        self.counts.iter().filter(|(_, counts)| counts.alerts > limit).map(|(rule, _)| (*rule).to_owned()).collect()
    }

    /// Ends the log: the summaries of alerts that were not made, each with the time of the latest.
    pub(crate) fn dated_summaries(self) -> Vec<(Option<String>, Alert)> {
        let floods = self.floods.values();
        floods.map(|flood| (flood.latest().map(str::to_owned), compose::summary(flood, &self.context))).collect()
    }

    /// Ends the log: the summaries of alerts that were not made.
    pub(crate) fn summaries(self) -> Vec<Alert> {
        self.floods.values().map(|flood| compose::summary(flood, &self.context)).collect()
    }
}

/// The rules that alert, by topic; none where all are held back.
fn by_topic<'f>(hits: &[Hit<'f>]) -> BTreeMap<usize, Vec<&'f Rule>> {
    let mut topics: BTreeMap<usize, Vec<&'f Rule>> = BTreeMap::new();
    for hit in hits.iter().filter(|hit| hit.alerts()) {
        topics.entry(hit.rule.topic).or_default().extend((!hit.held).then_some(hit.rule));
    }
    topics
}

//! What is remembered of a group, and what that makes of the next match: the rules of the memory between logs.
//!
//! A group changes only by [`Group::decide`] and [`Group::published`]. Logs come in any order, and an invocation may be
//! retried at any step. So an alert keeps its event, by which it is known when it comes again, and what it has to tell
//! until it has been published.

use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::Held;
use crate::log::Time;
use crate::rules::{Stage, StageKind};

/// The most alerts that a group remembers: the latest ones.
const ALERTS_LIMIT: usize = 16;

/// The most alerts whose events it knows when they come again: those of a day with an alert each quarter of an hour.
const EVENTS_LIMIT: usize = 100;

/// The most alerts that may be on their way with something to tell.
const TELLS_LIMIT: usize = 100;

/// How long an alert that has not been published may still be on its way, in seconds:
/// [an invocation's longest time](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html). After it, the
/// next alert of the group tells what this one had to tell.
const ON_ITS_WAY: u64 = 15 * 60;

/// The memory of a group in one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The latest ones, with the hashes of their events, in the order of their times. At most [`EVENTS_LIMIT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<(Time, u64)>,
    /// What alerts have to tell that have not been published yet, as far as the group knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tells: Vec<Tells>,
    /// The matches that no alert tells yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    /// For `firstSeen`: the time of the latest match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<Time>,
    /// For `threshold`: hashes of the events, or of the texts, that count, with their times and in their order. At most as
    /// many as the rule counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counted: Vec<(u64, Time)>,
}

/// What the alert about an event has to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tells {
    event: u64,
    held: Held,
    /// When it was decided, in seconds since 1970.
    since: u64,
}

/// A match as its group sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighted<'a> {
    pub(crate) time: Time,
    /// A hash of the event.
    pub(crate) event: u64,
    /// The hashes of what a threshold counts: of the event, or of its texts at the path `distinct`.
    pub(crate) counted: &'a [u64],
}

/// The decision about a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passes, and tells what was held back.
    Passes(Option<Held>),
    Held,
}

impl Group {
    /// Decides about a match, and remembers it. `now` is the time on the clock, in seconds since 1970.
    pub(crate) fn decide(&mut self, stage: &Stage, sighted: Sighted<'_>, now: u64) -> Outcome {
        let (time, span) = (sighted.time, stage.span.duration());
        let alerts = match &stage.kind {
            StageKind::Suppress => !self.is_near_alert(time, span) && !self.is_before_all_alerts(time),
            StageKind::FirstSeen => {
                let is_first = self.latest.is_none_or(|latest| time > latest && time.distance(latest) >= span);
                self.latest = self.latest.max(Some(time));
                is_first
            }
            StageKind::Threshold { count, .. } => {
                self.count(*count, span, sighted)
                    && !self.is_near_alert(time, span)
                    && self.alerts.last().is_none_or(|(alert, _)| time > *alert)
            }
        };
        // An event never suppresses itself: its alert may not have been published.
        if self.alerts.iter().any(|(_, event)| *event == sighted.event) {
            let tells = self.tells.iter().find(|tells| tells.event == sighted.event);
            return Outcome::Passes(tells.map(|tells| tells.held));
        }
        if alerts {
            Outcome::Passes(self.alert(time, sighted.event, now))
        } else {
            self.hold(Held::one(time));
            Outcome::Held
        }
    }

    /// Notes that the alert about an event was published: what it had to tell has been told.
    pub(crate) fn published(&mut self, event: u64) {
        self.tells.retain(|tells| tells.event != event);
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.alerts.capacity() * size_of::<(Time, u64)>()
            + self.tells.capacity() * size_of::<Tells>()
            + self.counted.capacity() * size_of::<(u64, Time)>()
    }

    /// The times of the alerts that it remembers.
    fn remembered(&self) -> impl ExactSizeIterator<Item = Time> {
        self.alerts.iter().rev().take(ALERTS_LIMIT).map(|(time, _)| *time)
    }

    fn is_near_alert(&self, time: Time, span: Duration) -> bool {
        self.remembered().any(|alert| alert.distance(time) < span)
    }

    /// Whether alerts near the time may have been forgotten.
    fn is_before_all_alerts(&self, time: Time) -> bool {
        self.remembered().len() == ALERTS_LIMIT && self.remembered().all(|alert| time < alert)
    }

    /// Counts a match; gives whether it is one of `limit` within a span. The logs of a span come in any order, so that it
    /// need not be the last of them.
    fn count(&mut self, limit: usize, span: Duration, sighted: Sighted<'_>) -> bool {
        for hash in sighted.counted {
            match self.counted.iter_mut().find(|(known, _)| known == hash) {
                Some((_, time)) => *time = sighted.time.max(*time),
                None => self.counted.push((*hash, sighted.time)),
            }
        }
        self.counted.sort_by_key(|(_, time)| *time);
        let is_reached = self.counted.windows(limit).any(|window| {
            let is_within = |((_, first), (_, last)): (&(u64, Time), &(u64, Time))| first.distance(*last) < span;
            window.first().zip(window.last()).is_some_and(is_within)
                && window.iter().any(|(hash, _)| sighted.counted.contains(hash))
        });
        self.counted.drain(..self.counted.len().saturating_sub(limit));
        self.counted.shrink_to_fit();
        is_reached
    }

    /// Remembers an alert; gives what it has to tell.
    fn alert(&mut self, time: Time, event: u64, now: u64) -> Option<Held> {
        let place = self.alerts.partition_point(|(alert, _)| *alert <= time);
        self.alerts.reserve_exact(1);
        self.alerts.insert(place, (time, event));
        self.alerts.drain(..self.alerts.len().saturating_sub(EVENTS_LIMIT));
        let mut untold = mem::take(&mut self.tells);
        self.tells = untold.extract_if(.., |tells| now.saturating_sub(tells.since) <= ON_ITS_WAY).collect();
        if self.tells.len() == TELLS_LIMIT {
            // If they are published yet, this is told twice.
            untold.append(&mut self.tells);
        }
        for tells in untold {
            self.hold(tells.held);
        }
        let held = self.held.take();
        self.tells.extend(held.map(|held| Tells { event, held, since: now }));
        held
    }

    fn hold(&mut self, more: Held) {
        self.held = Some(self.held.map_or(more, |held| held.and(more)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::rules::config;

    /// The duration of all stages here, in milliseconds.
    const SPAN: u64 = 60_000;

    fn stage(stage: &str) -> Stage {
        let file = format!(r#"{{"rules": [{{"name": "r", "regexp": "x", {stage}}}]}}"#);
        config::parse(file.as_bytes(), None).unwrap().rules.remove(0).stages.remove(0)
    }

    const SUPPRESS: &str = r#""suppress": {"by": ["a"], "for": "1m"}"#;
    const FIRST_SEEN: &str = r#""firstSeen": {"by": ["a"], "within": "60s"}"#;
    const THREE: &str = r#""threshold": {"count": 3, "by": ["a"], "within": "1m"}"#;

    fn time(milliseconds: u64) -> Time {
        serde_json::from_value(json!(milliseconds)).unwrap()
    }

    #[derive(Debug, Clone)]
    struct Match {
        at: u64,
        event: u64,
        counted: Vec<u64>,
    }

    impl Match {
        fn decide(&self, group: &mut Group, stage: &Stage, now: u64) -> Outcome {
            group.decide(stage, Sighted { time: time(self.at), event: self.event, counted: &self.counted }, now)
        }
    }

    /// What an alert has to tell, as places of matches in the story.
    #[derive(Debug)]
    struct Letter {
        event: u64,
        tells: BTreeSet<usize>,
        since: u64,
    }

    /// All that happened in a group, as lists, and what the manual makes of them.
    #[derive(Debug, Default)]
    struct Story {
        matches: Vec<Match>,
        alerts: Vec<Match>,
        /// Places of held matches that no alert tells yet.
        untold: BTreeSet<usize>,
        letters: Vec<Letter>,
        /// For each held match, the events whose messages told it.
        told: BTreeMap<usize, BTreeSet<u64>>,
    }

    impl Story {
        /// The latest alerts, in the order of their times.
        fn latest(&self, count: usize) -> Vec<&Match> {
            let mut alerts: Vec<_> = self.alerts.iter().collect();
            alerts.sort_by_key(|alert| alert.at);
            alerts.split_off(alerts.len().saturating_sub(count))
        }

        fn knows(&self, event: u64) -> bool {
            self.latest(100).iter().any(|alert| alert.event == event)
        }

        fn passes(&self, stage: &Stage, new: &Match, in_order: bool) -> bool {
            let remembered = self.latest(16);
            let is_near = |alert: &Match| alert.at.abs_diff(new.at) < SPAN;
            if self.knows(new.event) {
                return true;
            }
            match &stage.kind {
                StageKind::Suppress => {
                    let is_older = remembered.len() == 16 && remembered.iter().all(|alert| new.at < alert.at);
                    !is_older && !self.alerts.iter().any(is_near)
                }
                StageKind::FirstSeen => self.matches.iter().all(|old| old.at < new.at && new.at - old.at >= SPAN),
                StageKind::Threshold { count, .. } => {
                    let is_last = remembered.last().is_none_or(|alert| alert.at < new.at);
                    is_last && !remembered.into_iter().any(is_near) && self.is_reached(*count, new, in_order)
                }
            }
        }

        /// Whether so many different ones stand within a span, of which a new match is one.
        fn is_reached(&self, count: usize, new: &Match, in_order: bool) -> bool {
            let mut latest: BTreeMap<u64, u64> = BTreeMap::new();
            for (hash, at) in self.matches.iter().flat_map(|old| old.counted.iter().map(|hash| (*hash, old.at))) {
                latest.entry(hash).and_modify(|known| *known = at.max(*known)).or_insert(at);
            }
            let mut known: Vec<(u64, u64)> = latest.into_iter().map(|(hash, at)| (at, hash)).collect();
            known.sort_unstable();
            // A group has no more of them. In the order of the times, that makes no difference.
            let forgotten = if in_order { 0 } else { known.len().saturating_sub(count) };
            known.drain(..forgotten);
            known.retain(|(at, hash)| !new.counted.contains(hash) || *at > new.at);
            let again = |hash: &&u64| !known.iter().any(|(_, known)| known == *hash);
            let news: Vec<_> = new.counted.iter().filter(again).map(|hash| (new.at, *hash)).collect();
            known.extend(news);
            known.iter().any(|(start, _)| {
                let within: Vec<_> = known.iter().filter(|(at, _)| (*start..start + SPAN).contains(at)).collect();
                within.len() >= count && within.iter().any(|(_, hash)| new.counted.contains(hash))
            })
        }

        /// Decides about a match; gives what its alert tells.
        fn decide(&mut self, stage: &Stage, new: &Match, now: u64, in_order: bool) -> Option<BTreeSet<usize>> {
            let passes = self.passes(stage, new, in_order);
            let is_again = self.knows(new.event);
            self.matches.push(new.clone());
            if !passes {
                self.untold.insert(self.matches.len() - 1);
                return None;
            }
            if !is_again {
                let mut tells = std::mem::take(&mut self.untold);
                for letter in self.letters.iter_mut().filter(|letter| now - letter.since > 15 * 60) {
                    tells.append(&mut letter.tells);
                }
                if self.letters.iter().filter(|letter| !letter.tells.is_empty()).count() == TELLS_LIMIT {
                    self.letters.iter_mut().for_each(|letter| tells.append(&mut letter.tells));
                }
                self.alerts.push(new.clone());
                self.letters.push(Letter { event: new.event, tells, since: now });
            }
            Some(self.letters.iter().find(|letter| letter.event == new.event).unwrap().tells.clone())
        }

        fn published(&mut self, event: u64) {
            self.letters.iter_mut().filter(|letter| letter.event == event).for_each(|letter| letter.tells.clear());
        }

        /// Matches, as a group counts them.
        fn held(&self, places: &BTreeSet<usize>) -> Option<Held> {
            places.iter().map(|place| Held::one(time(self.matches[*place].at))).reduce(Held::and)
        }
    }

    /// A match comes, and a fault perhaps: the message is not published, or the group does not learn it; and so many seconds
    /// pass.
    type Step = (Match, Fault, u64);

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        NotPublished,
        NotNoted,
    }

    /// Plays steps in a group and in a story, which must tell the same. Where the story is not exact, it follows the group.
    fn play(stage: &Stage, steps: &[Step], in_order: bool, is_exact: bool) -> Story {
        let (mut group, mut story, mut now, mut faults) = (Group::default(), Story::default(), 0, 0);
        let (mut held, mut told) = (0, 0);
        for (new, fault, wait) in steps {
            let outcome = new.decide(&mut group, stage, now);
            if is_exact {
                let tells = story.decide(stage, new, now, in_order);
                let expected = tells.as_ref().map_or(Outcome::Held, |tells| Outcome::Passes(story.held(tells)));
                assert_eq!(outcome, expected, "{new:?} after {story:?}");
                assert_eq!(group.held, story.held(&story.untold));
                for place in tells.into_iter().flatten().filter(|_| *fault != Fault::NotPublished) {
                    story.told.entry(place).or_default().insert(new.event);
                }
            }
            faults += u64::from(*fault != Fault::None);
            match outcome {
                Outcome::Held => held += 1,
                Outcome::Passes(tells) if *fault != Fault::NotPublished => {
                    told += tells.map_or(0, |tells| tells.count);
                }
                Outcome::Passes(_) => {}
            }
            if outcome != Outcome::Held && *fault == Fault::None {
                group.published(new.event);
                story.published(new.event);
            }
            now += wait;

            let limit = if let StageKind::Threshold { count, .. } = stage.kind { count } else { 0 };
            assert!(group.alerts.len() <= 100 && group.counted.len() <= limit);
            assert!(
                group.alerts.windows(2).all(|pair| {
                    pair[0].0 < pair[1].0 && pair[0].0.distance(pair[1].0) >= Duration::from_millis(SPAN)
                })
            );
            let json = serde_json::to_string(&group).unwrap();
            assert_eq!(serde_json::from_str::<Group>(&json).unwrap(), group, "{json}");
        }
        let in_group = group.tells.iter().map(|tells| tells.held.count);
        let in_group = in_group.sum::<u64>() + group.held.map_or(0, |held| held.count);
        assert!(told + in_group >= held && (faults > 0 || told + in_group == held), "{held} {told} {in_group}");
        story
    }

    /// Times around the ends of spans, so many that alerts are forgotten.
    fn grid(place: u64) -> u64 {
        (place / 3 + 1) * SPAN + place % 3 - 1
    }

    fn any_steps() -> impl Strategy<Value = Vec<(u64, Fault, u64)>> {
        let fault = prop_oneof![6 => Just(Fault::None), 1 => Just(Fault::NotPublished), 1 => Just(Fault::NotNoted)];
        let faults = any::<bool>().prop_flat_map(move |is_sound| {
            prop::collection::vec((0..75_u64, fault.clone(), 0..600_u64), 1..90)
                .prop_map(move |steps| (steps, is_sound))
        });
        faults.prop_map(|(mut steps, is_sound)| {
            steps.iter_mut().filter(|_| is_sound).for_each(|step| step.1 = Fault::None);
            steps
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_group_tells_what_the_lists_of_all_matches_and_alerts_tell(steps in any_steps(), three: bool) {
            let count = if three { 3 } else { 2 };
            // Two events in the same millisecond, and for a threshold none, since it keeps either of them.
            for (keys, together) in [(SUPPRESS, 2), (FIRST_SEEN, 2), (&THREE.replace('3', &count.to_string()), 1)] {
                let a_match = |event: u64| Match { at: grid(event / together), event, counted: vec![event] };
                let steps: Vec<_> = steps.iter().map(|(event, fault, wait)| (a_match(*event), *fault, *wait)).collect();
                let story = play(&stage(keys), &steps, false, true);

                let faults = steps.iter().filter(|(_, fault, _)| *fault != Fault::None).count();
                let kept: BTreeSet<_> = story.letters.iter().flat_map(|letter| &letter.tells).chain(&story.untold).collect();
                let alerted = |at: usize| story.alerts.iter().any(|alert| alert.event == story.matches[at].event);
                for (place, new) in story.matches.iter().enumerate() {
                    let tellers = story.told.get(&place).map_or(0, BTreeSet::len);
                    assert!(tellers > 0 || kept.contains(&place) || alerted(place), "left out: {place} of {story:?}");
                    assert!(tellers <= 1 + faults, "told too often: {place} of {story:?}");
                    let near = story.alerts.iter().any(|alert| alert.at.abs_diff(new.at) < SPAN);
                    assert!(keys != SUPPRESS || near || story.alerts.len() > 16, "no alert in the window of {new:?}");
                }
                assert!(keys.starts_with("\"threshold") || story.alerts[0].event == story.matches[0].event);
            }
        }

        #[test]
        fn a_threshold_counts_different_texts(mut steps in any_steps(), kinds in 2..6_u64) {
            let keys = r#""threshold": {"count": 3, "by": ["a"], "within": "60s", "distinct": "b"}"#;
            let counted = |event: u64| match event % 5 {
                0 => Vec::new(),
                1 => vec![event % kinds, event % 7 + 10],
                _ => vec![event % kinds],
            };
            let a_match = |event: u64| Match { at: grid(event / 2), event, counted: counted(event) };
            let of = |steps: &[(u64, Fault, u64)]| -> Vec<Step> {
                steps.iter().map(|(event, fault, wait)| (a_match(*event), *fault, *wait)).collect()
            };
            play(&stage(keys), &of(&steps), false, false);
            steps.sort_by_key(|(event, ..)| event / 2);
            play(&stage(keys), &of(&steps), true, true);
        }

        /// Whichever log of a window comes first.
        #[test]
        fn a_window_reaches_its_threshold_in_any_order(mut events in Just((0..10_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let (stage, mut group) = (stage(&THREE.replace('3', "10")), Group::default());
            let last = events.pop().unwrap();
            let a_match = |event: u64| Match { at: 5 * SPAN + event * (SPAN - 1) / 9, event, counted: vec![event] };
            for event in events.iter().cycle().take(20) {
                prop_assert_eq!(a_match(*event).decide(&mut group, &stage, 0), Outcome::Held);
            }
            let told = a_match(last).decide(&mut group, &stage, 0);
            prop_assert!(matches!(told, Outcome::Passes(Some(Held { count: 20, .. }))), "{:?}", told);
        }
    }

    #[test]
    fn each_of_many_alerts_that_are_on_their_way_at_once_tells_its_own_part() {
        let (stage, mut group) = (stage(SUPPRESS), Group::default());
        for window in 0..40 {
            for (n, outcome) in
                [Outcome::Passes((window > 0).then(|| Held::one(time(window * SPAN - SPAN + 1)))), Outcome::Held]
                    .into_iter()
                    .enumerate()
            {
                let (at, event) = (window * SPAN + n as u64, window * 2 + n as u64);
                assert_eq!(Match { at, event, counted: vec![] }.decide(&mut group, &stage, 0), outcome, "{at}");
            }
        }
    }

    #[test]
    fn what_was_not_published_is_told_by_the_next_alert_after_the_longest_invocation() {
        let (stage, mut group) = (stage(SUPPRESS), Group::default());
        let mut at = |span: u64, event: u64, now: u64, is_published: bool| {
            let new = Match { at: span * SPAN, event, counted: vec![event] };
            let outcome = new.decide(&mut group, &stage, now);
            if is_published {
                group.published(event);
            }
            match outcome {
                Outcome::Passes(held) => held.map_or(0, |held| held.count),
                Outcome::Held => 1_000,
            }
        };
        assert_eq!((at(1, 1, 0, true), at(1, 2, 0, false)), (0, 1_000));
        assert_eq!(at(2, 3, 100, false), 1, "it is not published");
        assert_eq!(at(2, 3, 200, false), 1, "nor is it by a retry");
        assert_eq!(at(3, 4, 1_000, true), 0, "it may still be on its way");
        assert_eq!(at(4, 5, 1_001, true), 1, "and now it is not");
        assert_eq!(at(5, 6, 9_000, true), 0, "it has been told");
        assert_eq!(at(2, 3, 9_000, true), 0, "by another one");
    }
}

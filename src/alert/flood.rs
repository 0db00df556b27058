//! The alerts of a rule beyond its limit in one log, gathered for the summary that stands for them.

use super::call::Call;
use super::message::NOTHING;
use super::tally::{Tally, Top};
use super::told::{Held, Receipt, Told};
use crate::rules::Rule;

/// The most callers, and the most kinds of event, that are told apart of a rule's alerts on one log. AWS's services make a
/// few hundred kinds of event in a busy log.
pub(crate) const KINDS_LIMIT: usize = 1_000;

/// The longest name of a caller that a flood keeps, in bytes. An ARN has 2,048 at most; other texts may have any length.
const CALLER_LIMIT: usize = 2_048;

/// The longest other text that a flood keeps, in bytes. An attribute's value is no longer.
const TEXT_LIMIT: usize = 256;

/// How many bytes of texts the floods of one log may keep of callers and kinds of event.
pub(crate) const FLOODS_ROOM: usize = 512 << 10;

#[derive(Debug)]
pub(crate) struct Flood<'f> {
    pub(super) rule: &'f Rule,
    /// How many there are.
    pub(super) more: u64,
    /// The sum of the hashes of the eventIDs, which does not depend on their order.
    pub(super) events: u128,
    /// The earliest and the latest `eventTime`.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    callers: Tally<String>,
    /// By source and name of the event.
    kinds: Tally<(String, String)>,
    /// What they had to tell of matches that were held back, and their groups.
    pub(super) held: Option<Held>,
    pub(super) receipts: Vec<Receipt>,
    /// The attributes that all of them have in common; `None` before the first one.
    common: Option<Vec<(&'static str, String)>>,
}

impl<'f> Flood<'f> {
    pub(crate) fn new(rule: &'f Rule) -> Self {
        let (callers, kinds) = (Tally::new(KINDS_LIMIT), Tally::new(KINDS_LIMIT));
        Flood {
            rule,
            more: 0,
            events: 0,
            first: None,
            last: None,
            callers,
            kinds,
            held: None,
            receipts: Vec::new(),
            common: None,
        }
    }

    /// Adds an alert on the event with this hash. `room` is what is left of [`FLOODS_ROOM`].
    pub(crate) fn add(&mut self, call: &Call<'_>, event: Option<u128>, room: &mut usize) {
        let mut attributes = call.attributes();
        for (_, value) in &mut attributes {
            *value = cut(value, TEXT_LIMIT);
        }
        match &mut self.common {
            Some(common) => common.retain(|(name, value)| attributes.contains(&(*name, value.as_str()))),
            None => self.common = Some(attributes.into_iter().map(|(name, value)| (name, value.to_owned())).collect()),
        }
        self.more += 1;
        self.events = self.events.wrapping_add(event.unwrap_or_default());
        if let Some(time) = call.time.as_deref().map(|time| cut(time, TEXT_LIMIT)) {
            // Times of one form sort as text.
            if self.first.as_deref().is_none_or(|first| time < first) {
                self.first = Some(time.to_owned());
            }
            if self.last.as_deref().is_none_or(|last| time > last) {
                self.last = Some(time.to_owned());
            }
        }
        let who = cut(call.who.as_deref().unwrap_or(NOTHING), CALLER_LIMIT);
        self.callers.count(who, who.len(), room);
        let kind = [&call.event_source, &call.event_name].map(|text| text.as_deref().unwrap_or(NOTHING));
        let kind = kind.map(|text| cut(text, TEXT_LIMIT).to_owned());
        let size = kind.iter().map(String::len).sum();
        self.kinds.count(&kind.into(), size, room);
    }

    /// Adds what an alert had to tell, as far as there is room.
    pub(crate) fn add_told(&mut self, told: &Told<'_>, room: &mut usize) {
        if let (Some(held), Some(left)) = (told.held, room.checked_sub(size_of::<Receipt>())) {
            *room = left;
            self.held = Some(self.held.map_or(held, |before| before.and(held)));
            self.receipts.push(told.receipt);
        }
    }

    /// The `eventTime` of the latest one.
    pub(crate) fn latest(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The attributes that all of them have in common.
    pub(super) fn attributes(&self) -> Vec<(&'static str, &str)> {
        self.common.iter().flatten().map(|(name, value)| (*name, value.as_str())).collect()
    }

    pub(super) fn top_callers(&self, n: usize) -> Top<'_, String> {
        self.callers.top(n, self.more)
    }

    /// The events with the most alerts, by source and name.
    pub(super) fn top_kinds(&self, n: usize) -> Top<'_, (String, String)> {
        self.kinds.top(n, self.more)
    }
}

fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

//! The alerts of a rule beyond its limit in one log, gathered for the summary that stands for them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::call::Call;
use super::id;
use super::message::NOTHING;
use super::render::Principal;
use super::sanitize::truncate;
use crate::rules::Rule;

/// The most callers that a flood tells apart.
const CALLERS_LIMIT: usize = 1_000;

/// The longest text that a flood keeps of a record, in bytes. An ARN has 2,048 at most; other texts may have any length.
const TEXT_LIMIT: usize = 2_048;

/// The alerts of one rule beyond its limit.
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
    /// The number of alerts by caller. Of very many callers, only the first ones are told apart.
    callers: BTreeMap<String, u64>,
    /// The attributes that all of them have in common; `None` before the first one.
    common: Option<BTreeMap<&'static str, String>>,
}

impl<'f> Flood<'f> {
    pub(crate) fn new(rule: &'f Rule) -> Self {
        let (callers, common) = (BTreeMap::new(), None);
        Flood { rule, more: 0, events: 0, first: None, last: None, callers, common }
    }

    pub(crate) fn add(&mut self, call: &Call) {
        let attributes = call.attributes();
        match &mut self.common {
            Some(common) => common.retain(|name, value| attributes.contains(&(*name, value.as_str()))),
            None => self.common = Some(attributes.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()),
        }
        self.more += 1;
        self.events = self.events.wrapping_add(id::hash(call.event_id.as_deref()));
        if let Some(time) = call.time.clone().map(|time| truncate(time, TEXT_LIMIT, "")) {
            // Times of one form sort as text.
            self.first = Some(self.first.take().map_or_else(|| time.clone(), |first| first.min(time.clone())));
            self.last = self.last.take().max(Some(time));
        }
        let who = call.who.clone().map_or_else(|| NOTHING.to_owned(), |who| truncate(who, TEXT_LIMIT, ""));
        if self.callers.len() < CALLERS_LIMIT || self.callers.contains_key(&who) {
            *self.callers.entry(who).or_default() += 1;
        }
    }

    /// The value of an attribute, if all of them have it in common.
    pub(super) fn common(&self, name: &str) -> Option<&str> {
        self.common.as_ref()?.get(name).map(String::as_str)
    }

    /// The callers with the most calls, most first.
    pub(super) fn top_callers(&self, n: usize) -> Vec<Principal<'_>> {
        let mut callers: Vec<_> = self.callers.iter().map(|(who, count)| Principal { who, count: *count }).collect();
        callers.sort_by_key(|caller| Reverse(caller.count));
        callers.truncate(n);
        callers
    }
}

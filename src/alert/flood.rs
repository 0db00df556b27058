//! Alerts of a rule beyond its limit in one log, and the summary that stands for them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::call::Call;
use super::id;
use super::render::{Content, Detail, Line};
use super::sanitize::truncate;
use super::{Alert, Context, NOTHING, attributes, to_subject};
use crate::rules::model::Rule;

/// The most callers that a flood tells apart.
const CALLERS_LIMIT: usize = 1_000;

/// The most callers that a summary names.
const TOP_CALLERS: usize = 5;

/// The longest text that a flood keeps of a record, in bytes. An ARN has 2,048 at most; other texts may have any length.
const TEXT_LIMIT: usize = 2_048;

/// The alerts of one rule beyond its limit.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    /// How many there are.
    more: u64,
    /// A number that stands for the events, in any order, and is the same in every environment.
    events: u128,
    /// The earliest and the latest `eventTime`.
    first: Option<String>,
    last: Option<String>,
    /// The number of alerts by caller. Of very many callers, only the first ones are told apart.
    callers: BTreeMap<String, u64>,
    common: Option<Common>,
}

/// The properties that all alerts of a flood have in common; `None` where they differ.
#[derive(Debug, PartialEq)]
struct Common {
    account: Option<String>,
    region: Option<String>,
    event_source: Option<String>,
    event_name: Option<String>,
    result: Option<String>,
}

impl Flood {
    /// Adds an alert about this call.
    pub(crate) fn add(&mut self, call: &Call) {
        let one = Common {
            account: call.account.clone(),
            region: call.region.clone(),
            event_source: call.event_source.clone(),
            event_name: call.event_name.clone(),
            result: Some(call.result().to_owned()),
        };
        let same = |mine: Option<String>, others: Option<String>| mine.filter(|mine| others.as_ref() == Some(mine));
        self.common = Some(match self.common.take() {
            None => one,
            Some(all) => Common {
                account: same(all.account, one.account),
                region: same(all.region, one.region),
                event_source: same(all.event_source, one.event_source),
                event_name: same(all.event_name, one.event_name),
                result: same(all.result, one.result),
            },
        });
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

    /// The callers with the most calls, most first.
    fn top_callers(&self) -> Vec<Principal<'_>> {
        let mut callers: Vec<_> = self.callers.iter().map(|(who, count)| Principal { who, count: *count }).collect();
        callers.sort_by_key(|caller| Reverse(caller.count));
        callers.truncate(TOP_CALLERS);
        callers
    }
}

/// The key `summary` of a summary in JSON.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    more: u64,
    first: Option<&'a str>,
    last: Option<&'a str>,
    principals: Vec<Principal<'a>>,
}

#[derive(Serialize)]
struct Principal<'a> {
    who: &'a str,
    count: u64,
}

/// Makes the message that stands for a rule's flood.
pub(crate) fn summary(rule: &Rule, flood: &Flood, context: &Context<'_>) -> Alert {
    let callers = flood.top_callers();
    let limit = context.filter.max_alerts_per_log.unwrap_or_default();
    let common = flood.common.as_ref();
    let account = common.and_then(|common| common.account.as_deref());
    let region = common.and_then(|common| common.region.as_deref());
    let place = context.place(account, region);
    let top: Vec<_> = callers.iter().map(|caller| format!("{} ({})", caller.who, caller.count)).collect();
    let strings = [
        ("eventSource", common.and_then(|common| common.event_source.as_deref())),
        ("eventName", common.and_then(|common| common.event_name.as_deref())),
        ("awsRegion", region),
        ("accountId", account),
        ("result", common.and_then(|common| common.result.as_deref())),
        ("severity", Some(rule.severity.name())),
    ];
    let message = Content {
        rules: &[rule],
        subject: to_subject(&format!("[{}] {} more alerts of {}{place}", rule.severity, flood.more, rule.name)),
        attributes: attributes(&strings, &[rule]),
        original_lines: Vec::new(),
        lines: vec![
            Line::new("Rule", Some(format!("{} ({})", rule.name, rule.severity))),
            Line::new("More", Some(format!("{} alerts beyond the first {limit} of this log", flood.more))),
            Line::new("First", flood.first.clone()),
            Line::new("Last", flood.last.clone()),
            Line::new("Who", Some(top.join(", "))),
            Line::new("Account", account.map(|account| context.account_in_full(account))),
            Line::new("Log", Some(context.log.to_owned())),
        ],
        detail: Detail::Summary(Summary {
            more: flood.more,
            first: flood.first.as_deref(),
            last: flood.last.as_deref(),
            principals: callers,
        }),
        // The events are part of it: after a log that broke off, a retry may find more of them, and a key may get
        // another log.
        id: Some(format!("summary of {} {} in {} {:032x}", flood.more, rule.name, context.log, flood.events)),
        account: account.map(str::to_owned),
        time: None,
    };
    message.into_alert(context)
}

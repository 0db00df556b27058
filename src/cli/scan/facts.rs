//! The facts of a match that the summary counts. Most of them are gathered only if somebody asks for them.

use std::borrow::Cow;

use super::what_if::{Tried, WhatIf};
use crate::alert::Call;
use crate::evaluate::Match;
use crate::log::Record;

/// Who called what.
#[derive(Debug, Default)]
pub(super) struct Facts<'f> {
    pub(super) who: Option<String>,
    pub(super) event_name: Option<String>,
    pub(super) more: Option<Box<More<'f>>>,
}

/// Where a call was made, and what would become of it otherwise.
#[derive(Debug)]
pub(super) struct More<'f> {
    pub(super) account: Option<String>,
    pub(super) region: Option<String>,
    pub(super) address: Option<String>,
    pub(super) tried: Tried<'f>,
}

impl<'f> Facts<'f> {
    /// The facts of a record's match, of which nobody knows yet what becomes.
    pub(super) fn names(record: &Record<'_>) -> Self {
        let event_name = record.shown().text("eventName").map(Cow::into_owned);
        Facts { who: Call::caller(record), event_name, more: None }
    }

    /// The facts of a match of a record.
    pub(super) fn of(matched: &Match<'f>, record: &Record<'_>, call: &Call<'_>, what_if: Option<&'f WhatIf>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let more = what_if.map(|what_if| {
            let (account, region) = (owned(call.account.as_deref()), owned(call.region.as_deref()));
            let address = owned(record.shown().text("sourceIPAddress").as_deref());
            Box::new(More { account, region, address, tried: what_if.tried(matched, record) })
        });
        Facts { who: call.who.clone(), event_name: owned(call.event_name.as_deref()), more }
    }

    /// The memory that its texts take, in bytes, about.
    pub(super) fn size(&self) -> usize {
        const MORE: usize = 512;
        let texts = [&self.who, &self.event_name];
        let of = |texts: &[&Option<String>]| texts.iter().copied().flatten().map(|text| text.len() + 32).sum::<usize>();
        let more = self.more.as_ref();
        let more = more.map_or(0, |it| MORE + of(&[&it.account, &it.region, &it.address]) + it.tried.size());
        of(&texts) + more
    }
}

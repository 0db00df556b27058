//! The circumstances that all alerts of a log have in common.

use std::borrow::Cow;

use crate::rules::{Filter, Format};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) filter: &'a Filter,
    /// The log file's name.
    pub(crate) log: &'a str,
    /// Overrides the topics' own, for alerts that are not to be published.
    pub(crate) format: Option<Format>,
}

impl Context<'_> {
    /// An account's number, with its name beside it.
    pub(super) fn account_in_full<'t>(&self, account: &'t str) -> Cow<'t, str> {
        let name = self.filter.accounts.get(account);
        name.map_or(account.into(), |name| format!("{account} ({name})").into())
    }
}

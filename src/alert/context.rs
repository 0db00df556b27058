//! The circumstances that all alerts of a log have in common.

use crate::rules::{Filter, Format};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) filter: &'a Filter,
    /// The log file's name.
    pub(crate) log: &'a str,
    /// Overrides the topics' own.
    pub(crate) format: Option<Format>,
}

impl Context<'_> {
    /// An account's number, with its name beside it.
    pub(super) fn account_in_full(&self, account: &str) -> String {
        let name = self.filter.accounts.get(account);
        name.map_or_else(|| account.to_owned(), |name| format!("{account} ({name})"))
    }
}

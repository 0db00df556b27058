//! What is asked of the logs of a scan.

use super::what_if::WhatIf;
use crate::rules::{Filter, Format};

#[derive(Clone, Copy)]
pub(in crate::cli) struct Question<'f> {
    pub(in crate::cli) filter: &'f Filter,
    /// Where it is given, only records that a rule of it matches are looked at.
    pub(in crate::cli) only: Option<&'f Filter>,
    /// Of the alerts.
    pub(in crate::cli) format: Format,
    /// Where details are asked for.
    pub(in crate::cli) what_if: Option<&'f WhatIf>,
}

//! A record as it stands in its log file, and errors about it.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::record::readable;

/// A record as it stands in the log: the two fields that most rules ask for, and the rest unparsed.
#[derive(Debug)]
pub struct RawRecord<'a> {
    /// `eventSource`, such as `iam.amazonaws.com`; `None` where it is missing or not a string.
    pub event_source: Option<Cow<'a, str>>,
    /// `eventName`, such as `CreateUser`; `None` where it is missing or not a string.
    pub event_name: Option<Cow<'a, str>>,
    /// The record, verbatim: one JSON value, possibly with invalid UTF-8 in its strings.
    pub bytes: &'a [u8],
    /// Whether a search of the bytes finds every plain text of the record. It does not where plain characters are written
    /// as escapes.
    pub(crate) searchable: bool,
    /// How many records the log has before this one.
    pub(crate) number: u64,
    /// As [`readable`] gives it, once it has been asked for.
    text: OnceCell<Cow<'a, str>>,
}

impl<'a> RawRecord<'a> {
    pub(super) fn new(
        [event_source, event_name]: [Option<Cow<'a, str>>; 2],
        bytes: &'a [u8],
        searchable: bool,
        number: u64,
    ) -> Self {
        RawRecord { event_source, event_name, bytes, searchable, number, text: OnceCell::new() }
    }

    /// The record as text.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| readable(self.bytes))
    }

    /// An error about this record.
    pub fn malformed(&self, problem: &str) -> Malformed {
        Malformed::after(self.number, problem)
    }
}

/// The reason why a log file can't be read further.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    pub(super) fn whole(problem: &str) -> Self {
        Malformed(problem.to_owned())
    }

    pub(super) fn after(records: u64, problem: &str) -> Self {
        let plural = if records == 1 { "" } else { "s" };
        Malformed(format!("{problem}, after {records} whole record{plural}"))
    }
}

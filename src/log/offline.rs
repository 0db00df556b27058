//! The forms in which people have records offline, beside CloudTrail's log files: tells what an item is.
//!
//! A file then holds any number of items, one after the other or in arrays. An item is a log file's document, a record, what
//! `aws cloudtrail lookup-events` prints, one of the events in that, or a string that holds a record as JSON.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::record::{Record, readable};
use super::record_scanner::{RecordScanner, is_blank};
use super::redact::string;

pub(super) const RECORDS: &str = "Records";
pub(super) const EVENTS: &str = "Events";
const EVENT: &str = "CloudTrailEvent";

/// What is told of a document without records.
pub(super) const FORMS: &str = ", and is not a record (as JSON lines or an array hold them) or the output of `aws \
     cloudtrail lookup-events`";

/// An object in one of the forms.
pub(super) enum Item {
    /// A document with a list of records or events; or nothing that has a form, which the reader of documents finds out.
    Document,
    Record,
    /// An event of `lookup-events`, and the JSON of the record in it, if it is a string.
    Event(Option<String>),
}

/// Whether the first key of an object is that of a list; `None` if too little of it has arrived. Nearly all documents have
/// that key first, and need not be held as a whole.
pub(super) fn begins_with_list(object: &[u8]) -> Option<bool> {
    const KEYS: [&[u8]; 2] = [b"\"Records\"", b"\"Events\""];
    let key = object.iter().skip(1).position(|byte| !is_blank(*byte)).map_or(&[][..], |at| &object[1 + at..]);
    if KEYS.iter().any(|list| key.starts_with(list)) {
        return Some(true);
    }
    let is_cut = KEYS.iter().any(|list| list.starts_with(key));
    (!is_cut).then_some(false)
}

/// What a whole object is. The scanner has looked at it.
pub(super) fn item(object: &[u8], scanner: &RecordScanner) -> Item {
    static FINDERS: LazyLock<[Finder<'_>; 3]> =
        LazyLock::new(|| ["\"Records\"", "\"Events\"", "\"CloudTrailEvent\""].map(Finder::new));
    // Nearly all are records that need not be parsed.
    let names_others = FINDERS.iter().any(|finder| finder.find(object).is_some());
    if scanner.has_keys() && !scanner.has_plain_escapes() && !names_others {
        return Item::Record;
    }
    let json = readable(object);
    let Ok(record) = Record::parse(&json) else { return Item::Document };
    let has = |key: &&str| record.raw_json(&[key]).is_some();
    if [RECORDS, EVENTS].iter().any(has) {
        Item::Document
    } else if let Some(json) = record.raw_json(&[EVENT]) {
        Item::Event(string(json).as_deref().map(trimmed))
    } else if ["eventName", "eventSource", "eventID"].iter().any(has) {
        Item::Record
    } else {
        Item::Document
    }
}

/// The text of a JSON string.
pub(super) fn text(json: &[u8]) -> Option<String> {
    string(&readable(json)).as_deref().map(trimmed)
}

fn trimmed(text: &str) -> String {
    text.trim_matches([' ', '\n', '\r', '\t']).to_owned()
}

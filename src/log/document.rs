//! The JSON document of a log file: finds its records while the text is still arriving.

use std::mem;

use serde::de::IgnoredAny;

use super::offline::{self, Item};
use super::raw_record::{Malformed, RawRecord};
use super::record_scanner::{RecordScanner, is_blank};

/// The largest record, in bytes of JSON. CloudTrail's own limit for
/// [an event](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html) is 256 KB.
pub(super) const RECORD_LIMIT: usize = 16 << 20;

/// How much text is looked at in one go, in bytes; the window grows only for a record that is longer.
const WINDOW: usize = 128 << 10;

/// A byte order mark, which some programs write before JSON.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A window over this size, in bytes, is a large one. CloudTrail's own records need none.
const LARGE: usize = 512 << 10;

const CUT_OFF: &str = "the JSON is cut off";
const NO_OBJECT: &str = "it is not a JSON object";
const NO_RECORDS: &str = "it has no top-level Records";

/// The most arrays that are open at once around an item.
const ARRAYS_LIMIT: usize = 64;

/// The next token that the document needs: outside of `Records`, and between its records; offline, also between items.
#[derive(Clone, Copy, Default, PartialEq)]
enum Expect {
    #[default]
    Document,
    KeyOrEnd,
    Key,
    Colon(Key),
    Value(Key),
    CommaOrEnd,
    RecordOrEnd,
    Record,
    CommaOrRecordsEnd,
    ItemOrEnd,
    Item,
    CommaOrItemsEnd,
    Nothing,
}

/// A top-level key of the document. Only offline, `Events` counts.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Records,
    Events,
    Other,
}

/// An array of items.
enum Items {
    /// An item itself.
    Bare,
    /// The `Events` of a document.
    Events,
}

/// What an item is, at the front of the window.
enum Found {
    Array,
    Document,
    /// A record in a value of this length.
    Record(usize),
}

/// A JSON document whose text is written into [`space`](Self::space) as it arrives. Offline, several may follow each other,
/// and each is an [item](offline).
#[derive(Default)]
pub(super) struct Document {
    /// The window: `start..end` has arrived and is not consumed.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    expect: Expect,
    is_offline: bool,
    /// The arrays of items that are open. None is open in a log file of CloudTrail.
    arrays: Vec<Items>,
    /// The record that was found as a text in another value.
    text: String,
    /// How many records have been handed out.
    records: u64,
    /// Whether the document has `Records`, or `Events`.
    has_list: bool,
    /// The record at the front of the window, and its length once it has been found.
    scanner: RecordScanner,
    record_length: usize,
    /// The length of the value that was incomplete must double before it is parsed again. A huge value would else be
    /// parsed once for every piece.
    retry_at: usize,
    /// The error that ended the document.
    malformed: Option<Malformed>,
}

impl Document {
    pub(super) fn new(is_offline: bool) -> Self {
        Document { is_offline, ..Document::default() }
    }

    /// Forgets the document, for the next one, and keeps the window.
    pub(super) fn restart(&mut self) {
        *self = Document { buffer: mem::take(&mut self.buffer), is_offline: self.is_offline, ..Document::default() };
    }

    pub(super) fn is_offline(&self) -> bool {
        self.is_offline
    }

    /// Room for more text, never empty. [`arrived`](Self::arrived) says how much of it was written.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize((self.buffer.len() * 2).clamp(WINDOW, RECORD_LIMIT + WINDOW), 0);
        } else if self.has_large_window() && self.end < WINDOW {
            // The record that needed it is done.
            self.buffer.truncate(WINDOW);
            self.buffer.shrink_to_fit();
        }
        // Not all of a large window: it shrinks only when nearly all text in it has been consumed.
        let room = self.buffer.len().min(self.end + WINDOW);
        &mut self.buffer[self.end..room]
    }

    /// Whether the next [`space`](Self::space) will make the window a large one.
    pub(super) fn needs_large_window(&self) -> bool {
        self.buffer.len() == LARGE && self.end - self.start == LARGE
    }

    pub(super) fn has_large_window(&self) -> bool {
        self.buffer.len() > LARGE
    }

    pub(super) fn arrived(&mut self, length: usize) {
        self.end += length;
    }

    /// Whether a whole record has arrived, for [`take_record`](Self::take_record); if not, more text is needed. `at_end`
    /// says that no more will come. After an error, every call gives the same one: text behind broken JSON may be anything
    /// that a caller wrote.
    pub(super) fn has_record(&mut self, at_end: bool) -> Result<bool, Malformed> {
        if let Some(malformed) = &self.malformed {
            return Err(malformed.clone());
        }
        self.text.clear();
        let found = self.find(at_end).inspect_err(|malformed| self.malformed = Some(malformed.clone()))?;
        self.record_length = found.unwrap_or_default();
        Ok(found.is_some())
    }

    /// Hands out the record that was found. An error about its JSON shows only if `eventSource` or `eventName` is hard to
    /// read.
    pub(super) fn take_record(&mut self) -> Result<RawRecord<'_>, Malformed> {
        let Document { buffer, start, record_length, text, records, scanner, malformed, .. } = self;
        let found = &buffer[*start..*start + *record_length];
        let bytes = if text.is_empty() { found } else { text.as_bytes() };
        let number = *records;
        let fields = if bytes.first() == Some(&b'{') { scanner.fields(bytes) } else { Ok(Default::default()) };
        let searchable = !scanner.has_plain_escapes();
        scanner.clear();
        match fields {
            Ok(fields) => {
                *start += found.len();
                *records += 1;
                Ok(RawRecord::new(fields, bytes, searchable, number))
            }
            Err(problem) => Err(malformed.insert(Malformed::after(number, &problem)).clone()),
        }
    }

    /// An error about what follows the records so far.
    pub(super) fn malformed(&self, problem: &str) -> Malformed {
        Malformed::after(self.records, problem)
    }

    pub(super) fn finish(&self) -> Result<(), Malformed> {
        match self.expect {
            Expect::Nothing => Ok(()),
            Expect::Document => Err(Malformed::whole("it is empty")),
            _ => Err(self.malformed(CUT_OFF)),
        }
    }

    /// Consumes everything up to the next record; gives the length of that, once it has arrived whole.
    fn find(&mut self, at_end: bool) -> Result<Option<usize>, Malformed> {
        if !at_end && self.end - self.start < self.retry_at {
            return Ok(None);
        }
        self.retry_at = 0;
        loop {
            self.start += self.buffer[self.start..self.end].iter().take_while(|b| is_blank(**b)).count();
            let Some(&byte) = self.buffer[self.start..self.end].first() else { return Ok(None) };
            self.expect = match (self.expect, byte) {
                (Expect::Document | Expect::Nothing | Expect::ItemOrEnd | Expect::Item, b'{' | b'[' | b'"')
                    if self.is_offline =>
                {
                    match self.item(byte, at_end)? {
                        None => return Ok(None),
                        Some(Found::Array) => self.open_array(Items::Bare)?,
                        Some(Found::Document) => {
                            self.has_list = false;
                            self.skip_byte(Expect::KeyOrEnd)
                        }
                        Some(Found::Record(length)) => {
                            self.expect = self.behind_item();
                            return Ok(Some(length));
                        }
                    }
                }
                (Expect::Document, b'{') => self.skip_byte(Expect::KeyOrEnd),
                (Expect::Document | Expect::Nothing, first)
                    if first == MARK[0] && (self.is_offline || self.expect == Expect::Document) =>
                {
                    let window = &self.buffer[self.start..self.end];
                    match window.strip_prefix(MARK) {
                        Some(_) => self.start += MARK.len(),
                        None if MARK.starts_with(window) && !at_end => return Ok(None),
                        None => return Err(self.unfit(NO_OBJECT)),
                    }
                    self.expect
                }
                (Expect::KeyOrEnd | Expect::CommaOrEnd, b'}') if !self.has_list => {
                    let forms = if self.is_offline { offline::FORMS } else { "" };
                    return Err(self.unfit(&format!("{NO_RECORDS}{forms}")));
                }
                (Expect::KeyOrEnd | Expect::CommaOrEnd, b'}') => {
                    let next = self.behind_item();
                    self.skip_byte(next)
                }
                (Expect::KeyOrEnd | Expect::Key, b'"') => {
                    let Some(length) = self.value(at_end)? else { return Ok(None) };
                    let key = serde_json::from_slice::<String>(&self.buffer[self.start..self.start + length]);
                    self.start += length;
                    Expect::Colon(match key.as_deref() {
                        Ok(offline::RECORDS) => Key::Records,
                        Ok(offline::EVENTS) if self.is_offline => Key::Events,
                        _ => Key::Other,
                    })
                }
                (Expect::Colon(key), b':') => self.skip_byte(Expect::Value(key)),
                (Expect::Value(Key::Records), b'[') => {
                    self.has_list = true;
                    self.skip_byte(Expect::RecordOrEnd)
                }
                (Expect::Value(Key::Records), _) => return Err(self.unfit("its Records are not an array")),
                (Expect::Value(Key::Events), b'[') => self.open_array(Items::Events)?,
                (Expect::Value(Key::Events), _) => return Err(self.unfit("its Events are not an array")),
                (Expect::Value(Key::Other), _) => {
                    let Some(length) = self.value(at_end)? else { return Ok(None) };
                    self.start += length;
                    Expect::CommaOrEnd
                }
                (Expect::CommaOrEnd, b',') => self.skip_byte(Expect::Key),
                (Expect::RecordOrEnd | Expect::CommaOrRecordsEnd, b']') => self.skip_byte(Expect::CommaOrEnd),
                (Expect::CommaOrRecordsEnd, b',') => self.skip_byte(Expect::Record),
                (Expect::RecordOrEnd | Expect::Record, _) => {
                    let Some(length) = self.record(at_end)? else { return Ok(None) };
                    self.expect = Expect::CommaOrRecordsEnd;
                    return Ok(Some(length));
                }
                (Expect::ItemOrEnd | Expect::CommaOrItemsEnd, b']') => {
                    let next = match self.arrays.pop() {
                        Some(Items::Events) => {
                            self.has_list = true;
                            Expect::CommaOrEnd
                        }
                        _ => self.behind_item(),
                    };
                    self.skip_byte(next)
                }
                (Expect::CommaOrItemsEnd, b',') => self.skip_byte(Expect::Item),
                (Expect::ItemOrEnd | Expect::Item, _) => {
                    return Err(self.malformed("something that is not a record follows"));
                }
                (Expect::Document, _) => return Err(Malformed::whole(NO_OBJECT)),
                (Expect::Nothing, _) => return Err(self.malformed("something follows the end of the JSON")),
                (_, byte) => {
                    let byte = byte.escape_ascii();
                    return Err(self.malformed(&format!("the JSON is broken (`{byte}` is out of place)")));
                }
            };
        }
    }

    fn skip_byte(&mut self, next: Expect) -> Expect {
        self.start += 1;
        next
    }

    /// An error that is about the whole file, unless there were records before.
    fn unfit(&self, problem: &str) -> Malformed {
        if self.records == 0 { Malformed::whole(problem) } else { self.malformed(problem) }
    }

    fn open_array(&mut self, array: Items) -> Result<Expect, Malformed> {
        if self.arrays.len() == ARRAYS_LIMIT {
            return Err(self.malformed(&format!("over {ARRAYS_LIMIT} arrays are inside of each other")));
        }
        self.arrays.push(array);
        Ok(self.skip_byte(Expect::ItemOrEnd))
    }

    /// The next token after an item.
    fn behind_item(&self) -> Expect {
        if self.arrays.is_empty() { Expect::Nothing } else { Expect::CommaOrItemsEnd }
    }

    /// Tells what the item at the front of the window is, which begins with this byte; `None` while more of it is needed.
    /// All that can't be a record is read as a document, which finds out what is wrong.
    fn item(&mut self, first: u8, at_end: bool) -> Result<Option<Found>, Malformed> {
        if first == b'[' {
            return Ok(Some(Found::Array));
        }
        if first == b'"' {
            let Some(length) = self.value(at_end)? else { return Ok(None) };
            let text = offline::text(&self.buffer[self.start..self.start + length]);
            return self.record_in(text, length);
        }
        let window = &self.buffer[self.start..self.end];
        match offline::begins_with_list(window) {
            Some(true) => return Ok(Some(Found::Document)),
            None if !at_end => return self.incomplete(at_end).map(|_| None),
            _ => {}
        }
        let measured = if at_end { self.scanner.finish(window) } else { self.scanner.advance(window) };
        match measured {
            Ok(None) if !at_end && window.len() <= RECORD_LIMIT => return Ok(None),
            Ok(Some(length)) if length <= RECORD_LIMIT => match offline::item(&window[..length], &self.scanner) {
                Item::Record => return Ok(Some(Found::Record(length))),
                Item::Event(text) => return self.record_in(text, length),
                Item::Document => {}
            },
            _ => {}
        }
        self.scanner.clear();
        Ok(Some(Found::Document))
    }

    /// Takes this text for the record that stands in the value of this length.
    fn record_in(&mut self, text: Option<String>, length: usize) -> Result<Option<Found>, Malformed> {
        self.text = text.unwrap_or_default();
        self.scanner.clear();
        let measured = self.scanner.finish(self.text.as_bytes());
        let is_whole = self.text.starts_with('{') && measured == Ok(Some(self.text.len()));
        if is_whole && matches!(offline::item(self.text.as_bytes(), &self.scanner), Item::Record) {
            return Ok(Some(Found::Record(length)));
        }
        Err(self.malformed("a string or CloudTrailEvent that does not hold a record as JSON follows"))
    }

    /// Measures the record at the front of the window; `None` while it is incomplete. An object is scanned; anything else
    /// is parsed.
    fn record(&mut self, at_end: bool) -> Result<Option<usize>, Malformed> {
        let window = &self.buffer[self.start..self.end];
        if window.first() != Some(&b'{') {
            return self.value(at_end);
        }
        let found = if at_end { self.scanner.finish(window) } else { self.scanner.advance(window) };
        match found {
            Err(problem) => Err(self.malformed(&format!("the JSON is broken ({problem})"))),
            Ok(Some(length)) => {
                self.check_length(length)?;
                Ok(Some(length))
            }
            Ok(None) => {
                self.check_length(self.end - self.start)?;
                if at_end { Err(self.malformed(CUT_OFF)) } else { Ok(None) }
            }
        }
    }

    /// Measures the value at the front of the window by parsing it.
    fn value(&mut self, at_end: bool) -> Result<Option<usize>, Malformed> {
        let window = &self.buffer[self.start..self.end];
        let mut values = serde_json::Deserializer::from_slice(window).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let length = values.byte_offset();
                self.check_length(length)?;
                // A number or a literal ends only where something else begins.
                let open_ended = length == window.len() && !matches!(window[length - 1], b'"' | b'}' | b']');
                if open_ended { self.incomplete(at_end) } else { Ok(Some(length)) }
            }
            // A number that stops where a digit must follow is an error to serde_json, even if more may come.
            Some(Err(e))
                if !e.is_eof() && (at_end || !matches!(window.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'))) =>
            {
                Err(self.malformed(&format!("the JSON is broken ({e} after the last record)")))
            }
            _ => self.incomplete(at_end),
        }
    }

    /// Waits for more of the value at the front of the window, within bounds.
    fn incomplete(&mut self, at_end: bool) -> Result<Option<usize>, Malformed> {
        let length = self.end - self.start;
        self.check_length(length)?;
        if at_end {
            return Err(self.malformed(CUT_OFF));
        }
        self.retry_at = (length * 2).min(RECORD_LIMIT + 1);
        Ok(None)
    }

    fn check_length(&self, length: usize) -> Result<(), Malformed> {
        if length <= RECORD_LIMIT {
            return Ok(());
        }
        Err(self.malformed(&format!("a value of over {RECORD_LIMIT} bytes follows")))
    }
}

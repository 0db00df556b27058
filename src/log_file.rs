//! A log file: gzip, in it JSON, in that one record at a time. Bytes are pushed in as they arrive, so that whatever the
//! size of the log only one record of it is in memory. Pure.

use std::borrow::Cow;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::record::{self, Record};

/// The largest record, in bytes of JSON. CloudTrail's own limit for
/// [an event](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html) is 256 KB.
pub const RECORD_LIMIT: usize = 16 << 20;

/// How much inflated JSON is looked at in one go; it grows only for a record that is longer.
const WINDOW: usize = 128 << 10;

/// A record as it stands in the log: what every rule asks for, and the rest unparsed.
#[derive(Debug)]
pub struct RawRecord<'a> {
    /// `eventSource`, such as `iam.amazonaws.com`; `None` where it is missing or no string.
    pub source: Option<Cow<'a, str>>,
    /// `eventName`, such as `CreateUser`; `None` where it is missing or no string.
    pub name: Option<Cow<'a, str>>,
    /// The record, verbatim: one JSON value, possibly with invalid UTF-8 in its strings.
    pub bytes: &'a [u8],
}

/// Why a log file can't be read further: what is wrong, and after how many records.
#[derive(Debug)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads one log file, gzipped (of any number of members) or plain, told by its first byte.
///
/// Call [`push`](Self::push) with its bytes, in pieces of any size, then [`finish`](Self::finish).
pub struct LogFile {
    encoding: Encoding,
    scanner: Scanner,
}

enum Encoding {
    /// No byte has come yet.
    Unknown,
    Plain,
    /// Inside a gzip member.
    Gzip(Decompress),
    /// After a gzip member: another one may follow, nothing else.
    BetweenMembers,
}

impl LogFile {
    /// A log of which nothing has been read.
    #[must_use]
    pub fn new() -> Self {
        LogFile { encoding: Encoding::Unknown, scanner: Scanner::new() }
    }

    /// How many records were handed to the closure so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.scanner.records
    }

    /// Takes the next bytes of the file, and calls `on_record` for each record that they complete.
    ///
    /// # Errors
    /// What is wrong with the file. Every record before that place has been handed over.
    pub fn push(&mut self, bytes: &[u8], on_record: &mut dyn FnMut(&RawRecord<'_>)) -> Result<(), Malformed> {
        let mut rest = bytes;
        loop {
            let (consumed, produced, problem) = self.inflate(rest);
            rest = &rest[consumed..];
            self.scanner.end += produced;
            if problem.is_some() {
                self.scanner.try_at = 0;
            }
            // The records before a corrupt byte come first, then the error.
            self.scanner.scan(false, on_record)?;
            if let Some(problem) = problem {
                return Err(self.scanner.malformed(&problem));
            }
            if produced == 0 {
                if rest.is_empty() {
                    return Ok(());
                }
                if consumed == 0 {
                    return Err(self.scanner.malformed("the gzip data is corrupt (it leads nowhere)"));
                }
            }
        }
    }

    /// Says that the file ends here.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(&mut self, on_record: &mut dyn FnMut(&RawRecord<'_>)) -> Result<(), Malformed> {
        self.scanner.scan(true, on_record)?;
        match self.encoding {
            Encoding::Unknown => Err(Malformed("it is empty".to_owned())),
            Encoding::Gzip(_) => Err(self.scanner.malformed("the gzip data is cut off")),
            Encoding::Plain | Encoding::BetweenMembers => self.scanner.finish(),
        }
    }

    /// Decodes what fits into the window: bytes consumed, bytes produced, and what is wrong after those.
    fn inflate(&mut self, bytes: &[u8]) -> (usize, usize, Option<String>) {
        if let (Encoding::Unknown | Encoding::BetweenMembers, Some(first)) = (&self.encoding, bytes.first()) {
            self.encoding = match (first, &self.encoding) {
                (0x1f, _) => Encoding::Gzip(Decompress::new_gzip(15)),
                (_, Encoding::Unknown) => Encoding::Plain,
                _ => return (0, 0, Some("something that is no gzip member follows the gzip data".to_owned())),
            };
        }
        let room = self.scanner.room();
        match &mut self.encoding {
            Encoding::Unknown | Encoding::BetweenMembers => (0, 0, None),
            Encoding::Plain => {
                let n = bytes.len().min(room.len());
                room[..n].copy_from_slice(&bytes[..n]);
                (n, n, None)
            }
            Encoding::Gzip(member) => {
                let before = (member.total_in(), member.total_out());
                let status = member.decompress(bytes, room, FlushDecompress::None);
                let moved = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(usize::MAX);
                let (consumed, produced) = (moved(member.total_in(), before.0), moved(member.total_out(), before.1));
                let problem = match status {
                    Ok(Status::StreamEnd) => {
                        self.encoding = Encoding::BetweenMembers;
                        None
                    }
                    Ok(Status::Ok | Status::BufError) => None,
                    Err(e) => Some(format!("the gzip data is corrupt ({})", e.message().unwrap_or("bad data"))),
                };
                (consumed, produced, problem)
            }
        }
    }
}

impl Default for LogFile {
    fn default() -> Self {
        Self::new()
    }
}

/// What the scanner expects next, at the level of the document and of its `Records`.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Document,
    KeyOrEnd,
    Key,
    Colon { records: bool },
    Value { records: bool },
    CommaOrEnd,
    RecordOrEnd,
    Record,
    CommaOrRecordsEnd,
    Nothing,
}

/// Finds the records in JSON that arrives in pieces.
struct Scanner {
    /// The window: `start..end` is what has arrived and is not consumed.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    expect: Expect,
    records: u64,
    found_records: bool,
    /// A value that was not complete is not tried again before this many bytes are there: twice what was there the
    /// last time, or else a huge one would be parsed anew at every piece.
    try_at: usize,
}

/// What stands at the front of the window.
enum Front {
    /// A whole value of that length.
    Whole(usize),
    /// The beginning of one.
    Part,
}

impl Scanner {
    fn new() -> Self {
        Scanner {
            buffer: vec![0; WINDOW],
            start: 0,
            end: 0,
            expect: Expect::Document,
            records: 0,
            found_records: false,
            try_at: 0,
        }
    }

    /// Room for more JSON behind what is there; never empty.
    fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize((self.buffer.len() * 2).min(RECORD_LIMIT + WINDOW), 0);
        }
        &mut self.buffer[self.end..]
    }

    fn malformed(&self, what: &str) -> Malformed {
        Malformed(format!("{what}, after {} whole records", self.records))
    }

    /// Consumes all whole values in the window. `last` says that nothing follows.
    fn scan(&mut self, last: bool, on_record: &mut dyn FnMut(&RawRecord<'_>)) -> Result<(), Malformed> {
        if !last && self.end - self.start < self.try_at {
            return Ok(());
        }
        self.try_at = 0;
        loop {
            let is_blank = |b: &&u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
            self.start += self.buffer[self.start..self.end].iter().take_while(is_blank).count();
            let Some(&byte) = self.buffer[self.start..self.end].first() else { return Ok(()) };
            self.expect = match (self.expect, byte) {
                (Expect::Document, b'{') => self.step(Expect::KeyOrEnd),
                (Expect::KeyOrEnd | Expect::CommaOrEnd, b'}') => self.step(Expect::Nothing),
                (Expect::KeyOrEnd | Expect::Key, b'"') => match self.front(last)? {
                    Front::Part => return Ok(()),
                    Front::Whole(length) => {
                        let key = self.take(length);
                        Expect::Colon { records: serde_json::from_slice::<String>(key).is_ok_and(|k| k == "Records") }
                    }
                },
                (Expect::Colon { records }, b':') => self.step(Expect::Value { records }),
                (Expect::Value { records: true }, b'[') => {
                    self.found_records = true;
                    self.step(Expect::RecordOrEnd)
                }
                (Expect::Value { records: true }, _) => return Err(Malformed("its Records are no array".to_owned())),
                (Expect::Value { records: false }, _) => match self.front(last)? {
                    Front::Part => return Ok(()),
                    Front::Whole(length) => {
                        self.take(length);
                        Expect::CommaOrEnd
                    }
                },
                (Expect::CommaOrEnd, b',') => self.step(Expect::Key),
                (Expect::RecordOrEnd | Expect::CommaOrRecordsEnd, b']') => self.step(Expect::CommaOrEnd),
                (Expect::CommaOrRecordsEnd, b',') => self.step(Expect::Record),
                (Expect::RecordOrEnd | Expect::Record, _) => match self.record(last, on_record)? {
                    Front::Part => return Ok(()),
                    Front::Whole(length) => {
                        self.take(length);
                        self.records += 1;
                        Expect::CommaOrRecordsEnd
                    }
                },
                (Expect::Document, _) => return Err(Malformed("it is no JSON object".to_owned())),
                (Expect::Nothing, _) => return Err(self.malformed("something follows the end of the JSON")),
                (expected, _) => return Err(self.malformed(&format!("the JSON is broken ({})", expected.in_words()))),
            };
        }
    }

    fn finish(&self) -> Result<(), Malformed> {
        match self.expect {
            Expect::Nothing if self.found_records => Ok(()),
            Expect::Nothing => Err(Malformed("it has no top-level Records".to_owned())),
            Expect::Document => Err(Malformed("it is empty".to_owned())),
            _ => Err(self.malformed("the JSON is cut off")),
        }
    }

    fn step(&mut self, next: Expect) -> Expect {
        self.start += 1;
        next
    }

    fn take(&mut self, length: usize) -> &[u8] {
        self.start += length;
        &self.buffer[self.start - length..self.start]
    }

    /// Looks at the record at the front of the window and hands it over if it is whole.
    fn record(&mut self, last: bool, on_record: &mut dyn FnMut(&RawRecord<'_>)) -> Result<Front, Malformed> {
        let window = &self.buffer[self.start..self.end];
        // The usual record: both fields are plain strings. serde would read an array as a struct, too.
        if window.first() == Some(&b'{') {
            let mut heads = serde_json::Deserializer::from_slice(window).into_iter::<Head<'_>>();
            match heads.next() {
                Some(Ok(head)) => {
                    let length = heads.byte_offset();
                    let bytes = &window[..length];
                    on_record(&RawRecord { source: head.source.map(|s| s.0), name: head.name.map(|n| n.0), bytes });
                    return Ok(Front::Whole(length));
                }
                Some(Err(e)) if e.is_eof() => return self.part(last),
                _ => {}
            }
        }
        // An odd one, or broken JSON: the next line tells.
        let front = self.front(last)?;
        if let Front::Whole(length) = front {
            let bytes = &self.buffer[self.start..self.start + length];
            let text = record::readable(bytes);
            let record = Record::parse(&text);
            on_record(&RawRecord {
                source: record.string(&["eventSource"]).map(Cow::Owned),
                name: record.string(&["eventName"]).map(Cow::Owned),
                bytes,
            });
        }
        Ok(front)
    }

    /// Measures the value at the front of the window.
    fn front(&mut self, last: bool) -> Result<Front, Malformed> {
        let window = &self.buffer[self.start..self.end];
        let mut values = serde_json::Deserializer::from_slice(window).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let length = values.byte_offset();
                // A number or a literal ends only where something else begins.
                let open_ended = length == window.len() && !matches!(window[length - 1], b'"' | b'}' | b']');
                if open_ended && !last { self.part(last) } else { Ok(Front::Whole(length)) }
            }
            Some(Err(e)) if !e.is_eof() => Err(self.malformed(&format!("the JSON is broken ({e} of what follows)"))),
            _ => self.part(last),
        }
    }

    /// Waits for more of the value at the front of the window, within bounds.
    fn part(&mut self, last: bool) -> Result<Front, Malformed> {
        let length = self.end - self.start;
        if length > RECORD_LIMIT {
            return Err(self.malformed(&format!("a record of over {RECORD_LIMIT} bytes follows")));
        }
        if last {
            return Err(self.malformed("the JSON is cut off"));
        }
        self.try_at = (length * 2).min(RECORD_LIMIT + 1);
        Ok(Front::Part)
    }
}

impl Expect {
    fn in_words(self) -> &'static str {
        match self {
            Expect::Document => "expected `{`",
            Expect::KeyOrEnd => "expected a key or `}`",
            Expect::Key => "expected a key",
            Expect::Colon { .. } => "expected `:`",
            Expect::Value { .. } | Expect::Record => "expected a value",
            Expect::CommaOrEnd => "expected `,` or `}`",
            Expect::RecordOrEnd => "expected a record or `]`",
            Expect::CommaOrRecordsEnd => "expected `,` or `]`",
            Expect::Nothing => "expected nothing more",
        }
    }
}

/// The two fields that every rule looks at. Borrowed where they hold no escape.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "eventSource")]
    source: Option<Text<'a>>,
    #[serde(borrow, rename = "eventName")]
    name: Option<Text<'a>>,
}

/// serde borrows for a `Cow` but not for one in an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

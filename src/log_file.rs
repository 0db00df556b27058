//! A log file: gzip, in it JSON, in that one record at a time. Bytes are pushed in as they arrive, so that whatever the
//! size of the log only one record of it is in memory. Pure.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use flate2::{Decompress, FlushDecompress, Status};
use serde::de::IgnoredAny;

use crate::object::{Object, is_blank};

/// The largest record, in bytes of JSON. CloudTrail's own limit for
/// [an event](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html) is 256 KB.
pub const RECORD_LIMIT: usize = 16 << 20;

/// The most JSON in a log, in bytes: far more than CloudTrail's 50 MB of gzip hold, and less than a gzip bomb.
pub const INFLATED_LIMIT: u64 = 8 << 30;

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
    /// Whether it writes [plain characters](crate::object::is_plain) as escapes.
    pub disguised: bool,
}

/// What is done with each record. Its error, about JSON that is broken inside the record, ends the log.
pub type OnRecord<'a> = dyn FnMut(&RawRecord<'_>) -> Result<(), String> + 'a;

const CUT_OFF: &str = "the JSON is cut off";

/// Why a log file can't be read further: what is wrong, and after how many records.
#[derive(Debug, Clone)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads one log file, gzipped (of any number of members) or plain, told by its first byte.
///
/// Call [`step`](Self::step) with its bytes, in pieces of any size, then [`finish`](Self::finish).
pub struct LogFile {
    encoding: Encoding,
    scanner: Scanner,
    /// How many bytes of JSON there were.
    inflated: u64,
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
        LogFile { encoding: Encoding::Unknown, scanner: Scanner::new(vec![0; WINDOW]), inflated: 0 }
    }

    /// Forgets the file, whatever became of it, for the next one. The window stays.
    pub fn restart(&mut self) {
        let mut buffer = mem::take(&mut self.scanner.buffer);
        buffer.truncate(WINDOW);
        buffer.shrink_to_fit();
        *self = LogFile { encoding: Encoding::Unknown, scanner: Scanner::new(buffer), inflated: 0 };
    }

    /// How many records were handed to the closure so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.scanner.records
    }

    /// Takes from the next bytes of the file as much as fits into the window, and calls `on_record` for each record that
    /// is complete. Gives whether it is to be called again with the rest of the bytes, which may be none by then: a few
    /// bytes of gzip can hold very many records, and this way what they lead to can be dealt with in between.
    ///
    /// # Errors
    /// What is wrong with the file. Every record before that place has been handed over.
    pub fn step(&mut self, bytes: &mut &[u8], on_record: &mut OnRecord<'_>) -> Result<bool, Malformed> {
        let (consumed, produced, mut problem) = self.inflate(bytes);
        *bytes = &bytes[consumed..];
        self.scanner.end += produced;
        self.inflated += produced as u64;
        if self.inflated > INFLATED_LIMIT {
            problem.get_or_insert(format!("it inflates to over {INFLATED_LIMIT} bytes"));
        }
        if consumed == 0 && produced == 0 && !bytes.is_empty() {
            problem.get_or_insert("the gzip data is corrupt (it leads nowhere)".to_owned());
        }
        // The records before a corrupt byte come first, then the error.
        let scanned = self.scanner.scan(problem.is_some(), on_record);
        match problem {
            Some(problem) => Err(self.scanner.malformed(&problem)),
            None => scanned.map(|()| produced > 0 || !bytes.is_empty()),
        }
    }

    /// Says that the file ends here.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(&mut self, on_record: &mut OnRecord<'_>) -> Result<(), Malformed> {
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
    /// The record at the front of the window.
    object: Object,
    /// A value that was not complete is not tried again before this many bytes are there: twice what was there the
    /// last time, or else a huge one would be parsed anew at every piece.
    try_at: usize,
    /// The error that ended the scan.
    broken: Option<Malformed>,
}

/// What stands at the front of the window.
enum Front {
    /// A whole value of that length.
    Whole(usize),
    /// The beginning of one.
    Part,
}

impl Scanner {
    fn new(buffer: Vec<u8>) -> Self {
        Scanner {
            buffer,
            start: 0,
            end: 0,
            expect: Expect::Document,
            records: 0,
            found_records: false,
            object: Object::default(),
            try_at: 0,
            broken: None,
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

    /// Consumes all whole values in the window. `last` says that nothing follows. After an error nothing is looked at any
    /// more: what follows broken JSON may be anything that a caller wrote.
    fn scan(&mut self, last: bool, on_record: &mut OnRecord<'_>) -> Result<(), Malformed> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        self.scan_values(last, on_record).inspect_err(|e| self.broken = Some(e.clone()))
    }

    fn scan_values(&mut self, last: bool, on_record: &mut OnRecord<'_>) -> Result<(), Malformed> {
        if !last && self.end - self.start < self.try_at {
            return Ok(());
        }
        self.try_at = 0;
        loop {
            self.start += self.buffer[self.start..self.end].iter().take_while(|b| is_blank(**b)).count();
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
            _ => Err(self.malformed(CUT_OFF)),
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
    fn record(&mut self, last: bool, on_record: &mut OnRecord<'_>) -> Result<Front, Malformed> {
        let window = &self.buffer[self.start..self.end];
        if window.first() != Some(&b'{') {
            let front = self.front(last)?;
            if let Front::Whole(length) = front {
                let bytes = &self.buffer[self.start..self.start + length];
                on_record(&RawRecord { source: None, name: None, bytes, disguised: false })
                    .map_err(|e| self.malformed(&e))?;
            }
            return Ok(front);
        }
        let found = if last { self.object.finish(window) } else { self.object.advance(window) };
        match found {
            Err(what) => Err(self.malformed(&format!("the JSON is broken ({what})"))),
            Ok(None) => {
                self.bounded(self.end - self.start)?;
                if last { Err(self.malformed(CUT_OFF)) } else { Ok(Front::Part) }
            }
            Ok(Some(length)) => {
                self.bounded(length)?;
                let bytes = &self.buffer[self.start..self.start + length];
                let handed_over = self.object.fields(bytes).and_then(|[source, name]| {
                    on_record(&RawRecord { source, name, bytes, disguised: self.object.is_disguised() })
                });
                handed_over.map_err(|e| self.malformed(&e))?;
                self.object.clear();
                Ok(Front::Whole(length))
            }
        }
    }

    /// Measures the value at the front of the window.
    fn front(&mut self, last: bool) -> Result<Front, Malformed> {
        let window = &self.buffer[self.start..self.end];
        let mut values = serde_json::Deserializer::from_slice(window).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let length = values.byte_offset();
                self.bounded(length)?;
                // A number or a literal ends only where something else begins.
                let open_ended = length == window.len() && !matches!(window[length - 1], b'"' | b'}' | b']');
                if open_ended { self.part(last) } else { Ok(Front::Whole(length)) }
            }
            // A number that stops where a digit must follow is an error to serde_json, even if more may come.
            Some(Err(e))
                if !e.is_eof() && (last || !matches!(window.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'))) =>
            {
                Err(self.malformed(&format!("the JSON is broken ({e} of what follows)")))
            }
            _ => self.part(last),
        }
    }

    /// Checks the length of a value, or of its part, at the front of the window.
    fn bounded(&self, length: usize) -> Result<(), Malformed> {
        if length <= RECORD_LIMIT {
            return Ok(());
        }
        Err(self.malformed(&format!("a value of over {RECORD_LIMIT} bytes follows")))
    }

    /// Waits for more of the value at the front of the window, within bounds.
    fn part(&mut self, last: bool) -> Result<Front, Malformed> {
        let length = self.end - self.start;
        self.bounded(length)?;
        if last {
            return Err(self.malformed(CUT_OFF));
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::{Value, json};

    use super::*;
    use crate::record::{self, Record};

    /// A record as the scanner handed it over.
    #[derive(Debug, Clone, PartialEq)]
    struct Seen {
        source: Option<String>,
        name: Option<String>,
        json: Value,
    }

    /// What an independent parser finds.
    fn expected(document: &Value) -> Vec<Seen> {
        let text = |record: &Value, key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
        let records = document["Records"].as_array().unwrap().iter();
        records.map(|r| Seen { source: text(r, "eventSource"), name: text(r, "eventName"), json: r.clone() }).collect()
    }

    /// Pushes a file in pieces that end at these places, and looks into every record.
    fn read(file: &[u8], borders: &[Index]) -> (Vec<Seen>, Result<(), Malformed>) {
        let mut ends: Vec<usize> = borders.iter().map(|b| b.index(file.len() + 1)).chain([file.len()]).collect();
        ends.sort_unstable();
        let mut seen = Vec::new();
        let mut on_record = |raw: &RawRecord<'_>| {
            let text = record::readable(raw.bytes);
            Record::parse(&text)?;
            seen.push(Seen {
                source: raw.source.as_deref().map(str::to_owned),
                name: raw.name.as_deref().map(str::to_owned),
                json: serde_json::from_str(&text).unwrap_or_default(),
            });
            Ok(())
        };
        let mut log = LogFile::new();
        // Nothing of a file that was given up may be left.
        let _ = log.step(&mut &file[..file.len() / 2], &mut |_| Ok(()));
        log.restart();
        let mut at = 0;
        for end in ends {
            let mut piece = &file[at..end];
            loop {
                match log.step(&mut piece, &mut on_record) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(e) => return (seen, Err(e)),
                }
            }
            at = end;
        }
        let result = log.finish(&mut on_record);
        (seen, result)
    }

    fn gzip(parts: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for part in parts {
            let mut member = GzEncoder::new(&mut file, Compression::fast());
            member.write_all(part).unwrap();
            member.finish().unwrap();
        }
        file
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,12}", any::<String>(), Just("\\\"Records\":[{".to_owned())]
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(any_key(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_key() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("Records".to_owned()),
            Just("eventName".to_owned()),
            Just("eventSource".to_owned()),
            any_text()
        ]
    }

    /// Mostly objects with the two fields, often odd, now and then of the size of a large event or no object at all.
    fn any_record() -> impl Strategy<Value = Value> {
        let usual = (any_json(), any_text(), prop_oneof![30 => Just(0), 1 => Just(300_000_usize)]).prop_map(
            |(params, name, padding)| {
                json!({"eventVersion": "1.11", "eventSource": "iam.amazonaws.com", "eventName": name,
                       "requestParameters": params, "padding": "x".repeat(padding)})
            },
        );
        prop_oneof![4 => usual, 1 => any_json()]
    }

    /// A document, and one of the many ways to write it down.
    fn any_log() -> impl Strategy<Value = (Value, Vec<u8>)> {
        let decoys = prop::collection::vec((any_text(), any_json()), 0..4);
        (prop::collection::vec(any_record(), 0..12), decoys, any::<Index>(), any::<bool>()).prop_map(
            |(records, decoys, at, pretty)| {
                let mut entries: Vec<(String, Value)> =
                    decoys.into_iter().filter(|(key, _)| key != "Records").collect();
                entries.insert(at.index(entries.len() + 1), ("Records".to_owned(), Value::from(records)));
                let write = |value: &Value| {
                    let written =
                        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
                    written.unwrap()
                };
                let blank = if pretty { "\r\n\t " } else { "" };
                let entry = |(key, value): &(String, Value)| {
                    format!("{blank}{}{blank}:{blank}{}", write(&Value::from(key.as_str())), write(value))
                };
                let entries = entries.iter().map(entry).collect::<Vec<_>>().join(",");
                let text = format!("{blank}{{{entries}{blank}}}{blank}");
                (serde_json::from_str(&text).unwrap(), text.into_bytes())
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn every_record_is_found_once_however_the_log_is_laid_out(
            (document, text) in any_log(),
            zipped in any::<bool>(),
            members in prop::collection::vec(any::<Index>(), 0..4),
            borders in prop::collection::vec(any::<Index>(), 0..20),
        ) {
            let mut cuts: Vec<usize> = members.iter().map(|i| i.index(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let file = if zipped { gzip(&parts) } else { text.clone() };
            let (seen, result) = read(&file, &borders);
            prop_assert!(result.is_ok(), "{:?}", result);
            prop_assert_eq!(seen, expected(&document));
        }

        #[test]
        fn a_cut_log_is_an_error_after_what_was_whole(
            (document, text) in any_log(),
            zipped in any::<bool>(),
            cut in any::<Index>(),
            borders in prop::collection::vec(any::<Index>(), 0..5),
        ) {
            let blank = text.iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
            let text = &text[..text.len() - blank];
            let file = if zipped { gzip(&[text]) } else { text.to_vec() };
            let (seen, result) = read(&file[..cut.index(file.len())], &borders);
            prop_assert!(result.is_err());
            prop_assert!(expected(&document).starts_with(&seen));
        }

        /// Broken JSON is told from JSON as strictly as a parser that skips values does, wherever it is broken.
        #[test]
        fn a_changed_byte_is_judged_as_a_parser_judges_it(
            (_, text) in any_log(),
            at in any::<Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ 0".to_vec())],
            borders in prop::collection::vec(any::<Index>(), 0..5),
        ) {
            let mut text = text;
            let at = at.index(text.len());
            text[at] = byte;
            // A first byte that says gzip is another matter.
            prop_assume!(text[0] != 0x1f);
            let valid = serde_json::from_slice::<IgnoredAny>(&text);
            let (seen, result) = read(&text, &borders);
            if let Err(problem) = &valid {
                prop_assert!(result.is_err(), "passed, but: {}", problem);
            }
            if let Ok(document) = serde_json::from_slice::<Value>(&text)
                && document.get("Records").is_some_and(Value::is_array)
            {
                prop_assert!(result.is_ok(), "{:?}", result);
                // Of two `Records` both are read.
                prop_assert!(seen.ends_with(&expected(&document)));
            }
        }

        #[test]
        fn a_changed_byte_of_gzip_never_changes_records_unnoticed(
            (document, text) in any_log(),
            at in any::<Index>(),
            bit in 0..8_u8,
        ) {
            let mut file = gzip(&[&text]);
            let at = at.index(file.len());
            file[at] ^= 1_u8 << bit;
            let (seen, result) = read(&file, &[]);
            // The header holds bytes that mean nothing here, such as a time.
            prop_assert!(result.is_err() || seen == expected(&document));
        }
    }

    /// The design's limit: of a record that no rule looks at, strings, escapes and brackets are checked.
    #[test]
    fn a_record_that_nobody_looks_at_is_checked_for_strings_escapes_and_brackets() {
        for (record, problem) in [
            (r#"{"a":tru,,"b" 01}"#, None),
            ("{\"a\":\"\u{1}\"}", Some("a control character stands in a string")),
            (r#"{"a":"\x"}"#, Some("a string holds an escape that JSON does not have")),
            (r#"{"a":"\u00g0"}"#, Some("a string holds an escape that JSON does not have")),
            (r#"{"a":[}]}"#, Some("the brackets do not match")),
            (r#"{"a":\"x"}"#, Some("or a backslash outside of one")),
            (r#"{"a":"x}"#, Some("the JSON is cut off")),
        ] {
            let log = format!(r#"{{"Records":[{record}]}}"#);
            let mut file = LogFile::new();
            let mut rest = log.as_bytes();
            while file.step(&mut rest, &mut |_| Ok(())).unwrap() {}
            let told = file.finish(&mut |_| Ok(())).err().map(|e| e.to_string());
            let right = match (&told, problem) {
                (None, None) => true,
                (Some(told), Some(problem)) => told.contains(problem),
                _ => false,
            };
            assert!(right, "{record}: {told:?}");
        }
    }

    fn names(json: &str) -> Vec<Option<String>> {
        let (seen, result) = read(json.as_bytes(), &[]);
        result.unwrap();
        seen.into_iter().map(|s| s.name).collect()
    }

    fn problem(file: &[u8]) -> String {
        read(file, &[]).1.unwrap_err().to_string()
    }

    #[test]
    fn what_is_broken_right_behind_a_record_does_not_hide_it() {
        for broken in ["\"\\x", "\"\u{1}", "\\", "}", "]]", "{\"a\":\"\\q\"}", "x"] {
            let log = format!("{{\"Records\":[{{\"eventName\":\"A\"}},{broken}{}", " ".repeat(200));
            let (seen, result) = read(log.as_bytes(), &[]);
            result.unwrap_err();
            assert_eq!(seen.len(), 1, "{broken}");
        }
    }

    #[test]
    fn nothing_is_found_behind_broken_json() {
        let behind = r#"{"eventName":"A"}"#.repeat(20);
        let log = format!(r#"{{"Records":[{{"a":[}}]}},{{"b":"{}"}},{behind}]}}"#, "x".repeat(100));
        let mut file = LogFile::new();
        let mut found = 0;
        let mut on_record = |_: &RawRecord<'_>| {
            found += 1;
            Ok(())
        };
        let told = file.step(&mut log.as_bytes(), &mut on_record).unwrap_err().to_string();
        assert_eq!(file.finish(&mut on_record).unwrap_err().to_string(), told);
        assert_eq!(found, 0);
    }

    #[test]
    fn odd_records_lose_nothing() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(
            names(
                r#"{"Records":[
                    {"eventName":"A","eventName":"B"}, {"eventName":7}, {"eventName":null}, {"eventName":["C"]},
                    {"eventName":"D","userAgent":"cut \ud83d"}, {"eventName":"E\ud83d"}, {"\ud83d":1,"eventName":"F"},
                    {"event\u004eame":"\u0047"}, {}, 12, null, "H", ["x", "I"], {"eventName":"J","n":1e999}]}"#
            ),
            [
                some("B"),
                None,
                None,
                None,
                some("D"),
                some("E\u{fffd}"),
                some("F"),
                some("G"),
                None,
                None,
                None,
                None,
                None,
                some("J")
            ]
        );
        let (seen, result) =
            read(b"{\"Records\":[{\"eventName\":\"A\xff\"},{\"eventName\":\"B\",\"x\":\"\xff\"}]}", &[]);
        result.unwrap();
        assert_eq!(seen.into_iter().map(|s| s.name).collect::<Vec<_>>(), [some("A\u{fffd}"), some("B")]);
    }

    #[test]
    fn records_is_the_top_level_key_wherever_it_stands_and_however_it_is_written() {
        for log in [
            r#"{"a":{"Records":[{"eventName":"no"}]},"Records":[{"eventName":"A"}]}"#,
            r#"{"Records":[{"eventName":"A","Records":[{"eventName":"no"}]}],"b":[["Records"]]}"#,
            r#"{"a":"\"Records\":[","\u0052ecords":[{"eventName":"A"}]}"#,
            r#"{"n":1,"t":true,"Records":[{"eventName":"A"}],"z":null}"#,
        ] {
            assert_eq!(names(log), [Some("A".to_owned())], "{log}");
        }
    }

    #[test]
    fn what_is_no_log_says_why() {
        for (file, why) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("[1]", "it is no JSON object"),
            ("hello", "it is no JSON object"),
            ("{}", "it has no top-level Records"),
            (r#"{"a":{"Records":[]}}"#, "it has no top-level Records"),
            (r#"{"Records":null}"#, "its Records are no array"),
            (r#"{"Records":{}}"#, "its Records are no array"),
            (r#"{"Records":[{}]} x"#, "something follows the end of the JSON, after 1 whole records"),
            (r#"{"Records":[{},]}"#, "the JSON is broken"),
            (r#"{"Records":[,{}]}"#, "the JSON is broken"),
            (r#"{"Records":[{} {}]}"#, "the JSON is broken (expected `,` or `]`), after 1 whole records"),
            (r#"{"Records":[{}],}"#, "the JSON is broken (expected a key)"),
            (r#"{"Records":[{}]"#, "the JSON is cut off, after 1 whole records"),
            (r#"{"Records":[tru"#, "the JSON is cut off"),
            (r#"{"Records":[{"a":tru}]}"#, "the JSON is broken (expected ident"),
        ] {
            assert!(problem(file.as_bytes()).starts_with(why), "{file}: {}", problem(file.as_bytes()));
        }
        assert_eq!(problem(&gzip(&[])), "it is empty");
        assert_eq!(problem(&gzip(&[b""])), "it is empty");
        assert!(problem(b"\x1f").starts_with("the gzip data is cut off"));
        assert!(problem(b"\x1f\x8c\x08").starts_with("the gzip data is corrupt"));
        let whole = gzip(&[br#"{"Records":[{}]}"#]);
        let junk = [&whole[..], b"junk"].concat();
        assert!(problem(&junk).starts_with("something that is no gzip member follows"), "{}", problem(&junk));
        let mut wrong_checksum = whole.clone();
        wrong_checksum[whole.len() - 8] ^= 1;
        assert!(problem(&wrong_checksum).starts_with("the gzip data is corrupt"), "{}", problem(&wrong_checksum));
    }

    #[test]
    fn a_record_over_the_limit_is_an_error_and_one_below_it_is_not() {
        let log = |length: usize| format!(r#"{{"Records":[{{"eventName":"{}"}}]}}"#, "x".repeat(length)).into_bytes();
        let (seen, result) = read(&gzip(&[&log(RECORD_LIMIT - 1_000)]), &[]);
        result.unwrap();
        assert_eq!(seen.len(), 1);
        assert!(problem(&gzip(&[&log(RECORD_LIMIT + 1_000)])).contains("a value of over 16777216 bytes"));
        assert!(problem(&gzip(&[&log(100 << 20)])).contains("a value of over 16777216 bytes"));
    }

    #[test]
    fn what_precedes_a_corrupt_byte_is_found_even_if_it_had_to_wait() {
        let records: Vec<_> = (0..2_000).map(|i| json!({"eventName": format!("{i}"), "n": i * 7919})).collect();
        let text = json!({ "Records": records }).to_string();
        let mut file = gzip(&[text.as_bytes()]);
        let broken = file.len() - 30;
        file[broken..broken + 20].fill(0xff);
        let (seen, result) = read(&file, &[]);
        result.unwrap_err();
        assert!(seen.len() > 1_900, "{}", seen.len());
    }
}

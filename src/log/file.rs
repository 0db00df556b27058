//! A log file: gzipped or plain, read in pieces as they arrive, within the memory of its largest record.

use std::mem;

use flate2::{Decompress, FlushDecompress, Status};

use super::document::Document;
use super::raw_record::{Malformed, RawRecord};

/// The most JSON in a log, in bytes: far more than CloudTrail's 50 MB of gzip hold, and less than a gzip bomb.
const INFLATED_LIMIT: u64 = 8 << 30;

/// Reads log files, one after the other.
#[derive(Default)]
pub struct LogFile {
    encoding: Encoding,
    document: Document,
    /// How many bytes of JSON there were.
    inflated: u64,
    /// The damage of the file's bytes. The records before it are handed out first.
    damage: Option<String>,
    /// Whether a large window has to be asked for.
    asks: bool,
}

#[derive(Default)]
enum Encoding {
    /// No byte has come yet. The first one tells.
    #[default]
    Unknown,
    Plain,
    /// Inside a gzip member.
    Gzip(Decompress),
    /// After a gzip member: another one may follow, nothing else.
    BetweenMembers,
}

/// The records that one more piece of a log file completes.
pub struct Records<'a> {
    log: &'a mut LogFile,
    bytes: &'a [u8],
    at_end: bool,
}

impl LogFile {
    /// Reads also the other forms in which people have records offline: several documents or records one after the other,
    /// in arrays, or as `aws cloudtrail lookup-events` prints them.
    pub fn offline() -> Self {
        LogFile { document: Document::new(true), ..LogFile::default() }
    }

    /// Forgets the file, whatever became of it, for the next one.
    pub fn restart(&mut self) {
        self.document.restart();
        *self = LogFile { document: mem::take(&mut self.document), ..LogFile::default() };
    }

    /// Reads no record of over 512 KB before [`allow_large_window`](Records::allow_large_window): where several files are
    /// open, only one of them may have a large window.
    pub(crate) fn ask_for_large_window(&mut self) {
        self.asks = true;
    }

    /// Whether it has a window of over 512 KB now.
    pub(crate) fn has_large_window(&self) -> bool {
        self.document.has_large_window()
    }

    /// Reads the next piece of the file, of any length; `None` says that the file ends here.
    ///
    /// A piece must be read until there is no more record in it. Where a file breaks off, `None` gives the whole records
    /// that were still waiting, and then an error.
    pub fn read<'a>(&'a mut self, piece: Option<&'a [u8]>) -> Records<'a> {
        Records { log: self, bytes: piece.unwrap_or_default(), at_end: piece.is_none() }
    }

    /// Inflates as much as fits into the document's window; gives how many bytes of JSON that is.
    fn inflate(&mut self, bytes: &mut &[u8]) -> usize {
        if let (Encoding::Unknown | Encoding::BetweenMembers, Some(first)) = (&self.encoding, bytes.first()) {
            self.encoding = match (first, &self.encoding) {
                (0x1f, _) => Encoding::Gzip(Decompress::new_gzip(15)),
                (_, Encoding::Unknown) => Encoding::Plain,
                _ => {
                    self.damage = Some("something that is not gzip follows the gzip data".to_owned());
                    return 0;
                }
            };
        }
        let space = self.document.space();
        let (consumed, inflated) = match &mut self.encoding {
            Encoding::Unknown | Encoding::BetweenMembers => (0, 0),
            Encoding::Plain => {
                let length = bytes.len().min(space.len());
                space[..length].copy_from_slice(&bytes[..length]);
                (length, length)
            }
            Encoding::Gzip(member) => {
                let before = (member.total_in(), member.total_out());
                let status = member.decompress(bytes, space, FlushDecompress::None);
                let moved = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(usize::MAX);
                let moved = (moved(member.total_in(), before.0), moved(member.total_out(), before.1));
                match status {
                    Ok(Status::StreamEnd) => self.encoding = Encoding::BetweenMembers,
                    Ok(Status::Ok | Status::BufError) => {}
                    Err(e) => {
                        let why = e.message().unwrap_or("bad data");
                        self.damage = Some(format!("the gzip data is corrupt ({why})"));
                    }
                }
                moved
            }
        };
        if consumed == 0 && inflated == 0 && !bytes.is_empty() {
            self.damage.get_or_insert("the gzip data is corrupt (the decoder makes no progress)".to_owned());
        }
        *bytes = &bytes[consumed..];
        self.document.arrived(inflated);
        self.inflated += inflated as u64;
        if self.document.is_offline() && !matches!(self.encoding, Encoding::Gzip(_)) {
            // Offline, many files may come as one: the limit is that of a gzip member.
            self.inflated = 0;
        }
        if self.inflated > INFLATED_LIMIT {
            self.damage.get_or_insert(format!("it inflates to over {INFLATED_LIMIT} bytes"));
        }
        inflated
    }

    fn finish(&self) -> Result<(), Malformed> {
        match self.encoding {
            Encoding::Unknown => Err(Malformed::whole("it is empty")),
            Encoding::Gzip(_) => Err(self.document.malformed("the gzip data is cut off")),
            Encoding::Plain | Encoding::BetweenMembers => self.document.finish(),
        }
    }
}

impl Records<'_> {
    /// Whether the next record has to wait for a large window, although the piece may hold more of it.
    pub(crate) fn needs_large_window(&self) -> bool {
        self.log.asks && self.log.document.needs_large_window()
    }

    /// Goes on with a large window, until the record that needs it has been read.
    pub(crate) fn allow_large_window(&mut self) {
        self.log.asks = false;
    }

    /// The next record; `None` where the piece holds no more.
    ///
    /// # Errors
    /// The damage of the file, once every record before it has been handed out. The rest of the file can't be read.
    #[allow(clippy::should_implement_trait)] // an iterator can't lend its items
    pub fn next(&mut self) -> Result<Option<RawRecord<'_>>, Malformed> {
        loop {
            let is_last = self.at_end || self.log.damage.is_some();
            match (self.log.document.has_record(is_last), &self.log.damage) {
                (Ok(true), _) => return self.log.document.take_record().map(Some),
                // JSON that breaks off is a consequence of the damage.
                (_, Some(damage)) => return Err(self.log.document.malformed(damage)),
                (Err(malformed), None) => return Err(malformed),
                (Ok(false), None) => {}
            }
            if self.at_end {
                return self.log.finish().map(|()| None);
            }
            if self.needs_large_window() {
                return Ok(None);
            }
            if self.log.inflate(&mut self.bytes) == 0 && self.bytes.is_empty() && self.log.damage.is_none() {
                return Ok(None);
            }
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
    use serde::de::IgnoredAny;
    use serde_json::{Value, json};

    use super::super::document::RECORD_LIMIT;
    use super::super::record::{self, Record};
    use super::*;

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

    fn read(file: &[u8], borders: &[Index]) -> (Vec<Seen>, Result<(), Malformed>) {
        read_with(LogFile::default(), file, borders)
    }

    /// Reads a file in pieces that end at these places, and looks into every record.
    fn read_with(mut log: LogFile, file: &[u8], borders: &[Index]) -> (Vec<Seen>, Result<(), Malformed>) {
        let mut ends: Vec<usize> = borders.iter().map(|b| b.index(file.len() + 1)).chain([file.len()]).collect();
        ends.sort_unstable();
        // Nothing of a file that was given up may be left.
        let mut given_up = log.read(Some(&file[..file.len() / 2]));
        while let Ok(Some(_)) = given_up.next() {}
        log.restart();
        let mut seen = Vec::new();
        let mut start = 0;
        for end in ends {
            let result = read_piece(&mut log, Some(&file[start..end]), &mut seen);
            if result.is_err() {
                return (seen, result);
            }
            start = end;
        }
        let result = read_piece(&mut log, None, &mut seen);
        (seen, result)
    }

    fn read_piece(log: &mut LogFile, piece: Option<&[u8]>, seen: &mut Vec<Seen>) -> Result<(), Malformed> {
        let mut records = log.read(piece);
        while let Some(record) = records.next()? {
            let text = record::readable(record.bytes);
            Record::parse(&text).map_err(|problem| record.malformed(&problem))?;
            seen.push(Seen {
                source: record.event_source.as_deref().map(str::to_owned),
                name: record.event_name.as_deref().map(str::to_owned),
                json: serde_json::from_str(&text).unwrap_or_default(),
            });
        }
        Ok(())
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

    /// Records that are known as such without a list around them.
    fn any_known_records() -> impl Strategy<Value = Vec<Value>> {
        let known = any_record().prop_map(|record| {
            let mut record = if record.is_object() { record } else { json!({ "eventName": record }) };
            record["eventID"] = "1".into();
            let fields = record.as_object_mut().unwrap();
            fields.retain(|key, _| !["Records", "Events", "CloudTrailEvent"].contains(&key.as_str()));
            record
        });
        prop::collection::vec(known, 0..4)
    }

    /// One of the forms in which people have records, and perhaps an array around it.
    fn in_form(form: usize, records: &[Value], pretty: bool) -> String {
        let write = |value: &Value| {
            if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap()
        };
        let lines = |values: &[Value]| values.iter().map(&write).collect::<Vec<_>>().join("\n");
        let strings: Vec<Value> = records.iter().map(|record| Value::from(write(record))).collect();
        let events: Vec<Value> =
            strings.iter().map(|text| json!({ "EventName": "x", "CloudTrailEvent": text, "Resources": [] })).collect();
        match form {
            0 => write(&json!({ "Records": records })),
            1 => write(&json!({ "A": { "Records": [] }, "Records": records, "eventName": "no" })),
            2 => lines(records),
            3 => write(&records.into()),
            4 => write(&json!({ "Events": events })),
            5 => write(&json!({ "A": [], "Events": events, "NextToken": "x" })),
            6 => lines(&events),
            7 => lines(&strings),
            8 => write(&strings.into()),
            9 => write(&json!([{ "Records": records }, [], [{ "Events": [] }]])),
            _ => write(&json!([[{ "Events": [{ "Records": [] }, { "Events": events }] }], { "Records": [] }])),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

        #[test]
        fn offline_every_record_is_found_once_in_each_form_and_in_forms_in_a_row(
            parts in prop::collection::vec((any_known_records(), 0_usize..11, any::<bool>()), 1..6),
            between in prop::sample::select(vec!["", "\n", " \r\n\t", "\u{feff}"]),
            gzip_of_each in any::<bool>(),
            borders in prop::collection::vec(any::<Index>(), 0..20),
        ) {
            let texts: Vec<String> =
                parts.iter().map(|(records, form, pretty)| in_form(*form, records, *pretty) + between).collect();
            let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let file = if gzip_of_each { gzip(&bytes) } else { bytes.concat() };
            let (seen, result) = read_with(LogFile::offline(), &file, &borders);
            let records: Vec<&Value> = parts.iter().flat_map(|(records, ..)| records).collect();
            prop_assert_eq!(seen, expected(&json!({ "Records": records })), "{}", texts.concat());
            prop_assert_eq!(result.is_ok(), !texts.concat().trim_matches(['\u{feff}', '\r', '\n', '\t', ' ']).is_empty());
        }

        #[test]
        fn offline_a_log_file_is_read_as_in_lambda_and_broken_json_is_an_error(
            (_, text) in any_log(),
            at in any::<Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ 0".to_vec())],
            borders in prop::collection::vec(any::<Index>(), 0..5),
            changes in any::<bool>(),
        ) {
            let mut text = text;
            let at = at.index(text.len());
            if changes {
                text[at] = byte;
            }
            prop_assume!(text[0] != 0x1f);
            let strictly = read(&text, &[]);
            let offline = read_with(LogFile::offline(), &text, &borders);
            if strictly.1.is_ok() {
                prop_assert!(offline.1.is_ok(), "{:?}", offline.1);
                prop_assert_eq!(strictly.0, offline.0);
            }
            let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<IgnoredAny>();
            if values.any(|value| value.is_err()) {
                prop_assert!(offline.1.is_err());
            }
        }
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
    fn a_record_that_no_rule_looks_at_is_checked_for_strings_escapes_and_brackets() {
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
            let told = at_a_glance(log.as_bytes()).1.err().map(|e| e.to_string());
            let right = match (&told, problem) {
                (None, None) => true,
                (Some(told), Some(problem)) => told.contains(problem),
                _ => false,
            };
            assert!(right, "{record}: {told:?}");
        }
    }

    /// Reads a file without looking into its records; gives how many there were.
    fn at_a_glance(file: &[u8]) -> (u64, Result<(), Malformed>) {
        let mut log = LogFile::default();
        let mut found = 0;
        for piece in [Some(file), None] {
            let mut records = log.read(piece);
            loop {
                match records.next() {
                    Ok(Some(_)) => found += 1,
                    Ok(None) => break,
                    Err(e) => return (found, Err(e)),
                }
            }
        }
        (found, Ok(()))
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
    fn broken_json_right_behind_a_record_does_not_hide_it() {
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
        let mut file = LogFile::default();
        let mut told = Vec::new();
        for piece in [Some(log.as_bytes()), Some(behind.as_bytes()), None] {
            told.push(file.read(piece).next().unwrap_err().to_string());
        }
        assert!(told.iter().all(|problem| *problem == told[0]), "{told:?}");
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
    fn a_byte_order_mark_before_the_json_is_fine() {
        let text = "\u{feff}{\"Records\":[{\"eventName\":\"A\"}]}".as_bytes();
        for file in [text.to_vec(), gzip(&[text]), gzip(&[&text[..1], &text[1..2], &text[2..]])] {
            let mut log = LogFile::default();
            let mut seen = Vec::new();
            for piece in file.chunks(1).map(Some).chain([None]) {
                read_piece(&mut log, piece, &mut seen).unwrap();
            }
            assert_eq!(seen.len(), 1);
            assert_eq!(at_a_glance(&file).0, 1);
        }
        for (file, why) in [
            (&b"\xef\xbb\xbf"[..], "it is empty"),
            (b"\xef\xbb", "it is not a JSON object"),
            (b"\xef\xbb{\"Records\":[]}", "it is not a JSON object"),
        ] {
            assert_eq!(problem(file), why);
        }
    }

    #[test]
    fn a_file_that_is_not_a_log_says_why() {
        for (file, why) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("[1]", "it is not a JSON object"),
            ("hello", "it is not a JSON object"),
            ("{}", "it has no top-level Records"),
            (r#"{"a":{"Records":[]}}"#, "it has no top-level Records"),
            (r#"{"Records":null}"#, "its Records are not an array"),
            (r#"{"Records":{}}"#, "its Records are not an array"),
            (r#"{"Records":[{}]} x"#, "something follows the end of the JSON, after 1 whole record"),
            (r#"{"Records":[{},]}"#, "the JSON is broken"),
            (r#"{"Records":[,{}]}"#, "the JSON is broken"),
            (r#"{"Records":[{} {}]}"#, "the JSON is broken (`{` is out of place), after 1 whole record"),
            (r#"{"Records":[{}],}"#, "the JSON is broken (`}` is out of place), after 1 whole record"),
            (r#"{"Records":[{}]"#, "the JSON is cut off, after 1 whole record"),
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
        assert!(problem(&junk).starts_with("something that is not gzip follows the gzip data"), "{}", problem(&junk));
        let mut wrong_checksum = whole.clone();
        wrong_checksum[whole.len() - 8] ^= 1;
        assert!(problem(&wrong_checksum).starts_with("the gzip data is corrupt"), "{}", problem(&wrong_checksum));
    }

    #[test]
    fn offline_a_file_that_holds_something_else_says_what_and_after_which_record() {
        let offline = |file: &str| read_with(LogFile::offline(), file.as_bytes(), &[]);
        let record = r#"{"eventName":"A"}"#;
        let event = |text: &str| json!({ "Events": [{ "CloudTrailEvent": text }] }).to_string();
        let no_record = "a string or CloudTrailEvent that does not hold a record as JSON follows";
        for (file, found, why) in [
            ("", 0, "it is empty"),
            ("\u{feff} \n", 0, "it is empty"),
            ("hello", 0, "it is not a JSON object"),
            ("7", 0, "it is not a JSON object"),
            ("[7]", 0, "something that is not a record follows"),
            (&format!("{record}\n7"), 1, "something follows the end of the JSON, after 1 whole record"),
            ("{}", 0, "it has no top-level Records, and is not a record"),
            (r#"{"Records":{}}"#, 0, "its Records are not an array"),
            (r#"{"Events":7}"#, 0, "its Events are not an array"),
            (r#"{"Events":[{"a":1}]}"#, 0, "it has no top-level Records, and is not a record"),
            (&format!("{record}{{\"a\":1}}{record}"), 1, "it has no top-level Records, and is not a record"),
            (&format!("[{record},]"), 1, "something that is not a record follows, after 1"),
            (&format!("[{record} {record}]"), 1, "the JSON is broken (`{` is out of place), after 1 whole record"),
            (&format!("{record},{record}"), 1, "something follows the end of the JSON, after 1"),
            (&format!("[{record}"), 1, "the JSON is cut off, after 1 whole record"),
            (&format!("{record}{}", &record[..9]), 1, "the JSON is cut off, after 1 whole record"),
            (&format!("{record}{{\"eventName\":\"\\q\"}}"), 1, "the JSON is broken (invalid escape"),
            (&format!("{record}{{\"Records\":[{record}"), 2, "the JSON is cut off, after 2 whole records"),
            (&format!("{record}]"), 1, "something follows the end of the JSON, after 1"),
            (r#"{"Events":[{"CloudTrailEvent":7}]}"#, 0, no_record),
            (&event("{"), 0, no_record),
            (&event("[]"), 0, no_record),
            (&event(r#"["eventName"]"#), 0, no_record),
            (&event(&event(record)), 0, no_record),
            (&event(&format!("{record}{record}")), 0, no_record),
            (&format!("{record}\"x\""), 1, no_record),
            (&"[".repeat(65), 0, "over 64 arrays are inside of each other"),
        ] {
            let (seen, result) = offline(file);
            let problem = result.unwrap_err().to_string();
            assert!(seen.len() == found && problem.starts_with(why), "{file}: {} records, {problem}", seen.len());
        }
        for (file, found) in [
            ("[]", 0),
            (r#"{"Events":[]}{"Records":[]}"#, 0),
            (&event(&format!(" {record}\n")), 1),
            (r#"{"event\u004eame":"A"}"#, 1),
            (r#"{"\u0052ecords":[{},{}],"eventName":"A"}"#, 2),
            (&format!("{}{}", "[".repeat(64), "]".repeat(64)), 0),
        ] {
            let (seen, result) = offline(file);
            assert!(result.is_ok() && seen.len() == found, "{file}: {} records, {result:?}", seen.len());
        }
    }

    #[test]
    fn offline_the_window_holds_a_record_and_not_an_array_or_the_files_in_a_row() {
        let record = |length: usize| json!({ "eventName": "A", "x": "x".repeat(length) }).to_string();
        let event = json!({ "CloudTrailEvent": record(1_000) }).to_string();
        for (before, one, between, after) in [
            ("", record(1_000), "\n", ""),
            ("[", record(1_000), ",", "]"),
            ("", format!("{{\"Records\":[{}]}}", record(1_000)), "", ""),
            (r#"{"Events":["#, event, ",", r#"],"NextToken":"x"}"#),
        ] {
            let file = [before, &vec![one.as_str(); 1_000].join(between), after].concat();
            let (mut log, mut found) = (LogFile::offline(), 0);
            for piece in file.as_bytes().chunks(50_000).map(Some).chain([None]) {
                let mut records = log.read(piece);
                while records.next().unwrap().is_some() {
                    found += 1;
                }
                assert!(!log.has_large_window());
            }
            assert_eq!(found, 1_000, "{before}{between}");
        }
        let (seen, result) = read_with(LogFile::offline(), record(RECORD_LIMIT + 1_000).as_bytes(), &[]);
        assert!(seen.is_empty() && result.unwrap_err().to_string().contains("a value of over 16777216 bytes"));
        // A list behind more than a record may hold is still found.
        let before = format!("\"x\":\"{}\",", "x".repeat(1 << 20)).repeat(20);
        let late = format!("{{{before}\"Records\":[{{}}]}}");
        let (seen, result) = read_with(LogFile::offline(), late.as_bytes(), &[]);
        assert!(result.is_ok() && seen.len() == 1, "{result:?}");
    }

    #[test]
    fn a_record_over_the_limit_is_an_error_and_one_below_it_is_not() {
        let log = |length: usize| format!(r#"{{"Records":[{{"eventName":"{}"}}]}}"#, "x".repeat(length)).into_bytes();
        let (seen, result) = read(&gzip(&[&log(RECORD_LIMIT - 1_000)]), &[]);
        result.unwrap();
        assert_eq!(seen.len(), 1);
        assert!(problem(&gzip(&[&log(RECORD_LIMIT + 1_000)])).contains("a value of over 16777216 bytes"));
        assert!(problem(&gzip(&[&log(20 << 20)])).contains("a value of over 16777216 bytes"));
    }

    #[test]
    fn a_large_window_is_asked_for_and_given_back_behind_the_record_that_needs_it() {
        let record = |length: usize| format!(r#"{{"eventName":"{}"}}"#, "x".repeat(length));
        let small = vec![record(100); 10_000].join(",");
        let log = format!(r#"{{"Records":[{},{},{small}]}}"#, record(400_000), record(5 << 20));
        let mut file = LogFile::default();
        file.ask_for_large_window();
        let (mut seen, mut asked) = (0, 0);
        for piece in log.as_bytes().chunks(50_000).map(Some).chain([None]) {
            let mut records = file.read(piece);
            loop {
                while let Some(record) = records.next().unwrap() {
                    assert!(record.bytes.len() < 1 << 20 || asked == 1);
                    seen += 1;
                }
                if !records.needs_large_window() {
                    break;
                }
                records.allow_large_window();
                asked += 1;
            }
            // One window's worth of text follows the record, and then it is small again.
            assert!(!file.has_large_window() || seen < 5_000, "{seen}");
        }
        assert_eq!((seen, asked), (10_002, 1));
    }

    #[test]
    fn records_before_a_corrupt_byte_are_found_even_if_they_had_to_wait() {
        let records: Vec<_> = (0..2_000).map(|i| json!({"eventName": format!("{i}"), "n": i * 7919})).collect();
        let text = json!({ "Records": records }).to_string();
        let mut file = gzip(&[text.as_bytes()]);
        let broken = file.len() - 30;
        file[broken..broken + 20].fill(0xff);
        let (seen, result) = read(&file, &[]);
        let problem = result.unwrap_err().to_string();
        assert!(problem.starts_with("the gzip data is corrupt"), "{problem}");
        assert!(seen.len() > 1_900, "{}", seen.len());
    }
}

//! The selection of a scan: which logs, and which of their records, belong to a time span, accounts and regions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::span;
use crate::log::{Origin, RawRecord, Record, Time, is_account};

/// The most that CloudTrail usually takes from a call to the delivery of its log.
const DELIVERY: Duration = Duration::from_mins(15);

/// From the first moment of a day to its last.
const DAY: Duration = Duration::from_millis(24 * 60 * 60 * 1000 - 1);

#[derive(Args, Debug, Clone, Default)]
pub(in crate::cli) struct Selection {
    /// Only events from this moment on: a date such as 2026-11-20 (UTC), a time such as 2026-11-20T21:08:30Z, or a span before
    /// now such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Only events up to this moment, written in the same way. A date includes its day
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Time>,
    /// Only events in this account. Repeat the option for several
    #[arg(long = "account", value_name = "ID", value_parser = account)]
    accounts: Vec<String>,
    /// Only events in this region. Repeat the option for several
    #[arg(long = "region", value_name = "NAME", value_parser = region)]
    regions: Vec<String>,
}

fn since(text: &str) -> Result<Time, String> {
    moment(text).map(|(time, _)| time)
}

fn until(text: &str) -> Result<Time, String> {
    let (time, is_day) = moment(text)?;
    Ok(if is_day { time.plus(DAY) } else { time })
}

/// A moment on the command line, and whether it is the first one of a day that was given.
fn moment(text: &str) -> Result<(Time, bool), String> {
    let text = text.trim();
    let day = Time::parse(&format!("{text}T00:00:00Z")).filter(|_| text.len() == "2026-11-20".len());
    let before_now = || now()?.checked_sub(humantime::parse_duration(text).ok()?).and_then(Time::after_1970);
    let time = day.or_else(|| Time::parse_with_offset(text)).or_else(before_now);
    let expected =
        "expected a date such as 2026-11-20, a time such as 2026-11-20T21:08:30Z, or a span before now such as 7d";
    time.map(|time| (time, day.is_some())).ok_or_else(|| expected.to_owned())
}

/// The present moment, after 1970.
fn now() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

fn account(text: &str) -> Result<String, String> {
    if is_account(text) { Ok(text.to_owned()) } else { Err("an account's number has 12 digits".to_owned()) }
}

fn region(text: &str) -> Result<String, String> {
    let is_region =
        text.contains('-') && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_region { Ok(text.to_owned()) } else { Err("expected a region such as us-east-1".to_owned()) }
}

impl Selection {
    /// The mistake in options that exclude each other.
    pub(in crate::cli) fn mistake(&self) -> Option<String> {
        let (since, until) = self.since.zip(self.until).filter(|(since, until)| since > until)?;
        Some(format!("--since ({since}) is after --until ({until}): no event lies between them"))
    }

    /// Whether everything belongs.
    pub(super) fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.accounts.is_empty() && self.regions.is_empty()
    }

    /// The last moment; the present one unless another is given.
    pub(super) fn end(&self) -> Option<Time> {
        self.until.or_else(|| Time::after_1970(now()?))
    }

    /// Whether a log belongs, or logs of a folder may, whose key ends in `/`. What the key does not tell leaves out nothing.
    pub(super) fn takes(&self, key: &str) -> bool {
        let origin = Origin::of(key);
        let is_in_time = || {
            let time = digits(origin.time.unwrap_or(origin.date));
            self.since.is_none_or(|since| *time >= *start(&digits(&since.to_string()), time.len()))
                && !self.is_past(&time)
        };
        is_chosen(&self.accounts, origin.account) && is_chosen(&self.regions, origin.region) && is_in_time()
    }

    /// Whether the logs from this key on are too late, in the order of the keys of a region.
    pub(super) fn ends_before(&self, key: &str) -> bool {
        let origin = Origin::of(key);
        // Keys outside of the days' folders may stand before them, whatever their time.
        origin.date.len() == "2026/11/20".len() && self.is_past(&digits(origin.time.unwrap_or(origin.date)))
    }

    /// Whether a minute, or a day, month or year, is later than the last logs.
    fn is_past(&self, time: &str) -> bool {
        let last = self.until.map(|until| digits(&until.plus(DELIVERY).to_string()));
        last.is_some_and(|last| *time > *start(&last, time.len()))
    }

    /// The folders of the day with which the first logs lie, `2026/11/20`.
    pub(super) fn first_day(&self) -> Option<String> {
        let day = self.since?.to_string();
        Some(day.split('T').next()?.replace('-', "/"))
    }

    /// What to ask of the records in a log; `None` if all of them belong.
    pub(super) fn of_records(&self, key: &str) -> Option<OfRecords<'_>> {
        let origin = Origin::of(key);
        let untold = |chosen: &'_ Vec<String>, told: Option<&str>| told.is_none() && !chosen.is_empty();
        let of_records = OfRecords {
            selection: self,
            time: self.since.is_some() || self.until.is_some(),
            account: untold(&self.accounts, origin.account),
            region: untold(&self.regions, origin.region),
        };
        (of_records.time || of_records.account || of_records.region).then_some(of_records)
    }
}

/// What decides whether a record belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfRecords<'s> {
    selection: &'s Selection,
    time: bool,
    account: bool,
    region: bool,
}

impl OfRecords<'_> {
    /// Whether a record belongs. What it does not tell does not leave it out.
    pub(super) fn takes(&self, record: &RawRecord<'_>) -> bool {
        // Most records need not be parsed. A text that stands once is the event's time or the record has none.
        let once = || span::only_event_time(record.bytes).filter(|_| record.searchable);
        if !self.account && !self.region && once().is_some_and(|time| self.is_in_time(time)) {
            return true;
        }
        // A broken one is reported by those who read it.
        let Ok(record) = Record::parse(record.text()) else { return true };
        let text = |path: &[&str]| record.raw_string(path).filter(|text| !text.is_empty());
        let Selection { accounts, regions, .. } = self.selection;
        let account = || text(&["recipientAccountId"]).or_else(|| text(&["userIdentity", "accountId"]));
        (!self.time || Time::of(&record).is_none_or(|time| self.is_in_time(time)))
            && (!self.account || is_chosen(accounts, account().as_deref()))
            && (!self.region || is_chosen(regions, text(&["awsRegion"]).as_deref()))
    }

    fn is_in_time(&self, time: Time) -> bool {
        let Selection { since, until, .. } = self.selection;
        since.is_none_or(|since| since <= time) && until.is_none_or(|until| time <= until)
    }
}

fn is_chosen(chosen: &[String], told: Option<&str>) -> bool {
    chosen.is_empty() || told.is_none_or(|told| chosen.iter().any(|chosen| chosen == told))
}

/// A time, or the beginning of one, without what stands between its digits.
fn digits(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).collect()
}

/// As much of a time as another one tells, so that a minute or a day counts as a whole.
fn start(time: &str, length: usize) -> &str {
    time.get(..length).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogFile;

    fn selection(since: &str, until: &str) -> Selection {
        let of = |text: &str, parse: fn(&str) -> Result<Time, String>| (!text.is_empty()).then(|| parse(text).unwrap());
        Selection { since: of(since, super::since), until: of(until, super::until), ..Selection::default() }
    }

    #[test]
    fn a_moment_is_a_date_a_time_or_a_span_before_now() {
        for (text, moment) in [
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T21:08:30Z", "2026-11-20T21:08:30Z"),
            ("2026-11-20T21:08:30.5Z", "2026-11-20T21:08:30Z"),
            ("2026-11-20T21:08:30+02:00", "2026-11-20T19:08:30Z"),
            ("2026-11-20T21:08:30-05:30", "2026-11-21T02:38:30Z"),
            ("2026-11-20t21:08:30z", "2026-11-20T21:08:30Z"),
        ] {
            assert_eq!(since(text).unwrap().to_string(), moment, "{text}");
        }
        assert_eq!(until("2026-11-20").unwrap().to_string(), "2026-11-20T23:59:59Z");
        assert_eq!(until("2026-11-20T12:00:00Z").unwrap().to_string(), "2026-11-20T12:00:00Z");
        for (text, hours) in [("7d", 7 * 24), ("12h", 12), ("2w", 14 * 24), ("60m", 1)] {
            let now = Time::after_1970(now().unwrap()).unwrap();
            let passed = since(text).unwrap().distance(now);
            assert!(passed.abs_diff(Duration::from_hours(hours)) < Duration::from_mins(1), "{text}: {passed:?}");
        }
        for text in
            ["", "7", "d", "2026", "2026-11", "2026-13-01", "2026-11-20T25:00:00Z", "yesterday", "-7d", "20261120"]
        {
            let why = since(text).unwrap_err();
            assert!(why.contains("expected a date such as 2026-11-20"), "{text}: {why}");
        }
        for text in ["2026-11-20T21:08:30+0200", "2026-11-20T21:08:30+24:00", "2026-11-20T21:08:30+02:60", "é+02:00"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_log_belongs_to_the_span_from_its_first_minute_to_fifteen_minutes_after_it() {
        let selection = selection("2026-11-20T10:00:30Z", "2026-11-20T12:00:00Z");
        for (time, is_in) in [
            ("20261120T0959Z", false),
            ("20261120T1000Z", true),
            ("20261120T1200Z", true),
            ("20261120T1215Z", true),
            ("20261120T1216Z", false),
            ("20261121T1100Z", false),
            ("20251120T1100Z", false),
        ] {
            let day = format!("{}/{}/{}", &time[..4], &time[4..6], &time[6..8]);
            let name = format!("123456789012_CloudTrail_us-east-1_{time}_x.json.gz");
            for key in [name.clone(), format!("p/AWSLogs/o-1/123456789012/CloudTrail/us-east-1/{day}/{name}")] {
                assert_eq!(selection.takes(&key), is_in, "{key}");
            }
        }
        for (key, is_in) in [
            ("", true),
            ("log.json.gz", true),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz", true),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/19/x.json.gz", false),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/21/x.json.gz", false),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/x.json.gz", true),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/", true),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/12/", false),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2025/", false),
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/", true),
            // It is not known whether more digits follow.
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2025", true),
            ("2025/11/19/x.json.gz", true),
        ] {
            assert_eq!(selection.takes(key), is_in, "{key}");
        }
        let day = super::tests::selection("2026-11-20", "2026-11-20");
        assert_eq!(day.first_day().as_deref(), Some("2026/11/20"));
        for (time, is_in) in
            [("20261119T2359Z", false), ("20261120T0000Z", true), ("20261121T0014Z", true), ("20261121T0015Z", false)]
        {
            assert_eq!(day.takes(&format!("1_CloudTrail_r_{time}_x.json.gz")), is_in, "{time}");
        }
    }

    #[test]
    fn accounts_and_regions_are_told_by_the_layout_and_else_by_the_name() {
        let accounts = vec!["123456789012".to_owned(), "210987654321".to_owned()];
        let selection = Selection { accounts, regions: vec!["us-east-1".to_owned()], ..Selection::default() };
        for (key, is_in) in [
            ("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz", true),
            ("AWSLogs/o-abc/210987654321/CloudTrail/us-east-1/2026/11/20/x.json.gz", true),
            ("AWSLogs/999999999999/CloudTrail/us-east-1/2026/11/20/x.json.gz", false),
            ("AWSLogs/999999999999/CloudTrail/", false),
            ("AWSLogs/123456789012/CloudTrail/us-west-2/2026/11/20/x.json.gz", false),
            ("AWSLogs/123456789012/CloudTrail/us-west-2/", false),
            ("AWSLogs/123456789012/CloudTrail/", true),
            ("123456789012_CloudTrail_us-east-1_20261120T2110Z_x.json.gz", true),
            ("123456789012_CloudTrail_us-west-2_20261120T2110Z_x.json.gz", false),
            ("999999999999_CloudTrail_us-east-1_20261120T2110Z_x.json.gz", false),
            ("us-west-2/x.json.gz", true),
        ] {
            assert_eq!(selection.takes(key), is_in, "{key}");
        }
        let asked = |key| selection.of_records(key).map(|asked| (asked.time, asked.account, asked.region));
        assert_eq!(asked("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/20/x.json.gz"), None);
        assert_eq!(asked("AWSLogs/123456789012/CloudTrail/x.json.gz"), Some((false, false, true)));
        assert_eq!(asked(""), Some((false, true, true)));
    }

    fn taken(of_records: OfRecords<'_>, records: &str) -> Vec<bool> {
        let mut file = LogFile::default();
        file.restart();
        let log = format!("{{\"Records\":[{records}]}}");
        let mut taken = Vec::new();
        for piece in [Some(log.as_bytes()), None] {
            let mut read = file.read(piece);
            while let Some(record) = read.next().unwrap() {
                taken.push(of_records.takes(&record));
            }
        }
        taken
    }

    #[test]
    fn a_record_belongs_by_its_own_time_and_one_that_tells_none_is_never_left_out() {
        let selection = selection("2026-11-20", "2026-11-20");
        for (record, is_in) in [
            (r#"{"eventTime":"2026-11-20T00:00:00Z"}"#, true),
            (r#"{"eventTime" : "2026-11-20T23:59:59Z"}"#, true),
            (r#"{"eventTime":"2026-11-20T23:59:59.999Z"}"#, true),
            (r#"{"eventTime":"2026-11-21T00:00:00Z"}"#, false),
            (r#"{"eventTime":"2026-11-19T23:59:59Z"}"#, false),
            (r#"{"eventTime":"2026-11-19T23:59:59.5Z"}"#, false),
            (r#"{"requestParameters":{"eventTime":"2026-01-01T00:00:00Z"},"eventTime":"2026-11-20T10:00:00Z"}"#, true),
            (r#"{"requestParameters":{"eventTime":"2026-11-20T00:00:00Z"},"eventTime":"2026-01-01T10:00:00Z"}"#, false),
            (r#"{"eventTime":"2026-11-20T10:00:00Z","eventTime":"2026-01-01T00:00:00Z"}"#, false),
            (r#"{"requestParameters":{"eventTime":"2026-01-01T00:00:00Z"}}"#, true),
            (
                r#"{"requestParameters":{"eventTime":"2026-11-20T00:00:00Z"},"event\u0054ime":"2026-01-01T00:00:00Z"}"#,
                false,
            ),
            (r#"{"eventTime":"2026-01-01"}"#, true),
            (r#"{"eventTime":1767225600}"#, true),
            (r#"{"eventTime":null}"#, true),
            (r#"{"key":"eventTime","value":"2026-01-01T00:00:00Z"}"#, true),
            (r#"{"a":1}"#, true),
        ] {
            assert_eq!(taken(selection.of_records("").unwrap(), record), [is_in], "{record}");
        }
    }

    #[test]
    fn a_record_belongs_by_its_account_and_region_where_the_key_does_not_tell_them() {
        let selection = Selection {
            accounts: vec!["123456789012".to_owned()],
            regions: vec!["us-east-1".to_owned()],
            ..Selection::default()
        };
        let records = r#"{"recipientAccountId":"123456789012","awsRegion":"us-east-1"},
            {"recipientAccountId":"123456789012","awsRegion":"us-west-2"},
            {"recipientAccountId":"999999999999","userIdentity":{"accountId":"123456789012"},"awsRegion":"us-east-1"},
            {"userIdentity":{"accountId":"123456789012"},"awsRegion":"us-east-1"},
            {"userIdentity":{"accountId":"999999999999"}},
            {"recipientAccountId":7,"awsRegion":""}"#;
        assert_eq!(taken(selection.of_records("").unwrap(), records), [true, false, false, true, false, true]);
        let name = "999999999999_CloudTrail_us-east-1_20261120T2110Z_x.json.gz";
        assert!(
            !selection.takes(name) && selection.of_records(name).is_none(),
            "the name decides, and not the records"
        );
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_a_mistake() {
        for (since, until, is_mistake) in [
            ("2026-11-20", "2026-11-20", false),
            ("2026-11-21", "2026-11-20", true),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z", false),
            ("1d", "7d", true),
            ("", "7d", false),
        ] {
            assert_eq!(selection(since, until).mistake().is_some(), is_mistake, "{since} {until}");
        }
    }
}

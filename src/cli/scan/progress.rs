//! The progress of a scan, on a terminal only.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::super::console::counted;
use crate::log::{Origin, Time};

/// The length of the bar: thousandths of the whole.
const WHOLE: u64 = 1_000;

/// Shows how much has been scanned, how fast, and how long the rest will take.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    start: Instant,
    whole: Whole,
    /// The time of the first log.
    first: Option<Time>,
}

/// All that is to be scanned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whole {
    Bytes(u64),
    /// Logs that are still being listed, until this time. They come in the order of the times in their names.
    Until(Time),
}

/// How much has been scanned.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) logs: u64,
    /// As they are stored.
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) matches: u64,
}

impl Progress {
    pub(super) fn new(whole: Whole) -> Self {
        let bar = ProgressBar::new(WHOLE);
        if let Ok(style) = ProgressStyle::with_template("{bar:8} {wide_msg}") {
            bar.set_style(style);
        }
        Progress { bar, start: Instant::now(), whole, first: None }
    }

    /// Shows what is done, of which the log of this name was the last.
    pub(super) fn show(&mut self, done: Done, log: &str) {
        if self.bar.is_hidden() {
            return;
        }
        let part = self.part(done, log);
        let seconds = self.start.elapsed().as_secs_f64();
        let left = part.filter(|part| *part > 0.0).map(|part| {
            self.bar.set_position(rounded(part * 1_000.0));
            let left = Duration::from_secs(rounded(seconds / part - seconds));
            format!("{} left, ", humantime::format_duration(left))
        });
        #[allow(clippy::cast_precision_loss)]
        let per_second = |n: u64| rounded(n as f64 / seconds.max(0.001));
        let Done { logs, bytes, records, matches } = done;
        self.bar.set_message(format!(
            "{}{}, {}/s, {} records/s, {} matches/s",
            left.unwrap_or_default(),
            counted(logs, "log"),
            HumanBytes(per_second(bytes)),
            per_second(records),
            per_second(matches),
        ));
    }

    /// Which part of the whole is done, from 0 to 1.
    fn part(&mut self, done: Done, log: &str) -> Option<f64> {
        match self.whole {
            Whole::Bytes(0) => None,
            #[allow(clippy::cast_precision_loss)]
            Whole::Bytes(all) => Some((done.bytes as f64 / all as f64).min(1.0)),
            Whole::Until(end) => {
                let now = Origin::of(log).time.and_then(moment)?;
                let first = *self.first.get_or_insert(now);
                let span = |end| if end > first { first.distance(end).as_secs_f64() } else { 0.0 };
                (span(end) > 0.0).then(|| (span(now) / span(end)).min(1.0))
            }
        }
    }

    /// Hides it while something else is written.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // to be shown
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// The moment of a time as names have it, `YYYYMMDDTHHmmZ`.
fn moment(time: &str) -> Option<Time> {
    let part = |range| time.get(range).unwrap_or_default();
    let [year, month, day, hour, minute] = [0..4, 4..6, 6..8, 9..11, 11..13].map(part);
    Time::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_done_is_known_by_bytes_or_by_time() {
        let name = |time| format!("1_CloudTrail_r_{time}_x.json.gz");
        let done = Done { bytes: 25, ..Done::default() };
        let part = |whole, logs: &[&str]| {
            let mut progress = Progress::new(whole);
            logs.iter().map(|log| progress.part(done, log)).collect::<Vec<_>>()
        };
        assert_eq!(part(Whole::Bytes(100), &["x"]), [Some(0.25)]);
        assert_eq!(part(Whole::Bytes(0), &["x"]), [None]);
        assert_eq!(part(Whole::Bytes(10), &["x"]), [Some(1.0)], "files may grow");
        let until = Whole::Until(Time::parse("2026-11-20T04:00:00Z").unwrap());
        let logs = ["x", "20261120T0000Z", "20261120T0100Z", "20261121T0000Z", "20261199T0000Z"].map(name);
        let logs: Vec<_> = logs.iter().map(String::as_str).collect();
        assert_eq!(part(until, &logs), [None, Some(0.0), Some(0.25), Some(1.0), None]);
    }
}

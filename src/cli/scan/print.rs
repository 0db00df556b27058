//! The printing thread of a scan: the alerts of all logs in their order, with the memory between them.

use std::sync::Arc;
use std::{io, mem};

use super::super::console::say_error;
use super::super::summary::Sample;
use super::facts::Facts;
use super::in_order::InOrder;
use super::progress::{Done, Progress};
use super::question::Question;
use super::seen::Seen;
use super::statistics::Statistics;
use super::what_if::WhatIf;
use super::worker::{LogCounts, Part, Printable, PrintedAlert, samples};
use crate::alert::{Alert, Call};
use crate::evaluate::{Limiter, Pending};
use crate::memory::Groups;
use crate::rules::{Filter, Format};

/// How much is remembered between logs, in bytes: some 300,000 groups.
const MEMORY: usize = 64 << 20;

/// The time on the clock, on which nothing depends: an alert is published as soon as it has been decided.
const NOW: u64 = 0;

/// What the printing thread works with.
pub(super) struct Printer<'p, 'f, S> {
    filter: &'f Filter,
    format: Format,
    what_if: Option<&'f WhatIf>,
    parts: &'p InOrder<Arc<Part<'f>>>,
    seen: &'p Seen,
    statistics: &'p mut Statistics<'f>,
    progress: Progress,
    show: S,
    memory: Groups,
    /// Whether it was said that S3 refuses everything.
    is_refused: bool,
}

impl<'p, 'f, S: FnMut(&str) -> io::Result<()>> Printer<'p, 'f, S> {
    pub(super) fn new(
        Question { filter, format, what_if, .. }: Question<'f>,
        (parts, seen): (&'p InOrder<Arc<Part<'f>>>, &'p Seen),
        statistics: &'p mut Statistics<'f>,
        progress: Progress,
        show: S,
    ) -> Self {
        Printer {
            filter,
            format,
            what_if,
            parts,
            seen,
            statistics,
            progress,
            show,
            memory: Groups::new(MEMORY),
            is_refused: false,
        }
    }

    /// Hands over the alerts of all logs, log by log, and counts.
    pub(super) fn print(mut self) -> io::Result<()> {
        let mut number = 0;
        while let Some(first) = self.parts.next() {
            self.log(number, first)?;
            number += 1;
        }
        self.statistics.note_memory(self.memory.has_all());
        Ok(())
    }

    /// Hands over the alerts of the log of this number, of which the first part has come.
    fn log(&mut self, number: usize, first: Arc<Part<'f>>) -> io::Result<()> {
        let name = first.log.clone();
        let mut limiter = Limiter::new(self.filter, &name, Some(self.format));
        let (mut next, mut text) = (Some(first), String::new());
        while let Some(part) = next {
            text.clear();
            self.results(number, &part, &mut limiter, &mut text);
            if let Some(end) = &part.end {
                self.statistics.limit(&limiter.limited());
                for (time, summary) in limiter.dated_summaries() {
                    self.add(Alert { time, ..summary }, None, &mut text);
                }
                self.show(&text)?;
                self.end(end, &name);
                break;
            }
            self.show(&text)?;
            next = self.parts.next();
        }
        Ok(())
    }

    /// Adds the alerts of some results of a log to the text.
    fn results<'a>(&mut self, number: usize, part: &Part<'f>, limiter: &mut Limiter<'a, 'f>, text: &mut String)
    where
        'f: 'a,
    {
        // Asked once for many matches, because the threads that read need them for each.
        let earlier = self.seen.events();
        let is_repeat = |found: &Printable<'_>| found.event.is_some_and(|event| earlier.is_in_earlier(event, number));
        let repeats: Vec<_> = part.results.iter().map(is_repeat).collect();
        drop(earlier);
        for (found, is_repeat) in part.results.iter().zip(repeats) {
            match &found.pending {
                _ if is_repeat => self.statistics.repeats += 1,
                Some(pending) => self.decide(pending, &found.facts, limiter, text),
                None => self.decided(found, text),
            }
        }
    }

    fn end(&mut self, end: &LogCounts, log: &str) {
        match &end.error {
            Some(error) => {
                // The first one tells of the others.
                if !(end.is_refused && mem::replace(&mut self.is_refused, true)) {
                    self.progress.suspend(|| say_error(error));
                }
                self.statistics.fail(error);
            }
            None => self.statistics.logs += 1,
        }
        self.statistics.count_log(end);
        let Statistics { logs, failed, bytes, records, matches, .. } = *self.statistics;
        self.progress.show(Done { logs: logs + failed, bytes, records, matches }, log);
    }

    /// Asks the memory about a match, and adds its alerts to the text.
    fn decide<'a>(&mut self, pending: &Pending<'f>, facts: &Facts<'f>, limiter: &mut Limiter<'a, 'f>, text: &mut String)
    where
        'f: 'a,
    {
        let decisions = pending.sightings().iter().map(|sighting| self.memory.decide(sighting, NOW)).collect();
        let (matched, alerts) = limiter.decided(pending, decisions);
        let more = self.what_if.is_some().then(|| {
            let record = pending.record();
            Facts::of(&matched, &record, &Call::of(&record), self.what_if)
        });
        self.statistics.count(&matched, more.as_ref().unwrap_or(facts));
        if let Some(alerts) = alerts {
            let samples = samples(&alerts, self.what_if.is_some());
            for (alert, sample) in alerts.zip(samples) {
                self.add(alert, sample, text);
            }
        }
    }

    /// Adds the alerts of a match that did not wait.
    fn decided(&mut self, found: &Printable<'f>, text: &mut String) {
        if let Some(matched) = &found.matched {
            self.statistics.count(matched, &found.facts);
        }
        for alert in &found.alerts {
            self.statistics.count_message(alert);
            alert.push_to(text);
        }
    }

    fn add(&mut self, alert: Alert, sample: Option<Sample>, text: &mut String) {
        for receipt in &alert.receipts {
            self.memory.published(*receipt);
        }
        let alert = PrintedAlert::of(alert, self.format, sample);
        self.statistics.count_message(&alert);
        alert.push_to(text);
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.progress.suspend(|| (self.show)(text)) }
    }
}

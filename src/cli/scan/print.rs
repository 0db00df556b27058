//! The printing thread of a scan: the alerts of all logs in their order, with the memory between them.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::super::console::say_error;
use super::super::summary::Sample;
use super::facts::Facts;
use super::in_order::InOrder;
use super::seen::Seen;
use super::statistics::Statistics;
use super::what_if::WhatIf;
use super::worker::{Part, Printable, PrintedAlert, samples};
use crate::alert::Alert;
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
    progress: &'p ProgressBar,
    show: S,
    memory: Groups,
}

impl<'p, 'f, S: FnMut(&str) -> io::Result<()>> Printer<'p, 'f, S> {
    pub(super) fn new(
        filter: &'f Filter,
        format: Format,
        what_if: Option<&'f WhatIf>,
        (parts, seen): (&'p InOrder<Arc<Part<'f>>>, &'p Seen),
        statistics: &'p mut Statistics<'f>,
        progress: &'p ProgressBar,
        show: S,
    ) -> Self {
        Printer { filter, format, what_if, parts, seen, statistics, progress, show, memory: Groups::new(MEMORY) }
    }

    /// Hands over the alerts of all logs, log by log, and counts.
    pub(super) fn print(mut self, logs: &[PathBuf]) -> io::Result<()> {
        logs.iter().enumerate().try_for_each(|(number, log)| self.log(number, &log.display().to_string()))?;
        self.statistics.note_memory(self.memory.has_all());
        Ok(())
    }

    fn log(&mut self, number: usize, name: &str) -> io::Result<()> {
        let mut limiter = Limiter::new(self.filter, name, Some(self.format));
        // The rules of which the summaries of the thread that read the log may speak: its other summaries are about events of
        // the logs before it.
        let mut flooded = HashSet::new();
        while let Some(part) = self.parts.next() {
            let mut text = String::new();
            // Asked once for many matches, because the threads that read need them for each.
            let earlier = self.seen.events();
            let is_repeat =
                |found: &Printable<'_>| found.event.is_some_and(|event| earlier.is_in_earlier(event, number));
            let repeats: Vec<_> = part.results.iter().map(is_repeat).collect();
            drop(earlier);
            for (found, is_repeat) in part.results.iter().zip(repeats) {
                match &found.pending {
                    _ if is_repeat => self.statistics.repeats += 1,
                    Some(pending) => self.decide(pending, &mut limiter, &mut text)?,
                    None => self.decided(found, &mut flooded, &mut text),
                }
            }
            let Some(end) = &part.end else {
                self.show(&text)?;
                continue;
            };
            self.statistics.limit(&limiter.limited());
            for (time, summary) in limiter.dated_summaries() {
                self.add(Alert { time, ..summary }, None, &mut text);
            }
            self.show(&text)?;
            match &end.error {
                Some(error) => {
                    self.progress.suspend(|| say_error(error));
                    self.statistics.fail(error);
                }
                None => self.statistics.logs += 1,
            }
            self.statistics.count_log(end);
            self.progress.set_message(format!("{} matches", self.statistics.matches));
            self.progress.inc(1);
            break;
        }
        Ok(())
    }

    /// Asks the memory about a match, and adds its alerts to the text.
    fn decide<'a>(&mut self, pending: &Pending<'f>, limiter: &mut Limiter<'a, 'f>, text: &mut String) -> io::Result<()>
    where
        'f: 'a,
    {
        let decisions = pending.sightings().iter().map(|sighting| self.memory.decide(sighting, NOW)).collect();
        // It was a record when it was found.
        let (matched, alerts) = limiter.decided(pending, decisions).map_err(io::Error::other)?;
        self.statistics.count(&matched, &Facts::of(&matched, &alerts, self.what_if));
        let samples = samples(&alerts, self.what_if.is_some());
        for (alert, sample) in alerts.zip(samples) {
            self.add(alert, sample, text);
        }
        Ok(())
    }

    /// Adds the alerts of a match that needs no memory, or the summaries of its log.
    fn decided(&mut self, found: &Printable<'f>, flooded: &mut HashSet<&'f str>, text: &mut String) {
        if let Some(matched) = &found.matched {
            self.statistics.count(matched, &found.facts);
            if matched.summarised > 0 {
                flooded.extend(matched.hits.iter().map(|hit| hit.rule.name.as_str()));
            }
        }
        for alert in &found.alerts {
            if found.matched.is_some() || alert.rules.iter().any(|rule| flooded.contains(rule.as_str())) {
                self.statistics.count_message(alert);
                text.push_str(&alert.text);
            }
        }
    }

    fn add(&mut self, alert: Alert, sample: Option<Sample>, text: &mut String) {
        for receipt in &alert.receipts {
            self.memory.published(*receipt);
        }
        let alert = PrintedAlert::of(alert, self.format, sample);
        self.statistics.count_message(&alert);
        text.push_str(&alert.text);
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.progress.suspend(|| (self.show)(text)) }
    }
}

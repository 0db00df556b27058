//! A thread of a scan: reads logs, and hands their matches over for printing.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::{iter, mem};

use console::Style;

use super::super::summary::Sample;
use super::ahead::{Download, Refused};
use super::facts::Facts;
use super::in_order::{Closed, InOrder};
use super::known::{Known, Outcome};
use super::pipe::Pipe;
use super::question::Question;
use super::seen::{self, Seen};
use super::selection::Selection;
use super::source::Source;
use super::span::Span;
use super::what_if::WhatIf;
use crate::alert::Alert;
use crate::evaluate::{Alerts, Evaluator, Match, Pending, Verdict};
use crate::log::LogFile;
use crate::rules::{Filter, Format, Learned, Matcher};

/// A log that is scanned next.
pub(super) struct Log {
    pub(super) source: Source,
    /// Its bytes, if it is in S3.
    pub(super) download: Option<Download>,
}

/// How many bytes of a file are read at once.
const PIECE: usize = 64 << 10;

/// How many bytes of results are handed over at once. Each time, two threads wake each other: with a sixteenth of it, a scan of
/// which everything matches takes a tenth longer.
const PART: usize = 1 << 20;

/// The most of an alert that is kept as an example, in bytes.
const SAMPLE_LIMIT: usize = 8 << 10;

/// A thread, with everything that it keeps between logs.
pub(super) struct Worker<'a, 'f> {
    filter: &'f Filter,
    learned: Learned,
    /// Where it is given, only records that a rule of it matches are looked at.
    only: Option<(&'f Filter, Learned)>,
    selection: &'a Selection,
    format: Format,
    /// Where details are asked for.
    what_if: Option<&'f WhatIf>,
    seen: &'a Seen,
    known: Known,
    log_file: LogFile,
    buffer: Vec<u8>,
    output: Output<'a, 'f>,
}

/// A part of a log's results: some of its matches, and at last its counts.
#[derive(Default)]
pub(super) struct Part<'f> {
    /// The log's name.
    pub(super) log: Arc<str>,
    pub(super) results: Vec<Printable<'f>>,
    size: usize,
    pub(super) end: Option<LogCounts>,
}

/// What a log had.
#[derive(Debug, Default)]
pub(super) struct LogCounts {
    /// As they are stored.
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Records that do not belong to the selection.
    pub(super) outside: u64,
    /// Matches of an event that this log, or one before it, has had.
    pub(super) repeats: u64,
    pub(super) span: Span,
    /// As in [`Learned`](crate::rules::Learned).
    pub(super) paths_seen: Vec<bool>,
    /// Why it could not be read further.
    pub(super) error: Option<String>,
    /// Whether S3 would refuse all others, too, for the same reason.
    pub(super) is_refused: bool,
}

/// A match with its alerts ready to be printed, or one that waits for its turn.
#[derive(Default)]
pub(super) struct Printable<'f> {
    pub(super) matched: Option<Match<'f>>,
    pub(super) pending: Option<Box<Pending<'f>>>,
    /// The hash of the match's event.
    pub(super) event: Option<u128>,
    pub(super) facts: Facts<'f>,
    pub(super) alerts: Vec<PrintedAlert>,
}

pub(super) struct PrintedAlert {
    /// The names of its rules.
    pub(super) rules: Vec<String>,
    /// The `eventTime` of its record, or of the latest one.
    pub(super) time: Option<String>,
    /// As it is printed. JSON has it in its body.
    subject: Option<String>,
    body: String,
    /// Where details are asked for.
    pub(super) sample: Option<Sample>,
}

impl<'a, 'f> Worker<'a, 'f> {
    pub(super) fn new(
        Question { filter, only, format, what_if }: Question<'f>,
        selection: &'a Selection,
        seen: &'a Seen,
        parts: &'a InOrder<Arc<Part<'f>>>,
    ) -> Self {
        let learned = Learned::with_paths(filter);
        Worker {
            filter,
            known: Known::default(),
            learned,
            only: only.map(|only| (only, Learned::new(only))),
            selection,
            format,
            what_if,
            seen,
            log_file: LogFile::offline(),
            buffer: vec![0; PIECE],
            output: Output { parts, log: Arc::default(), next: Part::default(), sent: VecDeque::new() },
        }
    }

    /// Scans the log of this number.
    pub(super) fn scan(&mut self, number: usize, log: Log) -> Result<(), Closed> {
        let name: Arc<str> = log.source.to_string().into();
        self.output.log.clone_from(&name);
        let mut counts = LogCounts::default();
        let read = self.read(number, &name, log, &mut counts);
        if let Err(e) = read {
            if e.is::<Closed>() {
                return Err(Closed);
            }
            counts.is_refused = Refused::is(&*e);
            counts.error = Some(format!("{name}: {e}"));
        }
        counts.paths_seen = self.learned.paths_seen();
        self.output.next.end = Some(counts);
        self.output.send(number)
    }

    fn read(&mut self, number: usize, name: &str, log: Log, counts: &mut LogCounts) -> Result<(), Box<dyn Error>> {
        let Worker { filter, learned, only, selection, format, what_if, seen, known, log_file, buffer, output } = self;
        log_file.restart();
        let of_records = if selection.is_all() { None } else { selection.of_records(&log.source.key()) };
        let parts = output.parts;
        let mut input = log.open(|| parts.is_closed())?;
        let mut evaluator = Evaluator::of_several(Matcher::new(filter, learned), name, Some(*format));
        let mut only = only.as_ref().map(|(only, learned)| Evaluator::new(Matcher::new(only, learned), name, None));
        let looks_into_all = learned.looks_into_all();
        let mut evaluate = |piece: Option<&[u8]>| -> Result<(), Box<dyn Error>> {
            output.free_printed();
            let mut records = log_file.read(piece);
            while let Some(record) = records.next()? {
                if of_records.as_ref().is_some_and(|of_records| !of_records.takes(&record)) {
                    counts.outside += 1;
                    continue;
                }
                // Without rules for any call, most records are told by their call alone.
                let may_be_known = looks_into_all && known.are_many();
                let candidates = (!may_be_known).then(|| evaluator.candidates(&record));
                let is_candidate = candidates.as_ref().is_none_or(|rules| !rules.is_empty());
                let mut known = is_candidate.then(|| (known.key(record.bytes), &mut *known));
                let outcome = known.as_mut().and_then(|(key, known)| known.outcome(*key));
                if outcome.is_some_and(|outcome| outcome.holds_in(number)) {
                    counts.records += 1;
                    counts.repeats += u64::from(outcome != Some(Outcome::Unmatched));
                    continue;
                }
                counts.span.extend(record.bytes);
                let is_left_out = match &mut only {
                    Some(only) if is_candidate => matches!(only.evaluate(&record)?, Verdict::Unmatched),
                    _ => !is_candidate,
                };
                let verdict = match candidates {
                    _ if is_left_out => Verdict::Unmatched,
                    Some(candidates) => evaluator.decide(&record, &candidates)?,
                    None => evaluator.evaluate(&record)?,
                };
                counts.records += 1;
                let mut note = |outcome| known.iter_mut().for_each(|(key, known)| known.note(*key, outcome));
                let event = match &verdict {
                    Verdict::Unmatched => {
                        note(Outcome::Unmatched);
                        continue;
                    }
                    Verdict::Matched(matched, _) => seen::event(matched.event, &matched.hits),
                    Verdict::Pending(pending, _) => seen::event(pending.event, &pending.hits),
                };
                if let Some(event) = event {
                    note(Outcome::MatchedIn(number));
                    if seen.events().note(event, number) {
                        counts.repeats += 1;
                        continue;
                    }
                }
                let mut found = Printable { event, ..Printable::default() };
                match verdict {
                    Verdict::Matched(matched, alerts) => {
                        found.facts = Facts::of(&matched, alerts.record(), alerts.call(), *what_if);
                        let samples = samples(&alerts, what_if.is_some());
                        let printed =
                            alerts.zip(samples).map(|(alert, sample)| PrintedAlert::of(alert, *format, sample));
                        found.alerts = printed.collect();
                        found.matched = Some(matched);
                    }
                    Verdict::Pending(pending, record) => {
                        found.facts = Facts::names(&record);
                        found.pending = Some(pending);
                    }
                    Verdict::Unmatched => {}
                }
                output.add(number, found)?;
            }
            Ok(())
        };
        let mut bytes = 0;
        let read = loop {
            if parts.is_closed() {
                return Err(Closed.into());
            }
            let length = match input.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    // The last whole records may still wait. The first error says more than that the log has no end.
                    evaluate(None).ok();
                    break Err(e.into());
                }
                Ok(length) => length,
            };
            bytes += length as u64;
            let evaluated = evaluate((length > 0).then_some(&buffer[..length]));
            if length == 0 || evaluated.is_err() {
                break evaluated;
            }
        };
        counts.bytes = bytes;
        read
    }
}

impl Log {
    fn open<'p>(self, is_over: impl Fn() -> bool + 'p) -> io::Result<Box<dyn Read + 'p>> {
        Ok(match (self.source, self.download) {
            (_, Some(download)) => Box::new(download),
            (Source::Stdin, None) => Box::new(Pipe::of(None, is_over)),
            (Source::File(path), None) if path.metadata()?.is_file() => Box::new(File::open(path)?),
            (Source::File(path), None) => Box::new(Pipe::of(Some(path), is_over)),
            (Source::Object(_), None) => return Err(io::Error::other("it was not requested")),
        })
    }
}

impl Printable<'_> {
    /// Its memory, with what the allocator adds to each of its texts.
    fn size(&self) -> usize {
        const ALLOCATION: usize = 32;
        let text = |text: &str| text.len() + ALLOCATION;
        let matched = self.matched.iter().map(|Match { hits, .. }| size_of_val(hits.as_slice()) + ALLOCATION);
        let alerts = self.alerts.iter().map(|PrintedAlert { rules, subject, body, sample, .. }| {
            let rules = rules.iter().map(|rule| size_of::<String>() + text(rule)).sum::<usize>();
            let sample = sample.as_ref().map_or(0, |sample| text(&sample.subject) + text(&sample.body));
            let body = body.capacity() + subject.as_ref().map_or(0, String::capacity);
            size_of::<PrintedAlert>() + rules + body + 4 * ALLOCATION + sample
        });
        let pending = self.pending.as_ref().map_or(0, |pending| pending.size());
        size_of::<Self>() + ALLOCATION + matched.sum::<usize>() + self.facts.size() + alerts.sum::<usize>() + pending
    }
}

impl PrintedAlert {
    pub(super) fn of(alert: Alert, format: Format, sample: Option<Sample>) -> Self {
        let Alert { rules, time, subject, body, .. } = alert;
        PrintedAlert { rules, time, subject: (format != Format::Json).then_some(subject), body, sample }
    }

    /// Writes it behind other ones.
    pub(super) fn push_to(&self, text: &mut String) {
        if let Some(subject) = &self.subject {
            if console::colors_enabled() {
                text.push_str(&Style::new().bold().apply_to(format_args!("Subject: {subject}")).to_string());
            } else {
                text.push_str("Subject: ");
                text.push_str(subject);
            }
            text.push('\n');
        }
        text.push_str(&self.body);
        text.push('\n');
    }
}

/// The texts of alerts for people, if they are wanted.
pub(super) fn samples(alerts: &Alerts<'_>, are_wanted: bool) -> impl Iterator<Item = Option<Sample>> + use<> {
    let texts = if are_wanted { alerts.in_text() } else { Vec::new() };
    let sample = |Alert { subject, mut body, .. }: Alert| {
        body.truncate(body.floor_char_boundary(SAMPLE_LIMIT));
        Some(Sample { subject, body })
    };
    texts.into_iter().map(sample).chain(iter::repeat(None))
}

/// The way of a thread's results to the printing thread.
struct Output<'a, 'f> {
    parts: &'a InOrder<Arc<Part<'f>>>,
    /// The name of the log that is being read.
    log: Arc<str>,
    /// Gathers results, because every handing over wakes another thread.
    next: Part<'f>,
    /// The parts that are not printed yet. They are freed by the thread that made them: a scan of which everything matches
    /// then takes a sixth less time, because threads need not wait for each other's memory.
    sent: VecDeque<Arc<Part<'f>>>,
}

impl<'f> Output<'_, 'f> {
    fn add(&mut self, log: usize, outcome: Printable<'f>) -> Result<(), Closed> {
        self.next.size += outcome.size();
        self.next.results.push(outcome);
        if self.next.size < PART { Ok(()) } else { self.send(log) }
    }

    fn free_printed(&mut self) {
        while self.sent.front().is_some_and(|part| Arc::strong_count(part) == 1) {
            self.sent.pop_front();
        }
    }

    fn send(&mut self, log: usize) -> Result<(), Closed> {
        self.free_printed();
        self.next.log.clone_from(&self.log);
        let part = Arc::new(mem::take(&mut self.next));
        self.sent.push_back(part.clone());
        let (size, is_last) = (part.size, part.end.is_some());
        self.parts.send(log, part, size, is_last)
    }
}

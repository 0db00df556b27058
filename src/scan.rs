//! `scan`: the alerts that logs in files would send. Logs are read on all cores, and printed in their order.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use console::Style;
use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::alert::Alert;
use crate::cli::{SOME_FAILED, WRONG_INPUT, load, say, say_error, say_warning};
use crate::configuration::suggestion;
use crate::event;
use crate::filter::{Format, Matcher};
use crate::in_order::{Closed, InOrder};
use crate::log_file::{LogFile, RawRecord};
use crate::summary::{LogEnd, Summary};
use crate::triage::{Match, Outcome, Triage};

/// How many bytes of a file are read at once.
const PIECE: usize = 64 << 10;
/// How many bytes of alerts may wait until the logs before them are printed.
const WAITING_LIMIT: usize = 64 << 20;

/// Prints the alerts that these logs and folders would send with a configuration file, or with one rule of it, and a
/// summary on stderr; gives the exit status.
#[must_use]
pub fn scan(config: &Path, rule: Option<&str>, format: Format, paths: Vec<PathBuf>) -> ExitCode {
    let Some(mut filter) = load(config) else { return ExitCode::from(WRONG_INPUT) };
    if let Some(rule) = rule {
        let names: Vec<_> = filter.rules.iter().map(|rule| rule.name.as_str()).collect();
        if !names.contains(&rule) {
            say_error(&format!("{}: the rule `{rule}` is not known{}", config.display(), suggestion(rule, &names)));
            return ExitCode::from(WRONG_INPUT);
        }
        filter.rules.retain(|known| known.name == rule);
    }
    let filter = filter;
    let mut summary = Summary::new(&filter);
    let logs = logs_below(paths, config, &mut summary);
    let progress = ProgressBar::new(logs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} logs, {per_sec}, {msg}, {eta} left") {
        progress.set_style(style);
    }
    let work = Mutex::new(Work::new(&logs));
    let results = InOrder::new(logs.len(), WAITING_LIMIT);
    let printed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for i in 0..threads.min(logs.len()) {
            let (logs, work, results, filter) = (&logs, &work, &results, &filter);
            scope.spawn(move || {
                let _guard = results.close_on_panic();
                let mut worker = Worker { log_file: LogFile::new(), matcher: Matcher::new(filter, true), format };
                while let Some(log) = take(work, i == 0) {
                    if worker.scan(&logs[log], &Printer { results, log }).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = results.close_on_panic();
        // A reader who has gone, or a full disk, ends the scanning, too.
        print(&results, &mut summary, &progress).inspect_err(|_| results.close())
    });
    progress.finish_and_clear();
    match printed {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            say_error(&format!("stdout: {e}"));
            ExitCode::from(SOME_FAILED)
        }
        Ok(()) => {
            say(summary.to_text().trim_end());
            if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) }
        }
    }
}

/// The files to scan: those that are named, and those below folders.
fn logs_below(paths: Vec<PathBuf>, config: &Path, summary: &mut Summary<'_>) -> Vec<PathBuf> {
    let config = config.canonicalize().ok();
    let mut logs = Vec::new();
    for path in paths {
        if is_stdin(&path) || !path.is_dir() {
            logs.push(path);
            continue;
        }
        let before = (logs.len(), summary.skipped);
        for entry in WalkDir::new(&path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_named_as_log(entry.path()) => {
                    // The layout may begin above the folder that was given.
                    let key = std::path::absolute(entry.path()).unwrap_or_default();
                    let is_config = config.is_some() && entry.path().canonicalize().ok() == config;
                    if is_config || event::no_log(&key.to_string_lossy().replace('\\', "/")).is_some() {
                        summary.skipped += 1;
                    } else {
                        logs.push(entry.into_path());
                    }
                }
                Ok(_) => {}
                Err(e) => fail(summary, &e.to_string()),
            }
        }
        if (logs.len(), summary.skipped) == before {
            say_warning(&format!("{}: no .json.gz or .json file is below it", path.display()));
        }
    }
    logs
}

fn is_named_as_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json.gz") || name.ends_with(".json")
}

/// What a log's scan hands over for printing.
enum Piece<'f> {
    Found(Vec<Found<'f>>),
    End { log: LogEnd, error: Option<String> },
}

/// A match, or a summary, with its alerts ready to be printed.
struct Found<'f> {
    event_id: Option<String>,
    matched: Option<Match<'f>>,
    alerts: Vec<(Vec<String>, String)>,
}

/// To where a log's pieces go.
struct Printer<'a, 'f> {
    results: &'a InOrder<Piece<'f>>,
    log: usize,
}

impl<'f> Printer<'_, 'f> {
    fn send(&self, piece: Piece<'f>) -> Result<(), Closed> {
        let (size, last) = match &piece {
            Piece::Found(found) => (found.iter().map(Found::size).sum(), false),
            Piece::End { .. } => (0, true),
        };
        self.results.send(self.log, piece, size, last)
    }
}

/// The logs that nobody has taken yet.
struct Work {
    taken: Vec<bool>,
    /// The first that may not be taken.
    first: usize,
    /// All of them, the largest last.
    by_size: Vec<usize>,
}

impl Work {
    fn new(logs: &[PathBuf]) -> Self {
        let mut by_size: Vec<_> = (0..logs.len()).collect();
        by_size.sort_by_cached_key(|log| (fs::metadata(&logs[*log]).map_or(0, |file| file.len()), Reverse(*log)));
        Work { taken: vec![false; logs.len()], first: 0, by_size }
    }
}

/// Takes a log. One thread takes the first in order, so that what is printed next is always being read; the others take
/// the largest, so that at the end nobody has to wait for one of them.
fn take(work: &Mutex<Work>, in_order: bool) -> Option<usize> {
    let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let log = if in_order { work.first } else { work.by_size.pop()? };
        if in_order {
            work.first += 1;
        }
        if !std::mem::replace(work.taken.get_mut(log)?, true) {
            return Some(log);
        }
    }
}

/// What a thread keeps between logs.
struct Worker<'f> {
    log_file: LogFile,
    matcher: Matcher<'f>,
    format: Format,
}

impl<'f> Worker<'f> {
    fn scan(&mut self, path: &Path, printer: &Printer<'_, 'f>) -> Result<(), Closed> {
        let mut end = LogEnd::default();
        let error = match self.read(path, printer, &mut end) {
            Err(e) if e.is::<Closed>() => return Err(Closed),
            read => read.err().map(|e| format!("{}: {e}", path.display())),
        };
        end.seen = self.matcher.seen().to_vec();
        printer.send(Piece::End { log: end, error })
    }

    fn read(&mut self, path: &Path, printer: &Printer<'_, 'f>, end: &mut LogEnd) -> Result<(), Box<dyn Error>> {
        let Worker { log_file: log, matcher, format } = self;
        let format = *format;
        log.restart();
        let mut input: Box<dyn Read> = if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
        let name = path.display().to_string();
        let mut triage = Triage::new(matcher, &name, Some(format));
        let mut buffer = vec![0; PIECE];
        let result = loop {
            let read = match input.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let mut rest = &buffer[..*read.as_ref().unwrap_or(&0)];
            let at_end = rest.is_empty();
            let scanned = loop {
                let mut found = Vec::new();
                let mut on_record = |raw: &RawRecord<'_>| {
                    end.span.extend(raw.bytes);
                    if let Outcome::Matched(matched) = triage.record(raw)? {
                        found.push(Found::of(matched, format));
                    }
                    Ok(())
                };
                // Where reading broke off, whole records may still wait.
                let more = if at_end {
                    log.finish(&mut on_record).map(|()| false)
                } else {
                    log.step(&mut rest, &mut on_record)
                };
                if !found.is_empty() {
                    printer.send(Piece::Found(found))?;
                }
                if !matches!(more, Ok(true)) {
                    break more;
                }
            };
            match (read, scanned) {
                (Err(e), _) => break Err(e.into()),
                (_, Err(e)) => break Err(e.into()),
                _ if at_end => break Ok(()),
                _ => {}
            }
        };
        let summaries: Vec<_> = triage.summaries().iter().map(|alert| Found::summary(alert, format)).collect();
        if !summaries.is_empty() {
            printer.send(Piece::Found(summaries))?;
        }
        end.records = log.records();
        result
    }
}

impl<'f> Found<'f> {
    fn of(mut matched: Match<'f>, format: Format) -> Self {
        let alerts = std::mem::take(&mut matched.alerts);
        Found {
            event_id: matched.event_id.clone(),
            alerts: alerts.iter().map(|alert| (alert.rules.clone(), to_text(alert, format))).collect(),
            matched: Some(matched),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.alerts.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    fn summary(alert: &Alert, format: Format) -> Self {
        Found { event_id: None, matched: None, alerts: vec![(alert.rules.clone(), to_text(alert, format))] }
    }
}

fn fail(summary: &mut Summary<'_>, what: &str) {
    say_error(what);
    summary.failed += 1;
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn to_text(alert: &Alert, format: Format) -> String {
    if format == Format::Json {
        return format!("{}\n", alert.body);
    }
    let subject = Style::new().for_stdout().bold().apply_to(format!("Subject: {}", alert.subject));
    format!("{subject}\n{}\n", alert.body)
}

/// Prints what the logs bring, log by log.
fn print<'f>(results: &InOrder<Piece<'f>>, summary: &mut Summary<'f>, progress: &ProgressBar) -> io::Result<()> {
    let mut seen = HashSet::new();
    while let Some(piece) = results.next() {
        match piece {
            Piece::Found(found) => {
                let mut text = String::new();
                for Found { event_id, matched, alerts } in found {
                    if event_id.is_some_and(|id| !seen.insert(id)) {
                        summary.repeats += 1;
                        continue;
                    }
                    if let Some(matched) = matched {
                        summary.count(matched);
                    }
                    for (rules, alert) in alerts {
                        summary.count_message(&rules);
                        text.push_str(&alert);
                    }
                }
                progress.suspend(|| {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
                })?;
            }
            Piece::End { log, error } => {
                match error {
                    Some(error) => progress.suspend(|| fail(summary, &error)),
                    None => summary.logs += 1,
                }
                summary.end_log(&log);
                progress.set_message(format!("{} matches", summary.matches));
                progress.inc(1);
            }
        }
    }
    Ok(())
}

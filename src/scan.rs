//! `scan`: the alerts that logs in files would send. Logs are read on all cores, and printed in their order.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
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

/// How many bytes of a file are read at once, and of alerts handed over at once.
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
    let sizes = logs.iter().map(|log| fs::metadata(log).map_or(0, |file| file.len())).collect();
    let work = Mutex::new(Work::new(sizes));
    let results = InOrder::new(logs.len(), WAITING_LIMIT);
    let printed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(logs.len());
        for i in 0..threads {
            let (logs, work, results, filter) = (&logs, &work, &results, &filter);
            // One thread never leaves the order, so that what is printed next is always being read.
            let take = move || work.lock().unwrap_or_else(PoisonError::into_inner).take(threads, i == 0);
            scope.spawn(move || {
                let _guard = results.close_on_panic();
                let (log_file, matcher) = (LogFile::new(), Matcher::new(filter, true));
                let printer = Printer { results, next: Piece::default(), sent: VecDeque::new() };
                let mut worker = Worker { log_file, matcher, format, printer };
                while let Some(log) = take() {
                    if worker.scan(log, &logs[log]).is_err() {
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
                    let key = from_root(entry.path());
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

/// A path with all its folders: the layout by which logs are known may begin above the one that was given.
fn from_root(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_default().components() {
        if part == Component::ParentDir {
            whole.pop();
        } else {
            whole.push(part);
        }
    }
    whole
}

fn is_named_as_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json.gz") || name.ends_with(".json")
}

/// What a log's scan hands over for printing: some of its matches, and at last its end.
#[derive(Default)]
struct Piece<'f> {
    found: Vec<Found<'f>>,
    size: usize,
    end: Option<LogEnd>,
}

/// A match, or a summary, with its alerts ready to be printed.
struct Found<'f> {
    matched: Option<Match<'f>>,
    alerts: Vec<(Vec<String>, String)>,
}

/// To where a thread's matches go.
struct Printer<'a, 'f> {
    results: &'a InOrder<Arc<Piece<'f>>>,
    /// Gathers, because every handing over wakes another thread.
    next: Piece<'f>,
    /// What was handed over, until it is printed: it is let go by the thread that made it, which can reuse the memory
    /// without waiting for another.
    sent: VecDeque<Arc<Piece<'f>>>,
}

impl<'f> Printer<'_, 'f> {
    fn add(&mut self, log: usize, found: Vec<Found<'f>>) -> Result<(), Closed> {
        while self.sent.front().is_some_and(|piece| Arc::strong_count(piece) == 1) {
            self.sent.pop_front();
        }
        self.next.size += found.iter().map(Found::size).sum::<usize>();
        self.next.found.extend(found);
        if self.next.size < PIECE { Ok(()) } else { self.send(log) }
    }

    fn end(&mut self, log: usize, end: LogEnd) -> Result<(), Closed> {
        self.next.end = Some(end);
        self.send(log)
    }

    fn send(&mut self, log: usize) -> Result<(), Closed> {
        let piece = Arc::new(mem::take(&mut self.next));
        self.sent.push_back(piece.clone());
        let (size, last) = (piece.size, piece.end.is_some());
        self.results.send(log, piece, size, last)
    }
}

/// Which logs nobody has taken yet.
struct Work {
    sizes: Vec<u64>,
    /// All of them, the largest last.
    by_size: Vec<usize>,
    taken: Vec<bool>,
    /// Those before it are taken.
    first: usize,
    /// The size of all that nobody has taken.
    left: u64,
}

impl Work {
    fn new(sizes: Vec<u64>) -> Self {
        let mut by_size: Vec<_> = (0..sizes.len()).collect();
        by_size.sort_by_key(|log| (sizes[*log], Reverse(*log)));
        Work { left: sizes.iter().sum(), taken: vec![false; sizes.len()], sizes, by_size, first: 0 }
    }

    /// Takes the first log, or one that is so large that the others of these threads would have to wait for it at the
    /// end. What is taken early waits in memory until it is its turn to be printed.
    fn take(&mut self, threads: usize, in_order: bool) -> Option<usize> {
        while *self.taken.get(self.first)? {
            self.first += 1;
        }
        while self.by_size.pop_if(|log| self.taken[*log]).is_some() {}
        let largest = *self.by_size.last()?;
        let is_urgent = self.sizes[largest].saturating_mul(threads as u64) >= self.left;
        let log = if is_urgent && !in_order { largest } else { self.first };
        self.taken[log] = true;
        self.left -= self.sizes[log];
        Some(log)
    }
}

/// What a thread keeps between logs.
struct Worker<'a, 'f> {
    log_file: LogFile,
    matcher: Matcher<'f>,
    format: Format,
    printer: Printer<'a, 'f>,
}

impl Worker<'_, '_> {
    fn scan(&mut self, number: usize, path: &Path) -> Result<(), Closed> {
        let mut end = LogEnd::default();
        end.error = match self.read(number, path, &mut end) {
            Err(e) if e.is::<Closed>() => return Err(Closed),
            read => read.err().map(|e| format!("{}: {e}", path.display())),
        };
        end.seen = self.matcher.seen().to_vec();
        self.printer.end(number, end)
    }

    fn read(&mut self, number: usize, path: &Path, end: &mut LogEnd) -> Result<(), Box<dyn Error>> {
        let Worker { log_file: log, matcher, format, printer } = self;
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
                    match triage.record(raw)? {
                        Outcome::Matched(matched) => found.push(Found::of(matched, format)),
                        Outcome::Ignored => end.ignored += 1,
                        Outcome::Unmatched => {}
                    }
                    Ok(())
                };
                // Where reading broke off, whole records may still wait.
                let more = if at_end {
                    log.finish(&mut on_record).map(|()| false)
                } else {
                    log.step(&mut rest, &mut on_record)
                };
                printer.add(number, found)?;
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
        printer.add(number, triage.summaries().into_iter().map(|alert| Found::summary(alert, format)).collect())?;
        end.records = log.records();
        result
    }
}

impl<'f> Found<'f> {
    fn of(mut matched: Match<'f>, format: Format) -> Self {
        let alerts = mem::take(&mut matched.alerts).into_iter().map(|alert| to_print(alert, format)).collect();
        Found { matched: Some(matched), alerts }
    }

    fn summary(alert: Alert, format: Format) -> Self {
        Found { matched: None, alerts: vec![to_print(alert, format)] }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.alerts.iter().map(|(_, text)| text.len()).sum::<usize>()
    }
}

fn fail(summary: &mut Summary<'_>, what: &str) {
    say_error(what);
    summary.failed += 1;
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// An alert's rules, and what is printed of it.
fn to_print(alert: Alert, format: Format) -> (Vec<String>, String) {
    let text = if format == Format::Json {
        format!("{}\n", alert.body)
    } else {
        let subject = Style::new().for_stdout().bold().apply_to(format!("Subject: {}", alert.subject));
        format!("{subject}\n{}\n", alert.body)
    };
    (alert.rules, text)
}

/// Prints what the logs bring, log by log.
fn print<'f>(results: &InOrder<Arc<Piece<'f>>>, summary: &mut Summary<'f>, progress: &ProgressBar) -> io::Result<()> {
    let mut seen = HashSet::new();
    // Of the log that is being printed: the rules that a summary may speak of, since not all of it was there before.
    let mut flooded = HashSet::new();
    while let Some(piece) = results.next() {
        let mut text = String::new();
        for Found { matched, alerts } in &piece.found {
            if let Some(matched) = matched {
                if matched.event_id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
                    summary.repeats += 1;
                    continue;
                }
                summary.count(matched);
                if matched.summarised > 0 {
                    flooded.extend(matched.rules.iter().map(|rule| rule.name.as_str()));
                }
            }
            for (rules, alert) in alerts {
                if matched.is_none() && !rules.iter().any(|rule| flooded.contains(rule.as_str())) {
                    continue;
                }
                summary.count_message(rules);
                text.push_str(alert);
            }
        }
        if !text.is_empty() {
            progress.suspend(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            })?;
        }
        if let Some(end) = &piece.end {
            flooded.clear();
            match &end.error {
                Some(error) => progress.suspend(|| fail(summary, error)),
                None => summary.logs += 1,
            }
            summary.end_log(end);
            progress.set_message(format!("{} matches", summary.matches));
            progress.inc(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_begin_with_a_log_that_would_keep_them_waiting_and_else_follow_the_order() {
        for (sizes, taken) in [
            (&[1, 1, 1, 1][..], [0, 1, 2, 3].as_slice()),
            (&[1, 1, 1, 3], &[3, 0, 1, 2]),
            (&[1, 1, 1, 1, 2], &[0, 1, 4, 2, 3]),
            (&[5, 0], &[0, 1]),
            (&[u64::MAX / 2, u64::MAX / 2], &[0, 1]),
        ] {
            let mut work = Work::new(sizes.to_vec());
            assert_eq!(std::iter::from_fn(|| work.take(2, false)).collect::<Vec<_>>(), taken, "{sizes:?}");
            let mut work = Work::new(sizes.to_vec());
            assert_eq!(
                std::iter::from_fn(|| work.take(2, true)).collect::<Vec<_>>(),
                (0..sizes.len()).collect::<Vec<_>>()
            );
        }
    }
}

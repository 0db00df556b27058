//! `scan`: the alerts that logs in files would send. Logs are read on all cores, and printed in their order.

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use console::Style;
use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::alert::Alert;
use crate::cli::{SOME_FAILED, WRONG_INPUT, load, say, say_error, say_warning};
use crate::configuration::suggestion;
use crate::event;
use crate::filter::{Format, Matcher};
use crate::log_file::{LogFile, RawRecord};
use crate::summary::{LogEnd, Summary};
use crate::triage::{Match, Outcome, Triage};

/// How many bytes of a file are read at once.
const PIECE: usize = 64 << 10;
/// How many pieces' alerts, of each log, wait for the logs before it to be printed.
const PIECES_AHEAD: usize = 16;
/// How many logs may be read ahead of the one that is printed.
const LOGS_AHEAD: usize = 64;

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
    let (queue, channels) = sync_channel(LOGS_AHEAD);
    let waiting = Mutex::new(Waiting { logs: logs.iter(), queue: Some(queue) });
    let printed = thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (waiting, filter) = (&waiting, &filter);
            scope.spawn(move || {
                let mut matcher = Matcher::new(filter, true);
                while let Some((log, channel)) = next_log(waiting) {
                    scan_log(log, &mut matcher, format, &channel);
                }
            });
        }
        // A reader who has gone, or a full disk: dropping the channels stops the scanning, too.
        print(channels, &mut summary, &progress)
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

/// The logs that nobody has taken yet.
struct Waiting<'a, 'f> {
    logs: std::slice::Iter<'a, PathBuf>,
    /// Takes the channel of each log, in the order in which they are to be printed. `None` after the last one.
    queue: Option<SyncSender<Receiver<Piece<'f>>>>,
}

/// Takes the next log, and queues the channel through which it will be printed: under one lock, so that logs are
/// printed in their order.
fn next_log<'a, 'f>(waiting: &Mutex<Waiting<'a, 'f>>) -> Option<(&'a Path, SyncSender<Piece<'f>>)> {
    let mut waiting = waiting.lock().ok()?;
    let Some(log) = waiting.logs.next() else {
        waiting.queue = None;
        return None;
    };
    let (sender, receiver) = sync_channel(PIECES_AHEAD);
    waiting.queue.as_ref()?.send(receiver).ok()?;
    Some((log, sender))
}

fn scan_log<'f>(path: &Path, matcher: &mut Matcher<'f>, format: Format, channel: &SyncSender<Piece<'f>>) {
    let mut end = LogEnd::default();
    let error = read_log(path, matcher, format, channel, &mut end).err();
    let error = error.map(|e| format!("{}: {e}", path.display()));
    end.seen = matcher.seen().to_vec();
    // Nobody may be reading any more.
    let _ = channel.send(Piece::End { log: end, error });
}

fn read_log<'f>(
    path: &Path,
    matcher: &mut Matcher<'f>,
    format: Format,
    channel: &SyncSender<Piece<'f>>,
    end: &mut LogEnd,
) -> Result<(), Box<dyn Error>> {
    let mut input: Box<dyn Read> = if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let name = path.display().to_string();
    let mut log = LogFile::new();
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
            let more =
                if at_end { log.finish(&mut on_record).map(|()| false) } else { log.step(&mut rest, &mut on_record) };
            if !found.is_empty() && channel.send(Piece::Found(found)).is_err() {
                return Ok(()); // nobody reads any more
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
        let _ = channel.send(Piece::Found(summaries));
    }
    end.records = log.records();
    result
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

/// Prints what the logs' channels bring, log by log.
fn print<'f>(
    channels: Receiver<Receiver<Piece<'f>>>,
    summary: &mut Summary<'f>,
    progress: &ProgressBar,
) -> io::Result<()> {
    let mut seen = HashSet::new();
    for piece in channels.into_iter().flatten() {
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

//! The command line: checks a configuration, and shows what it would alert on, with the code that runs in Lambda.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use clap::{Parser, Subcommand, ValueEnum};
use console::{Style, style};
use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::alert::{self, Alert};
use crate::event;
use crate::filter::Filter;
use crate::log_file::{LogFile, RawRecord};
use crate::settings::{DEFAULT_CONFIG_FILE, Settings, TOPIC_ARN};

/// What a run that did its work ends with, although some logs could not be read.
const SOME_FAILED: u8 = 1;
/// What a wrong command line or configuration ends with.
const WRONG_INPUT: u8 = 2;

/// How many bytes of a file are read at once.
const PIECE: usize = 64 << 10;
/// How many pieces' alerts, of each log, wait for the logs before it to be printed.
const PIECES_AHEAD: usize = 16;
/// How many logs may be read ahead of the one that is printed.
const LOGS_AHEAD: usize = 64;

/// Turns CloudTrail log files into SNS alerts.
///
/// In AWS Lambda this program is the function. Here it checks a filter configuration, and shows what alerts it would
/// send for logs that you have as files.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Example:\n  cloudtrail-alerter scan --config filter_config.json AWSLogs/")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate a filter configuration.
    ///
    /// All mistakes of the file are shown at once. The exit status is 0 for a valid file, else 2.
    #[command(after_help = "Example:\n  cloudtrail-alerter check filter_config.json")]
    Check {
        /// The configuration
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        file: PathBuf,
    },
    /// Show the alerts that logs would send.
    ///
    /// Alerts go to stdout, in the order of the paths; the summary and everything else to stderr. An event that stands
    /// in several logs counts once. The exit status is 0; 1 if a log could not be read (the others are scanned all the
    /// same); 2 for a wrong command line or configuration.
    #[command(after_help = "Examples:
  aws s3 sync s3://my-trail-bucket/AWSLogs/ AWSLogs/
  cloudtrail-alerter scan --config filter_config.json AWSLogs/
  zcat log.json.gz | cloudtrail-alerter scan --format json - | jq .event.eventName")]
    Scan {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        config: PathBuf,
        /// How alerts are written: as an email shows them, or as lines of JSON
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Logs, gzipped or plain; folders, of which every .json.gz and .json file is read, except what Lambda would
        /// skip by its key; - for stdin
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Format> for alert::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => alert::Format::Text,
            Format::Json => alert::Format::Json,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { file } => check(&file),
        Command::Scan { config, format, paths } => scan(&config, format.into(), paths),
    }
}

/// Writes a line to stderr. A closed stderr is no reason to stop, or to panic as `eprintln!` does.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn say_error(what: &str) {
    say(&format!("{} {what}", style("error:").red().bold().for_stderr()));
}

fn say_warning(what: &str) {
    say(&format!("{} {what}", style("warning:").yellow().bold().for_stderr()));
}

/// The configuration in a file, or none after saying what is wrong with it.
fn load(file: &Path) -> Option<Filter> {
    let name = file.display();
    let problems = match fs::read(file) {
        Ok(bytes) => match Filter::parse(&bytes, Settings::from_env().topic_arn.as_deref()) {
            Ok(filter) => {
                if filter.topic.is_none() {
                    say_warning(&format!(
                        "{name}: no topic is named; in Lambda that is an error: add \"sns\": {{\"topicARN\": …}}, or set \
                         {TOPIC_ARN} in the function's environment"
                    ));
                }
                return Some(filter);
            }
            Err(problems) => problems,
        },
        Err(e) => vec![format!("it can't be read: {e}")],
    };
    for problem in problems {
        say_error(&format!("{name}: {problem}"));
    }
    None
}

fn check(file: &Path) -> ExitCode {
    let Some(filter) = load(file) else { return ExitCode::from(WRONG_INPUT) };
    let topic = filter.topic.map_or_else(|| "no topic".to_owned(), |topic| format!("topic {topic}"));
    let line = format!("{} is valid: {}, {topic}", file.display(), counted(filter.rules.len() as u64, "rule"));
    match writeln!(io::stdout(), "{line}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            say_error(&format!("stdout: {e}"));
            ExitCode::from(SOME_FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn scan(config: &Path, format: alert::Format, paths: Vec<PathBuf>) -> ExitCode {
    let Some(filter) = load(config) else { return ExitCode::from(WRONG_INPUT) };
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
                while let Some((log, channel)) = next_log(waiting) {
                    scan_log(log, filter, format, &channel);
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
            say(&summary.to_text());
            if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) }
        }
    }
}

/// The counts of a run.
struct Summary {
    logs: u64,
    records: u64,
    matches: u64,
    repeats: u64,
    skipped: u64,
    failed: u64,
    rules: BTreeMap<String, u64>,
}

impl Summary {
    fn new(filter: &Filter) -> Self {
        let rules = filter.rules.iter().map(|rule| (rule.name.clone(), 0)).collect();
        Summary { logs: 0, records: 0, matches: 0, repeats: 0, skipped: 0, failed: 0, rules }
    }

    fn fail(&mut self, what: &str) {
        say_error(what);
        self.failed += 1;
    }

    fn to_text(&self) -> String {
        let matches = if self.matches == 1 { "1 match".to_owned() } else { format!("{} matches", self.matches) };
        let mut text = format!("{}, {}, {matches}", counted(self.logs, "log"), counted(self.records, "record"));
        if self.repeats > 0 {
            let _ = write!(text, ", {}", counted(self.repeats, "repeat"));
        }
        if self.skipped > 0 {
            let _ = write!(text, ", {} skipped", counted(self.skipped, "file"));
        }
        if self.failed > 0 {
            let _ = write!(text, ", {} not read", self.failed);
        }
        for (rule, matches) in &self.rules {
            let _ = write!(text, "\n{matches:>7}  {rule}");
        }
        text
    }
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The files to scan: those that are named, and those below folders.
fn logs_below(paths: Vec<PathBuf>, config: &Path, summary: &mut Summary) -> Vec<PathBuf> {
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
                Err(e) => summary.fail(&e.to_string()),
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
enum Piece {
    Found(Vec<Found>),
    End { records: u64, error: Option<String> },
}

/// An alert, and how it is printed.
struct Found {
    alert: Alert,
    text: String,
}

/// The logs that nobody has taken yet.
struct Waiting<'a> {
    logs: std::slice::Iter<'a, PathBuf>,
    /// Takes the channel of each log, in the order in which they are to be printed. `None` after the last one.
    queue: Option<SyncSender<Receiver<Piece>>>,
}

/// Takes the next log, and queues the channel through which it will be printed: under one lock, so that logs are
/// printed in their order.
fn next_log<'a>(waiting: &Mutex<Waiting<'a>>) -> Option<(&'a Path, SyncSender<Piece>)> {
    let mut waiting = waiting.lock().ok()?;
    let Some(log) = waiting.logs.next() else {
        waiting.queue = None;
        return None;
    };
    let (sender, receiver) = sync_channel(PIECES_AHEAD);
    waiting.queue.as_ref()?.send(receiver).ok()?;
    Some((log, sender))
}

fn scan_log(path: &Path, filter: &Filter, format: alert::Format, channel: &SyncSender<Piece>) {
    let mut log = LogFile::new();
    let error = read_log(path, &mut log, filter, format, channel).err();
    let error = error.map(|e| format!("{}: {e}", path.display()));
    // Nobody may be reading any more.
    let _ = channel.send(Piece::End { records: log.records(), error });
}

fn read_log(
    path: &Path,
    log: &mut LogFile,
    filter: &Filter,
    format: alert::Format,
    channel: &SyncSender<Piece>,
) -> Result<(), Box<dyn Error>> {
    let mut input: Box<dyn Read> = if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let name = path.display().to_string();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = input.read(&mut buffer);
        let mut found = Vec::new();
        let mut on_record = |raw: &RawRecord<'_>| {
            if let Some(alert) = alert::about(raw, filter, &name, format) {
                found.push(Found { text: to_text(&alert, format), alert });
            }
        };
        let scanned = match read {
            Ok(length) if length > 0 => log.push(&buffer[..length], &mut on_record),
            // Where reading broke off, whole records may still wait.
            _ => log.finish(&mut on_record),
        };
        let goes_on = found.is_empty() || channel.send(Piece::Found(found)).is_ok();
        let at_end = read? == 0;
        scanned?;
        if at_end || !goes_on {
            return Ok(());
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn to_text(alert: &Alert, format: alert::Format) -> String {
    match format {
        alert::Format::Text => {
            let subject = Style::new().for_stdout().bold().apply_to(format!("Subject: {}", alert.subject));
            format!("{subject}\n{}\n", alert.body)
        }
        alert::Format::Json => format!("{}\n", alert.body),
    }
}

/// Prints what the logs' channels bring, log by log.
fn print(channels: Receiver<Receiver<Piece>>, summary: &mut Summary, progress: &ProgressBar) -> io::Result<()> {
    let mut seen = HashSet::new();
    for piece in channels.into_iter().flatten() {
        match piece {
            Piece::Found(mut found) => {
                let all = found.len();
                found.retain(|f| f.alert.event_id.as_ref().is_none_or(|id| seen.insert(id.clone())));
                summary.repeats += (all - found.len()) as u64;
                summary.matches += found.len() as u64;
                for rule in found.iter().flat_map(|f| &f.alert.rules) {
                    *summary.rules.entry(rule.clone()).or_default() += 1;
                }
                let text: String = found.into_iter().map(|f| f.text).collect();
                progress.suspend(|| {
                    let mut stdout = io::stdout().lock();
                    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
                })?;
            }
            Piece::End { records, error } => {
                summary.records += records;
                match error {
                    Some(error) => progress.suspend(|| summary.fail(&error)),
                    None => summary.logs += 1,
                }
                progress.set_message(format!("{} matches", summary.matches));
                progress.inc(1);
            }
        }
    }
    Ok(())
}

//! `scan`: the alerts that log files would send. Logs are read on all cores, and their alerts printed in order.

mod facts;
mod in_order;
mod known;
mod paths;
mod print;
mod seen;
mod span;
mod statistics;
mod table;
mod what_if;
mod work;
mod worker;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use self::in_order::InOrder;
use self::print::Printer;
use self::seen::Seen;
use self::statistics::Statistics;
use self::what_if::WhatIf;
use self::work::Work;
use self::worker::Worker;
use super::console::{self, NAME_IT, SOME_FAILED, WRONG_INPUT, load, say, say_error};
use super::report;
use crate::rules::{Filter, Format, suggestion};

/// How many bytes of alerts may wait until the logs before them are printed.
const WAITING_LIMIT: usize = 32 << 20;

/// Prints the alerts that these logs and folders would send with a configuration file, or with one rule of it, whether it
/// is switched on or not, and a summary on stderr; gives the exit status.
pub(super) fn scan(
    config: &Path,
    rule: Option<&str>,
    format: Format,
    verbose: bool,
    report: Option<&Path>,
    paths: Vec<PathBuf>,
) -> ExitCode {
    if report == Some(Path::new("-")) {
        say_error("--report needs the name of a file: the alerts go to stdout");
        return ExitCode::from(WRONG_INPUT);
    }
    let Ok(mut filter) = load(config, NAME_IT) else { return ExitCode::from(WRONG_INPUT) };
    if let Some(rule) = rule {
        let names: Vec<_> = filter.rules.iter().map(|rule| rule.name.as_str()).collect();
        if !names.contains(&rule) {
            let known = suggestion(rule, &names);
            let shown = "; the names are in the file, and `cloudtrail-alerter packs NAME` shows those of a pack";
            let hint = if known.is_empty() { shown } else { &known };
            say_error(&format!("{}: the rule `{rule}` is not known{hint}", config.display()));
            return ExitCode::from(WRONG_INPUT);
        }
        filter.rules.retain(|known| known.name == rule);
        for rule in &mut filter.rules {
            (rule.enabled, rule.dry_run) = (true, false);
        }
    }
    let what_if = (verbose || report.is_some()).then(|| WhatIf::new(&filter));
    let (scanned, printed) = logs(&filter, None, format, what_if.as_ref(), paths, config, |text| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    });
    let mut status = scanned.status();
    if printed.is_ok() {
        let summary = scanned.summary(&config.display().to_string());
        let behind = if verbose { table::details(&summary) } else { String::new() };
        let table = table::table(&summary, table::width(), true);
        say(format!("{}\n{table}{behind}", summary.head).trim_end());
        if let Some(file) = report
            && let Err(e) = report::write(&summary, file)
        {
            say_error(&format!("{}: the report can't be written: {e}", file.display()));
            status = ExitCode::from(SOME_FAILED);
        }
    }
    console::printed(printed, status)
}

/// Scans these logs and folders, or of their records only those that a rule of `only` matches; hands the alerts over in
/// order, many at once. The configuration is in the file `config`, which is not a log.
pub(super) fn logs<'f>(
    filter: &'f Filter,
    only: Option<&'f Filter>,
    format: Format,
    what_if: Option<&'f WhatIf>,
    paths: Vec<PathBuf>,
    config: &Path,
    show: impl FnMut(&str) -> io::Result<()>,
) -> (Statistics<'f>, io::Result<()>) {
    let mut statistics = Statistics::new(filter, what_if.is_some());
    let logs = paths::logs_at(paths, config, &mut statistics);
    let progress = ProgressBar::new(logs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} logs, {per_sec}, {msg}, {eta} left") {
        progress.set_style(style);
    }
    let sizes = logs.iter().map(|log| fs::metadata(log).map_or(0, |file| file.len())).collect();
    let work = Mutex::new(Work::new(sizes));
    let (parts, seen) = (InOrder::new(logs.len(), WAITING_LIMIT), Seen::default());
    let printed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(logs.len());
        for i in 0..threads {
            let (logs, work, parts, seen) = (&logs, &work, &parts, &seen);
            // One thread keeps the order, so that the log that is printed next is always being read.
            let take = move || work.lock().unwrap_or_else(PoisonError::into_inner).take(threads, i == 0);
            scope.spawn(move || {
                let _guard = parts.close_on_panic();
                let mut worker = Worker::new(filter, only, format, what_if, seen, parts);
                while let Some(log) = take() {
                    if worker.scan(log, &logs[log]).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = parts.close_on_panic();
        // A reader who has gone, or a full disk, ends the scanning, too.
        let printer = Printer::new(filter, format, what_if, (&parts, &seen), &mut statistics, &progress, show);
        printer.print(&logs).inspect_err(|_| parts.close())
    });
    progress.finish_and_clear();
    (statistics, printed)
}

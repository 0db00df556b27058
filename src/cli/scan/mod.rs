//! `scan`: the alerts that log files would send. Logs are read on all cores, and their alerts printed in order.

mod ahead;
mod bucket;
mod facts;
mod feed;
mod in_order;
mod interrupt;
mod known;
mod merge;
mod on_panic;
mod paths;
mod pipe;
mod print;
mod progress;
mod question;
mod seen;
mod selection;
mod source;
mod span;
mod statistics;
mod table;
mod what_if;
mod work;
mod worker;

use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use self::ahead::Ahead;
use self::feed::Feed;
use self::in_order::InOrder;
use self::on_panic::OnPanic;
use self::print::Printer;
use self::progress::{Progress, Whole};
pub(super) use self::question::Question;
use self::seen::Seen;
pub(super) use self::selection::Selection;
use self::source::LeftOut;
pub(super) use self::source::Places;
use self::statistics::Statistics;
use self::what_if::WhatIf;
use self::work::Work;
use self::worker::Worker;
use super::console::{self, NAME_IT, SOME_FAILED, WRONG_INPUT, load, say, say_error};
use super::report;
use crate::rules::Format;

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
    selection: Selection,
    paths: Vec<PathBuf>,
) -> ExitCode {
    // So that a log or the configuration is not overwritten where the file's name was forgotten.
    if report.is_some_and(|report| report.extension().is_none_or(|ending| ending != "html")) {
        say_error("--report needs the name of a file that ends in .html");
        return ExitCode::from(WRONG_INPUT);
    }
    let Ok(mut filter) = load(config, NAME_IT) else { return ExitCode::from(WRONG_INPUT) };
    if let Some(Err(problem)) = rule.map(|rule| filter.keep_only(rule)) {
        say_error(&format!("{}: {problem}", config.display()));
        return ExitCode::from(WRONG_INPUT);
    }
    let places = match Places::of(paths) {
        Ok(places) => places,
        Err(why) => {
            say_error(&why);
            return ExitCode::from(WRONG_INPUT);
        }
    };
    let what_if = (verbose || report.is_some()).then(|| WhatIf::new(&filter));
    let question = Question { filter: &filter, only: None, format, what_if: what_if.as_ref() };
    let (scanned, printed) = logs(question, selection, places, config, |text| {
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

/// Scans the logs at these places, as far as they are selected; hands the alerts over in order, many at once. The
/// configuration is in the file `config`, which is not a log.
pub(super) fn logs<'f>(
    question: Question<'f>,
    selection: Selection,
    places: Places,
    config: &Path,
    show: impl FnMut(&str) -> io::Result<()>,
) -> (Statistics<'f>, io::Result<()>) {
    let mut statistics = Statistics::new(question.filter, question.what_if.is_some());
    let (selection, left_out) = (Arc::new(selection), Arc::new(LeftOut::default()));
    let Places { local, remote } = places;
    let (interrupt, running) = interrupt::listen();
    let (found, mut failures) = paths::logs_at(local, config, &selection, &left_out);
    let ahead = if remote.is_empty() { Ok(None) } else { Ahead::new().map(Some) };
    let ahead = ahead.unwrap_or_else(|e| {
        let failure = format!("S3 can't be asked: {e}");
        say_error(&failure);
        failures.push(failure);
        None
    });
    let whole = match (&ahead, selection.end()) {
        (Some(_), Some(end)) => Whole::Until(end),
        _ => Whole::Bytes(found.iter().map(|log| log.size).sum()),
    };
    let progress = Progress::new(whole);
    let (work, parts, seen) = (Work::new(), InOrder::new(WAITING_LIMIT), Seen::default());
    let most_threads = if ahead.is_some() { usize::MAX } else { found.len() };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(most_threads);
    let stop = || {
        parts.close();
        work.abandon();
        ahead.iter().for_each(Ahead::stop);
    };
    let interrupted = AtomicBool::new(false);
    let mut printed = Ok(());
    let feed = Feed { ahead: ahead.as_ref(), selection: &selection, left_out: &left_out, progress: &progress };
    let feed = || {
        let _guard = OnPanic(stop);
        feed.run(found, remote, &work, || parts.end(work.end()))
    };
    thread::scope(|scope| {
        // Its end ends the waiting for Ctrl-C.
        let _running = running;
        // What is on the disk is known before the first log is taken, so that the largest one can be taken first.
        let feeding = if ahead.is_some() { Err(scope.spawn(feed)) } else { Ok(feed()) };
        let interrupted = &interrupted;
        scope.spawn(move || {
            if interrupt.wait() {
                interrupted.store(true, Ordering::Relaxed);
                stop();
            }
        });
        for i in 0..threads {
            let (work, parts, seen, selection) = (&work, &parts, &seen, &selection);
            scope.spawn(move || {
                let _guard = OnPanic(stop);
                let mut worker = Worker::new(question, selection, seen, parts);
                // One thread keeps the order, so that the log that is printed next is always being read.
                while let Some((number, log)) = work.take(threads, i == 0) {
                    if worker.scan(number, log).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = OnPanic(stop);
        printed = Printer::new(question, (&parts, &seen), &mut statistics, progress.clone(), show).print();
        // A reader who has gone, or a full disk, ends the scanning, too.
        stop();
        let left = feeding.unwrap_or_else(|feeding| feeding.join().unwrap_or_else(|e| panic::resume_unwind(e)));
        failures.extend(left.failures);
        statistics.failed += left.refused;
    });
    progress.finish();
    for failure in failures {
        statistics.fail(&failure);
    }
    statistics.skipped += left_out.skipped.load(Ordering::Relaxed);
    statistics.logs_outside += left_out.outside.load(Ordering::Relaxed);
    statistics.interrupted = interrupted.into_inner();
    (statistics, printed)
}

//! `scan`: the alerts that log files would send. Logs are read on all cores, and their alerts printed in order.

mod bucket;
mod in_order;
mod known;
mod paths;
mod print;
mod seen;
mod selection;
mod source;
mod span;
mod statistics;
mod work;
mod worker;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use self::in_order::InOrder;
use self::print::Printer;
use self::seen::Seen;
pub(super) use self::selection::Selection;
use self::source::LeftOut;
use self::statistics::Statistics;
use self::work::Work;
use self::worker::Worker;
use super::console::{self, NAME_IT, WRONG_INPUT, load, say, say_error};
use crate::aws::{self, S3};
use crate::rules::{Filter, Format, suggestion};

/// How many bytes of alerts may wait until the logs before them are printed.
const WAITING_LIMIT: usize = 32 << 20;

/// Prints the alerts that these logs and folders would send with a configuration file, or with one rule of it, whether it
/// is switched on or not, and a summary on stderr; gives the exit status.
pub(super) fn scan(
    config: &Path,
    rule: Option<&str>,
    format: Format,
    selection: Selection,
    paths: Vec<PathBuf>,
) -> ExitCode {
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
    for path in &paths {
        if let Some(Err(why)) = bucket::place(path) {
            say_error(&why);
            return ExitCode::from(WRONG_INPUT);
        }
    }
    let (scanned, printed) = logs(&filter, None, format, selection, paths, config, |text| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    });
    if printed.is_ok() {
        say(format!("{}\n{}", scanned.head(), scanned.table(true)).trim_end());
    }
    console::printed(printed, scanned.status())
}

/// Scans these logs and folders, or of their records only those that a rule of `only` matches; hands the alerts over in
/// order, many at once. The configuration is in the file `config`, which is not a log.
pub(super) fn logs<'f>(
    filter: &'f Filter,
    only: Option<&'f Filter>,
    format: Format,
    selection: Selection,
    paths: Vec<PathBuf>,
    config: &Path,
    show: impl FnMut(&str) -> io::Result<()>,
) -> (Statistics<'f>, io::Result<()>) {
    let mut statistics = Statistics::new(filter);
    let (selection, left_out) = (Arc::new(selection), Arc::new(LeftOut::default()));
    let (mut places, mut local) = (Vec::new(), Vec::new());
    for (argument, path) in paths.into_iter().enumerate() {
        match bucket::place(&path) {
            None => local.push((argument, path)),
            Some(Ok(place)) => places.push((argument, place)),
            Some(Err(why)) => {
                say_error(&why);
                statistics.failed += 1;
            }
        }
    }
    let (mut logs, failed) = paths::logs_at(local, config, &selection, &left_out);
    statistics.failed += failed;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().ok();
    let s3 = runtime.as_ref().filter(|_| !places.is_empty()).map(|runtime| {
        runtime.block_on(async {
            let s3 = S3::of_person(&aws::configuration().await);
            for (argument, place) in places {
                for mut stream in bucket::streams(&s3, place, argument, &selection, &left_out).await {
                    while let Some(found) = stream.recv().await {
                        match found {
                            Ok(found) => logs.push(found),
                            Err(_) if s3.refusal().is_some() => statistics.failed += 1,
                            Err(why) => {
                                say_error(&why);
                                statistics.failed += 1;
                            }
                        }
                    }
                }
            }
            if let Some(refusal) = s3.refusal() {
                say_error(refusal);
                logs.retain(|log| !matches!(log.source, source::Source::Object(_)));
            }
            s3
        })
    });
    logs.sort_by(|a, b| a.place.cmp(&b.place));
    let remote = s3.as_ref().zip(runtime.as_ref());
    statistics.skipped += left_out.skipped.load(Ordering::Relaxed);
    statistics.logs_outside += left_out.outside.load(Ordering::Relaxed);
    let progress = ProgressBar::new(logs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} logs, {per_sec}, {msg}, {eta} left") {
        progress.set_style(style);
    }
    let sizes = logs.iter().map(|log| log.size).collect();
    let sources: Vec<_> = logs.into_iter().map(|log| log.source).collect();
    let logs = sources;
    let work = Mutex::new(Work::new(sizes));
    let (parts, seen) = (InOrder::new(logs.len(), WAITING_LIMIT), Seen::default());
    let printed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(logs.len());
        for i in 0..threads {
            let (logs, work, parts, seen, selection) = (&logs, &work, &parts, &seen, &selection);
            // One thread keeps the order, so that the log that is printed next is always being read.
            let take = move || work.lock().unwrap_or_else(PoisonError::into_inner).take(threads, i == 0);
            scope.spawn(move || {
                let _guard = parts.close_on_panic();
                let mut worker = Worker::new(filter, only, format, seen, parts);
                while let Some(log) = take() {
                    if worker.scan(log, &logs[log], selection, remote).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = parts.close_on_panic();
        // A reader who has gone, or a full disk, ends the scanning, too.
        let printer = Printer::new(filter, format, (&parts, &seen), &mut statistics, &progress, show);
        printer.print(&logs).inspect_err(|_| parts.close())
    });
    progress.finish_and_clear();
    (statistics, printed)
}

//! `scan`: the alerts that log files would send. Logs are read on all cores, and their alerts printed in order.

mod ahead;
mod in_order;
mod interrupt;
mod known;
mod merge;
mod paths;
mod print;
mod progress;
mod seen;
mod source;
mod span;
mod statistics;
mod work;
mod worker;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures_util::FutureExt;

use self::ahead::Ahead;
use self::in_order::InOrder;
use self::merge::{Merge, Stream};
use self::print::Printer;
use self::progress::{Progress, Whole};
use self::seen::Seen;
use self::source::{Found, Source};
use self::statistics::Statistics;
use self::work::Work;
use self::worker::{Log, Part, Worker};
use super::console::{self, NAME_IT, WRONG_INPUT, load, say, say_error};
use crate::rules::{Filter, Format, suggestion};

/// How many bytes of alerts may wait until the logs before them are printed.
const WAITING_LIMIT: usize = 32 << 20;

/// Prints the alerts that these logs and folders would send with a configuration file, or with one rule of it, whether it
/// is switched on or not, and a summary on stderr; gives the exit status.
pub(super) fn scan(config: &Path, rule: Option<&str>, format: Format, paths: Vec<PathBuf>) -> ExitCode {
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
    let (scanned, printed) = logs(&filter, None, format, paths, config, |text| {
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
    paths: Vec<PathBuf>,
    config: &Path,
    show: impl FnMut(&str) -> io::Result<()>,
) -> (Statistics<'f>, io::Result<()>) {
    let mut statistics = Statistics::new(filter);
    let found = paths::logs_at(paths, config, &mut statistics);
    let whole = Whole::Bytes(found.iter().map(|log| log.size).sum());
    let progress = Progress::new(whole);
    let (work, parts, seen) = (Work::new(), InOrder::new(WAITING_LIMIT), Seen::default());
    let ahead: Option<Ahead> = None;
    let most_threads = if ahead.is_some() { usize::MAX } else { found.len() };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(most_threads);
    let streams = vec![Stream::Local(found.into_iter())];
    let stop = || {
        parts.close();
        work.abandon();
        ahead.iter().for_each(Ahead::stop);
    };
    let (interrupt, running) = interrupt::listen();
    let interrupted = AtomicBool::new(false);
    let (mut failed, mut printed) = (0, Ok(()));
    thread::scope(|scope| {
        // Its end ends the waiting for Ctrl-C.
        let _running = running;
        let feed = || feed(streams, ahead.as_ref(), &work, &parts, &progress);
        // What is on the disk is known before the first log is taken, so that the largest one can be taken first.
        let feeding = if ahead.is_some() { Ok(scope.spawn(feed)) } else { Err(feed()) };
        let interrupted = &interrupted;
        scope.spawn(move || {
            if interrupt.wait() {
                interrupted.store(true, Ordering::Relaxed);
                stop();
            }
        });
        for i in 0..threads {
            let (work, parts, seen) = (&work, &parts, &seen);
            scope.spawn(move || {
                let _guard = parts.close_on_panic();
                let mut worker = Worker::new(filter, only, format, seen, parts);
                // One thread keeps the order, so that the log that is printed next is always being read.
                while let Some((number, log)) = work.take(threads, i == 0) {
                    if worker.scan(number, log).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = parts.close_on_panic();
        printed = Printer::new(filter, format, (&parts, &seen), &mut statistics, progress.clone(), show).print();
        // A reader who has gone, or a full disk, ends the scanning, too.
        stop();
        failed = feeding.map_or_else(|failed| failed, |feeding| feeding.join().unwrap_or_default());
    });
    progress.finish();
    statistics.failed += failed;
    statistics.interrupted = interrupted.into_inner();
    (statistics, printed)
}

/// Hands the logs of all streams over to be scanned, those in S3 as soon as their bytes may be requested; gives how many
/// listings failed.
fn feed<'f>(
    streams: Vec<Stream>,
    ahead: Option<&Ahead>,
    work: &Work<Log>,
    parts: &InOrder<Arc<Part<'f>>>,
    progress: &Progress,
) -> u64 {
    let mut failed = 0;
    let feed = async {
        let mut merge = Merge::new(streams).await;
        loop {
            let next = merge.next().await;
            for failure in merge.failures() {
                progress.suspend(|| say_error(&failure));
                failed += 1;
            }
            let Some((Found { source, size, .. }, client)) = next else { break };
            let download = match (&source, ahead, client) {
                (Source::Object(object), Some(ahead), Some(client)) => match ahead.open(&client, object).await {
                    Some(download) => Some(download),
                    None => break,
                },
                _ => None,
            };
            work.add(size, Log { source, download });
        }
    };
    match ahead {
        Some(ahead) => ahead.handle().block_on(feed),
        // Nothing has to be waited for.
        None => feed.now_or_never().unwrap_or_default(),
    }
    parts.end(work.end());
    failed
}

//! `scan`: the alerts that log files would send. Logs are read on all cores, and their alerts printed in order.

mod in_order;
mod paths;
mod span;
mod statistics;
mod worker;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

use self::in_order::InOrder;
use self::statistics::Statistics;
use self::worker::{Part, Printable, Worker};
use super::console::{self, SOME_FAILED, WRONG_INPUT, load, say, say_error};
use crate::alert::id;
use crate::rules::{Format, suggestion};

/// How many bytes of alerts may wait until the logs before them are printed.
const WAITING_LIMIT: usize = 32 << 20;

/// The most eventIDs that are remembered to know repeats, in about 20 MB. The logs that repeat an event are near each other.
const EVENTS_LIMIT: usize = 900_000;

/// Prints the alerts that these logs and folders would send with a configuration file, or with one rule of it, and a
/// summary on stderr; gives the exit status.
pub(super) fn scan(config: &Path, rule: Option<&str>, format: Format, paths: Vec<PathBuf>) -> ExitCode {
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
    let mut statistics = Statistics::new(&filter);
    let logs = paths::logs_at(paths, config, &mut statistics);
    let progress = ProgressBar::new(logs.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} logs, {per_sec}, {msg}, {eta} left") {
        progress.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let parts = InOrder::new(logs.len(), WAITING_LIMIT);
    let printed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(logs.len());
        for _ in 0..threads {
            let (logs, next, parts, filter) = (&logs, &next, &parts, &filter);
            // In order, so that the log that is printed next is always being read.
            let take = move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|log| *log < logs.len());
            scope.spawn(move || {
                let _guard = parts.close_on_panic();
                let mut worker = Worker::new(filter, format, parts);
                while let Some(log) = take() {
                    if worker.scan(log, &logs[log]).is_err() {
                        break;
                    }
                }
            });
        }
        let _guard = parts.close_on_panic();
        // A reader who has gone, or a full disk, ends the scanning, too.
        print(&parts, &mut statistics, &progress).inspect_err(|_| parts.close())
    });
    progress.finish_and_clear();
    if printed.is_ok() {
        say(statistics.to_text().trim_end());
    }
    console::printed(printed, ExitCode::from(if statistics.failed == 0 { 0 } else { SOME_FAILED }))
}

/// Prints the alerts of all logs, log by log, and counts.
fn print<'f>(
    parts: &InOrder<Arc<Part<'f>>>,
    statistics: &mut Statistics<'f>,
    progress: &ProgressBar,
) -> io::Result<()> {
    let mut events = HashSet::new();
    // The rules of which the log's summaries may speak: its other summaries are about events of the logs before it.
    let mut flooded = HashSet::new();
    while let Some(part) = parts.next() {
        let mut text = String::new();
        for Printable { matched, alerts } in &part.results {
            if let Some(matched) = matched {
                if events.len() == EVENTS_LIMIT {
                    events.clear();
                }
                if matched.event_id.as_ref().is_some_and(|event| !events.insert(id::hash([event.as_str()]))) {
                    statistics.repeats += 1;
                    continue;
                }
                statistics.count(matched);
                if matched.summarised > 0 {
                    flooded.extend(matched.rules.iter().map(|rule| rule.name.as_str()));
                }
            }
            for alert in alerts {
                if matched.is_none() && !alert.rules.iter().any(|rule| flooded.contains(rule.as_str())) {
                    continue;
                }
                statistics.count_message(&alert.rules);
                text.push_str(&alert.text);
            }
        }
        if !text.is_empty() {
            progress.suspend(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            })?;
        }
        if let Some(end) = &part.end {
            flooded.clear();
            match &end.error {
                Some(error) => {
                    progress.suspend(|| say_error(error));
                    statistics.failed += 1;
                }
                None => statistics.logs += 1,
            }
            statistics.count_log(end);
            progress.set_message(format!("{} matches", statistics.matches));
            progress.inc(1);
        }
    }
    Ok(())
}

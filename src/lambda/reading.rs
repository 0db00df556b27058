//! The logs of one invocation, read side by side: a slow one holds up nothing but itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

use super::config_store::{Config, ConfigStore};
use super::deadline::{NO_ANSWER, in_time};
use super::memory::Memory;
use super::outbox::Outbox;
use super::places::{FOR_S3, FOR_SNS, Place, Places};
use super::report::Report;
use crate::aws::s3::{LogBytes, S3};
use crate::error::{Cause, Error};
use crate::evaluate::{Evaluator, Pending, Verdict};
use crate::log::{LogFile, Malformed, S3Object};
use crate::rules::Matcher;

/// How many logs are open at once, the slow ones included.
const OPEN_AT_ONCE: usize = 20;

/// How many bytes of a log are inflated before the clock is asked again: a gzip bomb makes 1 MB of them.
const CHUNK: usize = 1 << 10;

/// How long a log is read before the other logs, and the requests under way, get their turn: there is one thread.
const TURN: Duration = Duration::from_millis(1);

/// The size of the matches of which the memory decides at once, in bytes. The logs that are open share it.
const PENDING_LIMIT: usize = 2 << 20;

pub(super) struct Reading<'a, 'o> {
    s3: &'a S3,
    configs: &'a ConfigStore,
    memory: &'a Memory,
    outbox: &'a Outbox<'o>,
    /// The version of the log, where a job names one; otherwise the latest.
    version: Option<&'a str>,
    /// When reading must stop.
    deadline: SystemTime,
    /// When the memory is asked no more: a slow table may take half of the time, and no alert along.
    end_of_memory: SystemTime,
    /// The configurations that were usable when they were asked for, which is once.
    refreshed: RefCell<HashMap<S3Object, Rc<OnceCell<()>>>>,
    places: Places,
    /// How many logs are being read.
    open: Cell<usize>,
    report: RefCell<&'a mut Report>,
    failures: RefCell<Vec<Error>>,
}

impl<'a, 'o> Reading<'a, 'o> {
    pub(super) fn new(
        s3: &'a S3,
        configs: &'a ConfigStore,
        memory: &'a Memory,
        outbox: &'a Outbox<'o>,
        report: &'a mut Report,
        version: Option<&'a str>,
        deadline: SystemTime,
    ) -> Self {
        let now = SystemTime::now();
        Reading {
            s3,
            configs,
            memory,
            outbox,
            version,
            deadline,
            end_of_memory: now + deadline.duration_since(now).unwrap_or_default() / 2,
            refreshed: RefCell::default(),
            places: Places::new(deadline),
            open: Cell::new(0),
            report: RefCell::new(report),
            failures: RefCell::default(),
        }
    }

    /// Reads all logs, whatever happens to the others, and gives what failed.
    pub(super) async fn read(self, logs: &[&S3Object]) -> Vec<Error> {
        let this = &self;
        let read = |(number, log)| async move { (number, Box::pin(this.log(log)).await) };
        let read = stream::iter(logs.iter().copied().enumerate()).map(read).buffer_unordered(OPEN_AT_ONCE);
        let mut results: Vec<(usize, Result<(), Error>)> = read.collect().await;
        results.sort_by_key(|(number, _)| *number);
        let mut failures = self.failures.into_inner();
        for (_, result) in results {
            match result {
                Ok(()) => self.report.borrow_mut().logs += 1,
                Err(error) => failures.push(error),
            }
        }
        failures
    }

    /// Processes one log with its configuration, which is asked for together with it.
    async fn log(&self, log: &S3Object) -> Result<(), Error> {
        let mut place = self.places.take().await.map_err(|cause| unavailable(log, cause))?;
        let bytes = in_time(self.deadline, NO_ANSWER, self.s3.open(log, self.version));
        let both = Box::pin(async { tokio::join!(self.config(log), bytes) });
        let (config, bytes) = place.wait(FOR_S3, both).await;
        let config = config?;
        let bytes = bytes.map_err(Cause::from).flatten().map_err(|cause| unavailable(log, cause))?;
        let name = log.to_string();
        let reader = LogReader {
            reading: self,
            log: Rc::new(log.clone()),
            evaluator: Evaluator::new(Matcher::new(&config.filter, &config.learned), &name, None),
            pending: Vec::new(),
            pending_size: 0,
            place,
        };
        self.open.update(|open| open + 1);
        let read = reader.read(bytes).await;
        self.open.update(|open| open - 1);
        read
    }

    async fn config(&self, log: &S3Object) -> Result<Rc<Config>, Error> {
        let location = self.configs.location(log);
        let asked = self.refreshed.borrow_mut().entry(location.clone()).or_default().clone();
        let refresh = || async {
            match self.configs.refresh(self.s3, &location, log, self.deadline).await {
                Ok(true) => self.outbox.forget_published(),
                Ok(false) => {}
                Err(error) if error.outdated_configuration().is_some() => self.failures.borrow_mut().push(error),
                Err(error) => return Err(error),
            }
            Ok(())
        };
        asked.get_or_try_init(refresh).await?;
        if self.configs.get(&location).is_none() {
            // The configurations of other buckets needed its room.
            refresh().await?;
        }
        self.configs.get(&location).ok_or_else(|| unavailable(log, "its configuration is missing"))
    }
}

struct LogReader<'l, 'a, 'o> {
    reading: &'l Reading<'a, 'o>,
    log: Rc<S3Object>,
    evaluator: Evaluator<'l, 'l, 'l>,
    /// The matches of which the memory is to decide, and their size in bytes.
    pending: Vec<Pending<'l>>,
    pending_size: usize,
    place: Place<'l>,
}

impl LogReader<'_, '_, '_> {
    /// Reads the log to its end, and hands over its alerts while it is being read.
    async fn read(mut self, bytes: LogBytes) -> Result<(), Error> {
        let read = self.pieces(bytes).await;
        self.decide().await;
        self.place.leave_large_window();
        for alert in self.evaluator.summaries() {
            self.place.wait(FOR_SNS, self.reading.outbox.add(alert, &self.log)).await;
        }
        read
    }

    /// Asks the memory about the matches that wait for it, and hands over their alerts.
    async fn decide(&mut self) {
        let pending = mem::take(&mut self.pending);
        self.pending_size = 0;
        let Reading { memory, outbox, report, end_of_memory, .. } = self.reading;
        for (pending, decisions) in pending.iter().zip(memory.decide(&pending, *end_of_memory).await) {
            let (matched, alerts) = self.evaluator.limiter.decided(pending, decisions);
            report.borrow_mut().count(&matched);
            for alert in alerts.into_iter().flatten() {
                self.place.wait(FOR_SNS, outbox.add(alert, &self.log)).await;
            }
        }
    }

    async fn pieces(&mut self, mut bytes: LogBytes) -> Result<(), Error> {
        let log_file = &mut LogFile::default();
        log_file.ask_for_large_window();
        let mut turn = Instant::now();
        loop {
            match self.place.bytes(bytes.next()).await {
                Ok(Some(piece)) => {
                    self.place.arrived(piece.as_ref().len());
                    self.reading.report.borrow_mut().bytes += piece.as_ref().len() as u64;
                    for chunk in piece.as_ref().chunks(CHUNK) {
                        self.records(log_file, Some(chunk)).await?;
                        self.place.check().map_err(|cause| unavailable(&self.log, cause))?;
                        if turn.elapsed() > TURN {
                            tokio::task::yield_now().await;
                            turn = Instant::now();
                        }
                    }
                }
                Ok(None) => return self.records(log_file, None).await,
                Err(cause) => {
                    // The last whole records may still wait. The first error says more than that the log has no end.
                    self.records(log_file, None).await.ok();
                    return Err(unavailable(&self.log, cause));
                }
            }
        }
    }

    /// Evaluates the records that one more piece completes; `None` is the end of the log.
    async fn records(&mut self, log_file: &mut LogFile, piece: Option<&[u8]>) -> Result<(), Error> {
        let log = self.log.clone();
        let malformed = |e: Malformed| Error::LogMalformed { log: (*log).clone(), cause: e.to_string() };
        let unavailable = |cause| unavailable(&log, cause);
        let Reading { outbox, report, .. } = self.reading;
        let mut records = log_file.read(piece);
        loop {
            while let Some(record) = records.next().map_err(malformed)? {
                let verdict = self.evaluator.evaluate(&record).map_err(malformed)?;
                report.borrow_mut().records += 1;
                match verdict {
                    Verdict::Unmatched => report.borrow_mut().unmatched += 1,
                    Verdict::Matched(matched, alerts) => {
                        report.borrow_mut().count(&matched);
                        for alert in *alerts {
                            self.place.wait(FOR_SNS, outbox.add(alert, &self.log)).await;
                        }
                    }
                    Verdict::Pending(pending, _) => {
                        self.pending_size += pending.size();
                        self.pending.push(*pending);
                        if self.pending_size >= PENDING_LIMIT / self.reading.open.get().max(1) {
                            self.decide().await;
                        }
                    }
                }
                if piece.is_some() {
                    self.place.check().map_err(unavailable)?;
                }
            }
            if !records.needs_large_window() {
                break;
            }
            self.place.take_large_window().await.map_err(unavailable)?;
            records.allow_large_window();
        }
        if !log_file.has_large_window() && self.place.leave_large_window() {
            log_file.ask_for_large_window();
        }
        Ok(())
    }
}

fn unavailable(log: &S3Object, cause: impl Into<Cause>) -> Error {
    Error::LogUnavailable { log: log.clone(), cause: cause.into() }
}

//! The logs of one invocation, read side by side: a slow one holds up nothing but itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::config_store::{Config, ConfigStore, Refreshed};
use super::deadline::{NO_ANSWER, TOO_LATE, in_time};
use super::outbox::Outbox;
use super::report::Report;
use crate::aws::s3::{LogBytes, S3};
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::log::{LogFile, Malformed, S3Object};
use crate::rules::Matcher;

/// How many logs are read at once, beside slow ones.
const PLACES: usize = 4;

/// How many logs are open at once, the slow ones included.
const OPEN_AT_ONCE: usize = 20;

/// A log is slow, and leaves its place to the next one, once it has been waited for so long in all. Every second's worth of
/// bytes that arrives takes a second off.
const PATIENCE: Duration = Duration::from_secs(2);
const BYTES_PER_SECOND: u32 = 64 << 10;

/// How many bytes of a log are inflated before the clock is asked again: a gzip bomb makes 1 MB of them.
const CHUNK: usize = 1 << 10;

/// How long a log is read before the other logs, and the requests under way, get their turn: there is one thread.
const TURN: Duration = Duration::from_millis(1);

pub(super) struct Reading<'a, 'o> {
    s3: &'a S3,
    configs: &'a ConfigStore,
    outbox: &'a Outbox<'o>,
    /// When reading must stop.
    deadline: SystemTime,
    /// The configurations that were usable when they were asked for, which is once.
    refreshed: RefCell<HashMap<S3Object, Rc<OnceCell<()>>>>,
    places: Semaphore,
    /// For the one log that may hold a record of over 512 KB.
    large_window: Semaphore,
    report: RefCell<&'a mut Report>,
    failures: RefCell<Vec<Error>>,
}

impl<'a, 'o> Reading<'a, 'o> {
    pub(super) fn new(
        s3: &'a S3,
        configs: &'a ConfigStore,
        outbox: &'a Outbox<'o>,
        report: &'a mut Report,
        deadline: SystemTime,
    ) -> Self {
        Reading {
            s3,
            configs,
            outbox,
            deadline,
            refreshed: RefCell::default(),
            places: Semaphore::new(PLACES),
            large_window: Semaphore::new(1),
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
        let place = Place::new(&self.places, self.deadline).await;
        let mut place = place.map_err(|cause| unavailable(log, cause))?;
        let bytes = in_time(self.deadline, NO_ANSWER, self.s3.open(log));
        let both = Box::pin(async { tokio::join!(self.config(log), bytes) });
        let (config, bytes) = place.wait(both).await;
        let config = config?;
        let bytes = bytes.flatten().map_err(|cause| unavailable(log, cause))?;
        let name = log.to_string();
        let reader = LogReader {
            reading: self,
            log: Rc::new(log.clone()),
            log_file: LogFile::default(),
            evaluator: Evaluator::new(Matcher::new(&config.filter, &config.learned), &name, None),
            place,
            large_window: None,
        };
        reader.read(bytes).await
    }

    async fn config(&self, log: &S3Object) -> Result<Rc<Config>, Error> {
        let location = self.configs.location(log);
        let asked = self.refreshed.borrow_mut().entry(location.clone()).or_default().clone();
        let refresh = || async {
            let Refreshed { changed, error } = self.configs.refresh(self.s3, &location, log, self.deadline).await?;
            if changed {
                self.outbox.forget_published();
            }
            self.failures.borrow_mut().extend(error);
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

/// A log's place among those that are read at once.
struct Place<'r> {
    /// `None` for a slow log.
    permit: Option<SemaphorePermit<'r>>,
    waited: Duration,
}

impl<'r> Place<'r> {
    async fn new(places: &'r Semaphore, deadline: SystemTime) -> Result<Self, String> {
        let permit = in_time(deadline, TOO_LATE, places.acquire()).await?.map_err(|e| e.to_string())?;
        Ok(Place { permit: Some(permit), waited: Duration::ZERO })
    }

    /// Waits for S3; if that takes too long, without the place.
    async fn wait<T>(&mut self, bytes: impl Future<Output = T>) -> T {
        let mut bytes = pin!(bytes);
        if self.permit.is_some() {
            let start = Instant::now();
            let done = timeout(PATIENCE.saturating_sub(self.waited), &mut bytes).await;
            self.waited += start.elapsed();
            match done {
                Ok(done) => return done,
                Err(_) => self.permit = None,
            }
        }
        bytes.await
    }

    fn arrived(&mut self, bytes: usize) {
        let worth = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / BYTES_PER_SECOND;
        self.waited = self.waited.saturating_sub(worth);
    }
}

struct LogReader<'l, 'a, 'o> {
    reading: &'l Reading<'a, 'o>,
    log: Rc<S3Object>,
    log_file: LogFile,
    evaluator: Evaluator<'l, 'l, 'l>,
    place: Place<'l>,
    large_window: Option<SemaphorePermit<'l>>,
}

impl LogReader<'_, '_, '_> {
    /// Reads the log to its end, and hands over its alerts while it is being read.
    async fn read(mut self, bytes: LogBytes) -> Result<(), Error> {
        let read = self.pieces(bytes).await;
        for alert in self.evaluator.summaries() {
            self.reading.outbox.add(alert, &self.log).await;
        }
        read
    }

    async fn pieces(&mut self, mut bytes: LogBytes) -> Result<(), Error> {
        self.log_file.ask_for_large_window();
        let mut turn = Instant::now();
        loop {
            let next = self.place.wait(in_time(self.reading.deadline, TOO_LATE, bytes.next())).await;
            match next.flatten() {
                Ok(Some(piece)) => {
                    self.place.arrived(piece.as_ref().len());
                    self.reading.report.borrow_mut().bytes += piece.as_ref().len() as u64;
                    for chunk in piece.as_ref().chunks(CHUNK) {
                        self.records(Some(chunk)).await?;
                        self.check_time()?;
                        if turn.elapsed() > TURN {
                            tokio::task::yield_now().await;
                            turn = Instant::now();
                        }
                    }
                }
                Ok(None) => return self.records(None).await,
                Err(cause) => {
                    // The last whole records may still wait. The first error says more than that the log has no end.
                    self.records(None).await.ok();
                    return Err(unavailable(&self.log, cause));
                }
            }
        }
    }

    /// Evaluates the records that one more piece completes; `None` is the end of the log.
    async fn records(&mut self, piece: Option<&[u8]>) -> Result<(), Error> {
        let malformed = |e: Malformed| Error::LogMalformed { log: (*self.log).clone(), cause: e.to_string() };
        let Reading { outbox, report, large_window, deadline, .. } = self.reading;
        let mut records = self.log_file.read(piece);
        loop {
            while let Some(record) = records.next().map_err(malformed)? {
                let verdict = self.evaluator.evaluate(&record).map_err(malformed)?;
                let alerts = report.borrow_mut().count(verdict);
                for alert in alerts {
                    outbox.add(alert, &self.log).await;
                }
                if piece.is_some() && SystemTime::now() > *deadline {
                    return Err(unavailable(&self.log, TOO_LATE));
                }
            }
            if !records.needs_large_window() {
                break;
            }
            let permit = in_time(*deadline, TOO_LATE, large_window.acquire()).await;
            self.large_window = permit.map_err(|cause| unavailable(&self.log, cause))?.ok();
            records.allow_large_window();
        }
        if !self.log_file.has_large_window() && self.large_window.take().is_some() {
            self.log_file.ask_for_large_window();
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Error> {
        if SystemTime::now() > self.reading.deadline { Err(unavailable(&self.log, TOO_LATE)) } else { Ok(()) }
    }
}

fn unavailable(log: &S3Object, cause: impl Into<String>) -> Error {
    Error::LogUnavailable { log: log.clone(), cause: cause.into() }
}

//! What the logs of one invocation must share, and how long a log may keep it from the others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::deadline::in_time;

/// How many logs are read at once, beside slow ones.
const PLACES: usize = 4;

/// A log is slow, and leaves its place to the next one, once it has waited for so long in all, whatever for. Every second's
/// worth of bytes that arrives takes a second off.
const PATIENCE: Duration = Duration::from_secs(2);
const BYTES_PER_SECOND: u32 = 64 << 10;

/// The longest that a log keeps its place, whatever it does; and the large window, if another one waits for that.
const LONGEST: Duration = Duration::from_secs(10);

const TOO_LATE: &str = "the time was up before it was read to its end: raise the function's timeout, or its memory";
const NO_PLACE: &str = "the time was up before its turn came, since other logs of the event took long: see the other errors; \
     if there are none, raise the function's timeout";
const WINDOW_TAKEN: &str = "a record of over 512 KB took over 10 s, and another log needed the memory for such a record: the \
     retry reads it again; if that fails too, replay it alone";

/// The reasons of a log that is too late because it waited for this for most of its time.
pub(super) const FOR_S3: &str = "the time was up while S3 was still sending it: do nothing, unless it persists; then check the \
     function's connection to S3";
pub(super) const FOR_SNS: &str = "the time was up while its alerts waited for SNS: see the errors about topics; if there are \
     none, raise the function's timeout, or narrow the rules that match very often";
const FOR_LARGE_WINDOW: &str = "the time was up while other logs used the memory for records of over 512 KB: the retry reads it \
     again; if that fails too, replay it alone";

pub(super) struct Places {
    /// When reading must stop.
    deadline: SystemTime,
    free: Semaphore,
    /// For the one log that may hold a record of over 512 KB.
    large_window: Mutex<()>,
    waiting: watch::Sender<usize>,
}

pub(super) struct Place<'p> {
    shared: &'p Places,
    /// `None` for a slow log.
    permit: Option<SemaphorePermit<'p>>,
    since: Instant,
    waited: Duration,
    waits: BTreeMap<&'static str, Duration>,
    large_window: Option<(MutexGuard<'p, ()>, Instant)>,
}

impl Places {
    pub(super) fn new(deadline: SystemTime) -> Self {
        let (free, large_window) = (Semaphore::new(PLACES), Mutex::default());
        Places { deadline, free, large_window, waiting: watch::Sender::default() }
    }

    pub(super) async fn take(&self) -> Result<Place<'_>, String> {
        let permit = in_time(self.deadline, NO_PLACE, self.free.acquire()).await?.map_err(|e| e.to_string())?;
        Ok(Place {
            shared: self,
            permit: Some(permit),
            since: Instant::now(),
            waited: Duration::ZERO,
            waits: BTreeMap::new(),
            large_window: None,
        })
    }
}

impl Place<'_> {
    /// Waits; if that takes too long, without the place. The reason is told if the log comes too late.
    pub(super) async fn wait<T>(&mut self, reason: &'static str, work: impl Future<Output = T>) -> T {
        let (start, mut work) = (Instant::now(), pin!(work));
        let patience = PATIENCE.saturating_sub(self.waited).min(LONGEST.saturating_sub(self.since.elapsed()));
        let done = match timeout(patience, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.permit = None;
                work.await
            }
        };
        self.waited += start.elapsed();
        *self.waits.entry(reason).or_default() += start.elapsed();
        done
    }

    /// Waits for bytes of the log; with the large window only as long as it may keep that.
    pub(super) async fn bytes<T>(&mut self, bytes: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let (shared, since) = (self.shared, self.large_window.as_ref().map(|(_, since)| *since));
        let window_taken = async {
            let Some(since) = since else { return std::future::pending().await };
            sleep_until(since + LONGEST).await;
            shared.waiting.subscribe().wait_for(|waiting| *waiting > 0).await.ok();
        };
        let bytes = async {
            tokio::select! {
                biased;
                bytes = bytes => bytes,
                () = window_taken => Err(WINDOW_TAKEN.to_owned()),
            }
        };
        let in_time = self.wait(FOR_S3, in_time(shared.deadline, TOO_LATE, bytes)).await;
        in_time.unwrap_or_else(|_| Err(self.too_late()))
    }

    pub(super) fn arrived(&mut self, bytes: usize) {
        let worth = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / BYTES_PER_SECOND;
        self.waited = self.waited.saturating_sub(worth);
        if self.since.elapsed() >= LONGEST {
            self.permit = None;
        }
    }

    /// Waits for the memory for a record of over 512 KB.
    pub(super) async fn take_large_window(&mut self) -> Result<(), String> {
        let Places { deadline, large_window, waiting, .. } = self.shared;
        waiting.send_modify(|waiting| *waiting += 1);
        let turn = self.wait(FOR_LARGE_WINDOW, in_time(*deadline, FOR_LARGE_WINDOW, large_window.lock())).await;
        waiting.send_modify(|waiting| *waiting -= 1);
        self.large_window = Some((turn?, Instant::now()));
        Ok(())
    }

    /// Gives the large window back, and tells whether there was one.
    pub(super) fn leave_large_window(&mut self) -> bool {
        self.large_window.take().is_some()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if SystemTime::now() > self.shared.deadline {
            return Err(self.too_late());
        }
        let is_long = self.large_window.as_ref().is_some_and(|(_, since)| since.elapsed() >= LONGEST);
        if is_long && *self.shared.waiting.borrow() > 0 { Err(WINDOW_TAKEN.to_owned()) } else { Ok(()) }
    }

    fn too_late(&self) -> String {
        let most = self.waits.iter().find(|(_, time)| **time > self.since.elapsed() / 2);
        most.map_or(TOO_LATE, |(reason, _)| *reason).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn in_a_minute() -> SystemTime {
        SystemTime::now() + Duration::from_mins(1)
    }

    #[test]
    fn a_log_leaves_its_place_after_some_seconds_however_fast_its_bytes_arrive() {
        let places = Places::new(in_a_minute());
        let mut place = run(places.take()).unwrap();
        place.arrived(1);
        assert_eq!(places.free.available_permits(), PLACES - 1);
        place.since -= LONGEST;
        place.arrived(1 << 30);
        assert_eq!(places.free.available_permits(), PLACES);
    }

    #[test]
    fn a_log_keeps_the_large_window_for_long_only_while_no_other_waits_for_it() {
        let places = Places::new(in_a_minute());
        run(async {
            let (mut place, mut other) = (places.take().await.unwrap(), places.take().await.unwrap());
            place.take_large_window().await.unwrap();
            place.large_window.as_mut().unwrap().1 -= LONGEST;
            assert_eq!((place.bytes(async { Ok(1) }).await, place.check()), (Ok(1), Ok(())));
            let waits = other.take_large_window();
            let gives_up = async {
                let never = place.bytes(std::future::pending::<Result<(), _>>()).await;
                assert_eq!((never, place.check()), (Err(WINDOW_TAKEN.to_owned()), Err(WINDOW_TAKEN.to_owned())));
                assert!(place.leave_large_window());
            };
            tokio::join!(biased; waits, gives_up).0.unwrap();
            assert_eq!(*places.waiting.borrow(), 0);
        });
    }

    #[test]
    fn the_reason_of_a_log_that_was_too_late_is_what_took_most_of_its_time() {
        let places = Places::new(in_a_minute());
        let mut place = run(places.take()).unwrap();
        place.since -= Duration::from_secs(10);
        assert_eq!(place.too_late(), TOO_LATE);
        for reason in [FOR_S3, FOR_SNS, FOR_LARGE_WINDOW] {
            place.waits = [(FOR_S3, Duration::from_secs(2)), (reason, Duration::from_secs(6))].into();
            assert_eq!(place.too_late(), reason);
        }
        let late = Places::new(SystemTime::now() - Duration::from_secs(1));
        assert_eq!(run(late.take()).err().as_deref(), Some(NO_PLACE));
    }
}

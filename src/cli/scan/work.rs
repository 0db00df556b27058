//! The logs that wait to be scanned, and the order in which threads take them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Logs of kind `L`, numbered as they come.
pub(super) struct Work<L> {
    state: Mutex<State<L>>,
    changed: Condvar,
}

struct State<L> {
    waiting: BTreeMap<usize, (u64, L)>,
    /// The same, the largest last.
    by_size: BTreeSet<(u64, Reverse<usize>)>,
    /// How many have come.
    count: usize,
    /// The size of all that wait.
    left: u64,
    /// Whether no more will come.
    ended: bool,
}

impl<L> Work<L> {
    pub(super) fn new() -> Self {
        let state = State { waiting: BTreeMap::new(), by_size: BTreeSet::new(), count: 0, left: 0, ended: false };
        Work { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds the next log, of that size in bytes.
    pub(super) fn add(&self, size: u64, log: L) {
        let mut state = self.lock();
        let number = state.count;
        state.count += 1;
        state.left += size;
        state.by_size.insert((size, Reverse(number)));
        state.waiting.insert(number, (size, log));
        drop(state);
        self.changed.notify_one();
    }

    /// Says that no more will come; gives how many have come.
    pub(super) fn end(&self) -> usize {
        let mut state = self.lock();
        state.ended = true;
        let count = state.count;
        drop(state);
        self.changed.notify_all();
        count
    }

    /// Drops the logs that wait: nobody wants them any more.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.by_size.clear();
        state.ended = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Takes the first log that waits, with its number; blocks until there is one. `None` after the last one.
    ///
    /// Once all have come, a thread that need not keep the order takes the largest log instead, where the others would have
    /// to wait for it at the end. Its alerts wait in memory until it is its turn to be printed.
    pub(super) fn take(&self, threads: usize, in_order: bool) -> Option<(usize, L)> {
        let is_idle = |state: &mut State<L>| state.waiting.is_empty() && !state.ended;
        let mut state = self.changed.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let (size, Reverse(largest)) = *state.by_size.last()?;
        let is_urgent = state.ended && size.saturating_mul(threads as u64) >= state.left;
        let number = if is_urgent && !in_order { largest } else { *state.waiting.first_key_value()?.0 };
        let (size, log) = state.waiting.remove(&number)?;
        state.by_size.remove(&(size, Reverse(number)));
        state.left -= size;
        Some((number, log))
    }

    /// A panic can't have left it half-changed.
    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn numbers(work: &Work<()>, in_order: bool) -> Vec<usize> {
        std::iter::from_fn(|| work.take(2, in_order)).map(|(number, ())| number).collect()
    }

    #[test]
    fn the_other_threads_begin_with_a_log_that_they_would_have_to_wait_for() {
        for (sizes, taken) in [
            (&[1, 1, 1, 1][..], [0, 1, 2, 3].as_slice()),
            (&[1, 1, 1, 3], &[3, 0, 1, 2]),
            (&[1, 1, 1, 1, 2], &[0, 1, 4, 2, 3]),
            (&[5, 0], &[0, 1]),
            (&[u64::MAX / 2, u64::MAX / 2], &[0, 1]),
        ] {
            for (in_order, expected) in [(false, taken.to_vec()), (true, (0..sizes.len()).collect())] {
                let work = Work::new();
                for size in sizes {
                    work.add(*size, ());
                }
                assert_eq!(work.end(), sizes.len());
                assert_eq!(numbers(&work, in_order), expected, "{sizes:?}");
            }
        }
    }

    #[test]
    fn before_the_last_log_has_come_they_are_taken_in_order() {
        let work = Work::new();
        for size in [1, 9, 1] {
            work.add(size, ());
        }
        assert_eq!(work.take(2, false), Some((0, ())));
        work.end();
        assert_eq!(numbers(&work, false), [1, 2]);
    }

    #[test]
    fn a_thread_waits_for_a_log_and_for_the_end() {
        let work = Work::new();
        thread::scope(|scope| {
            let taken = scope.spawn(|| numbers(&work, true));
            work.add(1, ());
            work.add(1, ());
            work.end();
            assert_eq!(taken.join().unwrap(), [0, 1]);
        });
    }

    #[test]
    fn nothing_is_left_of_abandoned_work() {
        let work = Work::new();
        work.add(1, ());
        work.abandon();
        assert_eq!(numbers(&work, false), [0_usize; 0]);
    }
}

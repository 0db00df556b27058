//! The order of the output: results of tasks that several threads do in any order, handed over in the order of the tasks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
struct State<T> {
    /// The results of `front` and of the tasks after it that are not handed over yet, each with its size, and whether it is
    /// the last one.
    queues: VecDeque<VecDeque<(T, usize, bool)>>,
    /// The task whose results are handed over now.
    front: usize,
    /// How many tasks there are, once that is known.
    tasks: Option<usize>,
    /// The size of all results that wait.
    waiting: usize,
    closed: bool,
}

/// Takes the results of numbered tasks. The results that wait are bounded by the sizes that their producers give.
///
/// Some thread must always be working on the first task that is not finished, or be about to: only that task is never made
/// to wait for another.
pub(super) struct InOrder<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// The same as in the state.
    is_closed: AtomicBool,
    limit: usize,
}

/// The results are not wanted any more.
#[derive(Debug, thiserror::Error)]
#[error("the results are not wanted any more")]
pub(super) struct Closed;

impl<T> InOrder<T> {
    /// `limit` is the most that waits, in the unit of the sizes that `send` gets.
    pub(super) fn new(limit: usize) -> Self {
        let state = State { queues: VecDeque::new(), front: 0, tasks: None, waiting: 0, closed: false };
        InOrder { state: Mutex::new(state), changed: Condvar::new(), is_closed: AtomicBool::new(false), limit }
    }

    /// Says how many tasks there are.
    pub(super) fn end(&self, tasks: usize) {
        self.lock().tasks = Some(tasks);
        self.changed.notify_all();
    }

    /// Takes a result of a task, and whether it is the last one. Blocks while too much waits already.
    pub(super) fn send(&self, task: usize, item: T, size: usize, last: bool) -> Result<(), Closed> {
        let must_wait = |state: &mut State<T>| {
            let is_wanted_now = state.front == task && state.queues.front().is_none_or(VecDeque::is_empty);
            !state.closed && !is_wanted_now && state.waiting > 0 && state.waiting + size > self.limit
        };
        let state = self.changed.wait_while(self.lock(), must_wait);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Closed);
        }
        state.waiting += size;
        let ahead = task - state.front;
        if state.queues.len() <= ahead {
            state.queues.resize_with(ahead + 1, VecDeque::new);
        }
        state.queues[ahead].push_back((item, size, last));
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next result in order; blocks until it is there. `None` after the last one of the last task, or once closed.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.lock();
        while !state.closed && state.tasks != Some(state.front) {
            if let Some((item, size, last)) = state.queues.front_mut().and_then(VecDeque::pop_front) {
                if last {
                    state.queues.pop_front();
                    state.front += 1;
                }
                state.waiting -= size;
                drop(state);
                self.changed.notify_all();
                return Some(item);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.is_closed.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether results are not wanted any more. It takes no lock.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// A panic can't have left it half-changed.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::on_panic::OnPanic;
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_whichever_is_first() {
        // With a limit of one, every result but the one that is wanted waits.
        for limit in [1, 10, 1_000] {
            let results = InOrder::new(limit);
            thread::scope(|scope| {
                for tasks in [(0..20).step_by(2).collect::<Vec<_>>(), (0..20).skip(1).step_by(2).collect()] {
                    let results = &results;
                    scope.spawn(move || {
                        for task in tasks {
                            for i in 0..5 {
                                results.send(task, (task, i), 3, i == 4).unwrap();
                            }
                        }
                    });
                }
                results.end(20);
                let expected: Vec<_> = (0..20).flat_map(|task| (0..5).map(move |i| (task, i))).collect();
                assert_eq!(std::iter::from_fn(|| results.next()).collect::<Vec<_>>(), expected);
            });
        }
    }

    #[test]
    fn a_waiting_producer_learns_that_its_result_is_not_wanted() {
        let results = InOrder::new(10);
        results.send(1, "early", 10, false).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| results.send(1, "too much", 10, true));
            results.close();
            waiting.join().unwrap().unwrap_err();
        });
        results.send(0, "late", 1, true).unwrap_err();
    }

    #[test]
    fn a_panic_ends_the_waiting() {
        let results = InOrder::<()>::new(10);
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _guard = OnPanic(|| results.close());
                panic!("as a test");
            });
            assert!(results.next().is_none());
            panicking.join().unwrap_err();
        });
    }
}

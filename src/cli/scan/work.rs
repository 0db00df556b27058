//! The order in which threads take the logs of a scan.

use std::cmp::Reverse;

pub(super) struct Work {
    sizes: Vec<u64>,
    /// All of them, the largest last.
    by_size: Vec<usize>,
    taken: Vec<bool>,
    /// All before it are taken.
    first: usize,
    /// The size of all that are left.
    left: u64,
}

impl Work {
    pub(super) fn new(sizes: Vec<u64>) -> Self {
        let mut by_size: Vec<_> = (0..sizes.len()).collect();
        by_size.sort_by_key(|log| (sizes[*log], Reverse(*log)));
        Work { left: sizes.iter().sum(), taken: vec![false; sizes.len()], sizes, by_size, first: 0 }
    }

    /// Takes the first log that is left. A thread that need not keep the order takes the largest log instead, where the
    /// others would have to wait for it at the end. Its alerts wait in memory until it is its turn to be printed.
    pub(super) fn take(&mut self, threads: usize, in_order: bool) -> Option<usize> {
        while *self.taken.get(self.first)? {
            self.first += 1;
        }
        while self.by_size.pop_if(|log| self.taken[*log]).is_some() {}
        let largest = *self.by_size.last()?;
        let is_urgent = self.sizes[largest].saturating_mul(threads as u64) >= self.left;
        let log = if is_urgent && !in_order { largest } else { self.first };
        self.taken[log] = true;
        self.left -= self.sizes[log];
        Some(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_threads_begin_with_a_log_that_they_would_have_to_wait_for() {
        for (sizes, taken) in [
            (&[1, 1, 1, 1][..], [0, 1, 2, 3].as_slice()),
            (&[1, 1, 1, 3], &[3, 0, 1, 2]),
            (&[1, 1, 1, 1, 2], &[0, 1, 4, 2, 3]),
            (&[5, 0], &[0, 1]),
            (&[u64::MAX / 2, u64::MAX / 2], &[0, 1]),
        ] {
            let mut work = Work::new(sizes.to_vec());
            assert_eq!(std::iter::from_fn(|| work.take(2, false)).collect::<Vec<_>>(), taken, "{sizes:?}");
            let mut work = Work::new(sizes.to_vec());
            assert_eq!(
                std::iter::from_fn(|| work.take(2, true)).collect::<Vec<_>>(),
                (0..sizes.len()).collect::<Vec<_>>()
            );
        }
    }
}

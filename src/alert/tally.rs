//! How often each of many texts came, in bounded memory.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What an entry takes besides its text, about.
const ENTRY: usize = 100;

/// The number of alerts by something. Of very many, only the first ones are told apart.
#[derive(Debug)]
pub(crate) struct Tally<K> {
    counts: BTreeMap<K, u64>,
    /// How many are told apart.
    limit: usize,
}

/// The most frequent ones of a tally.
pub(crate) struct Top<'a, K> {
    /// Most first.
    pub(crate) named: Vec<(&'a K, u64)>,
    pub(crate) others: Others,
}

/// Those that are not named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Others {
    pub(crate) count: u64,
    /// Whether there may be more of them, because not all were told apart.
    pub(crate) is_at_least: bool,
    pub(crate) alerts: u64,
}

impl<K: Ord> Tally<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Tally { counts: BTreeMap::new(), limit }
    }

    /// Counts one, whose text has this size. `room` is how many bytes this and other tallies may still take.
    pub(crate) fn count<Q>(&mut self, key: &Q, size: usize, room: &mut usize)
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
        } else if self.counts.len() < self.limit
            && let Some(left) = room.checked_sub(size + ENTRY)
        {
            *room = left;
            self.counts.insert(key.to_owned(), 1);
        }
    }

    /// Those that are told apart, in their order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&K, u64)> {
        self.counts.iter().map(|(key, count)| (key, *count))
    }

    /// The `n` most frequent ones, of so many alerts.
    pub(crate) fn top(&self, n: usize, alerts: u64) -> Top<'_, K> {
        let mut named: Vec<_> = self.counts.iter().map(|(key, count)| (key, *count)).collect();
        named.sort_by_key(|(_, count)| Reverse(*count));
        let is_at_least = self.counts.values().sum::<u64>() < alerts;
        named.truncate(n);
        let count = (self.counts.len() - named.len()) as u64 + u64::from(is_at_least);
        let alerts = alerts.saturating_sub(named.iter().map(|(_, count)| count).sum());
        Top { named, others: Others { count, is_at_least, alerts } }
    }
}

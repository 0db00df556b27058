//! A map of bounded size: it forgets what has not been used for longest.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;

/// What an entry takes beside its value, in bytes: its key, and the room that maps keep free, which is more than half of
/// a map that has just grown, and that allocators do.
const ENTRY: usize = 192;

/// A map in two halves. What is used moves to the younger half; when that is full, it becomes the older one, and what had
/// not been used since is forgotten.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    /// The size of the younger half, and the most that it may have, in bytes.
    size: usize,
    limit: usize,
    /// Whether the younger half has been full.
    was_full: bool,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    /// A map of about so many bytes at most.
    pub(crate) fn new(bytes: usize) -> Self {
        Bounded { young: HashMap::default(), old: HashMap::default(), size: 0, limit: bytes / 2, was_full: false }
    }

    /// Whether half of its bytes have been enough for all that was put in, so that it can't have forgotten anything.
    pub(crate) fn has_all(&self) -> bool {
        !self.was_full
    }

    /// Takes a value out, to put it back changed.
    pub(crate) fn take(&mut self, key: &K, size: impl Fn(&V) -> usize) -> Option<V> {
        let young = self.young.remove(key);
        self.size -= young.as_ref().map_or(0, |value| ENTRY + size(value));
        young.or_else(|| self.old.remove(key))
    }

    /// Puts a value of this size in. There is none of the key.
    pub(crate) fn put(&mut self, key: K, value: V, size: usize) {
        if self.size + ENTRY + size > self.limit {
            self.old = mem::take(&mut self.young);
            self.size = 0;
            self.was_full = true;
        }
        self.size += ENTRY + size;
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The memory that its maps have, whose tables are full at seven eighths, and its values.
    fn bytes(map: &Bounded<u128, Vec<u8>>) -> usize {
        let halves = [&map.young, &map.old];
        let tables = halves.iter().map(|half| half.capacity().div_ceil(7) * 8 * (size_of::<(u128, Vec<u8>)>() + 1));
        tables.sum::<usize>() + halves.iter().flat_map(|half| half.values()).map(Vec::capacity).sum::<usize>()
    }

    fn size(value: &Vec<u8>) -> usize {
        size_of::<Vec<u8>>() + value.capacity()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_stays_within_its_bytes_and_forgets_what_was_unused_for_longest(
            uses in prop::collection::vec((0..60_u128, 0..300_usize), 1..400),
        ) {
            const LIMIT: usize = 20_000;
            let mut map = Bounded::new(LIMIT);
            let mut used: Vec<u128> = Vec::new();
            for (key, length) in uses {
                let known: Option<Vec<u8>> = map.take(&key, size);
                // Those used since, and this one, fill half of it.
                let since = used.iter().rev().take_while(|used| **used != key).collect::<std::collections::HashSet<_>>();
                let room = since.len() * (ENTRY + size_of::<Vec<u8>>() + 300);
                prop_assert!(known.is_some() || !used.contains(&key) || room + ENTRY + 400 > LIMIT / 2, "{}", key);
                let value = Vec::with_capacity(length);
                map.put(key, value, size_of::<Vec<u8>>() + length);
                used.push(key);
                prop_assert!(bytes(&map) <= LIMIT, "{}", bytes(&map));
                prop_assert_eq!(map.size, map.young.values().map(|value| ENTRY + size(value)).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_million_small_entries_stay_within_its_bytes() {
        let mut map = Bounded::new(8 << 20);
        for key in 0..1_000_000 {
            map.put(key, Vec::new(), size_of::<Vec<u8>>());
            assert!(key % 1_000 != 0 || bytes(&map) <= 8 << 20);
        }
        assert!(map.young.len() + map.old.len() > 20_000);
    }
}

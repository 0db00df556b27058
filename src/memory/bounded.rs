//! A map of bounded size: it forgets what has not been used for longest.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;

/// What an entry takes beside its value, in bytes: its key, and the room that maps and allocators keep free.
const ENTRY: usize = 64;

/// A map in two halves. What is used moves to the younger half; when that is full, it becomes the older one, and what had
/// not been used since is forgotten.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    /// The size of the younger half, and the most that it may have, in bytes.
    size: usize,
    limit: usize,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    /// A map of about so many bytes at most.
    pub(crate) fn new(bytes: usize) -> Self {
        Bounded { young: HashMap::default(), old: HashMap::default(), size: 0, limit: bytes / 2 }
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
        }
        self.size += ENTRY + size;
        self.young.insert(key, value);
    }
}

//! The logs of all places in one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec;

use tokio::sync::mpsc;

use super::source::{Found, Place};

/// Logs of one kind of place, in the order of their places.
pub(super) enum Stream {
    Local(vec::IntoIter<Found>),
    /// As they are listed. An error is about a part of the list.
    Bucket(mpsc::Receiver<Result<Found, String>>),
}

/// Takes the logs of several streams in their order.
pub(super) struct Merge {
    streams: Vec<Stream>,
    /// The next log of each stream that has one.
    heads: BinaryHeap<Reverse<Head>>,
    failures: Vec<String>,
}

struct Head {
    found: Found,
    stream: usize,
}

impl Merge {
    pub(super) async fn new(streams: Vec<Stream>) -> Self {
        let mut merge = Merge { heads: BinaryHeap::new(), streams, failures: Vec::new() };
        for stream in 0..merge.streams.len() {
            merge.advance(stream).await;
        }
        merge
    }

    /// The next log.
    pub(super) async fn next(&mut self) -> Option<Found> {
        let Reverse(Head { found, stream }) = self.heads.pop()?;
        self.advance(stream).await;
        Some(found)
    }

    /// The failures that nobody has taken yet.
    pub(super) fn failures(&mut self) -> impl Iterator<Item = String> {
        self.failures.drain(..)
    }

    async fn advance(&mut self, stream: usize) {
        let found = loop {
            match &mut self.streams[stream] {
                Stream::Local(logs) => break logs.next(),
                Stream::Bucket(listed) => match listed.recv().await {
                    Some(Err(failure)) => self.failures.push(failure),
                    listed => break listed.and_then(Result::ok),
                },
            }
        };
        self.heads.extend(found.map(|found| Reverse(Head { found, stream })));
    }
}

impl Head {
    fn key(&self) -> (&Place, usize) {
        (&self.found.place, self.stream)
    }
}
impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Head {}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

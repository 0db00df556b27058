//! Reading ahead in S3: objects are requested, and their bytes arrive, while the logs before them are being scanned.

use std::error::Error;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{FutureExt, pending};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::aws::{LogBytes, S3};
use crate::log::S3Object;

/// The most objects that are open at once. At a latency of 50 ms, this many small ones arrive 64 times as fast as one after
/// the other.
const OPEN: usize = 64;

/// How many bytes of an object may wait to be scanned, besides its last piece: together 16 MB.
const ROOM: usize = 256 << 10;

/// The requests to S3 of a scan. One thread makes them all: two would take a third more processor time, to wake each other.
pub(super) struct Ahead {
    runtime: Mutex<Option<Runtime>>,
    stopped: Notify,
    open: Arc<Semaphore>,
}

/// The bytes of an object, as they arrive.
pub(super) struct Download {
    pieces: mpsc::UnboundedReceiver<Result<Piece, io::Error>>,
    piece: Option<Piece>,
    /// How much of the piece has been read.
    read: usize,
    room: Arc<Semaphore>,
    _open: OwnedSemaphorePermit,
}

/// An error that all other objects would have, too.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

impl Refused {
    pub(super) fn is(error: &(dyn Error + 'static)) -> bool {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.is_some_and(<dyn Error + Send + Sync>::is::<Refused>)
    }
}

type Piece = Box<dyn AsRef<[u8]> + Send>;

impl Ahead {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let open = Arc::new(Semaphore::new(OPEN));
        Ok(Ahead { runtime: Mutex::new(Some(runtime)), stopped: Notify::new(), open })
    }

    /// Makes the requests of this task, and those for the objects that it opens, until [`stop`](Self::stop).
    pub(super) fn run(&self, task: impl Future<Output = ()>) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(runtime) = runtime else { return };
        runtime.block_on(async {
            tokio::select! {
                () = self.stopped.notified() => {}
                () = task.then(|()| pending()) => {}
            }
        });
        // Whoever waits for an object gets nothing.
        runtime.shutdown_background();
    }

    /// Starts to read an object, once there is room for it.
    pub(super) async fn open(&self, s3: &S3, object: &S3Object) -> Option<Download> {
        // It is never closed.
        let open = self.open.clone().acquire_owned().await.ok()?;
        let (sender, pieces) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM));
        let (s3, object, free) = (s3.clone(), object.clone(), room.clone());
        tokio::spawn(async move {
            let error = match s3.open(&object, None).await {
                Ok(bytes) => pump(bytes, &free, &sender).await,
                Err(cause) => Some(cause.to_string()),
            };
            let error = error.map(|cause| match s3.refusal() {
                Some(_) => io::Error::other(Refused(cause)),
                None => io::Error::other(cause),
            });
            // A scan that has ended does not want it any more.
            error.map(|error| sender.send(Err(error)).ok());
        });
        Some(Download { pieces, piece: None, read: 0, room, _open: open })
    }

    /// Ends all requests.
    pub(super) fn stop(&self) {
        self.stopped.notify_one();
    }
}

/// Hands over the bytes of an object until its end, or until nobody wants them; gives the reason if S3 does not.
async fn pump(
    mut bytes: LogBytes,
    room: &Semaphore,
    sender: &mpsc::UnboundedSender<Result<Piece, io::Error>>,
) -> Option<String> {
    loop {
        let piece: Piece = match bytes.next().await {
            Ok(piece) => Box::new(piece?),
            Err(cause) => return Some(cause),
        };
        room.acquire_many(room_for(&piece)).await.ok()?.forget();
        sender.send(Ok(piece)).ok()?;
    }
}

/// The room that a piece takes. One that is larger than all room takes all of it.
fn room_for(piece: &Piece) -> u32 {
    u32::try_from((**piece).as_ref().len().min(ROOM)).unwrap_or(u32::MAX)
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.piece {
                let rest = (**piece).as_ref().get(self.read..).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                self.read += length;
                if length > 0 {
                    return Ok(length);
                }
                self.room.add_permits(room_for(piece) as usize);
            }
            self.read = 0;
            self.piece = match self.pieces.blocking_recv() {
                Some(piece) => Some(piece?),
                None => return Ok(0),
            };
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // The task that waits for room learns that nobody wants more.
        self.room.close();
    }
}

//! Stdin and pipes, of which nobody knows whether they will ever give anything: reading them ends with the scan.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How many pieces are read ahead, and the bytes of one.
const PIECES: usize = 4;
const PIECE: usize = 64 << 10;

/// How often it is asked whether the scan goes on.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is read in a thread of its own, which nobody has to wait for.
pub(super) struct Pipe<F> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    read: usize,
    is_over: F,
}

impl<F: Fn() -> bool> Pipe<F> {
    /// Reads a file, or stdin, until `is_over`.
    pub(super) fn of(path: Option<PathBuf>, is_over: F) -> Self {
        let (sender, pieces) = sync_channel(PIECES);
        thread::spawn(move || match path.map(File::open).transpose() {
            Ok(Some(file)) => pump(file, &sender),
            Ok(None) => pump(io::stdin(), &sender),
            Err(e) => drop(sender.send(Err(e))),
        });
        Pipe { pieces, piece: Vec::new(), read: 0, is_over }
    }
}

fn pump(mut input: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = match input.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let is_last = !matches!(read, Ok(length) if length > 0);
        let read = read.map(|length| {
            piece.truncate(length);
            piece
        });
        if sender.send(read).is_err() || is_last {
            return;
        }
    }
}

impl<F: Fn() -> bool> Read for Pipe<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => (self.piece, self.read) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) if !(self.is_over)() => continue,
                Err(_) => return Ok(0),
            }
            if self.piece.is_empty() {
                return Ok(0);
            }
        }
        let rest = &self.piece[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

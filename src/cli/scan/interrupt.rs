//! Ctrl-C: the first one ends a scan early, so that it can still tell what it has done; the second one ends the program.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// The status of an interrupted program, as shells know it.
pub(super) const INTERRUPTED: u8 = 130;

/// Ctrl-C during a scan.
pub(super) struct Interrupt(Receiver<bool>);

/// The scan: once it is dropped, nobody waits for Ctrl-C any more.
pub(super) struct Running(Sender<bool>);

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C has been pressed since the program listens, for what has nothing to wait for.
pub(super) fn is_pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}

/// Listens from now on. Where the system does not allow it, Ctrl-C ends the program at once.
pub(super) fn listen() -> (Interrupt, Running) {
    let (sender, receiver) = channel();
    let pressed = sender.clone();
    let press = move || {
        if PRESSED.swap(true, Ordering::Relaxed) || pressed.send(true).is_err() {
            process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(press).ok();
    (Interrupt(receiver), Running(sender))
}

impl Interrupt {
    /// Waits for Ctrl-C; false if the scan has ended before it.
    pub(super) fn wait(self) -> bool {
        self.0.recv().unwrap_or(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send(false).ok();
    }
}

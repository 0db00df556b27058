//! What a thread that panics leaves to the others, which would else wait for it for ever.

use std::thread;

/// Does something if the thread that holds it panics.
pub(super) struct OnPanic<F: Fn()>(pub(super) F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

//! A bell that threads ring for the one that waits in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Rung by any thread, waited for by one.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

impl Wake {
    /// Not rung.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Rings.
    pub(super) fn set(&self) {
        // Fails only when the counter is full, and then it rings.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Stops ringing.
    pub(super) fn clear(&self) {
        // Fails only when it does not ring.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! One medium of the set: its storage, and whether it answers.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::channel::NotPlaced;
use crate::storage::{Buffer, Request, Storage, StorageError};

/// A request may take this many times the patience while others are answered: one that was lost must
/// end as well.
const LOST: u32 = 8;

/// A storage that may stall.
pub(super) struct Medium {
    storage: Storage,
    /// A request has taken too long and not ended yet.
    stalled: AtomicBool,
    /// When the storage answered last.
    answered: Mutex<Instant>,
}

impl Medium {
    pub(super) fn new(storage: Storage) -> Self {
        let answered = Mutex::new(Instant::now());
        Self { storage, stalled: AtomicBool::new(false), answered }
    }

    /// Whether it has to answer first before it is asked again.
    pub(super) fn stalls(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Reads a request. Tells `give_up` why its pages have to travel by network, at once, and gives
    /// `None`, when it fails or when the storage has answered nothing for `patience`.
    ///
    /// A request that is late is awaited all the same: its answer tells that the storage can be used
    /// again, and its buffer is the storage's until then.
    pub(super) async fn read(
        &self,
        request: &Request,
        buffer: Buffer,
        patience: Duration,
        give_up: impl FnOnce(NotPlaced, String),
    ) -> Option<Buffer> {
        let bytes = usize::try_from(request.bytes()).unwrap_or(usize::MAX);
        let mut read = std::pin::pin!(self.storage.read(request.place, bytes, buffer));
        let begun = Instant::now();
        loop {
            match timeout(patience, &mut read).await {
                Ok(Ok(buffer)) => {
                    self.answers();
                    return Some(buffer);
                }
                Ok(Err(error)) => {
                    self.answers();
                    give_up(NotPlaced::ReadFailed, self.failure(&error));
                    return None;
                }
                // Slow, and at work: many requests share what it can do.
                Err(_late) if self.silent() < patience && begun.elapsed() < patience * LOST => {}
                Err(_late) => break,
            }
        }
        self.stalled.store(true, Ordering::Release);
        let silent = self.silent().as_secs_f32();
        let place = self.storage.address();
        give_up(NotPlaced::TooLate, format!("{place} has not answered for {silent:.1} s"));
        if let Err(error) = read.await {
            log::warn!("{}", self.failure(&error));
        }
        self.answers();
        None
    }

    /// Also an error is an answer: the next request will tell more.
    fn answers(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.stalled.store(false, Ordering::Release);
    }

    /// Time since it answered last.
    pub(super) fn silent(&self) -> Duration {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn failure(&self, error: &StorageError) -> String {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        format!("reading {} failed: {reason}", self.storage.address())
    }
}

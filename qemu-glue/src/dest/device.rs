//! One device of the set: its storage, and whether it answers.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::channel::NotPlaced;
use crate::storage::{Buffer, Request, Storage, StorageError};

/// A request may take this many times the patience while others are answered: one that was lost must
/// end as well.
const LOST: u32 = 8;

/// A storage that may stall.
pub(super) struct Device {
    storage: Storage,
    /// A request has taken too long and not ended yet.
    stalled: AtomicBool,
    /// Requests that it has not answered.
    asked: AtomicUsize,
    /// When the storage answered last, or was asked after it had nothing to answer.
    since: Mutex<Instant>,
}

impl Device {
    pub(super) fn new(storage: Storage) -> Self {
        let since = Mutex::new(Instant::now());
        Self { storage, stalled: AtomicBool::new(false), asked: AtomicUsize::new(0), since }
    }

    /// Whether it has to answer first before it is asked again.
    pub(super) fn stalls(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Whether it may be waited for so long: one that has nothing to answer is as good as one that answers.
    pub(super) fn has_hope(&self, waits: Duration) -> bool {
        !self.stalls() || self.silent() < waits
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
        self.asks();
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

    /// Before it is asked there is no silence.
    fn asks(&self) {
        if self.asked.fetch_add(1, Ordering::AcqRel) == 0 {
            self.begin();
        }
    }

    /// Also an error is an answer: the next request will tell more.
    fn answers(&self) {
        self.begin();
        self.asked.fetch_sub(1, Ordering::AcqRel);
        self.stalled.store(false, Ordering::Release);
    }

    /// Counts its silence from now on.
    fn begin(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Time in which it could have answered and did not.
    fn silent(&self) -> Duration {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn failure(&self, error: &StorageError) -> String {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        format!("reading {} failed: {reason}", self.storage.address())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::storage::Address;

    const WAITS: Duration = Duration::from_secs(120);

    /// A storage of which nothing is read.
    async fn device() -> Device {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        Device::new(Storage::open(&Address::File(file.path().into())).await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_that_is_asked_can_be_silent() {
        let device = device().await;
        sleep(2 * WAITS).await;
        assert!(device.has_hope(WAITS), "it had nothing to answer");
        device.asks();
        device.stalled.store(true, Ordering::Release);
        assert!(device.has_hope(WAITS), "it was asked only now");
        sleep(2 * WAITS).await;
        device.asks();
        assert!(!device.has_hope(WAITS), "a further request changes nothing");
        device.answers();
        assert!(device.has_hope(WAITS), "it answers again");
    }
}

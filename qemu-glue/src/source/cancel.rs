//! How a migration is cancelled, and what it has time for then.
//!
//! Who ends it waits for the end: whatever QEMU and the destination do, all that follows is over [`END`] later.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::controller::TOO_LONG;

/// QEMU has so long to end its migration after `migrate_cancel`; then nothing waits for it.
pub(super) const CANCELLING: Duration = Duration::from_millis(1600);
/// Its settings are put back by then, or are left as they are.
pub(super) const PUT_BACK: Duration = Duration::from_millis(2100);
/// How long messages of the destination are received, at most.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Nothing is waited for after it.
pub(super) const END: Duration = Duration::from_millis(2500);

/// Ends the migrations that have its [`Cancel`].
#[derive(Debug)]
pub struct Canceller(watch::Sender<Option<(String, Instant)>>);

/// Waits for [`Canceller::cancel`].
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<Option<(String, Instant)>>);

/// A pair of them.
#[must_use]
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// The migration is to end, for this reason.
    pub fn cancel(&self, reason: &str) {
        self.0.send_replace(Some((reason.to_owned(), Instant::now())));
    }
}

impl Cancel {
    /// The reason and the moment, once there is one; never without.
    async fn requested(&mut self) -> (String, Instant) {
        loop {
            if let Some(requested) = self.0.borrow_and_update().clone() {
                return requested;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Ends waiting for one migration: on request, or after the time that it is allowed. Whether `migrate_cancel` is sent then, the
/// controller decides.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    cancel: Cancel,
    limit: Option<Instant>,
}

impl Stop {
    pub(super) const fn new(cancel: Cancel) -> Self {
        Self { cancel, limit: None }
    }

    /// From now on it may take so long.
    pub(super) fn allow(&mut self, limit: Option<Duration>) {
        self.limit = limit.and_then(|limit| Instant::now().checked_add(limit));
    }

    /// Why somebody wants it to end; never without a reason.
    pub(super) async fn cancelled(&mut self) -> String {
        self.cancel.requested().await.0
    }

    /// Why it is to end, and since when; never without a reason.
    pub(super) async fn requested(&mut self) -> (String, Instant) {
        let Some(limit) = self.limit else { return self.cancel.requested().await };
        tokio::select! {
            biased;
            requested = self.cancel.requested() => requested,
            () = sleep_until(limit) => (TOO_LONG.to_owned(), limit),
        }
    }

    /// What `work` gives; nothing when it is not through `rest` after the migration was to end.
    pub(super) async fn within<T>(
        &mut self,
        rest: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let over = async {
            let (_, at) = self.requested().await;
            sleep_until(at + rest).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = over => None,
        }
    }

    /// The destination's last `word`; nothing when it takes too long for a migration that was to end.
    pub(super) async fn last_word<T>(&mut self, word: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let over = async {
            let (_, at) = self.requested().await;
            sleep_until((at.max(begun) + LAST_WORD).min(at + END)).await;
        };
        tokio::select! {
            biased;
            word = word => Some(word),
            () = over => None,
        }
    }
}

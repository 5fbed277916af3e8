//! How a migration is told to end before its end.

use tokio::sync::watch;

/// Ends the migrations that have its [`Cancel`].
#[derive(Debug)]
pub struct Canceller(watch::Sender<Option<String>>);

/// Waits for [`Canceller::cancel`].
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<Option<String>>);

/// A pair of them.
#[must_use]
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// The migration is to end, for this reason.
    pub fn cancel(&self, reason: &str) {
        self.0.send_replace(Some(reason.to_owned()));
    }
}

impl Cancel {
    /// The reason, once there is one; never without.
    pub async fn asked(&mut self) -> String {
        loop {
            if let Some(reason) = self.0.borrow_and_update().clone() {
                return reason;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

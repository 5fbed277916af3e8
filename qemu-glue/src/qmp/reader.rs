//! The task that reads: answers to those who wait, events to those who listen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foreign::Text;
use log::Level;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::sync::{broadcast, oneshot};

use super::line::QmpLines;
use super::{Event, QmpError};

/// QEMU's answer: the value of `return`, or the description of `error`.
pub(super) type Reply = Result<Value, Text>;

/// Who waits for which answer.
pub(super) struct Waiters {
    /// `None` once the connection has ended.
    senders: Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>,
    /// `quit` was sent: a connection that breaks is no trouble.
    quits: AtomicBool,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { senders: Mutex::new(Some(HashMap::new())), quits: AtomicBool::new(false) }
    }
}

/// A waiter; once it is dropped, a late answer is discarded.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    id: u64,
    answer: oneshot::Receiver<Reply>,
}

impl Waiter<'_> {
    /// The answer, once it comes.
    pub(super) async fn answer(&mut self) -> Result<Reply, QmpError> {
        (&mut self.answer).await.map_err(|_| QmpError::Closed)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.take(self.id);
    }
}

impl Waiters {
    /// Waits for the answer to the command `id`.
    pub(super) fn expect(&self, id: u64) -> Result<Waiter<'_>, QmpError> {
        let (sender, answer) = oneshot::channel();
        let mut waiters = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.as_mut().ok_or(QmpError::Closed)?.insert(id, sender);
        Ok(Waiter { waiters: self, id, answer })
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, HashMap::len)
    }

    /// The connection is about to end.
    pub(super) fn will_quit(&self) {
        self.quits.store(true, Ordering::Relaxed);
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Reply>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&id)
    }

    /// No answers follow: dropping the senders wakes all waiters.
    fn close(&self) {
        *self.senders.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads until the stream ends or breaks.
pub(super) async fn read<R: AsyncRead + Unpin>(
    mut lines: QmpLines<R>,
    waiters: Arc<Waiters>,
    events: broadcast::Sender<Event>,
) {
    loop {
        match lines.next().await {
            Ok(Some((value, bytes))) => dispatch(value, bytes, &waiters, &events),
            Ok(None) => break,
            Err(error) => {
                let quits = waiters.quits.load(Ordering::Relaxed);
                log::log!(if quits { Level::Debug } else { Level::Warn }, "{error}");
                break;
            }
        }
    }
    waiters.close();
}

fn dispatch(mut value: Value, bytes: usize, waiters: &Waiters, events: &broadcast::Sender<Event>) {
    if let Some(event) = Event::of(&value) {
        // An error only means that there is no receiver.
        let _ = events.send(event);
        return;
    }
    let Some(waiter) = value["id"].as_u64().and_then(|id| waiters.take(id)) else {
        log::debug!("an answer of {bytes} bytes without a waiter");
        return;
    };
    let answer = match value.get_mut("return") {
        Some(result) => Ok(result.take()),
        None => Err(value["error"]["desc"].as_str().unwrap_or("without a reason").into()),
    };
    // An error only means that the waiter gave up.
    let _ = waiter.send(answer);
}

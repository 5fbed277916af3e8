//! The task that reads: answers to those who wait, events to those who listen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foreign::Text;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::sync::{broadcast, oneshot};

use super::line::Lines;
use super::{Event, QmpError};

/// QEMU's answer: the value of `return`, or the description of `error`.
pub(super) type Answer = Result<Value, Text>;

/// Who waits for which answer; `None` once the connection has ended.
pub(super) struct Waiters(Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>);

impl Default for Waiters {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Waiters {
    pub(super) fn expect(&self, id: u64) -> Result<oneshot::Receiver<Answer>, QmpError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.as_mut().ok_or(QmpError::Closed)?.insert(id, sender);
        Ok(receiver)
    }

    pub(super) fn forget(&self, id: u64) {
        self.take(id);
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&id)
    }

    /// Nobody is answered any more: dropping the senders wakes all who wait.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads until the stream ends or breaks.
pub(super) async fn read<R: AsyncRead + Unpin>(
    mut lines: Lines<R>,
    waiters: Arc<Waiters>,
    events: broadcast::Sender<Event>,
) {
    loop {
        match lines.next().await {
            Ok(Some((value, bytes))) => dispatch(value, bytes, &waiters, &events),
            Ok(None) => break,
            Err(error) => {
                log::warn!("{error}");
                break;
            }
        }
    }
    waiters.close();
}

fn dispatch(mut value: Value, bytes: usize, waiters: &Waiters, events: &broadcast::Sender<Event>) {
    if let Some(event) = Event::of(&value) {
        // An error only says that nobody listens.
        let _ = events.send(event);
        return;
    }
    let Some(waiter) = value["id"].as_u64().and_then(|id| waiters.take(id)) else {
        log::debug!("an answer of {bytes} bytes that nobody waits for");
        return;
    };
    let answer = match value.get_mut("return") {
        Some(result) => Ok(result.take()),
        None => Err(value["error"]["desc"].as_str().unwrap_or("without a reason").into()),
    };
    // An error only says that the one who waited gave up.
    let _ = waiter.send(answer);
}

//! The task that writes: each command as one whole line, even if its waiter gives up.
//!
//! A caller may be cancelled at any moment. Were it to write itself, half a line could stay behind, and QEMU would take
//! the next command for the rest of it.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::QmpError;

/// Commands that wait to be written; who has more waits.
const QUEUE: usize = 16;

/// A command in one line, and the channel for the outcome of writing it.
type QueuedCommand = (String, oneshot::Sender<io::Result<()>>);

/// The queue of the task.
#[derive(Debug)]
pub(super) struct CommandWriter(mpsc::Sender<QueuedCommand>);

impl CommandWriter {
    /// The queue, and the work of the task that it belongs to; the task ends with the queue.
    pub(super) fn new<W>(stream: W) -> (Self, impl Future<Output = ()>)
    where
        W: AsyncWrite + Unpin,
    {
        let (sender, lines) = mpsc::channel(QUEUE);
        (Self(sender), write(stream, lines))
    }

    /// Returns once all of `line` is written. Dropped before, it is written whole or not at all.
    pub(super) async fn write(&self, line: String) -> Result<(), QmpError> {
        let (done, written) = oneshot::channel();
        self.0.send((line, done)).await.map_err(|_| QmpError::Closed)?;
        written.await.map_err(|_| QmpError::Closed)?.map_err(QmpError::Io)
    }
}

async fn write<W: AsyncWrite + Unpin>(mut stream: W, mut lines: mpsc::Receiver<QueuedCommand>) {
    while let Some((line, done)) = lines.recv().await {
        let written = stream.write_all(line.as_bytes()).await;
        let broken = written.is_err();
        // An error only means that the waiter gave up.
        let _ = done.send(written);
        if broken {
            return;
        }
    }
}

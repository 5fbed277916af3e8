//! The channel as the source uses it: a queue of what goes out, a queue of what comes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::MigrateError;
use super::heard::LastWord;
use crate::channel::{self, ChannelError, Finish, Message, Receiver, Security, Sender};

/// How long the destination's host may take to be connected.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the destination's last word may take.
pub(super) const LAST_WORD: Duration = Duration::from_secs(15);
/// Messages that wait to be sent: hashes of 64 MiB of RAM.
const OUT: usize = 64;
/// Messages that wait to be looked at.
const IN: usize = 256;

/// The channel, run by two tasks.
#[derive(Debug)]
pub(super) struct Link {
    /// What is to be sent.
    pub(super) out: mpsc::Sender<Message>,
    /// What came; ends after an error.
    pub(super) incoming: mpsc::Receiver<Result<Message, ChannelError>>,
    bytes: Arc<AtomicU64>,
}

impl Link {
    /// Connects to `to` and opens the channel.
    pub(super) async fn connect(to: &str, security: &Security) -> Result<Self, MigrateError> {
        let failed = |error| MigrateError::Connect { to: to.to_owned(), error };
        let connected = timeout(CONNECT, TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Self::open(stream, to, security).await
    }

    /// Opens the channel on a stream that is connected to `to`.
    pub(super) async fn open<S>(
        stream: S,
        to: &str,
        security: &Security,
    ) -> Result<Self, MigrateError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted { stream, bytes: Arc::clone(&bytes) };
        let opened = channel::connect(counted, security).await;
        let (sender, receiver) =
            opened.map_err(|error| MigrateError::Channel { to: to.to_owned(), error })?;
        let (out, to_send) = mpsc::channel(OUT);
        let (received, incoming) = mpsc::channel(IN);
        tokio::spawn(send(sender, to_send, received.clone()));
        tokio::spawn(receive(receiver, received));
        Ok(Self { out, incoming, bytes })
    }

    /// Tells how the migration ended, and waits until the other side has taken leave; gives its
    /// last word.
    pub(super) async fn finish(&mut self, finish: Finish) -> Option<LastWord> {
        let leave = async {
            self.out.send(Message::Finish(finish)).await.ok()?;
            while let Some(Ok(message)) = self.incoming.recv().await {
                if let Message::Finished(finished) = message {
                    // Nothing is restored.
                    return Some(LastWord::new(finished, 0));
                }
            }
            None
        };
        timeout(LAST_WORD, leave).await.unwrap_or_else(|_| {
            log::warn!("the destination does not take leave");
            None
        })
    }

    /// Bytes on the link so far, both directions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn send(
    mut sender: Sender,
    mut messages: mpsc::Receiver<Message>,
    failed: mpsc::Sender<Result<Message, ChannelError>>,
) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = sender.send(&message).await {
            // Nobody to tell: the link is gone already.
            let _ = failed.send(Err(error)).await;
            return;
        }
    }
    if let Err(error) = sender.close().await {
        log::debug!("the channel did not end well: {error}");
    }
}

async fn receive(mut receiver: Receiver, messages: mpsc::Sender<Result<Message, ChannelError>>) {
    loop {
        let message = receiver.receive().await;
        let over = message.is_err();
        if messages.send(message).await.is_err() || over {
            return;
        }
    }
}

/// A stream whose bytes are counted.
struct Counted<S> {
    stream: S,
    bytes: Arc<AtomicU64>,
}

impl<S> Counted<S> {
    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        self.count(into.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.count(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

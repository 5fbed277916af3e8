//! The channel as the source uses it: a queue of what goes out, a queue of what comes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::channel::{self, ChannelError, Finish, Message, Receiver, Security, Sender};
use crate::source::controller::{Input, LastWord};
use crate::source::error::MigrateError;

/// How long the destination's host may take to be connected.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the destination's last word may take.
pub(in crate::source) const LAST_WORD: Duration = Duration::from_secs(15);
/// Messages that wait to be sent: hashes of 64 MiB of RAM.
const OUT: usize = 64;
/// Messages that wait to be looked at.
const IN: usize = 256;
/// Bytes that they take together; what would take more is left to the stream.
const IN_BYTES: u32 = 4 << 20;

/// The channel, run by two tasks.
#[derive(Debug)]
pub(in crate::source) struct PeerChannel {
    /// What is to be sent.
    pub(in crate::source) out: mpsc::Sender<Message>,
    /// What came; ends after an error.
    pub(in crate::source) incoming: Incoming,
    bytes: Arc<AtomicU64>,
}

impl PeerChannel {
    /// Connects to `to` and opens the channel.
    pub(in crate::source) async fn connect(
        to: &str,
        security: &Security,
    ) -> Result<Self, MigrateError> {
        let failed = |error| MigrateError::Connect { to: to.to_owned(), error };
        let connected = timeout(CONNECT, TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Self::open(stream, to, security).await
    }

    /// Opens the channel on a stream that is connected to `to`.
    pub(in crate::source) async fn open<S>(
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
        Ok(Self { out, incoming: Incoming(incoming), bytes })
    }

    /// Sends how the migration ended, and waits until the other side has said goodbye; gives its
    /// last word.
    pub(in crate::source) async fn finish(&mut self, finish: Finish) -> Option<LastWord> {
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

    /// Queues what must arrive; gives what the controller has to know where it cannot.
    pub(in crate::source) fn send(&self, message: Message) -> Option<Input> {
        match self.out.try_send(message) {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => Some(Input::ChannelFull),
            // The task that sends has met an error, which is on its way here and may be behind what came before.
            Err(TrySendError::Closed(_)) => Some(Input::ChannelGone(None)),
        }
    }

    /// Bytes on the link so far, both directions.
    pub(in crate::source) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn send(
    mut sender: Sender,
    mut messages: mpsc::Receiver<Message>,
    failed: mpsc::Sender<Waiting>,
) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = sender.send(&message).await {
            // The link is gone already.
            let _ = failed.send(Waiting { message: Err(error), _room: None }).await;
            return;
        }
    }
    if let Err(error) = sender.close().await {
        log::debug!("the channel did not end well: {error}");
    }
}

async fn receive(mut receiver: Receiver, messages: mpsc::Sender<Waiting>) {
    let room = Arc::new(Semaphore::new(IN_BYTES as usize));
    loop {
        let message = receiver.receive().await;
        let over = message.is_err();
        let bytes = message.as_ref().map_or(0, Message::held_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(IN_BYTES).min(IN_BYTES);
        let taken = Arc::clone(&room).acquire_many_owned(bytes).await.ok();
        if messages.send(Waiting { message, _room: taken }).await.is_err() || over {
            return;
        }
    }
}

/// What came and waits to be looked at: a few messages of a few MiB. A peer that sends more while nothing is read waits
/// for the stream.
#[derive(Debug)]
pub(in crate::source) struct Incoming(mpsc::Receiver<Waiting>);

/// One message, and its part of the room for all.
#[derive(Debug)]
struct Waiting {
    message: Result<Message, ChannelError>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    /// The next message; `None` after the end. A call that is dropped loses nothing.
    pub(in crate::source) async fn recv(&mut self) -> Option<Result<Message, ChannelError>> {
        self.0.recv().await.map(|waiting| waiting.message)
    }

    /// The next message that is there already.
    pub(in crate::source) fn try_recv(&mut self) -> Option<Result<Message, ChannelError>> {
        self.0.try_recv().ok().map(|waiting| waiting.message)
    }

    /// Messages that are there.
    pub(in crate::source) fn len(&self) -> usize {
        self.0.len()
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

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::sleep;

    use super::*;
    use crate::channel::SetRange;

    /// Of almost 1 MiB.
    fn installed() -> Message {
        Message::Installed(vec![SetRange { first: 1, count: 1 }; 130_000])
    }

    /// Whoever is gone is not one who does not read.
    #[tokio::test]
    async fn a_channel_that_is_gone_is_not_a_full_one() {
        let (out, to_send) = mpsc::channel(1);
        let incoming = Incoming(mpsc::channel(1).1);
        let channel = PeerChannel { out, incoming, bytes: Arc::default() };
        assert!(channel.send(installed()).is_none());
        assert!(matches!(channel.send(installed()), Some(Input::ChannelFull)));
        drop(to_send);
        let gone = channel.send(installed());
        assert!(matches!(gone, Some(Input::ChannelGone(None))), "{gone:?}");
    }

    #[tokio::test]
    async fn a_destination_that_nobody_listens_to_fills_no_memory() {
        const FRAMES: u64 = 32;
        let (near, far) = duplex(1 << 16);
        let opened = tokio::join!(
            PeerChannel::open(near, "there", &Security::Plain),
            channel::accept(far, &Security::Plain)
        );
        let (mut channel, (mut sender, _receiver)) = (opened.0.unwrap(), opened.1.unwrap());
        sender.send(&Message::Progress(channel::Progress::default())).await.unwrap();
        let sending = tokio::spawn(async move {
            for _ in 0..FRAMES {
                sender.send(&installed()).await.unwrap();
            }
            sender.close().await.unwrap();
        });
        let mut before = 0;
        // Until no more is taken.
        while channel.bytes() > before || before < 1 << 20 {
            before = channel.bytes();
            sleep(Duration::from_millis(200)).await;
        }
        assert!(before < 8 << 20, "{before} bytes were taken that nobody looks at");
        assert!(!sending.is_finished());
        let mut received = 0;
        while let Some(Ok(message)) = channel.incoming.recv().await {
            received += u64::from(message == installed());
        }
        assert_eq!(received, FRAMES);
    }
}

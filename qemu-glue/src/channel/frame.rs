//! The two ends of the channel: one sends messages, one receives them.
//!
//! Neither waits for ever on the other host's pleasure: what that does not take is an error after [`TAKEN_WITHIN`], and until
//! its first message is there it has a small buffer, as a stranger can get so far.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::error::ChannelError;
use super::length::{LENGTH_BYTES, MAX_FIRST_BYTES, MAX_FRAME_BYTES};
use super::noise::{Open, RECORD_HEAD_BYTES, Seal};
use super::{Message, codec};

/// Bytes that one read asks for.
const READ_BYTES: usize = 64 << 10;
/// The same before the first message.
const FIRST_READ_BYTES: usize = 4 << 10;
/// How long the other host may take to take a message: at most 1 MiB, but for runs.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// The sending end.
pub struct Sender {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    seal: Option<Seal>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Sender {
    pub(super) fn new(
        stream: impl AsyncWrite + Send + Unpin + 'static,
        seal: Option<Seal>,
    ) -> Self {
        Self { stream: Box::new(stream), seal, plain: Vec::new(), sealed: Vec::new() }
    }

    /// Sends one message and waits until the stream has taken it.
    ///
    /// A list that is longer than a frame arrives as several messages of its kind, an empty one
    /// does not arrive. A call that is dropped halfway leaves the channel unusable.
    ///
    /// # Errors
    /// [`ChannelError`] when the stream breaks, the other host takes nothing for 30 s, or a control message is too long.
    pub async fn send(&mut self, message: &Message) -> Result<(), ChannelError> {
        self.plain.clear();
        codec::encode(message, &mut self.plain)?;
        let bytes = match &mut self.seal {
            None => &self.plain,
            Some(seal) => {
                self.sealed.clear();
                seal.seal(&self.plain, &mut self.sealed)?;
                &self.sealed
            }
        };
        let taken = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time(taken).await
    }

    /// Ends this direction: the other side receives [`ChannelError::Closed`].
    ///
    /// # Errors
    /// [`ChannelError`] when the stream is broken already.
    pub async fn close(mut self) -> Result<(), ChannelError> {
        in_time(self.stream.shutdown()).await
    }
}

/// A write that is over when the other host takes nothing.
async fn in_time(writing: impl Future<Output = io::Result<()>>) -> Result<(), ChannelError> {
    let late = |_| ChannelError::NotTaken(TAKEN_WITHIN.as_secs());
    timeout(TAKEN_WITHIN, writing).await.map_err(late)?.map_err(ChannelError::writing)
}

/// The receiving end.
pub struct Receiver {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    open: Option<Open>,
    /// Read, and not yet opened; unused without encryption.
    sealed: Vec<u8>,
    /// Opened; what lies before `at` was taken as messages.
    plain: Vec<u8>,
    at: usize,
    /// Its first message has come.
    greeted: bool,
}

impl Receiver {
    pub(super) fn new(stream: impl AsyncRead + Send + Unpin + 'static, open: Option<Open>) -> Self {
        let (sealed, plain) = (Vec::new(), Vec::new());
        Self { stream: Box::new(stream), open, sealed, plain, at: 0, greeted: false }
    }

    /// The next message. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end, others when the stream breaks or carries no message.
    pub async fn receive(&mut self) -> Result<Message, ChannelError> {
        loop {
            let unread = &self.plain[self.at..];
            if let Some(end) = frame_end(unread, self.longest())? {
                let message = codec::decode(&unread[LENGTH_BYTES..end]);
                self.at += end;
                self.greeted = true;
                return message;
            }
            // Once for all frames of a read: moved after each, many small ones would cost their square.
            self.plain.drain(..self.at);
            self.at = 0;
            self.fill().await?;
        }
    }

    const fn longest(&self) -> usize {
        if self.greeted { MAX_FRAME_BYTES } else { MAX_FIRST_BYTES }
    }

    /// Reads once, and opens the records that are whole.
    async fn fill(&mut self) -> Result<(), ChannelError> {
        let into = if self.open.is_some() { &mut self.sealed } else { &mut self.plain };
        into.reserve(if self.greeted { READ_BYTES } else { FIRST_READ_BYTES });
        if self.stream.read_buf(into).await.map_err(ChannelError::reading)? == 0 {
            let between = self.plain.is_empty() && self.sealed.is_empty();
            return Err(if between { ChannelError::Closed } else { ChannelError::Truncated });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut rest = self.sealed.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>()
            && let Some((record, after)) =
                after.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        {
            open.open(record, &mut self.plain)?;
            rest = after;
        }
        let opened = self.sealed.len() - rest.len();
        self.sealed.drain(..opened);
        Ok(())
    }
}

/// Where the first frame of `bytes` ends, of at most `longest` bytes; `None` while it is not whole.
fn frame_end(bytes: &[u8], longest: usize) -> Result<Option<usize>, ChannelError> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > longest {
        return Err(ChannelError::TooLong(length));
    }
    let end = LENGTH_BYTES + length;
    Ok((bytes.len() >= end).then_some(end))
}

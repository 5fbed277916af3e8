//! The two ends of the channel: one sends messages, one receives them.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::ChannelError;
use super::noise::{Open, RECORD_HEAD_BYTES, Seal};
use super::{Message, codec};

/// Longest frame without its length, in bytes.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;
/// Bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes that one read asks for.
const READ_BYTES: usize = 64 << 10;

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
    /// [`ChannelError`] when the stream breaks, or a control message is too long.
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
        self.stream.write_all(bytes).await.map_err(ChannelError::writing)?;
        self.stream.flush().await.map_err(ChannelError::writing)
    }

    /// Ends this direction: the other side receives [`ChannelError::Closed`].
    ///
    /// # Errors
    /// [`ChannelError`] when the stream is broken already.
    pub async fn close(mut self) -> Result<(), ChannelError> {
        self.stream.shutdown().await.map_err(ChannelError::writing)
    }
}

/// The receiving end.
pub struct Receiver {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    open: Option<Open>,
    /// Read, and not yet opened; unused without encryption.
    sealed: Vec<u8>,
    /// Opened, and not yet taken as messages.
    plain: Vec<u8>,
}

impl Receiver {
    pub(super) fn new(stream: impl AsyncRead + Send + Unpin + 'static, open: Option<Open>) -> Self {
        Self { stream: Box::new(stream), open, sealed: Vec::new(), plain: Vec::new() }
    }

    /// The next message. A call that is dropped loses nothing.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end, others when the stream breaks or carries no message.
    pub async fn receive(&mut self) -> Result<Message, ChannelError> {
        loop {
            if let Some(end) = frame_end(&self.plain)? {
                let message = codec::decode(&self.plain[LENGTH_BYTES..end]);
                self.plain.drain(..end);
                return message;
            }
            self.fill().await?;
        }
    }

    /// Reads once, and opens the records that are whole.
    async fn fill(&mut self) -> Result<(), ChannelError> {
        let into = if self.open.is_some() { &mut self.sealed } else { &mut self.plain };
        into.reserve(READ_BYTES);
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

/// Where the first frame of `bytes` ends; `None` while it is not whole.
fn frame_end(bytes: &[u8]) -> Result<Option<usize>, ChannelError> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(ChannelError::TooLong(length));
    }
    let end = LENGTH_BYTES + length;
    Ok((bytes.len() >= end).then_some(end))
}

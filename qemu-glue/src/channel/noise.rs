//! Encryption of the channel: Noise with a key that both hosts have.
//!
//! `NNpsk0`: both sides prove that they have the key, and each channel gets fresh keys from an
//! ephemeral Diffie-Hellman exchange, so who learns the key later cannot read what was recorded.
//! The two directions have their own counters, so that one task sends while another one receives.
//!
//! ```text
//! handshake  -> 2 length, message    <- 2 length, message
//! record     2 length of the ciphertext (little-endian), ciphertext with its tag
//! ```

use std::sync::Arc;

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::ChannelError;
use super::key::Key;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Binds the handshake to this channel and its version.
const PROLOGUE: &[u8] = b"poolferry channel 1";
/// Longest message of the Noise protocol.
const MAX_RECORD_BYTES: usize = 65_535;
const TAG_BYTES: usize = 16;
/// Bytes of the length before a record.
pub(super) const RECORD_HEAD_BYTES: usize = 2;
const MAX_PLAIN_BYTES: usize = MAX_RECORD_BYTES - TAG_BYTES;
/// The sending direction.
pub(super) struct Seal {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl Seal {
    /// Appends `plain` as records to `out`.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        for plain in plain.chunks(MAX_PLAIN_BYTES) {
            let length = plain.len() + TAG_BYTES;
            let head = out.len();
            let field = u16::try_from(length).map_err(|_| ChannelError::TooLong(length))?;
            out.extend(field.to_le_bytes());
            out.resize(head + RECORD_HEAD_BYTES + length, 0);
            let record = &mut out[head + RECORD_HEAD_BYTES..];
            self.state.write_message(self.nonce, plain, record).map_err(ChannelError::Cipher)?;
            self.nonce += 1;
        }
        Ok(())
    }
}

/// The receiving direction.
pub(super) struct Open {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl Open {
    /// Appends what the ciphertext `record` hides to `out`.
    pub(super) fn open(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let plain = record.len().checked_sub(TAG_BYTES).ok_or(ChannelError::Forged)?;
        let start = out.len();
        out.resize(start + plain, 0);
        let opened = self.state.read_message(self.nonce, record, &mut out[start..]);
        opened.map_err(|_| ChannelError::Forged)?;
        self.nonce += 1;
        Ok(())
    }
}

/// The handshake from the side that connected.
pub(super) async fn initiate<S>(stream: &mut S, key: &Key) -> Result<(Seal, Open), ChannelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut state = builder(key)?.build_initiator().map_err(ChannelError::Cipher)?;
    send(stream, &mut state).await?;
    receive(stream, &mut state).await?;
    halves(state)
}

/// The handshake from the side that was connected to; `on_first` is called once the other's first message is right.
pub(super) async fn respond<S>(
    stream: &mut S,
    key: &Key,
    on_first: impl FnOnce(),
) -> Result<(Seal, Open), ChannelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut state = builder(key)?.build_responder().map_err(ChannelError::Cipher)?;
    receive(stream, &mut state).await?;
    on_first();
    send(stream, &mut state).await?;
    halves(state)
}

fn builder(key: &Key) -> Result<Builder<'_>, ChannelError> {
    let params = PATTERN.parse().map_err(ChannelError::Cipher)?;
    let builder = Builder::new(params).prologue(PROLOGUE).map_err(ChannelError::Cipher)?;
    builder.psk(0, key.bytes()).map_err(ChannelError::Cipher)
}

/// Longest message of this handshake: an ephemeral key and a tag, with room.
const MAX_HANDSHAKE_BYTES: usize = 128;

async fn send<S>(stream: &mut S, state: &mut HandshakeState) -> Result<(), ChannelError>
where
    S: AsyncWrite + Unpin,
{
    let mut message = [0; MAX_HANDSHAKE_BYTES];
    let length = state.write_message(&[], &mut message).map_err(ChannelError::Cipher)?;
    let field = u16::try_from(length).map_err(|_| ChannelError::TooLong(length))?;
    let frame = [&field.to_le_bytes()[..], &message[..length]].concat();
    stream.write_all(&frame).await.map_err(ChannelError::writing)?;
    stream.flush().await.map_err(ChannelError::writing)
}

async fn receive<S>(stream: &mut S, state: &mut HandshakeState) -> Result<(), ChannelError>
where
    S: AsyncRead + Unpin,
{
    let mut message = [0; MAX_HANDSHAKE_BYTES];
    let length = stream.read_u16_le().await.map_err(|_| ChannelError::Rejected)?;
    let message = message.get_mut(..usize::from(length)).ok_or(ChannelError::WrongKey)?;
    stream.read_exact(message).await.map_err(|_| ChannelError::Rejected)?;
    // Nothing but the key makes this fail: the message is authenticated with it.
    state
        .read_message(message, &mut [0; MAX_HANDSHAKE_BYTES])
        .map_err(|_| ChannelError::WrongKey)?;
    Ok(())
}

fn halves(state: HandshakeState) -> Result<(Seal, Open), ChannelError> {
    let state = state.into_stateless_transport_mode().map_err(ChannelError::Cipher)?;
    let state = Arc::new(state);
    Ok((Seal { state: Arc::clone(&state), nonce: 0 }, Open { state, nonce: 0 }))
}

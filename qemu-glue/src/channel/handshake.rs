//! The first bytes on a channel: who speaks, and whether it is encrypted.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::error::ChannelError;
use super::frame::{Receiver, Sender};
use super::key::Key;
use super::noise;

/// First seven bytes of either side; the eighth selects how it goes on.
const PREFACE: [u8; 7] = *b"PFERRY1";
const PLAIN: u8 = b'P';
const NOISE: u8 = b'N';
/// What the other side has for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the channel is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: anyone who reaches the port can name pages, and read hashes of RAM.
    Plain,
    /// Encrypted and authenticated with this key, the same on both hosts.
    Key(Key),
}

impl Security {
    const fn preface(&self) -> u8 {
        match self {
            Self::Plain => PLAIN,
            Self::Key(_) => NOISE,
        }
    }
}

#[derive(Clone, Copy)]
enum Role {
    Connected,
    Accepted,
}

/// Opens the channel on a stream that this side connected.
///
/// # Errors
/// [`ChannelError`] when the key differs from the other side's, or the stream breaks.
pub async fn connect<S>(stream: S, security: &Security) -> Result<(Sender, Receiver), ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    begin(stream, security, Role::Connected, &|_| ()).await
}

/// Opens the channel on a stream that the other side connected.
///
/// # Errors
/// As [`connect`].
pub async fn accept<S>(stream: S, security: &Security) -> Result<(Sender, Receiver), ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accept_with_steps(stream, security, &|_| ()).await
}

/// How far the other side has come in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Its first bytes are those of this protocol, and protected as ours.
    Preface,
    /// Its first message was made with the key, by itself or by whom it was recorded from.
    Keyed,
}

/// [`accept`], which reports each step of the other side as soon as it has been seen.
///
/// # Errors
/// As [`connect`].
pub async fn accept_with_steps<S>(
    stream: S,
    security: &Security,
    on_step: &(dyn Fn(Step) + Sync),
) -> Result<(Sender, Receiver), ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    begin(stream, security, Role::Accepted, on_step).await
}

async fn begin<S>(
    mut stream: S,
    security: &Security,
    role: Role,
    on_step: &(dyn Fn(Step) + Sync),
) -> Result<(Sender, Receiver), ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let key = match security {
        Security::Plain => None,
        Security::Key(key) => Some(key),
    };
    let handshake = async {
        preface(&mut stream, security.preface()).await?;
        on_step(Step::Preface);
        Ok(match (key, role) {
            (None, _) => (None, None),
            (Some(key), Role::Connected) => {
                let (seal, open) = noise::initiate(&mut stream, key).await?;
                (Some(seal), Some(open))
            }
            (Some(key), Role::Accepted) => {
                let (seal, open) =
                    noise::respond(&mut stream, key, || on_step(Step::Keyed)).await?;
                (Some(seal), Some(open))
            }
        })
    };
    let silent = |_| ChannelError::Silent(PATIENCE.as_secs());
    let (seal, open) = timeout(PATIENCE, handshake).await.map_err(silent)??;
    let (read, write) = tokio::io::split(stream);
    Ok((Sender::new(write, seal), Receiver::new(read, open)))
}

/// Sends the first bytes and compares the other side's with them.
async fn preface<S>(stream: &mut S, ours: u8) -> Result<(), ChannelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = [ours; 8];
    bytes[..PREFACE.len()].copy_from_slice(&PREFACE);
    stream.write_all(&bytes).await.map_err(ChannelError::writing)?;
    stream.flush().await.map_err(ChannelError::writing)?;
    let mut theirs = [0; 8];
    stream.read_exact(&mut theirs).await.map_err(ChannelError::reading)?;
    let name = |mode| if mode == NOISE { "a key" } else { "no key" };
    match theirs {
        [rest @ .., mode] if rest == PREFACE && mode == ours => Ok(()),
        [rest @ .., mode] if rest == PREFACE && (mode == PLAIN || mode == NOISE) => {
            Err(ChannelError::Security { ours: name(ours), theirs: name(mode) })
        }
        _ => Err(ChannelError::Stranger(theirs)),
    }
}

#[cfg(test)]
mod tests;

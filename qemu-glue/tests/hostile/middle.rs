//! Somebody between a source and the receiver, who reads the source's first bytes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A side's first bytes, and with them a source's first message with a key.
pub(crate) const PREFACE: usize = 8;
pub(crate) const FIRST_WORDS: usize = PREFACE + 50;

/// The source that connects to `listener`, the receiver `far`, and what the source has said, of which the receiver has heard
/// the preface.
pub(crate) async fn overhear(
    listener: TcpListener,
    mut far: TcpStream,
) -> (TcpStream, TcpStream, [u8; FIRST_WORDS]) {
    let (mut near, _) = listener.accept().await.unwrap();
    let (mut text, mut answer) = ([0; FIRST_WORDS], [0; PREFACE]);
    near.read_exact(&mut text[..PREFACE]).await.unwrap();
    far.write_all(&text[..PREFACE]).await.unwrap();
    far.read_exact(&mut answer).await.unwrap();
    near.write_all(&answer).await.unwrap();
    near.read_exact(&mut text[PREFACE..]).await.unwrap();
    (near, far, text)
}

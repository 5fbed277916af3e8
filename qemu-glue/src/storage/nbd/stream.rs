//! TCP or unix, to a server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::open_files::OpenFiles;
use crate::storage::address::NbdServer;

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a server, where `held` is of QEMU only to one that QEMU has a connection to.
    pub(super) async fn connect(server: &NbdServer, held: Option<&OpenFiles>) -> io::Result<Self> {
        Ok(match server {
            NbdServer::Tcp { host, port } => {
                let found = lookup_host((host.as_str(), *port)).await?;
                let addresses = match held {
                    Some(held) => held.connected(found),
                    None => found.collect(),
                };
                if addresses.is_empty() && held.is_some() {
                    return Err(not_held());
                }
                let stream = TcpStream::connect(&addresses[..]).await?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            NbdServer::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                // Who listens there is known by a connection only; nothing was sent yet.
                if held.is_some_and(|held| !held.shares_listener(&stream)) {
                    return Err(not_held());
                }
                Self::Unix(stream)
            }
        })
    }
}

fn not_held() -> io::Error {
    let why = "QEMU, which names it, has no connection to it";
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

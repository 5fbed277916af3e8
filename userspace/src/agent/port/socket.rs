//! A unix socket in place of a port: one host at a time, as a port has.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use safe_file::Listener;

use super::error::PortError;

pub(super) struct Socket {
    listener: Listener,
    stream: Option<UnixStream>,
}

impl Socket {
    pub(super) fn listen(path: PathBuf) -> Result<Self, PortError> {
        let bound = Listener::bind(&path).and_then(|listener| {
            listener.socket().set_nonblocking(true)?;
            Ok(listener)
        });
        match bound {
            Ok(listener) => Ok(Self { listener, stream: None }),
            Err(source) => Err(PortError::Listen { path, source }),
        }
    }

    /// Takes the next host, when there is none.
    pub(super) fn accept(&mut self) {
        if self.stream.is_none()
            && let Ok((stream, _)) = self.listener.socket().accept()
        {
            match stream.set_nonblocking(true) {
                Ok(()) => self.stream = Some(stream),
                Err(error) => log::warn!("a host was turned away: {error}"),
            }
        }
    }

    pub(super) const fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    pub(super) fn hang_up(&mut self) {
        self.stream = None;
    }
}

/// What is to be waited for: the host, or the coming of one.
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_ref().map_or_else(|| self.listener.socket().as_fd(), AsFd::as_fd)
    }
}

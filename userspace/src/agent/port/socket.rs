//! A unix socket in place of a port: one host at a time, as a port has.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use super::PortError;

pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
    stream: Option<UnixStream>,
}

impl Socket {
    pub(super) fn listen(path: PathBuf) -> Result<Self, PortError> {
        match bind(&path) {
            Ok(listener) => Ok(Self { path, listener, stream: None }),
            Err(source) => Err(PortError::Listen { path, source }),
        }
    }

    /// Takes the next host, when there is none.
    pub(super) fn accept(&mut self) {
        if self.stream.is_none()
            && let Ok((stream, _)) = self.listener.accept()
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
        self.stream.as_ref().map_or_else(|| self.listener.as_fd(), AsFd::as_fd)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens, for the owner only; a socket that an agent left behind when it was killed is replaced.
fn bind(path: &PathBuf) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(nobody) if nobody.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            _ => return Err(error),
        },
        other => other?,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

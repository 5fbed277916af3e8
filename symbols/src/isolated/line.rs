//! The socket between the two processes: messages with their length in front, and a file with some.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::IsolatedError;
use super::message::MAX_BYTES;

/// Bytes of a message's length.
const HEADER_BYTES: usize = 4;

/// One end of the socket.
#[derive(Debug)]
pub(super) struct ChildMessage(OwnedFd);

/// How one waits until the socket can be read or written.
pub(super) type Wait<'w> = &'w mut dyn FnMut(BorrowedFd<'_>, PollFlags) -> Result<(), MessageError>;

/// Why nothing was sent or received.
#[derive(Debug)]
pub(super) enum MessageError {
    /// The other end is gone.
    Closed,
    /// Anything else.
    Other(IsolatedError),
}

impl From<IsolatedError> for MessageError {
    fn from(error: IsolatedError) -> Self {
        Self::Other(error)
    }
}

impl MessageError {
    fn of(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Other(IsolatedError::protocol(format!("the socket fails: {other}"))),
        }
    }
}

impl ChildMessage {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a message, and a file with it.
    pub(super) fn send(
        &self,
        message: &impl Serialize,
        file: Option<BorrowedFd<'_>>,
        wait: Wait<'_>,
    ) -> Result<(), MessageError> {
        let mut bytes = vec![0; HEADER_BYTES];
        serde_json::to_writer(&mut bytes, message)
            .map_err(|error| IsolatedError::protocol(error.to_string()))?;
        let length = bytes.len() - HEADER_BYTES;
        let header = u32::try_from(length).ok().filter(|_| length <= MAX_BYTES);
        let header = header.ok_or_else(|| too_long(length))?;
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
        let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            // A file goes with the first byte.
            if sent == 0 && !files.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&files));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.0, &[IoSlice::new(&bytes[sent..])], &mut control, flags) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => wait(self.0.as_fd(), PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(MessageError::of(error)),
            }
        }
        Ok(())
    }

    /// Receives a message, and the file that came with it, if one did.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        wait: Wait<'_>,
    ) -> Result<(T, Option<OwnedFd>), MessageError> {
        let mut header = [0; HEADER_BYTES];
        let mut file = None;
        self.fill(&mut header, Some(&mut file), wait)?;
        let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if length > MAX_BYTES {
            return Err(too_long(length).into());
        }
        let mut body = vec![0; length];
        self.fill(&mut body, None, wait)?;
        let message = serde_json::from_slice(&body)
            .map_err(|error| IsolatedError::protocol(error.to_string()))?;
        Ok((message, file))
    }

    /// Reads until `buffer` is full. Files are taken only where they are wanted; the kernel drops others.
    fn fill(
        &self,
        buffer: &mut [u8],
        mut file: Option<&mut Option<OwnedFd>>,
        wait: Wait<'_>,
    ) -> Result<(), MessageError> {
        let mut full = 0;
        while full < buffer.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = match file {
                Some(_) => RecvAncillaryBuffer::new(&mut space),
                None => RecvAncillaryBuffer::default(),
            };
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let mut part = [IoSliceMut::new(&mut buffer[full..])];
            match recvmsg(&self.0, &mut part, &mut control, flags) {
                Ok(received) if received.bytes == 0 => return Err(MessageError::Closed),
                Ok(received) => full += received.bytes,
                Err(Errno::AGAIN) => {
                    wait(self.0.as_fd(), PollFlags::IN)?;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(MessageError::of(error)),
            }
            if let Some(file) = &mut file {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(files) = message {
                        **file = files.last();
                    }
                }
            }
        }
        Ok(())
    }
}

fn too_long(length: usize) -> IsolatedError {
    IsolatedError::protocol(format!("a message of {length} bytes, more than {MAX_BYTES}"))
}

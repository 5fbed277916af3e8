//! The sockets between a keeper and who has made it: a message a packet, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a message: some dozen sites, or some causes of an error.
const MAX_BYTES: usize = 128 << 10;
/// Most descriptors with one: an object has some twenty maps.
const MAX_FILES: usize = 64;

/// One end.
#[derive(Debug)]
pub(crate) struct Pair(OwnedFd);

impl Pair {
    pub(crate) const fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Both ends.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_BYTES || files.len() > MAX_FILES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }

    /// The next message, however long that takes; none where the other end is closed.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let buffer = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let files = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let files = files.flatten().collect();
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, files)))
    }

    /// Waits for a message or the other end's end; whether there is one.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        self.poll(PollFlags::IN, limit)
    }

    /// Waits until the other end is closed; whether it is.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> bool {
        self.poll(PollFlags::empty(), limit)
    }

    /// Whether the other end is closed.
    pub(crate) fn is_ended(&self) -> bool {
        self.wait_for_end(Duration::ZERO)
    }

    fn poll(&self, flags: PollFlags, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(left) = Timespec::try_from(left) else { return false };
            match poll(&mut [PollFd::new(&self.0, flags)], Some(&left)) {
                Err(Errno::INTR) => {}
                ready => return ready.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// The other end reads the end of the stream.
    pub(crate) fn close(&self) {
        // One that is gone needs no message.
        let _ = shutdown(&self.0, Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn messages_come_whole_with_their_descriptors() {
        let (ours, theirs) = Pair::new().unwrap();
        let theirs = Pair::of(theirs);
        let file = std::fs::File::open("/dev/null").unwrap();
        ours.send(&"x".repeat(MAX_BYTES - 2), &[file.as_fd(), file.as_fd()]).unwrap();
        ours.send(&7_u32, &[]).unwrap();
        assert!(ours.send(&"x".repeat(MAX_BYTES), &[]).is_err());
        assert!(theirs.wait(Duration::ZERO) && !theirs.is_ended());
        let (text, files): (String, _) = theirs.receive().unwrap().unwrap();
        assert_eq!((text.len(), files.len()), (MAX_BYTES - 2, 2));
        assert_eq!(theirs.receive::<u32>().unwrap().unwrap().0, 7);
        ours.close();
        assert!(theirs.receive::<u32>().unwrap().is_none());
        assert!(!theirs.is_ended(), "the other end is not closed yet");
        drop(ours);
        assert!(theirs.is_ended());
    }
}

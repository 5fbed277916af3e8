//! What ends the wait for a profile before it is there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Descriptors of which each ends the work once it is readable: that of a process which has ended
/// (pidfd_open(2)), that of an agent which is being stopped.
#[derive(Clone, Debug, Default)]
pub struct Ends(Vec<Arc<OwnedFd>>);

/// The same descriptors.
impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs.fold(true, |same, (a, b)| same && Arc::ptr_eq(a, b))
    }
}

impl Eq for Ends {}

impl Ends {
    /// These, and one more.
    #[must_use]
    pub fn and(mut self, end: Arc<OwnedFd>) -> Self {
        self.0.push(end);
        self
    }

    /// Whether one of them is there.
    #[must_use]
    pub fn reached(&self) -> bool {
        let mut waiting: Vec<_> = self.poll_fds().collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut waiting, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// All of them, to be waited for.
    pub(crate) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN))
    }
}

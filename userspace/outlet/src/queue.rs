//! The queue of one stream, and the thread that writes it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes that are queued at most, but for one piece that is larger than that.
pub(crate) const ROOM: usize = 256 << 10;

/// Bytes that are handed to the kernel at once. Small, so that the count of what was taken is close.
const PIECE: usize = 16 << 10;

/// One of the two standard streams.
pub struct Outlet {
    fd: fn() -> BorrowedFd<'static>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Written by the thread; the front is taken off once the kernel has it.
    queue: VecDeque<u8>,
    /// Pieces that found no room since the last note.
    dropped: u64,
    /// The line that reports them.
    note: fn(u64) -> String,
    /// Nothing is written any more.
    failed: Option<Errno>,
    running: bool,
    wakers: Vec<Waker>,
}

fn plain_note(dropped: u64) -> String {
    format!("({dropped} messages were dropped here: nobody read them)\n")
}

impl Outlet {
    pub(crate) const fn new(fd: fn() -> BorrowedFd<'static>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            dropped: 0,
            note: plain_note,
            failed: None,
            running: false,
            wakers: Vec::new(),
        };
        Self { fd, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The notice of messages that were dropped: a line made of their number. Set where lines
    /// have a form.
    pub fn set_note(&self, note: fn(u64) -> String) {
        self.lock().note = note;
    }

    /// Queues one message, whole or not at all, and returns at once.
    pub fn push(&'static self, message: &[u8]) {
        let mut state = self.lock();
        if state.failed.is_some() || message.is_empty() {
            return;
        }
        if !state.has_room(message.len()) {
            state.dropped += 1;
            return;
        }
        state.report_dropped();
        state.queue.extend(message);
        self.awake(state);
    }

    /// Whether all is written, or nothing can be any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.lock().is_drained()
    }

    /// Fails once nothing can be written any more.
    ///
    /// # Errors
    /// The system's reason: the reader is gone, the disk is full.
    pub fn check(&self) -> io::Result<()> {
        self.lock().failed.map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// Waits until all is written, or nothing can be any more.
    pub async fn drained(&'static self) {
        std::future::poll_fn(|context| {
            self.poll(context, |state| state.is_drained().then_some(()))
        })
        .await;
    }

    /// The same for one who has no runtime, and not for ever; whether it came to that.
    pub fn drain_until(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !state.is_drained() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Polls for something of the state.
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        look: impl FnOnce(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.lock();
        if let Some(found) = look(&mut state) {
            return Poll::Ready(found);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Takes `bytes` whole once there is any room.
    pub(crate) fn poll_take(
        &'static self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = self.poll(context, |state| match state.failed {
            Some(errno) => Some(Err(errno.into())),
            None if state.queue.len() < ROOM => {
                state.queue.extend(bytes);
                Some(Ok(bytes.len()))
            }
            None => None,
        });
        if taken.is_ready() {
            self.awake(self.lock());
        }
        taken
    }

    /// Waits until all is written; an error where that failed.
    pub(crate) fn poll_drained(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |state| match state.failed {
            Some(errno) => Some(Err(errno.into())),
            None => state.is_drained().then_some(Ok(())),
        })
    }

    /// Lets the thread see what is new; the first time, starts it.
    fn awake(&'static self, mut state: MutexGuard<'_, State>) {
        if !state.running {
            let started = thread::Builder::new().name("outlet".to_owned()).spawn(|| self.write());
            state.running = started.is_ok();
            if started.is_err() {
                // Better silent than stopped by who does not read.
                state.fail(Errno::AGAIN);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The thread: the only place where anybody waits for a reader.
    fn write(&self) {
        let mut piece = Vec::with_capacity(PIECE);
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() {
                state.report_dropped();
            }
            if state.queue.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            piece.clear();
            let (front, _) = state.queue.as_slices();
            piece.extend_from_slice(&front[..front.len().min(PIECE)]);
            drop(state);
            let written = write_some((self.fd)(), &piece);
            state = self.lock();
            match written {
                Ok(count) => drop(state.queue.drain(..count)),
                Err(errno) => state.fail(errno),
            }
            for waker in state.wakers.drain(..) {
                waker.wake();
            }
            self.changed.notify_all();
            if state.failed.is_some() {
                return;
            }
        }
    }

    /// What stands there is sound whoever panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("queued", &self.lock().queue.len()).finish_non_exhaustive()
    }
}

impl State {
    fn is_drained(&self) -> bool {
        self.failed.is_some() || (self.queue.is_empty() && self.dropped == 0)
    }

    /// Once something was dropped, half of the room has to be free again: else a slow reader would be notified
    /// of every second message that it is missing.
    fn has_room(&self, bytes: usize) -> bool {
        let room = if self.dropped > 0 { ROOM / 2 } else { ROOM };
        self.queue.is_empty() || self.queue.len().saturating_add(bytes) <= room
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let note = (self.note)(self.dropped);
            self.queue.extend(note.as_bytes());
            self.dropped = 0;
        }
    }

    fn fail(&mut self, errno: Errno) {
        self.failed = Some(errno);
        self.queue = VecDeque::new();
    }
}

/// Writes some of it; waits for that, also where the descriptor does not (`O_NONBLOCK`, which it may share with
/// another process).
fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // The next write shows the outcome.
                let _ = poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

//! Reads through io_uring: submitted by the callers, collected by one task.

#![expect(unsafe_code, reason = "the kernel writes to a buffer after the call that names it")]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::{IoUring, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::buffer::Buffer;
use super::plan::ALIGN;

/// Entries of the submission queue; more reads than this are never in flight on one storage.
const ENTRIES: u32 = 128;

/// A ring for one file.
#[derive(Debug)]
pub(super) struct Uring {
    shared: Arc<RingState>,
    collector: AbortHandle,
}

#[derive(Debug)]
struct RingState {
    ring: Mutex<Ring>,
    /// Counts completions.
    completed: AsyncFd<OwnedFd>,
    file: Arc<File>,
}

struct Ring {
    ring: IoUring,
    next: u64,
    /// In flight, by the number that the completion carries.
    pending: HashMap<u64, InFlight>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

/// A read in flight; its buffer is the kernel's until the completion.
struct InFlight {
    buffer: Buffer,
    length: usize,
    answer: oneshot::Sender<io::Result<Buffer>>,
}

impl Uring {
    /// Makes the ring. Must be called inside a tokio runtime.
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let completed = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(completed.as_raw_fd())?;
        let ring = Mutex::new(Ring { ring, next: 0, pending: HashMap::new() });
        // SAFETY: an `OwnedFd` is one open descriptor as long as it lives, and `AsyncFd` keeps it.
        let completed = unsafe { AsyncFd::register(completed) }.map_err(io::Error::other)?;
        let shared = Arc::new(RingState { ring, completed, file });
        let collector = tokio::spawn(collect(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, collector })
    }

    /// Reads exactly `length` bytes.
    pub(super) async fn read(
        &self,
        offset: u64,
        length: usize,
        buffer: Buffer,
    ) -> io::Result<Buffer> {
        let answer = self.shared.lock().submit(&self.shared.file, offset, length, buffer)?;
        answer.await.map_err(io::Error::other)?
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.collector.abort();
    }
}

impl RingState {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn submit(
        &mut self,
        file: &File,
        offset: u64,
        length: usize,
        mut buffer: Buffer,
    ) -> io::Result<oneshot::Receiver<io::Result<Buffer>>> {
        let id = self.next;
        self.next += 1;
        // Whole blocks, also at the end, as O_DIRECT wants it.
        let block = usize::try_from(ALIGN).unwrap_or(usize::MAX);
        let memory = buffer.whole();
        let blocks = length.next_multiple_of(block).min(memory.len());
        let bytes = u32::try_from(blocks).map_err(io::Error::other)?;
        let read = opcode::Read::new(types::Fd(file.as_raw_fd()), memory.as_mut_ptr(), bytes);
        let entry = read.offset(offset).build().user_data(id);
        // SAFETY: the memory is `blocks` bytes long at least, and `pending` keeps the buffer, whose
        // memory does not move with it, until the completion, or for ever (see `Drop for Ring`). The
        // file is open as long as the ring is in use: `RingState` owns both.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        let (answer, answered) = oneshot::channel();
        self.pending.insert(id, InFlight { buffer, length, answer });
        // An entry that the kernel did not take now (EBUSY, EAGAIN) stays in the queue, and goes with
        // the next one.
        match self.ring.submit() {
            Err(error) => log::warn!("io_uring takes no read at present: {error}"),
            Ok(_) => log::trace!("read {id}: {bytes} bytes at {offset:#x}"),
        }
        Ok(answered)
    }

    /// Answers what has completed.
    fn collect(&mut self) {
        for entry in self.ring.completion() {
            let Some(pending) = self.pending.remove(&entry.user_data()) else { continue };
            let InFlight { mut buffer, length, answer } = pending;
            let result = match usize::try_from(entry.result()) {
                Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
                Ok(got) if got < length => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    buffer.set_filled(length);
                    Ok(buffer)
                }
            };
            // The requester may have given up.
            let _ = answer.send(result);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still write to these, so their memory is given up. It is not much: the pool
        // bounds it, and only a storage that has stalled leaves any.
        for (_, pending) in self.pending.drain() {
            std::mem::forget(pending.buffer);
        }
    }
}

async fn collect(shared: Arc<RingState>) {
    loop {
        let Ok(mut ready) = shared.completed.readable().await else { return };
        let mut count = [0; 8];
        // The count has nothing that the queue does not have; reading it arms the descriptor again.
        match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut count)?)) {
            Ok(Ok(_)) => shared.lock().collect(),
            Ok(Err(error)) => return log::error!("failed to wait for io_uring: {error}"),
            Err(_would_block) => {}
        }
    }
}

//! Memory that stays where it is: what the list is written to.
//!
//! Locked memory (`mlock`) stays in RAM, but compaction may still move it to other frames
//! (`vm.compact_unevictable_allowed`, 1 by default). A buffer registered with an io_uring is pinned
//! for long (`FOLL_LONGTERM`, io_uring/rsrc.c), and a pinned page is never moved. Where a kernel
//! has io_uring switched off, locking must do; the hash of the bytes shows a page that has moved.
#![expect(unsafe_code, reason = "io_uring takes raw pointers")]

use std::io;

use io_uring::IoUring;
use memmap2::{Advice, MmapMut, MmapOptions};
use page_wire::protocol::{self, GuestRun, MAX_GUEST_RUNS};

use crate::frames::{FRAME_BYTES, Frame, Pagemap, PagemapError};
use crate::memory::ServerAddr;

/// Bytes in frames that do not change.
pub(super) struct PinnedBuffer {
    // Before the memory: closing the ring lets go of the pages.
    ring: Option<IoUring>,
    memory: MmapMut,
    locked: bool,
}

impl PinnedBuffer {
    /// `len` bytes, all zero, all there, at least 1.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let memory = MmapOptions::new().len(len.max(1)).map_anon()?;
        // Fewer frames in the reply. No matter where huge pages are off.
        let _ = memory.advise(Advice::HugePage);
        let mut pinned = Self { ring: None, memory, locked: false };
        pinned.populate();
        match pin(&mut pinned.memory) {
            Ok(ring) => pinned.ring = Some(ring),
            Err(why) => {
                log::info!("no long-term pin: {why}");
                match pinned.memory.lock() {
                    Ok(()) => pinned.locked = true,
                    Err(why) => log::warn!("the list's pages are not even locked: {why}"),
                }
            }
        }
        Ok(pinned)
    }

    fn populate(&mut self) {
        // Linux 5.14; before, the first write to each page does it.
        if self.memory.advise(Advice::PopulateWrite).is_err() {
            let step = usize::try_from(FRAME_BYTES).unwrap_or(usize::MAX);
            self.memory.iter_mut().step_by(step).for_each(|byte| *byte = 0);
        }
    }

    /// How they are held.
    pub(super) const fn how(&self) -> protocol::Pinned {
        match (&self.ring, self.locked) {
            (Some(_), _) => protocol::Pinned::LongTerm,
            (None, true) => protocol::Pinned::Locked,
            (None, false) => protocol::Pinned::No,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The frames, in the order of the bytes; empty when there are more runs than an answer holds.
    ///
    /// # Errors
    /// When the kernel does not report them.
    pub(super) fn frames(&self) -> Result<Vec<GuestRun>, PagemapError> {
        let count = self.memory.len().div_ceil(usize::try_from(FRAME_BYTES).unwrap_or(usize::MAX));
        let mut frames = vec![Frame::ABSENT; count];
        let start = ServerAddr(self.memory.as_ptr().addr() as u64);
        Pagemap::open(std::process::id())?.translate(start, &mut frames)?;
        Ok(runs(&frames).unwrap_or_default())
    }
}

/// Joins frames that follow each other; `None` when one is absent or there are too many runs.
fn runs(frames: &[Frame]) -> Option<Vec<GuestRun>> {
    let mut runs: Vec<GuestRun> = Vec::new();
    for frame in frames {
        let number = frame.number()?;
        match runs.last_mut() {
            Some(GuestRun(first, count)) if *first + u64::from(*count) == number => *count += 1,
            _ => runs.push(GuestRun(number, 1)),
        }
    }
    (runs.len() <= MAX_GUEST_RUNS).then_some(runs)
}

/// Pins all of it for as long as the ring lives.
fn pin(memory: &mut MmapMut) -> io::Result<IoUring> {
    let ring = IoUring::new(1)?;
    let whole = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
    // SAFETY: the kernel only takes references to the pages behind the range, which is mapped, as no
    // request that reads or writes the buffer is ever submitted to this ring.
    unsafe { ring.submitter().register_buffers(&[whole])? };
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Held by tests that pin memory: what is pinned is counted for the whole process.
    static PINNING: Mutex<()> = Mutex::new(());

    #[test]
    fn frames_are_joined_in_the_order_of_the_bytes() {
        let frames = |numbers: &[u64]| -> Vec<Frame> {
            numbers.iter().map(|number| Frame::from_number(*number)).collect()
        };
        let joined = runs(&frames(&[7, 8, 9, 3, 4, 4])).unwrap();
        assert_eq!(joined, [GuestRun(7, 3), GuestRun(3, 2), GuestRun(4, 1)]);
        assert_eq!(runs(&frames(&[7, 0])), None);
        let scattered: Vec<u64> = (1..=MAX_GUEST_RUNS as u64 + 1).map(|n| n * 2).collect();
        assert_eq!(runs(&frames(&scattered)), None);
    }

    /// Memory that the process has pinned, in KiB (proc_pid_status(5)).
    fn pinned_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmPin:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn memory_is_there_and_pinned() {
        let _alone = PINNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pinned = PinnedBuffer::new(3 << 20).unwrap();
        assert_eq!(pinned.bytes(), vec![0; 3 << 20]);
        pinned.bytes_mut().fill(7);
        match pinned.how() {
            // The kernel lets go of a closed ring's memory a little later.
            protocol::Pinned::LongTerm => {
                let end = Instant::now() + Duration::from_secs(10);
                while pinned_kib() != 3 * 1024 && Instant::now() < end {
                    thread::yield_now();
                }
                assert_eq!(pinned_kib(), 3 * 1024);
            }
            how => test_servers::skipped(module_path!(), format!("no io_uring here: {how:?}")),
        }
    }

    #[test]
    fn each_page_has_a_frame() {
        let _alone = PINNING.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = PinnedBuffer::new((1 << 20) + 1).unwrap();
        match pinned.frames() {
            Ok(frames) => assert_eq!(frames.iter().map(|run| run.1).sum::<u32>(), 257),
            Err(error) => test_servers::skipped(module_path!(), error),
        }
    }
}

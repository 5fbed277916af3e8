//! The restore: reads storage in its order, proves pages and installs them.
//!
//! ```text
//! hashes -> queue of the device -> request -> buffer -> read ... -> hash, compare, install -> answer
//!           (in the order of       (several in flight)  (as many as there are CPUs)
//!            its places)
//! ```
//! Every page whose hash was taken gets one answer, unless it was left to QEMU first. Memory is
//! bounded: hashes by the source, which sends no more before there are answers, and by the set (32 bytes a
//! page); bytes by the buffers, which are a small part of the set ([`Limits::sized`]). A storage that answers nothing
//! for a while has the pages of its reads answered `TooLate`, and gets no further reads until it answers; the others
//! go on meanwhile. What it was not asked for yet waits where the source has the network take it from the other end
//! meanwhile, and is answered `TooLate` too where it does not; so the time that a stall can cost is
//! bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use super::buffers::Buffers;
use super::device::Device;
use super::feed::{Shared, feed};
use super::install::Target;
use super::limits::Limits;
use super::prove::Answer;
use super::queue::{Hash, Queue, QueueError};
use super::tally::Tally;
use crate::channel::{PageRange, Progress};
use crate::set::SkipSet;
use crate::storage::{self, Storage};

/// A restore that runs until it is stopped or dropped.
pub struct Restore {
    shared: Arc<Shared>,
    /// One for each device.
    feeders: JoinSet<()>,
}

impl Restore {
    /// Starts it; answers come out of the receiver, which ends when the restore has stopped.
    ///
    /// `devices` are the set's, in its order; `None` where one cannot be read. `target` has the set's
    /// blocks, in their order.
    pub fn start(
        set: Arc<SkipSet>,
        devices: Vec<Option<Storage>>,
        target: Target,
        mut limits: Limits,
    ) -> (Self, UnboundedReceiver<Vec<Answer>>) {
        // One page that lies between two blocks has to fit.
        let longest = devices.iter().flatten().map(Storage::longest_read).min();
        let request = limits.requests.request_bytes.min(longest.unwrap_or(u64::MAX));
        limits.requests.request_bytes = request.max(2 * storage::ALIGN);
        let request = usize::try_from(limits.requests.request_bytes).unwrap_or(usize::MAX);
        let (answers, receiver) = unbounded_channel();
        let indices = 0..u16::try_from(set.devices().len()).unwrap_or(u16::MAX);
        let is_read: Vec<bool> = devices.iter().map(Option::is_some).collect();
        let buffers = Buffers::new(limits.buffers, request, &is_read);
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(set)),
            devices: devices.into_iter().map(|storage| storage.map(Device::new)).collect(),
            target,
            tally: Arc::default(),
            limits,
            buffers,
            cpus: Arc::new(Semaphore::new(limits.workers)),
            stopped: AtomicBool::new(false),
            answers,
        });
        let feeders = indices.map(|index| feed(Arc::clone(&shared), index)).collect();
        (Self { shared, feeders }, receiver)
    }

    /// Takes hashes of the pages from `first` on.
    ///
    /// # Errors
    /// [`QueueError`] when they are of no page of the set, or of one that had its hash.
    pub fn hashes(&self, first: u32, hashes: &[Hash]) -> Result<(), QueueError> {
        self.shared.queue.put(first, hashes)
    }

    /// Leaves pages to QEMU.
    pub fn leave(&self, ranges: &[PageRange]) {
        ranges.iter().for_each(|range| self.shared.queue.leave(*range));
    }

    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.shared.queue)
    }

    pub(super) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.shared.tally)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.tally.progress(self.shared.queue.pages())
    }

    /// Stops it: when this returns, nothing is installed any more.
    pub async fn stop(mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.feeders.abort_all();
        // Whoever proves pages holds a permit, and asks `stopped` before it installs.
        let all = u32::try_from(self.shared.limits.workers).unwrap_or(u32::MAX);
        let _ended = self.shared.cpus.acquire_many(all).await;
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The feeders end with their set.
        self.shared.stopped.store(true, Ordering::Release);
    }
}

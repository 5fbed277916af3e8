//! The restore: reads storage in its order, proves pages and installs them.
//!
//! ```text
//! hashes -> queue -> request -> buffer -> read ... -> hash, compare, install -> answer
//!          (in the order          (several in flight)  (as many as there are CPUs)
//!           of storage)
//! ```
//! Every page whose hash was taken gets one answer, unless it was left to QEMU first. Memory is
//! bounded: hashes by the source, which sends no more before there are answers, and by the set (32 bytes a
//! page); bytes by the buffers, which are a small part of the set ([`Limits::sized`]). A storage that answers nothing
//! for a while has the pages of its reads answered `TooLate`, and gets no further reads until it answers.
//! What it was not asked for yet waits where the source has the network take it from the other end
//! meanwhile, and is answered `TooLate` too where it does not; so the time that a stall can cost is
//! bounded.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::install::Target;
use super::medium::Medium;
use super::prove::{Answer, Fate, prove};
use super::queue::{Hash, Job, Queue, QueueError};
use super::tally::Tally;
use crate::channel::{NotPlaced, PageRange, Progress};
use crate::set::SkipSet;
use crate::storage::{self, Buffer, BufferPool, Storage};

/// All buffers together are so small a part of what storage is to bring, but no less and no more than [`BUFFER_BYTES`].
const BUFFER_PART: u64 = 400;
const BUFFER_BYTES: RangeInclusive<u64> = 1 << 20..=32 << 20;
/// A request's share of them, so that storage, proof and installation all have some.
const SHARES: u64 = 8;
/// The smallest request worth its round trip.
const SMALLEST_REQUEST: u64 = 128 << 10;

/// How often a storage that stalls is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How much the restore may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests to storage.
    pub requests: storage::Limits,
    /// Requests in flight or in proof.
    pub buffers: usize,
    /// How long storage may answer nothing while requests wait.
    pub patience: Duration,
    /// How long pages wait that it was not asked for yet; see [`Limits::shared`].
    pub waits: Duration,
    /// Threads that hash, compare and install.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let requests = storage::Limits { request_bytes: 1 << 20, gap_bytes: 64 << 10 };
        let workers = available_parallelism().map_or(1, usize::from).min(8);
        Self {
            requests,
            buffers: 32,
            patience: Duration::from_secs(5),
            waits: Duration::ZERO,
            workers,
        }
    }
}

impl Limits {
    /// For a source that leaves to the network what storage does not come to: pages need not be given back
    /// at once when storage stalls, as it may go on, and QEMU gets them in slices until then.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { waits: Duration::from_secs(120), ..self }
    }

    /// For pages of so many bytes in all: memory beside a small pool stays small, and what a gigabit or ten
    /// of them have on their way fits in.
    #[must_use]
    pub fn sized(self, bytes: u64) -> Self {
        let room = (bytes / BUFFER_PART).clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
        let request = (room / SHARES).max(SMALLEST_REQUEST).min(self.requests.request_bytes);
        // A power of two, as `ilog2` of 0 is none: a request is never empty.
        let request_bytes = 1 << request.max(2 * storage::ALIGN).ilog2();
        let buffers = usize::try_from(room / request_bytes).unwrap_or(usize::MAX);
        let requests = storage::Limits { request_bytes, ..self.requests };
        Self { requests, buffers: buffers.min(self.buffers), ..self }
    }
}

/// A restore that runs until it is stopped or dropped.
pub struct Restore {
    shared: Arc<Shared>,
    feeder: JoinHandle<()>,
    workers: usize,
}

struct Shared {
    queue: Arc<Queue>,
    media: Vec<Option<Medium>>,
    target: Target,
    tally: Arc<Tally>,
    limits: Limits,
    pool: BufferPool,
    cpus: Arc<Semaphore>,
    stopped: AtomicBool,
}

impl Shared {
    /// Whether buffers may still come back: no storage holds them that has not answered for too long.
    fn has_hope(&self) -> bool {
        let waits = self.limits.waits;
        !waits.is_zero() && self.media.iter().flatten().all(|medium| medium.has_hope(waits))
    }

    /// Waits, as long as there is hope, until a medium that stalls answers; whether it does. What the others
    /// do is nothing to it.
    async fn answers(&self, medium: &Medium) -> bool {
        while medium.stalls() && medium.has_hope(self.limits.waits) {
            sleep(LOOK).await;
        }
        !medium.stalls()
    }
}

impl Restore {
    /// Starts it; answers come out of the receiver, which ends when the restore has stopped.
    ///
    /// `media` are the set's, in its order; `None` where one cannot be read. `target` has the set's
    /// blocks, in their order.
    pub fn start(
        set: Arc<SkipSet>,
        media: Vec<Option<Storage>>,
        target: Target,
        mut limits: Limits,
    ) -> (Self, UnboundedReceiver<Vec<Answer>>) {
        // One page that lies between two blocks has to fit.
        let longest = media.iter().flatten().map(Storage::longest_read).min();
        let request = limits.requests.request_bytes.min(longest.unwrap_or(u64::MAX));
        limits.requests.request_bytes = request.max(2 * storage::ALIGN);
        let request = usize::try_from(limits.requests.request_bytes).unwrap_or(usize::MAX);
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(set)),
            media: media.into_iter().map(|storage| storage.map(Medium::new)).collect(),
            target,
            tally: Arc::default(),
            limits,
            pool: BufferPool::new(limits.buffers, request),
            cpus: Arc::new(Semaphore::new(limits.workers)),
            stopped: AtomicBool::new(false),
        });
        let (answers, receiver) = unbounded_channel();
        let feeder = tokio::spawn(feed(Arc::clone(&shared), answers));
        (Self { shared, feeder, workers: limits.workers }, receiver)
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
    pub async fn stop(self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.feeder.abort();
        // Whoever proves pages holds a permit, and asks `stopped` before it installs.
        let all = u32::try_from(self.workers).unwrap_or(u32::MAX);
        let _ended = self.shared.cpus.acquire_many(all).await;
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.feeder.abort();
    }
}

/// Makes requests as long as there are pages, and buffers for them.
async fn feed(shared: Arc<Shared>, answers: UnboundedSender<Vec<Answer>>) {
    // Aborted with this task.
    let mut jobs = JoinSet::new();
    loop {
        while jobs.try_join_next().is_some() {}
        shared.queue.ready().await;
        // First the buffer: while one waits for it, the next request can grow.
        let buffer = match timeout(shared.limits.patience, shared.pool.take()).await {
            Ok(Ok(buffer)) => buffer,
            Ok(Err(error)) => {
                shared.tally.remark(format!("no memory for a buffer: {error}"));
                give_up(&shared, &answers, shared.queue.drain(), NotPlaced::ReadFailed);
                continue;
            }
            Err(_late) if shared.has_hope() => continue,
            Err(_late) => {
                shared.tally.remark("storage holds all buffers".to_owned());
                give_up(&shared, &answers, shared.queue.drain(), NotPlaced::TooLate);
                continue;
            }
        };
        let Some(job) = shared.queue.next(&shared.limits.requests) else { continue };
        let medium = shared.media.get(usize::from(job.request.medium)).and_then(Option::as_ref);
        match medium {
            None => give_up(&shared, &answers, pages(&job), NotPlaced::ReadFailed),
            Some(medium) if !shared.answers(medium).await => {
                give_up(&shared, &answers, pages(&job), NotPlaced::TooLate);
            }
            Some(_) => {
                jobs.spawn(serve(Arc::clone(&shared), job, buffer, answers.clone()));
            }
        }
    }
}

/// Reads one request, proves and installs its pages.
async fn serve(
    shared: Arc<Shared>,
    job: Job,
    buffer: Buffer,
    answers: UnboundedSender<Vec<Answer>>,
) {
    let medium = shared.media.get(usize::from(job.request.medium)).and_then(Option::as_ref);
    let Some(medium) = medium else { return };
    let ranges = pages(&job);
    let late = |reason, remark| {
        shared.tally.remark(remark);
        give_up(&shared, &answers, ranges.clone(), reason);
    };
    let read = medium.read(&job.request, buffer, shared.limits.patience, late).await;
    let Some(buffer) = read else { return };
    shared.tally.read(buffer.filled().len());
    let Ok(permit) = Arc::clone(&shared.cpus).acquire_owned().await else { return };
    let (proving, proven) = (Arc::clone(&shared), answers.clone());
    let proof = spawn_blocking(move || {
        let stopped = || proving.stopped.load(Ordering::Acquire);
        let fates = prove(&job, buffer.filled(), &proving.target, &proving.tally, stopped);
        // The buffer goes before the answers: who waits for it can go on.
        drop(buffer);
        let _ = proven.send(fates);
        drop(permit);
    });
    if let Err(error) = proof.await {
        // Some of them may be installed by now: QEMU's copies overwrite those.
        shared.tally.remark(format!("proving pages ended badly: {error}"));
        give_up(&shared, &answers, ranges, NotPlaced::InstallFailed);
    }
}

fn pages(job: &Job) -> Vec<PageRange> {
    let range = |piece: &storage::Piece| PageRange { first: piece.first.0, count: piece.pages };
    job.request.pieces.iter().map(range).collect()
}

fn give_up(
    shared: &Shared,
    answers: &UnboundedSender<Vec<Answer>>,
    ranges: Vec<PageRange>,
    reason: NotPlaced,
) {
    for range in &ranges {
        shared.tally.not_placed(range.count);
    }
    // The receiver goes first only when the channel broke; then the source gives back by itself.
    let _ =
        answers.send(ranges.into_iter().map(|range| (Fate::NotPlaced(reason), range)).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_a_small_part_of_the_set() {
        let sized = |bytes: u64| {
            let limits = Limits::default().sized(bytes);
            (limits.requests.request_bytes >> 10, limits.buffers)
        };
        assert_eq!(sized(0), (128, 8), "1 MiB at least");
        assert_eq!(sized(1 << 30), (256, 10));
        assert_eq!(sized((1 << 30) + (200 << 20)), (256, 12));
        assert_eq!(sized(4 << 30), (1024, 10));
        assert_eq!(sized(100 << 30), (1024, 32), "32 MiB at most");
        let few = Limits { buffers: 2, ..Limits::default() }.sized(1 << 30);
        assert_eq!(few.buffers, 2, "never more than was allowed");
    }
}

//! The restore: reads storage in its order, verifies pages and installs them.
//!
//! ```text
//! hashes -> queue of the device -> request -> buffer -> read ... -> hash, compare, install -> answer
//!           (in the order of       (several in flight)  (as many as there are CPUs)
//!            its places)
//! ```
//! What is read when, and what is given up, is decided in `controller/feed.rs`; here it is done.
//!
//! Every page whose hash was taken gets one answer, unless it was left to QEMU first. Memory is
//! bounded: hashes by the source, which sends no more before there are answers, and by the set (32 bytes a
//! page); bytes by the buffers, which are a small part of the set ([`Limits::sized`]). A storage that answers nothing
//! for a while has the pages of its reads answered `TooLate`, and gets no further reads until it answers; the others
//! go on meanwhile. What was not requested yet waits where the source has the network take it from the other end
//! meanwhile, and is answered `TooLate` too where it does not; so the time that a stall can cost is
//! bounded.

mod limits;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foreign::Text;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

pub use self::limits::Limits;
use self::verify::verify;
use crate::channel::{Progress, SetRange};
use crate::dest::controller::{
    Action, Feed, Hash, InstallTrouble, QueueError, ReadId, SettledPages, Verified,
};
use crate::dest::memory::Target;
use crate::set::SkipSet;
use crate::storage::{self, Buffer, BufferPool, Storage};

/// How often a storage that stalls is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A restore that runs until it is stopped or dropped.
pub struct Restore {
    shared: Arc<RestoreState>,
    /// Its one task, with all reads.
    driver: JoinSet<()>,
}

struct RestoreState {
    feed: Mutex<Feed>,
    devices: Vec<Option<Storage>>,
    target: Target,
    buffers: BufferPool,
    workers: u32,
    cpus: Arc<Semaphore>,
    stopped: AtomicBool,
    /// To the driver.
    actions: UnboundedSender<Action>,
    answers: UnboundedSender<Vec<SettledPages>>,
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
    ) -> (Self, UnboundedReceiver<Vec<SettledPages>>) {
        // One page that lies between two blocks has to fit.
        let longest = devices.iter().flatten().map(Storage::longest_read).min();
        let request = limits.requests.request_bytes.min(longest.unwrap_or(u64::MAX));
        limits.requests.request_bytes = request.max(2 * storage::ALIGN);
        let request = usize::try_from(limits.requests.request_bytes).unwrap_or(usize::MAX);
        let name = |storage: &Option<Storage>| {
            storage.as_ref().map(|storage| storage.address().to_string())
        };
        let names = devices.iter().map(name).collect();
        let feed = Feed::new(set, names, limits, Instant::now());
        let (actions, to_do) = unbounded_channel();
        let (answers, receiver) = unbounded_channel();
        let shared = Arc::new(RestoreState {
            buffers: BufferPool::new(feed.buffers(), request),
            feed: Mutex::new(feed),
            devices,
            target,
            workers: u32::try_from(limits.workers).unwrap_or(u32::MAX),
            cpus: Arc::new(Semaphore::new(limits.workers)),
            stopped: AtomicBool::new(false),
            actions,
            answers,
        });
        let driver = [drive(Arc::clone(&shared), to_do)].into_iter().collect();
        (Self { shared, driver }, receiver)
    }

    /// Takes hashes of the pages from `first` on.
    ///
    /// # Errors
    /// [`QueueError`] when they are of no page of the set, or of one that had its hash.
    pub fn hashes(&self, first: u32, hashes: &[Hash]) -> Result<(), QueueError> {
        self.shared.step(|feed, now, out| feed.hashes(now, first, hashes, out))
    }

    /// Leaves pages to QEMU.
    pub fn leave(&self, ranges: &[SetRange]) {
        self.shared.step(|feed, _, _| feed.leave(ranges));
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.step(|feed, _, _| feed.progress())
    }

    /// What happened beside the path.
    pub(in crate::dest) fn warnings(&self) -> Vec<Text> {
        self.shared.step(|feed, _, _| feed.warnings())
    }

    /// Stops it: when this returns, nothing is installed any more.
    pub async fn stop(mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.driver.abort_all();
        // A thread that verifies pages holds a permit, and checks `stopped` before it installs.
        let _ended = self.shared.cpus.acquire_many(self.shared.workers).await;
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The reads end with their set.
        self.shared.stopped.store(true, Ordering::Release);
    }
}

impl RestoreState {
    /// Lets something happen, and passes on what is to be done.
    fn step<T>(&self, happens: impl FnOnce(&mut Feed, Instant, &mut Vec<Action>) -> T) -> T {
        let mut out = Vec::new();
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let done = happens(&mut feed, Instant::now(), &mut out);
        // A closed receiver means that all is over.
        for action in out {
            let _ = match action {
                Action::Answer(answers) => self.answers.send(answers).map_err(drop),
                read @ Action::Read { .. } => self.actions.send(read).map_err(drop),
            };
        }
        done
    }

    /// A device's answer to a read.
    async fn answer(&self, device: u16, place: u64, bytes: u64) -> Result<Buffer, InstallTrouble> {
        let storage = self.devices.get(usize::from(device)).and_then(Option::as_ref);
        let storage = storage.ok_or(InstallTrouble::NoDevice)?;
        let buffer = self.buffers.take().await.map_err(InstallTrouble::NoBuffer)?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        storage.read(place, bytes, buffer).await.map_err(|source| InstallTrouble::ReadFailed {
            address: storage.address().to_string().into(),
            source,
        })
    }
}

/// Carries out the feed's actions.
async fn drive(shared: Arc<RestoreState>, mut actions: UnboundedReceiver<Action>) {
    // Aborted with this task.
    let mut reads = JoinSet::new();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(action) = actions.recv() => if let Action::Read { id, device, place, bytes } = action {
                reads.spawn(read(Arc::clone(&shared), id, device, place, bytes));
            },
            _ = tick.tick() => shared.step(|feed, now, out| feed.tick(now, out)),
            Some(_) = reads.join_next() => {}
        }
    }
}

/// Reads once, verifies and installs the pages.
async fn read(shared: Arc<RestoreState>, id: ReadId, device: u16, place: u64, bytes: u64) {
    let answer = shared.answer(device, place, bytes).await;
    let (answer, buffer) = match answer {
        Ok(buffer) => (Ok(buffer.filled().len()), Some(buffer)),
        Err(trouble) => (Err(trouble), None),
    };
    let job = shared.step(|feed, now, out| feed.read(now, id, answer, out));
    let (Some(job), Some(buffer)) = (job, buffer) else { return };
    let Ok(permit) = Arc::clone(&shared.cpus).acquire_owned().await else { return };
    let verifying = Arc::clone(&shared);
    let verified = spawn_blocking(move || {
        let stopped = || verifying.stopped.load(Ordering::Acquire);
        let verified: Verified = verify(&job, buffer.filled(), &verifying.target, stopped);
        // The buffer goes before the answers: who waits for it can go on.
        drop(buffer);
        verifying.step(|feed, now, out| feed.verified(now, id, Ok(verified), out));
        drop(permit);
    });
    if let Err(error) = verified.await {
        let trouble = InstallTrouble::VerifyFailed(error.into());
        shared.step(|feed, now, out| feed.verified(now, id, Err(trouble), out));
    }
}

//! From a device's queue to its answers: one feeder for each device, so that none waits for another.
//!
//! A device that stalls holds the buffers of its own requests ([`Buffers`]), and gets no further ones until it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::buffers::Buffers;
use super::device::Device;
use super::install::Target;
use super::limits::Limits;
use super::prove::{Answer, Fate, prove};
use super::queue::{Job, Queue};
use super::tally::Tally;
use crate::channel::{NotPlaced, PageRange};
use crate::storage::{self, Buffer};

/// How often a storage that stalls is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the feeders of all devices share.
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) devices: Vec<Option<Device>>,
    pub(super) target: Target,
    pub(super) tally: Arc<Tally>,
    pub(super) limits: Limits,
    pub(super) buffers: Buffers,
    pub(super) cpus: Arc<Semaphore>,
    pub(super) stopped: AtomicBool,
    pub(super) answers: UnboundedSender<Vec<Answer>>,
}

impl Shared {
    fn device(&self, index: u16) -> Option<&Device> {
        self.devices.get(usize::from(index)).and_then(Option::as_ref)
    }

    /// Waits, as long as there is hope, until a device that stalls answers; whether it does.
    async fn answers(&self, device: &Device) -> bool {
        while device.stalls() && device.has_hope(self.limits.waits) {
            sleep(LOOK).await;
        }
        !device.stalls()
    }

    fn give_up(&self, ranges: Vec<PageRange>, reason: NotPlaced) {
        for range in &ranges {
            self.tally.not_placed(range.count);
        }
        // The receiver goes first only when the channel broke; then the source gives back by itself.
        let fates = ranges.into_iter().map(|range| (Fate::NotPlaced(reason), range));
        let _ = self.answers.send(fates.collect());
    }

    /// Gives up all that waits for a device.
    fn give_up_waiting(&self, device: u16, reason: NotPlaced) {
        while let Some(job) = self.queue.next(device, &self.limits.requests) {
            self.give_up(pages(&job), reason);
        }
    }
}

/// Makes requests to one device as long as there are pages of it, and buffers for them.
pub(super) async fn feed(shared: Arc<Shared>, index: u16) {
    // Aborted with this task.
    let mut jobs = JoinSet::new();
    loop {
        while jobs.try_join_next().is_some() {}
        shared.queue.ready(index).await;
        let Some(device) = shared.device(index) else {
            shared.give_up_waiting(index, NotPlaced::ReadFailed);
            continue;
        };
        if !shared.answers(device).await {
            shared.give_up_waiting(index, NotPlaced::TooLate);
            continue;
        }
        // First the buffer: while one waits for it, the next request can grow.
        let buffer = match timeout(LOOK, shared.buffers.take(usize::from(index))).await {
            Ok(Ok(buffer)) => buffer,
            Ok(Err(error)) => {
                shared.tally.remark(format!("no memory for a buffer: {error}"));
                shared.give_up_waiting(index, NotPlaced::ReadFailed);
                continue;
            }
            // Its own requests have them, and it may be known to stall by now.
            Err(_late) => continue,
        };
        if device.stalls() {
            continue;
        }
        let Some(job) = shared.queue.next(index, &shared.limits.requests) else { continue };
        jobs.spawn(serve(Arc::clone(&shared), job, buffer));
    }
}

/// Reads one request, proves and installs its pages.
async fn serve(shared: Arc<Shared>, job: Job, buffer: Buffer) {
    let Some(device) = shared.device(job.request.device) else { return };
    let ranges = pages(&job);
    let late = |reason, remark| {
        shared.tally.remark(remark);
        shared.give_up(ranges.clone(), reason);
    };
    let read = device.read(&job.request, buffer, shared.limits.patience, late).await;
    let Some(buffer) = read else { return };
    shared.tally.read(buffer.filled().len());
    let Ok(permit) = Arc::clone(&shared.cpus).acquire_owned().await else { return };
    let proving = Arc::clone(&shared);
    let proof = spawn_blocking(move || {
        let stopped = || proving.stopped.load(Ordering::Acquire);
        let fates = prove(&job, buffer.filled(), &proving.target, &proving.tally, stopped);
        // The buffer goes before the answers: who waits for it can go on.
        drop(buffer);
        let _ = proving.answers.send(fates);
        drop(permit);
    });
    if let Err(error) = proof.await {
        // Some of them may be installed by now: QEMU's copies overwrite those.
        shared.tally.remark(format!("proving pages ended badly: {error}"));
        shared.give_up(ranges, NotPlaced::InstallFailed);
    }
}

fn pages(job: &Job) -> Vec<PageRange> {
    let range = |piece: &storage::Piece| PageRange { first: piece.first.0, count: piece.pages };
    job.request.pieces.iter().map(range).collect()
}

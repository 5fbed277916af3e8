//! A set in the library's hands.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use page_number::{MAX_SET_BLOCKS, MAX_SET_PAGES, MAX_SET_RUNS, MAX_THROTTLE_PAGES, PAGE_BYTES};
use shim_abi::{BLOCK_NAME_BYTES, BLOCKS_AT, RUNS_AT, SYNC_TIMES};

use super::file::{SharedBitmap, SharedFile};
use super::{
    LibraryRefusal, LibraryStatus, SavedParameters, SetState, ShimError, SyncTime, bitmap,
};
use crate::channel::SetRange;
use crate::set::{Block, SkipSet};

/// Bytes of runs that are written in one go.
const CHUNK_BYTES: usize = 1 << 18;

/// A set that the library has, from being armed to the end of its migration.
///
/// Dropping it disarms the set if no migration has taken it, and lets QEMU switch over. Pages neither
/// confirmed nor re-dirtied are then re-dirtied by the library itself.
#[derive(Debug)]
pub struct Armed {
    file: Arc<SharedFile>,
    generation: u32,
    names: Vec<String>,
    pages: u32,
    confirmed: SharedBitmap,
    redirty: SharedBitmap,
    redirtied: SharedBitmap,
}

impl Armed {
    pub(super) fn new(file: Arc<SharedFile>, set: &SkipSet) -> Result<Self, ShimError> {
        if file.has_set_in_use() || file.in_use.swap(true, AcqRel) {
            return Err(ShimError::InUse { pid: file.pid });
        }
        let armed = Self::written(Arc::clone(&file), set);
        if armed.is_err() {
            file.in_use.store(false, Release);
        }
        armed
    }

    fn written(file: Arc<SharedFile>, set: &SkipSet) -> Result<Self, ShimError> {
        let control = file.control();
        let pages = check(set)?;
        // What a process that died has left armed: this one holds the lock now.
        let taken = control.taken.load(Acquire);
        control.armed.store(taken, Release);
        control.throttle.store(0, Relaxed);
        file.clear()?;
        write_blocks(&file, set.blocks())?;
        write_runs(&file, set)?;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        control.blocks.store(count(set.blocks().len()), Relaxed);
        control.runs.store(count(set.runs().len()), Relaxed);
        control.pages.store(pages, Relaxed);
        control.redirty_requested.store(0, Relaxed);
        let [confirmed, redirty, redirtied] = file.bitmaps(pages)?;
        let generation = taken.wrapping_add(1);
        control.armed.store(generation, Release);
        Ok(Self {
            generation,
            names: set.blocks().iter().map(|block| block.name.clone()).collect(),
            pages,
            confirmed,
            redirty,
            redirtied,
            file,
        })
    }

    /// How far the set is, and the library's figures. Cheap: reads memory.
    #[must_use]
    pub fn status(&self) -> LibraryStatus {
        let control = self.file.control();
        let taken = control.taken.load(Acquire) == self.generation;
        let state = match shim_abi::LibraryState::from_u32(control.state.load(Acquire)) {
            // The library checks what it has taken, and reports the result next.
            Some(shim_abi::LibraryState::Ready | shim_abi::LibraryState::Hinting) if taken => {
                SetState::Hinting
            }
            Some(shim_abi::LibraryState::Hinted) if taken => SetState::Hinted,
            Some(shim_abi::LibraryState::Refused) if taken => SetState::Refused,
            Some(shim_abi::LibraryState::Ended) if taken => SetState::Ended,
            _ => SetState::Armed,
        };
        let reason = (state == SetState::Refused).then(|| {
            LibraryRefusal::new(self.file.reason(), |index| self.names.get(index).cloned())
        });
        let known = matches!(state, SetState::Hinting | SetState::Hinted | SetState::Ended);
        let figure = |figure: &AtomicU64| if known { figure.load(Relaxed) } else { 0 };
        let time = |time: &AtomicU64| Some(figure(time)).filter(|time| *time > 0);
        // A reader that sees the figure sees the bits (see `redirtied`).
        let unconfirmed = control.redirtied_unconfirmed.load(Acquire);
        let unconfirmed = if known { unconfirmed } else { 0 };
        LibraryStatus {
            state,
            reason,
            hint_begun_ns: time(&control.hint_begun),
            hint_returned_ns: time(&control.hint_returned),
            final_sync_ns: time(&control.final_sync),
            cleanup_ns: time(&control.cleanup),
            syncs: if taken { control.syncs.load(Relaxed) } else { 0 },
            sync_times: if taken { self.sync_times() } else { Vec::new() },
            hinted: figure(&control.hinted),
            redirtied_requested: figure(&control.redirtied_requested),
            redirtied_unconfirmed: unconfirmed,
            throttled: figure(&control.throttled),
        }
    }

    /// These pages are accounted for at the destination: QEMU need not send them.
    pub fn confirm(&self, range: SetRange) {
        let (first, end) = self.clip(range);
        bitmap::set(self.confirmed.words(), first, end);
    }

    /// These pages are to be sent by QEMU; it learns of them at its next sync. Wins over [`confirm`].
    ///
    /// [`confirm`]: Self::confirm
    pub fn redirty(&self, range: SetRange) {
        let (first, end) = self.clip(range);
        bitmap::set(self.redirty.words(), first, end);
        self.file.control().redirty_requested.fetch_add(1, Release);
    }

    /// With `true`, QEMU finds 1 MiB of pages written at each sync while the VM runs: those below 1 MiB
    /// of the first block, which no set has. So it always has something to send, and does not switch
    /// over as long as that is more than it may send with the VM stopped.
    ///
    /// What it may send is `downtime-limit` times the bandwidth that it measures: set `downtime-limit`
    /// to **1 ms** and keep `max-bandwidth` below 1 GB/s. With a limit of **0**, 7.2 and 10.0 never sync
    /// again: at the end of the first pass they find nothing pending and switch over (seen; 11.1 holds
    /// with both). They do so, too, when the first pass takes less than the 100 ms after which QEMU first
    /// measures the bandwidth. Each pass over these pages follows the one before at once, so lower `max-bandwidth`
    /// when the first pass is over: 1 MiB/s makes it about ten syncs a second.
    pub fn set_throttle(&self, throttled: bool) {
        let pages = if throttled { MAX_THROTTLE_PAGES } else { 0 };
        self.file.control().throttle.store(pages, Release);
    }

    /// Takes the set back if no migration has taken it yet: none of its pages is skipped then.
    ///
    /// The library may take it at this very moment. So look at [`status`](Self::status) a little later: a set that
    /// is [`SetState::Armed`] still was taken back.
    pub fn disarm(&self) {
        let control = self.file.control();
        let taken = control.taken.load(Acquire);
        if taken != self.generation {
            control.armed.store(taken, Release);
        }
    }

    /// Pages of the set neither confirmed nor requested to be re-dirtied; all of them before the hint. Reads both bitmaps:
    /// they are the only account.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        bitmap::neither(self.confirmed.words(), self.redirty.words(), self.pages)
    }

    /// Pages that the library has re-dirtied, on request or by itself. Reads the whole bitmap: worth it when the library's figures have
    /// grown.
    #[must_use]
    pub fn redirtied(&self) -> Vec<SetRange> {
        bitmap::stretches(self.redirtied.words(), self.pages)
    }

    /// QEMU's migration parameters are changed from now on; what they are to be again outlives this program.
    pub fn save(&self, saved: &SavedParameters) {
        self.file.save(Some(saved));
    }

    /// QEMU has the user's parameters again.
    pub fn forget(&self) {
        self.file.save(None);
    }

    fn clip(&self, range: SetRange) -> (u32, u32) {
        (range.first, range.first.saturating_add(range.count).min(self.pages))
    }

    fn sync_times(&self) -> Vec<SyncTime> {
        let control = self.file.control();
        let syncs = control.syncs.load(Relaxed);
        // One more may be under way; its entry would be that of the oldest.
        let kept = u32::try_from(SYNC_TIMES).unwrap_or(u32::MAX) - 1;
        let time = |number: u32| {
            let entry = control.sync_times.get(number as usize % SYNC_TIMES)?;
            Some(SyncTime {
                number,
                begun_ns: entry.begun.load(Relaxed),
                ended_ns: Some(entry.ended.load(Relaxed)).filter(|time| *time > 0),
            })
        };
        (syncs.saturating_sub(kept)..syncs).filter_map(time).collect()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.set_throttle(false);
        self.disarm();
        self.file.in_use.store(false, Release);
    }
}

/// Number of pages of a set that the library can take.
fn check(set: &SkipSet) -> Result<u32, ShimError> {
    let fits = |what, count: usize, limit: usize| {
        let too_many = ShimError::TooMany { what, count: count as u64, limit: limit as u64 };
        if count > limit { Err(too_many) } else { Ok(()) }
    };
    fits("RAM blocks", set.blocks().len(), MAX_SET_BLOCKS)?;
    fits("runs", set.runs().len(), MAX_SET_RUNS)?;
    fits("pages", set.pages() as usize, MAX_SET_PAGES as usize)?;
    let throttle_end = u64::from(MAX_THROTTLE_PAGES) * PAGE_BYTES;
    if let Some(block) = set.blocks().first()
        && set.runs().iter().any(|run| run.block == 0 && run.offset < throttle_end)
    {
        return Err(ShimError::ThrottlePages(block.name.clone()));
    }
    if set.pages() == 0 { Err(ShimError::Empty) } else { Ok(set.pages()) }
}

/// As `shim_abi::BlockEntry`: 256 bytes of name with its zero, 8 of length.
fn write_blocks(file: &SharedFile, blocks: &[Block]) -> Result<(), ShimError> {
    for (index, block) in blocks.iter().enumerate() {
        let mut bytes = [0; size_of::<shim_abi::BlockEntry>()];
        let (name, length) = bytes.split_at_mut(BLOCK_NAME_BYTES);
        let text = block.name.as_bytes();
        if text.len() >= BLOCK_NAME_BYTES || text.contains(&0) {
            return Err(ShimError::BlockName(block.name.clone()));
        }
        name[..text.len()].copy_from_slice(text);
        length.copy_from_slice(&block.length.to_ne_bytes());
        file.write(BLOCKS_AT + index * bytes.len(), &bytes)?;
    }
    Ok(())
}

/// As `shim_abi::RunEntry`: 8 bytes of offset, 4 each of first page number, pages, block and nothing.
fn write_runs(file: &SharedFile, set: &SkipSet) -> Result<(), ShimError> {
    let mut bytes = Vec::new();
    let mut offset = RUNS_AT;
    for (first, run) in set.in_ram_order() {
        bytes.extend_from_slice(&run.offset.to_ne_bytes());
        for number in [first.0, run.pages, u32::from(run.block), 0] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        if bytes.len() >= CHUNK_BYTES {
            file.write(offset, &bytes)?;
            offset += bytes.len();
            bytes.clear();
        }
    }
    file.write(offset, &bytes)
}

//! The library's report on an armed set.

use super::LibraryRefusal;

/// How far a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetState {
    /// It waits for a migration.
    Armed,
    /// The library is hinting it.
    Hinting,
    /// QEMU will not send its pages, unless they are written or re-dirtied. What is read from RAM from
    /// now on is what the destination must get, or QEMU sends the page.
    Hinted,
    /// The library has hinted nothing; the migration is a stock one.
    Refused,
    /// Its migration has ended, well or not, or it was disarmed.
    Ended,
}

/// When QEMU collected its dirty bitmaps, in ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncTime {
    /// Number of the sync in its migration, from 0.
    pub number: u32,
    /// When it began.
    pub begun_ns: u64,
    /// When it ended; `None` while it runs.
    pub ended_ns: Option<u64>,
}

/// The library's report on an armed set. Times are in ns of `CLOCK_MONOTONIC`, `None` if it has not
/// happened; counts are of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryStatus {
    /// How far it is.
    pub state: SetState,
    /// Why it was refused.
    pub reason: Option<LibraryRefusal>,
    /// Before the first hint.
    pub hint_begun_ns: Option<u64>,
    /// After the last hint: hashes of what was read later count (invariant I2).
    pub hint_returned_ns: Option<u64>,
    /// The first sync with the VM stopped.
    pub final_sync_ns: Option<u64>,
    /// The migration's clean-up.
    pub cleanup_ns: Option<u64>,
    /// Syncs of the migration so far.
    pub syncs: u32,
    /// The last syncs, at most 192 of them.
    pub sync_times: Vec<SyncTime>,
    /// Pages hinted.
    pub hinted: u64,
    /// Pages re-dirtied on request; those requested since the last sync are not in it yet.
    pub redirtied_requested: u64,
    /// Pages re-dirtied since they were not confirmed when the VM had stopped.
    pub redirtied_unconfirmed: u64,
    /// Syncs at which the throttle kept QEMU from the switchover.
    pub throttled: u64,
}

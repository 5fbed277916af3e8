//! The first page of the file.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Number of syncs whose times are kept.
pub const SYNC_TIMES: usize = 192;

/// How the library came into QEMU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadedBy {
    /// By QEMU's option `-plugin`.
    Plugin = 1,
    /// By the dynamic linker's `LD_PRELOAD`.
    Preload = 2,
}

/// What the library does; a number in [`ControlPage::state`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryState {
    /// It sets itself up.
    Starting = 0,
    /// It waits for an armed set and a migration.
    Ready = 1,
    /// It is hinting the set away.
    Hinting = 2,
    /// The whole set is hinted; QEMU will not send it unless it is written or re-dirtied.
    Hinted = 3,
    /// It has refused the armed set; nothing is hinted; [`ControlPage::reason`] has the reason.
    Refused = 4,
    /// The migration that the set was armed for has ended, well or not.
    Ended = 5,
    /// It can do nothing in this QEMU; [`ControlPage::reason`] has the reason.
    Unusable = 6,
}

impl LibraryState {
    /// The state with this number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Starting,
            1 => Self::Ready,
            2 => Self::Hinting,
            3 => Self::Hinted,
            4 => Self::Refused,
            5 => Self::Ended,
            6 => Self::Unusable,
            _ => return None,
        })
    }
}

/// When a sync of the dirty bitmaps was, in ns of `CLOCK_MONOTONIC`.
#[repr(C)]
#[derive(Debug)]
pub struct SyncEntry {
    /// BEFORE_BITMAP_SYNC: the library's work is within the sync.
    pub begun: AtomicU64,
    /// AFTER_BITMAP_SYNC, before anything that the library does there; 0 while the sync runs.
    pub ended: AtomicU64,
}

/// Three of QEMU's migration parameters.
#[repr(C)]
#[derive(Debug)]
pub struct ParameterWords {
    /// `max-bandwidth`, in bytes per second.
    pub max_bandwidth: AtomicU64,
    /// `downtime-limit`, in milliseconds.
    pub downtime_limit: AtomicU64,
    /// `avail-switchover-bandwidth`, in bytes per second; `u64::MAX` where QEMU has none.
    pub avail_switchover_bandwidth: AtomicU64,
}

/// What QEMU's migration parameters are to be again. It outlives the host's program, for who comes after it.
#[repr(C)]
#[derive(Debug)]
pub struct SavedParametersArea {
    /// Id of the process that has changed them, written after the others; 0 while QEMU has the user's.
    pub driver: AtomicU64,
    /// The user's.
    pub user: ParameterWords,
    /// Those that the user wants for the migration that goes on.
    pub migration: ParameterWords,
}

/// Words of both sides, each writer's on cache lines of its own.
///
/// Times are in ns of `CLOCK_MONOTONIC`, 0 if it has not happened. Times and counts from `state` on are
/// of the last armed set, and start at 0 when the library takes one over.
#[repr(C)]
#[derive(Debug)]
pub struct ControlPage {
    /// Byte 0, library: [`crate::MAGIC`].
    pub magic: AtomicU64,
    /// Byte 8, library: [`crate::ABI_VERSION`].
    pub abi: AtomicU32,
    /// Byte 12, library: a [`LoadedBy`].
    pub entry: AtomicU32,
    /// Byte 16, library: QEMU's version as major, minor, micro.
    pub version: [AtomicU32; 3],
    unused_28: [u32; 9],

    /// Byte 64, host: generation of the armed set; armed while it differs from `taken`. The host locks the file
    /// (`flock`) from before it arms until the migration has ended: without the lock, a set is not
    /// taken, and one that was taken is re-dirtied.
    pub armed: AtomicU32,
    /// Byte 68, host: how many pages, from the first one of block 0 on, to mark dirty at each sync
    /// while the VM runs, so that QEMU always finds something to send; 0 lets it switch over.
    pub throttle: AtomicU32,
    /// Byte 72, host: grows after each change of the bitmap of pages to re-dirty.
    pub redirty_requested: AtomicU32,
    /// Byte 76, host: number of [`crate::BlockEntry`]s.
    pub blocks: AtomicU32,
    /// Byte 80, host: number of [`crate::RunEntry`]s.
    pub runs: AtomicU32,
    /// Byte 84, host: number of pages of the set.
    pub pages: AtomicU32,
    unused_88: [u32; 10],

    /// Byte 128, library: a [`LibraryState`].
    pub state: AtomicU32,
    /// Byte 132, library: generation of the set that was taken over last.
    pub taken: AtomicU32,
    /// Byte 136, library: code of a [`crate::RefusalReason`].
    pub reason: AtomicU32,
    /// Byte 140, library: syncs since the migration began, which may have been before the set was armed.
    pub syncs: AtomicU32,
    /// Byte 144, library: numbers that belong to `reason`.
    pub detail: [AtomicU64; 2],
    /// Byte 160, library: the checks were passed, the first page is about to be hinted.
    pub hint_begun: AtomicU64,
    /// Byte 168, library: the last hint has returned. What is read from RAM after this counts.
    pub hint_returned: AtomicU64,
    /// Byte 176, library: the first sync since the VM has stopped.
    pub final_sync: AtomicU64,
    /// Byte 184, library: clean-up of the migration.
    pub cleanup: AtomicU64,
    /// Byte 192, library: pages hinted.
    pub hinted: AtomicU64,
    /// Byte 200, library: pages re-dirtied because the host asked.
    pub redirtied_requested: AtomicU64,
    /// Byte 208, library: pages re-dirtied because they were not confirmed when the VM had stopped.
    pub redirtied_unconfirmed: AtomicU64,
    /// Byte 216, library: syncs at which the throttle kept QEMU from the switchover.
    pub throttled: AtomicU64,
    unused_224: [u64; 4],

    /// Byte 256, host: parameters of QEMU's migrations that it has changed.
    pub saved: SavedParametersArea,
    unused_312: [u64; 89],

    /// Byte 1024, library: sync `n`, counted from 0, is in entry `n % SYNC_TIMES`.
    pub sync_times: [SyncEntry; SYNC_TIMES],
}

const _: () = assert!(core::mem::offset_of!(ControlPage, armed) == 64);
const _: () = assert!(core::mem::offset_of!(ControlPage, state) == 128);
const _: () = assert!(core::mem::offset_of!(ControlPage, hint_begun) == 160);
const _: () = assert!(core::mem::offset_of!(ControlPage, throttled) == 216);
const _: () = assert!(core::mem::offset_of!(ControlPage, saved) == 256);
const _: () = assert!(core::mem::offset_of!(ControlPage, sync_times) == 1024);

//! The library's shared file: found among QEMU's descriptors, checked, mapped.
#![expect(unsafe_code, reason = "references into memory shared with another process")]

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::slice;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use foreign_file::{Found, Kind};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, OFlags, SealFlags};
use shim_abi::{
    ABI_VERSION, CONFIRMED_AT, ControlPage, FILE_BYTES, LibraryState, MAGIC, REDIRTIED_AT,
    REDIRTY_AT, RUNS_AT, RefusalReason,
};

use super::{LibraryRefusal, ShimError, bitmap};
use crate::descriptors;

const _: () = assert!(!FILE_BYTES.is_multiple_of(2 << 20));
/// How long QEMU's descriptors are looked at.
const LOOKED: Duration = Duration::from_secs(5);
/// How `/proc/PID/fd` names it.
const LINK: &str = "/memfd:poolferry-qemu (deleted)";

/// The shared file of one QEMU, locked for this process.
#[derive(Debug)]
pub(super) struct SharedFile {
    pub(super) pid: u32,
    /// Whether this process has an armed set.
    pub(super) in_use: AtomicBool,
    file: File,
    control: MmapRaw,
}

impl SharedFile {
    pub(super) fn open(pid: u32) -> Result<Self, ShimError> {
        let found = find(pid)?;
        let failed = |what| move |source| ShimError::Memory { what, pid, source };
        let file =
            found.open_with(OFlags::RDWR).map_err(io::Error::from).map_err(failed("open"))?;
        let length = file.metadata().map_err(failed("measure"))?.len();
        // A process that shortens the file cannot then make our accesses fault. Nor is it of huge pages, which may not be
        // there when they are touched: such a file has no such length.
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(io::Error::from);
        let seals = seals.map_err(failed("check"))?;
        if length != FILE_BYTES as u64 || !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(ShimError::Foreign { pid, what: "its length is another, or not sealed" });
        }
        lock(&file, pid)?;
        let control = MmapOptions::new().len(size_of::<ControlPage>()).map_raw(&file);
        let in_use = AtomicBool::new(false);
        let shared = Self { pid, in_use, file, control: control.map_err(failed("map"))? };
        shared.check()?;
        Ok(shared)
    }

    fn check(&self) -> Result<(), ShimError> {
        let (pid, control) = (self.pid, self.control());
        if control.magic.load(Acquire) != MAGIC {
            return Err(ShimError::Foreign { pid, what: "it does not begin as it should" });
        }
        let theirs = control.abi.load(Relaxed);
        if theirs != ABI_VERSION {
            return Err(ShimError::OtherVersion { pid, theirs, ours: ABI_VERSION });
        }
        match LibraryState::from_u32(control.state.load(Acquire)) {
            Some(LibraryState::Starting) | None => {
                Err(ShimError::Foreign { pid, what: "it is in no known state" })
            }
            Some(LibraryState::Unusable) => {
                let refusal = LibraryRefusal::new(self.reason(), |_| None);
                Err(ShimError::Unusable { pid, refusal })
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the library is hinting a set, or has hinted one in a migration that has not ended.
    pub(super) fn has_set_in_use(&self) -> bool {
        let state = LibraryState::from_u32(self.control().state.load(Acquire));
        matches!(state, Some(LibraryState::Hinting | LibraryState::Hinted))
    }

    /// Whether the last set had no driver any more when a migration took it.
    pub(super) fn was_abandoned(&self) -> bool {
        LibraryState::from_u32(self.control().state.load(Acquire)) == Some(LibraryState::Refused)
            && self.reason() == Some(RefusalReason::Abandoned)
    }

    pub(super) fn control(&self) -> &ControlPage {
        // SAFETY: mapped at that length and aligned to pages; others write it by atomics only, and
        // what is no atomic in it is never looked at.
        unsafe { &*self.control.as_ptr().cast::<ControlPage>() }
    }

    /// Why the library does nothing; `None` for what this program does not know.
    pub(super) fn reason(&self) -> Option<RefusalReason> {
        let control = self.control();
        let detail = [&control.detail[0], &control.detail[1]].map(|number| number.load(Relaxed));
        RefusalReason::from_code(control.reason.load(Relaxed), detail)
    }

    pub(super) fn version(&self) -> (u32, u32, u32) {
        let [major, minor, micro] = &self.control().version;
        (major.load(Relaxed), minor.load(Relaxed), micro.load(Relaxed))
    }

    /// Forgets the tables and bitmaps of the set before: they read zero again and take no memory.
    pub(super) fn clear(&self) -> Result<(), ShimError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (start, length) = (RUNS_AT as u64, (FILE_BYTES - RUNS_AT) as u64);
        rustix::fs::fallocate(&self.file, flags, start, length)
            .map_err(|error| self.failed("clear", error.into()))
    }

    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), ShimError> {
        self.file.write_all_at(bytes, offset as u64).map_err(|source| self.failed("write", source))
    }

    /// The bitmaps of installed pages, of pages to re-dirty, and of those re-dirtied, for `pages` pages.
    pub(super) fn bitmaps(&self, pages: u32) -> Result<[SharedBitmap; 3], ShimError> {
        let [confirmed, redirty, redirtied] =
            [CONFIRMED_AT, REDIRTY_AT, REDIRTIED_AT].map(|offset| self.bits(offset, pages));
        Ok([confirmed?, redirty?, redirtied?])
    }

    fn bits(&self, offset: usize, pages: u32) -> Result<SharedBitmap, ShimError> {
        let words = bitmap::words(pages);
        let mapping = MmapOptions::new()
            .offset(offset as u64)
            .len(words * size_of::<AtomicU64>())
            .map_raw(&self.file)
            .map_err(|source| self.failed("map", source))?;
        Ok(SharedBitmap { mapping, words })
    }

    fn failed(&self, what: &'static str, source: io::Error) -> ShimError {
        ShimError::Memory { what, pid: self.pid, source }
    }
}

/// A bitmap in the shared file.
#[derive(Debug)]
pub(super) struct SharedBitmap {
    mapping: MmapRaw,
    words: usize,
}

impl SharedBitmap {
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped at that length and aligned to pages; others use it by atomics only.
        unsafe { slice::from_raw_parts(self.mapping.as_ptr().cast(), self.words) }
    }
}

/// Locks it for as long as this process lives; by that the library knows that somebody drives the set.
fn lock(file: &File, pid: u32) -> Result<(), ShimError> {
    let mut tries = 3;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // The library itself has it for a moment when it finds that a driver is gone.
            Err(TryLockError::WouldBlock) if tries > 0 => thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => return Err(ShimError::Reserved { pid }),
            Err(TryLockError::Error(source)) => {
                return Err(ShimError::Memory { what: "lock", pid, source });
            }
        }
        tries -= 1;
    }
}

/// The shared file among the descriptors of `pid`.
fn find(pid: u32) -> Result<Found, ShimError> {
    let failed = |source| ShimError::Descriptors { pid, source };
    for descriptor in descriptors::of(pid, Instant::now() + LOOKED).map_err(failed)? {
        let descriptor = descriptor.map_err(failed)?;
        // The kernel's name of it is read first: it costs little.
        if descriptor.name().is_ok_and(|name| name.as_os_str() == LINK)
            && let Ok(found) = foreign_file::held_by(&descriptor.link())
            && found.kind() == Kind::File
            && found.kernel_name().is_ok_and(|name| name.as_os_str() == LINK)
        {
            return Ok(found);
        }
    }
    Err(ShimError::NotLoaded { pid })
}

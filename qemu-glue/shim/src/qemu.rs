//! The QEMU around us, as the engine sees it.
#![expect(unsafe_code, reason = "calls functions of C")]

use core::ffi::{CStr, c_int, c_void};
use core::ptr;

use shim_abi::RefusalReason;

use crate::hypervisor::{Hypervisor, RamBlock};
use crate::symbols::{self, Symbols};
use crate::version::Version;

/// `ZERO_PAGE_DETECTION_MULTIFD` (qapi/migration.json, 9.0 to 11.1).
const ZERO_PAGES_BY_MULTIFD: c_int = 2;

/// `MIG_MODE_NORMAL` (qapi/migration.json, 8.2 to 11.1).
const MODE_NORMAL: c_int = 0;

/// Functions of a QEMU whose version is known. Exists only on threads that QEMU calls us on, with its
/// big lock held, as its functions demand.
pub(crate) struct Qemu {
    symbols: Symbols,
}

impl Qemu {
    /// The QEMU of this process.
    ///
    /// # Errors
    /// Its version is unknown, or it does not export what is needed.
    pub(crate) fn around() -> Result<Self, RefusalReason> {
        let version = version().ok_or(RefusalReason::UnknownVersion { major: 0, minor: 0 })?;
        if !version.is_known() {
            let (major, minor) = (version.major.into(), version.minor.into());
            return Err(RefusalReason::UnknownVersion { major, minor });
        }
        Ok(Self { symbols: Symbols::find()? })
    }

    /// Lets QEMU call `notifier`.
    ///
    /// # Safety
    /// It must be a `NotifierWithReturn` that lives for ever and is in no list.
    pub(crate) unsafe fn add_notifier(&self, notifier: *mut c_void) {
        // SAFETY: the caller's word; the big lock is held.
        unsafe { (self.symbols.add_notifier)(notifier) };
    }
}

impl Hypervisor for Qemu {
    fn clash(&self) -> Option<u64> {
        let of = &self.symbols;
        // SAFETY: they read the migration's settings, which the big lock guards.
        let settings = unsafe {
            let by_multifd = of.zero_page_detection.is_some_and(|f| f() == ZERO_PAGES_BY_MULTIFD);
            [
                (of.postcopy_ram)(),
                (of.ignore_shared)(),
                (of.background_snapshot)(),
                of.mapped_ram.is_some_and(|f| f()),
                of.colo.is_some_and(|f| f()),
                by_multifd && (of.multifd)(),
                of.mode.is_some_and(|f| f() != MODE_NORMAL),
            ]
        };
        settings.iter().position(|set| *set).map(|index| index as u64)
    }

    fn is_running(&self) -> bool {
        // SAFETY: it reads a global.
        unsafe { (self.symbols.is_running)() }
    }

    fn block(&self, name: &CStr) -> Option<RamBlock> {
        let of = &self.symbols;
        // SAFETY: the name ends with a zero; a block stays while the big lock is held.
        unsafe {
            let block = (of.block_by_name)(name.as_ptr());
            if block.is_null() {
                return None;
            }
            Some(RamBlock {
                host: (of.block_host)(block).cast(),
                length: (of.block_length)(block),
                page_bytes: (of.block_page_bytes)(block) as u64,
                shared: (of.block_is_shared)(block),
                migratable: (of.block_is_migratable)(block),
            })
        }
    }

    fn hint(&self, block: &RamBlock, offset: u64, bytes: u64) {
        let start = block.host.wrapping_add(offset as usize);
        // SAFETY: memory of a block that is migrated (blocks neither come nor go during a migration),
        // in the first sync, where the migration's bitmaps exist.
        unsafe { (self.symbols.hint)(start.cast(), bytes as usize) };
    }

    fn mark_dirty(&self, block: &RamBlock, offset: u64, bytes: u64) {
        let mut in_region = 0;
        let start = block.host.wrapping_add(offset as usize);
        // SAFETY: as above; a sync runs inside an RCU read section, so the region stays.
        unsafe {
            let region = (self.symbols.region_from_host)(start.cast(), &raw mut in_region);
            if !region.is_null() {
                (self.symbols.region_set_dirty)(region, in_region, bytes);
            }
        }
    }

    fn now(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is our own.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        let (seconds, rest) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
    }
}

/// `VersionInfo` of qapi/misc.json as C has it.
#[repr(C)]
struct VersionInfo {
    triple: *const [i64; 3],
    package: *const c_void,
}

/// QEMU's version; `None` if it does not report it. What it allocates for the answer, some hundred bytes, is
/// left to it.
pub(crate) fn version() -> Option<Version> {
    type Query = unsafe extern "C" fn(*mut c_void) -> *const VersionInfo;
    // SAFETY: the type is that of the function in 5.1 to 11.1.
    let query: Query = unsafe { symbols::optional(c"qmp_query_version") }?;
    // SAFETY: it allocates its answer and can be called at any time; errors are not wanted.
    let [major, minor, micro] = unsafe {
        let info = query(ptr::null_mut()).as_ref()?;
        *info.triple.as_ref()?
    };
    let number = |value: i64| u32::try_from(value).ok();
    Some(Version { major: number(major)?, minor: number(minor)?, micro: number(micro)? })
}

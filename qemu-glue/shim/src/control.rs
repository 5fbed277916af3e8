//! The shared file: made once, its first part mapped as long as the process lives.
#![expect(unsafe_code, reason = "system calls, and a reference into the mapping that they make")]

use core::ffi::c_int;
use core::mem;
use core::ptr;
use core::slice;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, Release};

use page_number::MAX_SET_BLOCKS;
use shim_abi::{
    ABI_VERSION, BLOCKS_AT, BlockEntry, ControlPage, FILE_BYTES, FILE_NAME, LibraryState, MAGIC,
    RUNS_AT, RefusalReason,
};

/// The file and what is always mapped of it: control page and blocks. The sets, which can be large,
/// are mapped for the time of a migration only.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) file: c_int,
    pub(crate) control: &'static ControlPage,
    blocks: &'static [AtomicU64],
}

impl Shared {
    /// Makes the file, or gives the number of the error. It stays open and mapped for good.
    pub(crate) fn create() -> Result<Self, u64> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name ends with a zero.
        let file = check(unsafe { libc::memfd_create(FILE_NAME.as_ptr(), flags) })?;
        // SAFETY: the descriptor is our own; nothing is mapped yet.
        check(unsafe { libc::ftruncate(file, FILE_BYTES.cast_signed() as libc::off_t) })?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(file, libc::F_ADD_SEALS, seals) })?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), RUNS_AT, protection, libc::MAP_SHARED, file, 0) };
        if address == libc::MAP_FAILED {
            return Err(crate::mapping::errno());
        }
        let blocks_words = MAX_SET_BLOCKS * size_of::<BlockEntry>() / size_of::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, zero, longer than both, never unmapped, its file
        // cannot shrink, and every field is an atomic or never looked at.
        let (control, blocks) = unsafe {
            let blocks = address.byte_add(BLOCKS_AT).cast::<AtomicU64>();
            (&*address.cast::<ControlPage>(), slice::from_raw_parts(blocks, blocks_words))
        };
        control.abi.store(ABI_VERSION, Relaxed);
        control.magic.store(MAGIC, Release);
        Ok(Self { file, control, blocks })
    }

    /// A copy of block `index` of the table; `None` beyond the table.
    pub(crate) fn block(&self, index: usize) -> Option<BlockEntry> {
        const WORDS: usize = size_of::<BlockEntry>() / size_of::<u64>();
        let start = index.checked_mul(WORDS)?;
        let words = self.blocks.get(start..start.checked_add(WORDS)?)?;
        let mut copy = [0_u64; WORDS];
        for (to, from) in copy.iter_mut().zip(words) {
            *to = from.load(Relaxed);
        }
        // SAFETY: the sizes are the same, and any bits are a valid block.
        Some(unsafe { mem::transmute::<[u64; WORDS], BlockEntry>(copy) })
    }

    /// Whether a program of the host drives the set. It locks the file as long as it does, and the kernel
    /// takes the lock away with its last process, however that ends. Never waits.
    pub(crate) fn is_driven(&self) -> bool {
        // SAFETY: the descriptor is our own, and no other open file of this process has the lock.
        if unsafe { libc::flock(self.file, libc::LOCK_SH | libc::LOCK_NB) } == 0 {
            // SAFETY: as above.
            unsafe { libc::flock(self.file, libc::LOCK_UN) };
            return false;
        }
        // Any other error leaves it open: then nothing is skipped, which is never wrong.
        crate::mapping::errno() == libc::EWOULDBLOCK.unsigned_abs().into()
    }

    /// Publishes `state`; what was stored before is seen by whoever sees it.
    pub(crate) fn publish(&self, state: LibraryState) {
        self.control.state.store(state as u32, Release);
    }

    /// Publishes why nothing is done.
    pub(crate) fn refuse(&self, state: LibraryState, reason: RefusalReason) {
        let (code, detail) = reason.code();
        for (to, from) in self.control.detail.iter().zip(detail) {
            to.store(from, Relaxed);
        }
        self.control.reason.store(code, Relaxed);
        self.publish(state);
    }
}

fn check(result: c_int) -> Result<c_int, u64> {
    if result < 0 { Err(crate::mapping::errno()) } else { Ok(result) }
}

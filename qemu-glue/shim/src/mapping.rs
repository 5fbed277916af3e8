//! Memory that the library maps: parts of the shared file, and private memory for one set.
#![expect(unsafe_code, reason = "mmap and the slices over it")]

use core::ffi::c_int;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::AtomicU64;

use shim_abi::{RefusalReason, RunEntry};

/// A mapping of whole pages, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(flags: c_int, file: c_int, offset: usize, bytes: usize) -> Result<Self, RefusalReason> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let offset = offset.cast_signed() as libc::off_t;
        // SAFETY: a new mapping at an address that the kernel chooses hurts nobody.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), bytes.max(1), protection, flags, file, offset) };
        match NonNull::new(address.cast::<u8>()) {
            Some(start) if address != libc::MAP_FAILED => Ok(Self { address: start, bytes }),
            _ => Err(RefusalReason::NoMemory { bytes: bytes as u64, errno: errno() }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the value owns the mapping, and no slice of it outlives the value.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes.max(1)) };
    }
}

/// Words of the shared file, which the host may write at any time.
#[derive(Debug)]
pub(crate) struct SharedWords {
    mapping: Mapping,
    words: usize,
}

impl SharedWords {
    /// Maps `words` 64-bit words of `file` from byte `offset` on, a multiple of the page size.
    pub(crate) fn new(file: c_int, offset: usize, words: usize) -> Result<Self, RefusalReason> {
        let mapping = Mapping::new(libc::MAP_SHARED, file, offset, words.saturating_mul(8))?;
        Ok(Self { mapping, words })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has so many words, is aligned to pages, and others write it by atomics only.
        unsafe { slice::from_raw_parts(self.mapping.address.as_ptr().cast(), self.words) }
    }
}

/// What may lie in private memory: valid if all its bytes are zero.
pub(crate) trait Zeroed: Copy {}
impl Zeroed for u64 {}
impl Zeroed for RunEntry {}

/// Private memory for `T`s, zero at first. Nobody else sees it, so what was checked stays as it is.
#[derive(Debug)]
pub(crate) struct Private<T: Zeroed> {
    mapping: Mapping,
    count: usize,
    of: PhantomData<T>,
}

impl<T: Zeroed> Private<T> {
    pub(crate) fn new(count: usize) -> Result<Self, RefusalReason> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = Mapping::new(flags, -1, 0, count.saturating_mul(size_of::<T>()))?;
        Ok(Self { mapping, count, of: PhantomData })
    }
}

impl<T: Zeroed> Deref for Private<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has room for so many, is aligned to pages, and zero is a valid `T`.
        unsafe { slice::from_raw_parts(self.mapping.address.as_ptr().cast(), self.count) }
    }
}

impl<T: Zeroed> DerefMut for Private<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; the value is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.mapping.address.as_ptr().cast(), self.count) }
    }
}

/// The number of the last error of a system call.
pub(crate) fn errno() -> u64 {
    // SAFETY: the location is this thread's own.
    let number = unsafe { *libc::__errno_location() };
    u64::from(number.unsigned_abs())
}

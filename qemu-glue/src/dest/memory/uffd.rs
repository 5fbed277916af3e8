//! userfaultfd(2), as much of it as installing pages takes.
//!
//! Structures and numbers are those of `include/uapi/linux/userfaultfd.h`.

#![expect(unsafe_code, reason = "ioctls that write to memory by its address")]

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

const TYPE: u8 = 0xaa;
const API: u64 = 0xaa;
/// `UFFD_FEATURE_MISSING_SHMEM`.
const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
const REGISTER_MODE_MISSING: u64 = 1;
/// No thread waits for a page of our mapping, as none touches it.
const COPY_MODE_DONTWAKE: u64 = 1;
/// Bit of `UFFDIO_COPY` in the ioctls that a registered range has.
const IOCTL_COPY: u64 = 1 << 3;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioCopy {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    /// Out: bytes copied, or a negated error number.
    copied: i64,
}

const UFFDIO_API: Opcode = opcode::read_write::<UffdioApi>(TYPE, 0x3f);
const UFFDIO_REGISTER: Opcode = opcode::read_write::<UffdioRegister>(TYPE, 0x00);
const UFFDIO_COPY: Opcode = opcode::read_write::<UffdioCopy>(TYPE, 0x03);
const _: () = assert!(UFFDIO_API == 0xc018_aa3f);
const _: () = assert!(UFFDIO_REGISTER == 0xc020_aa00);
const _: () = assert!(UFFDIO_COPY == 0xc028_aa03);

/// A userfaultfd that serves holes of shared memory.
#[derive(Debug)]
pub(super) struct Userfaultfd(OwnedFd);

impl Userfaultfd {
    /// Opens one and settles the features.
    ///
    /// It serves faults of user mode only, which every user may ask for (Linux 5.11); no faults are
    /// served here at all.
    pub(super) fn open() -> io::Result<Self> {
        // `UFFD_USER_MODE_ONLY`, which rustix does not name.
        let user_mode_only = UserfaultfdFlags::from_bits_retain(1);
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK | user_mode_only;
        // SAFETY: the descriptor stays in this module, which uses it for ranges of its callers only.
        let fd = unsafe { userfaultfd(flags) }?;
        let mut api = UffdioApi { api: API, features: FEATURE_MISSING_SHMEM, ioctls: 0 };
        // SAFETY: the opcode is that of `struct uffdio_api`, which `UffdioApi` is.
        unsafe { ioctl(fd.as_fd(), Updater::<UFFDIO_API, _>::new(&mut api)) }?;
        Ok(Self(fd))
    }

    /// Registers `length` bytes of our address space from `start` on; both multiples of a page.
    pub(super) fn register(&self, start: usize, length: usize) -> io::Result<()> {
        let (start, length) = (start as u64, length as u64);
        let mode = REGISTER_MODE_MISSING;
        let mut register = UffdioRegister { start, length, mode, ioctls: 0 };
        // SAFETY: the opcode is that of `struct uffdio_register`, which `UffdioRegister` is.
        unsafe { ioctl(self.0.as_fd(), Updater::<UFFDIO_REGISTER, _>::new(&mut register)) }?;
        if register.ioctls & IOCTL_COPY == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(())
    }

    /// Copies `from` to the registered address `to` page by page, until a page is present or another
    /// error comes; `Ok` has the bytes copied, at least a page.
    ///
    /// # Safety
    /// `to` and the bytes after it must be a registered range of a mapping to which this process holds
    /// no reference.
    pub(super) unsafe fn copy(&self, to: usize, from: &[u8]) -> Result<usize, Errno> {
        let mut copy = UffdioCopy {
            to: to as u64,
            from: from.as_ptr() as u64,
            length: from.len() as u64,
            mode: COPY_MODE_DONTWAKE,
            copied: 0,
        };
        // SAFETY: the opcode is that of `struct uffdio_copy`, which `UffdioCopy` is; the kernel reads
        // `from`, which is borrowed, and writes to `to`, which the caller answers for.
        let result = unsafe { ioctl(self.0.as_fd(), Updater::<UFFDIO_COPY, _>::new(&mut copy)) };
        match usize::try_from(copy.copied) {
            // EAGAIN after a part of it: the part counts.
            Ok(copied) if copied > 0 => Ok(copied),
            _ => Err(result.err().unwrap_or(Errno::INVAL)),
        }
    }
}

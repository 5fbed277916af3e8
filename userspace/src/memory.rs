//! Reads of the server's memory: `process_vm_readv`, never ptrace, never a write.
#![expect(unsafe_code, reason = "process_vm_readv has no safe wrapper that takes many ranges")]

use std::io;

use thiserror::Error;

/// An address in the server's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddr(pub u64);

impl ServerAddr {
    /// The address as a pointer-sized number; one that does not fit (on 32-bit machines) reads nowhere.
    fn local(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// This address moved up by `bytes`; wraps like the hardware, so a wild pointer fails to be read.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl std::fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A read of the server's memory failed.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The kernel refused.
    #[error("failed to read {len} bytes at {addr} of process {pid}")]
    Refused {
        /// The server.
        pid: u32,
        /// Start of the range.
        addr: ServerAddr,
        /// Bytes requested.
        len: usize,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Part of the range is not mapped.
    #[error("failed to read {len} bytes at {addr} of process {pid}: only {got} bytes are mapped")]
    Short {
        /// The server.
        pid: u32,
        /// Start of the range.
        addr: ServerAddr,
        /// Bytes requested.
        len: usize,
        /// Bytes read.
        got: usize,
    },
}

impl MemoryError {
    /// True when the process does not exist any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::ESRCH))
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { source, .. } if source.raw_os_error() == Some(libc::EPERM) => Some(
                "reading another process's memory needs CAP_SYS_PTRACE (or root); `poolferry doctor` \
                 tells what is missing",
            ),
            _ => None,
        }
    }
}

/// The memory of one process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    /// The memory of process `pid`.
    #[must_use]
    pub const fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Fills `buffer` from `addr` on.
    ///
    /// # Errors
    /// When the process is gone, may not be read, or the range is not mapped.
    pub fn read(&self, addr: ServerAddr, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let got = self.read_vectored(&mut [(addr, &mut *buffer)])?;
        let len = buffer.len();
        if got == len { Ok(()) } else { Err(MemoryError::Short { pid: self.pid, addr, len, got }) }
    }

    /// Reads many ranges with as few system calls as the kernel allows (1024 ranges a call);
    /// returns the bytes read, which are fewer when a range is not mapped: the rest is not tried.
    ///
    /// # Errors
    /// When nothing could be read.
    pub fn read_vectored(
        &self,
        ranges: &mut [(ServerAddr, &mut [u8])],
    ) -> Result<usize, MemoryError> {
        let mut total = 0;
        for batch in ranges.chunks_mut(1024) {
            let wanted: usize = batch.iter().map(|(_, buffer)| buffer.len()).sum();
            let local: Vec<libc::iovec> = batch
                .iter_mut()
                .map(|(_, buffer)| libc::iovec {
                    iov_base: buffer.as_mut_ptr().cast(),
                    iov_len: buffer.len(),
                })
                .collect();
            let remote: Vec<libc::iovec> = batch
                .iter()
                .map(|(addr, buffer)| libc::iovec {
                    iov_base: std::ptr::with_exposed_provenance_mut(addr.local()),
                    iov_len: buffer.len(),
                })
                .collect();
            // SAFETY: `local` describes live, exclusive buffers; `remote` is only ever read, by the
            // kernel, in another address space; both counts are at most 1024 (UIO_MAXIOV).
            let got = unsafe {
                libc::process_vm_readv(
                    self.pid.cast_signed(),
                    local.as_ptr(),
                    local.len() as libc::c_ulong,
                    remote.as_ptr(),
                    remote.len() as libc::c_ulong,
                    0,
                )
            };
            let Ok(got) = usize::try_from(got) else {
                return Err(MemoryError::Refused {
                    pid: self.pid,
                    addr: batch[0].0,
                    len: wanted,
                    source: io::Error::last_os_error(),
                });
            };
            total += got;
            if got < wanted {
                break;
            }
        }
        Ok(total)
    }

    /// A little-endian integer of `size` bytes (1 to 8).
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn integer(&self, addr: ServerAddr, size: usize) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes[..size.clamp(1, 8)])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A pointer.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn pointer(&self, addr: ServerAddr) -> Result<ServerAddr, MemoryError> {
        Ok(ServerAddr(self.integer(addr, 8)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_own_memory_and_refuses_holes() {
        let memory = Memory::of(std::process::id());
        let word = 0x1122_3344_5566_7788_u64;
        let addr = ServerAddr((&raw const word).expose_provenance() as u64);
        assert_eq!(memory.integer(addr, 8).unwrap(), word);
        assert_eq!(memory.integer(addr, 2).unwrap(), 0x7788);
        let error = memory.integer(ServerAddr(8), 8).unwrap_err();
        assert!(!error.is_gone(), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_is_recognised() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(Memory::of(pid).integer(ServerAddr(4096), 8).unwrap_err().is_gone());
    }
}

//! Storage as the destination reads it: raw files, block devices, and NBD exports.
//!
//! Reading is all that is ever done, past the page cache where the file system can: what the source's
//! host has written is on the storage, not in this host's cache. Requests are large (`plan.rs`) and
//! several are in flight. A buffer belongs to its request until the storage has answered, also when
//! no caller waits for the answer any more, so a stalled storage holds buffers of the bounded
//! [`BufferPool`] but never memory that something else uses.

mod address;
mod buffer;
mod error;
mod file;
mod nbd;
mod plan;
mod uring;

pub use address::{Address, AddressError, Export, NbdServer};
pub use buffer::{Buffer, BufferPool};
pub use error::StorageError;
pub use plan::{ALIGN, Piece, Request, RequestLimits};

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::open_files::OpenFiles;

/// One storage, open for reading.
#[derive(Debug)]
pub struct Storage {
    address: Address,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    File(file::File),
    Nbd(nbd::Nbd),
}

impl Storage {
    /// Opens it, and for NBD as many connections as the server allows.
    ///
    /// # Errors
    /// [`StorageError`] names the storage and its error.
    pub async fn open(address: &Address) -> Result<Self, StorageError> {
        Self::open_if(address, None).await
    }

    /// Opens what QEMU has named, where it is something that QEMU has open itself.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where QEMU does not have it open.
    pub async fn open_held(address: &Address, held: &Arc<OpenFiles>) -> Result<Self, StorageError> {
        Self::open_if(address, Some(held)).await
    }

    async fn open_if(
        address: &Address,
        held: Option<&Arc<OpenFiles>>,
    ) -> Result<Self, StorageError> {
        let engine = match address {
            Address::File(path) => {
                let (wanted, held) = (path.clone(), held.cloned());
                // Opening a file on a share may take any time.
                let opened = spawn_blocking(move || file::File::open(&wanted, held.as_deref()));
                let fell = |fell| StorageError::Open {
                    path: path.clone(),
                    source: std::io::Error::other(fell),
                };
                Engine::File(opened.await.map_err(fell)??)
            }
            Address::Nbd(export) => Engine::Nbd(nbd::Nbd::open(export, held).await?),
        };
        Ok(Self { address: address.clone(), engine })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match &self.engine {
            Engine::File(file) => file.length(),
            Engine::Nbd(nbd) => nbd.length(),
        }
    }

    /// Most bytes of one read, a multiple of [`ALIGN`].
    #[must_use]
    pub fn longest_read(&self) -> u64 {
        let longest = match &self.engine {
            // What Linux reads at once at most (`MAX_RW_COUNT`).
            Engine::File(_) => 0x7fff_f000,
            Engine::Nbd(nbd) => nbd.longest_read() as u64,
        };
        longest - longest % ALIGN
    }

    /// How it is read, for people: `io_uring, O_DIRECT`, `4 connections`.
    #[must_use]
    pub fn manner(&self) -> String {
        match &self.engine {
            Engine::File(file) => file.manner(),
            Engine::Nbd(nbd) => nbd.manner(),
        }
    }

    /// Reads `length` bytes from `offset` on, fewer where the storage ends; the buffer comes back
    /// filled with exactly what was read.
    ///
    /// A call that is dropped leaves the request to the storage, with its buffer.
    ///
    /// # Errors
    /// [`StorageError`] when the storage fails, or `offset` and `length` are not multiples of
    /// [`ALIGN`], lie beyond the end, or exceed the buffer or [`Self::longest_read`]. The buffer is then back in its pool.
    pub async fn read(
        &self,
        offset: u64,
        length: usize,
        buffer: Buffer,
    ) -> Result<Buffer, StorageError> {
        let aligned = offset.is_multiple_of(ALIGN) && (length as u64).is_multiple_of(ALIGN);
        let left = usize::try_from(self.length().saturating_sub(offset)).unwrap_or(usize::MAX);
        let longest = usize::try_from(self.longest_read()).unwrap_or(usize::MAX);
        let longest = longest.min(buffer.capacity());
        if !aligned || left == 0 || length == 0 || length > longest {
            return Err(StorageError::Request { offset, length, storage: self.length() });
        }
        let length = length.min(left);
        let read = match &self.engine {
            Engine::File(file) => file.read(offset, length, buffer).await,
            Engine::Nbd(nbd) => nbd.read(offset, length, buffer).await,
        };
        read.map_err(|source| StorageError::Read { offset, length, source })
    }
}

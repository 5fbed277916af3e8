//! Raw files and block devices, past the page cache: io_uring, or threads where it is forbidden.

use std::fs;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::buffer::Buffer;
use super::error::StorageError;
use super::uring::Uring;
use crate::open_files::OpenFiles;

/// An open file or block device.
#[derive(Debug)]
pub(super) struct File {
    file: Arc<fs::File>,
    length: u64,
    caching: Caching,
    engine: ReadEngine,
}

#[derive(Clone, Copy, Debug)]
enum Caching {
    Direct,
    /// The file system has no O_DIRECT (tmpfs before Linux 6.6, some FUSE).
    Cached,
}

#[derive(Debug)]
enum ReadEngine {
    Uring(Uring),
    Threads,
}

impl File {
    /// Opens it; where QEMU has named it, only what QEMU itself reads.
    pub(super) fn open(path: &Path, held: Option<&OpenFiles>) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Open { path: path.to_owned(), source };
        let found = foreign_file::find(path).map_err(|refusal| failed(refusal.into()))?;
        if held.is_some_and(|held| !held.has(&found)) {
            let why = "QEMU, which names it, does not have it open for reading";
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        let open = |flags| found.open_disk(flags).map_err(io::Error::from);
        let (mut file, caching) = match open(OFlags::RDONLY | OFlags::DIRECT) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (open(OFlags::RDONLY).map_err(failed)?, Caching::Cached)
            }
            opened => (opened.map_err(failed)?, Caching::Direct),
        };
        // A block device has its length at its end, not in its metadata.
        let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let file = Arc::new(file);
        let engine = match Uring::new(Arc::clone(&file)) {
            Ok(uring) => ReadEngine::Uring(uring),
            // ENOSYS, or EPERM by kernel.io_uring_disabled or a seccomp filter.
            Err(error) => {
                log::info!("reading `{}` by threads: io_uring: {error}", foreign::path(path));
                ReadEngine::Threads
            }
        };
        Ok(Self { file, length, caching, engine })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn manner(&self) -> String {
        let engine = match self.engine {
            ReadEngine::Uring(_) => "io_uring",
            ReadEngine::Threads => "threads",
        };
        match self.caching {
            Caching::Direct => format!("{engine}, O_DIRECT"),
            Caching::Cached => format!("{engine}, through the page cache"),
        }
    }

    /// Reads exactly `length` bytes.
    pub(super) async fn read(
        &self,
        offset: u64,
        length: usize,
        mut buffer: Buffer,
    ) -> io::Result<Buffer> {
        if let ReadEngine::Uring(uring) = &self.engine {
            return uring.read(offset, length, buffer).await;
        }
        let file = Arc::clone(&self.file);
        let read = move || {
            // Whole blocks, also at the end, as O_DIRECT wants it; the buffer has room for them.
            let block = usize::try_from(super::plan::ALIGN).unwrap_or(usize::MAX);
            let blocks = length.next_multiple_of(block).min(buffer.capacity());
            let whole = &mut buffer.whole()[..blocks];
            let got = file.read_at(whole, offset)?;
            if got < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.set_filled(length);
            Ok(buffer)
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures::FutureExt as _;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::storage::{ALIGN, Address, BufferPool, Storage};

    /// Five blocks and a bit, each byte known.
    fn content() -> Vec<u8> {
        let length = 5 * usize::try_from(ALIGN).unwrap() + 700;
        (0..length).map(|n| (n / 7 % 251).to_le_bytes()[0]).collect()
    }

    fn written() -> NamedTempFile {
        // Not in /tmp, which may be a tmpfs: that is another kind of file.
        let mut file = NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&content()).unwrap();
        file
    }

    async fn open(path: &Path, engine: Option<ReadEngine>) -> Storage {
        let address = Address::File(path.to_owned());
        let mut storage = Storage::open(&address).await.unwrap();
        if let (Some(engine), crate::storage::Engine::File(file)) = (engine, &mut storage.engine) {
            file.engine = engine;
        }
        storage
    }

    #[tokio::test]
    async fn both_engines_read_what_is_there_up_to_an_odd_end() {
        let file = written();
        let pool = BufferPool::new(4, 1 << 16);
        for engine in [None, Some(ReadEngine::Threads)] {
            let storage = open(file.path(), engine).await;
            assert_eq!(storage.length(), content().len() as u64);
            for (offset, length) in [(0, 8192), (4096, 4096), (0, 1 << 16), (16_384, 8192)] {
                let buffer = pool.take().await.unwrap();
                let read = storage.read(offset, length, buffer).await.unwrap();
                let from = usize::try_from(offset).unwrap();
                let to = content().len().min(from + length);
                let manner = storage.manner();
                assert!(read.filled() == &content()[from..to], "{manner}: {offset} {length}");
            }
            for (offset, length) in [(512, 4096), (0, 512), (0, 0), (1 << 20, 4096), (0, 1 << 17)] {
                let buffer = pool.take().await.unwrap();
                let error = storage.read(offset, length, buffer).await.unwrap_err();
                assert!(matches!(error, StorageError::Request { .. }), "{error}");
            }
        }
        assert_eq!(pool.available(), 4, "every buffer came back");
    }

    #[tokio::test]
    async fn a_file_that_has_shrunk_is_an_error() {
        let file = written();
        let pool = BufferPool::new(1, 1 << 16);
        for engine in [None, Some(ReadEngine::Threads)] {
            file.as_file().set_len(20_480).unwrap();
            let storage = open(file.path(), engine).await;
            file.as_file().set_len(4096).unwrap();
            let read = storage.read(0, 8192, pool.take().await.unwrap()).await;
            let error = read.unwrap_err();
            assert!(matches!(error, StorageError::Read { .. }), "{error}");
        }
        assert_eq!(pool.available(), 1);
    }

    #[tokio::test]
    async fn reads_in_flight_when_the_storage_goes_are_survived() {
        let file = written();
        let pool = BufferPool::new(64, 1 << 16);
        let storage = open(file.path(), None).await;
        for _ in 0..64 {
            // Submitted, and given up at once.
            let read = storage.read(0, 1 << 16, pool.take().await.unwrap());
            assert!(read.now_or_never().is_none());
        }
        drop(storage);
        tokio::task::yield_now().await;
    }
}

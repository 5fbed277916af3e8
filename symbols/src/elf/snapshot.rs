//! A copy of a foreign file that cannot change any more.
//!
//! A file that is mapped may be cut short or rewritten while it is read: the first ends the process
//! with SIGBUS, the second lets one content be hashed and another be believed. So a file is read once,
//! by pread, into sealed memory (memfd_create(2)): [`FileSnapshot::hash`] is over exactly the bytes that
//! are parsed.
//!
//! The file is looked at before it is opened: opening a pipe waits, opening a device may act.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, SealFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::file_id::FileVersion;
use crate::budget::{Budget, Charge};
use crate::cause::Cause;

/// Largest file that is read, in bytes. Servers come stripped with 25 to 75 MB, debug builds and debug files with
/// up to some 1 GB; a sparse file may state any size, and hashing 12 TiB takes hours.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// A file up to this size may be all holes.
const SMALL: u64 = 64 << 20;

/// A larger one has at least one byte on disk in so many; what a file system compresses has more.
const HOLLOW: u64 = 16;

/// Bytes per read.
const CHUNK: usize = 1 << 20;

/// The content of a regular file as it was when it was read.
#[derive(Debug)]
pub struct FileSnapshot {
    memory: OwnedFd,
    stamp: SnapshotStamp,
    charge: Charge,
}

/// What is known of a [`FileSnapshot`] beside its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotStamp {
    size: u64,
    hash: [u8; blake3::OUT_LEN],
    file: FileVersion,
    owner: Owner,
}

/// Reads a [`FileSnapshot`] from its beginning.
#[derive(Debug)]
pub(crate) struct SnapshotReader<'s> {
    snapshot: &'s FileSnapshot,
    at: u64,
}

impl io::Read for SnapshotReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = rustix::io::pread(&self.snapshot.memory, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Who may have written a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `st_uid`.
    pub uid: u32,
    /// `st_gid`.
    pub gid: u32,
    /// Permission bits of `st_mode`.
    pub mode: u32,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It cannot be looked at, opened or read, or there is no memory for it.
    #[error("cannot be read")]
    Io(#[source] Cause),
    /// A folder, pipe, socket or device.
    #[error("not a regular file")]
    NotAFile,
    /// Larger than [`MAX_FILE_BYTES`].
    #[error("{size} bytes long, more than the {MAX_FILE_BYTES} that are read of a file")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// Almost nothing of it is kept anywhere, so no linker wrote it.
    #[error("{size} bytes long, with {kept} of them on disk")]
    Hollow {
        /// Its size in bytes.
        size: u64,
        /// What it takes on disk, in bytes.
        kept: u64,
    },
    /// It ended before its size: somebody writes it.
    #[error("cut short while it was read")]
    Cut,
    /// Together with the others it would take more memory than they may.
    #[error("no room for it in the {limit} bytes that files may take")]
    NoRoom {
        /// [`Budget::limit`].
        limit: u64,
    },
    /// It is not needed any more.
    #[error("stopped while it was read")]
    Stopped,
    /// It lies where somebody else decides whether a read ever ends.
    #[error("on {fstype}, which is not read")]
    FileSystem {
        /// The file system's type, and who has mounted it where that is why.
        fstype: String,
    },
}

impl From<foreign_file::Refusal> for SnapshotError {
    fn from(refusal: foreign_file::Refusal) -> Self {
        match refusal {
            foreign_file::Refusal::FileSystem { fstype, .. } => Self::FileSystem { fstype },
            other => Self::Io(io::Error::from(other).into()),
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.into())
    }
}

impl FileSnapshot {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It is no regular file, cannot be read, is too large, or was cut short meanwhile.
    pub fn read(path: &Path, budget: &Budget) -> Result<Self, SnapshotError> {
        Self::read_until(path, budget, &|| false)
    }

    /// As [`Self::read`]; gives up between two reads when `stop` is true.
    pub(crate) fn read_until(
        path: &Path,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        Self::of(&foreign_file::program(path)?.into(), budget, stop)
    }

    /// As [`Self::read_until`], of a file that is open, if only as a path (`O_PATH`).
    pub(crate) fn of(
        file: &OwnedFd,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        let (file, stat) = opened(file)?;
        let size = regular(&stat)?;
        // What will be copied, as far as the file system reports it: nothing is begun in vain.
        if !budget.has_room(size.min(kept(&stat))) {
            return Err(SnapshotError::NoRoom { limit: budget.limit() });
        }
        let memory = memory_of(size)?;
        let (hash, charge) = copy(&file, size, &memory, budget, stop)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals).map_err(io::Error::from)?;
        let (file, owner) = (FileVersion::of(&stat), Owner::of(&stat));
        let stamp = SnapshotStamp { size, hash: *hash.as_bytes(), file, owner };
        Ok(Self { memory, stamp, charge })
    }

    /// Hash and owner of a file that is open, if only as a path; nothing of it is kept.
    pub(crate) fn identity_of(
        file: &OwnedFd,
        stop: &dyn Fn() -> bool,
    ) -> Result<([u8; blake3::OUT_LEN], Owner), SnapshotError> {
        let (file, stat) = opened(file)?;
        let (size, mut at) = (regular(&stat)?, 0);
        let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; CHUNK]);
        while at < size {
            if stop() {
                return Err(SnapshotError::Stopped);
            }
            match rustix::io::pread(&file, &mut chunk, at) {
                Ok(0) => return Err(SnapshotError::Cut),
                Err(Errno::INTR) => {}
                other => {
                    let read = other.map_err(io::Error::from)?;
                    hasher.update(&chunk[..read]);
                    at += read as u64;
                }
            }
        }
        Ok((*hasher.finalize().as_bytes(), Owner::of(&stat)))
    }

    /// A file that lies in memory, of no owner.
    #[cfg(fuzzing)]
    pub(crate) fn of_bytes(bytes: &[u8], budget: &Budget) -> Result<Self, SnapshotError> {
        let no_room = || SnapshotError::NoRoom { limit: budget.limit() };
        let size = bytes.len() as u64;
        let charge = budget.take(size).ok_or_else(no_room)?;
        let memory = memory_of(size)?;
        rustix::io::pwrite(&memory, bytes, 0).map_err(io::Error::from)?;
        let file = FileVersion { device: 0, inode: size, size, mtime_ns: 0 };
        let owner = Owner { uid: 0, gid: 0, mode: 0o644 };
        let hash = *blake3::hash(bytes).as_bytes();
        Ok(Self { memory, stamp: SnapshotStamp { size, hash, file, owner }, charge })
    }

    /// One that another process of ours has taken.
    pub(crate) fn received(
        memory: OwnedFd,
        stamp: SnapshotStamp,
        budget: &Budget,
    ) -> Result<Self, SnapshotError> {
        let no_room = || SnapshotError::NoRoom { limit: budget.limit() };
        let charge = budget.take(stamp.size).ok_or_else(no_room)?;
        Ok(Self { memory, stamp, charge })
    }

    pub(crate) fn stamp(&self) -> &SnapshotStamp {
        &self.stamp
    }

    /// Whether it begins as an ELF file does.
    pub(crate) fn is_elf(&self) -> bool {
        self.begins_with(*b"\x7fELF")
    }

    /// Whether it begins as gzip lets it (RFC 1952, 2.3.1: its magic, and the only method of compression).
    pub(crate) fn is_gzip(&self) -> bool {
        self.begins_with([0x1f, 0x8b, 8])
    }

    fn begins_with<const N: usize>(&self, magic: [u8; N]) -> bool {
        let mut first = [0; N];
        rustix::io::pread(&self.memory, &mut first, 0).is_ok_and(|_| first == magic)
    }

    /// Its bytes, from the first on.
    pub(crate) fn reader(&self) -> SnapshotReader<'_> {
        SnapshotReader { snapshot: self, at: 0 }
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// BLAKE3 of all of its bytes.
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(self.stamp.hash)
    }

    /// Which file it was read from.
    #[must_use]
    pub fn file_id(&self) -> FileVersion {
        self.stamp.file
    }

    /// Who may have written that, at the time of reading.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.stamp.owner
    }

    /// What it takes, for as long as others have its memory.
    pub(crate) fn into_charge(self) -> Charge {
        self.charge
    }

    /// The sealed memory.
    pub(crate) fn memory(&self) -> &OwnedFd {
        &self.memory
    }
}

/// The link in `/proc` by which an open file is opened again.
pub(crate) fn link_to(file: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Opens a regular file for reading that is open as a path; not one that is too large.
pub(crate) fn opened(file: &OwnedFd) -> Result<(OwnedFd, Stat), SnapshotError> {
    regular(&rustix::fs::fstat(file).map_err(io::Error::from)?)?;
    // The link in /proc opens exactly the file that was looked at, whatever its name means now.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(link_to(file), flags, Mode::empty()).map_err(io::Error::from)?;
    let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
    regular(&stat)?;
    Ok((file, stat))
}

/// Size of a regular file that is not too large.
fn regular(stat: &Stat) -> Result<u64, SnapshotError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(SnapshotError::NotAFile);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > MAX_FILE_BYTES {
        return Err(SnapshotError::TooLarge { size });
    }
    let kept = kept(stat);
    // Some file systems do not report them.
    if size > SMALL && kept != 0 && kept < size / HOLLOW {
        return Err(SnapshotError::Hollow { size, kept });
    }
    Ok(size)
}

/// What a file takes on disk, in bytes (stat(2): always units of 512).
fn kept(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Memory of `size` bytes, all zero, of which nothing is taken yet.
fn memory_of(size: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where `vm.memfd_noexec` is 2, memory must not be executable; before Linux 6.3 there is no such flag.
    let memory = match rustix::fs::memfd_create("snapshot", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("snapshot", flags),
        other => other,
    }?;
    rustix::fs::ftruncate(&memory, size)?;
    Ok(memory)
}

/// Copies `size` bytes; what is zero stays a hole.
fn copy(
    file: &OwnedFd,
    size: u64,
    memory: &OwnedFd,
    budget: &Budget,
    stop: &dyn Fn() -> bool,
) -> Result<(blake3::Hash, Charge), SnapshotError> {
    let no_room = || SnapshotError::NoRoom { limit: budget.limit() };
    let mut charge = budget.take(0).ok_or_else(no_room)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        if stop() {
            return Err(SnapshotError::Stopped);
        }
        let wanted = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        let read = match rustix::io::pread(file, &mut chunk[..wanted], at) {
            Ok(0) => return Err(SnapshotError::Cut),
            Err(Errno::INTR) => continue,
            other => &chunk[..other.map_err(io::Error::from)?],
        };
        hasher.update(read);
        let mut hole = at;
        if read.iter().any(|byte| *byte != 0) {
            if !charge.grow(read.len() as u64) {
                return Err(no_room());
            }
            let mut rest = read;
            while !rest.is_empty() {
                let written = rustix::io::pwrite(memory, rest, hole).map_err(io::Error::from)?;
                rest = rest.get(written..).unwrap_or_default();
                hole += written as u64;
            }
        }
        at += read.len() as u64;
    }
    Ok((hasher.finalize(), charge))
}

impl Owner {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 }
    }
}

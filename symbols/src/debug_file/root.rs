//! A root folder that the search looks below: the target's, or the observer's own.
//!
//! A server may run in a container or chroot, whose links and folders mean what they mean *there*.
//! So every path is resolved inside the root, step by step (`foreign_file`): an absolute link of the
//! target's cannot lead to a file of the observer's, and no step into a file system that is not read.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::attempt::DebugFileRefusal;
use super::found::{FoundFile, RootPlace};
use crate::budget::Budget;
use crate::elf::snapshot::link_to;
use crate::elf::{FileSnapshot, Owner, SnapshotError};
use crate::symbol_list;
use crate::trust::Trust;

#[derive(Debug)]
pub(super) struct SearchRoot {
    dir: foreign_file::Root,
    place: RootPlace,
}

impl SearchRoot {
    /// Opens `root`; `program` is a path of the observer's to the program that runs in it.
    pub(super) fn open(root: &Path, program: &Path) -> io::Result<Self> {
        let dir = foreign_file::Root::at(root)?;
        let program = real_path(program);
        let inside = match program.strip_prefix(real_path(root)) {
            Ok(inside) => Path::new("/").join(inside),
            // The target's mount namespace is another: its paths are already those inside.
            Err(_) => program,
        };
        Ok(Self { dir, place: RootPlace { shown: root.to_owned(), program: inside } })
    }

    /// What others know of it.
    pub(super) fn place(&self) -> &RootPlace {
        &self.place
    }

    /// True when both are the same folder, as for a server that runs in no other root.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let id = |root: &Self| {
            let seen = rustix::fs::fstat(root.dir.top().ok()?).ok()?;
            Some((seen.st_dev, seen.st_ino))
        };
        id(self).is_some() && id(self) == id(other)
    }

    /// Reads `path`, absolute inside this root; only a file that no stranger can write.
    pub(super) fn open_file(
        &self,
        path: &Path,
        trust: &Trust,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Result<FoundFile, DebugFileRefusal> {
        let file = self.find(path, trust)?;
        let snapshot =
            FileSnapshot::of(&file, budget, stop).map_err(DebugFileRefusal::from_read)?;
        Ok(FoundFile { snapshot, real_dir: self.real_dir(&link_to(&file)) })
    }

    /// Reads a list of names at `path`: a small file of root's that is compressed by gzip.
    pub(super) fn open_list(
        &self,
        path: &Path,
        budget: &Budget,
        stop: &dyn Fn() -> bool,
    ) -> Result<FoundFile, DebugFileRefusal> {
        let file = self.find(path, &Trust::root())?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|e| DebugFileRefusal::from_open(io::Error::from(e)))?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > symbol_list::MAX_COMPRESSED {
            return Err(DebugFileRefusal::Unread(SnapshotError::TooLarge { size }));
        }
        let snapshot =
            FileSnapshot::of(&file, budget, stop).map_err(DebugFileRefusal::from_read)?;
        if !snapshot.is_gzip() {
            return Err(DebugFileRefusal::NotGzip);
        }
        Ok(FoundFile { snapshot, real_dir: self.real_dir(&link_to(&file)) })
    }

    /// The file at `path`, opened as a path only, if no stranger can write it.
    pub(super) fn find(&self, path: &Path, trust: &Trust) -> Result<OwnedFd, DebugFileRefusal> {
        let file = self.lookup(path).map_err(DebugFileRefusal::from_open)?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|e| DebugFileRefusal::from_open(io::Error::from(e)))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            trust.check(&Owner::of(&stat))?;
        }
        Ok(file)
    }

    /// Whether strangers can put nothing in the place of `path`, a path inside this root without links:
    /// all folders above it are looked at.
    pub(super) fn holds_still(&self, path: &Path, trust: &Trust) -> bool {
        let stat = |folder: &Path| rustix::fs::fstat(self.lookup(folder).ok()?).ok();
        path.is_absolute() && trust.holds_still(path.ancestors().skip(1).map(stat))
    }

    fn lookup(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.dir.find(path)?.into())
    }

    /// The folder inside this root that an opened file really lies in, links resolved.
    fn real_dir(&self, link: &Path) -> Option<PathBuf> {
        let real = std::fs::read_link(link).ok()?;
        let root = self.dir.top().ok()?.kernel_name().ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?).parent()?.to_owned())
    }
}

/// `path` with links resolved where this process can see them.
///
/// The text of `/proc/PID/exe` is a path of the target's mount namespace; resolved here it could
/// lead to another file of that name. So it is the answer as it stands, without the mark of a file
/// that was replaced while it runs.
fn real_path(path: &Path) -> PathBuf {
    match std::fs::read_link(path) {
        Ok(text) if path.starts_with("/proc") => {
            let bytes = text.as_os_str().as_bytes();
            let live = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
            PathBuf::from(OsString::from_vec(live.to_vec()))
        }
        _ => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    }
}

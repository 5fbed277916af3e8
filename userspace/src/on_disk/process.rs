//! A process as a place to read files from: its open descriptors, its root, its current directory.
//! Nothing here opens for writing, and no file is kept open: a file that the process drops must give its
//! blocks back at once.
//!
//! Paths are as the process sees them, so that one in a chroot or another mount namespace is no
//! special case: they are resolved below its own root, symbolic links included.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use foreign_file::{Found, Refusal, Root};
use kernel_text::Lines;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};

use super::error::ProcessError;
use super::stamp::Stamp;

/// Most bytes of a table of mounts that are gone through: `fs.mount-max` is 100,000, and a line seldom has 200 bytes.
pub(super) const MOST_MOUNT_BYTES: u64 = 128 << 20;
/// What the kernel appends to the name of an open file that has been unlinked.
const DELETED: &[u8] = b" (deleted)";

/// A process, held by its `/proc/PID` directory: every access fails once it is gone, even when its
/// pid has been given to another.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    proc: OwnedFd,
}

/// How a process sees its files at one moment.
#[derive(Debug)]
pub struct FileView {
    root: Root,
    /// The current directory; `None` where it lies on a file system that is not read.
    folder: Option<Found>,
    /// The process's root, as *we* see it; what the kernel puts before every path it shows us.
    root_path: PathBuf,
    /// The process's current directory as it sees it.
    pub(crate) cwd: PathBuf,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|error| ProcessError::proc(pid, "", error.into()))?;
        Ok(Self { pid, proc })
    }

    /// How it sees its files now.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn view(&self) -> Result<FileView, ProcessError> {
        let root = Root::of(self.proc.as_fd())
            .map_err(|refusal| ProcessError::proc(self.pid, "root", refusal.into()))?;
        let root_path = self.link("root").map_err(|error| self.error("root", error))?;
        let path = self.link("cwd").map_err(|error| self.error("cwd", error))?;
        let folder = match root.at_link(self.proc.as_fd(), "cwd") {
            Ok(folder) => Some(folder),
            Err(Refusal::Io { source, .. }) => {
                return Err(ProcessError::proc(self.pid, "cwd", source));
            }
            Err(_) => None,
        };
        let cwd = below(&root_path, without_mark(path));
        Ok(FileView { root, folder, root_path, cwd })
    }

    /// Calls `each` with the open descriptors, in the kernel's order (of their numbers); one that is closed meanwhile
    /// may be among them.
    pub(crate) fn for_each_fd(&self, mut each: impl FnMut(u32)) -> Result<(), ProcessError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.proc, "fd", flags, Mode::empty())
            .map_err(|error| self.error("fd", error))?;
        for entry in Dir::new(folder).map_err(|error| self.error("fd", error))? {
            let entry = entry.map_err(|error| self.error("fd", error))?;
            let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            number.into_iter().for_each(&mut each);
        }
        Ok(())
    }

    /// The path of an open descriptor as the process sees it, without the mark of an unlinked file; `None` where it is
    /// none, or closed.
    pub(crate) fn path_of_fd(&self, number: u32, view: &FileView) -> Option<PathBuf> {
        let target = self.link(&format!("fd/{number}")).ok()?;
        target.is_absolute().then(|| below(&view.root_path, without_mark(target)))
    }

    /// What a descriptor of the process leads to.
    pub(crate) fn find_fd(&self, number: u32, view: &FileView) -> Result<Found, Refusal> {
        view.root.at_link(self.proc.as_fd(), &format!("fd/{number}"))
    }

    /// The process's mount table.
    pub(crate) fn mountinfo(&self) -> Result<Lines<BufReader<File>>, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(&self.proc, "mountinfo", flags, Mode::empty())
            .map_err(|error| self.error("mountinfo", error))?;
        Ok(Lines::of(File::from(opened), MOST_MOUNT_BYTES))
    }

    /// An error of reading one of its files.
    pub(crate) fn unreadable(&self, what: &'static str, error: std::io::Error) -> ProcessError {
        ProcessError::proc(self.pid, what, error)
    }

    fn link(&self, entry: &str) -> rustix::io::Result<PathBuf> {
        let target = readlinkat(&self.proc, entry, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    fn error(&self, what: &'static str, error: rustix::io::Errno) -> ProcessError {
        ProcessError::proc(self.pid, what, error.into())
    }
}

impl FileView {
    /// What the process's own path for it leads to.
    pub(crate) fn find(&self, path: &Path) -> Result<Found, Refusal> {
        match (path.strip_prefix(&self.cwd), &self.folder) {
            // The way to the current directory may lead through what we may not see.
            (Ok(rest), Some(folder)) => self.root.find_below(folder, &self.cwd, rest),
            _ => self.root.find(path),
        }
    }

    /// Our own path for what the process calls `path`.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        self.root_path.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn stamp(&self, path: &Path) -> Result<Stamp, Refusal> {
        Stamp::of_found(&self.find(path)?)
    }
}

/// Turns a path that the kernel shows us into the one that a process with this root sees.
fn below(root: &Path, path: PathBuf) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => path, // another mount namespace: the kernel starts at that namespace's own root
    }
}

fn without_mark(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(DELETED) {
        Some(bare) => PathBuf::from(std::ffi::OsStr::from_bytes(bare)),
        None => path,
    }
}

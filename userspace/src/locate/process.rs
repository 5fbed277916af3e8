//! The server's process as a place to read files from: its open descriptors, its root, its data
//! directory. Nothing here opens for writing, and no file is kept open: a file that the server drops
//! must give its blocks back at once.
//!
//! Paths are as the server sees them, so that a server in a chroot or another mount namespace is no
//! special case: they are resolved below its own root, symbolic links included.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};

use super::error::LocateError;
use super::stamp::Stamp;

/// What the kernel appends to the name of an open file that has been unlinked.
const DELETED: &[u8] = b" (deleted)";

/// A process, held by its `/proc/PID` directory: every access fails once it is gone, even when its
/// pid has been given to another.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    proc: OwnedFd,
}

/// One open descriptor of the process.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) number: u32,
    /// As the server sees it, without the mark of an unlinked file.
    pub(crate) path: PathBuf,
}

/// The process's file-system view at one moment.
#[derive(Debug)]
pub(crate) struct View {
    root: OwnedFd,
    /// The process's root, as *we* see it; what the kernel puts before every path it shows us.
    root_path: PathBuf,
    /// The process's current directory as it sees it; mysqld makes its data directory current.
    pub(crate) datadir: PathBuf,
}

impl Process {
    pub(crate) fn open(pid: u32) -> Result<Self, LocateError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())
            .map_err(|error| LocateError::proc(pid, "", error.into()))?;
        Ok(Self { pid, proc })
    }

    pub(crate) fn view(&self) -> Result<View, LocateError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.proc, "root", flags, Mode::empty())
            .map_err(|error| self.error("root", error))?;
        let root_path = self.link("root").map_err(|error| self.error("root", error))?;
        let cwd = self.link("cwd").map_err(|error| self.error("cwd", error))?;
        let datadir = below(&root_path, cwd);
        Ok(View { root, root_path, datadir })
    }

    /// Open descriptors that are files with a path, in order of number.
    pub(crate) fn open_files(&self, view: &View) -> Result<Vec<OpenFile>, LocateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&self.proc, "fd", flags, Mode::empty())
            .map_err(|error| self.error("fd", error))?;
        let mut files = Vec::new();
        for entry in Dir::new(folder).map_err(|error| self.error("fd", error))? {
            let entry = entry.map_err(|error| self.error("fd", error))?;
            let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            let Some(number) = number else { continue };
            // A descriptor that was closed meanwhile is no error.
            let Ok(target) = self.link(&format!("fd/{number}")) else { continue };
            if target.is_absolute() {
                let path = below(&view.root_path, without_mark(target));
                files.push(OpenFile { number, path });
            }
        }
        files.sort_unstable_by_key(|file| file.number);
        Ok(files)
    }

    pub(crate) fn stamp_of_fd(&self, number: u32) -> io::Result<Stamp> {
        Ok(Stamp::of(&self.proc, format!("fd/{number}"), AtFlags::empty())?)
    }

    /// Opens, a second time and for reading, the file behind a descriptor of the process.
    pub(crate) fn open_fd(&self, number: u32) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(openat(&self.proc, format!("fd/{number}"), flags, Mode::empty())?.into())
    }

    /// The process's mount table, in the kernel's text form.
    pub(crate) fn mountinfo(&self) -> Result<String, LocateError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(&self.proc, "mountinfo", flags, Mode::empty())
            .map_err(|error| self.error("mountinfo", error))?;
        let mut bytes = Vec::new();
        File::from(opened)
            .read_to_end(&mut bytes)
            .map_err(|error| LocateError::proc(self.pid, "mountinfo", error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn link(&self, entry: &str) -> rustix::io::Result<PathBuf> {
        let target = readlinkat(&self.proc, entry, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    fn error(&self, what: &'static str, error: rustix::io::Errno) -> LocateError {
        LocateError::proc(self.pid, what, error.into())
    }
}

impl View {
    /// Opens a file or directory by the server's own path for it.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        // A pipe or a terminal in the data directory must not hold us; openat2 refuses the flags
        // that say so beside O_PATH, which opens neither.
        let flags = match flags.contains(OFlags::PATH) {
            true => flags | OFlags::CLOEXEC,
            false => flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let path = match path.strip_prefix("/").unwrap_or(path) {
            root if root.as_os_str().is_empty() => Path::new("."),
            path => path,
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    /// Our own path for what the server calls `path`.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        self.root_path.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Ok(Stamp::of_file(self.open(path, OFlags::PATH)?)?)
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

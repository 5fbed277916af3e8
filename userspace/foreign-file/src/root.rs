//! A root, and the way from there to a file: each step is looked at before the next one.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2, readlinkat};
use rustix::io::Errno;

use crate::found::{Found, Kind};
use crate::mounts::Mounts;
use crate::refusal::Refusal;

/// Links that one name may lead through (`MAXSYMLINKS` of the kernel).
const MOST_LINKS: u32 = 40;
/// Folders that one file may lie below; each takes a descriptor while the way is walked.
const MOST_FOLDERS: usize = 64;
/// Longest name (`PATH_MAX`).
const MOST_BYTES: usize = 4096;
/// How often a step is repeated that a rename elsewhere has disturbed (EAGAIN, openat2(2)).
const MOST_TRIES: usize = 16;

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const FOLDER: OFlags = PATH.union(OFlags::DIRECTORY);

/// The root of a process, with the mounts that may be met below it.
#[derive(Debug)]
pub struct Root {
    /// The type of its file system where that is not read.
    top: Result<Found, String>,
    mounts: Mounts,
}

impl Root {
    /// This process's own.
    ///
    /// # Errors
    /// Where /proc is not there.
    pub fn own() -> Result<Self, Refusal> {
        let proc = open("/proc/self", FOLDER, Mode::empty()).map_err(Refusal::from_errno)?;
        Self::of(proc.as_fd())
    }

    /// That of the process whose `/proc/PID` folder is `proc`.
    ///
    /// # Errors
    /// Where the process is gone or may not be looked at.
    pub fn of(proc: BorrowedFd<'_>) -> Result<Self, Refusal> {
        let top = openat(proc, "root", FOLDER, Mode::empty()).map_err(Refusal::from_errno)?;
        Self::new(top, Mounts::of(proc).map_err(Refusal::from_io)?)
    }

    /// A folder as a root: `/proc/PID/root` with the mounts of that process, or any of ours.
    ///
    /// # Errors
    /// Where it is no folder.
    pub fn at(folder: &Path) -> Result<Self, Refusal> {
        let top = open(folder, FOLDER, Mode::empty()).map_err(Refusal::from_errno)?;
        Self::new(top, Mounts::about(folder))
    }

    // A process in a chroot is not shown what its root lies on. We are, or the first process is.
    fn new(top: OwnedFd, mounts: Mounts) -> Result<Self, Refusal> {
        let top = match mounts.check(top.as_fd()).map_err(Refusal::from_io)? {
            Ok(number) => Ok(Found::new(top, number)?),
            Err(fstype) => Err(fstype),
        };
        Ok(Self { top, mounts })
    }

    /// The root itself.
    ///
    /// # Errors
    /// [`Refusal`] where it lies on a file system that is not read.
    pub fn top(&self) -> Result<&Found, Refusal> {
        let refuse = |fstype: &String| Refusal::not_read(fstype.clone()).of(Path::new("/"));
        self.top.as_ref().map_err(refuse)
    }

    /// What a link in a `/proc/PID` folder (`cwd`, `fd/7`) leads to, wherever that is.
    ///
    /// # Errors
    /// [`Refusal`] where nothing is there, or on a file system that is not read.
    pub fn at_link(&self, proc: BorrowedFd<'_>, link: &str) -> Result<Found, Refusal> {
        let fd = openat(proc, link, PATH, Mode::empty()).map_err(Refusal::from_errno)?;
        self.checked(fd)
    }

    /// What `path` leads to, as a process with this root would find it; links are followed.
    ///
    /// # Errors
    /// [`Refusal`] where nothing is there, or a step leads into a file system that is not read.
    pub fn find(&self, path: &Path) -> Result<Found, Refusal> {
        let walk = Walk { root: self, base: None, way: Vec::new(), ahead: Vec::new() };
        walk.along(path.as_os_str()).map_err(|refusal| refusal.of(path))
    }

    /// The same of a path relative to `base`, a folder whose own path is `base_path`.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_below(
        &self,
        base: &Found,
        base_path: &Path,
        path: &Path,
    ) -> Result<Found, Refusal> {
        let base = Some((base, base_path));
        let walk = Walk { root: self, base, way: Vec::new(), ahead: Vec::new() };
        walk.along(path.as_os_str()).map_err(|refusal| refusal.of(&base_path.join(path)))
    }

    /// One step from a folder, not through a link.
    fn step(&self, from: &Found, name: &OsStr) -> Result<Found, Refusal> {
        let flags = PATH | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MOST_TRIES {
            match openat2(from, name, flags, Mode::empty(), resolve) {
                Ok(fd) => return Found::new(fd, from.mount),
                Err(Errno::AGAIN) => {}
                // Something is mounted there. To open that asks nothing of what is mounted.
                Err(Errno::XDEV) => {
                    let fd = openat(from, name, flags, Mode::empty());
                    return self.checked(fd.map_err(Refusal::from_errno)?);
                }
                Err(error) => return Err(Refusal::from_errno(error)),
            }
        }
        Err(Refusal::from_errno(Errno::AGAIN))
    }

    fn checked(&self, fd: OwnedFd) -> Result<Found, Refusal> {
        let number = self.mounts.check(fd.as_fd()).map_err(Refusal::from_io)?;
        Found::new(fd, number.map_err(Refusal::not_read)?)
    }
}

/// A walk from a root, or from a folder below it.
struct Walk<'a> {
    root: &'a Root,
    /// Where it began, with its path; `None` for the root.
    base: Option<(&'a Found, &'a Path)>,
    /// The folders that it has come through since.
    way: Vec<Found>,
    /// What is still to go, the next step last.
    ahead: Vec<OsString>,
}

impl Walk<'_> {
    fn along(mut self, path: &OsStr) -> Result<Found, Refusal> {
        self.put(path)?;
        let mut links = 0;
        while let Some(step) = self.ahead.pop() {
            if step == "/" {
                self.way.clear();
                self.base = None;
            } else if step == ".." {
                if self.way.pop().is_none()
                    && let Some((_, path)) = self.base.take()
                {
                    // Above it only its own path leads on.
                    self.put(path.parent().unwrap_or(Path::new("/")).as_os_str())?;
                }
            } else {
                let found = self.root.step(self.here()?, &step)?;
                if found.kind != Kind::Link {
                    if self.way.len() == MOST_FOLDERS {
                        return Err(Refusal::from_errno(Errno::NAMETOOLONG));
                    }
                    self.way.push(found);
                    continue;
                }
                links += 1;
                if links > MOST_LINKS {
                    return Err(Refusal::from_errno(Errno::LOOP));
                }
                let target = readlinkat(&found, c"", Vec::new()).map_err(Refusal::from_errno)?;
                self.put(&OsString::from_vec(target.into_bytes()))?;
            }
        }
        match self.way.pop() {
            Some(found) => Ok(found),
            None => self.here()?.again(),
        }
    }

    /// Where it stands.
    fn here(&self) -> Result<&Found, Refusal> {
        match (self.way.last(), self.base) {
            (Some(folder), _) | (None, Some((folder, _))) => Ok(folder),
            (None, None) => self.root.top(),
        }
    }

    /// Puts a path before what is still to go.
    fn put(&mut self, path: &OsStr) -> Result<(), Refusal> {
        if path.len() > MOST_BYTES {
            return Err(Refusal::from_errno(Errno::NAMETOOLONG));
        }
        let steps = Path::new(path).components().filter(|step| *step != Component::CurDir);
        self.ahead.extend(steps.rev().map(|step| step.as_os_str().to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn inode(found: &Found) -> u64 {
        rustix::fs::fstat(found).unwrap().st_ino
    }

    /// A process in the folder `base` finds what the kernel would find for it.
    #[test]
    fn links_and_dots_lead_where_the_kernel_leads() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap().join("data");
        fs::create_dir_all(base.join("shop")).unwrap();
        fs::create_dir_all(folder.path().join("other/deep")).unwrap();
        fs::write(folder.path().join("other/deep/t.ibd"), "t").unwrap();
        fs::write(folder.path().join("other/u.ibd"), "u").unwrap();
        symlink("../other/deep", base.join("linked")).unwrap();
        symlink(folder.path().join("other"), base.join("absolute")).unwrap();
        symlink("../../other/./u.ibd", base.join("shop/u.ibd")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let root = Root::own().unwrap();
        let found = root.find(&base).unwrap();
        for name in [
            "linked/t.ibd",
            "linked/../u.ibd",
            "absolute/u.ibd",
            "shop/u.ibd",
            "shop/../shop/u.ibd",
            "../other/u.ibd",
            "..",
            ".",
            "shop",
            "../../../../../../../../../etc/passwd",
        ] {
            let expected = fs::metadata(base.join(name)).unwrap().ino();
            assert_eq!(inode(&root.find(&base.join(name)).unwrap()), expected, "{name}");
            let below = root.find_below(&found, &base, Path::new(name)).unwrap();
            assert_eq!(inode(&below), expected, "{name} from the folder");
        }
        assert!(root.find(&base.join("loop")).is_err());
        assert!(root.find(&base.join("nothing")).unwrap_err().is_not_found());
        let deep = "x/".repeat(3000);
        assert!(root.find(Path::new(&deep)).is_err());
    }

    /// What asks the kernel, acts or waits is not opened, by whatever name it is reached.
    #[test]
    fn only_files_that_are_kept_somewhere_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("t.ibd");
        let refused = |target: &str| {
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            crate::open(&link).unwrap_err()
        };
        for target in ["/proc/self/mem", "/proc/kmsg", "/sys/kernel/uevent_seqnum"] {
            let refusal = refused(target);
            assert!(matches!(refusal, Refusal::FileSystem { .. }), "{target}: {refusal}");
            assert!(refusal.hint().is_some());
        }
        let (pipe, _writer) = std::io::pipe().unwrap();
        let pipe = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        for target in ["/dev/full", "/dev/zero", "/tmp", "/dev/null", &pipe] {
            let refusal = refused(target);
            let none = matches!(refusal, Refusal::NoFile { .. } | Refusal::FileSystem { .. });
            assert!(none, "{target}: {refusal}");
        }
        let long = folder.path().join("long");
        fs::write(&long, [7; 100]).unwrap();
        assert_eq!(crate::read(&long, 100).unwrap(), [7; 100]);
        let refusal = crate::read(&long, 99).unwrap_err();
        assert_eq!(refusal.to_string(), format!("`{}` is longer than 99 bytes", long.display()));
    }
}

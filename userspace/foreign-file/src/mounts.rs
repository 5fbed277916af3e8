//! Which mounts may be read, and who has made them: by the kernel's number of a mount, before anything is asked
//! of its file system.
//!
//! A file system that a user's program answers for makes whoever asks wait as long as that user likes, in a state
//! that SIGKILL does not end. Every user may mount FUSE in a user namespace of its own, and an overlay on top of it
//! that looks like a container's. So a mount is sorted by what stands behind it:
//!
//! | what answers | such as | is read |
//! |---|---|---|
//! | the kernel, from memory or a disk | ext4, zfs, tmpfs | wherever it is mounted |
//! | another program, another machine, or file systems below it | FUSE, NFS, overlay | where root has mounted it |
//! | nobody: each file is a question to the kernel | proc, sysfs, what is unknown here | never |
//!
//! Root of the machine (or of the container that we run in) has mounted what our own table of mounts or that of
//! process 1 names, by its number or by its device, which is one superblock's; and what the table of a process names
//! that lives in our own user namespace or in that of process 1. A container's overlay is the first or the last of
//! these; that of a container without root is neither. Root shares its mounts with a user's namespace,
//! and never the other way round (mount_namespaces(7)).
//!
//! A mount that holds the root of a process which was put into a folder (chroot(2)) is in that process's table only
//! where the folder is a mount itself. It is known by the device of the file then, as the kernel remembers it: the
//! question goes with `AT_STATX_DONT_SYNC`, which file systems answer without asking anybody (statx(2)).
//!
//! On btrfs that device is one of the subvolume's own, which no table names, and asking the file system what it is
//! would be asking whoever answers for it: a server that chroot(2) has put there, in a mount namespace of its own, lies on
//! `an unknown mount`. Its folder bound to itself (`mount --bind DIR DIR`) before is a mount that its table has.
//!
//! Nothing less closes this. Files could be opened and read by a process that holds no probes, but setting a probe
//! reads the program's page too (`uprobe_register`), in the process that holds them all.
//!
//! Tables are read after the file was opened as a path, which asks nothing and keeps the numbers of its mount and of
//! its superblock from being given to others. The user namespace is looked at after the table: a process can go to a
//! lesser one in between, and never come back.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rustix::fs::{
    AtFlags, MemfdFlags, Mode, OFlags, StatxFlags, memfd_create, open, openat, readlinkat, statx,
};
use rustix::io::Errno;

use crate::refused::{self, View};

/// Longest table of mounts: `fs.mount-max` is 100,000, and a line seldom has 200 bytes.
const MOST_BYTES: u64 = 32 << 20;
/// Mounts that are remembered, each by a descriptor.
const MOST_JUDGED: usize = 32;

/// File systems without a block device of their own that the kernel answers for.
const OF_KERNEL: [&str; 9] =
    ["bcachefs", "btrfs", "devtmpfs", "hugetlbfs", "ramfs", "rootfs", "tmpfs", "ubifs", "zfs"];

/// Those that something else answers for, FUSE not among them.
const OF_OTHERS: [&str; 17] = [
    "9p",
    "afs",
    "aufs",
    "beegfs",
    "ceph",
    "cifs",
    "ecryptfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "orangefs",
    "overlay",
    "smb3",
    "vboxsf",
    "virtiofs",
];

/// The mounts that one process sees, and ours.
///
/// A mount that may be read is remembered as long as this, by a descriptor that keeps its number; one that may not is
/// remembered by `refused.rs`, and holds nobody's mount busy.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// Its `/proc/PID` folder; none where that is ours.
    proc: Option<OwnedFd>,
    judged: Mutex<Vec<Judged>>,
}

/// A mount that may be read, and keeps its number as long as the descriptor is open.
#[derive(Debug)]
struct Judged {
    number: u64,
    _on_it: OwnedFd,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    number: u64,
    /// `MAJOR:MINOR` of the superblock.
    device: Box<str>,
    fstype: Box<str>,
    answers: Answers,
}

/// What stands behind a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Kernel,
    /// It may keep us waiting.
    Others,
    /// FUSE that another user than root has mounted, or had mounted for it.
    User,
    /// It keeps no files.
    Nobody,
}

impl Mounts {
    /// As the process sees them whose `/proc/PID` folder is `proc`.
    pub(crate) fn of(proc: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { proc: Some(proc.try_clone_to_owned()?), ..Self::default() })
    }

    /// As the process sees them that a path below `/proc/PID` is about; only ours for any other path.
    pub(crate) fn about(path: &Path) -> Self {
        let is_of_process = |folder: &&Path| folder.parent() == Some(Path::new("/proc"));
        let folder = path.ancestors().find(is_of_process);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = folder.and_then(|folder| open(folder, flags, Mode::empty()).ok());
        Self { proc, ..Self::default() }
    }

    /// The number of the mount that `fd` was opened through, where files on it may be read; else what it is.
    pub(crate) fn check(&self, fd: BorrowedFd<'_>) -> io::Result<Result<u64, String>> {
        let number = number(fd)?;
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.iter().any(|known| known.number == number) {
            return Ok(Ok(number));
        }
        let verdict = self.look_up(fd, number)?;
        if verdict.is_ok() && judged.len() < MOST_JUDGED {
            judged.push(Judged { number, _on_it: fd.try_clone_to_owned()? });
        }
        Ok(verdict.map(|()| number))
    }

    /// As [`check`](Self::check) of what a process holds already, which may also be memory (memfd_create(2), shmget(2)).
    pub(crate) fn check_held(&self, fd: BorrowedFd<'_>) -> io::Result<Result<u64, String>> {
        let number = number(fd)?;
        if memory().contains(&number) { Ok(Ok(number)) } else { self.check(fd) }
    }

    /// # Errors
    /// When a table cannot be read for want of descriptors or memory: nothing is known then, and nothing remembered.
    fn look_up(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<Result<(), String>> {
        let key = refused::MountViewer::of(self.proc.as_ref().map(|proc| proc.as_fd()));
        if let Some(why) = refused::known(&key, number, Instant::now()) {
            return Ok(Err(why));
        }
        let verdict = self.judge(fd, number)?;
        if let Err(why) = &verdict {
            refused::remember(&key, number, why, Instant::now(), || self.view());
        }
        Ok(verdict)
    }

    /// All mounts at once, as [`judge`](Self::judge) finds them.
    fn view(&self) -> View {
        let (mut view, mut of_root) = (View::default(), HashSet::new());
        for table in tables_of_root().flatten() {
            each(table, |mount| {
                view.add(mount.number, mount.read_if(|| true).err().as_deref());
                if mount.answers == Answers::Others {
                    of_root.insert((mount.device, mount.fstype));
                }
            });
        }
        let Some(proc) = &self.proc else { return view };
        let Ok(table) = table(proc.as_fd()) else { return view };
        let is_roots_own = is_of_root(proc.as_fd());
        each(table, |mount| {
            let is_of_root =
                || is_roots_own || of_root.contains(&(mount.device.clone(), mount.fstype.clone()));
            view.add(mount.number, mount.read_if(is_of_root).err().as_deref());
        });
        view
    }

    fn judge(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<Result<(), String>> {
        if let Some(mount) = of_root(|mount| mount.number == number)? {
            return Ok(mount.read_if(|| true));
        }
        let found = match &self.proc {
            None => None,
            Some(proc) => of_process(proc.as_fd(), number)?.map(|mount| (proc, mount)),
        };
        let Some((proc, mount)) = found else {
            let known = match device(fd) {
                None => None,
                Some(device) => of_root(|mount| *mount.device == *device)?,
            };
            let unknown = || Err(refused::UNKNOWN.to_owned());
            return Ok(known.map_or_else(unknown, |it| it.read_if(|| true)));
        };
        let is_same =
            |other: &Mount| (&other.device, &other.fstype) == (&mount.device, &mount.fstype);
        let is_of_root = is_of_root(proc.as_fd()) || of_root(is_same)?.is_some();
        Ok(mount.read_if(|| is_of_root))
    }
}

impl Mount {
    fn read_if(&self, is_of_root: impl FnOnce() -> bool) -> Result<(), String> {
        match self.answers {
            Answers::Kernel => Ok(()),
            Answers::Others if is_of_root() => Ok(()),
            Answers::Others | Answers::User => {
                Err(format!("{} that a user has mounted", self.fstype))
            }
            Answers::Nobody => Err(self.fstype.to_string()),
        }
    }
}

/// The first mount of our own table, or of that of process 1, that `wanted` is true of.
fn of_root(wanted: impl Fn(&Mount) -> bool) -> io::Result<Option<Mount>> {
    for table in tables_of_root() {
        if let Some(mount) = find(table?, &wanted) {
            return Ok(Some(mount));
        }
    }
    Ok(None)
}

/// The mount of this number in a process's table; nothing where the process is gone or not shown to us.
fn of_process(proc: BorrowedFd<'_>, number: u64) -> io::Result<Option<Mount>> {
    match table(proc) {
        Err(error) if is_ours(&error) => Err(error),
        table => Ok(table.ok().and_then(|table| find(table, |mount| mount.number == number))),
    }
}

/// Our own, and that of process 1, each opened when it is its turn.
fn tables_of_root() -> impl Iterator<Item = io::Result<Table>> {
    ["/proc/thread-self", "/proc/1"].iter().filter_map(|proc| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open(*proc, flags, Mode::empty()).map_err(io::Error::from);
        match opened.and_then(|proc| table(proc.as_fd())) {
            Err(error) if !is_ours(&error) => None,
            table => Some(table),
        }
    })
}

/// Whether we lack something that has nothing to do with whose table it is.
fn is_ours(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Whether a process lives in our own user namespace, or in that of process 1: only root of it mounts anything there.
fn is_of_root(proc: BorrowedFd<'_>) -> bool {
    let Ok(its) = readlinkat(proc, "ns/user", Vec::new()) else { return false };
    let ours = ["/proc/self/ns/user", "/proc/1/ns/user"];
    ours.iter().any(|ours| rustix::fs::readlink(*ours, Vec::new()).is_ok_and(|ours| ours == its))
}

type Table = io::Take<File>;

fn table(proc: BorrowedFd<'_>) -> io::Result<Table> {
    #[cfg(test)]
    tests::TABLES.set(tests::TABLES.get() + 1);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(openat(proc, "mountinfo", flags, Mode::empty())?).take(MOST_BYTES))
}

/// The first mount that `wanted` is true of; nothing else of a table is kept.
fn find(table: Table, wanted: impl Fn(&Mount) -> bool) -> Option<Mount> {
    mounts(table).find(wanted)
}

fn each(table: Table, with: impl FnMut(Mount)) {
    mounts(table).for_each(with);
}

/// What a table names; any other line is passed over.
fn mounts(table: Table) -> impl Iterator<Item = Mount> {
    let lines = BufReader::new(table).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| Mount::parse(&String::from_utf8_lossy(&line)))
}

/// The number of the mount through which a descriptor was opened. Nothing is asked of the file system.
fn number(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut text = String::new();
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `MAJOR:MINOR` of the file system that a file is on, as far as the kernel knows it without asking anybody.
fn device(fd: BorrowedFd<'_>) -> Option<String> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let seen = statx(fd, "", flags, StatxFlags::empty()).ok()?;
    Some(format!("{}:{}", seen.stx_dev_major, seen.stx_dev_minor))
}

/// The kernel's own mounts for memory without a name; no table has them.
fn memory() -> &'static [u64] {
    static NUMBERS: OnceLock<Vec<u64>> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let huge = MemfdFlags::HUGETLB;
        let kinds =
            [MemfdFlags::empty(), huge, huge | MemfdFlags::HUGE_2MB, huge | MemfdFlags::HUGE_1GB];
        let made = kinds.map(|kind| memfd_create("mount", MemfdFlags::CLOEXEC | kind));
        made.iter().flatten().filter_map(|memory| number(memory.as_fd()).ok()).collect()
    })
}

impl Mount {
    /// ```text
    /// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    /// id parent device root point options optional... - fstype source options
    /// ```
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ');
        let number = head.next()?.parse().ok()?;
        let device = head.nth(1)?;
        let major: u32 = device.split_once(':')?.0.parse().ok()?;
        let mut tail = tail.split(' ');
        let fstype = tail.next()?;
        let is_fuse = ["fuse", "fuseblk"].contains(&fstype.split('.').next().unwrap_or_default());
        let answers = if is_fuse {
            match tail.nth(1)?.split(',').any(|option| option == "user_id=0") {
                true => Answers::Others,
                false => Answers::User,
            }
        } else if OF_OTHERS.contains(&fstype) {
            Answers::Others
        } else if major != 0 || OF_KERNEL.contains(&fstype) {
            Answers::Kernel
        } else {
            Answers::Nobody
        };
        Some(Self { number, device: device.into(), fstype: fstype.into(), answers })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Tables of mounts that this thread has read.
        pub(super) static TABLES: Cell<u32> = const { Cell::new(0) };
    }

    /// Whoever has thousands of files on what is not read costs a table each, once.
    #[test]
    fn a_refused_mount_is_looked_up_once() {
        let proc = Path::new("/proc/self/fd/3");
        // One that our table has, and one that no table has.
        let files =
            [File::open("/proc/self/status").unwrap(), File::open("/proc/self/ns/net").unwrap()];
        TABLES.set(0);
        for file in files.iter().cycle().take(2000) {
            assert!(Mounts::about(proc).check(file.as_fd()).unwrap().is_err());
        }
        assert!(TABLES.get() < 200, "{} tables were read", TABLES.get());
    }

    /// Or on as many mounts: a table judges all that it names.
    #[test]
    fn thousands_of_refused_mounts_are_looked_up_at_once() {
        const COUNT: u64 = 2000;
        // As the kernel shows a process whose user has mounted so many, in namespaces of its own.
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("ns")).unwrap();
        for name in ["user", "mnt"] {
            std::os::unix::fs::symlink("thousands", proc.path().join("ns").join(name)).unwrap();
        }
        let numbers = || (0..COUNT).map(|n| u64::from(u32::MAX) + n);
        let line = |n| format!("{n} 1 0:9 / /m rw - fuse.sshfs h: rw,user_id=1000,group_id=1000\n");
        std::fs::write(proc.path().join("mountinfo"), numbers().map(line).collect::<String>())
            .unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(proc.path(), flags, Mode::empty()).unwrap();
        TABLES.set(0);
        let since = Instant::now();
        for number in numbers() {
            let mounts = Mounts::of(folder.as_fd()).unwrap();
            let verdict = mounts.look_up(folder.as_fd(), number).unwrap();
            assert_eq!(verdict, Err("fuse.sshfs that a user has mounted".to_owned()));
        }
        let (tables, took) = (TABLES.get(), since.elapsed());
        println!("{tables} tables in {took:?}");
        assert!(u64::from(tables) < COUNT / 10, "{tables} tables were read in {took:?}");
    }

    #[test]
    fn file_systems_are_told_by_what_answers() {
        use Answers::{Kernel, Nobody, Others, User};
        let cases = [
            ("22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw", Kernel),
            ("23 1 0:9 / /db rw - nfs4 h:/e rw,vers=4.2", Others),
            ("24 1 0:10 / /o rw - overlay overlay rw,lowerdir=/a", Others),
            ("25 1 0:11 / /proc rw - proc proc rw", Nobody),
            ("26 1 0:12 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", Nobody),
            ("27 1 0:13 / /dev/pts rw - devpts devpts rw", Nobody),
            ("28 1 0:14 / /g rw - fuse.glusterfs h:/v rw,user_id=0,group_id=0,allow_other", Others),
            ("29 1 0:15 / /m rw - fuse.sshfs h: rw,user_id=1000,group_id=1000,allow_other", User),
            ("30 1 8:17 / /n rw - fuseblk /dev/sdb1 rw,user_id=1000,blksize=4096", User),
            ("33 1 8:18 / /n rw - fuseblk.ntfs /dev/sdb2 rw,user_id=1000,blksize=4096", User),
            ("31 1 0:16 / /x rw - newfs none rw", Nobody),
            ("32 1 0:17 / /t rw - tmpfs none rw", Kernel),
        ];
        for (line, expected) in cases {
            let mount = Mount::parse(line).unwrap();
            assert_eq!(mount.answers, expected, "{line}");
            let read = |is_of_root| mount.read_if(|| is_of_root).is_ok();
            assert_eq!(read(true), matches!(expected, Kernel | Others), "{line}");
            assert_eq!(read(false), expected == Kernel, "{line}");
        }
        for hostile in ["", "-", " - ", "1 2 - ext4", "1 2 8:1 / / rw - fuse", "x 2 8:1 - ext4 a b"]
        {
            assert_eq!(Mount::parse(hostile), None, "{hostile}");
        }
    }

    /// Memory of a process has no line in any table; it is read only where a process holds it.
    #[test]
    fn memory_that_is_held_is_read() {
        let held = memfd_create("held", MemfdFlags::CLOEXEC).unwrap();
        let mounts = Mounts::about(Path::new("/proc/self/fd/3"));
        assert!(mounts.proc.is_some());
        assert!(mounts.check_held(held.as_fd()).unwrap().is_ok());
        assert_eq!(mounts.check(held.as_fd()).unwrap(), Err("an unknown mount".to_owned()));
    }
}

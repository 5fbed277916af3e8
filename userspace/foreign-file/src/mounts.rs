//! Which mounts may be read, by the kernel's number of the mount (proc_pid_mountinfo(5)).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

/// Longest table of mounts: `fs.mount-max` is 100,000, and a line seldom has 200 bytes.
const MOST_BYTES: u64 = 32 << 20;

/// File systems without a block device of their own that keep files.
const KEEPERS: [&str; 25] = [
    "9p",
    "afs",
    "aufs",
    "bcachefs",
    "beegfs",
    "btrfs",
    "ceph",
    "cifs",
    "devtmpfs",
    "ecryptfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "orangefs",
    "overlay",
    "ramfs",
    "rootfs",
    "smb3",
    "tmpfs",
    "ubifs",
    "vboxsf",
    "virtiofs",
    "zfs",
];

/// The mounts of one or more namespaces; numbers are the kernel's own, over all of them.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    by_number: HashMap<u64, Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    readable: bool,
    fstype: Box<str>,
}

impl Mounts {
    /// Adds the mounts that the process sees whose `/proc/PID` folder is `proc`.
    pub(crate) fn add(&mut self, proc: BorrowedFd<'_>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened: OwnedFd = openat(proc, "mountinfo", flags, Mode::empty())?;
        for line in BufReader::new(File::from(opened).take(MOST_BYTES)).split(b'\n') {
            let line = line?;
            if let Some((number, mount)) = parse(&String::from_utf8_lossy(&line)) {
                self.by_number.insert(number, mount);
            }
        }
        Ok(())
    }

    /// Whether files on a mount may be read; its file system's type where not.
    pub(crate) fn check(&self, number: u64) -> Result<(), String> {
        match self.by_number.get(&number) {
            Some(mount) if mount.readable => Ok(()),
            Some(mount) => Err(mount.fstype.to_string()),
            None => Err("an unknown mount".to_owned()),
        }
    }
}

/// The number of the mount through which a descriptor was opened. Nothing is asked of the file system.
pub(crate) fn number(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut text = String::new();
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// ```text
/// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
/// id parent device root point options optional... - fstype source options
/// ```
fn parse(line: &str) -> Option<(u64, Mount)> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ');
    let number = head.next()?.parse().ok()?;
    let (major, _) = head.nth(1)?.split_once(':')?;
    let mut tail = tail.split(' ');
    let fstype = tail.next()?;
    let on_device = major.parse::<u32>().ok()? != 0;
    let readable = if fstype == "fuse" || fstype == "fuseblk" || fstype.starts_with("fuse.") {
        // Who has mounted it answers for it, or does not.
        tail.nth(1)?.split(',').any(|option| option == "user_id=0")
    } else {
        on_device || KEEPERS.contains(&fstype)
    };
    Some((number, Mount { readable, fstype: fstype.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_keep_files_are_read() {
        let readable = |line: &str| parse(line).map(|(number, mount)| (number, mount.readable));
        let cases = [
            ("22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw", true),
            ("23 1 0:9 / /db rw - nfs4 h:/e rw,vers=4.2", true),
            ("24 1 0:10 / /o rw - overlay overlay rw,lowerdir=/a", true),
            ("25 1 0:11 / /proc rw - proc proc rw", false),
            ("26 1 0:12 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", false),
            ("27 1 0:13 / /dev/pts rw - devpts devpts rw", false),
            ("28 1 0:14 / /g rw - fuse.glusterfs h:/v rw,user_id=0,group_id=0,allow_other", true),
            ("29 1 0:15 / /m rw - fuse.sshfs h: rw,user_id=1000,group_id=1000,allow_other", false),
            ("30 1 8:17 / /n rw - fuseblk /dev/sdb1 rw,user_id=1000,blksize=4096", false),
            ("31 1 0:16 / /x rw - newfs none rw", false),
        ];
        for (line, expected) in cases {
            assert_eq!(readable(line).map(|(_, readable)| readable), Some(expected), "{line}");
        }
        for hostile in ["", "-", " - ", "1 2 - ext4", "1 2 8:1 / / rw - fuse", "x 2 8:1 - ext4 a b"]
        {
            let _ = readable(hostile);
        }
    }
}

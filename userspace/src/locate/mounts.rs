//! The server's mount table, and what kind of storage a file system stands on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ids::DeviceId;
use super::reason::NotOnDisk;
use super::stamp::Stamp;

/// A file on a share: the destination reads it by name, from the same server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// File-system type, as the kernel names it (`nfs4`, `virtiofs`, `9p`, `cifs`, `fuse.x`).
    pub fstype: String,
    /// What is mounted (`server:/export`, a virtiofs tag, ...).
    pub source: String,
    /// The file's path below the mounted thing.
    pub path: PathBuf,
}

/// What a file's extents are addresses of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// A file system on this one block device.
    Device(DeviceId),
    /// The same, where a file may lie on a second device that has no number here (XFS).
    DeviceOrRealtime(DeviceId),
    Share(Share),
}

/// The mounts that the server sees, and those that we see: a server in a chroot is not shown what
/// its root lies on. The kernel numbers mounts over all namespaces, so that one list can hold both.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    mounts: Vec<Mount>,
}

/// A file's two names: mount points are given in one or the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// As the server sees it.
    pub(crate) inside: &'a Path,
    /// As we see it.
    pub(crate) outside: &'a Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Inside,
    Outside,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: DeviceId,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
    /// Who sees it there.
    seen: Seen,
    fstype: String,
    source: String,
}

impl Mounts {
    /// Reads the server's `mountinfo` and our own (proc_pid_mountinfo(5)); a line that makes no
    /// sense is left out.
    pub(crate) fn parse(inside: &str, outside: &str) -> Self {
        let lines = |text: &str, seen| {
            text.lines().filter_map(|line| Mount::parse(line, seen)).collect::<Vec<_>>()
        };
        let mut mounts = lines(inside, Seen::Inside);
        mounts.extend(lines(outside, Seen::Outside));
        Self { mounts }
    }

    /// What a file stands on.
    pub(crate) fn backing(&self, stamp: &Stamp, names: Names<'_>) -> Result<Backing, NotOnDisk> {
        let device = stamp.inode.device;
        let by_id = self.mounts.iter().find(|mount| mount.id == stamp.mount);
        let by_device = || self.mounts.iter().find(|mount| mount.device == device);
        let mount = by_id.or_else(by_device).ok_or(NotOnDisk::UnknownDevice)?;
        match mount.fstype.as_str() {
            "ext2" | "ext3" | "ext4" => Ok(Backing::Device(device)),
            "xfs" => Ok(Backing::DeviceOrRealtime(device)),
            "btrfs" | "bcachefs" | "zfs" => Err(NotOnDisk::CopyOnWrite),
            "overlay" => Err(NotOnDisk::Overlay),
            fstype if is_share(fstype) => {
                let name = match mount.seen {
                    Seen::Inside => names.inside,
                    Seen::Outside => names.outside,
                };
                let below = name.strip_prefix(&mount.point);
                let below = below.map_err(|_| NotOnDisk::UnknownDevice)?;
                Ok(Backing::Share(Share {
                    fstype: mount.fstype.clone(),
                    source: mount.source.clone(),
                    path: mount.root.join(below),
                }))
            }
            _ => Err(NotOnDisk::UnsupportedFilesystem),
        }
    }
}

fn is_share(fstype: &str) -> bool {
    const SHARES: [&str; 8] = ["nfs", "nfs4", "virtiofs", "9p", "cifs", "smb3", "ceph", "fuse"];
    SHARES.contains(&fstype) || fstype.starts_with("fuse.")
}

impl Mount {
    /// ```text
    /// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    /// id parent device root point options optional... - fstype source options
    /// ```
    fn parse(line: &str, seen: Seen) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ');
        let mut tail = tail.split(' ');
        Some(Self {
            id: head.next()?.parse().ok()?,
            device: DeviceId::parse(head.nth(1)?)?,
            root: unescape(head.next()?).into(),
            point: unescape(head.next()?).into(),
            seen,
            fstype: tail.next()?.into(),
            source: unescape(tail.next()?).to_string_lossy().into(),
        })
    }
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:41 /exports/db /var/lib/my\\040sql rw,relatime - nfs4 10.0.0.9:/exports/db rw,vers=4.2
41 22 0:42 / /data rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
42 22 0:43 / /pool rw - btrfs /dev/vdb rw
43 22 0:44 / /shm rw - tmpfs tmpfs rw
";
    const OUTSIDE: &str = "90 22 0:50 / /jail/data rw - virtiofs pool rw\n";

    fn stamp(device: DeviceId) -> Stamp {
        let mut stamp = Stamp::of_file(tempfile::tempfile().unwrap()).unwrap();
        stamp.inode.device = device;
        stamp.mount = 0;
        stamp
    }

    #[test]
    fn file_systems_sort_into_devices_shares_and_reasons() {
        let mounts = Mounts::parse(TABLE, OUTSIDE);
        let of = |minor, path: &str| {
            let device = DeviceId { major: if minor == 0 { 254 } else { 0 }, minor };
            let outside = Path::new("/jail").join(path.trim_start_matches('/'));
            let names = Names { inside: Path::new(path), outside: &outside };
            mounts.backing(&stamp(device), names)
        };
        let disk = Backing::Device(DeviceId { major: 254, minor: 0 });
        assert_eq!(of(0, "/var/lib/mysql/t.ibd"), Ok(disk));
        let share = Share {
            fstype: "nfs4".into(),
            source: "10.0.0.9:/exports/db".into(),
            path: "/exports/db/shop/t.ibd".into(),
        };
        assert_eq!(of(41, "/var/lib/my sql/shop/t.ibd"), Ok(Backing::Share(share)));
        let share =
            Share { fstype: "virtiofs".into(), source: "pool".into(), path: "/t.ibd".into() };
        assert_eq!(of(50, "/data/t.ibd"), Ok(Backing::Share(share)));
        assert_eq!(of(42, "/data/t.ibd"), Err(NotOnDisk::Overlay));
        assert_eq!(of(43, "/pool/t.ibd"), Err(NotOnDisk::CopyOnWrite));
        assert_eq!(of(44, "/shm/t.ibd"), Err(NotOnDisk::UnsupportedFilesystem));
        assert_eq!(of(99, "/nowhere/t.ibd"), Err(NotOnDisk::UnknownDevice));
    }

    proptest! {
        /// Whatever a line holds, reading it comes to an end, and every mount has its fields.
        #[test]
        fn any_line_is_read(line in "[ -~]{0,80}") {
            let _ = Mounts::parse(&line, &line);
        }
    }
}

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

/// The mounts of one process.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    mounts: Vec<Mount>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: DeviceId,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    /// Where, as the process sees it.
    point: PathBuf,
    fstype: String,
    source: String,
}

impl Mounts {
    /// Reads `/proc/PID/mountinfo` (proc_pid_mountinfo(5)); a line that makes no sense is left out.
    pub(crate) fn parse(mountinfo: &str) -> Self {
        Self { mounts: mountinfo.lines().filter_map(Mount::parse).collect() }
    }

    /// What the file at `path` (as the process sees it) stands on.
    pub(crate) fn backing(&self, stamp: &Stamp, path: &Path) -> Result<Backing, NotOnDisk> {
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
                let inside = path.strip_prefix(&mount.point);
                let inside = inside.map_err(|_| NotOnDisk::UnknownDevice)?;
                Ok(Backing::Share(Share {
                    fstype: mount.fstype.clone(),
                    source: mount.source.clone(),
                    path: mount.root.join(inside),
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
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ');
        let mut tail = tail.split(' ');
        Some(Self {
            id: head.next()?.parse().ok()?,
            device: DeviceId::parse(head.nth(1)?)?,
            root: unescape(head.next()?).into(),
            point: unescape(head.next()?).into(),
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

    fn stamp(device: DeviceId) -> Stamp {
        let mut stamp = Stamp::of_file(tempfile::tempfile().unwrap()).unwrap();
        stamp.inode.device = device;
        stamp.mount = 0;
        stamp
    }

    #[test]
    fn file_systems_sort_into_devices_shares_and_reasons() {
        let mounts = Mounts::parse(TABLE);
        let of = |minor, path: &str| {
            let device = DeviceId { major: if minor == 0 { 254 } else { 0 }, minor };
            mounts.backing(&stamp(device), Path::new(path))
        };
        let disk = Backing::Device(DeviceId { major: 254, minor: 0 });
        assert_eq!(of(0, "/var/lib/mysql/t.ibd"), Ok(disk));
        let share = Share {
            fstype: "nfs4".into(),
            source: "10.0.0.9:/exports/db".into(),
            path: "/exports/db/shop/t.ibd".into(),
        };
        assert_eq!(of(41, "/var/lib/my sql/shop/t.ibd"), Ok(Backing::Share(share)));
        assert_eq!(of(42, "/data/t.ibd"), Err(NotOnDisk::Overlay));
        assert_eq!(of(43, "/pool/t.ibd"), Err(NotOnDisk::CopyOnWrite));
        assert_eq!(of(44, "/shm/t.ibd"), Err(NotOnDisk::UnsupportedFilesystem));
        assert_eq!(of(99, "/nowhere/t.ibd"), Err(NotOnDisk::UnknownDevice));
    }

    proptest! {
        /// Whatever a line holds, reading it comes to an end, and every mount has its fields.
        #[test]
        fn any_line_is_read(line in "[ -~]{0,80}") {
            let _ = Mounts::parse(&line);
        }
    }
}

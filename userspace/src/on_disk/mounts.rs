//! A process's mount table, and what kind of storage a file system stands on.
//!
//! A process may have 100,000 mounts with three long paths each, so the table is gone through line by line, and only
//! the mounts are kept through which the files in question were seen.

use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use kernel_text::Lines;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::ids::DeviceId;
use super::stamp::Stamp;
use super::unmapped::Unmapped;

/// Most bytes of names of shares that are kept: files on others have no place.
const MOST_SHARE_BYTES: usize = 2 << 20;

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

impl Share {
    /// Bytes of its names.
    pub(super) fn bytes(&self) -> usize {
        self.fstype.len() + self.source.len() + self.path.as_os_str().len()
    }
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

/// The mounts that matter: those through which files were seen, or another one of the same file system.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    numbers: FxHashSet<u64>,
    devices: FxHashSet<DeviceId>,
}

impl<'a> FromIterator<&'a Stamp> for Wanted {
    fn from_iter<T: IntoIterator<Item = &'a Stamp>>(stamps: T) -> Self {
        let mut wanted = Self::default();
        for stamp in stamps {
            wanted.numbers.insert(stamp.mount);
            wanted.devices.insert(stamp.inode.device);
        }
        wanted
    }
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

/// The mounts that the process sees, and those that we see: one in a chroot is not shown what
/// its root lies on. The kernel numbers mounts over all namespaces, so that one list can hold both.
#[derive(Debug, Default)]
pub(crate) struct MountTable {
    by_number: FxHashMap<u64, Storage>,
    by_device: FxHashMap<DeviceId, Storage>,
    share_bytes: usize,
}

/// A file's two names: mount points are given in one or the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// As the process sees it.
    pub(crate) inside: &'a Path,
    /// As we see it.
    pub(crate) outside: &'a Path,
}

/// Who sees a mount at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Inside,
    Outside,
}

/// What a mount's file system keeps its files on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Storage {
    Device,
    DeviceOrRealtime,
    Share(Box<Shared>),
    Nowhere(Unmapped),
}

/// A share, and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shared {
    /// The directory of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
    /// Who sees it there.
    seen: Seen,
    fstype: String,
    source: String,
}

impl MountTable {
    /// Adds the wanted ones of a `mountinfo` (proc_pid_mountinfo(5)); a line that makes no sense is left out. What was
    /// added before counts.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn add(
        &mut self,
        table: &mut Lines<impl BufRead>,
        seen: Seen,
        wanted: &Wanted,
    ) -> io::Result<()> {
        while let Some(line) = table.next_line()? {
            let Some(line) = Line::parse(line) else { continue };
            let by_number =
                wanted.numbers.contains(&line.number) && !self.by_number.contains_key(&line.number);
            let by_device =
                wanted.devices.contains(&line.device) && !self.by_device.contains_key(&line.device);
            if !by_number && !by_device {
                continue;
            }
            let storage = self.storage(&line, seen);
            if by_number {
                self.by_number.insert(line.number, storage.clone());
            }
            if let Entry::Vacant(entry) = self.by_device.entry(line.device)
                && by_device
            {
                entry.insert(storage);
            }
        }
        Ok(())
    }

    fn storage(&mut self, line: &Line<'_>, seen: Seen) -> Storage {
        match line.fstype {
            b"ext2" | b"ext3" | b"ext4" => Storage::Device,
            b"xfs" => Storage::DeviceOrRealtime,
            b"btrfs" | b"bcachefs" | b"zfs" => Storage::Nowhere(Unmapped::CopyOnWrite),
            b"overlay" => Storage::Nowhere(Unmapped::Overlay),
            fstype if is_share(fstype) => {
                let shared = Shared {
                    root: unescape(line.root).into(),
                    point: unescape(line.point).into(),
                    seen,
                    fstype: String::from_utf8_lossy(line.fstype).into_owned(),
                    source: unescape(line.source).to_string_lossy().into_owned(),
                };
                // It may be kept twice.
                self.share_bytes += 2 * shared.bytes();
                if self.share_bytes > MOST_SHARE_BYTES {
                    return Storage::Nowhere(Unmapped::UnknownDevice);
                }
                Storage::Share(Box::new(shared))
            }
            _ => Storage::Nowhere(Unmapped::UnsupportedFilesystem),
        }
    }

    /// What a file stands on.
    pub(crate) fn backing(&self, stamp: &Stamp, names: Names<'_>) -> Result<Backing, Unmapped> {
        let device = stamp.inode.device;
        let by_number = self.by_number.get(&stamp.mount);
        let storage = by_number.or_else(|| self.by_device.get(&device));
        match storage.ok_or(Unmapped::UnknownDevice)? {
            Storage::Device => Ok(Backing::Device(device)),
            Storage::DeviceOrRealtime => Ok(Backing::DeviceOrRealtime(device)),
            Storage::Share(shared) => {
                let name = match shared.seen {
                    Seen::Inside => names.inside,
                    Seen::Outside => names.outside,
                };
                let below = name.strip_prefix(&shared.point);
                let below = below.map_err(|_| Unmapped::UnknownDevice)?;
                Ok(Backing::Share(Share {
                    fstype: shared.fstype.clone(),
                    source: shared.source.clone(),
                    path: shared.root.join(below),
                }))
            }
            Storage::Nowhere(reason) => Err(*reason),
        }
    }
}

/// Reads and sorts every line, whatever is wanted; for the fuzzer.
#[cfg(fuzzing)]
pub(super) fn read_all(text: &[u8]) {
    let (mut mounts, mut lines) = (MountTable::default(), Lines::within(text, 1 << 20));
    while let Ok(Some(line)) = lines.next_line() {
        if let Some(line) = Line::parse(line) {
            drop(mounts.storage(&line, Seen::Inside));
        }
    }
}

fn is_share(fstype: &[u8]) -> bool {
    const SHARES: [&[u8]; 8] =
        [b"nfs", b"nfs4", b"virtiofs", b"9p", b"cifs", b"smb3", b"ceph", b"fuse"];
    SHARES.contains(&fstype) || fstype.starts_with(b"fuse.")
}

impl Shared {
    fn bytes(&self) -> usize {
        let paths = self.root.as_os_str().len() + self.point.as_os_str().len();
        size_of::<Self>() + paths + self.fstype.len() + self.source.len()
    }
}

/// One line of a mount table.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    number: u64,
    device: DeviceId,
    root: &'a [u8],
    point: &'a [u8],
    fstype: &'a [u8],
    source: &'a [u8],
}

impl<'a> Line<'a> {
    /// ```text
    /// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    /// number parent device root point options optional... - fstype source options
    /// ```
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let text = |word: &'a [u8]| std::str::from_utf8(word).ok();
        let number = text(words.next()?)?.parse().ok()?;
        let device = DeviceId::parse(text(words.nth(1)?)?)?;
        let (root, point) = (words.next()?, words.next()?);
        words.find(|word| *word == b"-")?;
        Some(Self { number, device, root, point, fstype: words.next()?, source: words.next()? })
    }
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
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

    fn device(minor: u32) -> DeviceId {
        DeviceId { major: if minor == 0 { 254 } else { 0 }, minor }
    }

    /// Of files on these devices.
    fn mounts(inside: &str, outside: &str, minors: &[u32]) -> MountTable {
        let stamps: Vec<Stamp> = minors.iter().map(|minor| stamp(device(*minor))).collect();
        let wanted: Wanted = stamps.iter().collect();
        let mut mounts = MountTable::default();
        for (text, seen) in [(inside, Seen::Inside), (outside, Seen::Outside)] {
            mounts.add(&mut Lines::within(text.as_bytes(), 1 << 30), seen, &wanted).unwrap();
        }
        mounts
    }

    #[test]
    fn file_systems_sort_into_devices_shares_and_reasons() {
        let mounts = mounts(TABLE, OUTSIDE, &[0, 41, 50, 42, 43, 44, 99]);
        let of = |minor, path: &str| {
            let outside = Path::new("/jail").join(path.trim_start_matches('/'));
            let names = Names { inside: Path::new(path), outside: &outside };
            mounts.backing(&stamp(device(minor)), names)
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
        assert_eq!(of(42, "/data/t.ibd"), Err(Unmapped::Overlay));
        assert_eq!(of(43, "/pool/t.ibd"), Err(Unmapped::CopyOnWrite));
        assert_eq!(of(44, "/shm/t.ibd"), Err(Unmapped::UnsupportedFilesystem));
        assert_eq!(of(99, "/nowhere/t.ibd"), Err(Unmapped::UnknownDevice));
    }

    #[test]
    fn only_mounts_of_files_are_kept_and_of_long_names_few() {
        let long = "x".repeat(10_000);
        let table: String = (100..10_100)
            .map(|n| format!("{n} 22 0:{n} /{long} /{long} rw - nfs4 {long} rw\n"))
            .collect();
        assert_eq!(mounts(&table, "", &[0]).by_device.len(), 0);
        let wanted: Vec<u32> = (100..10_100).collect();
        let mounts = mounts(&table, &table, &wanted);
        let shares = mounts.by_device.values().filter(|kept| matches!(kept, Storage::Share(_)));
        assert_eq!(shares.count(), MOST_SHARE_BYTES / (2 * (30_000 + size_of::<Shared>() + 6)));
        let inside = format!("/{long}/t.ibd");
        let names = Names { inside: Path::new(&inside), outside: Path::new("/") };
        let of = |minor| mounts.backing(&stamp(device(minor)), names);
        assert!(matches!(of(100), Ok(Backing::Share(_))));
        assert_eq!(of(10_099), Err(Unmapped::UnknownDevice));
    }

    #[test]
    fn a_number_says_more_than_a_device() {
        let table = "50 22 0:41 / /a rw - overlay overlay rw\n51 22 0:41 / /b rw - xfs /dev/x rw\n";
        let mut seen = stamp(device(41));
        seen.mount = 51;
        let mut mounts = MountTable::default();
        let wanted: Wanted = [&seen].into_iter().collect();
        mounts.add(&mut Lines::within(table.as_bytes(), 1 << 20), Seen::Inside, &wanted).unwrap();
        let names = Names { inside: Path::new("/b/t"), outside: Path::new("/b/t") };
        assert_eq!(mounts.backing(&seen, names), Ok(Backing::DeviceOrRealtime(device(41))));
        seen.mount = 0;
        assert_eq!(mounts.backing(&seen, names), Err(Unmapped::Overlay));
    }

    proptest! {
        /// Whatever a line holds, reading it comes to an end.
        #[test]
        fn any_line_is_read(line in "[ -~]{0,80}") {
            let _ = Line::parse(line.as_bytes());
        }
    }
}

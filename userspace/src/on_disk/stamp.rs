//! The result of `statx` for a file, and whether that can be trusted to show the next change.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foreign_file::{Found, Refusal};
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, statx};
use rustix::path::Arg;

use super::ids::DeviceId;

/// Time stamps younger than this may be shared by a change that comes after them: they advance with
/// the kernel's tick (4 to 10 ms), and clocks of file servers are coarser.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Which file, however it is named: inode numbers are used again, birth times hardly ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inode {
    pub(crate) device: DeviceId,
    pub(crate) number: u64,
    /// Seconds and nanoseconds; zero where the file system keeps no birth time.
    born: (i64, u32),
}

/// One look at a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) inode: Inode,
    pub(crate) size_bytes: u64,
    /// Allocated bytes; less than the size when the file has holes.
    pub(crate) allocated_bytes: u64,
    pub(crate) links: u32,
    pub(crate) kind: FileType,
    /// The mount through which the file was seen, as mountinfo numbers it; 0 when unknown.
    pub(crate) mount: u64,
    /// True when the file system stores the contents compressed or encrypted.
    pub(crate) encoded: bool,
    changed: (i64, u32),
    looked_at: SystemTime,
}

impl Stamp {
    /// Looks at `path` relative to `dir`; a final symbolic link is followed unless `flags` forbid it.
    pub(crate) fn of(
        dir: impl std::os::fd::AsFd,
        path: impl Arg,
        flags: AtFlags,
    ) -> rustix::io::Result<Self> {
        let looked_at = SystemTime::now();
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let seen = statx(dir, path, flags | AtFlags::STATX_DONT_SYNC, mask)?;
        Ok(Self::from_statx(&seen, looked_at))
    }

    /// Looks at an open file.
    pub(crate) fn of_file(file: impl std::os::fd::AsFd) -> rustix::io::Result<Self> {
        Self::of(file, c"", AtFlags::EMPTY_PATH)
    }

    /// Looks at what was found.
    pub(crate) fn of_found(found: &Found) -> Result<Self, Refusal> {
        Self::of_file(found)
            .map_err(|error| Refusal::Io { path: PathBuf::new(), source: error.into() })
    }

    fn from_statx(seen: &Statx, looked_at: SystemTime) -> Self {
        let has = |flag: StatxFlags| seen.stx_mask & flag.bits() != 0;
        let born = if has(StatxFlags::BTIME) {
            (seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec)
        } else {
            (0, 0)
        };
        Self {
            inode: Inode {
                device: DeviceId { major: seen.stx_dev_major, minor: seen.stx_dev_minor },
                number: seen.stx_ino,
                born,
            },
            size_bytes: seen.stx_size,
            allocated_bytes: seen.stx_blocks.saturating_mul(512), // statx(2): always 512-byte units
            links: seen.stx_nlink,
            kind: FileType::from_raw_mode(seen.stx_mode.into()),
            mount: if has(StatxFlags::MNT_ID) { seen.stx_mnt_id } else { 0 },
            encoded: seen
                .stx_attributes
                .intersects(StatxAttributes::COMPRESSED | StatxAttributes::ENCRYPTED),
            changed: (seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
            looked_at,
        }
    }

    /// True when `self`, the newer look, proves that nothing was written, allocated or renamed
    /// since `older`. Writes and allocations set the change time; a change time that was fresh at
    /// the older look may hide a later change within the same tick, so it proves nothing.
    pub(crate) fn proves_unchanged_since(&self, older: &Self) -> bool {
        self.inode == older.inode
            && self.size_bytes == older.size_bytes
            && self.allocated_bytes == older.allocated_bytes
            && self.changed == older.changed
            && older.is_settled()
    }

    fn is_settled(&self) -> bool {
        let (Ok(seconds), nanoseconds) = (u64::try_from(self.changed.0), self.changed.1) else {
            return false;
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        self.looked_at.duration_since(changed).is_ok_and(|age| age > SETTLED_AFTER)
    }
}

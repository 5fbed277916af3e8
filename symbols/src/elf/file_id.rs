//! Which file it is.

use rustix::fs::Stat;

/// What identifies a file on this machine until it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileVersion {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileVersion {
    pub(super) fn of(stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mtime_ns = stat.st_mtime.saturating_mul(1_000_000_000);
        let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size,
            mtime_ns: mtime_ns.saturating_add(nanoseconds),
        }
    }
}

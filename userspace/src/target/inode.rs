//! What stands behind a path of /proc.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

/// Who stands behind a path.
pub(super) struct PathOwner {
    /// Device and number.
    pub(super) inode: (u64, u64),
    /// Whether root owns it and no one else may write it.
    pub(super) is_roots: bool,
}

/// Looks at what `path` leads to by what the kernel knows already: no request goes to a file system, which might not answer.
pub(super) fn inode(path: &Path) -> io::Result<PathOwner> {
    let wanted = StatxFlags::INO | StatxFlags::UID | StatxFlags::MODE;
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, wanted)?;
    Ok(PathOwner {
        inode: (makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
        is_roots: found.stx_uid == 0 && found.stx_mode & 0o022 == 0,
    })
}

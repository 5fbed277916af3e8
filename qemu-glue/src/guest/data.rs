//! Where a memory file has data.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The next data of `file` from byte `from` on; `None` where only a hole follows.
///
/// Pages that fallocate has reserved and that were never written are holes here, and present for userfaultfd
/// (`mapping_seek_hole_data`, mm/filemap.c, Linux 5.15 to 6.18).
///
/// # Errors
/// The answer of lseek(2).
pub(crate) fn data(file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(start) => Ok(Some(start..seek(file, SeekFrom::Hole(start))?)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

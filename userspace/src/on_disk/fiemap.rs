//! `FS_IOC_FIEMAP`: where a file system keeps a file's bytes on its device.
//!
//! Layouts and values from `include/uapi/linux/fiemap.h`, unchanged since Linux 2.6.28.
//!
//! The request never carries `FIEMAP_FLAG_SYNC`: that would write out the whole file's dirty pages
//! and wait, a load on the server's disk that the server did not ask for. Without it, data that has
//! no place yet is flagged as delayed and refused; everything else already lies where it will stay
//! (ext4, XFS). Bytes that are still in the page cache on their way to that place are a matter of
//! the list's truth, not of the map: the reader proves every page.

#![expect(unsafe_code, reason = "an ioctl with a variable-length buffer, which no crate wraps")]

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;

/// Extents requested at once: a table of 2 GiB usually has fewer.
const BATCH: u32 = 512;

pub(crate) const LAST: u32 = 0x1;
pub(crate) const UNKNOWN: u32 = 0x2;
pub(crate) const DELALLOC: u32 = 0x4;
pub(crate) const ENCODED: u32 = 0x8;
pub(crate) const DATA_ENCRYPTED: u32 = 0x80;
pub(crate) const NOT_ALIGNED: u32 = 0x100;
pub(crate) const DATA_INLINE: u32 = 0x200;
pub(crate) const DATA_TAIL: u32 = 0x400;
pub(crate) const UNWRITTEN: u32 = 0x800;
/// Only how the kernel counted the extents; not where they are.
pub(crate) const MERGED: u32 = 0x1000;
pub(crate) const SHARED: u32 = 0x2000;

/// `_IOWR('f', 11, struct fiemap)`, the size being that of the header alone.
const FS_IOC_FIEMAP: libc::Ioctl = libc::_IOWR::<Header>(b'f' as u32, 11);

/// `struct fiemap` without its trailing array.
#[repr(C)]
struct Header {
    /* in */ start: u64,
    /* in */ length: u64,
    /* in */ flags: u32,
    /* out */ mapped_extents: u32,
    /* in */ extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`; offsets and lengths in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawExtent {
    /* out */ pub(crate) logical: u64,
    /* out */ pub(crate) physical: u64,
    /* out */ pub(crate) length: u64,
    pub(crate) reserved64: [u64; 2],
    /* out */ pub(crate) flags: u32,
    pub(crate) reserved: [u32; 3],
}

/// Header and array as the kernel wants them: one behind the other.
#[repr(C)]
struct Request {
    header: Header,
    extents: [RawExtent; BATCH as usize],
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(size_of::<RawExtent>() == 56);
const _: () = assert!(offset_of!(Request, extents) == 32);
const _: () = assert!(FS_IOC_FIEMAP == 0xc020_660b);

/// Maps a file from `start` on, batch by batch, until `each` answers false or the file ends.
///
/// # Errors
/// The kernel's: `EOPNOTSUPP` where the file system has no extent map.
pub(crate) fn for_each_extent(
    file: &File,
    mut each: impl FnMut(&RawExtent) -> bool,
) -> io::Result<()> {
    let mut request = Box::new(Request {
        header: Header {
            start: 0,
            length: 0,
            flags: 0,
            mapped_extents: 0,
            extent_count: BATCH,
            reserved: 0,
        },
        extents: [RawExtent::default(); BATCH as usize],
    });
    let mut start = 0;
    loop {
        request.header.start = start;
        request.header.length = u64::MAX - start;
        request.header.mapped_extents = 0;
        // SAFETY: the descriptor is open for as long as `file` is borrowed. The pointer is to a
        // whole `Request`, of the layout asserted above, so that the kernel, given `extent_count`,
        // writes within it; every bit pattern is valid for its fields.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut *request) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        let mapped = usize::try_from(request.header.mapped_extents).unwrap_or(usize::MAX);
        let Some(extents) = request.extents.get(..mapped) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        for extent in extents {
            if !each(extent) || extent.flags & LAST != 0 {
                return Ok(());
            }
        }
        // A file that changes between two batches must not hold us in a circle.
        match extents.last().and_then(|last| last.logical.checked_add(last.length)) {
            Some(end) if end > start => start = end,
            _ => return Ok(()),
        }
    }
}

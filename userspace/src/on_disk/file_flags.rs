//! `FS_IOC_FSGETXATTR`: whether a file of XFS lies on the real-time device, whose addresses would
//! look like those of the data device (`include/uapi/linux/fs.h`).

#![expect(unsafe_code, reason = "an ioctl that no crate wraps")]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

/// `FS_XFLAG_REALTIME`
const REALTIME: u32 = 0x1;

/// `struct fsxattr`
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    /* out */ xflags: u32,
    rest: [u32; 6],
}

/// `_IOR('X', 31, struct fsxattr)`
const FS_IOC_FSGETXATTR: libc::Ioctl = libc::_IOR::<FsXattr>(b'X' as u32, 31);

const _: () = assert!(size_of::<FsXattr>() == 28);
const _: () = assert!(FS_IOC_FSGETXATTR == 0x801c_581f);

/// # Errors
/// The kernel's: `ENOTTY` where the file system has no such flags.
pub(crate) fn is_realtime(file: &File) -> io::Result<bool> {
    let mut attributes = FsXattr::default();
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the kernel writes one
    // `struct fsxattr`, whose size is asserted above and of which every bit pattern is valid.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes) };
    if answer == 0 {
        Ok(attributes.xflags & REALTIME != 0)
    } else {
        Err(io::Error::last_os_error())
    }
}

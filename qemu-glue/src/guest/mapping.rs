//! The file behind a piece of another process's memory.
//!
//! `/proc/PID/maps` says which file QEMU maps at an address. The file itself is opened through the
//! descriptor that QEMU keeps of it, or, where that is closed, through `/proc/PID/map_files`, which
//! asks for CAP_CHECKPOINT_RESTORE. Formats: Linux `Documentation/filesystems/proc.rst`.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;

use foreign_file::Found;
use rustix::fs::OFlags;

use super::GuestError;

/// Most mappings that are looked at; the kernel allows 65,530 unless it is told else.
const MAX_MAPPINGS: usize = 1 << 17;
/// What a line has before the name of the file is shorter.
const MAX_HEAD: usize = 256;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// A shared mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    /// Place of `start` in the file, in bytes.
    file_offset: u64,
    device: (u32, u32),
    inode: u64,
    /// The process may write the file: the kernel maps it so only through a descriptor that was opened for it (mmap(2)).
    writable: bool,
}

impl Mapping {
    /// Place in the file of the byte at `address`, when all `bytes` from there lie in this mapping.
    pub(super) fn place(&self, address: u64, bytes: u64) -> Option<u64> {
        let ahead = address.checked_sub(self.start)?;
        (address.checked_add(bytes)? <= self.end).then(|| self.file_offset + ahead)
    }

    /// Opens the file: for writing only one that the process itself may write, as it names whatever it likes, and we
    /// may write more than it.
    pub(super) fn open(&self, pid: u32, access: Access) -> io::Result<File> {
        if access == Access::ReadWrite && !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // Descriptors come and go while we look; only the file's identity counts, and what was looked
        // at is what is opened.
        let held = self
            .candidates(pid)
            .find_map(|path| foreign_file::held_by(&path).ok().filter(|found| self.is(found)));
        if let Some(found) = held {
            return Ok(found.open_with(flags)?);
        }
        let (start, end) = (self.start, self.end);
        let mapped = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
        let found = foreign_file::held_by(&mapped)?;
        if self.is(&found) {
            Ok(found.open_with(flags)?)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn candidates(&self, pid: u32) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok();
        entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
    }

    fn is(&self, found: &Found) -> bool {
        let Ok(seen) = rustix::fs::fstat(found) else { return false };
        let device = (rustix::fs::major(seen.st_dev), rustix::fs::minor(seen.st_dev));
        seen.st_ino == self.inode && device == self.device
    }
}

/// Shared mappings of files in process `pid`.
pub(super) fn shared(pid: u32) -> Result<Vec<Mapping>, GuestError> {
    let path = format!("/proc/{pid}/maps");
    let read = || {
        let mut lines = BufReader::new(File::open(&path)?);
        let mut mappings = Vec::new();
        let mut text = Vec::new();
        // A line ends in the name of a file, which is as long as its owner likes: it is not kept.
        while lines.read_until(b'\n', &mut text)? > 0 && mappings.len() < MAX_MAPPINGS {
            let head = &text[..text.len().min(MAX_HEAD)];
            mappings.extend(line(&String::from_utf8_lossy(head)));
            text.clear();
        }
        Ok(mappings)
    };
    read().map_err(|error| GuestError::Proc { path: path.clone(), error })
}

/// `7f1c3fe00000-7f1c4fe00000 rw-s 00000000 00:01 2051    /memfd:memory-backend-memfd (deleted)`
fn line(text: &str) -> Option<Mapping> {
    let mut words = text.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let (shared, writable) = (rights.ends_with('s'), rights.as_bytes().get(1) == Some(&b'w'));
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let file_offset = hex(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let device = (number(major)?, number(minor)?);
    let inode: u64 = words.next()?.parse().ok()?;
    let (start, end) = (hex(start)?, hex(end)?);
    let sane = start < end && file_offset.checked_add(end - start).is_some();
    let mapping = Mapping { start, end, file_offset, device, inode, writable };
    (shared && inode != 0 && sane).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let text = "7f1c3fe00000-7f1c4fe00000 rw-s 00001000 00:01 2051                       /memfd:memory-backend-memfd (deleted)";
        let mapping = line(text).unwrap();
        assert_eq!(mapping.place(0x7f1c_3fe0_2000, 4096), Some(0x3000));
        assert_eq!(mapping.place(0x7f1c_4fdf_f000, 4096), Some(0x1000_0000));
        assert_eq!(mapping.place(0x7f1c_4fdf_f000, 4097), None);
        assert_eq!(mapping.place(u64::MAX, 2), None);
        assert!(line(&text.replace("rw-s", "rw-p")).is_none());
        assert!(line("7f1c3fe00000-7f1c4fe00000 rw-s 00000000 00:01 0").is_none());
    }

    /// The mapping of this process at `address`, opened.
    fn opened(address: u64, access: Access) -> io::Result<File> {
        let pid = std::process::id();
        let mappings = shared(pid).unwrap();
        let mapping = mappings.iter().find(|m| m.place(address, 8192).is_some()).unwrap();
        mapping.open(pid, access)
    }

    #[test]
    fn the_file_of_a_mapping_is_found_in_a_process() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        // SAFETY: the file is private to this test; nobody changes it.
        #[expect(unsafe_code, reason = "memmap2's contract: nobody truncates the file")]
        let map = unsafe { memmap2::MmapOptions::new().map_mut(&file) }.unwrap();
        let opened = opened(map.as_ptr() as u64, Access::ReadWrite).unwrap();
        assert_eq!(opened.metadata().unwrap().ino(), file.metadata().unwrap().ino());
    }

    /// A process may map any file that it may read, and say that it is its RAM.
    #[test]
    fn a_file_that_the_process_may_only_read_is_not_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        // SAFETY: the file is private to this test; nobody changes it.
        #[expect(unsafe_code, reason = "memmap2's contract: nobody truncates the file")]
        let map = unsafe { memmap2::MmapOptions::new().map(&file) }.unwrap();
        let address = map.as_ptr() as u64;
        let refused = opened(address, Access::ReadWrite).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        assert!(opened(address, Access::Read).is_ok());
    }
}

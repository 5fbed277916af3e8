//! The files behind pieces of another process's memory.
//!
//! `/proc/PID/maps` says which file QEMU maps at an address. The file itself is opened through
//! `/proc/PID/map_files`, or, where that is forbidden (it asks for CAP_CHECKPOINT_RESTORE), through the descriptor that
//! QEMU keeps of it: one look at all descriptors serves all pieces. Formats: Linux
//! `Documentation/filesystems/proc.rst`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::OFlags;

use super::GuestError;
use crate::descriptors::{self, Identity};

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

    /// Whether its file may be opened so: for writing only one that the process itself may write, as it names
    /// whatever it likes, and we may write more than it.
    fn allows(&self, access: Access) -> io::Result<()> {
        if access == Access::ReadWrite && !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity::File { device: self.device, inode: self.inode }
    }

    /// Opens its file by one of the kernel's links to it. What was looked at is what is opened, and only the file's
    /// identity counts: mappings and descriptors come and go meanwhile.
    fn open_by(&self, link: &Path, access: Access) -> io::Result<File> {
        let found = foreign_file::held_by(link)?;
        if Identity::of(&found)? != self.identity() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        Ok(found.open_with(flags)?)
    }

    fn open_mapped(&self, pid: u32, access: Access) -> io::Result<File> {
        let (start, end) = (self.start, self.end);
        self.open_by(&PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}")), access)
    }
}

/// A piece of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// A file that a piece lies in, and the place there of the piece's first byte.
pub(super) type Placed = (File, u64);

/// The files that pieces of process `pid` lie in, by piece: none where no shared mapping of a file has all of it, else
/// the file, or why it was not opened.
///
/// # Errors
/// [`GuestError::Proc`], and [`GuestError::Many`] where there is more to look at than can be by `until`.
pub(super) fn files(
    pid: u32,
    pieces: &[Piece],
    access: Access,
    until: Instant,
) -> Result<Vec<Option<io::Result<Placed>>>, GuestError> {
    let mappings = shared(pid)?;
    let find = |piece: &Piece| {
        let at = mappings.partition_point(|mapping| mapping.end <= piece.address);
        let mapping = mappings.get(at)?;
        Some((mapping, mapping.place(piece.address, piece.bytes)?))
    };
    let found: Vec<_> = pieces.iter().map(find).collect();
    let mut files = Vec::with_capacity(found.len());
    for found in &found {
        if Instant::now() >= until {
            return Err(GuestError::Many { pid });
        }
        files.push(found.map(|(mapping, offset)| {
            mapping.allows(access)?;
            Ok((mapping.open_mapped(pid, access)?, offset))
        }));
    }
    by_descriptors(pid, &found, &mut files, access, until)?;
    Ok(files)
}

/// Opens what could not be opened through its mapping.
fn by_descriptors(
    pid: u32,
    found: &[Option<(&Mapping, u64)>],
    files: &mut [Option<io::Result<Placed>>],
    access: Access,
    until: Instant,
) -> Result<(), GuestError> {
    let is_left = |(index, found): (usize, &Option<(&Mapping, u64)>)| {
        let (mapping, _) = found.filter(|(mapping, _)| mapping.allows(access).is_ok())?;
        matches!(files.get(index), Some(Some(Err(_)))).then(|| (mapping.identity(), index))
    };
    let mut left: Vec<_> = found.iter().enumerate().filter_map(is_left).collect();
    left.sort_unstable();
    if left.is_empty() {
        return Ok(());
    }
    let failed = |error| GuestError::Proc { path: format!("/proc/{pid}/fd"), error };
    for descriptor in descriptors::of(pid, until).map_err(failed)? {
        let descriptor = descriptor.map_err(|_late| GuestError::Many { pid })?;
        let Ok(identity) = descriptor.identity() else { continue };
        let from = left.partition_point(|(other, _)| *other < identity);
        for (_, index) in left[from..].iter().take_while(|(other, _)| *other == identity) {
            if let (Some(Some((mapping, offset))), Some(Some(file))) =
                (found.get(*index), files.get_mut(*index))
                && file.is_err()
                && let Ok(opened) = mapping.open_by(&descriptor.link(), access)
            {
                *file = Ok((opened, *offset));
            }
        }
    }
    Ok(())
}

/// Shared mappings of files in process `pid`, by address.
fn shared(pid: u32) -> Result<Vec<Mapping>, GuestError> {
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

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(30)
    }

    /// The file of this process's memory at `address`, opened.
    fn opened(address: u64, access: Access) -> io::Result<File> {
        let piece = Piece { address, bytes: 8192 };
        let mut files = files(std::process::id(), &[piece], access, soon()).unwrap();
        files.pop().unwrap().unwrap().map(|(file, _)| file)
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

        // Where /proc/PID/map_files is closed to us, and where there is no time for it.
        let pid = std::process::id();
        let mappings = shared(pid).unwrap();
        let mapping =
            mappings.iter().find(|mapping| mapping.inode == file.metadata().unwrap().ino());
        let found = [Some((mapping.unwrap(), 0))];
        let mut files = [Some(Err(io::ErrorKind::PermissionDenied.into()))];
        let late = by_descriptors(pid, &found, &mut files, Access::ReadWrite, Instant::now());
        assert!(matches!(late, Err(GuestError::Many { .. })), "{late:?}");
        by_descriptors(pid, &found, &mut files, Access::ReadWrite, soon()).unwrap();
        let (opened, _) = files[0].take().unwrap().unwrap();
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

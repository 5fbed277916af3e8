//! The files behind pieces of another process's memory.
//!
//! `/proc/PID/maps` shows which file QEMU maps at an address. The file itself is opened through
//! `/proc/PID/map_files`, or, where that is forbidden (it needs CAP_CHECKPOINT_RESTORE), through the descriptor that
//! QEMU keeps of it: one look at all descriptors serves all pieces. Formats: Linux
//! `Documentation/filesystems/proc.rst`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kernel_text::first_mapping;
use rustix::fs::OFlags;

use crate::descriptors::{self, DescriptorIdentity};
use crate::guest::GuestError;

/// Most mappings that are looked at; the kernel allows 65,530 unless `vm.max_map_count` is set.
const MAX_MAPPINGS: usize = 1 << 17;
/// Most bytes of their table that are read: names of files may be as long as paths are.
const MAX_TABLE: u64 = 64 << 20;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// A shared mapping of a file: its name, which is as long as its owner likes, is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileMapping {
    addresses: Range<u64>,
    /// Place of the first address in the file, in bytes.
    file_offset: u64,
    identity: DescriptorIdentity,
    /// The kernel's own link to its file.
    link: PathBuf,
    /// The process may write the file: the kernel maps it so only through a descriptor that was opened for it (mmap(2)).
    writable: bool,
}

impl FileMapping {
    /// A mapping of process `pid`; `None` where it is not shared, or of no file.
    fn of(mapping: &kernel_text::Mapping<'_>, pid: u32) -> Option<Self> {
        (mapping.shared && mapping.inode != 0).then(|| Self {
            addresses: mapping.addresses.clone(),
            file_offset: mapping.offset,
            identity: DescriptorIdentity::File { device: mapping.device, inode: mapping.inode },
            link: mapping.file_of(pid),
            writable: mapping.writable,
        })
    }

    /// Place in the file of the byte at `address`, when all `bytes` from there lie in this mapping.
    pub(super) fn place(&self, address: u64, bytes: u64) -> Option<u64> {
        let ahead = address.checked_sub(self.addresses.start)?;
        (address.checked_add(bytes)? <= self.addresses.end).then(|| self.file_offset + ahead)
    }

    /// Whether its file may be opened so: for writing only one that the process itself may write, as it names
    /// whatever it likes, and we may write more than it.
    fn allows(&self, access: Access) -> io::Result<()> {
        if access == Access::ReadWrite && !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    /// Opens its file by one of the kernel's links to it. What was looked at is what is opened, and only the file's
    /// identity counts: mappings and descriptors come and go meanwhile.
    fn open_by(&self, link: &Path, access: Access) -> io::Result<File> {
        let found = foreign_file::held_by(link)?;
        if DescriptorIdentity::of(&found)? != self.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        Ok(found.open_with(flags)?)
    }
}

/// A piece of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressRange {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// A file that a piece lies in, and the place there of the piece's first byte.
pub(super) type FilePosition = (File, u64);

/// The files that pieces of process `pid` lie in, by piece: none where no shared mapping of a file has all of it, else
/// the file, or why it was not opened.
///
/// # Errors
/// [`GuestError::Proc`], and [`GuestError::Many`] where there is more to look at than can be by `until`.
pub(super) fn files(
    pid: u32,
    pieces: &[AddressRange],
    access: Access,
    until: Instant,
) -> Result<Vec<Option<io::Result<FilePosition>>>, GuestError> {
    let mappings = shared(pid)?;
    let find = |piece: &AddressRange| {
        let at = mappings.partition_point(|mapping| mapping.addresses.end <= piece.address);
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
            Ok((mapping.open_by(&mapping.link, access)?, offset))
        }));
    }
    by_descriptors(pid, &found, &mut files, access, until)?;
    Ok(files)
}

/// Opens what could not be opened through its mapping.
fn by_descriptors(
    pid: u32,
    found: &[Option<(&FileMapping, u64)>],
    files: &mut [Option<io::Result<FilePosition>>],
    access: Access,
    until: Instant,
) -> Result<(), GuestError> {
    let is_left = |(index, found): (usize, &Option<(&FileMapping, u64)>)| {
        let (mapping, _) = found.filter(|(mapping, _)| mapping.allows(access).is_ok())?;
        matches!(files.get(index), Some(Some(Err(_)))).then(|| (mapping.identity, index))
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
fn shared(pid: u32) -> Result<Vec<FileMapping>, GuestError> {
    let (mut mappings, mut seen) = (Vec::new(), 0);
    let enough = first_mapping(pid, MAX_TABLE, |mapping| {
        seen += 1;
        mappings.extend(FileMapping::of(mapping, pid));
        (seen == MAX_MAPPINGS).then_some(())
    });
    enough.map_err(|error| GuestError::Proc { path: format!("/proc/{pid}/maps"), error })?;
    Ok(mappings)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_shared_mappings_of_files_count() {
        let of = |text: &str| FileMapping::of(&kernel_text::Mapping::parse(text.as_bytes())?, 7);
        let text = "7f1c3fe00000-7f1c4fe00000 rw-s 00001000 00:01 2051                       /memfd:memory-backend-memfd (deleted)";
        let mapping = of(text).unwrap();
        assert_eq!(mapping.place(0x7f1c_3fe0_2000, 4096), Some(0x3000));
        assert_eq!(mapping.place(0x7f1c_4fdf_f000, 4096), Some(0x1000_0000));
        assert_eq!(mapping.place(0x7f1c_4fdf_f000, 4097), None);
        assert_eq!(mapping.place(u64::MAX, 2), None);
        assert_eq!(of(&text.replace("rw-s", "rw-p")), None);
        assert_eq!(of("7f1c3fe00000-7f1c4fe00000 rw-s 00000000 00:01 0"), None);
    }

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(30)
    }

    /// The file of this process's memory at `address`, opened.
    fn opened(address: u64, access: Access) -> io::Result<File> {
        let piece = AddressRange { address, bytes: 8192 };
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
        let identity = DescriptorIdentity::of(&file).unwrap();
        let mapping = mappings.iter().find(|mapping| mapping.identity == identity);
        let found = [Some((mapping.unwrap(), 0))];
        let mut files = [Some(Err(io::ErrorKind::PermissionDenied.into()))];
        let late = by_descriptors(pid, &found, &mut files, Access::ReadWrite, Instant::now());
        assert!(matches!(late, Err(GuestError::Many { .. })), "{late:?}");
        by_descriptors(pid, &found, &mut files, Access::ReadWrite, soon()).unwrap();
        let (opened, _) = files[0].take().unwrap().unwrap();
        assert_eq!(opened.metadata().unwrap().ino(), file.metadata().unwrap().ino());
    }

    /// A process may map any file that it may read, and name it as its RAM.
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

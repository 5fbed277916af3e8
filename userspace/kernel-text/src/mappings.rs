//! The table of a process's mappings, `/proc/PID/maps` (proc_pid_maps(5)), which its owner may make as long as it likes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::Lines;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// Addresses in the process.
    pub addresses: Range<u64>,
    /// It may be written.
    pub writable: bool,
    /// It may be executed.
    pub executable: bool,
    /// What is written to it others see.
    pub shared: bool,
    /// Offset in the file of its first byte; the sum with its length is a number, too.
    pub offset: u64,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// Number of the file; 0 where there is none.
    pub inode: u64,
    /// The file's path as the process's namespace names it, or the kernel's name instead, as `[stack]`; nothing for
    /// plain memory.
    pub name: &'a Path,
}

impl<'a> Mapping<'a> {
    /// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`; `None` for what is no such line.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.splitn(6, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = word()?.split_once('-')?;
        let addresses = hex(start)?..hex(end)?;
        let &[_, write, execute, share] = word()?.as_bytes() else { return None };
        let offset = hex(word()?)?;
        let (major, minor) = word()?.split_once(':')?;
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let device = (number(major)?, number(minor)?);
        let inode = word()?.parse().ok()?;
        let name = words.next().unwrap_or_default().trim_ascii_start();
        let bytes = addresses.end.checked_sub(addresses.start).filter(|bytes| *bytes > 0)?;
        offset.checked_add(bytes)?;
        Some(Self {
            addresses,
            writable: write == b'w',
            executable: execute == b'x',
            shared: share == b's',
            offset,
            device,
            inode,
            name: Path::new(OsStr::from_bytes(name)),
        })
    }

    /// Offset in the file of the byte at `address`, which lies in this mapping.
    #[must_use]
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        self.addresses.contains(&address).then(|| self.offset + (address - self.addresses.start))
    }

    /// Whether it holds code of a file.
    #[must_use]
    pub fn is_code_of_a_file(&self) -> bool {
        self.executable && self.name.is_absolute()
    }

    /// Where its file can be opened, whatever its name means by now. It wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
    /// Numbers have no leading zeros there, as those of low addresses have in the table.
    #[must_use]
    pub fn file_of(&self, pid: u32) -> PathBuf {
        let Range { start, end } = self.addresses;
        PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))
    }

    /// The file's name in the process's own root. Another file may have it by now.
    #[must_use]
    pub fn name_of(&self, pid: u32) -> PathBuf {
        let below = self.name.strip_prefix("/").unwrap_or(self.name);
        PathBuf::from(format!("/proc/{pid}/root")).join(below)
    }
}

/// What `wanted` takes of the first mapping of process `pid` that it takes anything of. Mappings come in the order of
/// their addresses; no more than `most_bytes` of the table are read, and one line is held at a time.
///
/// # Errors
/// The table cannot be read.
pub fn first_mapping<T>(
    pid: u32,
    most_bytes: u64,
    mut wanted: impl FnMut(&Mapping<'_>) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut lines = Lines::of(File::open(format!("/proc/{pid}/maps"))?, most_bytes);
    while let Some(line) = lines.next_line()? {
        if let Some(found) = Mapping::parse(line).and_then(|mapping| wanted(&mapping)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_ends_it_and_no_more_is_read_than_was_allowed() {
        let stack = |mapping: &Mapping<'_>| (mapping.name == "[stack]").then_some(());
        assert_eq!(first_mapping(std::process::id(), 1 << 20, stack).unwrap(), Some(()));
        assert_eq!(first_mapping(std::process::id(), 100, stack).unwrap(), None);
        let mut seen = 0;
        let any = |_: &Mapping<'_>| {
            seen += 1;
            (seen == 2).then_some(seen)
        };
        assert_eq!(first_mapping(std::process::id(), 1 << 20, any).unwrap(), Some(2));
        assert!(first_mapping(u32::MAX, 100, |_| Some(())).is_err());
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line =
            b"7f1c3fe00000-7f1c4fe00000 rw-s 00001000 fe:01 42                   /a b (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.addresses, 0x7f1c_3fe0_0000..0x7f1c_4fe0_0000);
        assert!(mapping.writable && mapping.shared && !mapping.executable);
        assert_eq!((mapping.offset, mapping.device, mapping.inode), (0x1000, (0xfe, 1), 42));
        assert_eq!(mapping.name, "/a b (deleted)");
        assert_eq!(mapping.name_of(7), Path::new("/proc/7/root/a b (deleted)"));
        for none in [
            "",
            "7f0-7f1",
            "7f1-7f0 rw-s 0 fe:01 42",
            "7f0-7f1 rw 0 fe:01 42",
            "7f0-7f1 rw-p ffffffffffffffff 0:0 0 ",
            "x-7f1 rw-s 0 fe:01 42",
        ] {
            assert_eq!(Mapping::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn only_code_of_files_is_that() {
        let is_code =
            |line: &str| Mapping::parse(line.as_bytes()).is_some_and(|m| m.is_code_of_a_file());
        assert!(is_code("7f0-7f1 r-xp 00001000 fe:01 42                   /usr/bin/a b"));
        for other in [
            "7f0-7f1 r--p 00001000 fe:01 42     /usr/bin/a",
            "7f0-7f1 r-xp 00000000 00:00 0      [vdso]",
            "7f0-7f1 r-xp 00000000 00:00 0 ",
        ] {
            assert!(!is_code(other), "{other}");
        }
    }

    /// A program that is linked to a fixed address lies low.
    #[test]
    fn files_of_low_addresses_are_found() {
        let line = b"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.file_of(7), Path::new("/proc/7/map_files/400000-452000"));
    }
}

//! The sections by which a file names its debug files.
//!
//! Both are foreign bytes: a name is taken only if it is one, and nothing is allocated by a size
//! that they state. Layouts: binutils, `bfd/opncls.c` (`bfd_get_debug_link_info_1`,
//! `bfd_get_alt_debug_link_info`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::elf::{Program, hex};

/// Shortest and longest build id in bytes that is looked up. The first byte names a folder, so one
/// byte is not enough; linkers write 8 to 20.
const BUILD_ID_BYTES: std::ops::RangeInclusive<usize> = 2..=64;

/// Longest path that the kernel accepts (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

/// A build id of a length that can be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildId(Vec<u8>);

impl BuildId {
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        BUILD_ID_BYTES.contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    pub(super) fn of(program: &Program) -> Option<Self> {
        Self::new(&program.build_id()?)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// `.build-id/xx/yyyy.debug`, below a debug folder.
    pub(super) fn path(&self) -> PathBuf {
        let (first, rest) = self.0.split_at(1);
        PathBuf::from(format!(".build-id/{}/{}.debug", hex(first), hex(rest)))
    }
}

/// `.gnu_debuglink`: the name of the separate debug file and the CRC-32 of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DebugLink {
    pub(super) name: PathBuf,
    pub(super) crc: u32,
}

impl DebugLink {
    pub(super) fn of(program: &Program) -> Option<Self> {
        Self::parse(&program.section(".gnu_debuglink").ok()??)
    }

    /// Layout: name, NUL, padding to 4 bytes, CRC in the file's byte order.
    fn parse(section: &[u8]) -> Option<Self> {
        let nul = section.iter().position(|byte| *byte == 0)?;
        let at = (nul + 1).next_multiple_of(4);
        let crc: [u8; 4] = section.get(at..at + 4)?.try_into().ok()?;
        let name = section.get(..nul)?;
        // A file name, not a path: objcopy writes the base name, so a slash is an attempt to lead
        // the search somewhere else.
        if name.is_empty() || name.len() > MAX_PATH_BYTES || name.contains(&b'/') {
            return None;
        }
        Some(Self { name: path(name), crc: u32::from_le_bytes(crc) })
    }
}

/// `.gnu_debugaltlink`: where dwz put what several debug files share, and its build id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AltLink {
    /// Absolute, or relative to the folder of the file that has the section.
    pub(super) path: PathBuf,
    pub(super) id: BuildId,
}

impl AltLink {
    pub(super) fn of(program: &Program) -> Option<Self> {
        Self::parse(&program.section(".gnu_debugaltlink").ok()??)
    }

    /// Layout: path, NUL, build id up to the end.
    fn parse(section: &[u8]) -> Option<Self> {
        let nul = section.iter().position(|byte| *byte == 0)?;
        let (name, id) = (section.get(..nul)?, section.get(nul + 1..)?);
        if name.is_empty() || name.len() > MAX_PATH_BYTES {
            return None;
        }
        Some(Self { path: path(name), id: BuildId::new(id)? })
    }
}

/// A path as the file has it: bytes, not text.
pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_link_is_padded_to_four() {
        let link = DebugLink::parse(b"a.dbg\0\0\0\x78\x56\x34\x12").unwrap();
        assert_eq!(link, DebugLink { name: PathBuf::from("a.dbg"), crc: 0x1234_5678 });
        let full = DebugLink::parse(b"abc\0\x01\0\0\0").unwrap();
        assert_eq!(full, DebugLink { name: PathBuf::from("abc"), crc: 1 });
    }

    #[test]
    fn broken_debug_links_are_none() {
        let broken: [&[u8]; 6] = [
            b"",
            b"abc",
            b"abc\0",
            b"abc\0\x01\0\0",
            b"\0\0\0\0\0\0\0\0",
            b"../x\0\0\0\0\x01\0\0\0",
        ];
        for section in broken {
            assert_eq!(DebugLink::parse(section), None, "{section:?}");
        }
    }

    #[test]
    fn alternate_link_holds_path_and_id() {
        let link = AltLink::parse(b"../.dwz/x\0\xab\xcd\xef").unwrap();
        assert_eq!(link.path, PathBuf::from("../.dwz/x"));
        assert_eq!(link.id.path(), PathBuf::from(".build-id/ab/cdef.debug"));
        for broken in [&b"x\0"[..], b"x", b"\0\x01\x02", b"x\0\x01", &[b'x'; 5000]] {
            assert_eq!(AltLink::parse(broken), None);
        }
    }
}

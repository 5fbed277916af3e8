//! `FSP_SPACE_FLAGS`, the word in a space's first page that describes how its pages are stored.
//!
//! ```text
//! MySQL 5.6 to 9.x         0 post-antelope | 1-4 zip ssize | 5 atomic blobs | 6-9 page ssize
//!  (fsp0types.h)           10 DATA DIRECTORY | 11 shared | 12 temporary | 13 encrypted | 14 SDI
//! MariaDB                  0-9 the same | 10-15 reserved | 16 page compression
//! MariaDB full_crc32       0-3 page ssize | 4 always 1 | 5-7 page-compression algorithm
//! ```
//!
//! Bit 4 distinguishes the last form from the others: a zip ssize is at most 5 and never sets it.

use super::reason::NotOnDisk;

/// Page size of the original format, which has no page ssize (`UNIV_PAGE_SIZE_ORIG`).
const ORIGINAL_PAGE_BYTES: u32 = 16 * 1024;

/// The flags word as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpaceFlags(pub(crate) u32);

impl SpaceFlags {
    const FULL_CRC32: u32 = 1 << 4;
    const SHARED: u32 = 1 << 11;
    const TEMPORARY: u32 = 1 << 12;
    const ENCRYPTED: u32 = 1 << 13;
    const MARIADB_PAGE_COMPRESSION: u32 = 1 << 16;
    /// Bits that a version known here assigns, in the forms without the full_crc32 marker.
    const KNOWN: u32 = 0x7fff | Self::MARIADB_PAGE_COMPRESSION;

    /// Size in bytes of a page in the buffer pool, 4 KiB to 64 KiB.
    ///
    /// # Errors
    /// [`NotOnDisk::UnknownFlags`] for a size code that no server writes.
    pub(crate) fn page_bytes(self) -> Result<u32, NotOnDisk> {
        match if self.is_full_crc32() { self.0 & 0xf } else { self.0 >> 6 & 0xf } {
            0 if !self.is_full_crc32() => Ok(ORIGINAL_PAGE_BYTES),
            ssize @ 3..=7 => Ok(512 << ssize),
            _ => Err(NotOnDisk::UnknownFlags),
        }
    }

    /// Whether frames of this space lie on disk as they are, as far as the flags show.
    ///
    /// # Errors
    /// The reason why they do not.
    pub(crate) fn stored_plainly(self) -> Result<(), NotOnDisk> {
        if self.is_full_crc32() {
            return match self.0 >> 5 & 0x7 {
                0 => Ok(()),
                _ => Err(NotOnDisk::PageCompressed),
            };
        }
        if self.0 & !Self::KNOWN != 0 {
            return Err(NotOnDisk::UnknownFlags);
        }
        if self.0 >> 1 & 0xf != 0 {
            return Err(NotOnDisk::Compressed);
        }
        if self.0 & Self::TEMPORARY != 0 {
            return Err(NotOnDisk::Temporary);
        }
        if self.0 & Self::ENCRYPTED != 0 {
            return Err(NotOnDisk::Encrypted);
        }
        if self.0 & Self::MARIADB_PAGE_COMPRESSION != 0 {
            return Err(NotOnDisk::PageCompressed);
        }
        Ok(())
    }

    /// True for a general tablespace (`CREATE TABLESPACE`): its file is not named for one table.
    pub(crate) fn is_shared(self) -> bool {
        !self.is_full_crc32() && self.0 & Self::SHARED != 0
    }

    /// True for `ROW_FORMAT=COMPRESSED`, and for what is no flags word of any server known here.
    pub(crate) fn is_compressed(self) -> bool {
        !self.is_full_crc32() && self.0 >> 1 & 0xf != 0
    }

    /// True for MariaDB's form whose pages end in their checksum.
    pub(crate) fn is_full_crc32(self) -> bool {
        self.0 & Self::FULL_CRC32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words seen in real files, and made-up ones for what the test servers cannot write.
    #[test]
    fn flags_decode_as_the_servers_write_them() {
        let cases = [
            (0x0, Ok(16384), Ok(())),                             // 5.6 ibdata1, COMPACT
            (0x21, Ok(16384), Ok(())),                            // 5.6 DYNAMIC
            (0x421, Ok(16384), Ok(())),                           // 5.6 DATA DIRECTORY
            (0x29, Ok(16384), Err(NotOnDisk::Compressed)),        // KEY_BLOCK_SIZE=8
            (0xc0, Ok(4096), Ok(())),                             // 4 KiB pages
            (0x100, Ok(8192), Ok(())),                            // 8 KiB pages
            (0x1c0, Ok(65536), Ok(())),                           // 64 KiB pages
            (0x4021, Ok(16384), Ok(())),                          // 8.0+ table with SDI
            (0x1000, Ok(16384), Err(NotOnDisk::Temporary)),       // ibtmp1
            (0x2021, Ok(16384), Err(NotOnDisk::Encrypted)),       // ENCRYPTION='Y'
            (0x10021, Ok(16384), Err(NotOnDisk::PageCompressed)), // MariaDB, old form
            (0x15, Ok(16384), Ok(())),                            // MariaDB full_crc32
            (0x35, Ok(16384), Err(NotOnDisk::PageCompressed)),    // the same, zlib
            (0x40, Err(NotOnDisk::UnknownFlags), Ok(())),         // 1 KiB pages: nobody
        ];
        for (word, page_bytes, plain) in cases {
            assert_eq!(SpaceFlags(word).page_bytes(), page_bytes, "page size of {word:#x}");
            assert_eq!(SpaceFlags(word).stored_plainly(), plain, "storage of {word:#x}");
        }
        assert_eq!(SpaceFlags(1 << 20).stored_plainly(), Err(NotOnDisk::UnknownFlags));
        assert!(SpaceFlags(0x800).is_shared());
    }
}

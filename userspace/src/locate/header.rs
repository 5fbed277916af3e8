//! The first page of a data file: whose it is, and how its pages are stored.
//!
//! ```text
//! +4  FIL_PAGE_OFFSET   page number of this page: 0, but for the system tablespace's later files
//! +24 FIL_PAGE_TYPE     8 = FSP_HDR
//! +34 FIL_PAGE_SPACE_ID
//! +38 FSP_SPACE_ID      must equal +34 (page 0 only, as are the two below)
//! +46 FSP_SIZE          pages, of all files of the space together
//! +54 FSP_SPACE_FLAGS
//! ```
//!
//! All big-endian; fil0fil.h and fsp0fsp.h, unchanged from MySQL 5.6 to 9.x and in MariaDB. What else proves
//! that they are true is proven in `proof`.
//! The bytes are foreign: every answer here is a value, whatever they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use symbols::files::{CryptRecord, FileConventions, Stored};

use super::flags::SpaceFlags;
use super::ids::{PageNo, SpaceId};
use super::reason::NotOnDisk;
use crate::on_disk::Unmapped;

/// Bytes of the first page that are looked at.
const HEADER_BYTES: usize = 58;
/// Bytes of a page up to and including its type.
const TYPE_BYTES: usize = 26;
/// `FIL_PAGE_TYPE` of page 0.
pub(super) const FSP_HDR: u16 = 8;
/// How many pages of a file with holes are looked at for a stored form that flags do not show.
const SAMPLED_PAGES: u64 = 16;

/// What the first page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstPage {
    /// Page 0 of a space, which has so many pages when all of its files are counted.
    Space { id: SpaceId, flags: SpaceFlags, pages: u32 },
    /// The first page of a later file of the system tablespace.
    SystemPart { first: PageNo },
    /// Not a place that pages are looked up in.
    Refused(NotOnDisk),
}

impl FirstPage {
    /// Reads the header of an open file. A file that is too short has not been written yet.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let mut page = [0; HEADER_BYTES];
        match file.read_exact_at(&mut page, 0) {
            Ok(()) => Ok(Self::parse(&page)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Self::Refused(NotOnDisk::HeaderUnwritten))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn parse(page: &[u8; HEADER_BYTES]) -> Self {
        let (first, space, fsp_space) = (be32(page, 4), be32(page, 34), be32(page, 38));
        let (page_type, fsp_size) = (be16(page, 24), be32(page, 46));
        let answer =
            Self::Space { id: SpaceId(space), flags: SpaceFlags(be32(page, 54)), pages: fsp_size };
        match (first, page_type) {
            (0, FSP_HDR) if space == fsp_space => answer,
            // A new file has its ids and flags at once (fil_create_new_single_table_tablespace,
            // 5.6); type and size follow when page 0 is first flushed.
            (0, 0) if space == fsp_space && space != 0 => answer,
            // The server stamps a log position at +26 into a later system file that is otherwise
            // still zero, so only the fields that are used decide.
            (0, 0) if space == 0 && fsp_space == 0 && fsp_size == 0 => {
                Self::Refused(NotOnDisk::HeaderUnwritten)
            }
            (1.., _) if space == SpaceId::SYSTEM.0 => Self::SystemPart { first: PageNo(first) },
            _ => Self::Refused(NotOnDisk::HeaderInvalid),
        }
    }
}

/// Looks at pages spread over a file for stored forms that the space flags do not show.
///
/// MySQL keeps `COMPRESSION=` in the data dictionary only; on disk it shows per page, as
/// its `FIL_PAGE_TYPE` and a punched hole. Reading the type of every page is too dear for a list, so
/// only files that have holes are sampled. A compressed page that the sample misses still has its
/// hole, which the extents show page by page.
pub(crate) fn sample_page_types(
    file: &File,
    size_bytes: u64,
    page_bytes: u32,
    conventions: &FileConventions,
) -> Result<(), NotOnDisk> {
    let pages = size_bytes / u64::from(page_bytes);
    let step = (pages / SAMPLED_PAGES).max(1);
    for index in (1..pages).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let mut page = [0; TYPE_BYTES];
        if file.read_exact_at(&mut page, index * u64::from(page_bytes)).is_err() {
            return Err(NotOnDisk::File(Unmapped::FileUnreadable));
        }
        match conventions.stored(be16(&page, 24)) {
            Stored::Plainly => {}
            Stored::Compressed => return Err(NotOnDisk::PageCompressed),
            Stored::Encrypted => return Err(NotOnDisk::Encrypted),
        }
    }
    Ok(())
}

/// True when page 0 shows that pages may be encrypted: its record lies behind the array of extent descriptors
/// (`FSP_HEADER_OFFSET + fsp_header_get_encryption_offset()`, fil0crypt.cc; the latter has that offset already, so it counts twice).
pub(crate) fn is_encrypted(file: &File, page_bytes: u32, record: &CryptRecord) -> bool {
    const DESCRIPTORS_AT: u32 = 38 + 38 + 112; // FIL header, twice, FSP header
    let extent_pages = if page_bytes <= 16 * 1024 { 1024 * 1024 / page_bytes } else { 64 };
    let descriptor_bytes = 24 + extent_pages * 2 / 8; // XDES_BITMAP, two bits a page
    let offset = DESCRIPTORS_AT + page_bytes / extent_pages * descriptor_bytes;
    let mut found = [0; CryptRecord::BYTES];
    // A file that is too short has not been written yet.
    file.read_exact_at(&mut found, offset.into()).is_ok() && record.is_encrypted(&found)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn page_zero(space: u32, fsp_space: u32, flags: u32) -> [u8; HEADER_BYTES] {
        let mut page = [0; HEADER_BYTES];
        page[24..26].copy_from_slice(&FSP_HDR.to_be_bytes());
        page[34..38].copy_from_slice(&space.to_be_bytes());
        page[38..42].copy_from_slice(&fsp_space.to_be_bytes());
        page[46..50].copy_from_slice(&7_u32.to_be_bytes());
        page[54..58].copy_from_slice(&flags.to_be_bytes());
        page
    }

    #[test]
    fn the_two_space_ids_must_agree() {
        let good = FirstPage::Space { id: SpaceId(9), flags: SpaceFlags(0x21), pages: 7 };
        assert_eq!(FirstPage::parse(&page_zero(9, 9, 0x21)), good);
        let bad = FirstPage::Refused(NotOnDisk::HeaderInvalid);
        assert_eq!(FirstPage::parse(&page_zero(9, 8, 0x21)), bad);
    }

    /// A later system file carries its first page number; one that was only stamped with a log
    /// position means nothing.
    #[test]
    fn later_system_files_say_where_they_start() {
        let mut page = [0; HEADER_BYTES];
        page[26..34].copy_from_slice(&12345_u64.to_be_bytes());
        assert_eq!(FirstPage::parse(&page), FirstPage::Refused(NotOnDisk::HeaderUnwritten));
        page[4..8].copy_from_slice(&640_u32.to_be_bytes());
        assert_eq!(FirstPage::parse(&page), FirstPage::SystemPart { first: PageNo(640) });
    }

    #[test]
    fn stored_forms_show_in_page_types() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 40 * 4096];
        file.write_all(&bytes).unwrap();
        let any = FileConventions::of_any();
        assert_eq!(sample_page_types(&file, 40 * 4096, 4096, &any), Ok(()));
        bytes[21 * 4096 + 24..][..2].copy_from_slice(&14_u16.to_be_bytes());
        file.write_all_at(&bytes, 0).unwrap();
        let sampled = sample_page_types(&file, 40 * 4096, 4096, &any);
        assert_eq!(sampled, Err(NotOnDisk::PageCompressed));

        let record = any.crypt_record().unwrap();
        assert!(!is_encrypted(&file, 4096, record));
        file.write_all_at(b"s\x0e\x0cREt\x01", 188 + 16 * 88).unwrap();
        assert!(is_encrypted(&file, 4096, record));
    }

    proptest! {
        /// Whatever the bytes are, there is an answer, and space 0 is only ever claimed by a page
        /// that has it twice.
        #[test]
        fn hostile_pages_have_an_answer(bytes in prop::collection::vec(any::<u8>(), HEADER_BYTES)) {
            let page: [u8; HEADER_BYTES] = bytes.try_into().unwrap();
            if let FirstPage::Space { id, flags, .. } = FirstPage::parse(&page) {
                prop_assert_eq!(id.0, be32(&page, 38));
                let _ = (flags.page_bytes(), flags.stored_plainly());
            }
        }
    }
}

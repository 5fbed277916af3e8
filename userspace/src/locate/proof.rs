//! What proves that a file is the server's and that its header is true.
//!
//! A name proves nothing: operators name the files of the system tablespace as they like, and the first
//! bytes of a binary log read as a page number and space 0. A header alone proves little: it must carry a
//! checksum, and the file be as long as its header states. The system tablespace, whose claim needs no more than two
//! zeros, is also known by the pages that every one has (fsp0types.h): that of the insert buffer's bitmap
//! (1), the segment inodes (2) and the transaction system (5).

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::checksum;
use super::flags::SpaceFlags;
use super::header::{FSP_HDR, FirstPage, be16, be32};
use super::ids::{PageNo, SpaceId};
use super::reason::NotOnDisk;

/// How often a page is read that the server may be writing.
const TRIES: u32 = 3;
/// Number and type of pages of the system tablespace: `FIL_PAGE_IBUF_BITMAP`, `FIL_PAGE_INODE`,
/// `FIL_PAGE_TYPE_TRX_SYS`.
const SYSTEM_PAGES: [(u32, u16); 3] = [(1, 5), (2, 3), (5, 7)];
/// Pages of an extent of 16 KiB pages and smaller ones.
const EXTENT_PAGES: u32 = 64;

/// Proves page 0.
///
/// # Errors
/// Why it proves nothing.
pub(super) fn of_space(file: &File, header: FirstPage) -> Result<(), NotOnDisk> {
    let FirstPage::Space { id, flags, pages } = header else { return Ok(()) };
    // What is not stored plainly is refused by its flags, and has other checksums.
    let Ok(page_bytes) = flags.page_bytes() else { return Ok(()) };
    if flags.is_compressed() {
        return Ok(());
    }
    let whole = whole_page(file, 0, page_bytes, flags).ok_or(NotOnDisk::HeaderInvalid)?;
    if id == SpaceId::SYSTEM {
        let is_there = |(number, kind): (u32, u16)| {
            whole_page(file, number, page_bytes, flags)
                .is_some_and(|page| is_system_page(&page, number) && be16(&page, 24) == kind)
        };
        let proven = be16(&whole, 24) == FSP_HDR && SYSTEM_PAGES.into_iter().all(is_there);
        return if proven { Ok(()) } else { Err(NotOnDisk::HeaderInvalid) };
    }
    // A file grows before its header has the new length. The system tablespace has several files.
    let long_enough =
        file.metadata().is_ok_and(|now| now.len() >= u64::from(pages) * u64::from(page_bytes));
    if long_enough { Ok(()) } else { Err(NotOnDisk::HeaderInvalid) }
}

/// The number of the first page of a later file of the system tablespace, whose pages have these flags:
/// that page's own or, where that was never written, from any page of its first extent that was.
pub(super) fn of_part(file: &File, flags: SpaceFlags) -> Option<PageNo> {
    let page_bytes = flags.page_bytes().ok()?;
    (0..EXTENT_PAGES).find_map(|index| {
        let page = whole_page(file, index, page_bytes, flags)?;
        let number = be32(&page, 4);
        (is_system_page(&page, number) && number > index).then(|| PageNo(number - index))
    })
}

fn is_system_page(page: &[u8], number: u32) -> bool {
    be32(page, 4) == number && be32(page, 34) == SpaceId::SYSTEM.0
}

/// Reads a page; `None` where it has no checksum that holds.
fn whole_page(file: &File, index: u32, page_bytes: u32, flags: SpaceFlags) -> Option<Vec<u8>> {
    let mut page = vec![0; usize::try_from(page_bytes).ok()?];
    for _ in 0..TRIES {
        file.read_exact_at(&mut page, u64::from(index) * u64::from(page_bytes)).ok()?;
        if page.iter().all(|byte| *byte == 0) {
            return None;
        }
        if checksum::holds(&page, flags.is_full_crc32()) {
            return Some(page);
        }
    }
    None
}

//! Whether a page is whole: the checksums that servers write.
//!
//! ```text
//! +0  FIL_PAGE_SPACE_OR_CHKSUM   of bytes 4 to 26 and 38 to 8 before the end
//! -8  FIL_PAGE_END_LSN_OLD_CHKSUM
//! ```
//!
//! `crc32` (default since 5.7) is CRC-32C of both stretches, xored; `innodb` (default of 5.6) a hash of
//! InnoDB's own; `none` a constant in both places (buf0checksum.cc). MariaDB's `full_crc32` is the CRC-32C
//! of the whole page but for its last four bytes, which hold it. All are big-endian. The bytes between the
//! stretches are written past the buffer pool.

use std::ops::Range;

/// From the page number up to the log position, which is left out.
const HEAD: Range<usize> = 4..26;
/// Where the part begins that is not the header's.
const DATA: usize = 38;
/// Bytes of the trailer.
const TRAILER: usize = 8;
/// `BUF_NO_CHECKSUM_MAGIC`
const NONE: u32 = 0xdead_beef;

/// True when the page carries one of the checksums.
pub(super) fn holds(page: &[u8], full_crc32: bool) -> bool {
    let word = |at: usize| Some(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?));
    let last = |bytes: usize| word(page.len().checked_sub(bytes)?);
    if full_crc32 {
        let Some((bytes, _)) = page.split_last_chunk::<4>() else { return false };
        return last(4) == Some(crc32c::crc32c(bytes));
    }
    let end = page.len().saturating_sub(TRAILER);
    let (Some(head), Some(data)) = (page.get(HEAD), page.get(DATA..end)) else { return false };
    let stored = word(0);
    stored == Some(crc32c::crc32c(head) ^ crc32c::crc32c(data))
        || stored == Some(fold(head).wrapping_add(fold(data)))
        || stored == Some(NONE) && last(TRAILER) == stored
}

/// `ut_fold_binary` (ut0rnd.ic, 5.6). It computes with 64 bits there, of which the lower half is kept.
fn fold(bytes: &[u8]) -> u32 {
    const MASK: u32 = 1_463_735_687;
    const MASK2: u32 = 1_653_893_711;
    bytes.iter().fold(0, |fold: u32, byte| {
        let byte = u32::from(*byte);
        (((fold ^ byte ^ MASK2) << 8).wrapping_add(fold) ^ MASK).wrapping_add(byte)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(mut page: Vec<u8>, sum: impl Fn(&[u8]) -> u32) -> Vec<u8> {
        let end = page.len() - TRAILER;
        let sum = sum(&page[HEAD]) ^ sum(&page[DATA..end]);
        page[..4].copy_from_slice(&sum.to_be_bytes());
        page
    }

    #[test]
    fn a_byte_more_or_less_is_seen() {
        let page = signed((0..16384_u32).map(|n| n.to_le_bytes()[0]).collect(), crc32c::crc32c);
        assert!(holds(&page, false));
        assert!(!holds(&page, true));
        for at in [0, 4, 25, 38, 9000, 16384 - 9] {
            let mut other = page.clone();
            other[at] ^= 4;
            assert!(!holds(&other, false), "{at}");
        }
        let mut stamped = page;
        stamped[26..34].fill(7);
        assert!(holds(&stamped, false), "a log position is no part of it");
        assert!(!holds(&[0; 16384], false));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (holds(&bytes, false), holds(&bytes, true));
        }
    }
}

//! The parsers of foreign bytes, for the fuzzer; not part of any other build.

use super::header::FirstPage;

/// The first page of a data file.
pub fn first_page(bytes: &[u8]) {
    let mut page = [0; 58];
    let len = bytes.len().min(page.len());
    page[..len].copy_from_slice(&bytes[..len]);
    if let FirstPage::Space { flags, .. } = FirstPage::parse(&page) {
        let _ = flags.page_bytes();
    }
}

/// A page that should carry a checksum.
pub fn checksum(bytes: &[u8]) {
    let _ = (super::checksum::holds(bytes, false), super::checksum::holds(bytes, true));
}

//! The parsers of foreign bytes, for the fuzzer; not part of any other build.

use super::device_mapper;
use super::header::Header;
use super::mounts;

/// The first page of a data file.
pub fn first_page(bytes: &[u8]) {
    let mut page = [0; 58];
    let len = bytes.len().min(page.len());
    page[..len].copy_from_slice(&bytes[..len]);
    if let Header::Space { flags, .. } = Header::parse(&page) {
        let _ = flags.page_bytes();
    }
}

/// A device-mapper table as the kernel returns it.
pub fn device_table(bytes: &[u8]) {
    let count = bytes.first().copied().unwrap_or(0);
    let _ = device_mapper::parse(bytes, count.into());
}

/// A `mountinfo`.
pub fn mounts(text: &str) {
    mounts::read_all(text.as_bytes());
}

/// A page that should carry a checksum.
pub fn checksum(bytes: &[u8]) {
    let _ = (super::checksum::holds(bytes, false), super::checksum::holds(bytes, true));
}

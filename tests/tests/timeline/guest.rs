//! A guest of a few bytes that always writes.

use std::fs;
use std::path::{Path, PathBuf};

/// Adds one to a word of each page from 64 KiB to 576 KiB, for ever (16-bit real mode).
const CODE: [u8; 21] = [
    0xbb, 0x00, 0x10, // start: mov bx, 0x1000
    0x8e, 0xdb, // page: mov ds, bx
    0xff, 0x06, 0x00, 0x00, // inc word [0]
    0x81, 0xc3, 0x00, 0x01, // add bx, 0x100
    0x81, 0xfb, 0x00, 0x90, // cmp bx, 0x9000
    0x72, 0xf0, // jb page
    0xeb, 0xeb, // jmp start
];

/// Writes a disk that boots it.
pub(crate) fn disk(folder: &Path) -> PathBuf {
    let mut sector = CODE.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 16, 0);
    let disk = folder.join("guest.img");
    fs::write(&disk, sector).unwrap();
    disk
}

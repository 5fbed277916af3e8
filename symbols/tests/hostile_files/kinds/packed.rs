//! Compressed sections that state what they do not hold (System V gABI, "Compressed Sections"; RFC 1950, RFC 8878).

use super::super::Collection;
use super::super::elf::{COMPRESSED, Section};
use super::super::model::model;

const ZLIB: u32 = 1;
const ZSTD: u32 = 2;

pub(super) fn add(files: &mut Collection) {
    let info = model().section(".debug_info").content.clone();
    let (len, packed) = (info.len() as u64, zlib(&info));
    files.kind("packed");
    let mut put = |content: Vec<u8>| {
        let mut elf = model();
        elf.put(Section { flags: COMPRESSED, ..Section::new(".debug_info", content) });
        files.add(elf.bytes());
    };
    let most = packed.len() as u64 * 1032;
    for size in [len, 0, len - 1, len + 1, most, most + 1, 1 << 40, u64::MAX] {
        put([header(ZLIB, size), packed.clone()].concat());
    }
    for kind in [0, ZSTD, 3, u32::MAX] {
        put([header(kind, len), packed.clone()].concat());
    }
    for end in [0, 4, 12, 23, 24, 25, 26, 30] {
        let whole = [header(ZLIB, len), packed.clone()].concat();
        put(whole[..end].to_vec());
    }
    put(info.clone());
    put([header(ZLIB, len), vec![0xff; 400]].concat());
    // Blocks of one repeated byte, each of 128 KiB for four bytes.
    let blocks = |count: usize| {
        let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
        for block in 1..=count {
            let head = (128_u32 << 10 << 3 | 1 << 1 | u32::from(block == count)).to_le_bytes();
            bytes.extend_from_slice(&[head[0], head[1], head[2], 1]);
        }
        bytes
    };
    for (size, count) in [(8 << 20, 64), (1 << 14, 64), (4 << 20, 2000)] {
        put([header(ZSTD, size), blocks(count)].concat());
    }
    // The name of GNU's older way, with the size in front.
    for (size, cut) in
        [(len, 0), (u64::MAX, 0), (0, 0), (len, packed.len()), (len, packed.len() + 9)]
    {
        let mut elf = model();
        elf.remove(".debug_info");
        let mut content = [b"ZLIB", &size.to_be_bytes()[..], &packed].concat();
        content.truncate(content.len() - cut);
        elf.put(Section::new(".zdebug_info", content));
        files.add(elf.bytes());
    }
}

/// `Elf64_Chdr`.
fn header(kind: u32, size: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &size.to_le_bytes(), &1_u64.to_le_bytes()].concat()
}

/// As it is, in blocks that are stored (RFC 1951, 3.2.4).
fn zlib(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x78, 0x01];
    let chunks = content.chunks(0xffff);
    let last = chunks.len() - 1;
    for (index, chunk) in chunks.enumerate() {
        let len = u16::try_from(chunk.len()).unwrap_or(0);
        bytes.push(u8::from(index == last));
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&(!len).to_le_bytes());
        bytes.extend_from_slice(chunk);
    }
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in content {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    bytes.extend_from_slice(&(high << 16 | low).to_be_bytes());
    bytes
}

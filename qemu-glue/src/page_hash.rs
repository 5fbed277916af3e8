//! BLAKE3 of many pages at a time.
//!
//! A page is four chunks of BLAKE3 (specification, section 2), fewer than a vector register has lanes: hashed one by
//! one, pages leave half of AVX2 and three quarters of AVX-512 idle. So equal chunks of several pages go through the
//! lanes together, and then their parents. The hashes are those that [`blake3::hash`] gives.
//!
//! The crate has the vector code in a module that it does not promise to keep, so the workspace names its exact
//! version.

use blake3::IncrementCounter;
use blake3::platform::{MAX_SIMD_DEGREE, Platform};

/// Bytes of a page, as an index.
pub const PAGE: usize = page_number::PAGE_LEN;
/// BLAKE3 of a page.
pub type Hash = [u8; 32];

const CHUNK: usize = 1024;
const CHUNKS: usize = PAGE / CHUNK;
/// Chaining value, and half a parent's block.
const VALUE: usize = 32;
/// Pages that are hashed together.
const LANES: usize = MAX_SIMD_DEGREE;

/// The initial chaining value, that of SHA-256 (specification, section 2.2).
const IV: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
// Domain flags (specification, table 3).
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;

/// Hashes `pages` in order, to the end of `hashes`.
pub fn hash_pages<'a>(pages: impl IntoIterator<Item = &'a [u8; PAGE]>, hashes: &mut Vec<Hash>) {
    let platform = Platform::detect();
    let mut pages = pages.into_iter();
    loop {
        let mut group = [&[0; PAGE]; LANES];
        let mut count = 0;
        for (lane, page) in group.iter_mut().zip(pages.by_ref()) {
            *lane = page;
            count += 1;
        }
        if count == 0 {
            return;
        }
        group_of(platform, &group[..count], hashes);
    }
}

/// Hashes as many pages as there are lanes, or fewer.
fn group_of(platform: Platform, pages: &[&[u8; PAGE]], hashes: &mut Vec<Hash>) {
    let count = pages.len();
    // By page: the chaining values of its chunks, which are the blocks of its two parents.
    let mut values = [0; LANES * CHUNKS * VALUE];
    for chunk in 0..CHUNKS {
        let mut inputs = [&[0; CHUNK]; LANES];
        for (input, page) in inputs.iter_mut().zip(pages) {
            *input = &page.as_chunks().0[chunk];
        }
        let mut out = [0; LANES * VALUE];
        let counter = chunk as u64;
        let flags = (0, CHUNK_START, CHUNK_END);
        many(platform, &inputs[..count], counter, flags, &mut out);
        for (page, value) in out.chunks_exact(VALUE).take(count).enumerate() {
            values[(page * CHUNKS + chunk) * VALUE..][..VALUE].copy_from_slice(value);
        }
    }
    let mut halves = [0; LANES * 2 * VALUE];
    parents(platform, &values[..count * CHUNKS * VALUE], PARENT, &mut halves);
    let mut roots = [0; LANES * VALUE];
    parents(platform, &halves[..count * 2 * VALUE], PARENT | ROOT, &mut roots);
    hashes.extend(roots.as_chunks::<VALUE>().0.iter().take(count));
}

/// One chaining value for each two that follow each other in `values`.
fn parents(platform: Platform, values: &[u8], flags: u8, out: &mut [u8]) {
    let pairs = values.as_chunks::<{ 2 * VALUE }>().0;
    let mut blocks = [&[0; 2 * VALUE]; LANES * 2];
    blocks.iter_mut().zip(pairs).for_each(|(block, pair)| *block = pair);
    many(platform, &blocks[..pairs.len()], 0, (flags, 0, 0), out);
}

/// One chaining value for each of `inputs`, which stand at the same place `counter` of their trees.
fn many<const N: usize>(
    platform: Platform,
    inputs: &[&[u8; N]],
    counter: u64,
    (flags, start, end): (u8, u8, u8),
    out: &mut [u8],
) {
    platform.hash_many(inputs, &IV, counter, IncrementCounter::No, flags, start, end, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_blake3() {
        // All numbers of lanes that are in use, and a last group that is not full.
        for count in [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 257] {
            let pages: Vec<[u8; PAGE]> = (0..count)
                .map(|page: usize| {
                    let mut bytes = [0; PAGE];
                    let seed = blake3::Hasher::new().update(&page.to_le_bytes()).finalize();
                    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
                    bytes
                })
                .collect();
            let mut hashes = vec![[7; 32]];
            hash_pages(&pages, &mut hashes);
            assert_eq!(hashes.len(), count + 1);
            assert_eq!(hashes[0], [7; 32], "what was there stays");
            for (page, hash) in pages.iter().zip(&hashes[1..]) {
                assert_eq!(blake3::hash(page), *hash, "{count} pages");
            }
        }
    }

    #[test]
    fn a_bit_anywhere_is_seen() {
        let page = [0; PAGE];
        for bit in (0..PAGE * 8).step_by(509) {
            let mut other = page;
            other[bit / 8] ^= 1 << (bit % 8);
            let mut hashes = Vec::new();
            hash_pages([&page, &other], &mut hashes);
            assert_ne!(hashes[0], hashes[1], "bit {bit}");
        }
    }
}

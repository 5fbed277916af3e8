//! Bits for pages of the set, in whole words.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Release};

/// Words for `pages` bits.
pub(super) fn words(pages: u32) -> usize {
    pages.div_ceil(u64::BITS) as usize
}

/// The words that the bits `first..end` touch, with those of its bits that they have.
fn masks(first: u32, end: u32) -> impl Iterator<Item = (usize, u64)> {
    let bits = move |n: u32| {
        let start = first.max(n * u64::BITS) % u64::BITS;
        let count = end.min((n + 1) * u64::BITS) - first.max(n * u64::BITS);
        (u64::MAX >> (u64::BITS - count)) << start
    };
    let words = if first < end { first / u64::BITS..end.div_ceil(u64::BITS) } else { 0..0 };
    words.map(move |n| (n as usize, bits(n)))
}

/// Sets the bits `first..end`, as far as there are words for them.
pub(super) fn set(bitmap: &[AtomicU64], first: u32, end: u32) {
    for (word, mask) in masks(first, end) {
        if let Some(word) = bitmap.get(word) {
            word.fetch_or(mask, Release);
        }
    }
}

/// Sets the bits `first..end`, and says how many were not set before.
pub(super) fn set_new(bitmap: &[AtomicU64], first: u32, end: u32) -> u64 {
    let new = |(word, mask): (usize, u64)| {
        bitmap.get(word).map_or(0, |word| mask & !word.fetch_or(mask, AcqRel))
    };
    masks(first, end).map(|found| u64::from(new(found).count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_set_their_bits_and_no_others(ranges in prop::collection::vec((0_u32..300, 0_u32..300), 0..9)) {
            let bitmap: Vec<AtomicU64> = (0..words(300)).map(|_| AtomicU64::new(0)).collect();
            let mut model = vec![false; 300];
            for (first, end) in ranges {
                let fresh = (first..end).filter(|bit| !model[*bit as usize]).count() as u64;
                prop_assert_eq!(set_new(&bitmap, first, end), fresh);
                (first..end).for_each(|bit| model[bit as usize] = true);
            }
            for (bit, expected) in model.into_iter().enumerate() {
                let word = bitmap[bit / 64].load(Relaxed);
                prop_assert_eq!(word >> (bit % 64) & 1 == 1, expected, "bit {}", bit);
            }
        }
    }

    #[test]
    fn bits_beyond_the_bitmap_are_left_out() {
        let bitmap = [AtomicU64::new(0)];
        set(&bitmap, 60, 200);
        assert_eq!(bitmap[0].load(Relaxed), 0xf << 60);
    }
}

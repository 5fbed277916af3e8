//! Bits for pages of the set, in whole words.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::channel::SetRange;

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

/// Bits that neither of two bitmaps of `pages` bits has.
pub(super) fn neither(one: &[AtomicU64], other: &[AtomicU64], pages: u32) -> u64 {
    let bits = |word: &AtomicU64| word.load(Acquire);
    let words = one.iter().zip(other).map(|(one, other)| bits(one) | bits(other));
    let set: u64 = words.zip(masks(0, pages)).map(|(word, (_, mask))| count(word & mask)).sum();
    u64::from(pages).saturating_sub(set)
}

fn count(word: u64) -> u64 {
    word.count_ones().into()
}

/// The stretches of bits that are set among the first `pages`.
pub(super) fn stretches(bitmap: &[AtomicU64], pages: u32) -> Vec<SetRange> {
    let mut found: Vec<SetRange> = Vec::new();
    for (word, mask) in masks(0, pages) {
        let mut bits = bitmap.get(word).map_or(0, |word| word.load(Acquire)) & mask;
        let base = u32::try_from(word).unwrap_or(u32::MAX).saturating_mul(u64::BITS);
        while bits != 0 {
            let first = bits.trailing_zeros();
            let ones = (bits >> first).trailing_ones();
            // Of no more bits than are left in the word.
            bits &= u64::MAX.checked_shl(first + ones).unwrap_or(0);
            match found.last_mut() {
                Some(last) if last.first + last.count == base + first => last.count += ones,
                _ => found.push(SetRange { first: base + first, count: ones }),
            }
        }
    }
    found
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
            let none: Vec<AtomicU64> = (0..words(300)).map(|_| AtomicU64::new(0)).collect();
            let mut model = vec![false; 300];
            for (first, end) in ranges {
                set(&bitmap, first, end);
                (first..end).for_each(|bit| model[bit as usize] = true);
            }
            let left = model.iter().filter(|set| !**set).count() as u64;
            prop_assert_eq!(neither(&bitmap, &none, 300), left);
            prop_assert_eq!(neither(&none, &bitmap, 300), left);
            let mut reported = vec![false; 300];
            let mut end = None;
            for range in stretches(&bitmap, 300) {
                prop_assert!(range.count > 0 && end.is_none_or(|end| range.first > end), "not the longest");
                end = Some(range.first + range.count);
                (range.first..range.first + range.count).for_each(|bit| reported[bit as usize] = true);
            }
            prop_assert_eq!(reported, model.clone());
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

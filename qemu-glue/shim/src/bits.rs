//! Stretches of ones in bitmaps of 64-bit words.

use core::ops::Range;

/// Bits of a word.
pub(crate) const WORD: u32 = u64::BITS;

/// Calls `found(first, count)` for each longest stretch of ones among the bits `range` of the bitmap
/// whose word `n` is `word(n)`.
pub(crate) fn stretches(
    range: Range<u32>,
    word: impl Fn(usize) -> u64,
    mut found: impl FnMut(u32, u32),
) {
    let mut open = range.start..range.start;
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min((at / WORD).saturating_add(1).saturating_mul(WORD));
        let mut bits = (word((at / WORD) as usize) >> (at % WORD)) & ones(end - at);
        let mut first = at;
        while bits != 0 {
            let gap = bits.trailing_zeros();
            bits >>= gap;
            first += gap;
            let count = bits.trailing_ones();
            if open.end != first {
                if !open.is_empty() {
                    found(open.start, open.end - open.start);
                }
                open.start = first;
            }
            first += count;
            open.end = first;
            bits = bits.checked_shr(count).unwrap_or(0);
        }
        at = end;
    }
    if !open.is_empty() {
        found(open.start, open.end - open.start);
    }
}

/// The words that the bits `range` touch, each with those of its bits that are in the range.
pub(crate) fn masks(range: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let words = (range.start / WORD)..range.end.div_ceil(WORD);
    words.map(move |n| {
        let start = range.start.max(n.saturating_mul(WORD));
        let end = range.end.min(n.saturating_add(1).saturating_mul(WORD));
        (n as usize, ones(end.saturating_sub(start)) << (start % WORD))
    })
}

/// The `count` lowest bits, at most 64.
fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(WORD.saturating_sub(count)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(range: Range<u32>, words: &[u64]) -> Vec<(u32, u32)> {
        let mut list = Vec::new();
        stretches(range, |n| words[n], |first, count| list.push((first, count)));
        list
    }

    #[test]
    fn stretches_are_the_longest_within_the_range() {
        assert_eq!(found(0..64, &[0b1011]), [(0, 2), (3, 1)]);
        assert_eq!(found(1..3, &[0b1111]), [(1, 2)]);
        assert_eq!(found(0..192, &[1 << 63, u64::MAX, 1]), [(63, 66)]);
        assert_eq!(found(60..70, &[u64::MAX, u64::MAX]), [(60, 10)]);
        assert_eq!(found(5..5, &[u64::MAX]), []);
        assert_eq!(found(0..128, &[1, 1]), [(0, 1), (64, 1)]);
        assert_eq!(found(0..128, &[0, 0]), []);
    }

    #[test]
    fn masks_cover_the_range_and_nothing_else() {
        assert_eq!(masks(0..64).collect::<Vec<_>>(), [(0, u64::MAX)]);
        assert_eq!(masks(62..66).collect::<Vec<_>>(), [(0, 3 << 62), (1, 3)]);
        assert_eq!(masks(3..3).map(|(_, mask)| mask).sum::<u64>(), 0);
        let bits: u32 = masks(7..1000).map(|(_, mask)| mask.count_ones()).sum();
        assert_eq!(bits, 993);
    }
}

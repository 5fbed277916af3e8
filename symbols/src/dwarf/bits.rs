//! Bit-fields: from the two ways DWARF counts bits to a little-endian storage unit.

use crate::profile::Bits;

/// Position of a member in its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitRange {
    /// Byte offset of the storage unit.
    pub(crate) offset: u64,
    /// Size of the storage unit in bytes: 1, 2, 4 or 8 for a bit-field.
    pub(crate) size: u64,
    /// The bits, when they are not the whole unit.
    pub(crate) bits: Option<Bits>,
}

/// How a bit-field's position is stated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BitPosition {
    /// `DW_AT_bit_offset` (DWARF 2 and 3, GCC before 11 in 4): bits from the *most significant* bit of
    /// the storage unit at byte `offset` down to the field's most significant bit. Negative when
    /// the field straddles units.
    FromTop { offset: u64, bit_offset: i64 },
    /// `DW_AT_data_bit_offset` (DWARF 4 and 5): bits from the start of the structure up.
    FromStart { bit_offset: u64 },
}

/// Where a bit-field of `width` bits, declared with a type of `unit` bytes, stands. None when the
/// numbers make no sense, or no aligned unit of 8 bytes or fewer holds it.
pub(crate) fn bit_field(position: BitPosition, unit: u64, width: u64) -> Option<BitRange> {
    if !matches!(unit, 1 | 2 | 4 | 8) || width == 0 || width > unit * 8 {
        return None;
    }
    let first_bit = match position {
        BitPosition::FromStart { bit_offset } => bit_offset,
        BitPosition::FromTop { offset, bit_offset } => {
            let unit_bits = i64::try_from(unit * 8).ok()?;
            let shift = unit_bits.checked_sub(bit_offset)?.checked_sub_unsigned(width)?;
            offset.checked_mul(8)?.checked_add_signed(shift)?
        }
    };
    // The declared unit where the field lies within one; a packed field may need the next size.
    let (offset, size) = [unit, 8].into_iter().find_map(|size| {
        let offset = first_bit / 8 / size * size;
        (first_bit + width <= (offset + size) * 8).then_some((offset, size))
    })?;
    let shift = u8::try_from(first_bit - offset * 8).ok()?;
    let width = u8::try_from(width).ok()?;
    let whole = shift == 0 && u64::from(width) == size * 8;
    Some(BitRange { offset, size, bits: (!whole).then_some(Bits { shift, width }) })
}

#[cfg(test)]
mod tests {
    use super::{BitPosition, BitRange, Bits, bit_field};

    #[test]
    fn both_ways_of_counting_agree() {
        // struct { unsigned a : 3, b : 5, c : 20; } c stands at bits 8 to 27 of the word.
        let expected =
            Some(BitRange { offset: 4, size: 4, bits: Some(Bits { shift: 8, width: 20 }) });
        let from_top = BitPosition::FromTop { offset: 4, bit_offset: 32 - 8 - 20 };
        let from_start = BitPosition::FromStart { bit_offset: 4 * 8 + 8 };
        assert_eq!(bit_field(from_top, 4, 20), expected);
        assert_eq!(bit_field(from_start, 4, 20), expected);
    }

    #[test]
    fn a_field_that_fills_its_unit_is_no_bit_field() {
        let place = bit_field(BitPosition::FromTop { offset: 8, bit_offset: 0 }, 4, 32);
        assert_eq!(place, Some(BitRange { offset: 8, size: 4, bits: None }));
    }

    #[test]
    fn a_straddling_field_takes_the_larger_unit() {
        // Packed: 12 bits from bit 28 on cross the word at bit 32.
        let place = bit_field(BitPosition::FromStart { bit_offset: 28 }, 4, 12);
        let bits = Some(Bits { shift: 28, width: 12 });
        assert_eq!(place, Some(BitRange { offset: 0, size: 8, bits }));
        let place = bit_field(BitPosition::FromTop { offset: 0, bit_offset: -8 }, 4, 12);
        assert_eq!(place, Some(BitRange { offset: 0, size: 8, bits }));
    }

    #[test]
    fn nonsense_has_no_answer() {
        assert_eq!(bit_field(BitPosition::FromStart { bit_offset: 0 }, 3, 1), None);
        assert_eq!(bit_field(BitPosition::FromStart { bit_offset: 0 }, 4, 33), None);
        assert_eq!(bit_field(BitPosition::FromStart { bit_offset: 60 }, 8, 10), None);
        let top = BitPosition::FromTop { offset: u64::MAX, bit_offset: i64::MIN };
        assert_eq!(bit_field(top, 4, 8), None);
        let top = BitPosition::FromTop { offset: 0, bit_offset: 40 };
        assert_eq!(bit_field(top, 4, 8), None);
    }
}

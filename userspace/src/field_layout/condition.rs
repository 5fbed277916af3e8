//! Integers in a struct of the server, and conditions on them.

use symbols::profile::{self, Field, Op};
use symbols::role::FieldRole;

use super::error::LayoutError;

/// Where an integer lies in a struct of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub(super) offset: usize,
    size: usize,
    shift: u32,
    mask: u64,
}

impl Slot {
    /// A slot that is known to lie inside `bounds` bytes.
    pub(super) fn new(field: &Field, bounds: u64) -> Result<Self, LayoutError> {
        let end = field.offset.checked_add(field.size);
        if field.size == 0 || field.size > 8 || end.is_none_or(|end| end > bounds) {
            return Err(LayoutError::OutOfBounds {
                path: field.path.clone(),
                offset: field.offset,
                size: field.size,
                bounds,
            });
        }
        let (shift, width) = field.bits.map_or((0, 64), |b| (u32::from(b.shift), b.width));
        Ok(Self {
            offset: usize::try_from(field.offset).unwrap_or(usize::MAX),
            size: usize::try_from(field.size).unwrap_or(8),
            shift: shift.min(63),
            mask: if width >= 64 { u64::MAX } else { (1 << width) - 1 },
        })
    }

    /// Offset from the start of the struct in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Size of the storage unit in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The unsigned value in `bytes`, which start where the struct starts. 0 past their end.
    #[must_use]
    #[inline]
    pub fn read(&self, bytes: &[u8]) -> u64 {
        let raw = match (self.size, bytes.get(self.offset..)) {
            (8, Some([a, b, c, d, e, f, g, h, ..])) => {
                u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
            }
            (4, Some([a, b, c, d, ..])) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
            (1, Some([a, ..])) => u64::from(*a),
            (size, Some(rest)) => {
                let mut word = [0; 8];
                let len = size.min(rest.len());
                word[..len].copy_from_slice(&rest[..len]);
                u64::from_le_bytes(word)
            }
            (_, None) => 0,
        };
        raw >> self.shift & self.mask
    }

    /// The value as a signed integer of the slot's size.
    #[must_use]
    #[inline]
    pub fn read_signed(&self, bytes: &[u8]) -> i64 {
        let value = self.read(bytes);
        if self.mask != u64::MAX || self.size >= 8 {
            return value.cast_signed();
        }
        let unused = 64 - 8 * u32::try_from(self.size).unwrap_or(8);
        (value << unused).cast_signed() >> unused
    }
}

/// A condition on one field of a descriptor.
#[derive(Clone, Debug)]
pub struct FieldCondition {
    field: FieldRole,
    slot: Slot,
    op: Op,
    value: i64,
    last: i64,
    mask: u64,
}

impl FieldCondition {
    /// A condition of the profile on a field that lies at `slot`.
    pub(super) fn new(condition: &profile::Condition, slot: Slot) -> Self {
        Self {
            field: condition.field,
            slot,
            op: condition.op,
            value: condition.value,
            last: condition.last.unwrap_or(condition.value),
            mask: condition.mask.unwrap_or(u64::MAX),
        }
    }

    /// Whether the descriptor in `bytes` satisfies it.
    #[must_use]
    #[inline]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let value = self.slot.read_signed(bytes) & self.mask.cast_signed();
        match self.op {
            Op::Eq => value == self.value,
            Op::Ne => value != self.value,
            Op::Gt => value > self.value,
            Op::Le => value <= self.value,
            Op::Within => {
                let value = self.slot.read(bytes) & self.mask;
                (self.value.cast_unsigned()..=self.last.cast_unsigned()).contains(&value)
            }
        }
    }

    /// The same for the probes.
    pub(super) fn for_probes(&self) -> Result<probe_abi::WordRange, LayoutError> {
        let Self { field, slot, op, value, last, mask } = self;
        let refused = || LayoutError::NotForProbes { field: *field };
        let last = match op {
            Op::Eq => value,
            Op::Within => last,
            Op::Ne | Op::Gt | Op::Le => return Err(refused()),
        };
        let inside = slot.offset % 8;
        if inside + slot.size > 8 {
            return Err(refused());
        }
        let whole = u64::MAX >> (64 - 8 * slot.size);
        // In its place: a mask that is moved up costs no more than one that is not.
        let moved = |bits: u64| (bits << slot.shift & whole) << (8 * inside);
        Ok(probe_abi::WordRange {
            offset: (slot.offset - inside) as u64,
            mask: moved(mask & slot.mask),
            first: moved(value.cast_unsigned()),
            last: moved(last.cast_unsigned()),
        })
    }
}

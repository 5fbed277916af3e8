//! DWARF expressions for the place of a value, as far as a probe can follow them.

use gimli::{Encoding, Expression, Operation};

use super::Slice;
use crate::profile::ArgLoc;

/// What `DW_OP_fbreg` counts from: the value of a register plus an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// DWARF register number.
    pub(crate) register: u16,
    /// In bytes.
    pub(crate) offset: i64,
}

impl Base {
    /// The frame base that `DW_AT_frame_base` states; `cfa` gives the canonical frame address.
    pub(crate) fn of(
        expression: Expression<Slice<'_>>,
        encoding: Encoding,
        cfa: impl FnOnce() -> Option<Self>,
    ) -> Option<Self> {
        match operations(expression, encoding)?.as_slice() {
            [Operation::Register { register }] => Some(Self { register: register.0, offset: 0 }),
            [Operation::RegisterOffset { register, offset, .. }] => {
                Some(Self { register: register.0, offset: *offset })
            }
            [Operation::CallFrameCFA] => cfa(),
            _ => None,
        }
    }
}

/// Where a value stands by `expression`. [`ArgLoc::Unknown`] for what needs more than a register
/// and one memory read: pieces, computed values, values of the caller's registers.
pub(crate) fn evaluate(
    expression: Expression<Slice<'_>>,
    encoding: Encoding,
    frame_base: impl FnOnce() -> Option<Base>,
) -> ArgLoc {
    let Some(operations) = operations(expression, encoding) else { return ArgLoc::Unknown };
    match operations.as_slice() {
        [Operation::Register { register }]
        | [Operation::RegisterOffset { register, offset: 0, .. }, Operation::StackValue] => {
            ArgLoc::Register { reg: register.0 }
        }
        [Operation::RegisterOffset { register, offset, .. }] => {
            ArgLoc::Memory { reg: register.0, offset: *offset }
        }
        [Operation::FrameOffset { offset }] => frame_base()
            .and_then(|base| {
                Some(ArgLoc::Memory {
                    reg: base.register,
                    offset: base.offset.checked_add(*offset)?,
                })
            })
            .unwrap_or(ArgLoc::Unknown),
        [Operation::UnsignedConstant { value }, Operation::StackValue] => {
            ArgLoc::Constant { value: *value }
        }
        [Operation::SignedConstant { value }, Operation::StackValue] => {
            ArgLoc::Constant { value: value.cast_unsigned() }
        }
        [Operation::ImplicitValue { data }] if (1..=8).contains(&data.len()) => {
            let mut bytes = [0; 8];
            bytes[..data.len()].copy_from_slice(data.slice());
            ArgLoc::Constant { value: u64::from_le_bytes(bytes) }
        }
        _ => ArgLoc::Unknown,
    }
}

/// The operations, when there are at most two: everything that [`evaluate`] understands.
fn operations(
    expression: Expression<Slice<'_>>,
    encoding: Encoding,
) -> Option<Vec<Operation<Slice<'_>>>> {
    let mut parsed = Vec::with_capacity(2);
    let mut iter = expression.operations(encoding);
    while let Some(operation) = iter.next().ok()? {
        if parsed.len() == 2 {
            return None;
        }
        parsed.push(operation);
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::{ArgLoc, Base, Slice, evaluate};
    use gimli::{Encoding, Expression, Format, LittleEndian};

    fn at(bytes: &[u8]) -> ArgLoc {
        let encoding = Encoding { format: Format::Dwarf32, version: 4, address_size: 8 };
        let expression = Expression(Slice::new(bytes, LittleEndian));
        evaluate(expression, encoding, || Some(Base { register: 7, offset: 8 }))
    }

    #[test]
    fn what_a_probe_can_read() {
        assert_eq!(at(&[0x55]), ArgLoc::Register { reg: 5 });
        assert_eq!(at(&[0x90, 0x0c]), ArgLoc::Register { reg: 12 });
        assert_eq!(at(&[0x76, 0x70]), ArgLoc::Memory { reg: 6, offset: -16 });
        assert_eq!(at(&[0x91, 0x68]), ArgLoc::Memory { reg: 7, offset: -16 });
        assert_eq!(at(&[0x33, 0x9f]), ArgLoc::Constant { value: 3 });
        assert_eq!(at(&[0x9e, 2, 0x34, 0x12]), ArgLoc::Constant { value: 0x1234 });
        assert_eq!(at(&[0x73, 0x00, 0x9f]), ArgLoc::Register { reg: 3 });
    }

    #[test]
    fn what_it_cannot_is_unknown() {
        // A computed value, a piece, an entry value, an empty and a truncated expression.
        for bytes in
            [&[0x73, 0x08, 0x9f][..], &[0x55, 0x93, 4], &[0xa3, 1, 0x55, 0x9f], &[], &[0x91]]
        {
            assert_eq!(at(bytes), ArgLoc::Unknown, "{bytes:x?}");
        }
    }
}

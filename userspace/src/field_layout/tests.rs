//! Profiles that do not make a layout, and what a layout makes of bytes.

use super::*;
use crate::stored_profile::stored;
use symbols::profile::{Bits, Missing, Op};
use symbols::reason::UnresolvedReason;

fn field(offset: u64, size: u64, bits: Option<Bits>) -> Field {
    Field { path: "t.f".into(), offset, size, bits }
}

#[test]
fn slots_read_plain_and_bit_fields() {
    let bytes = [0x12, 0x34, 0xff, 0x80, 0x01, 0, 0, 0x80, 9];
    let plain = Slot::new(&field(1, 2, None), 9).unwrap();
    assert_eq!(plain.read(&bytes), 0xff34);
    assert_eq!(plain.read_signed(&bytes), -204);
    let bits = Slot::new(&field(0, 4, Some(Bits { shift: 4, width: 8 })), 9).unwrap();
    assert_eq!(bits.read(&bytes), 0x41);
    let whole = Slot::new(&field(0, 8, None), 9).unwrap();
    assert_eq!(whole.read_signed(&bytes), 0x8000_0001_80ff_3412_u64.cast_signed());
    assert_eq!(whole.read(&bytes[..4]), 0x80ff_3412, "short input reads as far as it goes");
}

#[test]
fn sizes_that_no_struct_has_are_refused() {
    FieldLayout::compile(&stored()).unwrap();
    for role in [SizeRole::Block, SizeRole::Pool, SizeRole::Chunk] {
        for bytes in [0, MAX_SIZE + 1, u64::MAX] {
            let mut profile = stored();
            profile.sizes.insert(role, bytes);
            let error = FieldLayout::compile(&profile).unwrap_err();
            assert!(matches!(error, LayoutError::Absurd { .. }), "{role}: {error}");
            assert!(error.to_string().contains(role.name()) && error.hint().contains("symbols"));
        }
    }
    let mut profile = stored();
    profile.sizes.insert(SizeRole::Block, MAX_BLOCK + 1);
    assert!(matches!(FieldLayout::compile(&profile), Err(LayoutError::Absurd { .. })));
}

#[test]
fn a_rule_without_its_enumerator_is_refused() {
    let lacking = |role: Role, name: &str, required| {
        let mut profile = stored();
        profile.missing.push(Missing {
            role,
            name: name.to_owned(),
            required,
            reason: UnresolvedReason::NotInDebugInfo,
        });
        FieldLayout::compile(&profile)
    };
    let text = lacking(Role::Condition("io".into()), "BUF_IO_NONE", true).unwrap_err().to_string();
    assert!(text.contains("enum `BUF_IO_NONE`"), "{text}");
    assert!(lacking(Role::Condition("state".into()), "BUF_BLOCK_FILE_PAGE", true).is_err());
    lacking(Role::Condition("io".into()), "BUF_IO_NONE", false).unwrap();
    lacking(Role::Enum("COM_QUERY".into()), "COM_QUERY", true).unwrap();
}

#[test]
fn fields_outside_their_type_are_refused() {
    for (offset, size) in [(8, 8), (u64::MAX, 4), (0, 0), (0, 16)] {
        assert!(Slot::new(&field(offset, size, None), 15).is_err(), "{offset}+{size}");
    }
}

#[test]
fn probes_compare_for_equality_and_with_ranges() {
    let conditions = |profile: &Profile| FieldLayout::compile(profile).unwrap().io_for_probes();
    let mut profile = stored();
    let io = conditions(&profile).unwrap();
    let byte = |value: u64| probe_abi::WordRange {
        offset: 0x10,
        mask: 0xff_u64 << 32,
        first: value << 32,
        last: value << 32,
    };
    assert_eq!(io, [byte(1), byte(2)]);
    // Four bits of a word of four bytes.
    let bits = Bits { shift: 4, width: 4 };
    profile.fields.insert(FieldRole::BlockIoFix, field(8, 4, Some(bits)));
    let io = profile.io.as_mut().unwrap();
    (io.reading.op, io.reading.last) = (Op::Within, Some(3));
    io.writing.mask = Some(0b0110);
    let io = conditions(&profile).unwrap();
    let word = |mask, first, last| probe_abi::WordRange { offset: 8, mask, first, last };
    assert_eq!(io, [word(0xf0, 0x10, 0x30), word(0x60, 0x20, 0x20)]);
    profile.io.as_mut().unwrap().reading.op = Op::Gt;
    let refused = conditions(&profile).unwrap_err();
    assert!(refused.to_string().contains("block.io_fix"), "{refused}");
    profile.io.as_mut().unwrap().reading.op = Op::Eq;
    profile.fields.insert(FieldRole::BlockIoFix, field(6, 4, None));
    assert!(conditions(&profile).is_err(), "in two words");
}

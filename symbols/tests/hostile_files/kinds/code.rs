//! Machine code that does not decode, does not end, or jumps into the middle of itself.

use super::super::Collection;
use super::super::dwarf::{DATA8, HIGH_PC, LOW_PC};
use super::super::model::{CODE_BYTES, FUNCTIONS, model, unit, with, without};

pub(super) fn add(files: &mut Collection) {
    files.kind("code");
    let bodies: [&[u8]; 16] = [
        &[0x06],
        &[0x66; 15],
        &[0x66; 16],
        &[0xeb, 0xfe],
        &[0xeb, 0xff],
        &[0x74, 0x00, 0x55],
        &[0x48, 0x89, 0xe5, 0x74, 0xfd],
        &[0xe9, 0xff, 0xff, 0xff, 0x7f],
        &[0x0f],
        &[0xc5, 0xf8],
        &[0x62, 0xf1, 0x7c],
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0x48, 0x89, 0xd7, 0x55],
        &[0x48, 0xc7, 0x04, 0x24],
        &[0xc3],
        &[0xcc],
    ];
    for body in bodies {
        for stripped in [false, true] {
            let mut elf = if stripped { without() } else { model() };
            let text = &mut elf.section(".text").content;
            *text = body.iter().copied().cycle().take(text.len()).collect();
            files.add(elf.bytes());
        }
    }
    // The file ends with the code: nothing is behind the last instruction.
    let honest = model().written();
    let (at, len) = (honest.get_field(".text", "offset"), honest.get_field(".text", "size"));
    for cut in [0, 1, 31, 33, 95] {
        let mut file = honest.clone();
        file.set(64 + 32, 8, at + len - cut);
        files.add(file.bytes);
    }
    files.kind("address");
    let text = without().address(".text");
    let end = CODE_BYTES as u64 * FUNCTIONS.len() as u64;
    for start in
        [0, 1, text - 1, text + 1, text + end - 1, text + end, 1 << 63, u64::MAX, u64::MAX - 31]
    {
        for len in [0, 1, CODE_BYTES as u64, 1 << 40, u64::MAX] {
            let mut unit = unit();
            unit.root.change(FUNCTIONS[1], |entry| {
                let entry = entry.without(LOW_PC).without(HIGH_PC).address(LOW_PC, start);
                entry.raw(HIGH_PC, DATA8, &len.to_le_bytes())
            });
            files.add(with(&unit).bytes());
        }
    }
}

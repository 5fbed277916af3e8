//! The code of one function without what the linker and the line numbers of its source put into it.
//!
//! Two builds of the same source differ in where things lie. So the displacements of operands that are relative to the
//! instruction, and those of branches that leave the function, are masked; displacements from other registers (offsets of members),
//! immediates and inner branches stay. What is masked is listed: it shows which things a function uses, in the order of its code.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

use serde::{Deserialize, Serialize};

use super::function::CodeRange;
use crate::addr::LinkAddr;
use crate::elf::Program;

/// Longest function that is looked at, in bytes.
const MAX_FUNCTION: u64 = 1 << 20;

/// Largest immediate that may be a line number.
const MAX_LINE: u32 = 99_999;

/// Longest name of a source.
const MAX_FILE_NAME: usize = 256;

/// How many instructions are close by.
const NEAR: usize = 6;

/// Something outside of a function that its code uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// Its link address.
    pub(super) target: u64,
    /// Bytes that are read or written there at once; 0 where its address is taken or code goes there.
    pub(super) bytes: u8,
}

/// An immediate that may be a line number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) number: u32,
    /// Whether the name of a source is loaded close by: then it is one.
    pub(super) beside_source: bool,
}

/// The masked code of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MaskedCode {
    /// Number of instructions.
    pub(super) instructions: usize,
    /// Hash of the masked bytes.
    pub(super) hash: u64,
    /// The same with immediates that may be line numbers masked too.
    pub(super) unlined: u64,
    /// Those immediates, in the order of the code.
    pub(super) lines: Vec<Line>,
    /// What is used, in the order of the code.
    pub(super) uses: Vec<Use>,
}

impl MaskedCode {
    /// The code at `extent`; nothing where it does not decode to its end.
    pub(super) fn of(program: &Program, extent: CodeRange) -> Option<Self> {
        let len = extent.end - extent.start;
        if len > MAX_FUNCTION {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        let bytes = program.bytes_at(LinkAddr(extent.start), len);
        if bytes.len() != len {
            return None;
        }
        let mut masked = bytes.to_vec();
        let (mut moves, mut files) = (Vec::new(), Vec::new());
        let (mut uses, mut instructions) = (Vec::new(), 0_usize);
        let mut decoder = Decoder::with_ip(64, bytes, extent.start, DecoderOptions::NONE);
        let mut machine = Instruction::default();
        while decoder.can_decode() {
            let at = decoder.position();
            decoder.decode_out(&mut machine);
            if machine.is_invalid() {
                return None;
            }
            let offsets = decoder.get_constant_offsets(&machine);
            if machine.is_ip_rel_memory_operand() {
                let bytes = u8::try_from(machine.memory_size().size()).unwrap_or(u8::MAX);
                let target = machine.ip_rel_memory_address();
                uses.push(Use { target, bytes });
                if bytes == 0 && names_source(program, LinkAddr(target)) {
                    files.push(instructions);
                }
                blank(&mut masked, at + offsets.displacement_offset(), offsets.displacement_size());
            }
            if is_near_branch(&machine) && !extent.holds(machine.near_branch_target()) {
                uses.push(Use { target: machine.near_branch_target(), bytes: 0 });
                blank(&mut masked, at + offsets.immediate_offset(), offsets.immediate_size());
            }
            if let Some(value) = small_move(&machine) {
                moves.push((instructions, value, at + offsets.immediate_offset()));
            }
            instructions += 1;
        }
        let hash = short_hash(&masked);
        let mut lines = Vec::with_capacity(moves.len());
        let is_near = |at: usize| files.iter().any(|file| file.abs_diff(at) <= NEAR);
        for (at, number, place) in moves {
            lines.push(Line { number, beside_source: is_near(at) });
            blank(&mut masked, place, size_of::<u32>());
        }
        let unlined = if lines.is_empty() { hash } else { short_hash(&masked) };
        Some(Self { instructions, hash, unlined, lines, uses })
    }
}

fn is_near_branch(machine: &Instruction) -> bool {
    matches!(machine.op0_kind(), OpKind::NearBranch64)
}

/// Whether the name of a source stands at `addr`: an argument of failed assertions, and of instrumented latches.
fn names_source(program: &Program, addr: LinkAddr) -> bool {
    let text = program.bytes_at(addr, MAX_FILE_NAME);
    let Some(end) = text.iter().position(|byte| *byte == 0) else { return false };
    let text = &text[..end];
    [&b".cc"[..], b".h", b".ic", b".c", b".cpp"].iter().any(|ending| text.ends_with(ending))
}

/// The immediate of `mov $n, %r32`, where it may be a line number.
fn small_move(machine: &Instruction) -> Option<u32> {
    let is_move = machine.code() == iced_x86::Code::Mov_r32_imm32;
    let value = is_move.then(|| machine.immediate32())?;
    (1..=MAX_LINE).contains(&value).then_some(value)
}

fn blank(bytes: &mut [u8], at: usize, len: usize) {
    if let Some(bytes) = bytes.get_mut(at..at + len) {
        bytes.fill(0);
    }
}

/// The first eight bytes of BLAKE3: to find other code of the same hash is to try 2^64 times.
pub(super) fn short_hash(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

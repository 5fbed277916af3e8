//! The instruction to probe.
//!
//! Under an x86-64 uprobe the kernel replaces the first byte of an instruction by `int3`. A hit
//! costs one trap when the kernel then *emulates* the instruction, two when it must single-step a
//! copy of it out of line. It emulates, in every kernel that has BTF (Linux 5.2 and later), see
//! `arch/x86/kernel/uprobes.c`:
//! - `push` of a 64-bit register, with no prefix or REX.B alone (`push_setup_xol_ops`);
//! - `nop` (one byte), and relative `call`, `jmp` and `jcc` without an operand-size prefix
//!   (`branch_setup_xol_ops`).
//!
//! Kernels of 2025 and later emulate longer `nop`s too; `endbr64` is emulated by none.
//!
//! So the probe goes to the first such instruction of the straight line that starts at the entry,
//! as long as nothing before it writes memory or a wanted argument, and no jump of the function
//! leads between the two: every call passes it, once, with the arguments where they stood.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, GasFormatter, Instruction as Machine,
    InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use crate::addr::{FileOff, LinkAddr};
use crate::elf::{Program, hex};
use crate::profile::Instruction;

/// Longest straight line looked at, in bytes.
const PROLOGUE_BYTES: usize = 64;

/// Bytes of a function's start that a profile keeps: many functions begin alike, so those up to the
/// probe would distinguish few of them.
pub const CODE_BYTES: usize = 32;

/// Longest function whose jumps are looked at, in bytes; beyond it the entry is probed.
const FUNCTION_BYTES: u64 = 1 << 20;

/// DWARF numbers of the registers that carry the first six integer or pointer arguments
/// (System V ABI for AMD64, 3.2.3 and figure 3.36): rdi, rsi, rdx, rcx, r8, r9.
pub const ABI_ARGUMENTS: [u16; 6] = [5, 4, 1, 2, 8, 9];

/// DWARF register numbers 0 to 15 of x86-64 (the same ABI, figure 3.36).
const DWARF_REGISTERS: [Register; 16] = [
    Register::RAX,
    Register::RDX,
    Register::RCX,
    Register::RBX,
    Register::RSI,
    Register::RDI,
    Register::RBP,
    Register::RSP,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// An instruction to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAddress {
    /// Where it is.
    pub addr: LinkAddr,
    /// The same in the file.
    pub file_offset: FileOff,
    /// What a hit costs.
    pub instruction: Instruction,
    /// The instruction, in AT&T syntax.
    pub text: String,
    /// Its length in bytes.
    pub len: usize,
}

/// The instruction at `addr` itself. None when the file has no code there, or none that decodes.
#[must_use]
pub fn probe_at(program: &Program, addr: LinkAddr) -> Option<ProbeAddress> {
    if !program.is_code(addr) {
        return None;
    }
    probe_in(program.bytes_at(addr, PROLOGUE_BYTES), addr, program.file_offset(addr)?)
}

/// The same of the `bytes` there.
pub(crate) fn probe_in(bytes: &[u8], addr: LinkAddr, file_offset: FileOff) -> Option<ProbeAddress> {
    let machine = decode(bytes, addr).next()?;
    let instruction =
        if is_emulated(&machine) { Instruction::Emulated } else { Instruction::SingleStepped };
    let mut text = String::new();
    GasFormatter::new().format(&machine, &mut text);
    Some(ProbeAddress { addr, file_offset, instruction, text, len: machine.len() })
}

/// DWARF number of the register `r` where the instruction at `addr` stores `size` bytes to `offset(r)`.
#[must_use]
pub fn stores_to(program: &Program, addr: LinkAddr, offset: u64, size: u64) -> Option<u16> {
    let machine = decode(program.bytes_at(addr, PROLOGUE_BYTES), addr).next()?;
    let is_store = machine.mnemonic() == Mnemonic::Mov && machine.op0_kind() == OpKind::Memory;
    let fits = machine.memory_displacement64() == offset
        && machine.memory_size().size() as u64 == size
        && machine.memory_index() == Register::None
        && machine.segment_prefix() == Register::None;
    let base = DWARF_REGISTERS.iter().position(|reg| *reg == machine.memory_base())?;
    (is_store && fits).then(|| u16::try_from(base).ok())?
}

/// The bytes from `entry` on, hexadecimal, [`CODE_BYTES`] of them or up to the end of the probed
/// instruction: what the program must have there when a probe is set.
#[must_use]
pub fn code(program: &Program, entry: LinkAddr, probe: &ProbeAddress) -> String {
    let way = probe.addr.0.checked_sub(entry.0).and_then(|way| usize::try_from(way).ok());
    let end = way.filter(|way| *way <= PROLOGUE_BYTES).map_or(0, |way| way + probe.len);
    hex(program.bytes_at(entry, end.max(CODE_BYTES)))
}

/// The best instruction for a probe of the function that starts at `entry` and is `len` bytes long,
/// with the DWARF registers `keep` unchanged since the entry.
#[must_use]
pub fn choose(program: &Program, entry: LinkAddr, len: u64, keep: &[u16]) -> Option<ProbeAddress> {
    let fallback = probe_at(program, entry)?;
    let Some(addr) = emulated_in_prologue(program, entry, keep).filter(|addr| *addr != entry)
    else {
        return Some(fallback);
    };
    if is_jumped_over(program, entry, len, addr) {
        return Some(fallback);
    }
    probe_at(program, addr)
}

/// The first emulated instruction of the straight line.
fn emulated_in_prologue(program: &Program, entry: LinkAddr, keep: &[u16]) -> Option<LinkAddr> {
    let keep: Vec<Register> =
        keep.iter().filter_map(|n| DWARF_REGISTERS.get(usize::from(*n))).copied().collect();
    let mut infos = InstructionInfoFactory::new();
    for machine in decode(program.bytes_at(entry, PROLOGUE_BYTES), entry) {
        if machine.flow_control() != FlowControl::Next {
            return None;
        }
        if is_emulated(&machine) {
            return Some(LinkAddr(machine.ip()));
        }
        let info = infos.info(&machine);
        let writes = |access: OpAccess| {
            !matches!(
                access,
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            )
        };
        let spoils = info
            .used_registers()
            .iter()
            .any(|used| writes(used.access()) && keep.contains(&used.register().full_register()));
        if spoils || info.used_memory().iter().any(|used| writes(used.access())) {
            return None;
        }
    }
    None
}

/// True when a jump of the function leads past the entry up to `probe`, or when that is not known.
fn is_jumped_over(program: &Program, entry: LinkAddr, len: u64, probe: LinkAddr) -> bool {
    if len == 0 || len > FUNCTION_BYTES {
        return true;
    }
    let Ok(len) = usize::try_from(len) else { return true };
    decode(program.bytes_at(entry, len), entry).any(|machine| {
        let jumps = matches!(
            machine.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        let target = machine.near_branch_target();
        jumps && target > entry.0 && target <= probe.0
    })
}

/// Instructions from `addr` on, up to the first that does not decode.
fn decode(bytes: &[u8], addr: LinkAddr) -> impl Iterator<Item = Machine> {
    let mut decoder = Decoder::with_ip(64, bytes, addr.0, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        if !decoder.can_decode() {
            return None;
        }
        let machine = decoder.decode();
        (!machine.is_invalid()).then_some(machine)
    })
}

fn is_emulated(machine: &Machine) -> bool {
    match machine.code() {
        // One byte, or two with REX.B; other prefixes make it longer.
        Code::Push_r64 => machine.len() == 1 + usize::from(machine.op0_register() >= Register::R8),
        Code::Nopd => machine.len() == 1,
        Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => true,
        _ => machine.is_jcc_short_or_near(),
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, is_emulated};
    use crate::addr::LinkAddr;

    fn emulated(bytes: &[u8]) -> bool {
        let mut machines = decode(bytes, LinkAddr(0x1000));
        is_emulated(&machines.next().expect("one instruction"))
    }

    #[test]
    fn what_the_kernel_emulates() {
        assert!(emulated(&[0x55]), "push %rbp");
        assert!(emulated(&[0x41, 0x57]), "push %r15");
        assert!(emulated(&[0x90]), "nop");
        assert!(emulated(&[0xe8, 0, 0, 0, 0]), "call");
        assert!(emulated(&[0xeb, 0]), "jmp");
        assert!(emulated(&[0x0f, 0x84, 0, 0, 0, 0]), "je");
    }

    #[test]
    fn what_it_single_steps() {
        assert!(!emulated(&[0xf3, 0x0f, 0x1e, 0xfa]), "endbr64");
        assert!(!emulated(&[0x48, 0x55]), "rex.W push %rbp");
        assert!(!emulated(&[0x66, 0x90]), "xchg %ax,%ax");
        assert!(!emulated(&[0x0f, 0x1f, 0x00]), "nopl (%rax)");
        assert!(!emulated(&[0x48, 0x89, 0xe5]), "mov %rsp,%rbp");
        assert!(!emulated(&[0xff, 0xf0]), "push %rax by ModRM");
        assert!(!emulated(&[0x6a, 0]), "push $0");
    }
}

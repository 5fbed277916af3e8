//! Reads of the server's registers and memory, all of them bounded and allowed to fail.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_get_attach_cookie};
use aya_ebpf::programs::ProbeContext;
use probe_abi::Cookie;

/// The wanted argument, from where the attach cookie says that it stands.
///
/// Zero where the cookie or the memory is unreadable: no descriptor has that address.
#[inline(always)]
pub fn argument(ctx: &ProbeContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    let cookie = Cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let value = register(ctx, cookie.reg());
    match cookie.displacement() {
        None => value,
        Some(displacement) => word(value.wrapping_add_signed(displacement)).unwrap_or(0),
    }
}

/// A register by its DWARF number (System V ABI x86-64, figure 3.36).
#[inline(always)]
fn register(ctx: &ProbeContext, reg: u8) -> u64 {
    // SAFETY: `regs` is the program's own context, which the verifier checks.
    let regs = unsafe { &*ctx.regs };
    match reg {
        0 => regs.rax,
        1 => regs.rdx,
        2 => regs.rcx,
        3 => regs.rbx,
        4 => regs.rsi,
        5 => regs.rdi,
        6 => regs.rbp,
        7 => regs.rsp,
        8 => regs.r8,
        9 => regs.r9,
        10 => regs.r10,
        11 => regs.r11,
        12 => regs.r12,
        13 => regs.r13,
        14 => regs.r14,
        15 => regs.r15,
        _ => 0,
    }
}

/// One byte of the server's memory.
#[inline(always)]
pub fn byte(address: u64) -> Option<u8> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const u8) }.ok()
}

/// 32 bits of the server's memory.
#[inline(always)]
pub fn half(address: u64) -> Option<u32> {
    // SAFETY: as in `byte`.
    unsafe { bpf_probe_read_user(address as *const u32) }.ok()
}

/// 64 bits of the server's memory.
#[inline(always)]
pub fn word(address: u64) -> Option<u64> {
    // SAFETY: as in `byte`.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

/// Bytes at the start of a descriptor that are read at once.
const HEAD_BYTES: usize = 32;

/// The start of a descriptor. A read of the server's memory costs more than all else that a probe
/// does (88 ns of 320 under KVM), so the fields, which lie close together, are read at once.
pub struct Head {
    address: u64,
    bytes: [u8; HEAD_BYTES],
}

impl Head {
    /// Reads it.
    #[inline(always)]
    pub fn of(descriptor: u64) -> Option<Self> {
        // SAFETY: as in `byte`; any bytes are a valid value.
        let bytes = unsafe { bpf_probe_read_user(descriptor as *const [u8; HEAD_BYTES]) };
        Some(Self { address: descriptor, bytes: bytes.ok()? })
    }

    /// The byte at `offset` of the descriptor.
    #[inline(always)]
    pub fn byte(&self, offset: u32) -> Option<u8> {
        match self.bytes.get(offset as usize) {
            Some(byte) => Some(*byte),
            None => byte(self.address + u64::from(offset)),
        }
    }

    /// The 32 bits at `offset` of the descriptor.
    #[inline(always)]
    pub fn half(&self, offset: u32) -> Option<u32> {
        let at = offset as usize;
        if at <= HEAD_BYTES - 4 {
            // SAFETY: four bytes from `at` on lie in the array.
            return Some(unsafe { self.bytes.as_ptr().add(at).cast::<u32>().read_unaligned() });
        }
        half(self.address + u64::from(offset))
    }
}

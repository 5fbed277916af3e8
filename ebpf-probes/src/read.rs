//! Reads of the server's registers and memory, all of them bounded and allowed to fail.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_probe_read_user as bpf_probe_read_user_to,
};
use aya_ebpf::programs::ProbeContext;
use core::ffi::c_void;
use probe_abi::{Cookie, WordRange};

/// The wanted argument, from the place that the attach cookie names.
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

/// 32 bits of the server's memory.
#[inline(always)]
fn half(address: u64) -> Option<u32> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const u32) }.ok()
}

/// 64 bits of the server's memory.
#[inline(always)]
pub fn word(address: u64) -> Option<u64> {
    // SAFETY: as in `half`.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

/// Words at the start of a descriptor that are read at once.
const HEAD_WORDS: usize = 4;
const HEAD_BYTES: usize = HEAD_WORDS * 8;

/// The start of a descriptor. A read of the server's memory costs more than all else that a probe
/// does (88 ns of 320 under KVM), so the fields, which lie close together, are read at once.
///
/// It is read in its place on the stack and never moved: a copy is one instruction a byte.
pub struct Head {
    address: u64,
    words: [u64; HEAD_WORDS],
}

impl Head {
    /// Not read yet.
    #[inline(always)]
    pub fn new(descriptor: u64) -> Self {
        Self { address: descriptor, words: [0; HEAD_WORDS] }
    }

    /// Reads it; false when the memory cannot be read.
    #[inline(always)]
    pub fn read(&mut self) -> bool {
        let to = self.words.as_mut_ptr().cast::<c_void>();
        // SAFETY: the helper writes `HEAD_BYTES` bytes to `words`, which has them; as in `half`.
        unsafe { bpf_probe_read_user_to(to, HEAD_BYTES as u32, self.address as *const c_void) == 0 }
    }

    /// Whether a condition holds; nothing where its field cannot be read.
    #[inline(always)]
    pub fn holds(&self, condition: &WordRange) -> Option<bool> {
        let value = self.word(condition.offset)? & condition.mask;
        Some(value >= condition.first && value <= condition.last)
    }

    /// The 32 bits at `offset` of the descriptor.
    #[inline(always)]
    pub fn half(&self, offset: u32) -> Option<u32> {
        let at = offset as usize;
        if at <= HEAD_BYTES - 4 && at % 4 == 0 {
            // SAFETY: four bytes from `at` on lie in the array, and are aligned.
            return Some(unsafe { self.words.as_ptr().cast::<u32>().add(at / 4).read() });
        }
        half(self.address + u64::from(offset))
    }

    /// The aligned word at `offset` of the descriptor.
    #[inline(always)]
    fn word(&self, offset: u64) -> Option<u64> {
        let at = offset as usize / 8;
        if at < HEAD_WORDS {
            // SAFETY: the word lies in the array.
            return Some(unsafe { self.words.as_ptr().add(at).read() });
        }
        word(self.address + offset)
    }
}

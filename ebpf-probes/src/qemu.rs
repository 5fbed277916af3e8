//! The programs on QEMU's functions, in an object of their own.
//!
//! | program | attached to | what it does |
//! |---|---|---|
//! | `qemu_enter` | any function, entry | counts, and writes a record |
//! | `qemu_return` | any function, return | the same |
//!
//! The attach cookie names the function, so two programs serve all of them.

#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::macros::{map, uprobe, uretprobe};
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use probe_abi::qemu::{CallCounters, CallRecord, MAX_FUNCTIONS, edge};

/// Records for the reader, who sets its size.
#[map]
static CALLS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Counters by function.
#[map]
static CALL_COUNTERS: PerCpuArray<CallCounters> = PerCpuArray::with_max_entries(MAX_FUNCTIONS, 0);

/// A function was entered.
#[uprobe]
pub fn qemu_enter(ctx: ProbeContext) -> u32 {
    let function = function(&ctx);
    count(function, |c| c.entries += 1);
    record(function, edge::ENTRY);
    0
}

/// A function returned.
#[uretprobe]
pub fn qemu_return(ctx: RetProbeContext) -> u32 {
    let function = function(&ctx);
    count(function, |c| c.returns += 1);
    record(function, edge::RETURN);
    0
}

#[inline(always)]
fn function(ctx: &impl EbpfContext) -> u32 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) as u32 }
}

#[inline(always)]
fn count(function: u32, add: impl FnOnce(&mut CallCounters)) {
    if let Some(counters) = CALL_COUNTERS.get_ptr_mut(function) {
        // SAFETY: `counters` points into the map: integers of this CPU, which live as long as the
        // program. On a preemptible kernel another thread on this CPU may add in the middle (since
        // 6.0 only migration is off): then a count may be short. The core library has no atomic
        // addition for BPF, so that is accepted.
        add(unsafe { &mut *counters });
    }
}

/// Puts a record into the ring; the reader polls, so no call pays for a wake-up.
#[inline(always)]
fn record(function: u32, edge: u32) {
    match CALLS.reserve::<CallRecord>(0) {
        Some(mut slot) => {
            slot.write(CallRecord {
                // SAFETY: the helper takes nothing and reads a clock.
                time_ns: unsafe { bpf_ktime_get_ns() },
                function,
                edge,
                tid: bpf_get_current_pid_tgid() as u32,
                reserved: 0,
            });
            slot.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => count(function, |c| c.lost += 1),
    }
}

/// The verifier proves that nothing here can panic; this satisfies the compiler.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the agent's programs have it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

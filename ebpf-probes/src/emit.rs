//! Counters and trace records. A record that does not fit is counted, never waited for.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use probe_abi::{Control, Probe, ProbeCounters, Record};

use crate::{maps, read, walk};

/// Adds to one counter of this CPU.
#[inline(always)]
fn count(probe: Probe, add: impl FnOnce(&mut ProbeCounters)) {
    if let Some(counters) = maps::COUNTERS.get_ptr_mut(probe as u32) {
        // SAFETY: `counters` points into the map: integers of this CPU, which live as long as the
        // program. On a preemptible kernel another thread on this CPU may add in the middle (since
        // 6.0 only migration is off): then a count may be short. The core library has no atomic
        // addition for BPF, so that is accepted.
        add(unsafe { &mut *counters });
    }
}

/// The probe fired and its event is in the table.
#[inline(always)]
pub fn hit(probe: Probe) {
    count(probe, |c| c.hits += 1);
}

/// The descriptor is in no known chunk.
#[inline(always)]
pub fn foreign(ctx: &ProbeContext, probe: Probe, descriptor: u64) {
    count(probe, |c| c.foreign += 1);
    debug!(ctx, "{}: descriptor {:x} is in no known chunk", probe.name(), descriptor);
}

/// The server's memory could not be read, or holds no state that the profile knows.
#[inline(always)]
pub fn fault(ctx: &ProbeContext, probe: Probe, descriptor: u64) {
    count(probe, |c| c.faults += 1);
    debug!(ctx, "{} by pid {}: cannot read descriptor {:x}", probe.name(), ctx.pid(), descriptor);
}

/// Writes the trace record of a page event.
#[inline(always)]
pub fn page(
    control: &Control,
    probe: Probe,
    descriptor: u64,
    block: u32,
    (space, page): (u32, u32),
) {
    let mut pfn = 0;
    if control.walk != 0 {
        let frame = read::word(descriptor + u64::from(maps::LAYOUT.load().frame));
        pfn = frame.and_then(|va| walk::current_frame(&control.kernel, va)).unwrap_or(0);
    }
    record(
        probe,
        Record {
            // SAFETY: a helper without arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            value: descriptor,
            pfn,
            probe: probe as u32,
            tid: bpf_get_current_pid_tgid() as u32,
            block,
            space,
            page,
            reserved: 0,
        },
    );
}

/// Puts a record into the ring; the reader polls, so no event pays for a wake-up.
#[inline(always)]
pub fn record(probe: Probe, record: Record) {
    match maps::TRACE.reserve::<Record>(0) {
        Some(mut slot) => {
            slot.write(record);
            slot.submit(u64::from(BPF_RB_NO_WAKEUP));
        }
        None => count(probe, |c| c.ring_lost += 1),
    }
}

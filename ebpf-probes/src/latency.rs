//! Latency of commands and commits: start times by thread, histograms by power of two.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_ebpf::maps::LruHashMap;
use probe_abi::{BUCKETS, Probe, Record};

use crate::{emit, maps};

/// Notes when this thread began, and a value to hand to the end.
#[inline(always)]
pub fn start(starts: &LruHashMap<u32, [u64; 2]>, value: u64) {
    let thread = bpf_get_current_pid_tgid() as u32;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // A full map evicts the oldest start: that thread's latency is not counted, nothing else.
    let _ = starts.insert(&thread, &[now, value], 0);
}

/// Counts the time since this thread's start.
#[inline(always)]
pub fn end(starts: &LruHashMap<u32, [u64; 2]>, probe: Probe) {
    let thread = bpf_get_current_pid_tgid() as u32;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the value is copied at once; only this thread writes this key.
    let Some([began, value]) = (unsafe { starts.get(&thread) }).copied() else { return };
    let _ = starts.remove(&thread);
    let elapsed = now.wrapping_sub(began);
    if let Some(histogram) = maps::LATENCY.get_ptr_mut(probe as u32) {
        // SAFETY: `histogram` points into the map: integers of this CPU, which live as long as the
        // program. On a preemptible kernel another thread on this CPU may add in the middle (since
        // 6.0 only migration is off): then a count may be short. The core library has no atomic
        // addition for BPF, so that is accepted.
        let histogram = unsafe { &mut *histogram };
        let bucket = log2(elapsed);
        if bucket < BUCKETS {
            histogram.buckets[bucket] += 1;
        }
        histogram.count += 1;
        histogram.sum_ns += elapsed;
    }
    emit::hit(probe);
    if maps::CONTROL.get(0).is_some_and(|c| c.trace != 0) {
        emit::record(
            probe,
            Record {
                time_ns: now,
                value: elapsed,
                pfn: 0,
                probe: probe as u32,
                tid: thread,
                block: value as u32,
                space: 0,
                page: 0,
                reserved: 0,
            },
        );
    }
}

/// Position of the highest set bit, 0 for 0; the last bucket takes everything above. BPF has no
/// count-leading-zeros instruction, so this is a binary search.
#[inline(always)]
fn log2(value: u64) -> usize {
    let mut rest = value;
    let mut bit = 0;
    if rest >= 1 << 32 {
        rest >>= 32;
        bit += 32;
    }
    if rest >= 1 << 16 {
        rest >>= 16;
        bit += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        bit += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        bit += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        bit += 2;
    }
    if rest >= 1 << 1 {
        bit += 1;
    }
    if bit >= BUCKETS { BUCKETS - 1 } else { bit }
}

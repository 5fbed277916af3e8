//! The residency table: from a descriptor's address to its entry, and the update in place.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::ProbeContext;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use probe_abi::{Control, Entry, Probe, STATE_BITS, state};

use crate::read::Head;
use crate::{emit, maps};

/// Steps of the binary search: log2 of `MAX_CHUNKS`, and one.
const SEARCH_STEPS: u32 = 13;

/// Takes one event of the block whose descriptor stands at `descriptor`. Without the descriptor's
/// head the entry keeps the page that it names.
#[inline(always)]
pub fn event(ctx: &ProbeContext, probe: Probe, descriptor: u64, head: Option<&Head>, state: u32) {
    let Some(control) = maps::CONTROL.get(0) else { return };
    let Some(index) = block_index(descriptor, control) else {
        emit::foreign(ctx, probe, descriptor);
        return;
    };
    let Some(entry) = maps::TABLE.get_ptr_mut(index) else {
        emit::foreign(ctx, probe, descriptor);
        return;
    };
    let id = match head {
        // SAFETY: `entry` points into the table; entries are plain integers.
        None => unsafe {
            (read_volatile(addr_of!((*entry).space)), read_volatile(addr_of!((*entry).page)))
        },
        Some(head) => {
            let layout = maps::LAYOUT.load();
            match (head.half(layout.space), head.half(layout.page)) {
                (Some(space), Some(page)) => (space, page),
                _ => {
                    emit::fault(ctx, probe, descriptor);
                    return;
                }
            }
        }
    };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    write(entry, state, id, now);
    emit::hit(probe);
    if control.trace != 0 {
        emit::page(control, probe, descriptor, index, id, now);
    }
}

/// Writes an entry so that a reader can tell a half-written one: busy, contents, final word.
///
/// x86-64 keeps stores in order, and volatile keeps the compiler from reordering them; the JIT emits
/// them one to one.
#[inline(always)]
fn write(entry: *mut Entry, state: u32, (space, page): (u32, u32), now: u64) {
    // SAFETY: `entry` points into the table (checked by the lookup); one writer at a time, because
    // InnoDB raises a block's events under that block's latch or mutex.
    unsafe {
        let sequence = (read_volatile(addr_of!((*entry).word)) >> STATE_BITS).wrapping_add(1);
        write_volatile(addr_of_mut!((*entry).word), sequence << STATE_BITS | state::BUSY);
        write_volatile(addr_of_mut!((*entry).space), space);
        write_volatile(addr_of_mut!((*entry).page), page);
        write_volatile(addr_of_mut!((*entry).stamp), (now >> 20) as u32);
        write_volatile(addr_of_mut!((*entry).word), sequence << STATE_BITS | state);
    }
}

/// Index in the table of the block whose descriptor starts at `address`, if it is one of ours.
#[inline(always)]
fn block_index(address: u64, control: &Control) -> Option<u32> {
    let mut low = 0;
    let mut high = control.chunks;
    for _ in 0..SEARCH_STEPS {
        if high - low <= 1 {
            break;
        }
        let middle = low + (high - low) / 2;
        if maps::CHUNKS.get(middle)?.start <= address {
            low = middle;
        } else {
            high = middle;
        }
    }
    let chunk = maps::CHUNKS.get(low)?;
    if address < chunk.start || address >= chunk.end {
        return None;
    }
    let stride = u64::from(maps::LAYOUT.load().stride);
    if stride == 0 {
        return None;
    }
    let distance = address - chunk.start;
    let index = distance / stride;
    if index * stride != distance {
        return None;
    }
    Some((chunk.first + index) as u32)
}

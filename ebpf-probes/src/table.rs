//! The residency table: from a descriptor's address to its entry, and the update in place.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::programs::ProbeContext;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use probe_abi::{Control, Entry, NO_PAGE, Probe, STATE_BITS, ServerLayout, state};

use crate::read::Head;
use crate::{emit, maps};

/// Steps of the binary search: log2 of `MAX_CHUNKS`, and one.
const SEARCH_STEPS: u32 = 17;

/// What a probe has seen of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A read or a write of its page has ended.
    IoComplete,
    /// Its page went onto the flush list.
    Dirty,
    /// It went back to the free list.
    Free,
    /// The page that was being read is thrown away, as the read has ended badly.
    ReadFailed,
}

/// Takes one event of the block whose descriptor stands at `descriptor`.
///
/// The descriptor itself is read only where the entry does not have what is needed: a read of the server's
/// memory costs more than all else here, and a block keeps its page until it is freed. So what became
/// dirty after it was read, and what was written after it became dirty, is the page of the entry. While
/// probes are being set ([`Control::settled`]) no entry is valid. Where the descriptor cannot be
/// read, the entry is marked unknown. Where an event was lost all the same, the
/// list finds another page in the descriptor and leaves it out, and the audit repairs the entry.
#[inline(always)]
pub fn event(ctx: &ProbeContext, event: Event, descriptor: u64) {
    let foreign = match event {
        Event::IoComplete => Probe::Read,
        Event::Dirty => Probe::Dirty,
        Event::Free => Probe::Evicted,
        Event::ReadFailed => Probe::ReadFailed,
    };
    let layout = maps::LAYOUT.load();
    let Some(control) = maps::CONTROL.get(0) else { return };
    let Some(index) = block_index(descriptor, control, layout.stride) else {
        emit::foreign(ctx, foreign, descriptor);
        return;
    };
    let Some(entry) = maps::TABLE.get_ptr_mut(index) else {
        emit::foreign(ctx, foreign, descriptor);
        return;
    };
    // SAFETY: `entry` points into the table; entries are plain integers.
    let (word, kept) = unsafe {
        let kept =
            (read_volatile(addr_of!((*entry).space)), read_volatile(addr_of!((*entry).page)));
        (read_volatile(addr_of!((*entry).word)), kept)
    };
    let known = state::of(word);
    let (probe, state, id) = match event {
        Event::Free => match left(index, word, kept) {
            Some(id) => (Probe::Evicted, state::FREE, id),
            None => (Probe::Freed, state::FREE, (NO_PAGE, NO_PAGE)),
        },
        Event::Dirty if known == state::CLEAN || known == state::DIRTY => {
            (Probe::Dirty, state::DIRTY, kept)
        }
        Event::IoComplete if known == state::DIRTY => (Probe::Written, state::CLEAN, kept),
        // A read that failed before it had ended was not counted as one.
        Event::ReadFailed if known != state::CLEAN => return,
        Event::ReadFailed => {
            let mut head = Head::new(descriptor);
            let is_read = if head.read() { head.holds(&maps::READING.load()) } else { None };
            match is_read {
                Some(true) => (Probe::ReadFailed, state::FREE, kept),
                // A page that was there leaves; the free list reports it.
                Some(false) => return,
                None => return unreadable(ctx, foreign, descriptor, entry, word, kept),
            }
        }
        Event::Dirty | Event::IoComplete => {
            let mut head = Head::new(descriptor);
            let found = if head.read() { seen(event, &head, &layout) } else { None };
            let Some(found) = found else {
                return unreadable(ctx, foreign, descriptor, entry, word, kept);
            };
            found
        }
    };
    let state = if control.settled == 0 { state::UNSEEN } else { state };
    write(entry, word, state, id);
    emit::hit(probe);
    if control.trace != 0 {
        emit::page(control, probe, descriptor, index, id);
    }
}

/// Something has happened to the block: what was known of it, and what the agent has laid under it or noted of it,
/// holds no more.
#[inline(always)]
fn unreadable(
    ctx: &ProbeContext,
    probe: Probe,
    descriptor: u64,
    entry: *mut Entry,
    word: u32,
    kept: (u32, u32),
) {
    write(entry, word, state::UNSEEN, kept);
    emit::fault(ctx, probe, descriptor);
}

/// The page that leaves with a block, if one does; `word` and `kept` are those of its entry. The descriptor
/// does not show it: its state is that of a memory object by now, and its id is reset (8.0 on) or stale.
#[inline(always)]
fn left(index: u32, word: u32, kept: (u32, u32)) -> Option<(u32, u32)> {
    let known = state::of(word);
    if known == state::CLEAN || known == state::DIRTY {
        return Some(kept);
    }
    if known != state::UNSEEN {
        return None;
    }
    // Its first event since the probes were set: what it held before, the agent's scan has found.
    let laid = maps::LAID.get(index)?;
    // SAFETY: `laid` points into the table; entries are plain integers. One that the agent is just writing has
    // the word 0.
    let (under, id) = unsafe {
        let under = read_volatile(addr_of!(laid.word));
        (under, (read_volatile(addr_of!(laid.space)), read_volatile(addr_of!(laid.page))))
    };
    let found = state::of(under);
    let holds = under >> STATE_BITS == word >> STATE_BITS;
    (holds && (found == state::CLEAN || found == state::DIRTY)).then_some(id)
}

/// What the descriptor shows of an event: which it is, the state that follows, and the page.
#[inline(always)]
fn seen(event: Event, head: &Head, layout: &ServerLayout) -> Option<(Probe, u32, (u32, u32))> {
    let (probe, state) = match event {
        Event::IoComplete => {
            if head.holds(&maps::READING.load())? {
                (Probe::Read, state::CLEAN)
            } else if head.holds(&maps::WRITING.load())? {
                (Probe::Written, state::CLEAN)
            } else {
                return None;
            }
        }
        _ => (Probe::Dirty, state::DIRTY),
    };
    Some((probe, state, (head.half(layout.space)?, head.half(layout.page)?)))
}

/// Writes an entry so that a reader can recognise a half-written one: busy, contents, final word.
///
/// x86-64 keeps stores in order, and volatile keeps the compiler from reordering them; the JIT emits
/// them one to one.
#[inline(always)]
fn write(entry: *mut Entry, before: u32, state: u32, (space, page): (u32, u32)) {
    let sequence = (before >> STATE_BITS).wrapping_add(1);
    // SAFETY: `entry` points into the table (checked by the lookup); one writer at a time, because
    // InnoDB raises a block's events under that block's latch or mutex. The helper has no arguments.
    unsafe {
        let now = bpf_jiffies64();
        write_volatile(addr_of_mut!((*entry).word), sequence << STATE_BITS | state::BUSY);
        write_volatile(addr_of_mut!((*entry).space), space);
        write_volatile(addr_of_mut!((*entry).page), page);
        write_volatile(addr_of_mut!((*entry).stamp), now as u32);
        write_volatile(addr_of_mut!((*entry).word), sequence << STATE_BITS | state);
    }
}

/// Index in the table of the block whose descriptor starts at `address`, if it is one of ours.
#[inline(always)]
fn block_index(address: u64, control: &Control, stride: u32) -> Option<u32> {
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
    let stride = u64::from(stride);
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

//! Layouts shared by the eBPF programs and the agent.
//!
//! Every struct is `repr(C)`, has no padding and holds integers only, so that both compilers agree
//! on it and any bit pattern is valid. Sizes are proven at compile time at the end of the file.

#![no_std]

#[cfg(feature = "user")]
mod pod;
pub mod qemu;

/// State of a block in the residency table.
///
/// The numbers are the ABI: the low [`STATE_BITS`] bits of [`Entry::word`].
pub mod state {
    /// No probe has seen this block yet, or only while some of them were not set ([`super::Control::settled`]),
    /// or the last one could not read its descriptor: the agent's own scan finds what it is.
    pub const UNSEEN: u32 = 0;
    /// Returned to the free list.
    pub const FREE: u32 = 1;
    /// Read or written completely: same bytes as on disk when the probe fired.
    pub const CLEAN: u32 = 2;
    /// Put on the flush list.
    pub const DIRTY: u32 = 3;
    /// A probe is writing this entry right now.
    pub const BUSY: u32 = 7;

    /// State part of [`super::Entry::word`].
    #[must_use]
    #[inline(always)]
    pub const fn of(word: u32) -> u32 {
        word & ((1 << super::STATE_BITS) - 1)
    }
}

/// Width of the state in [`Entry::word`]; the rest is a sequence number.
pub const STATE_BITS: u32 = 3;

/// One block of the buffer pool in the residency table (16 bytes).
///
/// The table is written by probes only. InnoDB serialises the events of one block (they are raised
/// under that block's latch or mutex), so an entry has one writer at a time and needs no lock. A
/// reader takes `word`, then the rest, then `word` again, and believes them when both are the same
/// and not [`state::BUSY`].
///
/// Another table of the same form is laid under it: written by the agent only, it has what its scans found in
/// blocks that had no event since (the sequence number is that of the probes' entry then). Probes look at it
/// where their own entry has nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Space id of the page (meaningless in state `FREE`).
    pub space: u32,
    /// Page number in the space.
    pub page: u32,
    /// Time of the event in ticks of the kernel (`jiffies`), the low 32 bits: to read the clock itself
    /// would cost a tenth of what the probe does.
    pub stamp: u32,
    /// State in the low bits, sequence number above them.
    pub word: u32,
}

impl Entry {
    /// State part of [`Entry::word`].
    #[must_use]
    pub const fn state(&self) -> u32 {
        state::of(self.word)
    }

    /// Sequence part of [`Entry::word`]: how many events this block has had, modulo 2^29.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.word >> STATE_BITS
    }
}

/// Which probe wrote a trace record, and the index of its counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A page was read completely.
    Read = 0,
    /// A page was written completely.
    Written = 1,
    /// A page went onto the flush list.
    Dirty = 2,
    /// A file page left: its block went back to the free list.
    Evicted = 3,
    /// A client command ended.
    Query = 4,
    /// A transaction committed.
    Commit = 5,
    /// A block that held no page went back to the free list: a memory object (`BUF_BLOCK_MEMORY`: lock and hash
    /// index heaps, compressed frames, sort and load buffers), or one that was taken and not used.
    Freed = 6,
    /// A read that had ended, and counted as one, turns out to have ended badly: its page is not there. Its block goes
    /// back to the free list next, as one that held no page.
    ReadFailed = 7,
}

/// Number of [`Probe`]s.
pub const PROBES: usize = 8;

impl Probe {
    /// All probes in the order of their counters.
    pub const ALL: [Self; PROBES] = [
        Self::Read,
        Self::Written,
        Self::Dirty,
        Self::Evicted,
        Self::Query,
        Self::Commit,
        Self::Freed,
        Self::ReadFailed,
    ];

    /// Name for people and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Written => "written",
            Self::Dirty => "dirty",
            Self::Evicted => "evicted",
            Self::Query => "query",
            Self::Commit => "commit",
            Self::Freed => "freed",
            Self::ReadFailed => "read_failed",
        }
    }
}

/// One record of the trace ring (48 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// CLOCK_MONOTONIC in ns.
    pub time_ns: u64,
    /// Descriptor address for page events; latency in ns for queries.
    pub value: u64,
    /// Physical frame number of the page's first 4 KiB where the walk was requested, else 0.
    pub pfn: u64,
    /// [`Probe`] that wrote it.
    pub probe: u32,
    /// Thread id of the server thread.
    pub tid: u32,
    /// Index of the block in the residency table, or the command number of a query.
    pub block: u32,
    /// Space id; [`NO_PAGE`] where there is no page.
    pub space: u32,
    /// Page number, likewise.
    pub page: u32,
    /// Always zero.
    pub reserved: u32,
}

/// In place of a space id and a page number where an event is of no page. InnoDB has neither.
pub const NO_PAGE: u32 = u32::MAX;

/// Per-CPU counters of one probe (32 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounters {
    /// Times the probe fired and was understood.
    pub hits: u64,
    /// Trace records lost because the ring was full.
    pub ring_lost: u64,
    /// Hits on a descriptor outside the known chunks (compressed-only descriptors, or a pool that
    /// was resized and not yet rescanned).
    pub foreign: u64,
    /// Hits whose memory could not be read.
    pub faults: u64,
}

/// One chunk of block descriptors (24 bytes). Chunks are sorted by address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkRange {
    /// Address of the first descriptor.
    pub start: u64,
    /// Address after the last descriptor.
    pub end: u64,
    /// Index of the first descriptor in the residency table.
    pub first: u64,
}

/// Most chunks that the probes can search (a power of two; extents of 8 MiB make 512 GiB).
pub const MAX_CHUNKS: usize = 1 << 16;

/// Offsets in the server, from the profile; constant while the programs live.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLayout {
    /// Distance between descriptors.
    pub stride: u32,
    /// Offset of the space id (32 bits).
    pub space: u32,
    /// Offset of the page number (32 bits).
    pub page: u32,
    /// Offset of the frame pointer (64 bits).
    pub frame: u32,
}

/// A condition on one field of a descriptor: of the aligned word that it lies in, the bits of `mask`, where they are, lie
/// within a range (32 bytes). So one comparison does for fields of any size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WordRange {
    /// Offset of the word, a multiple of 8.
    pub offset: u64,
    /// Bits that count.
    pub mask: u64,
    /// First value.
    pub first: u64,
    /// Last value.
    pub last: u64,
}

/// What the walk needs of the kernel, from BTF and from a search for the direct map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLayout {
    /// `page_offset_base`: virtual address of physical address 0.
    pub direct_map: u64,
    /// Physical address bits of an entry, memory-encryption bit taken out.
    pub frame_mask: u64,
    /// Offset of `mm` in `task_struct`.
    pub task_mm: u32,
    /// Offset of `tgid` in `task_struct`.
    pub task_tgid: u32,
    /// Offset of `tasks` (a `list_head`) in `task_struct`.
    pub task_tasks: u32,
    /// Offset of `pgd` in `mm_struct`.
    pub mm_pgd: u32,
    /// 4 or 5.
    pub levels: u32,
    /// Offset of `group_leader` in `task_struct`.
    pub task_leader: u32,
}

/// Switches that the agent may turn while the programs run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Not zero: write trace records.
    pub trace: u32,
    /// Not zero: walk the page tables for the frame of each page that is read.
    pub walk: u32,
    /// Number of valid chunks.
    pub chunks: u32,
    /// Zero while probes are being set. What some of them see without the others is half a story (a page
    /// that is read, without the one that left before it): it leaves a block [`state::UNSEEN`].
    pub settled: u32,
    /// Kernel layout, filled in when it is known.
    pub kernel: KernelLayout,
}

/// Regions of 2 MiB that one bulk walk covers.
pub const WALK_REGIONS: usize = 64;

/// Bytes of virtual address space behind one region.
pub const REGION_BYTES: u64 = 2 << 20;

/// Entries of one page table.
pub const TABLE_ENTRIES: usize = 512;

/// A page of last-level entries as the kernel holds it.
pub type PageTable = [u64; TABLE_ENTRIES];

/// What the bulk walk found for one region of 2 MiB.
pub mod region {
    /// Nothing is mapped.
    pub const HOLE: u64 = 0;
    /// `PageTable` number i of the output holds the entries.
    pub const TABLE: u64 = 1;
    /// One 2 MiB entry.
    pub const HUGE_2M: u64 = 2;
    /// One 1 GiB entry.
    pub const HUGE_1G: u64 = 3;
    /// The kernel memory could not be read; nothing is known.
    pub const FAULT: u64 = 4;
}

/// Result of the bulk walk for one region.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// One of [`region`].
    pub kind: u64,
    /// The entry itself for `HUGE_2M` and `HUGE_1G`.
    pub entry: u64,
}

/// A process that the bulk walk has found, and how the last run ended (40 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkTarget {
    /// `task_struct` of the group leader.
    pub task: u64,
    /// Its `mm`.
    pub mm: u64,
    /// Kernel virtual address of its top-level page table.
    pub pgd: u64,
    /// Its process id, to see that it still is the same.
    pub tgid: u32,
    /// Tasks looked at.
    pub looked: u32,
    /// One of [`outcome`].
    pub outcome: u32,
    /// Always zero.
    pub reserved: u32,
}

/// How a run of the bulk programs ended. It stands in [`WalkTarget::outcome`], because the entry points
/// that aya's macros make always return 0.
pub mod outcome {
    /// The program has not run.
    pub const NONE: u32 = 0;
    /// The maps hold the result.
    pub const DONE: u32 = 1;
    /// Not found yet; run again.
    pub const AGAIN: u32 = 2;
    /// The process is gone or has another address space now.
    pub const GONE: u32 = 3;
    /// Kernel memory could not be read: the layout is wrong.
    pub const FAULT: u32 = 4;
}

/// Buckets of a latency histogram: bucket i counts values in [2^i, 2^(i+1)) ns.
pub const BUCKETS: usize = 40;

/// Per-CPU histogram of one kind of latency.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Counts by power of two.
    pub buckets: [u64; BUCKETS],
    /// Number of values.
    pub count: u64,
    /// Sum of the values in ns.
    pub sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum_ns: 0 }
    }
}

/// Where an argument stands, packed into the probe's attach cookie.
///
/// ```text
/// bits 0..7   DWARF register number (x86-64)
/// bit  8      1: the argument is in memory at register + displacement
/// bits 32..63 displacement, signed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(pub u64);

impl Cookie {
    /// The argument is in a register.
    #[must_use]
    pub const fn register(reg: u8) -> Self {
        Self(reg as u64)
    }

    /// The argument is in memory at `reg + displacement`.
    #[must_use]
    pub const fn memory(reg: u8, displacement: i32) -> Self {
        Self(reg as u64 | 1 << 8 | (displacement.cast_unsigned() as u64) << 32)
    }

    /// DWARF register number.
    #[must_use]
    pub const fn reg(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// Displacement when the argument is in memory.
    #[must_use]
    pub const fn displacement(self) -> Option<i64> {
        if self.0 & 1 << 8 != 0 { Some(((self.0 >> 32) as u32).cast_signed() as i64) } else { None }
    }
}

const _: () = {
    assert!(size_of::<Entry>() == 16);
    assert!(size_of::<Record>() == 48);
    assert!(size_of::<ProbeCounters>() == 32);
    assert!(size_of::<ChunkRange>() == 24);
    assert!(size_of::<ServerLayout>() == 16);
    assert!(size_of::<WordRange>() == 32);
    assert!(size_of::<KernelLayout>() == 40);
    assert!(size_of::<Control>() == 56);
    assert!(size_of::<Region>() == 16);
    assert!(size_of::<WalkTarget>() == 40);
    assert!(size_of::<Histogram>() == 8 * (BUCKETS + 2));
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_keeps_register_and_displacement() {
        assert_eq!(Cookie::register(5).reg(), 5);
        assert_eq!(Cookie::register(5).displacement(), None);
        for d in [0, 8, -24, i32::MAX, i32::MIN] {
            let cookie = Cookie::memory(6, d);
            assert_eq!((cookie.reg(), cookie.displacement()), (6, Some(i64::from(d))));
        }
    }
}

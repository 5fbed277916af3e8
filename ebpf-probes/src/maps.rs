//! Every map and global of the programs.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use probe_abi::{
    ChunkRange, Control, Entry, Histogram, PROBES, PageTable, ProbeCounters, Region, ServerLayout,
    WALK_REGIONS, WalkTarget, WordRange,
};

/// Offsets in the server; read-only data, so the verifier sees constants.
#[unsafe(no_mangle)]
pub static LAYOUT: Global<ServerLayout> =
    Global::new(ServerLayout { stride: 0, space: 0, page: 0, frame: 0 });

/// A condition that the agent has not given yet.
const NONE: WordRange = WordRange { offset: 0, mask: 0, first: 0, last: 0 };

/// Holds while a page is being read; looked at where an event depends on it, and not at every hit.
#[unsafe(no_mangle)]
pub static READING: Global<WordRange> = Global::new(NONE);

/// Holds while a page is being written, likewise.
#[unsafe(no_mangle)]
pub static WRITING: Global<WordRange> = Global::new(NONE);

/// The residency table, one entry a block, mapped by the agent. The agent sets its size.
#[map]
pub static TABLE: Array<Entry> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the agent's scans found, one entry a block; mapped and written by the agent, which sets its size.
#[map]
pub static LAID: Array<Entry> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Chunks of descriptors, sorted by address. The agent sets its size.
#[map]
pub static CHUNKS: Array<ChunkRange> = Array::with_max_entries(1, 0);

/// Switches and the kernel's layout.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Counters by probe.
#[map]
pub static COUNTERS: PerCpuArray<ProbeCounters> = PerCpuArray::with_max_entries(PROBES as u32, 0);

/// Trace records for the viewer. The agent sets its size.
#[map]
pub static TRACE: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// When a thread began its command, and which.
#[map]
pub static QUERY_START: LruHashMap<u32, [u64; 2]> = LruHashMap::with_max_entries(16384, 0);

/// When a thread began its commit.
#[map]
pub static COMMIT_START: LruHashMap<u32, [u64; 2]> = LruHashMap::with_max_entries(16384, 0);

/// Latencies by probe.
#[map]
pub static LATENCY: PerCpuArray<Histogram> = PerCpuArray::with_max_entries(PROBES as u32, 0);

/// The process whose page tables are walked in bulk.
#[map]
pub static TARGET: Array<WalkTarget> = Array::with_max_entries(1, 0);

/// What the bulk walk found, by region.
#[map]
pub static REGIONS: Array<Region> = Array::with_max_entries(WALK_REGIONS as u32, BPF_F_MMAPABLE);

/// Last-level page tables that the bulk walk copied, by region.
#[map]
pub static TABLES: Array<PageTable> = Array::with_max_entries(WALK_REGIONS as u32, BPF_F_MMAPABLE);

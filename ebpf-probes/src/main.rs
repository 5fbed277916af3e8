//! The eBPF programs: entry points only, a few lines each.
//!
//! | program | attached to (role in the profile) | what it does |
//! |---|---|---|
//! | `page_io_complete` | `page_io_complete`, entry | read done: resident and clean; write done: clean |
//! | `page_dirty` | `page_dirty`, `page_dirty_sorted`, entry | went onto the flush list: dirty |
//! | `block_free` | `block_free`, entry | went back to the free list: its page left, or it held none |
//! | `page_read_failed` | `page_read_failed`, entry | a read that has ended was a bad one: its page is not there |
//! | `query_start`, `query_end` | `query`, entry and return | command latency |
//! | `commit_start`, `commit_end` | `trx_commit`, entry and return | commit latency |
//! | `empty` | anything | nothing: what a probe costs at least, for the benchmark |
//! | `find_task`, `walk_bulk`, `peek` | nothing; run by the agent through `BPF_PROG_TEST_RUN` | page tables in bulk |
//!
//! Three probes are enough for residency, because each state has exactly one door:
//! a page can only become clean through a completed read or write (both end in
//! `buf_page_io_complete`), dirty through the flush list, and leave through the free list. A page
//! that is taken off the flush list without a write (DROP, an aborted bulk load) raises no event
//! and so stays `DIRTY` here, which is what it is: not what the disk holds.

#![no_std]
#![no_main]

mod emit;
mod latency;
mod maps;
mod read;
mod table;
mod walk;
mod walk_bulk;

use aya_ebpf::macros::{raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
use probe_abi::Probe;

/// `buf_page_io_complete`, entry: the I/O state still shows which kind of I/O has ended.
#[uprobe]
pub fn page_io_complete(ctx: ProbeContext) -> u32 {
    table::event(&ctx, table::Event::IoComplete, read::argument(&ctx));
    0
}

/// `buf_flush_insert_into_flush_list`, entry.
#[uprobe]
pub fn page_dirty(ctx: ProbeContext) -> u32 {
    table::event(&ctx, table::Event::Dirty, read::argument(&ctx));
    0
}

/// `buf_LRU_block_free_non_file_page`, entry.
#[uprobe]
pub fn block_free(ctx: ProbeContext) -> u32 {
    table::event(&ctx, table::Event::Free, read::argument(&ctx));
    0
}

/// `buf_pool_t::corrupted_evict` of MariaDB, entry: the I/O state is still that of a read.
#[uprobe]
pub fn page_read_failed(ctx: ProbeContext) -> u32 {
    table::event(&ctx, table::Event::ReadFailed, read::argument(&ctx));
    0
}

/// `dispatch_command`, entry.
#[uprobe]
pub fn query_start(ctx: ProbeContext) -> u32 {
    latency::start(&maps::QUERY_START, read::argument(&ctx));
    0
}

/// `dispatch_command`, return.
#[uretprobe]
pub fn query_end(_ctx: RetProbeContext) -> u32 {
    latency::end(&maps::QUERY_START, Probe::Query);
    0
}

/// `trx_commit_low`, entry.
#[uprobe]
pub fn commit_start(_ctx: ProbeContext) -> u32 {
    latency::start(&maps::COMMIT_START, 0);
    0
}

/// `trx_commit_low`, return.
#[uretprobe]
pub fn commit_end(_ctx: RetProbeContext) -> u32 {
    latency::end(&maps::COMMIT_START, Probe::Commit);
    0
}

/// Does nothing, for measuring what the trap itself costs.
#[uprobe]
pub fn empty(_ctx: ProbeContext) -> u32 {
    0
}

/// Steps through the kernel's task list; see [`walk_bulk::find`].
#[raw_tracepoint]
pub fn find_task(ctx: RawTracePointContext) -> i32 {
    walk_bulk::run(|target, kernel| walk_bulk::find(target, kernel, ctx.arg(0)))
}

/// Reads one word of kernel memory for the agent; see [`walk_bulk::peek`].
#[raw_tracepoint]
pub fn peek(ctx: RawTracePointContext) -> i32 {
    walk_bulk::run(|target, _| walk_bulk::peek(target, ctx.arg(0)))
}

/// Copies page tables of the task found; see [`walk_bulk::walk`].
#[raw_tracepoint]
pub fn walk_bulk(ctx: RawTracePointContext) -> i32 {
    walk_bulk::run(|target, kernel| walk_bulk::walk(target, kernel, ctx.arg(0), ctx.arg(1)))
}

/// The verifier proves that nothing here can panic; this satisfies the compiler.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers of the kernel that are reserved for GPL programs are used (`bpf_probe_read_kernel`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

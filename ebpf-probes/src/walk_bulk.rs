//! The walk in bulk: whole last-level tables are copied out, 64 regions of 2 MiB a run.
//!
//! The agent runs these programs through `BPF_PROG_TEST_RUN` (raw tracepoint, kernel 5.10), so no
//! trap is paid. One `bpf_probe_read_kernel` of 4 KiB brings 512 entries, which the agent decodes in
//! its own time.

use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_probe_read_kernel};
use probe_abi::{
    KernelLayout, PageTable, REGION_BYTES, Region, WALK_REGIONS, WalkTarget, outcome, region,
};

use crate::maps;
use crate::walk::{LEAF, PRESENT, entry, kernel_word, pud, table_of};

/// Tasks that one run looks at.
const FIND_STEPS: u32 = 512;

/// Runs one of the programs and leaves in the map how it ended.
#[inline(always)]
pub fn run(program: impl FnOnce(&mut WalkTarget, &KernelLayout) -> u32) -> i32 {
    if let (Some(control), Some(target)) = (maps::CONTROL.get(0), maps::TARGET.get_ptr_mut(0)) {
        // SAFETY: `target` points to the map's only value, which only these programs write, one run
        // at a time.
        let target = unsafe { &mut *target };
        target.outcome = program(target, &control.kernel);
    }
    0
}

/// Looks for the process `tgid` in the kernel's list of tasks, from where the last run stopped
/// (`TARGET.task`; 0 starts at the current task).
#[inline(always)]
pub fn find(target: &mut WalkTarget, kernel: &KernelLayout, tgid: u64) -> u32 {
    let mut task = target.task;
    if task == 0 {
        // Only leaders are on the list; another thread's links are leftovers of its creation.
        // SAFETY: a helper without arguments.
        let current = unsafe { bpf_get_current_task() };
        let Some(leader) = kernel_word(current + u64::from(kernel.task_leader)) else {
            return outcome::FAULT;
        };
        task = leader;
    }
    for _ in 0..FIND_STEPS {
        let Some(found) = kernel_word(task + u64::from(kernel.task_tgid)) else {
            return outcome::FAULT;
        };
        target.looked += 1;
        if found & 0xffff_ffff == tgid {
            return fill(target, kernel, task, tgid);
        }
        let Some(next) = kernel_word(task + u64::from(kernel.task_tasks)) else {
            return outcome::FAULT;
        };
        task = next.wrapping_sub(u64::from(kernel.task_tasks));
    }
    target.task = task;
    outcome::AGAIN
}

/// Reads the word at `address` (the kernel's `page_offset_base`) into `TARGET.mm`.
#[inline(always)]
pub fn peek(target: &mut WalkTarget, address: u64) -> u32 {
    match kernel_word(address) {
        Some(word) => {
            target.mm = word;
            outcome::DONE
        }
        None => outcome::FAULT,
    }
}

/// Notes the address space of the task found.
#[inline(always)]
fn fill(target: &mut WalkTarget, kernel: &KernelLayout, task: u64, tgid: u64) -> u32 {
    let Some(mm) = kernel_word(task + u64::from(kernel.task_mm)) else { return outcome::FAULT };
    if mm == 0 {
        return outcome::GONE;
    }
    let Some(pgd) = kernel_word(mm + u64::from(kernel.mm_pgd)) else { return outcome::FAULT };
    target.task = task;
    target.mm = mm;
    target.pgd = pgd;
    target.tgid = tgid as u32;
    outcome::DONE
}

/// Copies the page tables behind `regions` regions from `start` on (a multiple of 2 MiB).
#[inline(always)]
pub fn walk(target: &WalkTarget, kernel: &KernelLayout, start: u64, regions: u64) -> u32 {
    // The same process with the same address space as when it was found?
    if kernel_word(target.task + u64::from(kernel.task_mm)) != Some(target.mm)
        || kernel_word(target.task + u64::from(kernel.task_tgid))
            .is_none_or(|t| t as u32 != target.tgid)
    {
        return outcome::GONE;
    }
    let pgd = target.pgd;
    for i in 0..WALK_REGIONS as u64 {
        if i >= regions {
            break;
        }
        let Some(out) = maps::REGIONS.get_ptr_mut(i as u32) else { return outcome::FAULT };
        let found = walk_region(kernel, pgd, start + i * REGION_BYTES, i as u32);
        // SAFETY: `out` points into the map; only this program writes it.
        unsafe { *out = found };
    }
    outcome::DONE
}

/// Finds what covers one region, copying its table if it has one.
#[inline(always)]
fn walk_region(kernel: &KernelLayout, pgd: u64, va: u64, slot: u32) -> Region {
    let fault = Region { kind: region::FAULT, entry: 0 };
    let Some(gigabyte) = pud(kernel, pgd, va) else { return fault };
    if gigabyte & PRESENT == 0 {
        return Region { kind: region::HOLE, entry: 0 };
    }
    if gigabyte & LEAF != 0 {
        return Region { kind: region::HUGE_1G, entry: gigabyte };
    }
    let Some(megabytes) = entry(table_of(kernel, gigabyte), va, 21) else { return fault };
    if megabytes & LEAF != 0 {
        // Not present but a leaf: PROT_NONE, or on its way elsewhere. The agent decides.
        return Region { kind: region::HUGE_2M, entry: megabytes };
    }
    if megabytes & PRESENT == 0 {
        return Region { kind: region::HOLE, entry: 0 };
    }
    let Some(table) = maps::TABLES.get_ptr_mut(slot) else { return fault };
    // SAFETY: `table` has room for one page table; the helper fails instead of faulting.
    let copied = unsafe {
        bpf_probe_read_kernel(
            table.cast(),
            size_of::<PageTable>() as u32,
            table_of(kernel, megabytes) as *const _,
        )
    };
    if copied != 0 {
        return fault;
    }
    Region { kind: region::TABLE, entry: 0 }
}

//! The page-table walk: from a user address to a physical frame, through the direct map.
//!
//! ```text
//! task->mm->pgd -> [5 levels: p4d] -> pud (1 GiB leaf) -> pmd (2 MiB leaf) -> pte (4 KiB leaf)
//! ```
//!
//! The tables are read without their locks. A table that is freed meanwhile gives a wrong frame, not
//! a fault: the result of a walk is a hint, as everything in the page list is.
//! Bits of an entry: Intel SDM vol. 3A, table 4-15 ff.; Linux `arch/x86/include/asm/pgtable_types.h`.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use probe_abi::KernelLayout;

/// The entry is valid.
pub const PRESENT: u64 = 1;
/// The entry is a leaf above the last level.
pub const LEAF: u64 = 1 << 7;

/// Reads 64 bits of kernel memory.
#[inline(always)]
pub fn kernel_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.ok()
}

/// Address of the next table behind `entry`.
#[inline(always)]
pub fn table_of(kernel: &KernelLayout, entry: u64) -> u64 {
    kernel.direct_map + (entry & kernel.frame_mask)
}

/// Entry of the table at `table` that covers `va` at the level whose index starts at bit `shift`.
#[inline(always)]
pub fn entry(table: u64, va: u64, shift: u32) -> Option<u64> {
    kernel_word(table + (va >> shift & 511) * 8)
}

/// The entry that covers `va` at the level of 1 GiB pages.
#[inline(always)]
pub fn pud(kernel: &KernelLayout, pgd: u64, va: u64) -> Option<u64> {
    let mut table = pgd;
    if kernel.levels == 5 {
        let top = entry(table, va, 48)?;
        if top & PRESENT == 0 {
            return Some(0);
        }
        table = table_of(kernel, top);
    }
    let next = entry(table, va, 39)?;
    if next & PRESENT == 0 {
        return Some(0);
    }
    entry(table_of(kernel, next), va, 30)
}

/// Frame number of `va` in the address space of the current task.
#[inline(always)]
pub fn current_frame(kernel: &KernelLayout, va: u64) -> Option<u64> {
    if kernel.direct_map == 0 {
        return None;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm = kernel_word(task + u64::from(kernel.task_mm))?;
    let pgd = kernel_word(mm + u64::from(kernel.mm_pgd))?;
    let gigabyte = pud(kernel, pgd, va)?;
    if gigabyte & PRESENT == 0 {
        return None;
    }
    if gigabyte & LEAF != 0 {
        return Some(frame(kernel, gigabyte, va, 30));
    }
    let megabytes = entry(table_of(kernel, gigabyte), va, 21)?;
    if megabytes & PRESENT == 0 {
        return None;
    }
    if megabytes & LEAF != 0 {
        return Some(frame(kernel, megabytes, va, 21));
    }
    let page = entry(table_of(kernel, megabytes), va, 12)?;
    (page & PRESENT != 0).then(|| frame(kernel, page, va, 12))
}

/// Frame number of `va` under a leaf whose page is `1 << shift` bytes. Bit 12 of a large leaf is PAT,
/// not address, so the low bits come from `va` alone.
#[inline(always)]
fn frame(kernel: &KernelLayout, leaf: u64, va: u64, shift: u32) -> u64 {
    let inside = (1u64 << shift) - 1;
    ((leaf & kernel.frame_mask & !inside) | (va & inside)) >> 12
}

//! What the walk must know of the running kernel, and the proof that it is right.
//!
//! Offsets come from BTF. The base of the direct map is where x86-64 keeps all physical memory
//! (Documentation/arch/x86/x86_64/mm.rst); with KASLR it is random, aligned to 1 GiB
//! (arch/x86/mm/kaslr.c). Where the kernel names `page_offset_base` it is read; elsewhere the
//! candidates below a known page table are tried until walks of pages of our own agree with pagemap.
#![expect(unsafe_code, reason = "maps pages of its own to verify the walk with, and asks CPUID")]

use std::fs;

use memmap2::MmapMut;
use probe_abi::KernelLayout;

use super::btf::Btf;
use super::error::{KernelError, WalkError};
use super::frame::{FRAME_BYTES, Frame};
use super::pagemap::Pagemap;
use super::programs::Programs;
use crate::memory::ServerAddr;

const GIB: u64 = 1 << 30;
/// Bits 12 to 51: where an entry can hold a physical address.
const ADDRESS_BITS: u64 = 0x000f_ffff_ffff_f000;
/// Lowest address of the direct map: 5-level and 4-level paging (mm.rst).
const DIRECT_MAP_5: u64 = 0xff11_0000_0000_0000;
const DIRECT_MAP_4: u64 = 0xffff_8880_0000_0000;
/// Pages of our own that the walk is proven on.
const PROOF_PAGES: usize = 1024;

/// Finds the layout and leaves it set in `programs`, proven.
///
/// # Errors
/// When something is not found or the proof fails.
pub(super) fn known_kernel(programs: &mut Programs) -> Result<KernelLayout, WalkError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(KernelError::Architecture.into());
    }
    let mut kernel = from_btf()?;
    let proof = Proof::new()?;
    let me = std::process::id();
    let mut tried = 0;
    for base in candidates(programs, &mut kernel, me)? {
        tried += 1;
        kernel.direct_map = base;
        programs.set_kernel(kernel)?;
        if proof.agrees_on_first(programs)? {
            proof.check(programs)?;
            return Ok(kernel);
        }
    }
    Err(KernelError::NoDirectMap { tried }.into())
}

/// Offsets, paging depth and address mask.
fn from_btf() -> Result<KernelLayout, KernelError> {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").map_err(KernelError::NoBtf)?;
    let btf = Btf::parse(&bytes)?;
    // The kernel clears the flag when it does not use five levels (arch/x86/kernel/cpu/common.c).
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let five = flags.split_ascii_whitespace().any(|flag| flag == "la57");
    Ok(KernelLayout {
        direct_map: 0,
        frame_mask: ADDRESS_BITS & !encryption_bit(),
        task_mm: btf.offset("task_struct", "mm")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_tasks: btf.offset("task_struct", "tasks")?,
        mm_pgd: btf.offset("mm_struct", "pgd")?,
        levels: if five { 5 } else { 4 },
        task_leader: btf.offset("task_struct", "group_leader")?,
    })
}

/// The bit that marks encrypted memory, 0 where there is none: AMD64 Architecture Programmer's
/// Manual vol. 3, CPUID Fn8000_001F: EAX bit 0 (SME) or 1 (SEV), position in EBX bits 5:0.
#[cfg(target_arch = "x86_64")]
fn encryption_bit() -> u64 {
    use core::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax < 0x8000_001f {
        return 0;
    }
    let leaf = __cpuid(0x8000_001f);
    if leaf.eax & 3 == 0 { 0 } else { 1 << (leaf.ebx & 63) }
}

#[cfg(not(target_arch = "x86_64"))]
fn encryption_bit() -> u64 {
    0
}

/// Where the direct map may begin, the likeliest first. Leaves process `pid` found.
fn candidates(
    programs: &mut Programs,
    kernel: &mut KernelLayout,
    pid: u32,
) -> Result<Vec<u64>, WalkError> {
    programs.set_kernel(*kernel)?;
    if let Some(address) = symbol("page_offset_base") {
        // Before the process is looked for: the word lies where what was found of it will.
        let base = programs.kernel_word(address)?;
        programs.find(pid)?;
        return Ok(base.into_iter().collect());
    }
    // Finding the task needs no direct map, so a page table's address can be had before it is known.
    programs.find(pid)?;
    let pgd = programs.target()?.pgd;
    let lowest = if kernel.levels == 5 { DIRECT_MAP_5 } else { DIRECT_MAP_4 };
    let top = pgd & !(GIB - 1);
    let span = highest_memory();
    let below = (0..=span / GIB + 1).filter_map(move |n| top.checked_sub(n * GIB));
    Ok(below.filter(|base| *base >= lowest).collect())
}

/// Address of a kernel symbol, where the kernel shows it.
fn symbol(name: &str) -> Option<u64> {
    let symbols = fs::read_to_string("/proc/kallsyms").ok()?;
    let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name))?;
    u64::from_str_radix(line.split(' ').next()?, 16).ok().filter(|address| *address != 0)
}

/// End of the highest RAM range that the firmware reported (`/proc/iomem`).
fn highest_memory() -> u64 {
    let text = fs::read_to_string("/proc/iomem").unwrap_or_default();
    let end = |line: &str| {
        let range = line.split(" : ").next()?.trim();
        u64::from_str_radix(range.split('-').nth(1)?, 16).ok()
    };
    let ram = text.lines().filter(|line| line.ends_with(": System RAM")).filter_map(end).max();
    ram.unwrap_or(1 << 40)
}

/// Pages of our own, locked so that they stay where they are.
struct Proof {
    map: MmapMut,
}

impl Proof {
    fn new() -> Result<Self, KernelError> {
        let len = PROOF_PAGES * usize::try_from(FRAME_BYTES).unwrap_or(4096);
        let mut map = MmapMut::map_anon(len).map_err(KernelError::Map)?;
        // Half of it in huge pages where the kernel gives them; a refusal changes nothing.
        let (half, _) = map.split_at_mut(len / 2);
        // SAFETY: the range is inside our own mapping; advice changes no contents.
        unsafe { libc::madvise(half.as_mut_ptr().cast(), half.len(), libc::MADV_HUGEPAGE) };
        map.fill(1);
        // Without the right to lock them, pages that move during the proof only make it fail.
        let _ = map.lock();
        Ok(Self { map })
    }

    fn start(&self) -> ServerAddr {
        ServerAddr(self.map.as_ptr().expose_provenance() as u64)
    }

    fn by_pagemap(&self, pages: usize) -> Result<Vec<Frame>, KernelError> {
        let mut frames = vec![Frame::ABSENT; pages];
        Pagemap::open(std::process::id())?.translate(self.start(), &mut frames)?;
        Ok(frames)
    }

    /// A cheap look at one page, for sorting candidates out. A wrong base makes the walk fault or
    /// wander, both of which are a no.
    fn agrees_on_first(&self, programs: &mut Programs) -> Result<bool, WalkError> {
        let mut found = [Frame::ABSENT];
        match programs.translate(self.start(), &mut found) {
            Ok(()) => Ok(found[0] == self.by_pagemap(1)?[0]),
            Err(WalkError::Fault { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All pages must agree; one retry, because a page may have moved between the two looks.
    fn check(&self, programs: &mut Programs) -> Result<(), WalkError> {
        let mut wrong = 0;
        for _ in 0..2 {
            let expected = self.by_pagemap(PROOF_PAGES)?;
            let mut found = vec![Frame::ABSENT; PROOF_PAGES];
            programs.translate(self.start(), &mut found)?;
            wrong = expected.iter().zip(&found).filter(|(a, b)| a != b).count();
            if wrong == 0 {
                return Ok(());
            }
        }
        Err(KernelError::Disproved { wrong, of: PROOF_PAGES }.into())
    }
}

//! The eBPF programs of the page-table walk, driven: runs of 64 regions of 2 MiB, entries decoded here.
#![expect(unsafe_code, reason = "maps kernel memory that eBPF programs write")]

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions};
use memmap2::{MmapOptions, MmapRaw};
use probe_abi::{
    Control, KernelLayout, PageTable, REGION_BYTES, Region, TABLE_ENTRIES, WALK_REGIONS,
    WalkTarget, outcome, region,
};

use super::error::WalkError;
use super::frame::{FRAME_BYTES, Frame};
use crate::memory::ServerAddr;
use crate::probes::{ProbesError, Settings, load};

/// Most tasks looked at before a process counts as not there (`/proc/sys/kernel/pid_max` at most).
const MAX_TASKS: u32 = 4 << 20;

/// The loaded programs and their mapped results.
pub(super) struct Programs {
    ebpf: Ebpf,
    control: Array<MapData, Control>,
    target: Array<MapData, WalkTarget>,
    regions: MmapRaw,
    tables: MmapRaw,
    pub(super) kernel: KernelLayout,
    /// The layout is known to be right: what cannot be read is no sign against it.
    pub(super) proven: bool,
}

impl Programs {
    pub(super) fn new() -> Result<Self, WalkError> {
        let mut ebpf = load(&Settings::default())?;
        for name in ["find_task", "walk_bulk", "peek"] {
            program(&mut ebpf, name)?.load().map_err(|source| ProbesError::Program {
                program: name,
                source: Box::new(source),
            })?;
        }
        let regions = map(&mut ebpf, "REGIONS", WALK_REGIONS * size_of::<Region>())?;
        let tables = map(&mut ebpf, "TABLES", WALK_REGIONS * size_of::<PageTable>())?;
        let control = array(&mut ebpf, "CONTROL")?;
        let target = array(&mut ebpf, "TARGET")?;
        let kernel = KernelLayout::default();
        Ok(Self { ebpf, control, target, regions, tables, kernel, proven: false })
    }

    /// Sets the kernel's layout for the runs that follow.
    pub(super) fn set_kernel(&mut self, kernel: KernelLayout) -> Result<(), WalkError> {
        self.kernel = kernel;
        let control = Control { kernel, ..Control::default() };
        self.control.set(0, control, 0).map_err(|source| failed("CONTROL", source))
    }

    /// The process that was found last.
    pub(super) fn target(&self) -> Result<WalkTarget, WalkError> {
        self.target.get(&0, 0).map_err(|source| failed("TARGET", source))
    }

    /// Looks the process up in the kernel's list of tasks.
    pub(super) fn find(&mut self, pid: u32) -> Result<(), WalkError> {
        self.target.set(0, WalkTarget::default(), 0).map_err(|source| failed("TARGET", source))?;
        loop {
            let target = self.run("find_task", [u64::from(pid), 0])?;
            match target.outcome {
                outcome::DONE => return Ok(()),
                outcome::AGAIN if target.looked < MAX_TASKS => {}
                outcome::FAULT => return Err(WalkError::Fault { pid }),
                _ => return Err(WalkError::Gone { pid }),
            }
        }
    }

    /// 64 bits of kernel memory at `address`, `None` where there are none.
    pub(super) fn kernel_word(&mut self, address: u64) -> Result<Option<u64>, WalkError> {
        let target = self.run("peek", [address, 0])?;
        Ok((target.outcome == outcome::DONE).then_some(target.mm))
    }

    fn run(&mut self, name: &'static str, args: [u64; 2]) -> Result<WalkTarget, WalkError> {
        use aya::programs::TestRun as _;
        let mut options = RawTracePointRunOptions::new();
        options.args[..2].copy_from_slice(&args);
        program(&mut self.ebpf, name)?.test_run(options).map_err(|source| failed(name, source))?;
        self.target()
    }

    /// Fills `out` with the frames from `start` on, of the process found last.
    pub(super) fn translate(
        &mut self,
        start: ServerAddr,
        out: &mut [Frame],
    ) -> Result<(), WalkError> {
        let pages = usize::try_from(REGION_BYTES / FRAME_BYTES).unwrap_or(TABLE_ENTRIES);
        let aligned = start.0 & !(REGION_BYTES - 1);
        let mut skip = usize::try_from((start.0 - aligned) / FRAME_BYTES).unwrap_or(0);
        let (mut va, mut done) = (aligned, 0);
        while done < out.len() {
            let regions = (skip + out.len() - done).div_ceil(pages).min(WALK_REGIONS);
            let target = self.run("walk_bulk", [va, regions as u64])?;
            match target.outcome {
                outcome::DONE => {}
                outcome::FAULT => return Err(WalkError::Fault { pid: target.tgid }),
                _ => return Err(WalkError::Gone { pid: target.tgid }),
            }
            for slot in 0..regions {
                let count = (pages - skip).min(out.len() - done);
                let region = va + slot as u64 * REGION_BYTES;
                let own = &mut out[done..done + count];
                match self.decode(slot, region, skip, own) {
                    Err(WalkError::Fault { .. }) if self.proven => {
                        self.decode_again(region, skip, own)?;
                    }
                    decoded => decoded?,
                }
                done += count;
                skip = 0;
            }
            va += regions as u64 * REGION_BYTES;
        }
        Ok(())
    }

    /// Looks again at a region whose page table could not be read: the server may have freed it under
    /// the walk. If it still cannot, its frames are not known, and that is all: a whole list should not
    /// fail for it. Slot 0, which this uses, has been decoded by then.
    fn decode_again(&mut self, va: u64, first: usize, out: &mut [Frame]) -> Result<(), WalkError> {
        let target = self.run("walk_bulk", [va, 1])?;
        if target.outcome != outcome::DONE {
            return Err(WalkError::Gone { pid: target.tgid });
        }
        match self.decode(0, va, first, out) {
            Err(WalkError::Fault { .. }) => {
                out.fill(Frame::ABSENT);
                Ok(())
            }
            decoded => decoded,
        }
    }

    /// Decodes the entries of the region at `va` from the one numbered `first` on.
    fn decode(
        &self,
        slot: usize,
        va: u64,
        first: usize,
        out: &mut [Frame],
    ) -> Result<(), WalkError> {
        let entry = word(&self.regions, slot * 2 + 1);
        let huge = match word(&self.regions, slot * 2) {
            region::TABLE => {
                let entries = words(&self.tables, slot * TABLE_ENTRIES + first, out.len());
                for (frame, entry) in out.iter_mut().zip(entries) {
                    *frame = leaf(entry.load(Ordering::Relaxed), self.kernel.frame_mask, 0);
                }
                return Ok(());
            }
            region::HUGE_2M => REGION_BYTES,
            region::HUGE_1G => 1 << 30,
            region::FAULT => return Err(WalkError::Fault { pid: self.target()?.tgid }),
            _ => {
                out.fill(Frame::ABSENT);
                return Ok(());
            }
        };
        let before = (va & (huge - 1)) / FRAME_BYTES + first as u64;
        for (offset, frame) in out.iter_mut().enumerate() {
            *frame = leaf(entry, self.kernel.frame_mask & !(huge - 1), before + offset as u64);
        }
        Ok(())
    }
}

const PRESENT: u64 = 1;
const PROT_NONE: u64 = 1 << 8;

/// Frame of a leaf entry, `offset` frames into its page.
///
/// Not present with the global bit set is PROT_NONE: mapped, fenced off for NUMA balancing or by
/// mprotect. Its address bits are stored inverted against L1TF (arch/x86/include/asm/pgtable-invert.h).
fn leaf(entry: u64, mask: u64, offset: u64) -> Frame {
    let kind = entry & (PRESENT | PROT_NONE);
    if kind == 0 {
        return Frame::ABSENT;
    }
    let address = if kind == PROT_NONE { !entry } else { entry } & mask;
    Frame::from_number(address / FRAME_BYTES + offset)
}

/// The word numbered `index` of a map that a program has finished writing.
fn word(map: &MmapRaw, index: usize) -> u64 {
    words(map, index, 1)[0].load(Ordering::Relaxed)
}

/// `count` words from the one numbered `first` on.
fn words(map: &MmapRaw, first: usize, count: usize) -> &[AtomicU64] {
    let end = first.checked_add(count);
    assert!(end.is_some_and(|end| end <= map.len() / 8), "the words are inside the map");
    // SAFETY: inside the mapping (just checked), which lives as long as `map`; aligned to 8, and only
    // ever accessed atomically here.
    unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<AtomicU64>().add(first), count) }
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut RawTracePoint, ProbesError> {
    ebpf.program_mut(name)
        .ok_or(ProbesError::NotBuiltIn)?
        .try_into()
        .map_err(|source| ProbesError::Program { program: name, source: Box::new(source) })
}

fn failed(
    program: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> WalkError {
    WalkError::Run { program, source: Box::new(source) }
}

fn array<T: aya::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Array<MapData, T>, WalkError> {
    let map = ebpf.take_map(name).ok_or(ProbesError::NotBuiltIn)?;
    Array::try_from(map).map_err(|source| failed(name, source))
}

fn map(ebpf: &mut Ebpf, name: &'static str, len: usize) -> Result<MmapRaw, WalkError> {
    let Some(aya::maps::Map::Array(data)) = ebpf.map(name) else {
        return Err(ProbesError::NotBuiltIn.into());
    };
    MmapOptions::new()
        .len(len)
        .map_raw_read_only(data.fd().as_fd().as_raw_fd())
        .map_err(|source| failed(name, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_every_kind_are_decoded() {
        let mask = 0x000f_ffff_ffff_f000;
        assert_eq!(leaf(0x8000_0000_1234_5067, mask, 0).number(), Some(0x12345));
        assert_eq!(leaf(0, mask, 0), Frame::ABSENT);
        assert_eq!(leaf(0x1234_5000, mask, 0), Frame::ABSENT, "a swap entry is not present");
        let inverted = (!0x1234_5000_u64 & mask) | PROT_NONE;
        assert_eq!(leaf(inverted, mask, 0).number(), Some(0x12345), "PROT_NONE is inverted");
        let huge = 0x8000_0000_4020_00e7;
        let huge_mask = mask & !(REGION_BYTES - 1);
        assert_eq!(
            leaf(huge, huge_mask, 3).number(),
            Some(0x40203),
            "PAT at bit 12 is not address"
        );
    }
}

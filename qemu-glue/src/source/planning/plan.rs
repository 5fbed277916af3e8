//! From the guest's list to the set: clipped to its own RAM and disks, nothing twice.
//!
//! The guest may write anything into its list (invariant I5). Whatever it writes, the set names only
//! pages of its RAM from 1 MiB on, each once, and the work is bounded by the size of that RAM and the
//! length of the list, which its reader has bounded. A disk has many names (`path:` of anything before its
//! PCI function), so the set has one device for each disk that has pages, not for each name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use page_number::{
    MAX_SET_BLOCKS, MAX_SET_PAGES, MAX_SET_RUNS, MAX_THROTTLE_PAGES, PAGE_BYTES, PAGE_SHIFT,
    UNIT_SHIFT,
};
use page_wire::{Device, List};
use serde::Serialize;

use crate::channel::{MAX_DEVICE_BYTES, MAX_DEVICES};
use crate::guest::disks::{self, Disk};
use crate::guest::{Clipped, GuestRam};
use crate::set::{Block, SetError, SetRun, SkipSet, ZERO_DEVICE};
use crate::source::zero::Stretch;
use page_number::Gpa;

/// Why pages of the list are not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    /// Not plain shared RAM from 1 MiB on.
    NotRam,
    /// RAM with pages larger than 4 KiB, of which one page that QEMU sends would make its neighbours
    /// present; or in more blocks than a set has.
    OtherRam,
    /// The list has the page already.
    Twice,
    /// No disk of this VM, or several, have that name; or it is longer than names of disks are.
    UnknownDevice,
    /// On more disks than a set has.
    OtherDevice,
    /// A file on a share, which is not read yet.
    ShareFile,
    /// Beyond the end of the disk.
    BeyondDisk,
    /// Among the pages that keep QEMU from the switchover while it is throttled.
    ThrottlePage,
    /// More pages than a set holds, or a list that names its pages over and over.
    TooMany,
}

/// The set, and what is not in it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Pages to skip: zero pages, then the listed ones in the order of the disks.
    pub set: SkipSet,
    /// Pages of 4 KiB that the list has, in or out of the set.
    pub listed: u64,
    /// Pages of 4 KiB left out, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// Makes the set of a list, and of the zero pages that are not in it.
///
/// # Errors
/// [`SetError`] never comes from a list, however wrong: it would be a mistake in here.
pub fn plan(
    list: &List<'_>,
    ram: &GuestRam,
    disks: &[Disk],
    zeros: &[Stretch],
) -> Result<Plan, SetError> {
    read(list, ram, disks, &AtomicBool::new(false)).finish(zeros)
}

/// What a list becomes; the list is needed no more. A run takes 24 bytes, and there may be one for each page of RAM. Ends
/// early, with a part of it, when it is `enough`.
pub(in crate::source) fn read<'a>(
    list: &List<'_>,
    ram: &'a GuestRam,
    disks: &'a [Disk],
    enough: &AtomicBool,
) -> Planner<'a> {
    let mut planner = Planner::new(ram);
    let devices = list.devices();
    let found: Vec<Result<&Disk, LeftOut>> =
        devices.iter().map(|device| disk_of(device, disks)).collect();
    for run in list.runs() {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        planner.plan.listed += u64::from(run.frames());
        let pages = u64::from(run.frames());
        let device = usize::from(run.device());
        match (found.get(device), devices.get(device)) {
            (Some(Ok(disk)), Some(device)) => planner.take(&run, disk, device.name()),
            (Some(Err(reason)), _) => planner.leave(*reason, pages),
            _ => planner.leave(LeftOut::UnknownDevice, pages),
        }
    }
    planner
}

/// The disk that a device is, or why it is of no use.
fn disk_of<'a>(device: &Device, disks: &'a [Disk]) -> Result<&'a Disk, LeftOut> {
    match device {
        Device::ShareFile(_) => Err(LeftOut::ShareFile),
        Device::Disk(name) if name.len() > MAX_DEVICE_BYTES => Err(LeftOut::UnknownDevice),
        Device::Disk(name) => disks::find(disks, name).ok_or(LeftOut::UnknownDevice),
    }
}

/// A set in the making.
pub(in crate::source) struct Planner<'a> {
    ram: &'a GuestRam,
    plan: Plan,
    blocks: Vec<Block>,
    /// By block of the RAM: its index in `blocks`.
    numbers: Vec<Option<u16>>,
    /// By block of the RAM: which of its pages are in the set, a bit each; nothing where it has no number.
    taken: Vec<Vec<u64>>,
    /// Disks that have runs, each with the first name under which it had one.
    devices: Vec<(&'a Disk, String)>,
    runs: Vec<SetRun>,
    pages: u64,
    /// Pages that may still be looked at.
    budget: u64,
}

impl<'a> Planner<'a> {
    fn new(ram: &'a GuestRam) -> Self {
        let mut blocks = Vec::new();
        let mut numbers = Vec::new();
        let mut taken = Vec::new();
        let words = |length: u64| usize::try_from(length / PAGE_BYTES / 64 + 1).unwrap_or(0);
        for block in ram.blocks() {
            let number = u16::try_from(blocks.len()).ok();
            let fits = block.page_bytes == PAGE_BYTES && blocks.len() < MAX_SET_BLOCKS;
            let number = number.filter(|_| fits);
            if number.is_some() {
                blocks.push(Block { name: block.name.clone(), length: block.length });
            }
            numbers.push(number);
            taken.push(vec![0; number.map_or(0, |_| words(block.length))]);
        }
        Self {
            ram,
            plan: Plan::default(),
            blocks,
            numbers,
            taken,
            devices: Vec::new(),
            runs: Vec::new(),
            pages: 0,
            // An honest list names a page once.
            budget: 2 * ram.pages(),
        }
    }

    fn leave(&mut self, reason: LeftOut, pages: u64) {
        if pages > 0 {
            *self.plan.left_out.entry(reason).or_default() += pages;
        }
    }

    /// Number of the disk's device in the set; `None` where it has none and there is no room for one.
    fn number(&self, disk: &Disk) -> Option<u16> {
        let known = self.devices.iter().position(|(known, _)| std::ptr::eq(*known, disk));
        // One is for zero pages.
        let next = Some(self.devices.len()).filter(|next| *next < MAX_DEVICES - 1);
        known.or(next).and_then(|number| u16::try_from(number).ok())
    }

    /// One run of the list, on a disk that the list calls `name`.
    fn take(&mut self, run: &page_wire::Run, disk: &'a Disk, name: &str) {
        let all = u64::from(run.frames());
        let Some(device) = self.number(disk) else {
            return self.leave(LeftOut::OtherDevice, all);
        };
        let runs = self.runs.len();
        let place = run.unit() << UNIT_SHIFT;
        let end = Some(disk.bytes).filter(|bytes| *bytes > 0);
        // Places have 48 bits of 512 bytes and lengths 36 bits: nothing overflows.
        let there = end.map_or(all, |end| end.saturating_sub(place) / PAGE_BYTES).min(all);
        self.leave(LeftOut::BeyondDisk, all - there);
        let ram = self.ram;
        let mut inside = 0;
        for piece in ram.clip(Gpa(run.gfn() << PAGE_SHIFT), there * PAGE_BYTES) {
            // Windows of RAM start and end at pages; one that does not is no RAM.
            if !piece.offset.is_multiple_of(PAGE_BYTES) || !piece.ahead.is_multiple_of(PAGE_BYTES) {
                continue;
            }
            let pages = piece.bytes / PAGE_BYTES;
            inside += pages;
            self.piece(piece, pages, device, place + piece.ahead);
        }
        self.leave(LeftOut::NotRam, there - inside);
        if self.runs.len() > runs && usize::from(device) == self.devices.len() {
            self.devices.push((disk, name.to_owned()));
        }
    }

    fn piece(&mut self, piece: Clipped, pages: u64, device: u16, place: u64) {
        let Some(block) = self.numbers[piece.block] else {
            return self.leave(LeftOut::OtherRam, pages);
        };
        let looked = pages.min(self.budget);
        self.budget -= looked;
        let first = piece.offset / PAGE_BYTES;
        let (mut twice, mut throttle, mut full) = (0, 0, pages - looked);
        // Whether the page before went into the last run.
        let mut goes_on = false;
        for page in first..first + looked {
            let (word, bit) = (page / 64, 1_u64 << (page % 64));
            let taken =
                usize::try_from(word).ok().and_then(|at| self.taken[piece.block].get_mut(at));
            let Some(word) = taken else {
                full += 1;
                continue;
            };
            let skipped = if block == 0 && page < u64::from(MAX_THROTTLE_PAGES) {
                Some(&mut throttle)
            } else if *word & bit != 0 {
                Some(&mut twice)
            } else if self.pages == u64::from(MAX_SET_PAGES) || self.runs.len() == MAX_SET_RUNS {
                Some(&mut full)
            } else {
                None
            };
            if let Some(count) = skipped {
                *count += 1;
                goes_on = false;
                continue;
            }
            *word |= bit;
            self.pages += 1;
            match self.runs.last_mut() {
                Some(last) if goes_on => last.pages += 1,
                _ => self.runs.push(SetRun {
                    block,
                    device,
                    pages: 1,
                    offset: page * PAGE_BYTES,
                    place: place + (page - first) * PAGE_BYTES,
                }),
            }
            goes_on = true;
        }
        self.leave(LeftOut::Twice, twice);
        self.leave(LeftOut::ThrottlePage, throttle);
        self.leave(LeftOut::TooMany, full);
    }

    /// Puts runs of zero pages that are in no run yet before all others. In place: both together are as many as RAM has
    /// pages at most, and no copy of them fits beside them.
    fn zeros(&mut self, found: &[Stretch], device: u16) {
        let listed = self.runs.len();
        for stretch in found {
            let Some(block) = self.numbers[stretch.block] else { continue };
            let mut goes_on = false;
            for page in stretch.first..stretch.first + stretch.pages {
                let word = usize::try_from(page / 64).ok();
                let word = word.and_then(|at| self.taken[stretch.block].get(at));
                let taken = word.is_none_or(|word| word & (1 << (page % 64)) != 0);
                let full = self.pages == u64::from(MAX_SET_PAGES)
                    || (!goes_on && self.runs.len() == MAX_SET_RUNS);
                if taken || full || (block == 0 && page < u64::from(MAX_THROTTLE_PAGES)) {
                    goes_on = false;
                    continue;
                }
                self.pages += 1;
                match self.runs.last_mut() {
                    Some(last) if goes_on => last.pages += 1,
                    _ => self.runs.push(SetRun {
                        block,
                        device,
                        pages: 1,
                        offset: page * PAGE_BYTES,
                        place: 0,
                    }),
                }
                goes_on = true;
            }
        }
        self.runs.rotate_left(listed);
    }

    /// The set of it, and of the zero pages that are not in it.
    ///
    /// # Errors
    /// [`SetError`] would be a mistake in here.
    pub(in crate::source) fn finish(mut self, zeros: &[Stretch]) -> Result<Plan, SetError> {
        let devices = std::mem::take(&mut self.devices);
        let mut devices: Vec<String> = devices.into_iter().map(|(_, name)| name).collect();
        let listed = self.runs.len();
        if let Ok(device) = u16::try_from(devices.len()) {
            self.zeros(zeros, device);
        }
        if self.runs.len() > listed {
            devices.push(ZERO_DEVICE.to_owned());
        }
        drop(std::mem::take(&mut self.taken));
        self.plan.set = SkipSet::new(self.blocks, devices, self.runs)?;
        Ok(self.plan)
    }
}

#[cfg(test)]
mod tests;

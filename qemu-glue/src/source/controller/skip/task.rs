//! What the session has to do: the set that a migration is to skip, in numbers.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use crate::channel::{MAX_DEVICES, SetRange};
use crate::set::SkipSet;

/// A set of pages that a migration is to skip.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct SkipTask {
    /// Pages of the set.
    pub(in crate::source) pages: u32,
    /// Those that are zero, which are its first.
    pub(in crate::source) zero_pages: u32,
    /// Pages of each device in the order of the set, but for the zero pages; the last one has all of the devices beyond the
    /// most of an offer.
    pub(in crate::source) devices: Vec<Range<u32>>,
    /// Pages that the destination cannot read.
    pub(in crate::source) unreadable: Vec<SetRange>,
    /// Bytes of RAM that are in no set: all that QEMU has to send in its first pass.
    pub(in crate::source) first_pass_bytes: u64,
    /// How long the destination may settle nothing.
    pub(in crate::source) silence: Duration,
    /// Pages change over to the network where that is sooner.
    pub(in crate::source) splits_load: bool,
}

impl SkipTask {
    /// The task of a set in a VM with so many bytes of RAM, of whose block devices the destination cannot read some.
    pub(in crate::source) fn new(
        set: &SkipSet,
        ram_bytes: u64,
        left_out: &HashSet<u16>,
        silence: Duration,
        splits_load: bool,
    ) -> Self {
        let all = set.pieces(0..set.pages());
        let unreadable = all
            .filter(|(_, run)| left_out.contains(&run.device))
            .map(|(first, run)| SetRange { first: first.0, count: run.pages })
            .collect();
        Self {
            pages: set.pages(),
            zero_pages: set.zero_pages(),
            devices: devices(set),
            unreadable,
            first_pass_bytes: ram_bytes.saturating_sub(set.bytes()),
            silence,
            splits_load,
        }
    }
}

/// The pages of each device: where a list has them in turn, the last range has the rest.
fn devices(set: &SkipSet) -> Vec<Range<u32>> {
    let mut devices: Vec<(u16, Range<u32>)> = Vec::new();
    for (first, run) in set.pieces(set.zero_pages()..set.pages()) {
        let end = first.0.saturating_add(run.pages);
        let is_full = devices.len() >= MAX_DEVICES;
        match devices.last_mut() {
            Some((device, pages)) if *device == run.device || is_full => pages.end = end,
            _ => devices.push((run.device, first.0..end)),
        }
    }
    devices.into_iter().map(|(_, pages)| pages).collect()
}

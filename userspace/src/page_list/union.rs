//! One list of several servers': a host's request is for the whole VM.
//!
//! A server's list stays as it is; only its devices get the numbers of the list of all, and the runs the order of all
//! disks. Two servers on one disk so become one stretch of it.

use std::collections::BTreeMap;

use page_wire::{Device, Facts, Part, RUN_BYTES, encode_head, encoded_bytes, unite};

use super::BuildError;
use super::build::{Built, ListSteps};

/// The lists of several servers as one.
pub struct Union {
    lists: Vec<(Built, Vec<u16>)>,
    facts: Facts,
    devices: Vec<Device>,
    left_out: BTreeMap<String, u64>,
    steps: ListSteps,
    runs: u64,
}

/// What a list of all may have.
#[derive(Clone, Copy, Debug)]
pub struct ListRoom {
    /// Devices.
    pub devices: usize,
    /// Bytes of its binary form.
    pub bytes: u64,
}

impl Union {
    /// The list of all `lists`, of which the first is there whatever it needs. Gives the indices of those for which
    /// there was no room as well.
    #[must_use]
    pub fn of(lists: Vec<Built>, room: ListRoom) -> (Self, Vec<usize>) {
        let mut union = Self {
            lists: Vec::new(),
            facts: Facts { begun_ns: u64::MAX, ..Facts::default() },
            devices: Vec::new(),
            left_out: BTreeMap::new(),
            steps: ListSteps::default(),
            runs: 0,
        };
        let mut passed_over = Vec::new();
        for (index, list) in lists.into_iter().enumerate() {
            if !union.take(list, room) {
                passed_over.push(index);
            }
        }
        (union, passed_over)
    }

    /// Adds a list, unless there is no room for it.
    fn take(&mut self, mut list: Built, room: ListRoom) -> bool {
        let mut devices = self.devices.clone();
        let number = |device: &Device| {
            let known = devices.iter().position(|known| known == device);
            u16::try_from(known.unwrap_or_else(|| {
                devices.push(device.clone());
                devices.len() - 1
            }))
        };
        let numbers: Result<Vec<u16>, _> = list.devices.iter().map(number).collect();
        let runs = self.runs + list.run_count();
        let is_first = self.lists.is_empty();
        let fits = devices.len() <= room.devices && encoded_bytes(&devices, runs) <= room.bytes;
        let (true, Ok(numbers)) = (fits || is_first, numbers) else { return false };
        (self.devices, self.runs) = (devices, runs);
        let (facts, all) = (list.facts, &mut self.facts);
        all.page_size = match all.page_size {
            _ if is_first => facts.page_size,
            size if size == facts.page_size => size,
            _ => 0,
        };
        all.pages += facts.pages;
        all.begun_ns = all.begun_ns.min(facts.begun_ns);
        all.done_ns = all.done_ns.max(facts.done_ns);
        for (reason, blocks) in std::mem::take(&mut list.left_out) {
            *self.left_out.entry(reason).or_default() += blocks;
        }
        self.steps = longest(&self.steps, &list.steps);
        self.lists.push((list, numbers));
        true
    }

    /// Numbers for the header.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// Blocks of all pools that are not on it, by reason.
    #[must_use]
    pub const fn left_out(&self) -> &BTreeMap<String, u64> {
        &self.left_out
    }

    /// How long each step took, of the list where that was longest: they are made side by side.
    #[must_use]
    pub const fn steps(&self) -> ListSteps {
        self.steps
    }

    /// Bytes of the binary form.
    #[must_use]
    pub fn encoded_bytes(&self) -> u64 {
        encoded_bytes(&self.devices, self.runs)
    }

    /// Writes the binary form to memory of its size ([`encoded_bytes`](Self::encoded_bytes)).
    ///
    /// # Errors
    /// When the memory is too small, or a name does not fit.
    pub fn write_to(&self, out: &mut [u8]) -> Result<(), BuildError> {
        let too_small = || BuildError::Write(std::io::ErrorKind::WriteZero.into());
        let head = encode_head(&self.facts, &self.devices, self.runs)?;
        let (front, runs) = out.split_at_mut_checked(head.len()).ok_or_else(too_small)?;
        front.copy_from_slice(&head);
        let mut rest = &mut *runs;
        let mut parts = Vec::new();
        for (list, devices) in &self.lists {
            let runs = usize::try_from(list.run_count()).map_err(|_| too_small())?;
            let (own, after) =
                rest.split_at_mut_checked(runs.saturating_mul(RUN_BYTES)).ok_or_else(too_small)?;
            list.write_runs(own)?;
            parts.push(Part { runs, devices });
            rest = after;
        }
        // A list alone has the right order and the right numbers.
        if parts.len() > 1 {
            unite(runs, &parts);
        }
        Ok(())
    }
}

fn longest(one: &ListSteps, other: &ListSteps) -> ListSteps {
    ListSteps {
        refresh_s: one.refresh_s.max(other.refresh_s),
        scan_s: one.scan_s.max(other.scan_s),
        translate_s: one.translate_s.max(other.translate_s),
        locate_s: one.locate_s.max(other.locate_s),
        merge_s: one.merge_s.max(other.merge_s),
        total_s: one.total_s.max(other.total_s),
    }
}

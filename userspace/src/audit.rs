//! The audit: the residency table held against fresh scans of the descriptors.
//!
//! A probe fires at the entry of a function, the descriptor changes inside it, so for a moment the two
//! differ with nothing wrong. What differs is therefore looked at again, with growing pauses, and only
//! a block whose table entry and descriptor both stay as they are and still contradict each other has
//! lost an update: *drift*. Drift is counted and repaired (the scan's word is laid under the entry).
//!
//! One contradiction is no drift: the table has the page as dirty, the descriptor as clean, and the frame does not
//! carry the newest LSN. That page was taken off the flush list without a write, and the table is
//! right that the disk does not hold it.

use std::thread::sleep;
use std::time::Duration;

use probe_abi::state;

use crate::classify::{Agreement, Class, Classifier, compare, described, expected};
use crate::field_layout::FieldLayout;
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::model::Audit;
use crate::pool_map::PoolMap;
use crate::residency::{Residency, Resident};
use crate::scan::{Block, scan, scan_blocks, scan_buffer};
use crate::server::Server;

/// Pauses before each further look at what differs. A thread between its trap and its store may be
/// descheduled; on a machine that is short of CPUs that takes tens of milliseconds.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
];

/// Scans that lay the base, at most, and the pause after each: longer than a thread stays descheduled
/// inside a probed function.
const BASE_ROUNDS: u32 = 10;
const BASE_PAUSE: Duration = Duration::from_millis(100);

/// Suspects that lie no further apart are read by one call, with what lies between them.
const NEAR: u32 = 16;

/// Compares table and descriptors over and over, and keeps count.
#[derive(Default)]
pub struct Auditor {
    totals: Audit,
}

impl Auditor {
    /// What was found so far.
    #[must_use]
    pub const fn totals(&self) -> Audit {
        self.totals
    }

    /// Lays a scan under the table: what was there before the probes were. Events win: a block that has
    /// had one since is left alone.
    ///
    /// What the probes wrote while they were being set counts for nothing: a page that was seen being read
    /// may have become dirty before that could be seen. They leave such a block unseen
    /// ([`probe_abi::Control::settled`]), one that was late in doing so as well.
    ///
    /// A thread that was inside a probed function when the probe was set raises no event and may
    /// change its descriptor after the scan. So the scan is made again until one finds nothing new.
    ///
    /// # Errors
    /// When the descriptors cannot be read.
    pub fn lay_base(
        memory: Memory,
        layout: &FieldLayout,
        pool_map: &PoolMap,
        residency: &mut Residency,
    ) -> Result<(), MemoryError> {
        let blocks = pool_map.blocks();
        let begun: Vec<u32> = (0..blocks).map(|block| residency.table().word(block)).collect();
        for round in 0..BASE_ROUNDS {
            let mut news = 0_u64;
            scan(memory, layout, pool_map, |block| {
                let Some(truth) = truth(&block) else { return };
                let word = residency.table().word(block.index);
                let unseen = state::of(word) == state::UNSEEN;
                if (unseen || begun.get(block.index as usize) == Some(&word))
                    && (round == 0 || differs(&truth, residency, block.index))
                {
                    residency.lay(block.index, word, truth);
                    news += 1;
                }
            })?;
            if round > 0 && news == 0 {
                break;
            }
            sleep(BASE_PAUSE);
        }
        Ok(())
    }

    /// One whole scan, with `each` called on every block and its class on the way. Returns the drift found now.
    ///
    /// # Errors
    /// When the descriptors cannot be read.
    pub fn scan(
        &mut self,
        server: &Server,
        residency: &mut Residency,
        mut each: impl FnMut(&Block<'_>, Class),
    ) -> Result<u64, MemoryError> {
        let mut suspects = Vec::new();
        let mut classifier = Classifier::new(server.memory(), &server.layout, Some(residency));
        scan(server.memory(), &server.layout, &server.pool_map, |block| {
            let class = classifier.classify(&block);
            each(&block, class);
            if expected(&block, &class).is_some_and(|truth| differs(&truth, residency, block.index))
            {
                suspects.push(block.index);
            }
        })?;
        self.totals.scans += 1;
        self.totals.compared += u64::from(server.pool_map.blocks());
        self.settle(server, residency, suspects)
    }

    /// Looks at suspects again until each is explained or proven to have drifted.
    fn settle(
        &mut self,
        server: &Server,
        residency: &mut Residency,
        mut suspects: Vec<u32>,
    ) -> Result<u64, MemoryError> {
        let mut last: Vec<Suspect> = Vec::new();
        let first = suspects.len() as u64;
        for pause in PAUSES {
            if suspects.is_empty() {
                break;
            }
            sleep(pause);
            let mut still = look_again(server, residency, &suspects)?;
            suspects = still.iter().map(|(index, ..)| *index).collect();
            // Only what stayed exactly as it was counts in the end.
            if pause == PAUSES[PAUSES.len() - 1] {
                retain_same(&mut still, &last);
            }
            last = still;
        }
        let (mut drift, mut first_drift) = (0, None);
        for (index, word, truth) in last {
            let believed = residency.get(index);
            if compare(&truth, &believed) == Agreement::Detached && !is_written(server, index)? {
                continue;
            }
            drift += 1;
            first_drift.get_or_insert((index, believed, truth));
            self.totals.falsely_clean += u64::from(believed.state == state::CLEAN);
            residency.lay(index, word, truth);
            self.totals.repaired += 1;
        }
        if let Some((index, believed, truth)) = first_drift {
            log::warn!(
                "the table of blocks was wrong on {drift} and is repaired; on the first, block {index}, it says \
                 {believed:?}, the descriptor {truth:?}"
            );
        }
        self.totals.drift += drift;
        self.totals.transient += first - drift;
        Ok(drift)
    }
}

/// A block that differs: its index, its entry's word and its descriptor's state.
type Suspect = (u32, u32, Resident);

/// Reads the descriptors of `suspects`, which are in the order of their blocks, once more; gives those
/// that still differ and whose entry did not change meanwhile.
fn look_again(
    server: &Server,
    residency: &Residency,
    suspects: &[u32],
) -> Result<Vec<Suspect>, MemoryError> {
    let mut still = Vec::new();
    let mut buffer = scan_buffer(&server.layout);
    for near in suspects.chunk_by(|a, b| a.abs_diff(*b) <= NEAR) {
        let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
        // Before any descriptor is read, so that an event after that shows.
        let words: Vec<(u32, u32)> =
            near.iter().map(|&index| (index, residency.table().word(index))).collect();
        let mut words = words.into_iter().peekable();
        let each = &mut |block: Block<'_>| {
            let Some((index, before)) = words.next_if(|(index, _)| *index == block.index) else {
                return;
            };
            let Some(truth) = truth(&block) else { return };
            if residency.table().word(index) == before && differs(&truth, residency, index) {
                still.push((index, before, truth));
            }
        };
        let (memory, layout) = (server.memory(), &server.layout);
        scan_blocks(memory, layout, &server.pool_map, *first..*last + 1, &mut buffer, each)?;
    }
    Ok(still)
}

/// Keeps what stands in `before` exactly as it does in `now`; both are in the order of their blocks. A
/// burst can make suspects of many blocks, so they are not compared each with each.
fn retain_same(now: &mut Vec<Suspect>, before: &[Suspect]) {
    now.retain(|suspect| {
        let at = before.binary_search_by_key(&suspect.0, |(index, ..)| *index);
        at.is_ok_and(|at| before[at] == *suspect)
    });
}

/// The entry that the table must have for a block; none where any entry is right.
fn truth(block: &Block<'_>) -> Option<Resident> {
    expected(block, &described(block))
}

/// Whether the table differs.
fn differs(truth: &Resident, residency: &Residency, block: u32) -> bool {
    compare(truth, &residency.get(block)) != Agreement::Agrees
}

/// Whether the frame carries the page's newest LSN, as every written page does.
fn is_written(server: &Server, index: u32) -> Result<bool, MemoryError> {
    let Some(newest) = server.layout.block.newest_lsn else { return Ok(false) };
    let chunks = &server.pool_map.chunks;
    let at = chunks.partition_point(|c| c.first <= index).saturating_sub(1);
    let (Some(chunk), Some(frame)) = (chunks.get(at), server.pool_map.frame(index)) else {
        return Ok(false);
    };
    let descriptor =
        chunk.descriptors.plus(u64::from(index - chunk.first) * server.layout.block.stride as u64);
    let lsn = server.memory().integer(descriptor.plus(newest.offset()), newest.size())?;
    let stamp = server.memory().integer(ServerAddr(frame.0).plus(16), 8)?;
    Ok(stamp.swap_bytes() == lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stayed_exactly_as_it_was_is_kept() {
        let clean = Resident { state: state::CLEAN, space: 5, page: 7 };
        let before = [(1, 8, clean), (4, 8, clean), (6, 8, clean), (9, 8, clean)];
        let mut now = vec![
            (1, 8, clean),
            (2, 8, clean),
            (4, 16, clean),
            (6, 8, Resident::FREE),
            (9, 8, clean),
            (11, 8, clean),
        ];
        retain_same(&mut now, &before);
        assert_eq!(now, [(1, 8, clean), (9, 8, clean)]);
        retain_same(&mut now, &[]);
        assert!(now.is_empty());
    }
}

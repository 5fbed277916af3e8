//! Pages whose hashes have come and whose bytes have not been read, for each device in the order of its places.
//!
//! What waits here is bounded by the set: a page's hash is taken once, and refused a second time. That
//! is also what makes `EEXIST` trustworthy: a page that is present was not put there by an earlier
//! hash of ours.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use page_number::PageIndex;
use thiserror::Error;

use crate::channel::SetRange;
pub use crate::page_hash::Hash;
use crate::set::SkipSet;
use crate::storage::{Piece, Request, RequestLimits};

/// Pages of one entry of the queue: what one request takes at most, so that little is moved about.
const BATCH: usize = 256;

/// Hashes that cannot be taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum QueueError {
    /// Of pages that the set does not have.
    #[error("{count} hashes from page {first} on, and the set has {pages} pages")]
    Beyond {
        /// Number of the first page.
        first: u32,
        /// How many.
        count: usize,
        /// Pages of the set.
        pages: u32,
    },
    /// Of a page that had its hash.
    #[error("a second hash of {0}")]
    Twice(PageIndex),
}

/// A request with what its pages must be, in the order of its pieces.
#[derive(Debug)]
pub(in crate::dest) struct Job {
    pub(in crate::dest) request: Request,
    pub(in crate::dest) hashes: Vec<Hash>,
}

impl Job {
    /// Its pages, in the order of its pieces.
    pub(in crate::dest) fn pages(&self) -> Vec<SetRange> {
        let range = |piece: &Piece| SetRange { first: piece.first.0, count: piece.pages };
        self.request.pieces.iter().map(range).collect()
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    set: Arc<SkipSet>,
    /// By device, and the number of the first page; at most [`BATCH`] pages each, all of that device.
    batches: Vec<BTreeMap<u32, Vec<Hash>>>,
    pages: u64,
    seen: FixedBitSet,
    /// Left to QEMU.
    left: FixedBitSet,
}

impl Queue {
    pub(super) fn new(set: Arc<SkipSet>) -> Self {
        let bits = || FixedBitSet::with_capacity(index(set.pages()));
        let (seen, left) = (bits(), bits());
        let batches = vec![BTreeMap::new(); set.devices().len()];
        Self { set, batches, pages: 0, seen, left }
    }

    /// Takes hashes of the pages from `first` on.
    pub(super) fn put(&mut self, first: u32, hashes: &[Hash]) -> Result<(), QueueError> {
        let pages = self.set.pages();
        let end = u32::try_from(hashes.len()).ok().and_then(|count| first.checked_add(count));
        let Some(end) = end.filter(|end| *end <= pages) else {
            return Err(QueueError::Beyond { first, count: hashes.len(), pages });
        };
        let stretches = self.stretches(first..end);
        let numbers = index(first)..index(end);
        if let Some(twice) = numbers.clone().find(|number| self.seen.contains(*number)) {
            let number = u32::try_from(twice).unwrap_or(u32::MAX);
            return Err(QueueError::Twice(PageIndex(number)));
        }
        self.seen.insert_range(numbers);
        self.pages += hashes.len() as u64;
        let mut left = hashes;
        for (device, numbers) in &stretches {
            let (own, others) = left.split_at(numbers.len().min(left.len()));
            left = others;
            let Some(batches) = self.batches.get_mut(usize::from(*device)) else { continue };
            for (number, batch) in (numbers.start..).step_by(BATCH).zip(own.chunks(BATCH)) {
                batches.insert(number, batch.to_vec());
            }
        }
        Ok(())
    }

    /// Numbers that follow each other and are of one device.
    fn stretches(&self, numbers: Range<u32>) -> Vec<(u16, Range<u32>)> {
        let mut stretches: Vec<(u16, Range<u32>)> = Vec::new();
        for (first, run) in self.set.pieces(numbers) {
            let end = first.0.saturating_add(run.pages);
            match stretches.last_mut() {
                Some((device, numbers)) if *device == run.device => numbers.end = end,
                _ => stretches.push((run.device, first.0..end)),
            }
        }
        stretches
    }

    /// Leaves pages to QEMU; those that are being read already are still installed.
    pub(super) fn leave(&mut self, range: SetRange) {
        let end = range.first.saturating_add(range.count).min(self.set.pages());
        if range.first < end {
            self.left.insert_range(index(range.first)..index(end));
        }
    }

    /// Whether there is something to read from a device.
    pub(super) fn waits_for(&self, device: u16) -> bool {
        self.batches.get(usize::from(device)).is_some_and(|batches| !batches.is_empty())
    }

    /// The next request to a device: the first of its pages that wait, and all that follow closely there.
    pub(super) fn next(&mut self, device: u16, limits: &RequestLimits) -> Option<Job> {
        let Self { set, batches, pages, left, .. } = self;
        let batches = batches.get_mut(usize::from(device))?;
        let mut job: Option<Job> = None;
        while let Some((first, batch)) = batches.pop_first() {
            let count = batch.len();
            let taken = extend(set, &mut job, first, &batch, left, limits);
            *pages -= taken as u64;
            if taken < count {
                let number = first.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
                batches.insert(number, batch[taken..].to_vec());
                break;
            }
        }
        job
    }

    /// Pages that wait.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }
}

/// Adds pages of a batch to the job; returns how many are done with.
fn extend(
    set: &SkipSet,
    job: &mut Option<Job>,
    first: u32,
    batch: &[Hash],
    left: &FixedBitSet,
    limits: &RequestLimits,
) -> usize {
    let mut done = 0;
    while done < batch.len() {
        let at = first.saturating_add(u32::try_from(done).unwrap_or(u32::MAX));
        let same = |number: &usize| left.contains(*number) == left.contains(index(at));
        let end = index(first) + batch.len();
        let alike = (index(at)..end).take_while(same).count();
        if left.contains(index(at)) {
            done += alike;
            continue;
        }
        let stop = at.saturating_add(u32::try_from(alike).unwrap_or(u32::MAX));
        let Some((number, run)) = set.pieces(at..stop).next() else { break };
        let pages = match job {
            Some(job) => job.request.add(number, &run, limits),
            None => {
                let (request, pages) = Request::begun(number, &run, limits);
                *job = Some(Job { request, hashes: Vec::with_capacity(BATCH) });
                pages
            }
        };
        let Some(job) = job.as_mut().filter(|_| pages > 0) else { break };
        let next = done + index(pages);
        job.hashes.extend_from_slice(&batch[done..next]);
        done = next;
    }
    done
}

/// A page's number as an index.
const fn index(number: u32) -> usize {
    // At least 32 bits on every host that QEMU runs VMs on.
    number as usize
}

#[cfg(test)]
mod tests {
    use page_number::PAGE_BYTES;

    use super::*;
    use crate::set::{Block, SetRun};

    const LIMITS: RequestLimits = RequestLimits { request_bytes: 1 << 20, gap_bytes: 64 << 10 };

    /// Two runs, 300 and 200 pages, a hole of 16 KiB between them on storage.
    fn queue() -> Queue {
        let run = |pages, offset, place| SetRun { block: 0, device: 0, pages, offset, place };
        let runs = vec![run(300, 0, 0), run(200, 4 << 20, 300 * PAGE_BYTES + (16 << 10))];
        let blocks = vec![Block { name: "mem0".into(), length: 16 << 20 }];
        let set = SkipSet::new(blocks, vec!["serial:a".into()], runs).unwrap();
        Queue::new(Arc::new(set))
    }

    fn hashes(numbers: Range<u32>) -> Vec<Hash> {
        let hash = |number: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            hash
        };
        numbers.map(hash).collect()
    }

    /// Each page's hash stands where its piece says.
    fn numbers(job: &Job) -> Vec<u32> {
        let numbers: Vec<u32> = job.request.pieces.iter().flat_map(|p| p.numbers()).collect();
        assert_eq!(job.hashes, numbers.iter().flat_map(|n| hashes(*n..n + 1)).collect::<Vec<_>>());
        numbers
    }

    #[test]
    fn pages_come_out_in_the_order_of_storage_and_large() {
        let mut queue = queue();
        queue.put(250, &hashes(250..500)).unwrap();
        queue.put(0, &hashes(0..250)).unwrap();
        assert_eq!(queue.pages(), 500);
        let first = queue.next(0, &LIMITS).unwrap();
        assert_eq!(numbers(&first), (0..256).collect::<Vec<_>>());
        let second = queue.next(0, &LIMITS).unwrap();
        assert_eq!(numbers(&second), (256..500).collect::<Vec<_>>());
        assert_eq!(second.request.pieces.len(), 2, "over the gap");
        assert!(queue.next(0, &LIMITS).is_none());
        assert_eq!(queue.pages(), 0);
    }

    #[test]
    fn pages_left_to_qemu_are_not_read() {
        let mut queue = queue();
        queue.put(0, &hashes(0..100)).unwrap();
        queue.leave(SetRange { first: 0, count: 10 });
        queue.leave(SetRange { first: 50, count: u32::MAX });
        assert_eq!(numbers(&queue.next(0, &LIMITS).unwrap()), (10..50).collect::<Vec<_>>());
        assert!(queue.next(0, &LIMITS).is_none());
        assert_eq!(queue.pages(), 0);
    }

    /// Pages of two devices in turn: each device's own come out, whatever waits for the other.
    #[test]
    fn each_device_has_a_queue_of_its_own() {
        let run = |number: u16| {
            let at = u64::from(number) * PAGE_BYTES;
            SetRun { block: 0, device: number % 2, pages: 1, offset: at, place: at }
        };
        let blocks = vec![Block { name: "mem0".into(), length: 16 << 20 }];
        let devices = vec!["serial:a".into(), "serial:b".into()];
        let set = SkipSet::new(blocks, devices, (0..10).map(run).collect()).unwrap();
        let mut queue = Queue::new(Arc::new(set));
        queue.put(0, &hashes(0..1)).unwrap();
        assert!(!queue.waits_for(1), "a page of the other");
        queue.put(1, &hashes(1..10)).unwrap();
        assert!(queue.waits_for(1));
        assert_eq!(numbers(&queue.next(1, &LIMITS).unwrap()), [1, 3, 5, 7, 9]);
        assert!(queue.next(1, &LIMITS).is_none());
        assert_eq!(queue.pages(), 5);
        assert_eq!(numbers(&queue.next(0, &LIMITS).unwrap()), [0, 2, 4, 6, 8]);
        assert!(queue.next(2, &LIMITS).is_none(), "there is no such device");
    }

    #[test]
    fn a_hash_is_taken_once_and_only_of_the_set() {
        let mut queue = queue();
        queue.put(10, &hashes(10..20)).unwrap();
        assert_eq!(queue.put(15, &hashes(15..30)), Err(QueueError::Twice(PageIndex(15))));
        assert!(queue.next(0, &LIMITS).is_some());
        assert_eq!(queue.put(19, &hashes(19..20)), Err(QueueError::Twice(PageIndex(19))));
        let beyond = queue.put(499, &hashes(0..2));
        assert_eq!(beyond, Err(QueueError::Beyond { first: 499, count: 2, pages: 500 }));
        assert!(queue.put(u32::MAX, &hashes(0..2)).is_err());
        queue.put(20, &hashes(20..21)).unwrap();
        assert_eq!(numbers(&queue.next(0, &LIMITS).unwrap()), [20]);
        assert!(queue.next(0, &LIMITS).is_none());
    }
}

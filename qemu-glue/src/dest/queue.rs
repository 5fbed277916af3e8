//! Pages whose hashes have come and whose bytes have not been read, in the order of the storage.
//!
//! What waits here is bounded by the set: a page's hash is taken once, and refused a second time. That
//! is also what makes `EEXIST` trustworthy: a page that is present was not put there by an earlier
//! hash of ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fixedbitset::FixedBitSet;
use thiserror::Error;
use tokio::sync::Notify;

use crate::channel::PageRange;
pub use crate::page_hash::Hash;
use crate::set::{PageIndex, SkipSet};
use crate::storage::{Limits, Request};

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
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) hashes: Vec<Hash>,
}

/// The queue.
pub(super) struct Queue {
    set: Arc<SkipSet>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

struct Waiting {
    /// By the number of the first page; at most [`BATCH`] pages each.
    batches: BTreeMap<u32, Vec<Hash>>,
    pages: u64,
    seen: FixedBitSet,
    /// Left to QEMU.
    taken: FixedBitSet,
}

impl Queue {
    pub(super) fn new(set: Arc<SkipSet>) -> Self {
        let bits = || FixedBitSet::with_capacity(index(set.pages()));
        let (seen, taken) = (bits(), bits());
        let waiting = Waiting { batches: BTreeMap::new(), pages: 0, seen, taken };
        Self { set, waiting: Mutex::new(waiting), arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes hashes of the pages from `first` on.
    pub(super) fn put(&self, first: u32, hashes: &[Hash]) -> Result<(), QueueError> {
        let pages = self.set.pages();
        let end = u32::try_from(hashes.len()).ok().and_then(|count| first.checked_add(count));
        let Some(end) = end.filter(|end| *end <= pages) else {
            return Err(QueueError::Beyond { first, count: hashes.len(), pages });
        };
        let mut waiting = self.lock();
        let numbers = index(first)..index(end);
        if let Some(twice) = numbers.clone().find(|number| waiting.seen.contains(*number)) {
            let number = u32::try_from(twice).unwrap_or(u32::MAX);
            return Err(QueueError::Twice(PageIndex(number)));
        }
        waiting.seen.insert_range(numbers);
        for (number, batch) in (first..).step_by(BATCH).zip(hashes.chunks(BATCH)) {
            waiting.batches.insert(number, batch.to_vec());
            waiting.pages += batch.len() as u64;
        }
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Leaves pages to QEMU; those that are being read already are still placed.
    pub(super) fn leave(&self, range: PageRange) {
        let end = range.first.saturating_add(range.count).min(self.set.pages());
        if range.first < end {
            self.lock().taken.insert_range(index(range.first)..index(end));
        }
    }

    /// Waits until there is something to read.
    pub(super) async fn ready(&self) {
        while self.lock().batches.is_empty() {
            self.arrived.notified().await;
        }
    }

    /// The next request: the first pages that wait, and all that follow closely on the storage.
    pub(super) fn next(&self, limits: &Limits) -> Option<Job> {
        let mut waiting = self.lock();
        let mut job: Option<Job> = None;
        while let Some((first, batch)) = waiting.batches.pop_first() {
            let count = batch.len();
            let taken = self.extend(&mut job, first, &batch, &waiting.taken, limits);
            waiting.pages -= taken as u64;
            if taken < count {
                let number = first.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
                waiting.batches.insert(number, batch[taken..].to_vec());
                break;
            }
        }
        job
    }

    /// Adds pages of a batch to the job and says how many are done with.
    fn extend(
        &self,
        job: &mut Option<Job>,
        first: u32,
        batch: &[Hash],
        left: &FixedBitSet,
        limits: &Limits,
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
            let Some((number, run)) = self.set.pieces(at..stop).next() else { break };
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

    /// Takes out all that waits: ranges that will not be read.
    pub(super) fn drain(&self) -> Vec<PageRange> {
        let mut waiting = self.lock();
        waiting.pages = 0;
        let batches = std::mem::take(&mut waiting.batches);
        let range = |(first, batch): (u32, Vec<Hash>)| {
            Some(PageRange { first, count: u32::try_from(batch.len()).ok()? })
        };
        batches.into_iter().filter_map(range).collect()
    }

    /// Pages that wait.
    pub(super) fn pages(&self) -> u64 {
        self.lock().pages
    }
}

/// A page's number as an index.
const fn index(number: u32) -> usize {
    // At least 32 bits on every host that QEMU runs VMs on.
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::{Block, PAGE_BYTES, SetRun};

    const LIMITS: Limits = Limits { request_bytes: 1 << 20, gap_bytes: 64 << 10 };

    /// Two runs, 300 and 200 pages, a hole of 16 KiB between them on storage.
    fn queue() -> Queue {
        let run = |pages, offset, place| SetRun { block: 0, medium: 0, pages, offset, place };
        let runs = vec![run(300, 0, 0), run(200, 4 << 20, 300 * PAGE_BYTES + (16 << 10))];
        let blocks = vec![Block { name: "mem0".into(), length: 16 << 20 }];
        let set = SkipSet::new(blocks, vec!["serial:a".into()], runs).unwrap();
        Queue::new(Arc::new(set))
    }

    fn hashes(numbers: std::ops::Range<u32>) -> Vec<Hash> {
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
        let queue = queue();
        queue.put(250, &hashes(250..500)).unwrap();
        queue.put(0, &hashes(0..250)).unwrap();
        assert_eq!(queue.pages(), 500);
        let first = queue.next(&LIMITS).unwrap();
        assert_eq!(numbers(&first), (0..256).collect::<Vec<_>>());
        let second = queue.next(&LIMITS).unwrap();
        assert_eq!(numbers(&second), (256..500).collect::<Vec<_>>());
        assert_eq!(second.request.pieces.len(), 2, "over the gap");
        assert!(queue.next(&LIMITS).is_none());
        assert_eq!(queue.pages(), 0);
    }

    #[test]
    fn pages_left_to_qemu_are_not_read() {
        let queue = queue();
        queue.put(0, &hashes(0..100)).unwrap();
        queue.leave(PageRange { first: 0, count: 10 });
        queue.leave(PageRange { first: 50, count: u32::MAX });
        assert_eq!(numbers(&queue.next(&LIMITS).unwrap()), (10..50).collect::<Vec<_>>());
        assert!(queue.next(&LIMITS).is_none());
        assert_eq!(queue.pages(), 0);
    }

    #[test]
    fn a_hash_is_taken_once_and_only_of_the_set() {
        let queue = queue();
        queue.put(10, &hashes(10..20)).unwrap();
        assert_eq!(queue.put(15, &hashes(15..30)), Err(QueueError::Twice(PageIndex(15))));
        assert!(queue.next(&LIMITS).is_some());
        assert_eq!(queue.put(19, &hashes(19..20)), Err(QueueError::Twice(PageIndex(19))));
        let beyond = queue.put(499, &hashes(0..2));
        assert_eq!(beyond, Err(QueueError::Beyond { first: 499, count: 2, pages: 500 }));
        assert!(queue.put(u32::MAX, &hashes(0..2)).is_err());
        queue.put(20, &hashes(20..21)).unwrap();
        assert_eq!(queue.drain(), [PageRange { first: 20, count: 1 }]);
        assert!(queue.next(&LIMITS).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken() {
        let queue = Arc::new(queue());
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.ready().await }
        });
        tokio::task::yield_now().await;
        queue.put(0, &hashes(0..1)).unwrap();
        waiting.await.unwrap();
    }
}

//! Hashes of the set's pages in the source's RAM, taken after the hint had returned (invariant I2).
//!
//! Threads of low priority take batches off each device's pages in turn, so hashes come nearly in the order of
//! the disks. What takes the hashes sets the pace: when its queue is full, or a device's window ([`HashWindows`]) has no
//! room, the threads wait. So they are not far ahead of storage, and what the network gets from the
//! other end meanwhile is never hashed.

mod windows;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use page_number::PageIndex;
use tokio::sync::mpsc;

use crate::guest::GuestRam;
use crate::page_hash::{Hash, PAGE, hash_pages};
use crate::set::SkipSet;

pub use windows::{BATCH_PAGES, HashLimit, HashWindows};

/// Batches that wait for the channel: 16 MiB of RAM.
const QUEUE: usize = 16;
/// Pages copied and hashed at a time: a copy that stays in a core's own cache, and enough to fill all lanes.
const COPIED: u32 = 32;
/// Added to the niceness of the threads: the guest's CPUs come first.
pub(super) const NICE: i32 = 10;

/// Hashes of pages that follow each other in the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Number of the first page.
    pub first: PageIndex,
    /// BLAKE3 of each page.
    pub hashes: Vec<Hash>,
}

/// Starts `threads` threads that hash the pages of `set` that `windows` lets them, but for those that cannot be read. The
/// receiver ends when all are hashed, or soon after `stop` is set and the windows are stopped.
///
/// The caller has seen the hint return: whatever the threads read, they read after it.
pub fn start(
    ram: &Arc<GuestRam>,
    set: &Arc<SkipSet>,
    threads: usize,
    stop: &Arc<AtomicBool>,
    windows: &Arc<HashWindows>,
) -> std::io::Result<mpsc::Receiver<Hashed>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    for number in 0..threads.max(1) {
        let worker = Worker {
            blocks: blocks(ram, set),
            ram: Arc::clone(ram),
            set: Arc::clone(set),
            windows: Arc::clone(windows),
            stop: Arc::clone(stop),
            sender: sender.clone(),
        };
        thread::Builder::new().name(format!("hash-{number}")).spawn(move || worker.run())?;
    }
    Ok(receiver)
}

/// A bounded share of this machine: a quarter of its CPUs, at least one and at most eight. One thread
/// hashes more than a 10 Gbit/s storage link brings.
#[must_use]
pub fn default_threads() -> usize {
    (thread::available_parallelism().map_or(1, usize::from) / 4).clamp(1, 8)
}

/// By block of the set: its index in the RAM.
pub(super) fn blocks(ram: &GuestRam, set: &SkipSet) -> Vec<Option<usize>> {
    let index = |name: &str| ram.blocks().iter().position(|block| block.name == name);
    set.blocks().iter().map(|block| index(&block.name)).collect()
}

struct Worker {
    ram: Arc<GuestRam>,
    set: Arc<SkipSet>,
    blocks: Vec<Option<usize>>,
    windows: Arc<HashWindows>,
    stop: Arc<AtomicBool>,
    sender: mpsc::Sender<Hashed>,
}

impl Worker {
    fn run(self) {
        // On Linux this is the niceness of the calling thread; without it we are only less polite.
        let _ = rustix::process::nice(NICE);
        let mut pages = vec![[0; PAGE]; COPIED as usize];
        while let Some(numbers) = self.windows.claim() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let first = numbers.start;
            let Some(hashes) = self.batch(numbers.clone(), &mut pages) else {
                // Memory that does not let itself be read. Without hashes, these pages are re-dirtied when all the
                // others are hashed; the driver decides how many.
                log::debug!("the batch from page {first} of the set on cannot be read");
                self.windows.unread(&numbers);
                continue;
            };
            if self.sender.blocking_send(Hashed { first: PageIndex(first), hashes }).is_err() {
                return;
            }
        }
    }

    /// Hashes of these pages; `pages` takes [`COPIED`] of them at a time.
    fn batch(&self, numbers: Range<u32>, pages: &mut [[u8; PAGE]]) -> Option<Vec<Hash>> {
        let end = numbers.end.min(self.set.pages());
        let mut hashes = Vec::with_capacity(BATCH_PAGES as usize);
        for first in (numbers.start..end).step_by(COPIED as usize) {
            let mut filled = 0;
            for (_, run) in self.set.pieces(first..end.min(first + COPIED)) {
                let block = (*self.blocks.get(usize::from(run.block))?)?;
                let piece = pages.get_mut(filled..filled + run.pages as usize)?;
                // A copy, as the guest may write the pages while we hash them.
                self.ram.copy(block, run.offset, piece.as_flattened_mut())?;
                filled += run.pages as usize;
            }
            hash_pages(&pages[..filled], &mut hashes);
        }
        Some(hashes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;
    use crate::set::{Block, SetRun};
    use page_number::PAGE_BYTES;

    fn parts(pages: u64) -> (Arc<GuestRam>, Arc<SkipSet>) {
        let mut file = tempfile::tempfile().unwrap();
        let mut page = [0; 4096];
        for number in 0..pages {
            page[..8].copy_from_slice(&number.to_le_bytes());
            file.write_all(&page).unwrap();
        }
        let length = pages * PAGE_BYTES;
        let ram = GuestRam::of_files(vec![("mem0".into(), file, length)]);
        // Backwards in RAM, in pieces of seven pages, so that batches cross runs.
        let runs = (0..pages / 7).map(|piece| SetRun {
            block: 0,
            device: 0,
            pages: 7,
            offset: (pages - 7 * (piece + 1)) * PAGE_BYTES,
            place: piece * 7 * PAGE_BYTES,
        });
        let blocks = vec![Block { name: "mem0".into(), length }];
        let set = SkipSet::new(blocks, vec!["serial:a".into()], runs.collect()).unwrap();
        (Arc::new(ram), Arc::new(set))
    }

    fn all(set: &SkipSet) -> Arc<HashWindows> {
        Arc::new(HashWindows::all(0..set.pages()))
    }

    #[tokio::test]
    async fn each_page_is_hashed_once_and_rightly() {
        let (ram, set) = parts(2100);
        let stop = Arc::default();
        let mut receiver = start(&ram, &set, 3, &stop, &all(&set)).unwrap();
        let mut read = vec![None; set.pages() as usize];
        while let Some(Hashed { first, hashes }) = receiver.recv().await {
            for (hash, at) in hashes.into_iter().zip(first.0 as usize..) {
                assert_eq!(read[at].replace(hash), None);
            }
        }
        for (first, run) in set.pieces(0..set.pages()) {
            for number in 0..run.pages {
                let mut page = [0; 4096];
                let at = run.offset / PAGE_BYTES + u64::from(number);
                page[..8].copy_from_slice(&at.to_le_bytes());
                let hash = read[(first.0 + number) as usize];
                assert_eq!(hash, Some(*blake3::hash(&page).as_bytes()));
            }
        }
    }

    #[tokio::test]
    async fn a_batch_that_cannot_be_read_is_left_out() {
        let (ram, set) = parts(2100);
        // The set begins with the end of the RAM: 308 pages, which is its first two batches.
        ram.blocks()[0].file.set_len(1792 * PAGE_BYTES).unwrap();
        let mut receiver = start(&ram, &set, 1, &Arc::default(), &all(&set)).unwrap();
        let mut read = 0;
        while let Some(Hashed { first, hashes }) = receiver.recv().await {
            assert!(first.0 >= 512, "{first:?}");
            read += hashes.len();
        }
        assert_eq!(read, 2100 - 512);
    }

    #[tokio::test]
    async fn hashing_ends_when_it_is_told_to() {
        let (ram, set) = parts(70_000);
        let stop = Arc::new(AtomicBool::new(false));
        let mut receiver = start(&ram, &set, 1, &stop, &all(&set)).unwrap();
        receiver.recv().await.unwrap();
        stop.store(true, Ordering::Relaxed);
        let mut batches = 1;
        while receiver.recv().await.is_some() {
            batches += 1;
        }
        assert!(batches <= QUEUE + 3, "{batches}");
    }

    /// Prints what one thread does, beside BLAKE3 without the copy.
    #[tokio::test]
    #[ignore = "a measurement: cargo test --release -p qemu-glue hashing_speed -- --ignored --nocapture"]
    async fn hashing_speed() {
        let (ram, set) = parts(70_000);
        let gib = |bytes: u64, since: Instant| {
            bytes as f64 / f64::from(1 << 30) / since.elapsed().as_secs_f64()
        };
        for threads in 1..=2 {
            let begun = Instant::now();
            let mut receiver = start(&ram, &set, threads, &Arc::default(), &all(&set)).unwrap();
            while receiver.recv().await.is_some() {}
            println!("{threads} thread(s): {:.2} GiB/s", gib(set.bytes(), begun));
        }
        let page = vec![7_u8; 4096];
        let begun = Instant::now();
        for _ in 0..70_000 {
            std::hint::black_box(blake3::hash(std::hint::black_box(&page)));
        }
        println!("BLAKE3 alone, one hot page: {:.2} GiB/s", gib(70_000 * 4096, begun));
    }
}

//! A guest's RAM, a disk and a set, all of known content, and a restore over them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use page_number::{PAGE_BYTES, PageIndex};
use qemu_glue::channel::SetRange;
use qemu_glue::dest::{BlockFile, Fate, Limits, Restore, SettledPages, Target};
use qemu_glue::set::{Block, SetRun, SkipSet};
use qemu_glue::storage::{Address, Storage};
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) const PAGE: usize = page_number::PAGE_LEN;
/// Pages of the rig's set: 8 MiB.
pub(crate) const PAGES: u32 = 2048;
/// Everything has to be answered within this; the patience of the restore is far less.
const AT_LAST: Duration = Duration::from_secs(20);

/// What page `number` of the set has on disk; its last bytes differ from page to page, and no part of it
/// is that of another page.
pub(crate) fn page(number: u32) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    for (at, word) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let at = u32::try_from(at).unwrap();
        *word = (number.wrapping_mul(0x9e37_79b9) ^ at.wrapping_mul(0x85eb_ca6b)).to_le_bytes();
    }
    bytes
}

pub(crate) fn hash(number: u32) -> [u8; 32] {
    *blake3::hash(&page(number)).as_bytes()
}

/// RAM, disk and set.
pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) ram: File,
    pub(crate) set: Arc<SkipSet>,
}

impl Rig {
    /// Runs of 1 to 16 pages; on disk with gaps that are read over and gaps that are not, in RAM
    /// backwards, so that nothing is right by being in order.
    pub(crate) fn new() -> Self {
        Self::split(PAGES)
    }

    /// The same with the pages from `second` on on a second disk, at the same places.
    pub(crate) fn split(second: u32) -> Self {
        let mut runs = Vec::new();
        let (mut number, mut place, mut end) = (0, 1 << 20, u64::from(PAGES) * 2 * PAGE_BYTES);
        let length = end;
        while number < PAGES {
            let device = u16::from(number >= second);
            let end_of_disk = if device == 0 { second } else { PAGES };
            let pages = (number % 16 + 1).min(end_of_disk - number);
            end -= u64::from(pages) * PAGE_BYTES;
            runs.push(SetRun { block: 0, device, pages, offset: end, place });
            place += u64::from(pages) * PAGE_BYTES;
            place += match number % 3 {
                0 => 0,
                1 => 12 << 10,
                _ => 200 << 10,
            };
            number += pages;
            end -= if number % 2 == 0 { 0 } else { PAGE_BYTES };
        }
        let block = Block { name: "mem0".into(), length };
        let devices = vec!["serial:data".into(), "serial:more".into()];
        let set = SkipSet::new(vec![block], devices, runs).unwrap();
        let ram = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        ram.set_len(length).unwrap();
        // On a real file system: /tmp may be memory.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let rig = Self { dir, ram, set: Arc::new(set) };
        rig.write_disk();
        rig
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.path().join("disk.raw")
    }

    fn write_disk(&self) {
        let disk = File::create(self.disk()).unwrap();
        for (first, run) in self.set.pieces(0..PAGES) {
            for ahead in 0..run.pages {
                let place = run.place + u64::from(ahead) * PAGE_BYTES;
                disk.write_all_at(&page(first.0 + ahead), place).unwrap();
            }
        }
        let end = disk.metadata().unwrap().len().next_multiple_of(1 << 20);
        disk.set_len(end).unwrap();
    }

    /// Where page `number` lies in RAM, and on the disk.
    pub(crate) fn places(&self, number: u32) -> (u64, u64) {
        let (_, piece) = self.set.pieces(number..number + 1).next().unwrap();
        (piece.offset, piece.place)
    }

    /// Changes a page on the disk.
    pub(crate) fn spoil(&self, number: u32) {
        let disk = fs::OpenOptions::new().write(true).open(self.disk()).unwrap();
        disk.write_all_at(b"stale", self.places(number).1 + 4000).unwrap();
    }

    /// Lets QEMU deliver a page.
    pub(crate) fn deliver(&self, number: u32, byte: u8) {
        self.ram.write_all_at(&[byte; PAGE], self.places(number).0).unwrap();
    }

    pub(crate) fn ram_page(&self, number: u32) -> [u8; PAGE] {
        let mut bytes = [0; PAGE];
        self.ram.read_exact_at(&mut bytes, self.places(number).0).unwrap();
        bytes
    }

    pub(crate) async fn restore(&self, address: &Address, limits: Limits) -> Running {
        self.restore_of(&[address], limits).await
    }

    /// Of the disks at these addresses.
    pub(crate) async fn restore_of(&self, addresses: &[&Address], limits: Limits) -> Running {
        let mut devices = Vec::new();
        for address in addresses {
            devices.push(Some(Storage::open(address).await.unwrap()));
        }
        let length = self.ram.metadata().unwrap().len();
        let target = Target::new(&[BlockFile { file: &self.ram, offset: 0, length }]).unwrap();
        let (restore, answers) = Restore::start(Arc::clone(&self.set), devices, target, limits);
        Running { restore, answers, fates: BTreeMap::new() }
    }

    /// RAM outside of the set must stay as it was.
    pub(crate) fn assert_nothing_else_present(&self) {
        let blocks =
            self.ram.metadata().map(|about| std::os::unix::fs::MetadataExt::blocks(&about));
        assert!(blocks.unwrap() * 512 <= self.set.bytes(), "more pages than the set has");
    }
}

/// A restore and the answers so far.
pub(crate) struct Running {
    pub(crate) restore: Restore,
    pub(crate) answers: UnboundedReceiver<Vec<SettledPages>>,
    pub(crate) fates: BTreeMap<u32, Fate>,
}

impl Running {
    /// Sends it the hashes of pages in the set's order, as the source does, in batches of 256.
    pub(crate) fn hash(&self, numbers: std::ops::Range<u32>) {
        for first in numbers.clone().step_by(256) {
            let end = numbers.end.min(first + 256);
            let hashes: Vec<_> = (first..end).map(hash).collect();
            self.restore.hashes(first, &hashes).unwrap();
        }
    }

    /// Waits until `count` pages have their answer.
    pub(crate) async fn until(&mut self, count: usize) {
        while self.fates.len() < count {
            let answers =
                timeout(AT_LAST, self.answers.recv()).await.expect("answers come to an end");
            self.take(answers.unwrap());
        }
        assert_eq!(self.fates.len(), count);
    }

    /// Waits until all of these pages have their answer, whatever others have; no longer than `time`.
    pub(crate) async fn until_all(&mut self, numbers: std::ops::Range<u32>, time: Duration) {
        let end = Instant::now() + time;
        let left =
            |fates: &BTreeMap<u32, Fate>| numbers.len() - fates.range(numbers.clone()).count();
        while left(&self.fates) > 0 {
            let Ok(answers) = timeout_at(end, self.answers.recv()).await else {
                panic!("{} of {numbers:?} have no answer after {time:?}", left(&self.fates));
            };
            self.take(answers.unwrap());
        }
    }

    /// Each page has one answer only.
    fn take(&mut self, answers: Vec<SettledPages>) {
        for (fate, SetRange { first, count }) in answers {
            for number in first..first + count {
                assert!(self.fates.insert(number, fate).is_none(), "{}", PageIndex(number));
            }
        }
    }

    /// Number of pages with this fate.
    pub(crate) fn count(&self, fate: Fate) -> usize {
        self.fates.values().filter(|own| **own == fate).count()
    }
}

pub(crate) fn file(path: &Path) -> Address {
    Address::File(path.to_owned())
}

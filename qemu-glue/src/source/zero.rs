//! Pages of the guest's RAM that are all zeros: they travel on no link.
//!
//! A VM that is not full has many. QEMU looks for them page by page while its link waits, and the other
//! QEMU touches each of them. Here they are found while the guest makes its list, and join the set. After
//! the hint has returned they are looked at again (invariant I2): what is still zero is verified, since the
//! destination has made a hole of every page of the set, which reads as zeros; what is not is re-dirtied,
//! and what the guest writes later is logged, as for every page of the set.
//!
//! Memory that was never touched is a hole of its file here too. It is not read: that would allocate it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use page_number::PAGE_BYTES;
use tokio::sync::{mpsc, oneshot};

use super::hash::{NICE, blocks};
use crate::channel::SetRange;
use crate::guest::{GuestRam, data};
use crate::set::SkipSet;
use page_number::Gpa;

/// Fewer zero pages in a row are left to QEMU, which sends each in 9 bytes; a run of the set has 24.
const WORTH: u64 = 8;
/// Pages that are read at once where the one before was zero.
const AHEAD: u64 = 32;
/// Bytes that are read of a page where it was not: most such pages begin with something else.
const HEAD: usize = 64;
/// Pages between two questions whether it is enough.
const AT_A_TIME: u64 = 1 << 10;
/// Pages that are reported at once after a second look.
const BATCH: u32 = 1 << 14;

/// Zero pages of a block that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Index of the block in [`GuestRam::blocks`].
    pub block: usize,
    /// Number of the first page in the block.
    pub first: u64,
    /// How many.
    pub pages: u64,
}

/// What pages of the set are, looked at after the hint had returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ZeroCheck {
    /// All zeros.
    pub(super) zero: Vec<SetRange>,
    /// Written since they were found.
    pub(super) written: Vec<SetRange>,
}

/// A search that goes on in a thread.
pub(super) struct ZeroSearch {
    found: oneshot::Receiver<Vec<Stretch>>,
    enough: Arc<AtomicBool>,
}

/// Begins to look for zero pages. The thread has no low priority: while it is waited for, the migration is too,
/// and that is not for long.
pub(super) fn search(ram: &Arc<GuestRam>) -> ZeroSearch {
    let (sender, found) = oneshot::channel();
    let enough = Arc::new(AtomicBool::new(false));
    let (ram, until) = (Arc::clone(ram), Arc::clone(&enough));
    let search = move || {
        // Without a list, the result is not needed any more.
        let _ = sender.send(find_until(&ram, &until));
    };
    if let Err(error) = thread::Builder::new().name("zero".to_owned()).spawn(search) {
        log::warn!("no thread to look for zero pages with: {error}");
    }
    ZeroSearch { found, enough }
}

impl ZeroSearch {
    /// What is found within `limit`; where that is not all, QEMU sends the rest page by page. Nothing when the
    /// thread has failed.
    pub(super) async fn within(mut self, limit: Duration) -> Vec<Stretch> {
        match tokio::time::timeout(limit, &mut self.found).await {
            Ok(found) => found.unwrap_or_default(),
            Err(_) => {
                self.enough.store(true, Ordering::Relaxed);
                (&mut self.found).await.unwrap_or_default()
            }
        }
    }
}

impl Drop for ZeroSearch {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}

/// All zero pages of RAM, where enough of them follow each other.
#[must_use]
pub fn find(ram: &GuestRam) -> Vec<Stretch> {
    find_until(ram, &AtomicBool::new(false))
}

/// Those that are found before it is `enough`.
fn find_until(ram: &GuestRam, enough: &AtomicBool) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for part in ram.clip(Gpa(0), u64::MAX) {
        if ram.blocks()[part.block].page_bytes != PAGE_BYTES {
            continue;
        }
        let mut look = Look::new(ram, part.block);
        let first = part.offset.div_ceil(PAGE_BYTES);
        for page in first..(part.offset + part.bytes) / PAGE_BYTES {
            if (page - first) % AT_A_TIME == 0 && enough.load(Ordering::Relaxed) {
                log::debug!("zero pages were looked for up to page {page} of block {}", part.block);
                break;
            }
            if !look.is_zero(page * PAGE_BYTES) {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.block == part.block && last.first + last.pages == page => {
                    last.pages += 1;
                }
                _ => {
                    // The one before may have been too short.
                    found.pop_if(|last| last.pages < WORTH);
                    found.push(Stretch { block: part.block, first: page, pages: 1 });
                }
            }
        }
    }
    found.pop_if(|last| last.pages < WORTH);
    found
}

/// Starts a thread that looks again at the zero pages of `set`. The receiver ends when it has seen all,
/// or soon after `stop` is set or it is dropped.
///
/// The caller has seen the hint return: whatever the thread reads, it reads after it.
pub(super) fn verify(
    ram: &Arc<GuestRam>,
    set: &Arc<SkipSet>,
    stop: &Arc<AtomicBool>,
) -> io::Result<mpsc::UnboundedReceiver<ZeroCheck>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (ram, set, stop) = (Arc::clone(ram), Arc::clone(set), Arc::clone(stop));
    let verify = move || {
        let _ = rustix::process::nice(NICE);
        let pages = set.zero_pages();
        let mut looks: Vec<Option<Look<'_>>> = blocks(&ram, &set)
            .into_iter()
            .map(|block| block.map(|block| Look::new(&ram, block)))
            .collect();
        for first in (0..pages).step_by(BATCH as usize) {
            let range = first..pages.min(first.saturating_add(BATCH));
            let looked = look_again(&mut looks, &set, range);
            if stop.load(Ordering::Relaxed) || sender.send(looked).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("zero".to_owned()).spawn(verify)?;
    Ok(receiver)
}

/// `looks` are those of the set's blocks. Each is kept from piece to piece: where the next data ends takes
/// the kernel as long to find as there is data.
fn look_again(looks: &mut [Option<Look<'_>>], set: &SkipSet, range: Range<u32>) -> ZeroCheck {
    let mut looked = ZeroCheck::default();
    for (first, run) in set.pieces(range) {
        let mut look = looks.get_mut(usize::from(run.block)).and_then(Option::as_mut);
        for page in 0..run.pages {
            let offset = run.offset + u64::from(page) * PAGE_BYTES;
            let zero = look.as_mut().is_some_and(|look| look.is_zero(offset));
            let ranges = if zero { &mut looked.zero } else { &mut looked.written };
            match ranges.last_mut() {
                Some(last) if last.first + last.count == first.0 + page => last.count += 1,
                _ => ranges.push(SetRange { first: first.0 + page, count: 1 }),
            }
        }
    }
    looked
}

/// Finds the zero pages of a block; it is quick when pages are queried in ascending order.
struct Look<'a> {
    ram: &'a GuestRam,
    block: usize,
    /// Byte of the file from which on it was looked for data.
    looked_from: u64,
    /// Bytes of the file that have data: the next from there on.
    data: Range<u64>,
    /// The bytes of the block that `ahead` has, from this offset on.
    from: u64,
    ahead: Vec<u8>,
    /// Whether the last page was zero.
    last: bool,
}

impl<'a> Look<'a> {
    const fn new(ram: &'a GuestRam, block: usize) -> Self {
        Self { ram, block, looked_from: 0, data: 0..0, from: 0, ahead: Vec::new(), last: false }
    }

    fn is_zero(&mut self, offset: u64) -> bool {
        let block = &self.ram.blocks()[self.block];
        let at = block.file_offset + offset;
        if at < self.looked_from || at >= self.data.end {
            self.looked_from = at;
            self.data = match data(&block.file, at) {
                Ok(found) => found.unwrap_or(u64::MAX..u64::MAX),
                // It may be data.
                Err(_) => at..u64::MAX,
            };
        }
        self.last = at + PAGE_BYTES <= self.data.start || self.has_zeros(offset);
        self.last
    }

    /// Whether the page has nothing but zeros, by its bytes.
    fn has_zeros(&mut self, offset: u64) -> bool {
        let mut head = [0; HEAD];
        if !self.last
            && (self.ram.copy(self.block, offset, &mut head).is_none() || head != [0; HEAD])
        {
            return false;
        }
        match self.page(offset) {
            Some(page) => page.chunks_exact(HEAD).all(|line| *line == [0; HEAD]),
            None => false,
        }
    }

    /// A page's bytes, read ahead as far as the data goes.
    fn page(&mut self, offset: u64) -> Option<&[u8]> {
        let size = usize::try_from(PAGE_BYTES).ok()?;
        let has = |look: &Self| {
            let at = usize::try_from(offset.checked_sub(look.from)?).ok()?;
            at.checked_add(size).filter(|end| *end <= look.ahead.len()).map(|end| at..end)
        };
        if has(self).is_none() {
            let block = &self.ram.blocks()[self.block];
            let end = block.length.min(self.data.end.saturating_sub(block.file_offset));
            let pages = (end.saturating_sub(offset) / PAGE_BYTES).clamp(1, AHEAD);
            self.ahead.resize(usize::try_from(pages * PAGE_BYTES).ok()?, 0);
            let read = self.ram.copy(self.block, offset, &mut self.ahead);
            self.from = offset;
            if read.is_none() {
                self.ahead.clear();
            }
        }
        let range = has(self)?;
        self.ahead.get(range)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::set::{Block, SetRun, ZERO_DEVICE};

    /// 4 MiB, of which the pages `written` have a byte in them.
    fn ram(written: &[u64]) -> (GuestRam, File) {
        let file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(4 << 20).unwrap();
        for page in written {
            file.write_all_at(&[1], page * PAGE_BYTES + 4000).unwrap();
        }
        let other = file.try_clone().unwrap();
        (GuestRam::of_files(vec![("mem0".into(), file, 4 << 20)]), other)
    }

    const fn stretch(first: u64, pages: u64) -> Stretch {
        Stretch { block: 0, first, pages }
    }

    #[test]
    fn holes_and_zeros_are_found_and_holes_stay_holes() {
        let (ram, file) = ram(&[0, 300, 305, 320]);
        // Present, and zero.
        file.write_all_at(&[0; 64 << 10], 400 * PAGE_BYTES).unwrap();
        let before = file.metadata().unwrap().blocks();
        // From 1 MiB on; pages 301 to 304 are too few.
        assert_eq!(find(&ram), [stretch(256, 44), stretch(306, 14), stretch(321, 703)]);
        assert_eq!(
            file.metadata().unwrap().blocks(),
            before,
            "a hole that is read is none any more"
        );
    }

    #[test]
    fn memory_without_zeros_has_none() {
        let (ram, _) = ram(&(256..1024).collect::<Vec<_>>());
        assert_eq!(find(&ram), []);
    }

    #[tokio::test]
    async fn what_was_written_since_is_seen() {
        let (ram, file) = ram(&[256]);
        let ram = Arc::new(ram);
        assert_eq!(search(&ram).within(Duration::from_secs(60)).await, [stretch(257, 767)]);
        // What is enough at once is nothing, and no error.
        assert_eq!(find_until(&ram, &AtomicBool::new(true)), []);
        let run = |first: u64, pages| SetRun {
            block: 0,
            device: 0,
            pages,
            offset: first * PAGE_BYTES,
            place: 0,
        };
        let blocks = vec![Block { name: "mem0".into(), length: 4 << 20 }];
        let runs = vec![run(500, 100), run(300, 50)];
        let set = SkipSet::new(blocks, vec![ZERO_DEVICE.into()], runs).unwrap();
        file.write_all_at(&[7], 510 * PAGE_BYTES).unwrap();
        file.write_all_at(&[7], 349 * PAGE_BYTES + 4095).unwrap();
        let mut looking = verify(&ram, &Arc::new(set), &Arc::default()).unwrap();
        let range = |first, count| SetRange { first, count };
        let looked = looking.recv().await.unwrap();
        assert_eq!(looked.zero, [range(0, 10), range(11, 138)]);
        assert_eq!(looked.written, [range(10, 1), range(149, 1)]);
        assert_eq!(looking.recv().await, None);
    }

    #[test]
    fn a_look_back_is_as_right() {
        let (ram, _) = ram(&[300, 301, 500]);
        let mut look = Look::new(&ram, 0);
        let zero: Vec<u64> = [700, 500, 499, 301, 300, 299]
            .into_iter()
            .filter(|page| look.is_zero(page * PAGE_BYTES))
            .collect();
        assert_eq!(zero, [700, 499, 299]);
    }
}

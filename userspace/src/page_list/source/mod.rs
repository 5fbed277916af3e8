//! Where the pages of a list come from.
//!
//! ```text
//! source ─ find ──> pages that may be skipped, each in a slot of the source's memory
//!        ─ range ─> file, file offset ──> on_disk ──> disk, offset ┐
//!        ─ memory ───────────────────────> frames ──> frame numbers ┴> runs of the list
//! ```
//!
//! A source makes one list ([`build_from`](super::build_from)), and [`Union`](super::Union) makes one of several. What
//! the pages are, a source alone knows. The pool of an InnoDB server is one ([`PoolSource`](super::PoolSource)).

mod judged;
mod pool;

use std::collections::BTreeMap;
use std::ops::Range;

pub(super) use self::judged::Changes;
pub use self::judged::Judged;
pub use self::pool::PoolSource;
pub(super) use self::pool::find_detached;
use super::BuildError;
use crate::classify::Reason;
use crate::memory::ServerAddr;
use crate::on_disk::{FileRange, Files, Unmapped};

/// Pages of a process that may have the same bytes in memory as on disk.
pub trait PageSource: Sync {
    /// Length of each page in bytes. Where that is no multiple of a frame, no page is listed.
    fn page_bytes(&self) -> u32;

    /// The memory that holds the pages, one after the other: slot 0 begins the first stretch.
    fn memory(&self) -> impl Iterator<Item = SlotRange>;

    /// The files that the pages lie in.
    fn files(&self) -> &dyn Files;

    /// Finds the pages in the slots `unknown`, those left out that are [`Judged`] already. For each page that may be
    /// skipped as far as the source knows, it notes in `judged` the slot's word as it was before the look.
    ///
    /// # Errors
    /// When the process is gone, or its memory cannot be read.
    fn find(&self, unknown: Vec<Range<u32>>, judged: &Judged) -> Result<Harvest, BuildError>;

    /// The range of a file that holds a page, and how many pages follow it there: the next pages of the object, one
    /// after the other.
    ///
    /// # Errors
    /// The reason why there is none that could be used.
    fn range(&self, page: PageKey) -> Result<(FileRange, u32), Reason>;

    /// The reason of a page whose range has no extent on disks.
    fn unmapped(&self, reason: Unmapped) -> Reason {
        Reason::NotOnDisk(reason.into())
    }

    /// Whether slots have words: then a list is made from the one before.
    fn has_words(&self) -> bool {
        false
    }

    /// A number that is another after each event of the slot: a page came, changed, was written or left.
    fn word(&self, _slot: u32) -> u32 {
        0
    }

    /// What the words are of: they compare with those of the same edition only.
    fn edition(&self) -> u64 {
        0
    }

    /// Number of slots.
    fn slots(&self) -> u32 {
        self.memory().map(|stretch| stretch.slots).sum()
    }
}

/// Slots whose memory follows each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// Address of the first slot's page in the process.
    pub at: ServerAddr,
    /// Number of slots.
    pub slots: u32,
}

/// A page as its source names it: pages of one object are in its files' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// Number of the object that it is of: a tablespace, a file.
    pub object: u32,
    /// Number of the page in it.
    pub page: u32,
}

/// A page that may be skipped, but for its place. Twelve bytes, as there is one for each page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The page.
    pub key: PageKey,
    /// Where it lies in the source's memory.
    pub slot: u32,
}

impl Candidate {
    /// Orders candidates: a number compares sooner than two.
    pub(in crate::page_list) const fn order(&self) -> u64 {
        (self.key.object as u64) << 32 | self.key.page as u64
    }
}

/// What a source has found.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Pages that may be skipped, in the order of their keys.
    pub candidates: Vec<Candidate>,
    /// Slots whose pages may not.
    pub left_out: LeftOut,
    /// Slots that had to be looked at.
    pub judged: u64,
}

/// Slots whose pages are not on a list, counted by reason. There are few reasons, so a list is quicker than a map.
#[derive(Debug, Default)]
pub struct LeftOut {
    counts: Vec<(Reason, u64)>,
}

impl LeftOut {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, reason: Reason) {
        self.add_many(reason, 1);
    }

    #[inline]
    fn add_many(&mut self, reason: Reason, more: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += more,
            None => self.counts.push((reason, more)),
        }
    }

    pub(in crate::page_list) fn join(&mut self, other: Self) {
        for (reason, count) in other.counts {
            self.add_many(reason, count);
        }
    }

    /// Counts by stable name.
    pub(in crate::page_list) fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (reason, count) in &self.counts {
            *names.entry(reason.name().to_owned()).or_default() += count;
        }
        names
    }
}

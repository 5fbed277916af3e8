//! How much memory foreign files may take, all of them together.
//!
//! A program, its debug file, a dwz alternate and split units are read at the same time, and a few MB
//! of compressed sections may state GiB. So what is alive at once is counted in one place: copies of
//! files and decompressed sections alike. Copies are sealed memory of this process, which the kernel
//! cannot take back from it, so all looks of a process count on one account, however many go on.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// Most that is ever taken, in bytes. The largest servers have debug files of about 1 GB, which
/// hold no more than that again once their sections are decompressed.
const MOST: u64 = 4 << 30;

/// Up to this, half of what there is to spare may be taken: a database's machine has little beside its buffer pool, and
/// a server's program with its sections takes some 100 MB.
const ENOUGH: u64 = 256 << 20;

/// What all looks of this process have taken.
static TAKEN: LazyLock<Arc<AtomicU64>> = LazyLock::new(Arc::default);

/// Bytes that copies of files and decompressed sections may take at one time. A clone counts on the
/// same account.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Most that all looks together may take of the account.
    limit: u64,
    taken: Arc<AtomicU64>,
}

/// What was taken of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: u64,
}

/// How much of the account of this process a look may take up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetShare {
    /// All of it: see [`Budget::shared`].
    #[default]
    Whole,
    /// Half of that: however many such looks there are, they leave the other half to the rest.
    Half,
}

/// The account of this process, [`BudgetShare::Whole`] of it.
impl Default for Budget {
    fn default() -> Self {
        Self::shared(BudgetShare::Whole)
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// The account of this process. It has a quarter of the memory that this machine has to spare, or half of it where
    /// that is at most 256 MiB, and never more than 4 GiB: the observed server must not be pushed out of memory by what
    /// describes it.
    #[must_use]
    pub fn shared(share: BudgetShare) -> Self {
        let spare = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
        let taken = Arc::clone(&TAKEN);
        // What is taken already is not to spare any more.
        let all = spare.map(|spare| spare.saturating_add(taken.load(Ordering::Relaxed)));
        let whole = all.map_or(MOST, whole_of);
        let limit = match share {
            BudgetShare::Whole => whole,
            BudgetShare::Half => whole / 2,
        };
        Self { limit, taken }
    }

    /// Most that may be taken at one time, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether there is room for `bytes` now; nothing is taken.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.taken.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit
    }

    /// Takes `bytes`; none when less is left.
    pub(crate) fn take(&self, bytes: u64) -> Option<Charge> {
        let mut charge = Charge { budget: self.clone(), bytes: 0 };
        charge.grow(bytes).then_some(charge)
    }
}

impl Charge {
    /// Takes `bytes` more; false, and nothing is taken, when less is left.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let Budget { limit, taken } = &self.budget;
        let more = |now: u64| now.checked_add(bytes).filter(|sum| sum <= limit);
        let added = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if added { bytes } else { 0 };
        added
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the account has of `spare` bytes.
fn whole_of(spare: u64) -> u64 {
    (spare / 4).max((spare / 2).min(ENOUGH)).min(MOST)
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Budget, BudgetShare, available, whole_of};

    /// Other tests of this process may take a little at the same time.
    #[test]
    fn all_looks_count_on_one_account() {
        let (one, other) = (Budget::default(), Budget::default());
        let strange = Budget::shared(BudgetShare::Half);
        let taken = one.take(one.limit() / 8 * 5).unwrap();
        assert!(!other.has_room(other.limit() / 2), "two looks take more than one may");
        assert!(other.take(other.limit() / 2).is_none(), "two looks take more than one may");
        assert!(strange.take(1).is_none(), "half of it is not for everybody");
        drop(taken);
        assert!(other.take(other.limit() / 2).is_some());
        assert!(strange.take(strange.limit() / 2).is_some());
    }

    #[test]
    fn a_machine_with_little_to_spare_has_room_for_a_server() {
        const MIB: u64 = 1 << 20;
        for (spare, whole) in [
            (0, 0),
            (200 * MIB, 100 * MIB),
            (512 * MIB, 256 * MIB),
            (768 * MIB, 256 * MIB),
            (8192 * MIB, 2048 * MIB),
            (1 << 50, 4096 * MIB),
        ] {
            assert_eq!(whole_of(spare), whole, "{spare}");
        }
    }

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).unwrap();
        assert!(budget.clone().take(41).is_none(), "a clone counts on the same account");
        assert!(!first.grow(41));
        assert!(first.grow(40));
        assert!(budget.take(1).is_none());
        drop(first);
        assert!(budget.take(100).is_some());
        assert_eq!(budget.limit(), 100);
    }

    #[test]
    fn the_spare_memory_is_read_in_bytes() {
        let text = "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(available(text), Some(1_024_000));
        for odd in
            ["", "MemAvailable: x kB", "MemAvailable: 5", "MemAvailable: 99999999999999999 kB"]
        {
            assert_eq!(available(odd), None, "{odd}");
        }
    }
}

//! How much memory foreign files may take, all of them together.
//!
//! A program, its debug file, a dwz alternate and split units are read at the same time, and a few MB
//! of compressed sections may state GiB. So what is alive at once is counted in one place: copies of
//! files and decompressed sections alike.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most that is ever taken, in bytes. The largest servers have debug files of about 1 GB, which
/// hold no more than that again once their sections are decompressed.
const MOST: u64 = 4 << 30;

/// Bytes that copies of files and decompressed sections may take at one time. A clone counts on the
/// same account.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u64,
    left: AtomicU64,
}

/// What was taken of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: u64,
}

/// Half of the memory that this machine has to spare now, and never more than 4 GiB: the observed
/// server must not be pushed out of memory by what describes it.
impl Default for Budget {
    fn default() -> Self {
        let spare = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
        Self::new(spare.map_or(MOST, |bytes| (bytes / 2).min(MOST)))
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Account { limit, left: AtomicU64::new(limit) }))
    }

    /// What it began with, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
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
        let left = &self.budget.0.left;
        let taken =
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        self.bytes += if taken.is_ok() { bytes } else { 0 };
        taken.is_ok()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Budget, available};

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

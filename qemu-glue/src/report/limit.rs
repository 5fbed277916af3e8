//! How fast a cell can be at best: both links at work all the time.
//!
//! With `B` bytes that stock QEMU sends, `E` of them eligible (on storage as well), and links that carry
//! `N` and `S` bytes per second as these very runs have shown, no migration that sends each byte once
//! and uncompressed takes less than `B / (N + S)`, nor less than `(B - E) / N`.

use super::cell::{Cell, POOLFERRY, STOCK};
use super::{Report, Sample, approximate};
use crate::set::PAGE_BYTES;

/// What the limit of a cell is made of. Bytes and bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) bytes: f64,
    pub(crate) eligible: f64,
    pub(crate) network: f64,
    pub(crate) storage: f64,
}

impl Limit {
    /// From the medians of stock QEMU and of Poolferry; `None` where one of them is missing.
    pub(crate) fn of(cell: &Cell<'_>) -> Option<Self> {
        let (stock, ours) = (cell.way(STOCK)?, cell.way(POOLFERRY)?);
        let rate = |way: &super::cell::Way<'_>, of: fn(&Sample) -> Option<f64>| {
            let best: Vec<f64> = way.completed().filter_map(|run| high(run, of)).collect();
            best.into_iter().reduce(f64::max)
        };
        Some(Self {
            bytes: stock.median(|run| approximate(run.network_bytes))?,
            eligible: ours.median(|run| approximate(run.pages.skipped * PAGE_BYTES))?,
            network: rate(stock, |sample| sample.network_bytes_per_s)?,
            storage: rate(ours, |sample| sample.storage_bytes_per_s)?,
        })
    }

    /// In seconds.
    pub(crate) fn seconds(&self) -> f64 {
        let both = self.bytes / (self.network + self.storage);
        let alone = (self.bytes - self.eligible).max(0.0) / self.network;
        both.max(alone)
    }
}

/// The rate that a run reached in a tenth of its samples: single samples are never quite simultaneous
/// with what they count.
fn high(run: &Report, of: fn(&Sample) -> Option<f64>) -> Option<f64> {
    let mut rates: Vec<f64> =
        run.samples.iter().filter_map(of).filter(|rate| *rate > 0.0).collect();
    rates.sort_by(f64::total_cmp);
    rates.get((rates.len() * 9 / 10).min(rates.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_network_has_bounds_it_too() {
        let limit = Limit { bytes: 1000.0, eligible: 800.0, network: 100.0, storage: 100.0 };
        assert_eq!(limit.seconds(), 5.0);
        let fast = Limit { storage: 1900.0, ..limit };
        assert_eq!(fast.seconds(), 2.0, "200 bytes by the network");
    }
}

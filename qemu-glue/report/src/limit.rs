//! How fast a cell can be at best: both links at work all the time.
//!
//! With `B` bytes that stock QEMU sends, `E` of them eligible (on storage as well), and links that carry
//! `N` and `S` bytes per second as these very runs have shown (a shaped link never more than it is shaped
//! to: what waited in buffers makes a second look better than it was), no migration that sends each byte once
//! and uncompressed takes less than `B / (N + S)`, nor less than `(B - E) / N`.

use super::cell::{Comparison, POOLFERRY, STOCK, Way};
use migration_record::{Pages, Report, Sample, approximate};

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
    pub(crate) fn of(cell: &Comparison<'_>) -> Option<Self> {
        let (stock, ours) = (cell.way(STOCK)?, cell.way(POOLFERRY)?);
        let rate = |way: &Way<'_>, of: fn(&Sample) -> u64, bits_per_s: Option<u64>| {
            let best = way.completed().filter_map(|run| best_second(run, of)).reduce(f64::max)?;
            Some(bits_per_s.map_or(best, |bits| best.min(approximate(bits) / 8.0)))
        };
        Some(Self {
            bytes: stock.median(|run| approximate(run.network_bytes))?,
            eligible: ours.median(|run| {
                // Stock QEMU sends no bytes of zero pages either.
                approximate(
                    (run.pages.skipped - run.pages.zero.min(run.pages.skipped)) * Pages::BYTES,
                )
            })?,
            network: rate(stock, |sample| sample.network_bytes, cell.links.network_bits_per_s)?,
            storage: rate(ours, |sample| sample.storage_bytes, cell.links.storage_bits_per_s)?,
        })
    }

    /// In seconds.
    pub(crate) fn seconds(&self) -> f64 {
        let both = self.bytes / (self.network + self.storage);
        let alone = (self.bytes - self.eligible).max(0.0) / self.network;
        both.max(alone)
    }
}

/// The best rate over a second or more: single samples are never quite simultaneous with what they
/// count.
fn best_second(run: &Report, of: fn(&Sample) -> u64) -> Option<f64> {
    let rate = |(index, from): (usize, &Sample)| {
        let to = run.samples[index..].iter().find(|to| to.at_s - from.at_s >= 1.0)?;
        Some(approximate(of(to).saturating_sub(of(from))) / (to.at_s - from.at_s))
    };
    run.samples.iter().enumerate().filter_map(rate).reduce(f64::max).filter(|rate| *rate > 0.0)
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

    #[test]
    fn a_rate_is_over_a_second() {
        let sample = |(at_s, storage_bytes)| Sample { at_s, storage_bytes, ..Sample::default() };
        // Counted late, then twice at once.
        let samples = [(0.0, 0), (0.5, 0), (1.0, 100), (1.5, 200), (2.0, 200)].map(sample);
        let run = Report { samples: samples.to_vec(), ..Report::default() };
        assert_eq!(best_second(&run, |sample| sample.storage_bytes), Some(200.0));
        assert_eq!(best_second(&run, |sample| sample.network_bytes), None);
    }
}

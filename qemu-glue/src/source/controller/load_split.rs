//! Splits the skipped pages between storage and network, so that both end together.
//!
//! Storage works through the set from its front. QEMU, once it has sent what only it can send, is
//! given pages from the back: as many as make both paths end at the same time, at the rates that both
//! show. With `O` bytes outstanding, `R` bytes that QEMU still has, and the rates `s` of storage and `n`
//! of the network, `x` bytes change over:
//!
//! ```text
//! (O - x) / s = (R + D + x) / n      x = (O n - (R + D) s) / (n + s)
//! ```
//!
//! `D` is what the guest writes again and again: QEMU finds it at the next sync, whatever it is given then.
//!
//! QEMU takes pages up at a sync only, which begins its next pass, so nothing is gained by giving them
//! earlier than shortly before its pass ends ([`HORIZON`]), or when it has ended unseen. And what is given cannot be had back: it is
//! given in slices of [`SLICE`] of QEMU's work, so that a link that becomes slow keeps little, and a
//! storage that stalls (`s` falls to 0, `x` to all of `O`) costs no longer than it stalls. A network
//! that stalls has no end of its pass in sight, and gets nothing more. But each slice costs a sync, and so
//! `D` once more: where that is much, slices are [`WORTH_AGAIN`] times `D`. `D` is what was found at the sync
//! before; it hardly depends on how long a pass takes, as a guest that writes at all writes much the same
//! pages every second.
//!
//! **It ends.** Each page changes over once at most, and each look either gives nothing or makes the
//! outstanding pages fewer. Where nothing is given, either storage is about to be done (less than
//! [`WORTH`] is left for QEMU, or less than it will have to send again meanwhile), or QEMU has work, or
//! neither path moves; the last two end as a migration without us ends, and the session's own limits of silence hold besides.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use page_number::PAGE_BYTES;

use crate::source::record::progress::real;

/// QEMU is given pages when it has less than this to do: longer than it takes us to see it.
const HORIZON: Duration = Duration::from_millis(300);
/// Most of QEMU's work that is given at once: long beside a sync, short enough that rates seen now still
/// hold when the last of it is sent.
const SLICE: Duration = Duration::from_millis(500);
/// A slice is so many times what its sync makes QEMU send again: a fifth of the link is the most that is wasted.
const WORTH_AGAIN: f64 = 4.0;
/// Pages that are worth a sync and a pass of QEMU: 4 MiB.
const WORTH: u64 = 1024;
/// Pages given to find out how fast the network is, when QEMU's first pass was too short for that.
const PROBE: u64 = 8 * WORTH;
/// Storage gets so long to settle its first page, before its rate counts as none.
const BEGINS: Duration = Duration::from_secs(2);
/// Rates are measured over this time.
const WINDOW: Duration = Duration::from_millis(500);
/// The network's rate is the best of so many windows: zero pages make QEMU look slow.
const WINDOWS: usize = 6;

/// What it looks at. Bytes and pages count from the beginning of the migration.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadSample {
    pub(super) at: Instant,
    /// Pages that storage has settled.
    pub(super) settled: u64,
    /// Pages neither settled nor re-dirtied.
    pub(super) outstanding: u64,
    /// Bytes of RAM that QEMU has sent in full, however few they were on the link.
    pub(super) sent: u64,
    /// Bytes that QEMU has still to send, with those re-dirtied that it has not taken up.
    pub(super) remaining: u64,
    /// QEMU has the whole link.
    pub(super) full: bool,
    /// Bitmap syncs so far; the first begins the first pass.
    pub(super) syncs: u64,
}

/// The split, with what it remembers.
#[derive(Debug, Default)]
pub(super) struct LoadSplit {
    begun: Option<Instant>,
    storage: RateMeter,
    network: RateMeter,
    again: Again,
}

impl LoadSplit {
    /// Pages to give to QEMU now.
    pub(super) fn look(&mut self, sample: LoadSample) -> u64 {
        self.again.look(sample.syncs, sample.remaining);
        self.split(sample)
    }

    /// So many were given: all that were wanted, or fewer where the channel had no room.
    pub(super) fn given(&mut self, pages: u64) {
        self.again.given += pages * PAGE_BYTES;
    }

    fn split(&mut self, sample: LoadSample) -> u64 {
        let begun = *self.begun.get_or_insert(sample.at);
        if sample.settled == 0 && sample.at.saturating_duration_since(begun) < BEGINS {
            return 0;
        }
        self.storage.look(sample.at, sample.settled * PAGE_BYTES);
        if sample.full {
            self.network.look(sample.at, sample.sent);
        } else {
            self.network.pause();
        }
        let Some(storage) = self.storage.latest() else { return 0 };
        let outstanding = real(sample.outstanding * PAGE_BYTES);
        let Some(network) = self.network.best() else {
            let slow = outstanding > storage * SLICE.as_secs_f64();
            let idle = !sample.full && sample.remaining < PROBE * PAGE_BYTES;
            return if slow && idle { PROBE.min(sample.outstanding) } else { 0 };
        };
        let remaining = real(sample.remaining);
        // A QEMU that is throttled has a pass without end before it, and begins the next when it is
        // given something.
        let busy = sample.full && remaining > network * HORIZON.as_secs_f64();
        if network <= 0.0 || busy {
            return 0;
        }
        let again = real(self.again.bytes);
        let to_send = remaining + again;
        let both = outstanding.mul_add(network, -(to_send * storage)) / (network + storage);
        let slice = (network * SLICE.as_secs_f64()).max(WORTH_AGAIN * again);
        let pages = pages(both.min(slice)).min(sample.outstanding);
        // The last few are not left to a storage that stands still.
        let late = outstanding > storage * SLICE.as_secs_f64();
        if pages < WORTH && !late { 0 } else { pages }
    }
}

/// What the guest had written again at the last sync.
#[derive(Debug, Default)]
struct Again {
    syncs: u64,
    /// Bytes given since then: found at the next sync too, but not written.
    given: u64,
    bytes: u64,
}

impl Again {
    fn look(&mut self, syncs: u64, remaining: u64) {
        if syncs > self.syncs {
            // The first sync finds all of the RAM.
            if self.syncs > 0 {
                self.bytes = remaining.saturating_sub(self.given);
            }
            (self.syncs, self.given) = (syncs, 0);
        }
    }
}

/// A rate, by what a counter shows.
#[derive(Debug, Default)]
struct RateMeter {
    /// Beginning of the window, and the counter then.
    begun: Option<(Instant, u64)>,
    /// Bytes per second of the last windows.
    rates: VecDeque<f64>,
}

impl RateMeter {
    fn look(&mut self, at: Instant, count: u64) {
        let Some((begun, then)) = self.begun else {
            self.begun = Some((at, count));
            return;
        };
        let elapsed = at.saturating_duration_since(begun);
        if elapsed < WINDOW {
            return;
        }
        self.rates.push_back(real(count.saturating_sub(then)) / elapsed.as_secs_f64());
        if self.rates.len() > WINDOWS {
            self.rates.pop_front();
        }
        self.begun = Some((at, count));
    }

    /// What goes on until the next look does not count.
    fn pause(&mut self) {
        self.begun = None;
    }

    fn latest(&self) -> Option<f64> {
        self.rates.back().copied()
    }

    fn best(&self) -> Option<f64> {
        self.rates.iter().copied().reduce(f64::max)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a negative number of bytes is none, and no VM has 2^52 pages"
)]
fn pages(bytes: f64) -> u64 {
    (bytes.max(0.0) / real(PAGE_BYTES)) as u64
}

#[cfg(test)]
mod tests;

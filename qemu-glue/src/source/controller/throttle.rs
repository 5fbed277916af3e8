//! How much of the link QEMU gets until its switchover is released.
//!
//! While QEMU has pages to send that it has never sent, it has the whole link: its first pass, and each
//! pass after pages were re-dirtied. Once it only sends again what the guest writes again, every byte
//! is wasted until the restore is done, so it is throttled. What the guest wrote last is sent when
//! the switchover is released, once.
//!
//! It begins with less than the whole, where that matters. QEMU up to 10.x looks at the bitmap again,
//! and so finds the pages that keep it from the switchover, only when less is left than fits into the downtime at the bandwidth that it has measured,
//! and it measures every tenth of a second. A first pass that is over before the first measurement
//! (a small VM whose RAM is mostly skipped) would switch over at once. So until then it may send no
//! faster than makes its first pass [`LONG_ENOUGH`], and is throttled where that is next to nothing.

use crate::source::record::progress::real;

/// Pages re-dirtied that are worth a pass at full speed: 4 MiB.
const WORTH_A_PASS: u64 = 1024;

/// Seconds that the first pass must take at least: three measurements of QEMU.
const LONG_ENOUGH: f64 = 0.3;
/// A page that QEMU compresses takes a byte for so many at best. Should pages be smaller still, the
/// migration is a stock one.
const COMPRESSED: f64 = 8.0;
/// Bytes per second below which the difference to the throttle is nothing.
const LITTLE: u64 = 8 << 20;

/// What QEMU may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Bandwidth {
    /// All that the user allows.
    Full,
    /// So many bytes per second, if the user allows them.
    Limited(u64),
    /// As little as keeps the connection alive.
    Throttled,
}

/// What it looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThrottleSample {
    /// QEMU has measured its bandwidth.
    pub(super) measured: bool,
    /// Bytes of RAM that the first pass has to send.
    pub(super) first_pass: u64,
    /// QEMU compresses what it sends.
    pub(super) compressed: bool,
    /// Number of bitmap syncs so far; the first begins the first pass.
    pub(super) syncs: u64,
    /// Pages that were re-dirtied so far.
    pub(super) redirtied: u64,
}

/// The throttle, with what it remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throttle {
    /// Pages re-dirtied that a pass was granted for.
    granted: u64,
    /// The link is QEMU's until there have been more syncs than this; the first pass ends at the
    /// second sync.
    until: u64,
}

impl Throttle {
    /// Before the first sync.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self { granted: 0, until: 1 }
    }

    /// The bandwidth for this moment.
    pub(super) fn bandwidth(&mut self, sample: ThrottleSample) -> Bandwidth {
        if sample.redirtied.saturating_sub(self.granted) >= WORTH_A_PASS {
            self.granted = sample.redirtied;
            // The next sync takes them in; the pass that begins with it ends at the one after.
            self.until = self.until.max(sample.syncs + 1);
        }
        match sample.measured {
            true if sample.syncs <= self.until => Bandwidth::Full,
            true => Bandwidth::Throttled,
            false => early(sample),
        }
    }
}

/// The bandwidth before QEMU has measured its bandwidth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that is not negative, and far below what 64 bits hold"
)]
fn early(sample: ThrottleSample) -> Bandwidth {
    let ratio = if sample.compressed { COMPRESSED } else { 1.0 };
    let rate = (real(sample.first_pass) / LONG_ENOUGH / ratio) as u64;
    if rate < LITTLE { Bandwidth::Throttled } else { Bandwidth::Limited(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(syncs: u64, redirtied: u64) -> ThrottleSample {
        ThrottleSample { measured: true, first_pass: 0, compressed: false, syncs, redirtied }
    }

    #[test]
    fn a_long_first_pass_begins_at_once() {
        let mut throttle = Throttle::new();
        let long = ThrottleSample { measured: false, first_pass: 300 << 20, ..sample(1, 0) };
        assert_eq!(throttle.bandwidth(long), Bandwidth::Limited(1_048_576_000));
        let compressed = ThrottleSample { compressed: true, ..long };
        assert_eq!(throttle.bandwidth(compressed), Bandwidth::Limited(131_072_000));
        assert_eq!(
            throttle.bandwidth(ThrottleSample { first_pass: 2 << 20, ..long }),
            Bandwidth::Throttled
        );
        assert_eq!(
            throttle.bandwidth(ThrottleSample { measured: true, ..compressed }),
            Bandwidth::Full
        );
    }

    #[test]
    fn the_first_pass_has_the_link() {
        let mut throttle = Throttle::new();
        let early = ThrottleSample { measured: false, ..sample(1, 0) };
        assert_eq!(
            throttle.bandwidth(early),
            Bandwidth::Throttled,
            "QEMU must not be through before it measures"
        );
        assert_eq!(throttle.bandwidth(sample(1, 0)), Bandwidth::Full);
        assert_eq!(throttle.bandwidth(sample(2, 0)), Bandwidth::Throttled);
        assert_eq!(throttle.bandwidth(sample(9, 100)), Bandwidth::Throttled);
    }

    #[test]
    fn what_is_redirtied_gets_a_pass() {
        let mut throttle = Throttle::new();
        assert_eq!(throttle.bandwidth(sample(5, 2000)), Bandwidth::Full);
        assert_eq!(throttle.bandwidth(sample(6, 2000)), Bandwidth::Full, "this sync took them in");
        assert_eq!(throttle.bandwidth(sample(7, 2000)), Bandwidth::Throttled);
        assert_eq!(throttle.bandwidth(sample(7, 2500)), Bandwidth::Throttled);
        assert_eq!(throttle.bandwidth(sample(8, 3024)), Bandwidth::Full);
        assert_eq!(throttle.bandwidth(sample(10, 3024)), Bandwidth::Throttled);
    }

    #[test]
    fn pages_redirtied_in_the_first_pass_are_sent_in_the_second() {
        let mut throttle = Throttle::new();
        assert_eq!(throttle.bandwidth(sample(1, 5000)), Bandwidth::Full);
        assert_eq!(throttle.bandwidth(sample(2, 5000)), Bandwidth::Full);
        assert_eq!(throttle.bandwidth(sample(3, 5000)), Bandwidth::Throttled);
    }
}

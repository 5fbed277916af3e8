//! How much of the link QEMU gets while its migration is held.
//!
//! While QEMU has pages to send that it has never sent, it has the whole link: its first pass, and each
//! pass after pages were given back. Once it only sends again what the guest writes again, every byte
//! is wasted until the restore is done, so it gets a trickle. What the guest wrote last is sent when
//! the hold ends, once.
//!
//! It begins with less than the whole, where that matters. QEMU up to 10.x looks at the bitmap again,
//! and so finds the pages that hold it, only when less is left than fits into the downtime at the bandwidth that it has measured,
//! and it measures every tenth of a second. A first pass that is over before the first measurement
//! (a small VM whose RAM is mostly left behind) would switch over at once. So until then it may send no
//! faster than makes its first pass [`LONG_ENOUGH`], and a trickle where that is next to nothing.

use super::progress::real;

/// Pages given back that are worth a pass at full speed: 4 MiB.
const WORTH_A_PASS: u64 = 1024;

/// Seconds that the first pass must take at least: three measurements of QEMU.
const LONG_ENOUGH: f64 = 0.3;
/// A page that QEMU compresses takes a byte for so many at best. Should pages be smaller still, the
/// migration is a stock one.
const COMPRESSED: f64 = 8.0;
/// Bytes per second below which the difference to a trickle is nothing.
const LITTLE: u64 = 8 << 20;

/// What QEMU may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All that the user allows.
    Full,
    /// So many bytes per second, if the user allows them.
    Limited(u64),
    /// As little as keeps the connection alive.
    Trickle,
}

/// What the law looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// QEMU has measured its bandwidth.
    pub(super) measured: bool,
    /// Bytes of RAM that the first pass has to send.
    pub(super) first_pass: u64,
    /// QEMU compresses what it sends.
    pub(super) compressed: bool,
    /// Number of bitmap syncs so far; the first begins the first pass.
    pub(super) syncs: u64,
    /// Pages that were given back so far.
    pub(super) given_back: u64,
}

/// The law, with what it remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Law {
    /// Pages given back that a pass was granted for.
    granted: u64,
    /// The link is QEMU's until there have been more syncs than this; the first pass ends at the
    /// second sync.
    until: u64,
}

impl Law {
    /// The law before the first sync.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self { granted: 0, until: 1 }
    }

    /// The share for this moment.
    pub(super) fn share(&mut self, view: View) -> Share {
        if view.given_back.saturating_sub(self.granted) >= WORTH_A_PASS {
            self.granted = view.given_back;
            // The next sync takes them in; the pass that begins with it ends at the one after.
            self.until = self.until.max(view.syncs + 1);
        }
        match view.measured {
            true if view.syncs <= self.until => Share::Full,
            true => Share::Trickle,
            false => early(view),
        }
    }
}

/// The share before QEMU has measured its bandwidth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that is not negative, and far below what 64 bits hold"
)]
fn early(view: View) -> Share {
    let ratio = if view.compressed { COMPRESSED } else { 1.0 };
    let rate = (real(view.first_pass) / LONG_ENOUGH / ratio) as u64;
    if rate < LITTLE { Share::Trickle } else { Share::Limited(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(syncs: u64, given_back: u64) -> View {
        View { measured: true, first_pass: 0, compressed: false, syncs, given_back }
    }

    #[test]
    fn a_long_first_pass_begins_at_once() {
        let mut law = Law::new();
        let long = View { measured: false, first_pass: 300 << 20, ..view(1, 0) };
        assert_eq!(law.share(long), Share::Limited(1_048_576_000));
        let compressed = View { compressed: true, ..long };
        assert_eq!(law.share(compressed), Share::Limited(131_072_000));
        assert_eq!(law.share(View { first_pass: 2 << 20, ..long }), Share::Trickle);
        assert_eq!(law.share(View { measured: true, ..compressed }), Share::Full);
    }

    #[test]
    fn the_first_pass_has_the_link() {
        let mut law = Law::new();
        let early = View { measured: false, ..view(1, 0) };
        assert_eq!(law.share(early), Share::Trickle, "QEMU must not be through before it measures");
        assert_eq!(law.share(view(1, 0)), Share::Full);
        assert_eq!(law.share(view(2, 0)), Share::Trickle);
        assert_eq!(law.share(view(9, 100)), Share::Trickle);
    }

    #[test]
    fn what_is_given_back_gets_a_pass() {
        let mut law = Law::new();
        assert_eq!(law.share(view(5, 2000)), Share::Full);
        assert_eq!(law.share(view(6, 2000)), Share::Full, "this sync took them in");
        assert_eq!(law.share(view(7, 2000)), Share::Trickle);
        assert_eq!(law.share(view(7, 2500)), Share::Trickle);
        assert_eq!(law.share(view(8, 3024)), Share::Full);
        assert_eq!(law.share(view(10, 3024)), Share::Trickle);
    }

    #[test]
    fn pages_given_back_in_the_first_pass_are_sent_in_the_second() {
        let mut law = Law::new();
        assert_eq!(law.share(view(1, 5000)), Share::Full);
        assert_eq!(law.share(view(2, 5000)), Share::Full);
        assert_eq!(law.share(view(3, 5000)), Share::Trickle);
    }
}

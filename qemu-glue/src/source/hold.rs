//! How much of the link QEMU gets while its migration is held.
//!
//! While QEMU has pages to send that it has never sent, it has the whole link: its first pass, and each
//! pass after pages were given back. Once it only sends again what the guest writes again, every byte
//! is wasted until the restore is done, so it gets a trickle. What the guest wrote last is sent when
//! the hold ends, once.
//!
//! It also begins with a trickle. QEMU up to 10.x looks at the bitmap again, and so finds the pages that
//! hold it, only when less is left than fits into the downtime at the bandwidth that it has measured,
//! and it measures every tenth of a second. A first pass that is over before the first measurement
//! (a small VM whose RAM is mostly zero or left behind) would switch over at once.

/// Pages given back that are worth a pass at full speed: 4 MiB.
const WORTH_A_PASS: u64 = 1024;

/// What QEMU may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All that the user allows.
    Full,
    /// As little as keeps the connection alive.
    Trickle,
}

/// What the law looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// QEMU has measured its bandwidth.
    pub(super) measured: bool,
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
        if view.measured && view.syncs <= self.until { Share::Full } else { Share::Trickle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(syncs: u64, given_back: u64) -> View {
        View { measured: true, syncs, given_back }
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

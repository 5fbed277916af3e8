//! How long the destination may keep the migration throttled: time that it earns with each page.
//!
//! A limit of silence alone can be stretched: a destination that settles one page in each limit keeps QEMU throttled for as many limits as
//! there are pages, which are years. So the limit is an account of time. It is full at first; it runs down while the
//! destination has hashes and pages to settle; each settled page puts back what the page may take at the least rate;
//! and it never has more than the limit. All pages together so take no more than the limit and their bytes at the
//! least rate.
//!
//! **The least rate** is low enough for a storage that is merely slow:
//!
//! - While QEMU's rate on the link is not known it is [`LITTLE`]: 32 database pages of 16 KiB a second, of which a single
//!   disk reads a hundred and more in any order.
//! - Once it is known, the least rate is a [`SLOWER`]th of it. A restore that takes 32 times as long as QEMU would is
//!   worth ending, also where the user wants to spare the network. Whatever the link carries, [`MUCH`] is enough.
//! - Where the link itself is slow, the least rate is a [`WORSE`]th of the link's: there is no sense in ending a restore
//!   for a network that is no faster.
//!
//! An average, not a moment, decides: a storage that has worked well may stand still for the whole limit, as before.
//! QEMU's rate is what it shows while it has the whole link, smoothed, since a burst into a socket's buffer looks fast.
//! A destination that slows QEMU's own stream down lowers the rate too: it then delays a migration that stock QEMU would
//! not end sooner.

use std::time::{Duration, Instant};

use page_number::PAGE_BYTES;

use super::trouble::RestoreTrouble;
use crate::source::record::progress::real;

/// Bytes a second that are expected of any storage.
const LITTLE: f64 = 512.0 * 1024.0;
/// Bytes a second that are enough beside any network.
const MUCH: f64 = 16.0 * 1024.0 * 1024.0;
/// A restore so many times slower than QEMU is worth ending.
const SLOWER: f64 = 32.0;
/// One that is not even so many times slower never is.
const WORSE: f64 = 4.0;
/// Part of a new rate of QEMU that counts.
const SMOOTH: f64 = 0.125;

/// The account of one destination.
#[derive(Debug)]
pub(in crate::source::controller) struct Allowance {
    /// The limit of silence.
    most: Duration,
    left: Duration,
    looked: Instant,
    /// It had something to settle then.
    had_work: bool,
    /// Time in which it could have settled pages, since the last one.
    silent: Duration,
    /// The same since the account was full, and pages settled since then.
    slow: Duration,
    pages: u64,
    /// QEMU's rate in bytes a second.
    network: Option<f64>,
}

impl Allowance {
    /// A full account.
    pub(in crate::source::controller) const fn new(most: Duration, at: Instant) -> Self {
        Self {
            most,
            left: most,
            looked: at,
            had_work: false,
            silent: Duration::ZERO,
            slow: Duration::ZERO,
            pages: 0,
            network: None,
        }
    }

    /// QEMU, which has the whole link, sends so many bytes a second.
    pub(in crate::source::controller) fn network(&mut self, rate: f64) {
        if rate.is_finite() && rate > 0.0 {
            self.network = Some(match self.network {
                Some(before) => (rate - before).mul_add(SMOOTH, before),
                None => rate,
            });
        }
    }

    /// Bytes a second that keep the account from running down.
    fn least(&self) -> f64 {
        self.network
            .map_or(LITTLE, |network| (network / SLOWER).clamp(LITTLE, MUCH).min(network / WORSE))
    }

    /// So many pages have been settled.
    pub(in crate::source::controller) fn earn(&mut self, pages: u64) {
        if pages == 0 {
            return;
        }
        self.silent = Duration::ZERO;
        self.pages = self.pages.saturating_add(pages);
        // A link that is next to nothing would give it more than a duration holds.
        let earned = (real(pages) * real(PAGE_BYTES) / self.least()).min(self.most.as_secs_f64());
        self.left += Duration::from_secs_f64(earned);
        if self.left >= self.most {
            (self.left, self.slow, self.pages) = (self.most, Duration::ZERO, 0);
        }
    }

    /// Time goes on, up to `at`; it counts where the destination has something to settle, as it had at the look before:
    /// between two looks much may pass, for instance while QEMU answers nothing.
    pub(in crate::source::controller) fn spend(&mut self, at: Instant, has_work: bool) {
        let passed = at.saturating_duration_since(self.looked);
        self.looked = at;
        if std::mem::replace(&mut self.had_work, has_work) && has_work {
            self.left = self.left.saturating_sub(passed);
            self.silent += passed;
            self.slow += passed;
        }
    }

    /// Why the destination is waited for no longer, once that is so.
    pub(in crate::source::controller) fn spent(&self) -> Option<RestoreTrouble> {
        if !self.left.is_zero() {
            return None;
        }
        Some(if self.silent >= self.most {
            RestoreTrouble::PeerSilent { limit: self.most }
        } else {
            RestoreTrouble::PeerSlow {
                pages: self.pages,
                time: self.slow,
                least: self.least(),
                network: self.network,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;
    const LIMIT: Duration = Duration::from_secs(30);
    const TICK: Duration = Duration::from_millis(100);

    /// Plays a destination that settles `pages(second)` pages in each second at a QEMU that sends `network` MiB a
    /// second; gives the second in which it is waited for no longer, and why.
    fn play(
        network: Option<f64>,
        pages: impl Fn(u64) -> u64,
        seconds: u64,
    ) -> Option<(u64, String)> {
        let mut at = Instant::now();
        let mut account = Allowance::new(LIMIT, at);
        for second in 0..seconds {
            for tick in 0..10 {
                if let Some(network) = network {
                    account.network(network * MIB);
                }
                if tick == 0 {
                    account.earn(pages(second));
                }
                at += TICK;
                account.spend(at, true);
                if let Some(why) = account.spent() {
                    return Some((second, why.to_string()));
                }
            }
        }
        None
    }

    /// Pages in a second, of a rate in MiB.
    const fn mib(rate: u64) -> u64 {
        rate * 256
    }

    #[test]
    fn a_page_in_each_limit_buys_no_limit() {
        let hour = 3600;
        for network in [None, Some(11.0), Some(117.0), Some(1170.0)] {
            let (ended, why) = play(network, |second| u64::from(second % 29 == 0), hour).unwrap();
            assert!((30..=31).contains(&ended), "{network:?} MiB: after {ended} s");
            assert!(why.contains("settled 1 pages in 30"), "{why}");
        }
        let (ended, why) = play(None, |_| 0, hour).unwrap();
        assert_eq!((ended, why.as_str()), (30, "the destination settled no page for 30 s"));
    }

    #[test]
    fn storage_that_is_merely_slow_is_waited_for() {
        let (hour, mib_and_half) = (3600, 384);
        // QEMU's rate in MiB a second, storage's pages in a second.
        for (network, pages) in [
            (None, mib(1)),
            (Some(117.0), mib(4)),
            (Some(1170.0), mib(16)),
            (Some(12_000.0), mib(16)),
            (Some(11.0), mib_and_half),
            // The network is slower still.
            (Some(0.5), 40),
            (Some(0.01), 1),
        ] {
            assert_eq!(play(network, |_| pages, hour), None, "{network:?} MiB, {pages} pages");
        }
        // A disk that seeks, one that is resumed now and then, one that stands still for almost the whole limit.
        assert_eq!(
            play(Some(117.0), |second| if second % 4 == 0 { mib(16) } else { 0 }, hour),
            None
        );
        assert_eq!(
            play(Some(117.0), |second| if second % 30 < 10 { mib(60) } else { 0 }, hour),
            None
        );
        let stands_still = |second| if (100..128).contains(&second) { 0 } else { mib(100) };
        assert_eq!(play(Some(1170.0), stands_still, hour), None);
    }

    #[test]
    fn what_qemu_sends_much_sooner_is_not_waited_for() {
        for (network, pages, at_most) in
            [(None, 32, 60), (Some(117.0), mib(1), 50), (Some(1170.0), mib(8), 70)]
        {
            let (ended, why) = play(network, |_| pages, 600).unwrap();
            assert!(ended > 30 && ended < at_most, "{network:?} MiB, {pages} pages: {ended} s");
            assert!(why.contains("KiB of memory a second"), "{why}");
        }
    }

    #[test]
    fn all_pages_take_no_longer_than_the_limit_and_their_bytes() {
        // A destination that knows the rule settles just enough, and only when it must.
        let set_pages = mib(64);
        let mut at = Instant::now();
        let (begun, mut account, mut settled) = (at, Allowance::new(LIMIT, at), 0);
        while settled < set_pages && account.spent().is_none() {
            if account.left <= TICK {
                account.earn(13);
                settled += 13;
            }
            at += TICK;
            account.spend(at, true);
        }
        let took = at - begun;
        let bound = LIMIT + Duration::from_secs_f64(64.0 * MIB / LITTLE) + 4 * TICK;
        assert!(took > bound / 2 && took <= bound, "{took:?} of {bound:?}");
    }

    #[test]
    fn who_has_nothing_to_settle_spends_nothing() {
        let mut at = Instant::now();
        let mut account = Allowance::new(LIMIT, at);
        for _ in 0..1000 {
            at += LIMIT;
            account.spend(at, false);
        }
        assert!(account.spent().is_none());
        account.spend(at + LIMIT, true);
        assert!(account.spent().is_none(), "it has something only now");
        account.spend(at + 2 * LIMIT, true);
        assert!(account.spent().is_some());
    }

    #[test]
    fn rates_that_are_none_are_none() {
        let mut account = Allowance::new(LIMIT, Instant::now());
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            account.network(rate);
        }
        assert_eq!(account.network, None);
        account.network(f64::MIN_POSITIVE);
        account.earn(u64::MAX);
        account.network(f64::MAX);
        account.earn(1);
        assert!(account.left <= LIMIT);
    }
}

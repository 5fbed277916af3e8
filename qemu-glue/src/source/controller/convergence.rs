//! Whether QEMU catches up with the guest. A migration in which it does not has no end of its own.
//!
//! When QEMU has sent all of RAM once, each of its passes sends what the guest has written during the
//! pass before. A guest that writes half of what the link carries makes each pass half as long as the
//! last; one that writes as much makes them all as long, for ever. So the two rates are compared: what the
//! guest writes as of QEMU's last look at its bitmap, for it learns only then what was written, and what
//! the link has carried since. Over a slow link a pass takes minutes, and none is waited for: what QEMU
//! knows when it begins one shows how it will end.
//!
//! Nothing is done about it: what to give up (downtime, the guest's speed, the migration) is the user's
//! choice.

use std::fmt;
use std::time::{Duration, Instant};

use page_number::PAGE_BYTES;

use crate::source::record::progress::real;

/// Time of windows in a row that shows it, and the longest window: a guest that writes much for a moment only is
/// caught up with later.
const SHOWN: Duration = Duration::from_secs(3);
/// A window is so long at least, which is how often QEMU measures what the guest writes
/// (`migration/ram.c`, `migration_bitmap_sync`).
const WINDOW: Duration = Duration::from_secs(1);
/// Part of the link's rate that is as good as all of it: passes that are a tenth shorter each lead nowhere
/// soon.
const AS_MUCH: f64 = 0.9;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvergenceSample {
    pub(super) at: Instant,
    /// Number of bitmap syncs.
    pub(super) syncs: u64,
    /// Pages that the guest writes in a second, as of the last sync.
    pub(super) written: u64,
    /// Pages that QEMU sends in a second, now.
    pub(super) carried: u64,
}

/// What is known, from QEMU's second pass on.
#[derive(Debug, Default)]
pub(super) struct Convergence {
    window: Option<Window>,
    /// Time of the windows in a row that were lost.
    lost: Duration,
    warned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    syncs: u64,
    /// Of the rates seen since: their sum and number.
    carried: f64,
    looks: f64,
}

/// QEMU does not catch up: bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) struct Lost {
    written: f64,
    carried: f64,
}

impl Convergence {
    /// Looks; gives, once, that QEMU does not catch up.
    pub(super) fn look(&mut self, sample: ConvergenceSample) -> Option<Lost> {
        let new = Window { begun: sample.at, syncs: sample.syncs, carried: 0.0, looks: 0.0 };
        let window = self.window.get_or_insert(new);
        window.carried += real(sample.carried);
        window.looks += 1.0;
        let elapsed = sample.at.saturating_duration_since(window.begun);
        let is_over = elapsed >= WINDOW && sample.syncs > window.syncs;
        if !is_over && elapsed < SHOWN {
            return None;
        }
        let carried = window.carried / window.looks;
        let written = real(sample.written);
        self.window = Some(new);
        let is_lost = written > 0.0 && written >= carried * AS_MUCH;
        self.lost = if is_lost { self.lost + elapsed } else { Duration::ZERO };
        if self.lost < SHOWN || self.warned {
            return None;
        }
        self.warned = true;
        let bytes = real(PAGE_BYTES);
        Some(Lost { written: written * bytes, carried: carried * bytes })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        write!(
            f,
            "the guest writes {:.1} MiB of memory a second, and the link carries {:.1}: QEMU does not catch up, and \
             this may never end; allow a longer stop (`--downtime-limit`, or `migrate_set_parameter \
             downtime-limit MS` in QEMU's monitor now), take a faster link (`--max-bandwidth`), compress \
             (`--compress zstd`), or let QEMU slow the guest down (its capability `auto-converge`); `--timeout` \
             ends what does not",
            mib(self.written),
            mib(self.carried),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every tenth of a second at passes of `pass` seconds each; gives when it was reported, in seconds, and what.
    fn play(seconds: u32, pass: f64, rates: fn(f64) -> (u64, u64)) -> Vec<(f64, Lost)> {
        let start = Instant::now();
        let mut convergence = Convergence::default();
        let mut warned = Vec::new();
        for tenth in 0..seconds * 10 {
            let at = f64::from(tenth) / 10.0;
            let (written, carried) = rates(at);
            let mut syncs = 2;
            while real(syncs - 1) * pass <= at {
                syncs += 1;
            }
            let at_instant = start + Duration::from_secs_f64(at);
            let sample = ConvergenceSample { at: at_instant, syncs, written, carried };
            warned.extend(convergence.look(sample).map(|lost| (at, lost)));
        }
        warned
    }

    #[test]
    fn a_guest_as_fast_as_the_link_is_told_once() {
        let warned = play(60, 0.3, |_| (512, 512));
        let [(at, lost)] = &warned[..] else { panic!("{warned:?}") };
        assert!((3.0..5.0).contains(at), "{at}");
        assert_eq!((lost.written, lost.carried), (2_097_152.0, 2_097_152.0));
        let text = lost.to_string();
        for word in ["writes 2.0 MiB", "carries 2.0:", "--downtime-limit", "auto-converge"] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn long_passes_are_not_waited_for() {
        let warned = play(60, 70.0, |_| (900, 300));
        assert_eq!(warned.len(), 1);
        assert!((3.0..3.5).contains(&warned[0].0), "{warned:?}");
        assert!(play(60, 70.0, |_| (200, 300)).is_empty());
        assert!(play(3, 70.0, |_| (900, 300)).is_empty());
    }

    #[test]
    fn a_guest_that_is_caught_up_with_is_not_told() {
        assert!(play(60, 0.3, |_| (400, 512)).is_empty());
        assert!(play(60, 0.3, |_| (0, 0)).is_empty());
        // Now and then it writes much.
        assert!(play(60, 0.3, |at| (if at % 5.0 < 1.5 { 2000 } else { 100 }, 512)).is_empty());
        // One slow moment of the link is none of a second.
        assert!(play(60, 0.3, |at| (300, if at % 1.0 < 0.3 { 10 } else { 800 })).is_empty());
    }
}

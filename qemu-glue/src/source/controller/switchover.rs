//! How long the VM may stand still at the end: briefly where QEMU comes so far, else as long as the user allows.
//!
//! When the switchover is released, QEMU may stop the VM for a small part of the user's limit only. It then sends the last of
//! what the guest writes while the guest runs, which saves most of the downtime. A guest that writes nearly as fast as
//! QEMU sends is not caught up with: the user's limit comes back as soon as that is seen, or after [`GENTLE`].

use std::time::{Duration, Instant};

use crate::source::record::progress::real;

/// How long a short stop is tried for. It costs that much at most.
const GENTLE: Duration = Duration::from_millis(600);
/// A pass that leaves more than this part of what the pass before has left is the last that is tried.
const SHRINKS: f64 = 0.7;

/// How the switchover comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Switchover {
    /// It is not released, or the limit stays as it is.
    #[default]
    NotYet,
    /// With a short stop, but not before there are more syncs than these: QEMU has a pass to end.
    After(u64),
    /// With a short stop; tried for since then, and what the last sync, of this number, has found, in bytes.
    Since { begun: Instant, syncs: u64, found: u64 },
    /// With a stop as long as the user allows.
    AsAllowed,
}

/// QEMU's figures, all of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SwitchoverSample {
    pub(super) at: Instant,
    /// Bitmap syncs so far.
    pub(super) syncs: u64,
    /// Bytes that are still to be sent.
    pub(super) remaining: u64,
}

impl Switchover {
    /// It is released after `syncs` bitmap syncs.
    pub(super) fn released(syncs: u64) -> Self {
        Self::After(syncs.max(1))
    }

    /// Whether a short stop is tried for: a sync is worth a look at once.
    pub(super) const fn is_gentle(self) -> bool {
        matches!(self, Self::After(_) | Self::Since { .. })
    }

    /// Whether the stop may be as long as the user allows from now on; reported once.
    pub(super) fn look(&mut self, sample: SwitchoverSample) -> bool {
        let SwitchoverSample { at, syncs: latest, remaining } = sample;
        match *self {
            Self::After(syncs) if latest > syncs => {
                *self = Self::Since { begun: at, syncs: latest, found: remaining };
            }
            Self::Since { begun, syncs, found } => {
                let shrinks = latest == syncs || real(remaining) <= SHRINKS * real(found);
                if !shrinks || at.saturating_duration_since(begun) > GENTLE {
                    *self = Self::AsAllowed;
                    return true;
                }
                if latest > syncs {
                    *self = Self::Since { begun, syncs: latest, found: remaining };
                }
            }
            Self::NotYet | Self::After(_) | Self::AsAllowed => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Looks every 100 ms, with QEMU's answer then; the number of the look at which the user's limit came back.
    fn given_up(looks: &[(u64, u64)]) -> Option<usize> {
        let mut switchover = Switchover::released(3);
        let mut at = Instant::now();
        looks.iter().position(|&(syncs, mib)| {
            at += Duration::from_millis(100);
            switchover.look(SwitchoverSample { at, syncs, remaining: mib * MIB })
        })
    }

    #[test]
    fn the_pass_under_way_is_not_counted() {
        let mut looks = vec![(3, 80); 20];
        assert_eq!(given_up(&looks), None, "however long it takes");
        looks.extend([(4, 40); 5]);
        assert_eq!(given_up(&looks), None, "the time begins with the sync");
    }

    #[test]
    fn passes_that_shrink_are_waited_for_until_the_time_is_up() {
        assert_eq!(given_up(&[(4, 40), (5, 20), (6, 10), (7, 5)]), None);
        assert_eq!(given_up(&[(4, 40); 9]), Some(7));
        assert_eq!(
            given_up(&[(4, 64), (5, 44), (6, 30), (7, 20), (8, 13), (9, 8), (10, 5), (11, 3)]),
            Some(7),
            "a pass does not begin the time anew"
        );
    }

    #[test]
    fn a_guest_that_writes_as_fast_as_qemu_sends_is_not_waited_for() {
        assert_eq!(given_up(&[(4, 40), (4, 10), (5, 38)]), Some(2));
        assert_eq!(given_up(&[(4, 40), (5, 20), (6, 19)]), Some(2), "the pass before counts");
    }

    #[test]
    fn it_is_said_once_and_not_while_the_migration_is_throttled() {
        let sample = SwitchoverSample { at: Instant::now(), syncs: 9, remaining: MIB };
        let mut throttled = Switchover::default();
        assert!(!throttled.look(sample) && !throttled.is_gentle());
        let mut late = Switchover::released(0);
        assert!(
            !late.look(SwitchoverSample { syncs: 1, ..sample }),
            "the first sync begins the first pass"
        );
        assert!(late.is_gentle());
        late.look(sample);
        assert!(late.look(SwitchoverSample { at: sample.at + 2 * GENTLE, ..sample }));
        assert!(
            !late.look(SwitchoverSample { at: sample.at + 3 * GENTLE, ..sample })
                && !late.is_gentle()
        );
    }
}

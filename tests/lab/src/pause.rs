//! The time in which a VM that has arrived is kept paused to have its RAM compared: no part of a migration.

use std::time::{Duration, Instant};

/// From the end of a migration until the VM may run on.
#[derive(Debug, Clone, Copy)]
pub struct Pause {
    /// QEMU had completed the migration.
    pub from: Instant,
    /// The VM was let run on.
    pub to: Instant,
}

impl Pause {
    /// How long it was.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }

    /// When a message of the guest would have come without it.
    #[must_use]
    pub fn taken_out(self, at: Instant) -> Instant {
        if at <= self.from {
            return at;
        }
        at.checked_sub(self.length()).map_or(self.from, |at| at.max(self.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_it_comes_sooner_and_what_came_before_does_not() {
        let zero = Instant::now() + Duration::from_secs(100);
        let at = |seconds| zero + Duration::from_secs(seconds);
        let pause = Pause { from: at(10), to: at(14) };
        assert_eq!(pause.length(), Duration::from_secs(4));
        for (received, without) in [(3, 3), (10, 10), (12, 10), (14, 10), (15, 11), (20, 16)] {
            assert_eq!(pause.taken_out(at(received)), at(without), "{received}");
        }
    }
}

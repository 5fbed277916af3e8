//! Whether a source still does something, whatever it sends.
//!
//! A source that sends much and does nothing would be served for ever, and no other would be. Work is pages that are installed
//! here; while no migration comes in, a source has little to do, and twice the silence limit is all it gets for that. Where
//! there is none for a while, QEMU is queried for an incoming migration: a source may well have nothing to send while its
//! guest writes faster than it can send, or when nothing is restored.

use std::time::{Duration, Instant};

use super::super::error::ReceiveError;

/// How often in a row QEMU's answer may be missing, for instance since somebody else uses its monitor.
const UNKNOWN: u32 = 10;

/// Whether a migration comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dest) enum IncomingState {
    /// It does.
    Active,
    /// It has come.
    Completed,
    /// None has begun, or it has failed.
    Inactive,
}

/// The clock of one source.
#[derive(Debug)]
pub(super) struct Liveness {
    silence: Duration,
    /// When something was last done.
    since: Instant,
    /// When a migration was last known to come in.
    came: Instant,
    work: u64,
    unknown: u32,
    /// QEMU has reported once that all has come in; the source's last word is due.
    is_over: bool,
    /// A query to QEMU is under way.
    is_queried: bool,
}

impl Liveness {
    /// A clock that begins now.
    pub(super) const fn new(silence: Duration, now: Instant) -> Self {
        let (since, came) = (now, now);
        Self { silence, since, came, work: 0, unknown: 0, is_over: false, is_queried: false }
    }

    /// So much work was done so far: returns whether QEMU is to be queried for an incoming migration.
    pub(super) fn is_query_due(&mut self, now: Instant, work: u64) -> bool {
        if work > self.work {
            (self.work, self.since, self.unknown) = (work, now, 0);
        }
        let waits = now.saturating_duration_since(self.came) >= self.silence * 2;
        let is_query_due = !self.is_queried && (self.is_silent(now) || waits);
        self.is_queried |= is_query_due;
        is_query_due
    }

    /// QEMU's answer to the query, or none. An error ends the service.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        state: Option<IncomingState>,
    ) -> Result<(), ReceiveError> {
        self.is_queried = false;
        let is_silent = self.is_silent(now);
        if state.is_some() {
            self.unknown = 0;
        }
        let goes_on = match state {
            Some(IncomingState::Active) => true,
            Some(IncomingState::Completed) => !std::mem::replace(&mut self.is_over, true),
            Some(IncomingState::Inactive) => false,
            // Somebody else at the monitor is no reason to leave a source that works.
            None if !is_silent => true,
            None => {
                self.unknown += 1;
                self.unknown <= UNKNOWN
            }
        };
        if goes_on {
            (self.since, self.came) = (now, now);
            return Ok(());
        }
        Err(match is_silent {
            true => ReceiveError::Silent { expected: "anything of use", limit: self.silence },
            false => ReceiveError::Silent { expected: "a migration", limit: self.silence * 2 },
        })
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(200);

    /// A source, beside a QEMU that always answers the same, looked at 20 times a silence.
    fn served(
        state: Option<IncomingState>,
        silences: u32,
        mut work: impl FnMut(u32) -> u64,
    ) -> Result<(), ReceiveError> {
        let mut now = Instant::now();
        let mut liveness = Liveness::new(SILENCE, now);
        for look in 0..20 * silences {
            if liveness.is_query_due(now, work(look)) {
                liveness.follow(now, state)?;
            }
            now += SILENCE / 20;
        }
        Ok(())
    }

    /// Now and then a source has nothing to do, while somebody else has the monitor; and works again.
    #[test]
    fn answers_that_are_missing_count_in_a_row_only() {
        // A page at each second silence.
        served(None, 4 * UNKNOWN, |look| u64::from(look / 40)).unwrap();
        let silent = |silences| served(None, silences, |_| 0);
        silent(UNKNOWN).unwrap();
        assert!(silent(UNKNOWN + 2).is_err());
    }

    #[test]
    fn work_without_a_migration_has_an_end() {
        let works = |coming| served(coming, 10, |look| u64::from(look) + 1);
        let error = works(Some(IncomingState::Inactive)).unwrap_err().to_string();
        assert!(error.contains("0.4 s went by without a migration"), "{error}");
        works(Some(IncomingState::Active)).unwrap();
        // Its monitor is somebody else's: the source is believed as long as it works.
        works(None).unwrap();
        // All has come in: that is reported once.
        assert!(works(Some(IncomingState::Completed)).is_err());
    }

    #[test]
    fn silence_with_a_migration_has_none() {
        served(Some(IncomingState::Active), 10, |_| 0).unwrap();
        let error = served(Some(IncomingState::Inactive), 10, |_| 0).unwrap_err().to_string();
        assert!(error.contains("0.2 s went by without anything of use"), "{error}");
    }
}

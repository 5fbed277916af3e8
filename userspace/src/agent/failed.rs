//! Processes that were not attached to, and when their turn is again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use page_wire::protocol::Trouble;

use super::probe_session::NotAttached;
use crate::target::Sighting;

/// Time until a process that failed is looked at again, at first and after many failures.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same where it was a third that held it up, who may let go at any time.
const LONGEST_HELD: Duration = Duration::from_secs(2);
/// Failures that are named where there is no server.
const NAMED: usize = 4;

/// One process running one program, whatever account it has changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FailureKey {
    started: u64,
    pid: u32,
    program: (u64, u64),
}

impl FailureKey {
    pub(super) const fn of(seen: &Sighting) -> Self {
        Self { started: seen.started, pid: seen.pid, program: seen.inode }
    }
}

struct Failure {
    times: u32,
    until: Instant,
    last: NotAttached,
}

/// Of each process that has failed, how it did so last.
#[derive(Default)]
pub(super) struct Failed(HashMap<FailureKey, Failure>);

impl Failed {
    /// Notes a failure; whether it is another than before.
    pub(super) fn note(&mut self, key: FailureKey, last: NotAttached) -> bool {
        let before = self.0.remove(&key);
        let is_new = before.as_ref().is_none_or(|before| before.last.why != last.why);
        // A server that is starting has failed at nothing.
        let times = if last.is_passing { 0 } else { before.map_or(0, |before| before.times) + 1 };
        let pause = PAUSE * 2_u32.saturating_pow(times.saturating_sub(1).min(20));
        let longest = if last.is_held { LONGEST_HELD } else { LONGEST_PAUSE };
        let until = Instant::now() + pause.min(longest);
        self.0.insert(key, Failure { times: times.min(20), until, last });
        is_new
    }

    /// It was attached to after all.
    pub(super) fn forget(&mut self, key: FailureKey) {
        self.0.remove(&key);
    }

    /// Forgets all but these, which are there now.
    pub(super) fn keep(&mut self, here: &[FailureKey]) {
        let here: HashSet<&FailureKey> = here.iter().collect();
        self.0.retain(|key, _| here.contains(key));
    }

    /// Whether it has failed before.
    pub(super) fn has(&self, key: FailureKey) -> bool {
        self.0.contains_key(&key)
    }

    /// Whether its turn has not come again.
    pub(super) fn has_to_wait(&self, key: FailureKey) -> bool {
        self.0.get(&key).is_some_and(|failure| failure.until > Instant::now())
    }

    /// Whether it may be a server, for all that is known: it has not failed, or was only starting.
    pub(super) fn may_be_one(&self, key: FailureKey) -> bool {
        self.0.get(&key).is_none_or(|failure| failure.last.is_passing)
    }

    /// A process that was only starting.
    pub(super) fn starting(&self) -> Option<u32> {
        self.0.iter().find(|(_, failure)| failure.last.is_passing).map(|(key, _)| key.pid)
    }

    /// Why there is no server; nothing where no process has failed.
    pub(super) fn why(&self) -> Option<Trouble> {
        let mut all: Vec<_> = self.0.iter().filter(|(_, failure)| !failure.last.is_other).collect();
        all.sort_by_key(|(key, _)| (key.started, key.pid));
        if let [(_, failure)] = all.as_slice() {
            return Some(failure.last.why.clone());
        }
        let each = |(key, failure): &(&FailureKey, &Failure)| {
            format!("process {}: {}", key.pid, failure.last.why.what)
        };
        let each: Vec<String> = all.iter().take(NAMED).map(each).collect();
        let count = all.len();
        let what = format!("none of {count} processes is a server: {}", each.join("; "));
        let hint = "`poolferry doctor --pid PID` in the guest shows what one of them lacks";
        (count > 0).then(|| Trouble::new(what, Some(hint.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> FailureKey {
        FailureKey { started: 7, pid, program: (1, 2) }
    }

    fn failure(what: &str, is_passing: bool) -> NotAttached {
        NotAttached { is_passing, ..NotAttached::because(Trouble::new(what, None)) }
    }

    #[test]
    fn pauses_grow_and_a_start_is_no_failure() {
        let mut failed = Failed::default();
        let pause = |failed: &mut Failed, is_passing| {
            failed.note(key(1), failure("no", is_passing));
            failed.0[&key(1)].until.saturating_duration_since(Instant::now())
        };
        let pauses: Vec<Duration> = (0..40).map(|_| pause(&mut failed, false)).collect();
        assert!(pauses[0] <= PAUSE && pauses[1] > PAUSE && pauses[1] <= PAUSE * 2);
        assert!(pauses[39] > LONGEST_PAUSE / 2 && pauses[39] <= LONGEST_PAUSE);
        assert!(failed.has_to_wait(key(1)) && !failed.may_be_one(key(1)));
        failed.note(key(1), NotAttached { is_held: true, ..failure("held", false) });
        let pause_of_held = failed.0[&key(1)].until.saturating_duration_since(Instant::now());
        assert!(pause_of_held <= LONGEST_HELD, "{pause_of_held:?}");
        assert!(pause(&mut failed, true) <= PAUSE);
        assert!(failed.may_be_one(key(1)) && failed.starting() == Some(1));
        failed.keep(&[key(2)]);
        assert!(!failed.has(key(1)) && failed.why().is_none());
    }

    #[test]
    fn one_failure_is_told_as_it_is_and_many_are_cut_short() {
        let mut failed = Failed::default();
        assert!(failed.note(key(1), failure("no such thing", false)));
        assert!(!failed.note(key(1), failure("no such thing", false)), "said before");
        assert_eq!(failed.why(), Some(Trouble::new("no such thing", None)));
        for pid in 2..100 {
            failed.note(key(pid), failure("no", false));
        }
        // A process that only has a loader's name has not failed.
        failed.note(key(100), NotAttached { is_other: true, ..failure("other", false) });
        let why = failed.why().unwrap();
        assert!(why.what.contains("none of 99 processes"), "{why:?}");
        assert_eq!(why.what.raw().matches("process ").count(), NAMED);
        assert!(why.hint.is_some());
    }
}

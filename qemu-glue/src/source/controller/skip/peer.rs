//! The destination's messages about the set, checked before they are taken.
//!
//! Only settled pages count as activity, each once, and each earns a little time (see `allowance.rs`). Any other message
//! keeps nothing waiting: a destination that only sends progress is as silent as one that sends nothing.

use std::time::{Duration, Instant};

use super::allowance::Allowance;
use super::ledger::Ledger;
use super::trouble::RestoreTrouble;
use crate::channel::{Finished, Message, NotInstalled, Progress, SetRange};

/// Pages that have become settled.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) enum Settled {
    /// They are at the destination.
    Installed(Vec<SetRange>),
    /// They are not, and are re-dirtied.
    NotInstalled(NotInstalled, Vec<SetRange>),
}

/// The last word of a destination, within what a set and a migration can have.
#[derive(Debug)]
pub(in crate::source) struct LastWord(Finished);

impl LastWord {
    /// The last message of a destination, at the end of the migration of a set of `pages` pages.
    pub(in crate::source) fn new(finished: Finished, pages: u64) -> Self {
        let progress = finished.progress.within(pages);
        Self(Finished { progress, ..finished })
    }

    pub(in crate::source) fn into_inner(self) -> Finished {
        self.0
    }
}

/// What its messages have brought so far.
#[derive(Debug)]
pub(in crate::source) struct PeerState {
    /// Pages of the set.
    pages: u64,
    /// Pages that it has answered for: each has one answer.
    answered: u64,
    progress: Progress,
    last_word: Option<LastWord>,
    /// How long it may take.
    allowance: Allowance,
}

impl PeerState {
    /// Nothing yet, of a set of `pages` pages; it may settle none of those that it has hashes of for `silence`.
    pub(in crate::source) fn new(pages: u32, silence: Duration, now: Instant) -> Self {
        let (progress, allowance) = (Progress::default(), Allowance::new(silence, now));
        Self { pages: pages.into(), answered: 0, progress, last_word: None, allowance }
    }

    /// The progress that it reports.
    pub(in crate::source) const fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(in crate::source) fn take_last_word(&mut self) -> Option<LastWord> {
        self.last_word.take()
    }

    /// Looks whether it is still waited for.
    ///
    /// # Errors
    /// [`RestoreTrouble::PeerSilent`] or [`RestoreTrouble::PeerSlow`], once it is not.
    pub(in crate::source) fn is_alive(
        &mut self,
        now: Instant,
        ledger: &Ledger,
    ) -> Result<(), RestoreTrouble> {
        self.allowance.spend(now, ledger.in_flight() > 0);
        self.allowance.spent().map_or(Ok(()), Err)
    }

    /// QEMU, which has the whole link, sends so many bytes a second.
    pub(in crate::source) fn network(&mut self, bytes_per_s: f64) {
        self.allowance.network(bytes_per_s);
    }

    /// After the end of all that it was to do: only its counters and its last word are of use.
    pub(in crate::source) fn receive_after_end(&mut self, message: Message) {
        match message {
            Message::Progress(progress) => self.progress = progress.within(self.pages),
            Message::Finished(finished) => self.finish(finished),
            // Its last answers may cross with our giving up; what is settled stays settled.
            _ => {}
        }
    }

    /// Takes its message, and adds the pages that this settles to `settled`. An error is trouble: it is not to be believed,
    /// or gives up; what it had settled before is so all the same.
    pub(in crate::source) fn receive(
        &mut self,
        message: Message,
        ledger: &mut Ledger,
        settled: &mut Vec<Settled>,
    ) -> Result<(), RestoreTrouble> {
        match message {
            Message::Installed(ranges) => {
                self.answers(&ranges)?;
                for range in ranges {
                    let fresh = ledger.installed(range)?;
                    self.lives(&fresh);
                    settled.push(Settled::Installed(fresh));
                }
                Ok(())
            }
            Message::NotInstalled(why, ranges) => {
                self.answers(&ranges)?;
                for range in ranges {
                    let fresh = ledger.redirtied(range)?;
                    self.lives(&fresh);
                    settled.push(Settled::NotInstalled(why, fresh));
                }
                Ok(())
            }
            Message::Progress(progress) => {
                self.progress = progress.within(self.pages);
                Ok(())
            }
            Message::Finished(finished) => {
                self.finish(finished);
                Err(RestoreTrouble::PeerEnded)
            }
            Message::Refused(refused) => Err(RestoreTrouble::PeerGaveUp { reason: refused.reason }),
            _ => Err(RestoreTrouble::OutOfTurn),
        }
    }

    /// Without a bound, one frame could name all pages of the set 100,000 times.
    fn answers(&mut self, ranges: &[SetRange]) -> Result<(), RestoreTrouble> {
        self.answered += ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        if self.answered > self.pages {
            return Err(RestoreTrouble::TooManyAnswers);
        }
        Ok(())
    }

    fn lives(&mut self, fresh: &[SetRange]) {
        self.allowance.earn(fresh.iter().map(|range| u64::from(range.count)).sum());
    }

    fn finish(&mut self, finished: Finished) {
        let word = LastWord::new(finished, self.pages);
        self.progress = word.0.progress;
        self.last_word = Some(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// A message, with what it settles.
    fn receive(
        peer: &mut PeerState,
        message: Message,
        ledger: &mut Ledger,
    ) -> Result<Vec<Settled>, RestoreTrouble> {
        let mut settled = Vec::new();
        peer.receive(message, ledger, &mut settled).map(|()| settled)
    }

    const fn range(first: u32, count: u32) -> SetRange {
        SetRange { first, count }
    }

    /// A destination that has hashes of all 100 pages.
    fn hashed() -> (PeerState, Ledger) {
        let mut ledger = Ledger::new(100);
        ledger.hash_sent(range(0, 100));
        (PeerState::new(100, LIMIT, Instant::now()), ledger)
    }

    #[test]
    fn only_settled_pages_are_life() {
        let (mut peer, mut ledger) = hashed();
        let begun = Instant::now();
        for step in 0..10 {
            assert!(peer.is_alive(begun + LIMIT * step / 10, &ledger).is_ok());
            let progress = Message::Progress(Progress::default());
            receive(&mut peer, progress, &mut ledger).unwrap();
            receive(&mut peer, Message::Installed(Vec::new()), &mut ledger).unwrap();
        }
        let late = begun + LIMIT * 2;
        let silent = peer.is_alive(late, &ledger);
        assert!(
            matches!(silent, Err(RestoreTrouble::PeerSilent { .. })),
            "kept by messages of progress"
        );
        receive(&mut peer, Message::Installed(vec![range(0, 1)]), &mut ledger).unwrap();
        assert!(peer.is_alive(late, &ledger).is_ok());
        // Who has no hash has nothing to answer.
        let mut idle = PeerState::new(100, LIMIT, begun);
        assert!(idle.is_alive(late, &Ledger::new(100)).is_ok());
    }

    #[test]
    fn pages_are_answered_once() {
        let (mut peer, mut ledger) = hashed();
        let installed = receive(&mut peer, Message::Installed(vec![range(0, 60)]), &mut ledger);
        assert_eq!(installed.unwrap(), [Settled::Installed(vec![range(0, 60)])]);
        let again = receive(&mut peer, Message::Installed(vec![range(0, 41)]), &mut ledger);
        assert!(again.unwrap_err().to_string().contains("more pages than the set has"));
        let differ = |many| Message::NotInstalled(NotInstalled::Differs, many);
        for answer in [differ, Message::Installed] {
            let (mut peer, mut ledger) = hashed();
            let many = vec![range(0, 100); 1 << 17];
            assert!(receive(&mut peer, answer(many), &mut ledger).is_err());
            assert_eq!(ledger.outstanding(), 100, "not even the first of them");
        }
    }

    #[test]
    fn what_it_counts_is_no_more_than_the_set() {
        let (mut peer, mut ledger) = hashed();
        let most =
            Progress { installed: u64::MAX, already_present: u64::MAX, ..Progress::default() };
        receive(&mut peer, Message::Progress(most), &mut ledger).unwrap();
        assert_eq!((peer.progress().installed, peer.progress().already_present), (100, 100));
        peer.receive_after_end(Message::Finished(Finished {
            progress: most,
            ..Finished::default()
        }));
        let word = peer.take_last_word().unwrap().into_inner();
        assert_eq!(word.progress.installed, 100);
    }
}

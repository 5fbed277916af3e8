//! What the destination says of the set, taken only as far as it can be so.
//!
//! Life is pages that it settles, each once, and each buys a little time (see `allowance.rs`). Whatever else it says
//! keeps nothing waiting: a destination that only tells of progress is as silent as one that tells nothing.

use std::time::{Duration, Instant};

use super::allowance::Allowance;
use super::ledger::Ledger;
use crate::channel::{Finished, Message, NotPlaced, PageRange, Progress};

/// Pages that have become settled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// They are at the destination.
    Placed(Vec<PageRange>),
    /// They are not, and go back to QEMU.
    NotPlaced(NotPlaced, Vec<PageRange>),
}

/// The last word of a destination, within what a set and a migration can have.
#[derive(Debug)]
pub(super) struct LastWord(Finished);

impl LastWord {
    /// What a destination has said at the end of the migration of a set of `pages` pages.
    pub(super) fn new(finished: Finished, pages: u64) -> Self {
        let progress = finished.progress.within(pages);
        Self(Finished { progress, ..finished })
    }

    pub(super) fn into_inner(self) -> Finished {
        self.0
    }
}

/// What it has said so far.
#[derive(Debug)]
pub(super) struct Heard {
    /// Pages of the set.
    pages: u64,
    /// Pages that it has answered for: each has one answer.
    answered: u64,
    progress: Progress,
    last_word: Option<LastWord>,
    /// How long it may take.
    allowance: Allowance,
}

impl Heard {
    /// Nothing yet, of a set of `pages` pages; it may settle none of those that it has hashes of for `silence`.
    pub(super) fn new(pages: u32, silence: Duration) -> Self {
        let allowance = Allowance::new(silence, Instant::now());
        let progress = Progress::default();
        Self { pages: pages.into(), answered: 0, progress, last_word: None, allowance }
    }

    /// How far it says that it is.
    pub(super) const fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) const fn has_finished(&self) -> bool {
        self.last_word.is_some()
    }

    pub(super) fn take_last_word(&mut self) -> Option<LastWord> {
        self.last_word.take()
    }

    /// Why it is waited for no longer, once that is so.
    pub(super) fn stalls(&mut self, ledger: &Ledger) -> Option<String> {
        self.allowance.spend(Instant::now(), ledger.in_flight() > 0);
        self.allowance.spent()
    }

    /// QEMU, which has the whole link, sends so many bytes a second.
    pub(super) fn network(&mut self, bytes_per_s: f64) {
        self.allowance.network(bytes_per_s);
    }

    /// After the end of all that it was to do: only its counters and its last word are of use.
    pub(super) fn hear_after(&mut self, message: Message) {
        match message {
            Message::Progress(progress) => self.progress = progress.within(self.pages),
            Message::Finished(finished) => self.finish(finished),
            // Its last answers may cross with our giving up; what is settled stays settled.
            _ => {}
        }
    }

    /// Takes what it says, and adds the pages that this settles to `settled`. An error is trouble: it is not to be believed,
    /// or gives up; what it had settled before is so all the same.
    pub(super) fn hear(
        &mut self,
        message: Message,
        ledger: &mut Ledger,
        settled: &mut Vec<Settled>,
    ) -> Result<(), String> {
        match message {
            Message::Placed(ranges) => {
                self.answers(&ranges)?;
                for range in ranges {
                    let fresh = ledger.placed(range).map_err(|error| error.to_string())?;
                    self.lives(&fresh);
                    settled.push(Settled::Placed(fresh));
                }
                Ok(())
            }
            Message::NotPlaced(why, ranges) => {
                self.answers(&ranges)?;
                for range in ranges {
                    let fresh = ledger.given_back(range).map_err(|error| error.to_string())?;
                    self.lives(&fresh);
                    settled.push(Settled::NotPlaced(why, fresh));
                }
                Ok(())
            }
            Message::Progress(progress) => {
                self.progress = progress.within(self.pages);
                Ok(())
            }
            Message::Finished(finished) => {
                self.finish(finished);
                Err("the destination has ended the restore".to_owned())
            }
            Message::Refused(refused) => {
                Err(format!("the destination gave up: {}", refused.reason))
            }
            _ => Err("the destination said something out of turn".to_owned()),
        }
    }

    /// Without a bound, one frame could name all pages of the set 100,000 times.
    fn answers(&mut self, ranges: &[PageRange]) -> Result<(), String> {
        self.answered += ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        if self.answered > self.pages {
            return Err("the destination answered for more pages than the set has".to_owned());
        }
        Ok(())
    }

    fn lives(&mut self, fresh: &[PageRange]) {
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

    /// What is heard, with what it settles.
    fn hear(
        heard: &mut Heard,
        message: Message,
        ledger: &mut Ledger,
    ) -> Result<Vec<Settled>, String> {
        let mut settled = Vec::new();
        heard.hear(message, ledger, &mut settled).map(|()| settled)
    }

    const fn range(first: u32, count: u32) -> PageRange {
        PageRange { first, count }
    }

    /// A destination that has hashes of all 100 pages.
    fn hashed() -> (Heard, Ledger) {
        let mut ledger = Ledger::new(100);
        ledger.hash_sent(range(0, 100));
        (Heard::new(100, LIMIT), ledger)
    }

    #[test]
    fn only_settled_pages_are_life() {
        let (mut heard, mut ledger) = hashed();
        let begun = Instant::now();
        let mut said = 0;
        while heard.stalls(&ledger).is_none() {
            assert!(begun.elapsed() < LIMIT * 100, "held by {said} messages of progress");
            hear(&mut heard, Message::Progress(Progress::default()), &mut ledger).unwrap();
            hear(&mut heard, Message::Placed(Vec::new()), &mut ledger).unwrap();
            said += 1;
        }
        hear(&mut heard, Message::Placed(vec![range(0, 1)]), &mut ledger).unwrap();
        assert_eq!(heard.stalls(&ledger), None);
        // Who has no hash has nothing to answer.
        let mut idle = Heard::new(100, LIMIT);
        std::thread::sleep(LIMIT * 2);
        assert_eq!(idle.stalls(&Ledger::new(100)), None);
    }

    #[test]
    fn pages_are_answered_once() {
        let (mut heard, mut ledger) = hashed();
        let placed = hear(&mut heard, Message::Placed(vec![range(0, 60)]), &mut ledger);
        assert_eq!(placed, Ok(vec![Settled::Placed(vec![range(0, 60)])]));
        let again = hear(&mut heard, Message::Placed(vec![range(0, 41)]), &mut ledger);
        assert!(again.unwrap_err().contains("more pages than the set has"));
        let (mut heard, mut ledger) = hashed();
        let many = vec![range(0, 100); 1 << 17];
        assert!(
            hear(&mut heard, Message::NotPlaced(NotPlaced::Differs, many), &mut ledger).is_err()
        );
        assert_eq!(ledger.outstanding(), 100, "not even the first of them");
    }

    #[test]
    fn what_it_counts_is_no_more_than_the_set() {
        let (mut heard, mut ledger) = hashed();
        let most = Progress { installed: u64::MAX, delivered: u64::MAX, ..Progress::default() };
        hear(&mut heard, Message::Progress(most), &mut ledger).unwrap();
        assert_eq!((heard.progress().installed, heard.progress().delivered), (100, 100));
        heard.hear_after(Message::Finished(Finished { progress: most, ..Finished::default() }));
        let word = heard.take_last_word().unwrap().into_inner();
        assert_eq!(word.progress.installed, 100);
    }
}

//! All decisions of a migration at the destination, in state machines that do no I/O.
//!
//! | policy | decides on | file |
//! |---|---|---|
//! | offer | when all of it is there, how long it may take | `offer.rs` |
//! | turns | what the source may send now, and how often | this one |
//! | liveness | whether the source still does something | `liveness.rs` |
//! | replies | when answers about pages are sent to the source | `replies.rs` |
//! | feed | which pages are read next from which device, and what no device brings | `feed.rs`, `queue.rs`, `device.rs`, `buffers.rs` |
//!
//! [`Controller`] follows the source; `serve.rs` drives it, with the channel and QEMU's monitor. [`Feed`] is the restore,
//! which `restore.rs` drives, with storage, hashing and installing: the controller gives it hashes, and pages that are
//! left to QEMU, and gets its answers. The drivers carry out commands and decide nothing, so every decision is tested
//! without QEMU and without storage (`tests/`).
//!
//! # Precedence
//! 1. What ends it: the source's last word, or an error; no command follows but the messages that are still due.
//! 2. Time before messages: a source that sends much is checked all the same.
//! 3. Work before silence: pages that are settled count as activity, whatever the clock shows.

mod buffers;
mod counters;
mod device;
mod fate;
mod feed;
mod liveness;
mod offer;
mod queue;
mod replies;
#[cfg(test)]
mod tests;
mod trouble;

use std::time::{Duration, Instant};

pub(super) use self::counters::Counters;
pub(super) use self::fate::Verified;
pub use self::fate::{Fate, SettledPages};
pub(super) use self::feed::{Action, Feed, ReadId};
pub(super) use self::liveness::IncomingState;
use self::liveness::Liveness;
use self::offer::Offering;
pub(super) use self::offer::{Offered, name_of};
pub(super) use self::queue::Job;
pub use self::queue::{Hash, QueueError};
use self::replies::Replies;
pub(super) use self::trouble::InstallTrouble;
use super::error::ReceiveError;
use crate::channel::{Finish, Message, Progress, SetRange};

/// How often the observer gets the progress.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);

/// Something that has happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A message of the source.
    Peer(Message),
    /// The source knows that these pages of the set are restored here.
    Ready {
        /// Pages of the set.
        pages: u32,
    },
    /// The source knows that none are.
    Refused,
    /// What has become of pages.
    Answers(Vec<SettledPages>),
    /// No answer comes any more.
    AnswersEnded,
    /// The source's hashes were not taken.
    HashesRefused(QueueError),
    /// QEMU's state of its migration; `None` where the query failed.
    Incoming(Option<IncomingState>),
    /// Time has gone by.
    Tick {
        /// How far the restore is.
        progress: Progress,
        /// The channel takes a message without waiting.
        has_room: bool,
    },
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Command {
    /// The offer is there: prepare the restore, or refuse it with a reason.
    Prepare(Box<Offered>),
    /// Restore pages with these hashes.
    Restore { first: u32, hashes: Vec<Hash> },
    /// Leave pages to QEMU.
    Leave(Vec<SetRange>),
    /// Send this to the source.
    Send(Message),
    /// Pass this to the observer.
    Observe(Progress),
    /// Query QEMU for an incoming migration.
    QueryQemu,
    /// Restore no more: the source has sent how the migration ended.
    Finish(Finish),
    /// Leave the source.
    Fail(ReceiveError),
}

/// Where it is with one source.
#[derive(Debug)]
enum Phase {
    Offer(Offering),
    /// The source waits for `ready` or a refusal.
    Preparing,
    Restoring(Restoring),
    /// Nothing is restored.
    StandingBy,
    /// The source has sent how it ended; answers may still come.
    Finishing,
    Ended,
}

#[derive(Debug)]
struct Restoring {
    pages: u32,
    /// Pages that the source has left to QEMU, each once.
    left: u64,
}

/// The state of one source.
#[derive(Debug)]
pub(super) struct Controller {
    phase: Phase,
    silence: Duration,
    /// From the answer to the offer on.
    liveness: Option<Liveness>,
    replies: Replies,
    observed: Instant,
}

impl Controller {
    /// For a source that has greeted, and offers at most `pages` pages.
    pub(super) fn new(pages: u64, silence: Duration, now: Instant) -> Self {
        Self {
            phase: Phase::Offer(Offering::new(pages, now)),
            silence,
            liveness: None,
            replies: Replies::new(now),
            observed: now,
        }
    }

    /// When it wants to know that time has gone by, at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Offer(offering) => Some(offering.deadline()),
            _ => None,
        }
    }

    /// What is to be done, in this order, now that this has happened.
    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Command> {
        let mut out = Vec::new();
        if let Err(error) = self.take(now, input, &mut out) {
            self.phase = Phase::Ended;
            out.push(Command::Fail(error));
        }
        out
    }

    fn take(
        &mut self,
        now: Instant,
        input: Input,
        out: &mut Vec<Command>,
    ) -> Result<(), ReceiveError> {
        if matches!(self.phase, Phase::Ended) {
            return Ok(());
        }
        match input {
            Input::Peer(message) => self.receive(now, message, out)?,
            Input::Ready { pages } => {
                self.phase = Phase::Restoring(Restoring { pages, left: 0 });
                self.liveness = Some(Liveness::new(self.silence, now));
            }
            Input::Refused => {
                self.phase = Phase::StandingBy;
                self.liveness = Some(Liveness::new(self.silence, now));
            }
            Input::Answers(answers) => self.replies.gather(answers),
            Input::AnswersEnded => {
                out.extend(self.replies.flush().map(Command::Send));
                self.phase = Phase::Ended;
            }
            Input::HashesRefused(error) => return Err(error.into()),
            Input::Incoming(state) => {
                if let Some(liveness) = &mut self.liveness {
                    liveness.follow(now, state)?;
                }
            }
            Input::Tick { progress, has_room } => self.tick(now, progress, has_room, out)?,
        }
        Ok(())
    }

    fn receive(
        &mut self,
        now: Instant,
        message: Message,
        out: &mut Vec<Command>,
    ) -> Result<(), ReceiveError> {
        match (&mut self.phase, message) {
            (Phase::Offer(offering), message) => {
                if let Some(offered) = offering.receive(now, message)? {
                    self.phase = Phase::Preparing;
                    out.push(Command::Prepare(Box::new(offered)));
                }
            }
            (Phase::Restoring(_) | Phase::StandingBy, Message::Finish(finish)) => {
                self.phase = Phase::Finishing;
                self.liveness = None;
                out.push(Command::Finish(finish));
            }
            (Phase::Restoring(_), Message::Hashes { first, hashes }) => {
                out.push(Command::Restore { first, hashes });
            }
            (Phase::Restoring(restoring), Message::Redirtied(ranges)) => {
                restoring.leave(&ranges)?;
                out.push(Command::Leave(ranges));
            }
            (Phase::Restoring(_), other) => {
                let (got, expected) = (name_of(&other), "hashes");
                return Err(ReceiveError::OutOfTurn { got, expected });
            }
            // It knows that nothing comes of it.
            (Phase::Preparing | Phase::StandingBy | Phase::Finishing | Phase::Ended, _) => {}
        }
        Ok(())
    }

    fn tick(
        &mut self,
        now: Instant,
        progress: Progress,
        has_room: bool,
        out: &mut Vec<Command>,
    ) -> Result<(), ReceiveError> {
        if let Phase::Offer(offering) = &self.phase {
            return offering.look(now);
        }
        let is_restoring = matches!(self.phase, Phase::Restoring(_));
        if is_restoring && has_room {
            out.extend(self.replies.due(now, progress).map(Command::Send));
        }
        if now.saturating_duration_since(self.observed) >= OBSERVE_INTERVAL {
            self.observed = now;
            if is_restoring {
                out.push(Command::Observe(progress));
            }
            // Pages that differ are no work: any bytes serve as their hashes.
            let work = progress.installed + progress.already_present;
            if self.liveness.as_mut().is_some_and(|liveness| liveness.is_query_due(now, work)) {
                out.push(Command::QueryQemu);
            }
        }
        Ok(())
    }
}

impl Restoring {
    /// A source leaves each page to QEMU once; without a bound, one frame could name all of them 100,000 times.
    fn leave(&mut self, ranges: &[SetRange]) -> Result<(), ReceiveError> {
        self.left += ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        if self.left > u64::from(self.pages) {
            return Err(ReceiveError::Redirtied { pages: self.pages });
        }
        Ok(())
    }
}

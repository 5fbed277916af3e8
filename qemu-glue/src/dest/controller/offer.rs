//! What the source wants to skip, as it comes.

use std::time::{Duration, Instant};

use super::super::error::ReceiveError;
use super::super::refusal::RestoreRefusal;
use crate::channel::{Message, Offer};
use crate::set::{SetRun, SkipSet};

/// How long the source may take to begin its offer, which it has when it greets; and for all of it.
const BEGINS: Duration = Duration::from_secs(10);
const ENDS: Duration = Duration::from_secs(60);

/// What the source wants to skip, as far as it can be so.
pub(in crate::dest) type Offered = (Offer, Result<SkipSet, RestoreRefusal>);

/// An offer that is not all there, of at most `pages` pages; runs beyond that are received and forgotten.
#[derive(Debug)]
pub(super) struct Offering {
    pages: u64,
    since: Instant,
    offer: Option<Offer>,
    runs: Vec<SetRun>,
    /// Pages and runs that have come.
    offered: u64,
    sent: u64,
}

impl Offering {
    pub(super) fn new(pages: u64, now: Instant) -> Self {
        Self { pages, since: now, offer: None, runs: Vec::new(), offered: 0, sent: 0 }
    }

    /// Until when more of it has to come.
    pub(super) fn deadline(&self) -> Instant {
        self.since + self.limit().1
    }

    const fn limit(&self) -> (&'static str, Duration) {
        match self.offer {
            None => ("an offer", BEGINS),
            Some(_) => ("all of its offer", ENDS),
        }
    }

    /// Whether it may go on.
    pub(super) fn look(&self, now: Instant) -> Result<(), ReceiveError> {
        let (expected, limit) = self.limit();
        match now >= self.deadline() {
            true => Err(ReceiveError::Silent { expected, limit }),
            false => Ok(()),
        }
    }

    /// The offer and the set that it describes, once all of it has come.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        message: Message,
    ) -> Result<Option<Offered>, ReceiveError> {
        self.look(now)?;
        let Some(offer) = &self.offer else {
            return match message {
                Message::Offer(offer) => {
                    (self.offer, self.since) = (Some(offer), now);
                    Ok(None)
                }
                other => {
                    Err(ReceiveError::OutOfTurn { got: name_of(&other), expected: "an offer" })
                }
            };
        };
        let wrong = |sent| ReceiveError::Runs { offered: offer.runs, sent };
        match message {
            Message::Runs(more) => {
                self.sent += more.len() as u64;
                self.offered += more.iter().map(|run| u64::from(run.pages.max(1))).sum::<u64>();
                if self.offered <= self.pages {
                    self.runs.extend(more);
                }
            }
            Message::OfferEnd if self.sent == offer.runs => return Ok(self.all()),
            Message::OfferEnd => return Err(wrong(self.sent)),
            other => {
                let (got, expected) = (name_of(&other), "runs of its offer");
                return Err(ReceiveError::OutOfTurn { got, expected });
            }
        }
        if self.sent > offer.runs { Err(wrong(self.sent)) } else { Ok(None) }
    }

    fn all(&mut self) -> Option<Offered> {
        let offer = self.offer.take()?;
        let set = if self.offered > self.pages {
            Err(RestoreRefusal::TooManyPages { pages: self.pages })
        } else {
            let devices = offer.devices.iter().map(|name| name.raw().to_owned()).collect();
            let runs = std::mem::take(&mut self.runs);
            SkipSet::new(offer.blocks.clone(), devices, runs).map_err(RestoreRefusal::Set)
        };
        Some((offer, set))
    }
}

/// A message's name for errors.
pub(in crate::dest) const fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "a hello",
        Message::Offer(_) => "an offer",
        Message::Runs(_) => "runs",
        Message::OfferEnd => "the end of an offer",
        Message::Ready(_) => "`ready`",
        Message::Refused(_) => "a refusal",
        Message::Hashes { .. } => "hashes",
        Message::Redirtied(_) => "`re-dirtied`",
        Message::Installed(_) => "`installed`",
        Message::NotInstalled(..) => "`not installed`",
        Message::Progress(_) => "progress",
        Message::Finish(_) => "the end",
        Message::Finished(_) => "its last word",
    }
}

//! Receives what the source wants to skip.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::error::ReceiveError;
use super::refusal::Refusal;
use crate::channel::{Message, Offer, Receiver};
use crate::set::{SetRun, SkipSet};

/// How long the source may take to begin its offer, which it has when it greets; and for all of it.
const BEGINS: Duration = Duration::from_secs(10);
const ENDS: Duration = Duration::from_secs(60);

/// The offer and the set that it describes, of at most `pages` pages; runs beyond that are received and
/// forgotten.
pub(super) async fn receive(
    receiver: &mut Receiver,
    pages: u64,
) -> Result<(Offer, Result<SkipSet, Refusal>), ReceiveError> {
    let begins = silent("an offer", BEGINS);
    let offer = match timeout(BEGINS, receiver.receive()).await.map_err(begins)?? {
        Message::Offer(offer) => offer,
        other => {
            return Err(ReceiveError::OutOfTurn { got: name_of(&other), expected: "an offer" });
        }
    };
    let ends = silent("all of its offer", ENDS);
    let (offered, runs) = timeout(ENDS, runs(receiver, &offer, pages)).await.map_err(ends)??;
    let set = if offered > pages {
        Err(Refusal::TooManyPages { pages })
    } else {
        let devices = offer.devices.iter().map(|name| name.raw().to_owned()).collect();
        SkipSet::new(offer.blocks.clone(), devices, runs).map_err(Refusal::Set)
    };
    Ok((offer, set))
}

/// Pages of the offer, and its runs where these are at most `pages`.
async fn runs(
    receiver: &mut Receiver,
    offer: &Offer,
    pages: u64,
) -> Result<(u64, Vec<SetRun>), ReceiveError> {
    let (mut runs, mut offered, mut sent) = (Vec::new(), 0_u64, 0_u64);
    loop {
        match receiver.receive().await? {
            Message::Runs(more) => {
                sent += more.len() as u64;
                offered += more.iter().map(|run| u64::from(run.pages.max(1))).sum::<u64>();
                if offered <= pages {
                    runs.extend(more);
                }
            }
            Message::OfferEnd if sent == offer.runs => return Ok((offered, runs)),
            Message::OfferEnd => {
                return Err(ReceiveError::Runs { offered: offer.runs, sent });
            }
            other => {
                let (got, expected) = (name_of(&other), "runs of its offer");
                return Err(ReceiveError::OutOfTurn { got, expected });
            }
        }
        if sent > offer.runs {
            return Err(ReceiveError::Runs { offered: offer.runs, sent });
        }
    }
}

fn silent(expected: &'static str, limit: Duration) -> impl Fn(Elapsed) -> ReceiveError {
    move |_| ReceiveError::Silent { expected, limit }
}

/// A message's name for errors.
pub(super) const fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "a greeting",
        Message::Offer(_) => "an offer",
        Message::Runs(_) => "runs",
        Message::OfferEnd => "the end of an offer",
        Message::Ready(_) => "`ready`",
        Message::Refused(_) => "a refusal",
        Message::Hashes { .. } => "hashes",
        Message::Taken(_) => "`taken`",
        Message::Placed(_) => "`placed`",
        Message::NotPlaced(..) => "`not placed`",
        Message::Progress(_) => "progress",
        Message::Finish(_) => "the end",
        Message::Finished(_) => "its last word",
    }
}

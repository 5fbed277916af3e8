//! Receives what the source wants to skip.

use std::time::Duration;

use tokio::time::timeout;

use super::error::ReceiveError;
use super::refusal::Refusal;
use crate::channel::{Message, Offer, Receiver};
use crate::set::SkipSet;

/// How long the source may take from one message to the next: it may wait for its guest's list.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The offer and the set that it describes, of at most `pages` pages; runs beyond that are received and
/// forgotten.
pub(super) async fn receive(
    receiver: &mut Receiver,
    pages: u64,
) -> Result<(Offer, Result<SkipSet, Refusal>), ReceiveError> {
    let offer = match next(receiver, "an offer").await? {
        Message::Offer(offer) => offer,
        other => {
            return Err(ReceiveError::OutOfTurn { got: name_of(&other), expected: "an offer" });
        }
    };
    let mut runs = Vec::new();
    let mut offered = 0_u64;
    loop {
        match next(receiver, "the end of its offer").await? {
            Message::Runs(more) => {
                offered += more.iter().map(|run| u64::from(run.pages.max(1))).sum::<u64>();
                if offered <= pages {
                    runs.extend(more);
                }
            }
            Message::OfferEnd => break,
            other => {
                let (got, expected) = (name_of(&other), "runs of its offer");
                return Err(ReceiveError::OutOfTurn { got, expected });
            }
        }
    }
    let set = if offered > pages {
        Err(Refusal::TooManyPages { pages })
    } else {
        let media = offer.media.iter().map(|name| name.raw().to_owned()).collect();
        SkipSet::new(offer.blocks.clone(), media, runs).map_err(Refusal::Set)
    };
    Ok((offer, set))
}

/// The next message, in time.
pub(super) async fn next(
    receiver: &mut Receiver,
    expected: &'static str,
) -> Result<Message, ReceiveError> {
    let silent = |_| ReceiveError::Silent { expected, limit: PATIENCE };
    Ok(timeout(PATIENCE, receiver.receive()).await.map_err(silent)??)
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

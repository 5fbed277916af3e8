//! Messages as frames.
//!
//! ```text
//! frame    4 length of what follows (little-endian), 1 kind, body
//! control  body is JSON
//! Runs     24 bytes a run (`SetRun::to_bytes`)
//! Hashes   4 number of the first page, 32 bytes a page
//! ranges   8 bytes a range: 4 first, 4 count
//! NotInstalled 1 reason, then ranges
//! ```
//! A list that is longer than a frame becomes several messages; an empty one becomes none.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clip::Clip;
use super::error::ChannelError;
use super::length::{LENGTH_BYTES, MAX_FRAME_BYTES};
use super::{Message, NotInstalled, SetRange};
use crate::set::{RUN_BYTES, SetRun};

const HELLO: u8 = 1;
const OFFER: u8 = 2;
const RUNS: u8 = 3;
const OFFER_END: u8 = 4;
const READY: u8 = 5;
const REFUSED: u8 = 6;
const HASHES: u8 = 7;
const REDIRTIED: u8 = 8;
const INSTALLED: u8 = 9;
const NOT_INSTALLED: u8 = 10;
const PROGRESS: u8 = 11;
const FINISH: u8 = 12;
const FINISHED: u8 = 13;

const REASONS: [NotInstalled; 4] = [
    NotInstalled::Differs,
    NotInstalled::ReadFailed,
    NotInstalled::InstallFailed,
    NotInstalled::TooLate,
];

const HASH_BYTES: usize = 32;
const RANGE_BYTES: usize = 8;
/// Bytes of a body that lists may fill: a frame without its kind and the longest head of a list.
const LIST_BYTES: usize = MAX_FRAME_BYTES - 8;

/// Appends the frames of `message` to `out`.
///
/// # Errors
/// [`ChannelError::TooLong`] for a control message that no frame holds.
pub(super) fn encode(message: &Message, out: &mut Vec<u8>) -> Result<(), ChannelError> {
    match message {
        Message::Hello(body) => json(out, HELLO, body),
        Message::Offer(body) => json(out, OFFER, body),
        Message::Ready(body) => json(out, READY, body),
        Message::Refused(body) => json(out, REFUSED, body),
        Message::Progress(body) => json(out, PROGRESS, body),
        Message::Finish(body) => json(out, FINISH, body),
        Message::Finished(body) => json(out, FINISHED, body),
        Message::OfferEnd => frame(out, OFFER_END, |_| {}),
        Message::Runs(runs) => runs.chunks(LIST_BYTES / RUN_BYTES).try_for_each(|runs| {
            frame(out, RUNS, |out| runs.iter().for_each(|run| out.extend(run.to_bytes())))
        }),
        Message::Hashes { first, hashes } => {
            let mut first = *first;
            hashes.chunks(LIST_BYTES / HASH_BYTES).try_for_each(|hashes| {
                let head = first.to_le_bytes();
                first = first.saturating_add(u32::try_from(hashes.len()).unwrap_or(u32::MAX));
                frame(out, HASHES, |out| {
                    out.extend(head);
                    hashes.iter().for_each(|hash| out.extend(hash));
                })
            })
        }
        Message::Redirtied(ranges) => lists(out, REDIRTIED, &[], ranges),
        Message::Installed(ranges) => lists(out, INSTALLED, &[], ranges),
        Message::NotInstalled(reason, ranges) => {
            let reason = REASONS.iter().zip(0_u8..).find(|(known, _)| *known == reason);
            lists(out, NOT_INSTALLED, &[reason.map_or(u8::MAX, |(_, number)| number)], ranges)
        }
    }
}

/// The message of one frame, given without its length.
///
/// # Errors
/// [`ChannelError`] when the bytes are none; they may be any.
pub(super) fn decode(frame: &[u8]) -> Result<Message, ChannelError> {
    let Some((&kind, body)) = frame.split_first() else {
        return Err(ChannelError::Malformed { kind: 0, length: 0 });
    };
    let malformed = || ChannelError::Malformed { kind, length: frame.len() };
    Ok(match kind {
        HELLO => Message::Hello(parsed(kind, body)?),
        OFFER => Message::Offer(parsed(kind, body)?),
        READY => Message::Ready(parsed(kind, body)?),
        REFUSED => Message::Refused(parsed(kind, body)?),
        PROGRESS => Message::Progress(parsed(kind, body)?),
        FINISH => Message::Finish(parsed(kind, body)?),
        FINISHED => Message::Finished(parsed(kind, body)?),
        OFFER_END if body.is_empty() => Message::OfferEnd,
        RUNS => {
            let (runs, rest) = body.as_chunks::<RUN_BYTES>();
            if !rest.is_empty() {
                return Err(malformed());
            }
            Message::Runs(runs.iter().map(SetRun::from_bytes).collect())
        }
        HASHES => {
            let (first, hashes) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
            let (hashes, rest) = hashes.as_chunks::<HASH_BYTES>();
            let first = u32::from_le_bytes(*first);
            let count = u32::try_from(hashes.len()).map_err(|_| malformed())?;
            if !rest.is_empty() || first.checked_add(count).is_none() {
                return Err(malformed());
            }
            Message::Hashes { first, hashes: hashes.to_vec() }
        }
        REDIRTIED => Message::Redirtied(ranges(body).ok_or_else(malformed)?),
        INSTALLED => Message::Installed(ranges(body).ok_or_else(malformed)?),
        NOT_INSTALLED => {
            let (&reason, body) = body.split_first().ok_or_else(malformed)?;
            let reason = *REASONS.get(usize::from(reason)).ok_or_else(malformed)?;
            Message::NotInstalled(reason, ranges(body).ok_or_else(malformed)?)
        }
        _ => return Err(malformed()),
    })
}

/// Appends one frame whose body `fill` writes.
fn frame(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), ChannelError> {
    let start = out.len();
    out.extend([0; LENGTH_BYTES]);
    out.push(kind);
    fill(out);
    let length = out.len() - start - LENGTH_BYTES;
    let field = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES);
    let Some(field) = field else {
        out.truncate(start);
        return Err(ChannelError::TooLong(length));
    };
    out[start..start + LENGTH_BYTES].copy_from_slice(&field.to_le_bytes());
    Ok(())
}

fn json(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) -> Result<(), ChannelError> {
    let body = serde_json::to_vec(body).map_err(|source| ChannelError::Json { kind, source })?;
    frame(out, kind, |out| out.extend(body))
}

fn lists(
    out: &mut Vec<u8>,
    kind: u8,
    head: &[u8],
    ranges: &[SetRange],
) -> Result<(), ChannelError> {
    ranges.chunks(LIST_BYTES / RANGE_BYTES).try_for_each(|ranges| {
        frame(out, kind, |out| {
            out.extend(head);
            for range in ranges {
                out.extend(range.first.to_le_bytes());
                out.extend(range.count.to_le_bytes());
            }
        })
    })
}

/// The one door of control messages: nothing of the other host gets past it unclipped.
fn parsed<T: DeserializeOwned + Clip>(kind: u8, body: &[u8]) -> Result<T, ChannelError> {
    let parsed: T =
        serde_json::from_slice(body).map_err(|source| ChannelError::Json { kind, source })?;
    Ok(parsed.clipped())
}

/// Ranges, each with at least one page and none beyond the highest number.
fn ranges(body: &[u8]) -> Option<Vec<SetRange>> {
    let (ranges, rest) = body.as_chunks::<RANGE_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let range = |bytes: &[u8; RANGE_BYTES]| {
        let [a, b, c, d, count @ ..] = *bytes;
        let (first, count) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(count));
        let sound = count > 0 && first.checked_add(count).is_some();
        sound.then_some(SetRange { first, count })
    };
    ranges.iter().map(range).collect()
}

#[cfg(test)]
mod tests;

//! Every message survives the channel, and no bytes make it panic.

use foreign::{Name, Text};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::channel::{Finish, Finished, Offer, PeerHello, Progress, Ready, Refused};
use crate::set::Block;

fn range() -> impl Strategy<Value = SetRange> {
    (0..u32::MAX, 1..u32::MAX)
        .prop_map(|(first, count)| SetRange { first, count: count.min(u32::MAX - first).max(1) })
}

fn run() -> impl Strategy<Value = SetRun> {
    (any::<u16>(), any::<u16>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
        |(block, device, pages, offset, place)| SetRun { block, device, pages, offset, place },
    )
}

fn control() -> impl Strategy<Value = Message> {
    // Text is sent as it is shown, so only what needs no escape comes as it went.
    let word = || "[a-zé `:/]*".prop_map(Text::from);
    (word(), word(), any::<u32>(), any::<u64>(), any::<u16>()).prop_map(
        |(a, b, small, big, index)| {
            let name = Name::try_from(b.raw()).unwrap();
            match index % 8 {
                0 => Message::Hello(PeerHello {
                    version: small,
                    program: a.clone(),
                    qemu: b,
                    migration: a,
                }),
                1 => Message::Offer(Offer {
                    blocks: vec![Block { name: a.to_string(), length: big }],
                    devices: vec![name.clone()],
                    runs: big,
                    capabilities: vec![name],
                    multifd: None,
                    shares: true,
                }),
                2 => Message::Ready(Ready { uri: a, devices_left_out: vec![(index, b)] }),
                3 => Message::Refused(Refused { reason: a.clone(), hint: b, uri: Some(a) }),
                4 => Message::Progress(Progress {
                    storage_bytes: small.into(),
                    ..Progress::default()
                }),
                5 => Message::Finish(Finish { status: a, reason: Some(b), begun_unix_s: 1.5 }),
                6 => Message::Finished(Finished { warnings: vec![a, b], ..Finished::default() }),
                _ => Message::OfferEnd,
            }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        control(),
        vec(run(), 1..50).prop_map(Message::Runs),
        (any::<u16>(), vec(any::<[u8; 32]>(), 1..50))
            .prop_map(|(first, hashes)| Message::Hashes { first: first.into(), hashes }),
        vec(range(), 1..50).prop_map(Message::Redirtied),
        vec(range(), 1..50).prop_map(Message::Installed),
        (0..REASONS.len(), vec(range(), 1..50))
            .prop_map(|(reason, ranges)| Message::NotInstalled(REASONS[reason], ranges)),
    ]
}

fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        let (frame, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        assert!(frame.len() <= MAX_FRAME_BYTES);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

proptest! {
    #[test]
    fn a_message_survives(message in message()) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes).unwrap();
        let frames = frames(&bytes);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(decode(frames[0]).unwrap(), message);
    }

    #[test]
    fn no_bytes_panic(kind in 0..16_u8, body in vec(any::<u8>(), 0..300)) {
        let mut frame = vec![kind];
        frame.extend(body);
        if let Ok(message) = decode(&frame) {
            encode(&message, &mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn a_damaged_message_does_not_panic(
        message in message(),
        at in any::<prop::sample::Index>(),
        to: u8,
    ) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes).unwrap();
        let mut frame = frames(&bytes)[0].to_vec();
        let at = at.index(frame.len());
        frame[at] = to;
        let _ = decode(&frame);
    }
}

/// A list beyond one frame arrives whole, in messages that each fit.
#[test]
fn a_long_list_is_cut() {
    let ranges: Vec<_> = (0..300_000).map(|n| SetRange { first: 2 * n, count: 1 }).collect();
    let mut bytes = Vec::new();
    encode(&Message::Installed(ranges.clone()), &mut bytes).unwrap();
    let mut arrived = Vec::new();
    for frame in frames(&bytes) {
        let Message::Installed(part) = decode(frame).unwrap() else { panic!("another kind") };
        arrived.extend(part);
    }
    assert_eq!(arrived, ranges);

    let hashes: Vec<_> = (0..70_000_u32).map(|n| [n.to_le_bytes()[0]; 32]).collect();
    let mut bytes = Vec::new();
    encode(&Message::Hashes { first: 5, hashes: hashes.clone() }, &mut bytes).unwrap();
    let mut next = 5;
    for frame in frames(&bytes) {
        let Message::Hashes { first, hashes } = decode(frame).unwrap() else { panic!("another") };
        assert_eq!(first, next);
        next += u32::try_from(hashes.len()).unwrap();
    }
    assert_eq!(next, 70_005);
}

#[test]
fn a_control_message_beyond_a_frame_is_refused() {
    let warnings = vec![Text::from("x".repeat(4096)); MAX_FRAME_BYTES / 4096];
    let finished = Finished { warnings, ..Finished::default() };
    let mut bytes = vec![1, 2, 3];
    let error = encode(&Message::Finished(finished), &mut bytes).unwrap_err();
    assert!(matches!(error, ChannelError::TooLong(_)), "{error}");
    assert_eq!(bytes, [1, 2, 3], "nothing of it is left");
}

#[test]
fn ranges_that_overflow_are_refused() {
    let mut frame = vec![INSTALLED];
    frame.extend(u32::MAX.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    assert!(decode(&frame).is_err());
    let empty = [INSTALLED, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(decode(&empty).is_err(), "a range without pages");
}

#[test]
fn what_the_peer_says_is_bounded_and_harmless() {
    let evil = serde_json::to_string(&foreign::hostile::big()).unwrap();
    let body = format!("{{\"status\":{evil},\"reason\":{evil},\"begun_unix_s\":0}}");
    let Message::Finish(finish) = decode(&[&[FINISH], body.as_bytes()].concat()).unwrap() else {
        panic!("another")
    };
    assert!(finish.status.raw().len() <= foreign::HELD_BYTES);
    foreign::hostile::assert_harmless("Debug", format!("{finish:?}").as_bytes(), 10_000);
    let offer = format!(
        "{{\"blocks\":[],\"devices\":[{evil}],\"runs\":0,\"capabilities\":[],\"shares\":true}}"
    );
    let error = decode(&[&[OFFER], offer.as_bytes()].concat()).unwrap_err();
    assert!(matches!(error, ChannelError::Json { .. }), "{error}");
}

//! Each trouble: its name, which is the reason in reports, and that it ends in a migration without throttle.

use std::io;
use std::time::Duration;

use super::super::skip::HINT;
use super::super::*;
use super::world::{PAGES, SILENCE, World, range};
use crate::channel::{ChannelError, Finished, Message, Refused, SetRange};
use crate::shim::SetState;

type Make = fn(&mut World);

/// What happens while the set waits to be hinted.
const BEFORE_THE_HINT: [(&str, Make); 5] = [
    ("library-refused", |world| {
        world.library = SetState::Refused;
        world.look();
    }),
    ("library-ended", |world| {
        world.library = SetState::Ended;
        world.look();
    }),
    ("library-missed", |world| {
        world.step(Input::Pass(2));
        world.look();
    }),
    ("library-silent", |world| world.pass_time(HINT + Duration::from_secs(1))),
    ("channel-ended", |world| world.step(Input::ChannelGone(None))),
];

/// And what while it is restored.
const WHILE_RESTORING: [(&str, Make); 11] = [
    ("channel-broke", |world| world.step(Input::ChannelGone(Some(ChannelError::Closed)))),
    ("channel-ended", |world| world.step(Input::ChannelGone(None))),
    ("channel-full", |world| {
        world.channel = false;
        world.hash(16, 10);
    }),
    ("peer-silent", |world| {
        world.hash(16, 10);
        world.pass_time(SILENCE * 2);
    }),
    ("peer-ended", |world| world.peer_sends(Message::Finished(Finished::default()))),
    ("peer-gave-up", |world| {
        let (reason, hint) = ("no more".into(), "".into());
        world.peer_sends(Message::Refused(Refused { reason, hint, uri: None }));
    }),
    ("peer-not-believed", |world| world.peer_sends(Message::OfferEnd)),
    // Beyond the set, and of pages whose hash it has not.
    ("peer-not-believed", |world| world.peer_sends(Message::Installed(vec![range(PAGES - 1, 2)]))),
    ("peer-not-believed", |world| world.peer_sends(Message::Installed(vec![range(100, 1)]))),
    ("peer-not-believed", |world| {
        let many = vec![range(0, PAGES); 2];
        world.peer_sends(Message::NotInstalled(crate::channel::NotInstalled::TooLate, many));
    }),
    ("no-thread", |world| world.step(Input::NoThread(io::ErrorKind::WouldBlock.into()))),
];

#[test]
fn each_has_its_name_and_ends_the_hold() {
    for (name, make) in BEFORE_THE_HINT {
        ends(World::new(false), name, make);
    }
    for (name, make) in WHILE_RESTORING {
        ends(World::restoring(false), name, make);
    }
}

fn ends(mut world: World, name: &str, make: Make) {
    make(&mut world);
    assert_eq!(world.phase(), SkipPhase::Redirtying, "{name}");
    let redirtied = world.skip().redirtied().get(name).copied();
    assert!(redirtied.is_some_and(|pages| pages > 0), "{name}: {:?}", world.skip().redirtied());
    assert_eq!(world.outstanding(), 0, "{name}");
    assert!(world.commands.iter().any(|command| command == "Warn"), "{name}: {:?}", world.commands);
    for _ in 0..3 {
        world.sync();
        world.pass_time(Duration::from_millis(10));
    }
    assert!(world.released, "{name}: {:?}", world.commands);
}

/// What a thread has not read is not verified, whoever says so.
#[test]
fn pages_that_nobody_reads_are_sent() {
    let mut world = World::restoring(false);
    world.hash(16, 84);
    world.step(Input::HashesEnded);
    world.step(Input::ZerosEnded);
    let reasons = world.skip().redirtied();
    // All but those that are hashed, and the four that the destination cannot read.
    assert_eq!(reasons.get("not-read"), Some(&u64::from(PAGES - 84 - 4)), "{reasons:?}");
    assert_eq!(reasons.get("device-left-out"), Some(&4));
    world.peer_sends(Message::Installed(vec![SetRange { first: 16, count: 84 }]));
    world.look();
    assert!(world.released);
}

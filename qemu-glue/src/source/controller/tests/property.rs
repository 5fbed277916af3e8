//! Whatever happens in whatever order: each page is accounted for, nothing is throttled for ever, and nothing is released with
//! pages outstanding while the VM runs. [`World`] checks each step against that.

use std::time::Duration;

use proptest::prelude::*;

use super::super::skip::HINT;
use super::super::*;
use super::world::{PAGES, SILENCE, World, ZERO_PAGES, range};
use crate::channel::{Message, NotInstalled};
use crate::shim::SetState;
use crate::source::zero::ZeroCheck;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Time(u64),
    Sync,
    Look,
    Query,
    Pass,
    Hashes(u32, u32),
    HashesEnded,
    Zeros(u32, u32, bool),
    ZerosEnded,
    /// Of pages that it has the hashes of.
    Installed(u32, u32),
    /// Of any pages, also beyond the set.
    PeerSends(bool, u32, u32),
    Chats,
    ChannelGone,
    ChannelFills(bool),
    Refused,
    Measured,
    Remaining(u64),
    /// By somebody else.
    Runs(bool),
    Cancel,
    /// QEMU carries out its commands.
    Cancelled,
    /// It goes on in spite of the throttle, as with a link that it thinks fast.
    Slips,
    Fails,
    Status(&'static str),
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let pages = || (0..PAGES, 1..80_u32);
    prop_oneof![
        6 => (0..400_u64).prop_map(Time),
        1 => (0..70_000_u64).prop_map(Time),
        6 => Just(Sync),
        6 => Just(Look),
        6 => Just(Query),
        2 => Just(Pass),
        6 => pages().prop_map(|(first, count)| Hashes(first, count)),
        1 => Just(HashesEnded),
        3 => (0..ZERO_PAGES, 1..20_u32, any::<bool>()).prop_map(|(f, c, zero)| Zeros(f, c, zero)),
        1 => Just(ZerosEnded),
        6 => pages().prop_map(|(first, count)| Installed(first, count)),
        1 => (any::<bool>(), 0..PAGES + 10, 0..300_u32).prop_map(|(p, f, c)| PeerSends(p, f, c)),
        2 => Just(Chats),
        1 => Just(ChannelGone),
        1 => any::<bool>().prop_map(ChannelFills),
        1 => Just(Refused),
        3 => Just(Measured),
        2 => (0..1_u64 << 30).prop_map(Remaining),
        2 => any::<bool>().prop_map(Runs),
        1 => Just(Cancel),
        1 => Just(Cancelled),
        1 => Just(Slips),
        1 => Just(Fails),
        1 => prop_oneof![Just("active"), Just("pre-switchover"), Just("device")].prop_map(Status),
    ]
}

fn play(world: &mut World, event: Event) {
    match event {
        Event::Time(millis) => world.pass_time(Duration::from_millis(millis)),
        Event::Sync => world.sync(),
        Event::Look => world.look(),
        Event::Query => world.query(),
        Event::Pass => world.step(Input::Pass(world.syncs.into())),
        Event::Hashes(first, count) => world.hash(first, count.min(PAGES - first)),
        Event::HashesEnded if world.reads => world.step(Input::HashesEnded),
        Event::ZerosEnded if world.reads => world.step(Input::ZerosEnded),
        Event::Zeros(first, count, zero) if world.reads => {
            let ranges = vec![range(first, count.min(ZERO_PAGES - first))];
            let (zero, written) = if zero { (ranges, vec![]) } else { (vec![], ranges) };
            world.step(Input::ZerosChecked(ZeroCheck { zero, written }));
        }
        Event::Installed(first, count) => {
            let end = world.hashed.min(first + count);
            if first < end {
                world.peer_sends(Message::Installed(vec![range(first, end - first)]));
            }
        }
        Event::PeerSends(true, first, count) => {
            world.peer_sends(Message::Installed(vec![range(first, count)]))
        }
        Event::PeerSends(false, first, count) => {
            world.peer_sends(Message::NotInstalled(
                NotInstalled::Differs,
                vec![range(first, count)],
            ));
        }
        Event::Chats => world.peer_sends(Message::Progress(Default::default())),
        Event::ChannelGone => world.step(Input::ChannelGone(None)),
        Event::ChannelFills(has_room) => world.channel = has_room,
        Event::Refused if world.library == SetState::Armed => world.library = SetState::Refused,
        Event::Measured => world.migration.ram.mbps = 900.0,
        Event::Remaining(bytes) => world.migration.ram.remaining = bytes,
        Event::Runs(runs) if !world.ended => {
            world.runs = runs;
            world.step(Input::Runs(runs));
        }
        Event::Cancel if !world.is_cancelled => world.step(Input::Cancel("enough".to_owned())),
        Event::Cancelled if world.is_cancelled => ends(world, "cancelled"),
        Event::Slips => {
            world.runs = false;
            world.sync();
            ends(world, "completed");
        }
        Event::Fails => ends(world, "failed"),
        Event::Status(status) if !world.ended => world.status_is(status),
        _ => {}
    }
}

fn ends(world: &mut World, status: &str) {
    if !world.ended {
        world.status_is(status);
        world.query();
    }
}

/// Nobody says anything more; QEMU syncs, our threads come to their end, time goes by.
fn ends_by_itself(world: &mut World) -> bool {
    let step = Duration::from_millis(100);
    let limit = HINT + SILENCE * 2 + Duration::from_secs(5);
    for number in 0..limit.as_millis() / step.as_millis() {
        if world.released || world.ended {
            return true;
        }
        if number >= 10 && world.is_cancelled {
            ends(world, "cancelled");
        }
        world.sync();
        if number == 20 && world.reads {
            world.step(Input::HashesEnded);
            world.step(Input::ZerosEnded);
        }
        world.pass_time(step);
    }
    world.released || world.ended
}

proptest! {
    #[test]
    fn no_page_is_lost_and_nothing_is_throttled_for_ever(
        splits_load in any::<bool>(),
        events in proptest::collection::vec(event(), 0..120),
        limit in proptest::option::of(0..100_000_u64),
    ) {
        let mut world = World::new(splits_load);
        world.controller.deadline = limit.map(|limit| world.now + Duration::from_millis(limit));
        for event in events {
            play(&mut world, event);
        }
        prop_assert!(ends_by_itself(&mut world), "throttled for ever: {world:#?}");
    }
}

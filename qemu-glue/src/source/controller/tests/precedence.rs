//! Which policy decides where several could: a table of situations, and the commands that follow.

use std::time::Duration;

use super::super::*;
use super::world::{PAGES, SILENCE, USER, World, ram, range};
use crate::channel::{Message, NotInstalled, Progress};

/// Whether these were commanded, one after the other, with others between them or not.
fn in_order(commands: &[String], wanted: &[&str]) -> bool {
    let mut commands = commands.iter();
    wanted.iter().all(|wanted| commands.any(|command| command == wanted))
}

struct Case {
    name: &'static str,
    /// Until just before the input that counts.
    before: fn(&mut World),
    /// The input that counts.
    then: fn(&mut World),
    /// The commands that follow, in this order.
    expected: &'static [&'static str],
    /// And what is not.
    not_expected: &'static [&'static str],
    phase: SkipPhase,
}

/// Its time is up a moment later.
fn soon(world: &mut World) {
    world.controller.deadline = Some(world.now + SILENCE / 4);
}

const CASES: [Case; 21] = [
    Case {
        name: "its time is up while pages are outstanding",
        before: soon,
        then: |world| world.pass_time(SILENCE / 2),
        expected: &["Warn", "CancelMigration", "Disarm", "Redirty"],
        not_expected: &["Release", "SetParameters"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "all is settled in the moment that its time is up",
        before: |world| {
            world.settle_all();
            world.controller.deadline = Some(world.now);
        },
        then: |world| world.look(),
        expected: &["Warn", "CancelMigration"],
        not_expected: &["Release", "SetParameters"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "its time is up after it was cancelled",
        before: |world| {
            soon(world);
            world.step(Input::Cancel("enough".to_owned()));
        },
        then: |world| world.pass_time(SILENCE / 2),
        expected: &[],
        not_expected: &["CancelMigration", "Warn"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "QEMU has completed it when its time is up",
        before: |world| {
            world.settle_all();
            world.look();
            soon(world);
            world.now += SILENCE;
        },
        then: |world| {
            world.status_is("completed");
            world.query();
        },
        expected: &[],
        not_expected: &["CancelMigration", "Warn"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "all is settled, and the destination has been silent for too long",
        before: |world| world.settle_all(),
        then: |world| world.pass_time(SILENCE * 2),
        expected: &["SetParameters", "Release"],
        not_expected: &["Warn", "Redirty"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "the destination is silent with pages in flight",
        before: |world| world.hash(16, 100),
        then: |world| world.pass_time(SILENCE * 2),
        expected: &["Warn", "StopReading", "Disarm", "Redirty", "Notify", "ReadLibrary"],
        not_expected: &["Release"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "QEMU knows of all that is re-dirtied, and the migration is to end",
        before: |world| {
            world.step(Input::Cancel("enough".to_owned()));
            world.sync();
            world.sync();
        },
        then: |world| world.pass_time(Duration::from_millis(10)),
        expected: &[],
        not_expected: &["Release", "SetParameters"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "cancelled while pages are outstanding",
        before: |_| {},
        then: |world| world.step(Input::Cancel("enough".to_owned())),
        expected: &["Warn", "CancelMigration", "Disarm", "Redirty"],
        not_expected: &["Release", "SetParameters"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "the channel breaks after all was settled",
        before: |world| {
            world.settle_all();
            world.look();
        },
        then: |world| world.step(Input::ChannelGone(None)),
        expected: &[],
        not_expected: &["Warn", "Redirty", "SetParameters"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "the rest is re-dirtied: the user's parameters come before the release",
        before: |world| {
            world.step(Input::ChannelGone(None));
            world.sync();
        },
        then: |world| world.pass_time(Duration::from_millis(10)),
        expected: &["SetParameters", "Release", "Enter"],
        not_expected: &["Warn"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "the rest is re-dirtied, and QEMU was throttled",
        before: |world| {
            world.hash(16, 100);
            world.peer_sends(Message::NotInstalled(NotInstalled::Differs, vec![range(16, 4)]));
            world.query();
            assert!(world.parameters.max_bandwidth < 1 << 20, "{:?}", world.parameters);
            world.step(Input::ChannelGone(None));
        },
        then: |world| {
            world.query();
            let full = world.parameters.max_bandwidth;
            assert!(full + 2 > USER.max_bandwidth, "QEMU has {full}");
        },
        expected: &["SetParameters"],
        not_expected: &["Release"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "the migration has ended, and the destination is silent",
        before: |world| {
            world.hash(16, 100);
            world.status_is("completed");
            world.query();
            world.commands.clear();
        },
        then: |world| world.pass_time(SILENCE * 2),
        expected: &[],
        not_expected: &["Warn", "Redirty", "QueryQemu"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "somebody stops the VM: QEMU has the whole link, as nothing is written again",
        before: |world| {
            world.query();
            assert!(world.parameters.max_bandwidth < 1 << 20, "{:?}", world.parameters);
        },
        then: |world| {
            world.runs = false;
            world.step(Input::Runs(false));
            assert_eq!(world.parameters.max_bandwidth, USER.max_bandwidth);
        },
        expected: &["QueryQemu", "SetParameters"],
        not_expected: &["Release", "Warn", "Redirty"],
        phase: SkipPhase::Restoring,
    },
    Case {
        name: "the library has re-dirtied everything by itself, and the destination is silent",
        before: |world| {
            world.hash(16, 100);
            world.runs = false;
            world.sync();
        },
        then: |world| {
            world.now += SILENCE * 2;
            world.look();
        },
        expected: &["Notify", "StopReading", "SetParameters", "Release"],
        not_expected: &["Warn", "Redirty"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "QEMU fails while it is to be throttled",
        before: |world| {
            world.status_is("failed");
            world.migration.ram.mbps = 0.0;
        },
        then: |world| world.query(),
        expected: &["End"],
        not_expected: &["SetParameters", "Release"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "somebody has QEMU wait before the switchover: it is for him to go on",
        before: |world| {
            world.settle_all();
            world.look();
            world.status_is("pre-switchover");
            world.commands.clear();
        },
        then: |world| {
            world.query();
            world.query();
            assert_eq!(world.commands, ["Warn"], "it is said once");
        },
        expected: &["Warn"],
        not_expected: &["SetParameters"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "somebody cancels it in the moment that its time is up",
        before: |world| {
            soon(world);
            world.now += SILENCE / 2;
        },
        then: |world| {
            world.step(Input::Cancel("enough".to_owned()));
            let count = world.commands.iter().filter(|command| *command == "CancelMigration");
            assert_eq!(count.count(), 1, "{:?}", world.commands);
        },
        expected: &["Warn", "CancelMigration", "Disarm", "Redirty"],
        not_expected: &["Release"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "cancelled after the rest was re-dirtied",
        before: |world| world.step(Input::ChannelGone(None)),
        then: |world| world.step(Input::Cancel("enough".to_owned())),
        expected: &["Warn", "CancelMigration"],
        not_expected: &["StopReading", "Disarm", "Redirty", "Release"],
        phase: SkipPhase::Redirtying,
    },
    Case {
        name: "QEMU says that it is over in the moment that its time is up",
        before: |world| {
            world.settle_all();
            world.look();
            soon(world);
            world.now += SILENCE;
        },
        then: |world| {
            world.status_is("completed");
            world.step(Input::Stage(Stage::Completed));
        },
        expected: &["QueryQemu", "End"],
        not_expected: &["CancelMigration", "Warn"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "it has completed when the VM may be stopped for longer",
        before: |world| {
            world.settle_all();
            world.look();
            world.sync();
            world.query();
            world.now += SILENCE;
            world.status_is("completed");
        },
        then: |world| world.query(),
        expected: &["End"],
        not_expected: &["SetParameters"],
        phase: SkipPhase::Released,
    },
    Case {
        name: "somebody has QEMU wait before the switchover, and it is cancelled",
        before: |world| {
            world.settle_all();
            world.look();
            world.step(Input::Cancel("enough".to_owned()));
            world.status_is("pre-switchover");
        },
        then: |world| world.query(),
        expected: &[],
        not_expected: &["Warn", "SetParameters"],
        phase: SkipPhase::Released,
    },
];

#[test]
fn the_first_that_applies_decides() {
    for case in CASES {
        let mut world = World::restoring(false);
        (case.before)(&mut world);
        world.commands.clear();
        (case.then)(&mut world);
        let (name, commands) = (case.name, &world.commands);
        assert!(
            in_order(commands, case.expected),
            "{name}: {commands:?}, and not {:?}",
            case.expected
        );
        let wrong = commands.iter().find(|command| case.not_expected.contains(&command.as_str()));
        assert_eq!(wrong, None, "{name}: {commands:?}");
        assert_eq!(world.phase(), case.phase, "{name}");
    }
}

/// Pages that change over have the link with the same answer of QEMU: the throttle is looked at after the load split.
#[test]
fn load_is_split_before_it_is_throttled() {
    // Of the size that is worth a pass.
    let mut world = World::restoring(true);
    let skip = world.controller.skip.as_mut().unwrap();
    skip.ledger = Ledger::new(1 << 20);
    skip.task.pages = 1 << 20;
    let step = |world: &mut World, millis: u64| {
        world.now += Duration::from_millis(millis);
        let mut migration = world.migration.clone();
        migration.ram = ram(0, 1 << 16);
        migration.ram.dirty_sync_count = 9;
        let migration = Box::new(migration);
        world.controller.step(world.now, Input::Qemu { migration, channel_has_room: true })
    };
    let mut commands = Vec::new();
    // Until storage has settled nothing for so long that the network is tried.
    for _ in 0..40 {
        commands = step(&mut world, 100);
        if commands.iter().any(|command| matches!(command, Command::Redirty(_))) {
            break;
        }
    }
    let redirtied = commands.iter().position(|command| matches!(command, Command::Redirty(_)));
    let throttled =
        commands.iter().position(|command| matches!(command, Command::SetParameters(_)));
    assert!(redirtied.is_some() && redirtied < throttled, "{commands:?}");
    assert_eq!(world.controller.bandwidth, Bandwidth::Full);
}

/// It is said of a QEMU that is free to catch up, and that somebody still waits for.
#[test]
fn convergence_is_looked_at_last() {
    type Before = fn(&mut World);
    let cases: [(&str, Before, bool); 3] = [
        ("released", |_| {}, true),
        (
            "throttled",
            |world| world.controller.skip.as_mut().unwrap().phase = SkipPhase::Restoring,
            false,
        ),
        ("cancelled", |world| world.step(Input::Cancel("enough".to_owned())), false),
    ];
    for (name, before, expected) in cases {
        let mut world = World::restoring(false);
        world.settle_all();
        world.look();
        before(&mut world);
        world.commands.clear();
        for look in 0..80 {
            world.now += Duration::from_millis(100);
            if look % 10 == 0 {
                world.sync();
            }
            world.migration.ram.dirty_pages_rate = 10_000;
            world.migration.ram.pages_per_second = 1000;
            world.query();
        }
        let is_warned = world.commands.iter().any(|command| command == "Warn");
        assert_eq!(is_warned, expected, "{name}: {:?}", world.commands);
    }
}

/// The hint is looked at before the clock.
#[test]
fn a_hint_that_comes_at_the_last_moment_counts() {
    let mut world = World::new(false);
    world.sync();
    world.now += skip::HINT * 2;
    world.look();
    assert_eq!(world.phase(), SkipPhase::Restoring);
    assert!(!world.commands.iter().any(|command| command == "Warn"), "{:?}", world.commands);
}

/// QEMU that has not measured its bandwidth would switch over without another sync, and so without what is re-dirtied.
#[test]
fn what_is_redirtied_is_taken_up_before_the_release() {
    let mut world = World::new(false);
    world.sync();
    world.sync();
    world.look();
    world.settle_all();
    world.look();
    assert_eq!(world.phase(), SkipPhase::Redirtying, "four pages cannot be read");
    world.sync();
    world.pass_time(Duration::from_millis(10));
    assert!(world.released);
}

/// QEMU tells of the migration that has brought the VM here, until it is told to migrate: that one has completed. Arming takes a busy
/// machine long enough for a question, and the destination says something meanwhile.
#[test]
fn nothing_is_asked_before_qemu_migrates() {
    let mut world = World::armed(false);
    world.status_is("completed");
    for _ in 0..3 {
        world.now += Duration::from_millis(200);
        world.peer_sends(Message::Progress(Progress::default()));
        world.step(Input::Runs(true));
        world.look();
    }
    assert!(!world.ended && world.commands == ["SetParameters"], "{:?}", world.commands);
    world.status_is("setup");
    world.step(Input::Begun);
    world.pass_time(Duration::from_millis(200));
    assert!(world.commands.iter().any(|command| command == "QueryQemu"), "{:?}", world.commands);
}

/// What QEMU sends in its first pass is no reason to give it pages that are not skipped yet.
#[test]
fn nothing_changes_over_before_the_hint() {
    let mut world = World::new(true);
    for look in 0..60 {
        world.now += Duration::from_millis(100);
        world.migration.ram = ram(0, look << 12);
        world.query();
    }
    assert!(!world.commands.iter().any(|command| command == "Redirty"), "{:?}", world.commands);
}

/// What is not to be said is not sent to QEMU either: the destination would read what the network brings.
#[test]
fn nothing_changes_over_while_the_channel_is_full() {
    let mut world = World::restoring(true);
    world.channel = false;
    for _ in 0..60 {
        world.now += Duration::from_millis(100);
        world.query();
    }
    assert!(!world.commands.iter().any(|command| command == "Redirty"), "{:?}", world.commands);
    assert_eq!(world.skip().ledger.outstanding(), u64::from(PAGES) - 4);
}

//! Whatever happens in whatever order: each page whose hash came has one answer, no device is asked for more than there
//! are buffers or while it stalls, and all of it has an end.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::super::*;
use super::{DEVICES, PAGES, RUN, range, set};
use crate::channel::NotInstalled;
use crate::dest::restore::Limits;
use crate::storage;

const PATIENCE: Duration = Duration::from_secs(5);
const WAITS: Duration = Duration::from_secs(120);
const BUFFERS: usize = 5;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    Time(u64),
    Hashes(Range<u32>),
    Leave(u32, u32),
    /// A device answers the read of this number, modulo those under way.
    Answers(usize, bool),
    /// What came was proven, or that ended badly.
    Verified(usize, bool),
}

fn event() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3000_u64).prop_map(Happening::Time),
        1 => (0..200_000_u64).prop_map(Happening::Time),
        6 => (0..PAGES + 4, 1..40_u32).prop_map(|(first, count)| Happening::Hashes(first..first + count)),
        1 => (0..PAGES, 1..40_u32).prop_map(|(first, count)| Happening::Leave(first, count)),
        8 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(n, ok)| Happening::Answers(n, ok)),
        8 => (any::<usize>(), prop::bool::weighted(0.95)).prop_map(|(n, ok)| Happening::Verified(n, ok)),
    ]
}

/// A feed, and what devices and pages it has.
struct World {
    feed: Feed,
    now: Instant,
    waits: Duration,
    /// Reads that the device has not answered: which, since when, and how many bytes.
    requested: Vec<(ReadId, u16, u64)>,
    verifying: Vec<(ReadId, Job)>,
    hashed: Vec<bool>,
    /// Left before they were read, perhaps.
    left: Vec<bool>,
    fates: BTreeMap<u32, Fate>,
    /// Devices that have said nothing for the patience, with a read that was given up.
    silent: [bool; DEVICES as usize],
}

impl World {
    fn new(waits: Duration) -> Self {
        let requests = storage::RequestLimits { request_bytes: 16 << 12, gap_bytes: 64 << 10 };
        let limits = Limits { requests, buffers: BUFFERS, patience: PATIENCE, waits, workers: 1 };
        let names = (0..DEVICES).map(|number| (number + 1 < DEVICES).then(|| number.to_string()));
        let now = Instant::now();
        Self {
            feed: Feed::new(set(), names.collect(), limits, now),
            now,
            waits,
            requested: Vec::new(),
            verifying: Vec::new(),
            hashed: vec![false; PAGES as usize],
            left: vec![false; PAGES as usize],
            fates: BTreeMap::new(),
            silent: [false; DEVICES as usize],
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Read { id, device, bytes, .. } => {
                    assert!(device + 1 < DEVICES, "one that cannot be read is asked");
                    assert!(!self.silent[usize::from(device)], "one that stalls is asked");
                    self.requested.push((id, device, bytes));
                }
                Action::Answer(answers) => {
                    for (fate, pages) in answers {
                        for page in pages.first..pages.first + pages.count {
                            assert!(self.hashed[page as usize], "{page} had no hash");
                            let before = self.fates.insert(page, fate);
                            assert_eq!(before, None, "{page} has a second answer: {fate:?}");
                            let device = (page / RUN) as usize % usize::from(DEVICES);
                            self.silent[device] |=
                                fate == Fate::NotInstalled(NotInstalled::TooLate);
                        }
                    }
                }
            }
        }
        assert!(self.requested.len() + self.verifying.len() <= BUFFERS, "more reads than buffers");
    }

    fn step(&mut self, event: &Happening) {
        let mut out = Vec::new();
        match event.clone() {
            Happening::Time(ms) => {
                self.now += Duration::from_millis(ms);
                self.feed.tick(self.now, &mut out);
            }
            Happening::Hashes(pages) => {
                let numbers = pages.start as usize..(pages.end.min(PAGES)) as usize;
                let fits = pages.end <= PAGES && !self.hashed[numbers.clone()].contains(&true);
                let hashes = vec![[0; 32]; pages.len()];
                // Answers may come at once, of a device that cannot be read.
                let before = fits.then(|| self.hashed[numbers].fill(true));
                let taken = self.feed.hashes(self.now, pages.start, &hashes, &mut out);
                assert_eq!(taken.is_ok(), before.is_some(), "{pages:?}: {taken:?}");
            }
            Happening::Leave(first, count) => {
                self.feed.leave(&[range(first, count)]);
                let end = (first + count).min(PAGES) as usize;
                self.left[first as usize..end].fill(true);
            }
            Happening::Answers(number, ok) if !self.requested.is_empty() => {
                let (id, device, bytes) = self.requested.swap_remove(number % self.requested.len());
                self.silent[usize::from(device)] = false;
                let bytes = usize::try_from(bytes).unwrap();
                let answer = if ok { Ok(bytes) } else { Err(InstallTrouble::NoDevice) };
                if let Some(job) = self.feed.read(self.now, id, answer, &mut out) {
                    assert!(ok, "nothing was read");
                    self.verifying.push((id, job));
                }
            }
            Happening::Verified(number, ok) if !self.verifying.is_empty() => {
                let (id, job) = self.verifying.swap_remove(number % self.verifying.len());
                let verified = Verified {
                    answers: job
                        .pages()
                        .into_iter()
                        .map(|pages| (Fate::Installed, pages))
                        .collect(),
                    counters: Counters::default(),
                };
                let panic = || InstallTrouble::VerifyFailed(std::io::Error::other("panic"));
                let verified = ok.then_some(verified).ok_or_else(panic);
                self.feed.verified(self.now, id, verified, &mut out);
            }
            Happening::Answers(..) | Happening::Verified(..) => {}
        }
        self.take(out);
    }

    /// All that has a hash and was not left has an answer.
    fn assert_all_answered(&self) {
        for page in 0..PAGES {
            let index = page as usize;
            if self.hashed[index] && !self.left[index] {
                assert!(self.fates.contains_key(&page), "{page} has no answer");
            }
        }
        assert_eq!(self.feed.progress().queued, 0);
    }
}

/// What is under way ends, and devices answer.
fn end_well(world: &mut World) {
    for _ in 0..10_000 {
        if world.requested.is_empty() && world.verifying.is_empty() {
            break;
        }
        world.step(&Happening::Answers(0, true));
        world.step(&Happening::Verified(0, true));
    }
}

proptest! {
    #[test]
    fn each_page_has_one_answer(events in prop::collection::vec(event(), 0..120), shares: bool) {
        let mut world = World::new(if shares { WAITS } else { Duration::ZERO });
        events.iter().for_each(|event| world.step(event));
        end_well(&mut world);
        world.assert_all_answered();
    }

    /// Devices that never answer again, from whatever state: it ends by the clock alone.
    #[test]
    fn silence_has_an_end(events in prop::collection::vec(event(), 0..120), shares: bool) {
        let mut world = World::new(if shares { WAITS } else { Duration::ZERO });
        events.iter().for_each(|event| world.step(event));
        end_in_silence(&mut world);
        world.assert_all_answered();
    }
}

/// No device answers any more.
fn end_in_silence(world: &mut World) {
    while !world.verifying.is_empty() {
        world.step(&Happening::Verified(0, true));
    }
    let end = world.now + world.waits + PATIENCE * 16;
    while world.now < end {
        world.step(&Happening::Time(500));
    }
}

/// It has answered one of its late reads and lost that buffer to the other device; those that it keeps belong to reads that nobody wants
/// any more. (Found by the property above.)
#[test]
fn a_device_that_keeps_all_its_buffers_has_an_end() {
    let mut world = World::new(WAITS);
    let late = [
        Happening::Hashes(63..80),
        Happening::Hashes(187..217),
        Happening::Hashes(0..21),
        Happening::Time(5000),
    ];
    late.iter().for_each(|event| world.step(event));
    for number in [4756387286443212905, 574877524123979005] {
        world.step(&Happening::Answers(number, false));
    }
    end_in_silence(&mut world);
    world.assert_all_answered();
}

/// One device that stalls costs the other nothing.
#[test]
fn the_other_device_goes_on() {
    let mut world = World::new(WAITS);
    world.step(&Happening::Hashes(0..PAGES));
    let of = |world: &World, device| world.requested.iter().position(|(_, of, _)| *of == device);
    for _ in 0..100 {
        world.step(&Happening::Time(1000));
        if let Some(read) = of(&world, 1) {
            world.step(&Happening::Answers(read, true));
            world.step(&Happening::Verified(0, true));
        }
    }
    let pages = |fate| world.fates.values().filter(|own| **own == fate).count();
    let third = PAGES as usize / 3;
    assert_eq!(pages(Fate::Installed), third, "all of the second device's");
    assert_eq!(
        pages(Fate::NotInstalled(NotInstalled::ReadFailed)),
        third,
        "all of the third one's"
    );
    assert!(
        world.silent[0] && pages(Fate::NotInstalled(NotInstalled::TooLate)) < third,
        "the others wait"
    );
    // And they are read when it answers.
    let read = of(&world, 0).unwrap();
    world.step(&Happening::Answers(read, true));
    end_well(&mut world);
    world.assert_all_answered();
}

proptest! {
    /// A source that sends what it likes, beside a QEMU with no migration, and nothing installed: it is left in time, and
    /// nothing is commanded after the end but what is still to be said.
    #[test]
    fn a_source_has_an_end(inputs in prop::collection::vec((0..6_u8, 0..PAGES, 1..40_u32, 0..3000_u64), 0..200)) {
        let silence = Duration::from_secs(60);
        let mut now = Instant::now();
        let begun = now;
        let mut controller = Controller::new(PAGES.into(), silence, now);
        controller.phase = Phase::Preparing;
        controller.step(now, Input::Ready { pages: PAGES });
        let (mut ended, mut gathered, mut reported) = (false, 0, 0);
        let mut work = inputs.into_iter();
        while !ended && now < begun + silence * 3 {
            let (kind, first, count, ms) = work.next().unwrap_or((0, 0, 1, 500));
            now += Duration::from_millis(ms);
            let input = match kind {
                1 => Input::Peer(Message::Hashes { first, hashes: vec![[0; 32]; 2] }),
                2 => Input::Peer(Message::Redirtied(vec![range(first, count)])),
                3 => { gathered += count; Input::Answers(vec![(Fate::NotInstalled(NotInstalled::Differs), range(first, count))]) }
                _ => Input::Tick { progress: Progress::default(), has_room: kind == 0 },
            };
            let mut commands = controller.step(now, input);
            if commands.iter().any(|command| matches!(command, Command::QueryQemu)) {
                commands.extend(controller.step(now, Input::Incoming(Some(IncomingState::Inactive))));
            }
            for command in commands {
                match command {
                    Command::Send(Message::NotInstalled(_, ranges)) => {
                        reported += ranges.iter().map(|range| range.count).sum::<u32>();
                    }
                    Command::Fail(_) => ended = true,
                    _ => prop_assert!(!ended),
                }
            }
        }
        prop_assert!(ended, "it is served for ever");
        prop_assert!(reported <= gathered, "more is reported than there was");
        prop_assert!(controller.step(now, Input::Peer(Message::OfferEnd)).is_empty());
    }
}

//! Each decision by itself, and which one goes first where several apply.

use super::super::*;
use super::{PAGES, offer, range, runs};
use crate::channel::NotInstalled;

const SILENCE: Duration = Duration::from_secs(10);

/// A controller, and its clock.
struct World {
    controller: Controller,
    now: Instant,
}

impl World {
    fn greeted() -> Self {
        let now = Instant::now();
        Self { controller: Controller::new(PAGES.into(), SILENCE, now), now }
    }

    fn restoring() -> Self {
        let mut world = Self::greeted();
        world.controller.phase = Phase::Preparing;
        assert_eq!(world.step(Input::Ready { pages: PAGES }), "");
        world
    }

    /// What it says to do, in short.
    fn step(&mut self, input: Input) -> String {
        let commands = self.controller.step(self.now, input);
        commands.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn peer(&mut self, message: Message) -> String {
        self.step(Input::Peer(message))
    }

    /// Time goes by.
    fn wait(&mut self, time: Duration, installed: u64, has_room: bool) -> String {
        self.now += time;
        let progress = Progress { installed, ..Progress::default() };
        self.step(Input::Tick { progress, has_room })
    }
}

fn name(command: &Command) -> String {
    match command {
        Command::Prepare(offered) => match &offered.1 {
            Ok(set) => format!("prepare {}", set.pages()),
            Err(refusal) => format!("refuse: {refusal}"),
        },
        Command::Restore { first, hashes } => format!("restore {first}+{}", hashes.len()),
        Command::Leave(ranges) => format!("leave {}", ranges.len()),
        Command::Send(Message::Installed(ranges)) => format!("installed {}", ranges.len()),
        Command::Send(Message::NotInstalled(_, ranges)) => {
            format!("not installed {}", ranges.len())
        }
        Command::Send(message) => format!("send {}", name_of(message)),
        Command::Observe(_) => "observe".into(),
        Command::QueryQemu => "ask".into(),
        Command::Finish(_) => "finish".into(),
        Command::Fail(error) => format!("fail: {error}"),
    }
}

fn finish() -> Message {
    Message::Finish(Finish { status: "completed".into(), reason: None, begun_unix_s: 0.0 })
}

fn hashes(first: u32) -> Message {
    Message::Hashes { first, hashes: vec![[0; 32]; 4] }
}

#[test]
fn an_offer_is_as_long_as_it_says_and_no_longer_than_qemu() {
    let count = runs().len() as u64;
    let cases: [(u64, Vec<Message>, &str); 6] = [
        (count, vec![Message::Runs(runs()), Message::OfferEnd], "prepare 240"),
        (count, vec![Message::OfferEnd], "fail: the source offered 12 runs and sent 0"),
        (1, vec![Message::Runs(runs())], "fail: the source offered 1 runs and sent 12"),
        (count, vec![hashes(0)], "fail: the source sent hashes instead of runs of its offer"),
        (0, vec![finish()], "fail: the source sent the end instead of runs of its offer"),
        (
            2 * count,
            vec![Message::Runs(runs()), Message::Runs(runs()), Message::OfferEnd],
            "refuse: ",
        ),
    ];
    for (runs, output, expected) in cases {
        let mut world = World::greeted();
        assert_eq!(world.peer(Message::Offer(offer(runs))), "");
        let done: Vec<_> = output.into_iter().map(|message| world.peer(message)).collect();
        assert!(done.last().unwrap().starts_with(expected), "{done:?}, not {expected}");
    }
    assert!(World::greeted().peer(Message::OfferEnd).contains("instead of an offer"));
}

#[test]
fn an_offer_has_a_time_to_begin_and_one_to_end() {
    let mut world = World::greeted();
    assert_eq!(world.wait(Duration::from_secs(9), 0, false), "");
    assert!(world.wait(Duration::from_secs(1), 0, false).contains("without an offer"));
    let mut world = World::greeted();
    world.now += Duration::from_secs(9);
    world.peer(Message::Offer(offer(1000)));
    // Whoever says something all the time takes no longer.
    for _ in 0..59 {
        world.now += Duration::from_secs(1);
        assert_eq!(world.peer(Message::Runs(Vec::new())), "");
    }
    world.now += Duration::from_secs(1);
    let output = world.peer(Message::Runs(Vec::new()));
    assert!(output.contains("60 s went by without all of its offer"), "{output}");
    assert_eq!(world.peer(Message::OfferEnd), "", "nothing after the end");
}

#[test]
fn each_page_is_left_once() {
    let mut world = World::restoring();
    assert_eq!(world.peer(Message::Redirtied(vec![range(0, PAGES - 1)])), "leave 1");
    assert_eq!(world.peer(Message::Redirtied(vec![range(0, 1)])), "leave 1");
    assert!(
        world.peer(Message::Redirtied(vec![range(0, 1)])).starts_with("fail: the source leaves")
    );
}

#[test]
fn what_is_said_out_of_turn_ends_it() {
    for message in [Message::OfferEnd, Message::Installed(vec![range(0, 1)]), Message::Runs(runs())]
    {
        let output = World::restoring().peer(message);
        assert!(output.starts_with("fail: the source sent"), "{output}");
    }
    let mut world = World::greeted();
    world.step(Input::Refused);
    assert_eq!(world.peer(hashes(0)), "", "it knows that nothing comes of it");
    assert_eq!(world.peer(finish()), "finish");
}

#[test]
fn answers_are_gathered_and_wait_for_room() {
    let mut world = World::restoring();
    let differs = Fate::NotInstalled(NotInstalled::Differs);
    let answers = vec![
        (Fate::Installed, range(4, 4)),
        (differs, range(8, 1)),
        (Fate::Installed, range(0, 4)),
    ];
    assert_eq!(world.step(Input::Answers(answers)), "");
    assert_eq!(world.wait(Duration::from_millis(4), 0, true), "", "too soon");
    assert_eq!(world.wait(Duration::from_millis(2), 0, false), "", "no room");
    assert_eq!(world.wait(Duration::from_millis(1), 0, true), "installed 1, not installed 1");
    assert_eq!(world.wait(Duration::from_millis(10), 0, true), "", "once");
    assert_eq!(world.wait(Duration::from_millis(200), 0, true), "send progress, observe");
}

#[test]
fn the_end_goes_first_and_answers_still_come() {
    let mut world = World::restoring();
    world.step(Input::Answers(vec![(Fate::Installed, range(0, 4))]));
    assert_eq!(world.peer(finish()), "finish");
    // The source has lost its interest in all else, and so has the clock.
    assert_eq!(world.peer(hashes(0)), "");
    assert_eq!(world.wait(SILENCE * 10, 0, true), "");
    world.step(Input::Answers(vec![(Fate::Installed, range(4, 4))]));
    assert_eq!(world.step(Input::AnswersEnded), "installed 1");
    assert_eq!(world.step(Input::AnswersEnded), "");
}

#[test]
fn hashes_that_were_not_taken_end_it() {
    let mut world = World::restoring();
    assert_eq!(world.peer(hashes(8)), "restore 8+4");
    let error = QueueError::Beyond { first: 8, count: 4, pages: 1 };
    assert!(world.step(Input::HashesRefused(error)).starts_with("fail: the source sent hashes"));
}

/// A source that is left gets no more messages, whatever happens.
#[test]
fn nothing_is_commanded_after_a_failure() {
    let mut world = World::restoring();
    world.step(Input::Answers(vec![(Fate::Installed, range(0, 4))]));
    let error = QueueError::Beyond { first: 8, count: 4, pages: 1 };
    assert!(world.step(Input::HashesRefused(error)).starts_with("fail: "));
    assert_eq!(world.wait(SILENCE * 10, 4, true), "");
    assert_eq!(world.peer(hashes(0)), "");
    assert_eq!(world.step(Input::AnswersEnded), "");
}

/// Whatever it says: only work counts, and a migration that comes in.
#[test]
fn a_source_that_talks_and_does_nothing_is_left() {
    let mut world = World::restoring();
    for page in 0..40 {
        world.now += SILENCE / 50;
        assert_eq!(world.peer(hashes(page * 4)), format!("restore {}+4", page * 4));
    }
    assert_eq!(world.wait(SILENCE / 10, 0, false), "observe");
    assert_eq!(world.wait(SILENCE / 10, 0, false), "observe, ask");
    assert_eq!(world.wait(SILENCE / 10, 0, false), "observe", "it is asked once at a time");
    assert_eq!(world.step(Input::Incoming(Some(IncomingState::Active))), "");
    assert_eq!(world.wait(SILENCE, 0, false), "observe, ask");
    let output = world.step(Input::Incoming(Some(IncomingState::Inactive)));
    assert!(output.contains("10 s went by without anything of use"), "{output}");
}

/// Pages that were settled while QEMU was asked count before its answer.
#[test]
fn work_goes_before_silence() {
    let mut world = World::restoring();
    assert_eq!(world.wait(SILENCE, 0, false), "observe, ask");
    assert_eq!(world.wait(SILENCE / 10, 1, false), "observe");
    let output = world.step(Input::Incoming(Some(IncomingState::Inactive)));
    assert!(output.contains("without a migration"), "the reason is the other one: {output}");
    let mut world = World::restoring();
    assert_eq!(world.wait(SILENCE, 1, false), "observe", "it has worked meanwhile");
}

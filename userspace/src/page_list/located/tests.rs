//! Pages of a list, their frames and the runs they make.

use page_wire::{Device, Facts, List};

use super::*;

fn run(gfn: u64, frames: u32, unit: u64) -> Run {
    Run::new(gfn, frames, 0, unit).unwrap()
}

fn whole(unit: u64, slot: u32) -> Whole {
    Whole::new(0, unit, slot).unwrap()
}

fn runs(located: &Located) -> Vec<Run> {
    let mut runs = Vec::new();
    let Ok(()) = located.each_run(|run| {
        runs.push(run);
        Ok::<(), Infallible>(())
    });
    runs
}

#[test]
fn scattered_and_contiguous_frames_make_the_runs_they_are() {
    let table = [7, 8, 20, 21, 22, 23, 24, 25, 30, 0, 32, 33].map(Frame::from_number);
    let mut located = Located {
        whole: vec![whole(0, 0), whole(32, 1), whole(64, 2), whole(96, 3)],
        frames: Vec::new(),
        pieces: vec![run(100, 1, 16)],
        cut: 1,
        per_page: 4,
        ..Located::default()
    };
    // Slot 2 lacks a frame, slot 3 is not in the table.
    let noted = Judged::of_slots(4, 0);
    (0..4).for_each(|slot| noted.note(slot, 0));
    let mut left_out = LeftOut::default();
    located.gather(&table, true, &noted, &mut left_out);
    assert_eq!(left_out.names()["frame-absent"], 2);
    assert_eq!([0, 1, 2, 3].map(|slot| noted.has(slot)), [true, true, false, false]);
    let runs = runs(&located);
    assert_eq!(located.count_runs(), runs.len() as u64);
    let mut written = vec![0; runs.len() * RUN_BYTES];
    located.write_runs(&mut written).unwrap();
    let mut wanted = Vec::new();
    let mut encoder = Encoder::part(&mut wanted, runs.len() as u64);
    runs.iter().for_each(|run| encoder.push(*run).unwrap());
    encoder.finish().unwrap();
    assert_eq!(written, wanted);
    // 7-8 at unit 0, 20-21 at 16 (where the piece also claims to be), 22-25 at 32.
    assert!(runs.contains(&run(7, 2, 0)));
    assert!(runs.contains(&run(100, 1, 16)));
    assert_eq!(runs.iter().map(Run::frames).sum::<u32>(), 9);
    assert_eq!(located.pages(), 3);
}

#[test]
fn frames_are_gathered_again_when_they_moved_or_a_page_left() {
    let mut table = [10, 11, 20, 21, 30, 31].map(Frame::from_number);
    let noted = Judged::of_slots(3, 0);
    (0..3).for_each(|slot| noted.note(slot, 0));
    let mut located = Located {
        whole: vec![whole(0, 2), whole(100, 0), whole(200, 1)],
        per_page: 2,
        ..Located::default()
    };
    let mut left_out = LeftOut::default();
    let mut list = |located: &mut Located, table: &[Frame], moved| {
        located.gather(table, moved, &noted, &mut left_out);
        let runs = runs(located);
        assert_eq!(located.count_runs(), runs.len() as u64);
        runs
    };
    let first = list(&mut located, &table, true);
    assert_eq!(first, [run(30, 2, 0), run(10, 2, 100), run(20, 2, 200)]);
    table[0] = Frame::from_number(50);
    assert_eq!(list(&mut located, &table, false), first, "nobody said that it moved");
    assert_eq!(list(&mut located, &table, true)[1..3], [run(50, 1, 100), run(11, 1, 108)]);
    noted.forget(2);
    located.retain(&noted);
    assert_eq!(list(&mut located, &table, false).len(), 3);
    assert_eq!(located.pages(), 2);
    // One comes before, one between and one behind; one of them lacks a frame.
    let more = [60, 61, 70, 71, 80, 0].map(Frame::from_number);
    let table: Vec<Frame> = table.into_iter().chain(more).collect();
    (3..6).for_each(|slot| noted.note(slot, 0));
    let added = [whole(50, 3), whole(150, 4), whole(250, 5)];
    located.merge(&added, &table, &noted, &mut LeftOut::default());
    let merged = list(&mut located, &table, false);
    let wanted =
        [run(60, 2, 50), run(50, 1, 100), run(11, 1, 108), run(70, 2, 150), run(20, 2, 200)];
    assert_eq!(merged, wanted);
    assert!(!noted.has(5));
    assert_eq!(list(&mut located, &table, true), wanted, "as if all had been gathered anew");
}

/// The list's own bytes, held against its parser.
fn parsed(located: &mut Located) -> Result<usize, page_wire::ListError> {
    let facts = Facts { page_size: 8192, pages: located.pages(), begun_ns: 0, done_ns: 0 };
    let devices = [Device::Disk("vda".to_owned())];
    let count = located.count_runs();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, &facts, &devices, count).unwrap();
    runs(located).into_iter().for_each(|run| encoder.push(run).unwrap());
    encoder.finish().unwrap();
    List::parse(&bytes, page_wire::Bounds::ANY).map(|list| list.runs().count())
}

#[test]
fn a_page_that_moved_to_another_slot_is_listed_once_or_not_at_all() {
    // Scattered frames, so that a page is several runs.
    let table: Vec<Frame> = (1..=12).map(|n| Frame::from_number(n * 10)).collect();
    let noted = Judged::of_slots(6, 0);
    let note_all = || (0..6).for_each(|slot| noted.note(slot, 0));
    let has_all = || [0, 1, 2, 3, 4, 5].map(|slot| noted.has(slot));
    let mut left_out = LeftOut::default();
    let mut located = Located { per_page: 2, ..Located::default() };
    let mut list = |located: &mut Located, added: &[Whole], moved| {
        note_all();
        located.put(added.to_vec(), &table, &noted, &mut left_out);
        located.gather(&table, moved, &noted, &mut left_out);
        let parsed = parsed(located).unwrap();
        (parsed, left_out.names().get("unsettled").copied())
    };
    // Seen twice in one scan.
    let found = list(&mut located, &[whole(0, 0), whole(100, 1), whole(100, 3)], true);
    assert_eq!(found, (2, Some(2)));
    assert_eq!(has_all(), [true, false, true, false, true, true]);
    // The next list finds the page of slot 0 in slot 2.
    assert_eq!(list(&mut located, &[whole(0, 2), whole(100, 3)], false), (4, Some(3)));
    assert_eq!(runs(&located)[..2], [run(50, 1, 0), run(60, 1, 8)], "where it is now");
    assert_eq!(has_all(), [false, true, true, true, true, true]);
    // One that was listed is found in two others.
    let added = [whole(50, 0), whole(100, 4), whole(100, 5), whole(150, 1)];
    assert_eq!(list(&mut located, &added, false), (6, Some(6)));
    assert_eq!(has_all(), [true, true, true, false, false, false]);
    assert_eq!(runs(&located)[..2], [run(50, 1, 0), run(60, 1, 8)]);
    let listed = runs(&located);
    assert_eq!(list(&mut located, &[], true).0, 6);
    assert_eq!(runs(&located), listed, "as if all had been gathered anew");
}

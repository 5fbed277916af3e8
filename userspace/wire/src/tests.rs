//! The list against itself, against a naive model, and against hostile bytes.

use page_number::MAX_RUN_PAGES;
use proptest::prelude::*;

use super::*;

fn devices() -> Vec<Device> {
    vec![Device::Disk("serial-1".into()), Device::ShareFile("/export/db/t1.ibd".into())]
}

fn sorted_and_merged(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut merger = Merger::default();
    let mut merged: Vec<Run> = runs.into_iter().filter_map(|run| merger.push(run)).collect();
    merged.extend(merger.finish());
    merged
}

fn written(facts: &Facts, devices: &[Device], runs: &[Run]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, facts, devices, runs.len() as u64, runs.iter().copied()).unwrap();
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        pages in proptest::collection::vec((0u64..1000, 0u16..2, 0u64..4000), 0..200),
    ) {
        let runs = pages.iter().map(|&(gfn, device, unit)| Run::new(gfn, 4, device, unit * 8).unwrap());
        let runs = sorted_and_merged(runs.collect());
        let facts = Facts { page_size: 16384, pages: 7, begun_ns: 1, done_ns: 2 };
        let bytes = written(&facts, &devices(), &runs);
        prop_assert_eq!(bytes.len() % 8, 0);
        let list = List::parse(&bytes, Bounds::ANY).unwrap();
        prop_assert_eq!(list.facts(), facts);
        prop_assert_eq!(list.devices(), devices());
        prop_assert_eq!(list.runs().collect::<Vec<_>>(), runs);
    }

    #[test]
    fn merging_keeps_every_frame_at_its_place(
        pages in proptest::collection::btree_set(0u64..300, 0..200),
    ) {
        // Frame n stands at unit 8n, shuffled by the set's order; gaps stay gaps.
        let runs = pages.iter().rev().map(|&n| Run::new(n, 1, 0, n * 8).unwrap());
        let runs = sorted_and_merged(runs.collect());
        let spread: Vec<u64> = runs
            .iter()
            .flat_map(|run| {
                assert_eq!(run.unit(), run.gfn() * 8);
                run.gfn()..run.gfn() + u64::from(run.frames())
            })
            .collect();
        prop_assert_eq!(&spread, &pages.iter().copied().collect::<Vec<_>>());
        let gaps = spread.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
        prop_assert_eq!(runs.len(), if spread.is_empty() { 0 } else { gaps + 1 });
    }

    #[test]
    fn hostile_bytes_never_panic(
        changes in proptest::collection::vec((0usize..200, any::<u8>()), 0..20),
        keep in 0usize..400,
    ) {
        let runs = [Run::new(1, 4, 0, 8).unwrap(), Run::new(9, 1, 1, 16).unwrap()];
        let mut bytes = written(&Facts::default(), &devices(), &runs);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(keep);
        if let Ok(list) = List::parse(&bytes, Bounds::ANY) {
            prop_assert!(list.runs().all(|run| usize::from(run.device()) < list.devices().len()));
        }
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    assert!(Run::new(1 << 40, 1, 0, 0).is_none());
    assert!(Run::new(0, 0, 0, 0).is_none());
    assert!(Run::new(0, MAX_RUN_PAGES + 1, 0, 0).is_none());
    assert!(Run::new(0, 1, 0, 1 << 48).is_none());
    let last = Run::new((1 << 40) - 1, MAX_RUN_PAGES, u16::MAX, (1 << 48) - 1).unwrap();
    assert_eq!((last.gfn(), last.frames()), ((1 << 40) - 1, MAX_RUN_PAGES));
    assert_eq!((last.device(), last.unit()), (u16::MAX, (1 << 48) - 1));
}

#[test]
fn each_fault_has_its_error() {
    let runs = [Run::new(1, 4, 0, 8).unwrap(), Run::new(9, 1, 1, 16).unwrap()];
    let good = written(&Facts::default(), &devices(), &runs);
    let broken = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        List::parse(&bytes, Bounds::ANY).unwrap_err()
    };
    assert_eq!(broken(0, 0), ListError::Magic);
    assert_eq!(broken(8, 9), ListError::Version { found: 9 });
    assert!(matches!(broken(14, 13), ListError::Unexpected { what: "frame size", .. }));
    assert!(matches!(broken(39, 255), ListError::TooMany { what: "runs", .. }));
    assert_eq!(broken(20, 3), ListError::Devices);
    assert_eq!(broken(20, 1), ListError::Devices, "what follows the last entry is none");
    let many = ListError::TooMany { what: "block devices", found: 200, most: 64 };
    assert_eq!(broken(20, 200), many);
    assert!(matches!(broken(26, 2), ListError::TooMany { what: "bytes of names", .. }));
    assert!(matches!(broken(good.len() - 2, 7), ListError::NoDevice { index: 1, device: 7, .. }));
    assert!(matches!(
        List::parse(&good[..good.len() - 1], Bounds::ANY),
        Err(ListError::Short { .. })
    ));
    let swapped = written(&Facts::default(), &devices(), &[runs[1], runs[0]]);
    assert_eq!(List::parse(&swapped, Bounds::ANY).unwrap_err(), ListError::Order { index: 1 });
}

#[test]
fn what_does_not_fit_the_bounds_is_not_written() {
    let refused = |devices: &[Device]| {
        encode(&mut Vec::new(), &Facts::default(), devices, 0, std::iter::empty()).unwrap_err()
    };
    let disk = |len: usize| Device::Disk("x".repeat(len));
    assert!(matches!(refused(&vec![disk(1); MAX_DEVICES + 1]), EncodeError::TooLong { .. }));
    assert!(matches!(refused(&[disk(MAX_NAME_BYTES + 1)]), EncodeError::TooLong { .. }));
    let most = vec![disk(MAX_NAME_BYTES); MAX_DEVICES];
    let bytes = written(&Facts::default(), &most, &[]);
    assert_eq!(bytes.len(), HEADER_BYTES + MAX_TABLE_BYTES);
    assert_eq!(List::parse(&bytes, Bounds::of_ram(0)).unwrap().devices(), most);
}

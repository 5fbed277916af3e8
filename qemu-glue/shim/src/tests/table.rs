//! Tables that are wrong: each is refused before anything is hinted.

use std::sync::atomic::Ordering::{Relaxed, Release};

use page_number::{MAX_SET_PAGES, MAX_SET_RUNS, PAGE_BYTES};
use shim_abi::{LibraryState, RefusalReason, RunEntry};

use super::{BLOCK_PAGES, Bench};

const NAMES: &[&str] = &["mem0", "mem1"];

fn run(block: u32, page: u64, first: u32, pages: u32) -> RunEntry {
    RunEntry { offset: page * PAGE_BYTES, first, pages, block, reserved: 0 }
}

fn refused(runs: &[RunEntry], pages: u32) -> Option<RefusalReason> {
    let mut bench = Bench::new();
    bench.arm_table(NAMES, runs, pages);
    bench.sync();
    assert_eq!((bench.state(), bench.hinted()), (LibraryState::Refused, vec![]));
    bench.reason()
}

#[test]
fn a_wrong_run_is_named() {
    let good = run(0, 300, 0, 2);
    let odd = RunEntry { offset: 4097, ..good };
    assert_eq!(refused(&[odd], 2), Some(RefusalReason::Unaligned(0)));
    assert_eq!(refused(&[good, run(0, 400, 2, 0)], 2), Some(RefusalReason::Unaligned(1)));
    assert_eq!(refused(&[good, run(2, 300, 2, 1)], 3), Some(RefusalReason::RunOfNoBlock(1)));
    assert_eq!(refused(&[good, run(0, BLOCK_PAGES, 2, 1)], 3), Some(RefusalReason::Beyond(1)));
    assert_eq!(refused(&[good, run(0, BLOCK_PAGES - 1, 2, 2)], 4), Some(RefusalReason::Beyond(1)));
    let last = RunEntry { offset: u64::MAX - 4095, ..run(0, 0, 2, 2) };
    assert_eq!(refused(&[good, last], 4), Some(RefusalReason::Beyond(1)));
    assert_eq!(refused(&[good, run(0, 301, 2, 1)], 3), Some(RefusalReason::Order(1)));
    assert_eq!(refused(&[run(1, 300, 0, 1), run(0, 300, 1, 1)], 2), Some(RefusalReason::Order(1)));
    assert_eq!(refused(&[run(0, 255, 0, 1)], 1), Some(RefusalReason::ThrottlePages));
}

#[test]
fn page_numbers_are_a_partition_of_the_set() {
    let good = run(0, 300, 0, 2);
    assert_eq!(refused(&[good, run(1, 300, 1, 2)], 4), Some(RefusalReason::Numbers(1)));
    assert_eq!(refused(&[good, run(1, 300, 63, 2)], 4), Some(RefusalReason::Numbers(1)));
    assert_eq!(refused(&[good, run(1, 300, u32::MAX, 2)], 4), Some(RefusalReason::Numbers(1)));
    // Within the last word of the bitmap, beyond the set.
    assert_eq!(refused(&[good, run(1, 300, 8, 2)], 4), Some(RefusalReason::Numbers(1)));
    assert_eq!(refused(&[good], 3), Some(RefusalReason::Missing(1)));
}

#[test]
fn counts_are_within_the_tables() {
    let refused = |change: fn(&Bench)| {
        let mut bench = Bench::new();
        bench.arm(&[(0, 300, 1)]);
        change(&bench);
        bench.sync();
        bench.reason()
    };
    let counts = Some(RefusalReason::Counts);
    assert_eq!(refused(|bench| bench.control.blocks.store(0, Relaxed)), counts);
    assert_eq!(refused(|bench| bench.control.blocks.store(33, Relaxed)), counts);
    assert_eq!(refused(|bench| bench.control.runs.store(0, Relaxed)), counts);
    assert_eq!(refused(|bench| bench.control.runs.store(MAX_SET_RUNS as u32 + 1, Relaxed)), counts);
    assert_eq!(refused(|bench| bench.control.pages.store(MAX_SET_PAGES + 1, Release)), counts);
    // What the host has not written is a run of no pages.
    let empty = refused(|bench| bench.control.runs.store(2, Relaxed));
    assert_eq!(empty, Some(RefusalReason::Unaligned(1)));
}

#[test]
fn a_name_without_an_end_is_no_name() {
    let mut bench = Bench::new();
    let long = "m".repeat(256);
    bench.arm_table(&[&long], &[run(0, 300, 0, 1)], 1);
    bench.sync();
    assert_eq!(bench.reason(), Some(RefusalReason::UnknownBlock(0)));
}

//! Migrations on paper: two paths of given rates, QEMU's passes, and the law between them.

use super::*;

/// A number of bytes, which is neither negative nor large here.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

/// Seconds between two looks, where all goes well.
const LOOK: f64 = 0.1;
/// MiB in bytes.
const MIB: f64 = 1048576.0;

/// Rates in bytes per second at a moment in seconds.
type Rate = fn(f64) -> f64;

struct Paper {
    storage: Rate,
    network: Rate,
    /// Bytes of QEMU's first pass, of which the last part costs nothing (zero pages).
    first_pass: f64,
    zeros: f64,
    /// Bytes skipped.
    skipped: f64,
    /// Bytes that each sync after the first finds written again.
    again: f64,
}

#[derive(Debug)]
struct Outcome {
    seconds: f64,
    given: f64,
    /// Bytes sent again while storage still had work.
    again: f64,
}

/// Plays it; QEMU has a sync at the end of each pass, when it takes up what was given.
fn play(paper: &Paper) -> Outcome {
    play_seen(paper, |_| true)
}

/// Likewise; a look at a moment for which `seen` is false is not made.
fn play_seen(paper: &Paper, seen: fn(f64) -> bool) -> Outcome {
    let start = Instant::now();
    let mut split = LoadSplit::default();
    let (mut at, mut settled, mut sent, mut given) = (0.0, 0.0, 0.0, 0.0);
    let (mut pass, mut zeros, mut requested) = (paper.first_pass, paper.zeros, 0.0);
    // A pass that was given nothing is sent throttled: next to nothing.
    let (mut syncs, mut again, mut throttled) = (1, 0.0, false);
    let count = |bytes: f64| whole(bytes / 4096.0);
    let over = |settled: f64, given: f64, requested: f64, pass: f64, throttled: bool| {
        let qemu = requested + if throttled { 0.0 } else { pass };
        paper.skipped - settled - given <= 4096.0 && qemu <= 4096.0
    };
    while !over(settled, given, requested, pass, throttled) && at < 10_000.0 {
        settled = (settled + (paper.storage)(at) * LOOK).min(paper.skipped - given);
        if throttled && requested > 0.0 {
            (throttled, again) = (false, again + paper.again);
        }
        let full = pass > 0.0 && !throttled;
        let now = if full { ((paper.network)(at) * LOOK).min(pass) } else { 0.0 };
        sent += now;
        pass -= now;
        if pass <= 0.0 && (full || requested > 0.0) {
            zeros = 0.0;
            throttled = requested == 0.0;
            pass = std::mem::take(&mut requested) + paper.again;
            (syncs, again) = (syncs + 1, again + if throttled { 0.0 } else { paper.again });
        }
        at += LOOK;
        if !seen(at) {
            continue;
        }
        let outstanding = count(paper.skipped - settled - given);
        let pages = split.look(LoadSample {
            at: start + Duration::from_secs_f64(at),
            settled: count(settled),
            outstanding,
            sent: whole(sent),
            remaining: whole(pass + zeros + requested),
            full,
            syncs,
        });
        assert!(pages <= outstanding);
        split.given(pages);
        requested += real(pages) * 4096.0;
        given += real(pages) * 4096.0;
    }
    Outcome { seconds: at, given, again }
}

fn gigabit(_: f64) -> f64 {
    117.0 * MIB
}

fn four_gigabit(_: f64) -> f64 {
    468.0 * MIB
}

#[test]
fn equal_links_share_the_work() {
    let paper = Paper {
        storage: gigabit,
        network: gigabit,
        first_pass: 300.0 * MIB,
        zeros: 0.0,
        skipped: 1200.0 * MIB,
        again: 0.0,
    };
    let limit = 1500.0 * MIB / (2.0 * 117.0 * MIB);
    let outcome = play(&paper);
    assert!(outcome.seconds < 1.1 * limit, "{outcome:?}, the limit is {limit} s");
}

#[test]
fn the_faster_path_gets_more() {
    let paper = Paper {
        storage: four_gigabit,
        network: gigabit,
        first_pass: 300.0 * MIB,
        zeros: 500.0 * MIB,
        skipped: 4000.0 * MIB,
        again: 0.0,
    };
    let limit = 4300.0 / (5.0 * 117.0);
    let outcome = play(&paper);
    assert!(outcome.seconds < 1.1 * limit, "{outcome:?}, the limit is {limit} s");
    // A slow network that has enough of its own is given nothing.
    let paper = Paper { first_pass: 2000.0 * MIB, ..paper };
    assert_eq!(play(&paper).given, 0.0);
}

#[test]
fn a_guest_that_writes_the_same_again_costs_few_passes() {
    let paper = Paper {
        storage: gigabit,
        network: gigabit,
        first_pass: 440.0 * MIB,
        zeros: 0.0,
        skipped: 1120.0 * MIB,
        again: 100.0 * MIB,
    };
    let outcome = play(&paper);
    // Two passes after the first: one to see what comes again, and one for all the rest.
    assert!(outcome.again <= 200.0 * MIB, "{outcome:?}");
    let limit = (1560.0 + 200.0) / (2.0 * 117.0);
    assert!(outcome.seconds < 1.05 * limit, "{outcome:?}, the limit is {limit} s");
    // Next to nothing is left when it could be given: QEMU has enough to send again.
    let paper = Paper { skipped: 480.0 * MIB, ..paper };
    assert!(play(&paper).given < 60.0 * MIB, "{:?}", play(&paper));
}

#[test]
fn the_end_of_a_pass_that_nobody_sees_is_no_end() {
    let paper = Paper {
        storage: |_| 10.0 * MIB,
        network: |_| 25.0 * MIB,
        first_pass: 250.0 * MIB,
        zeros: 0.0,
        skipped: 400.0 * MIB,
        again: 10.0 * MIB,
    };
    let outcome = play_seen(&paper, |at| !(9.0..11.5).contains(&at));
    let limit = outcome.again.mul_add(1.0 / MIB, 650.0) / 35.0;
    assert!(outcome.seconds < 1.1 * limit, "{outcome:?}, the limit is {limit} s");
}

#[test]
fn a_storage_that_stalls_shifts_its_work() {
    let stalls = |at: f64| if (2.0..22.0).contains(&at) { 0.0 } else { 117.0 * MIB };
    let paper = Paper {
        storage: stalls,
        network: gigabit,
        first_pass: 300.0 * MIB,
        zeros: 0.0,
        skipped: 4000.0 * MIB,
        again: 0.0,
    };
    let outcome = play(&paper);
    // The network is never idle: 20 s of storage are missing.
    let limit = (4300.0 + 20.0 * 117.0) / (2.0 * 117.0);
    assert!(outcome.seconds < 1.1 * limit, "{outcome:?}, the limit is {limit} s");
    let never = Paper { storage: |at| if at < 1.5 { MIB } else { 0.0 }, ..paper };
    let outcome = play(&never);
    assert!(outcome.seconds < 1.1 * 4300.0 / 117.0, "{outcome:?}");
}

#[test]
fn a_network_that_becomes_slow_keeps_little() {
    let slow = |at: f64| if at < 4.0 { 117.0 * MIB } else { 11.7 * MIB };
    let paper = Paper {
        storage: gigabit,
        network: slow,
        first_pass: 200.0 * MIB,
        zeros: 0.0,
        skipped: 2000.0 * MIB,
        again: 0.0,
    };
    let outcome = play(&paper);
    // Storage alone would take 17 s; a slice of 0.5 s at the old rate takes 5 s at the new one.
    assert!(outcome.seconds < 21.0, "{outcome:?}");
    let fast = Paper { network: |at| if at < 4.0 { 11.7 * MIB } else { 117.0 * MIB }, ..paper };
    let outcome = play(&fast);
    assert!(outcome.seconds < 13.5, "{outcome:?}");
}

#[test]
fn a_first_pass_too_short_to_measure_is_no_end() {
    let paper = Paper {
        storage: gigabit,
        network: gigabit,
        first_pass: 10.0 * MIB,
        zeros: 0.0,
        skipped: 2000.0 * MIB,
        again: 0.0,
    };
    let outcome = play(&paper);
    assert!(outcome.given > 500.0 * MIB, "{outcome:?}");
}

proptest::proptest! {
    /// Whatever the rates, it ends not much later than with the better of both paths alone.
    #[test]
    fn sharing_is_never_much_worse_than_the_better_path(
        storage in 1_u32..2000,
        network in 1_u32..2000,
        first_pass in 1_u32..2000,
        skipped in 1_u32..8000,
    ) {
        // Rates are plain functions, so they are passed by thread.
        RATES.set((f64::from(storage) * MIB, f64::from(network) * MIB));
        let paper = Paper {
            storage: |_| RATES.get().0,
            network: |_| RATES.get().1,
            first_pass: f64::from(first_pass) * MIB,
            zeros: 0.0,
            skipped: f64::from(skipped) * MIB,
            again: 0.0,
        };
        let (s, n) = (f64::from(storage), f64::from(network));
        let alone = (f64::from(skipped) / s).max(f64::from(first_pass) / n);
        let outcome = play(&paper);
        proptest::prop_assert!(outcome.seconds < 1.05 * alone + 1.0, "{:?}, {alone} s", outcome);
    }
}

std::thread_local! {
    static RATES: std::cell::Cell<(f64, f64)> = const { std::cell::Cell::new((0.0, 0.0)) };
}

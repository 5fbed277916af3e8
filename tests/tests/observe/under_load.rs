//! The residency table against the descriptors: no update lost, during a load and after it.

use std::time::{Duration, Instant};

use probe_abi::state;
use symbols::profile::{PageState, RuleReason};
use test_servers::{Config, LoadSpec, Release, Script};
use userspace::memory::Memory;
use userspace::observer::Observer;
use userspace::scan::{Block, scan};

use crate::lab::{DATA, eventually, observe, on_each_mysql, on_mariadb, settle, start};

/// What the table must say of a block; nothing where the descriptor alone does not decide. `clean` is the highest oldest LSN of a
/// clean page.
fn expected(block: &Block<'_>, clean: u64) -> Option<(u32, Option<(u32, u32)>)> {
    match block.holds() {
        Some(PageState::Evicting) => None,
        None | Some(PageState::Free | PageState::Memory | PageState::NoFrame) => {
            Some((state::FREE, None))
        }
        // Nothing shows that a temporary page of MariaDB is changed.
        Some(PageState::Page)
            if block.fails(RuleReason::Compressed)
                || block.fails(RuleReason::Temporary)
                || block.is_being_read() =>
        {
            None
        }
        Some(PageState::Page) => {
            let state = if block.oldest_lsn() <= clean { state::CLEAN } else { state::DIRTY };
            Some((state, Some((block.space(), block.page()))))
        }
    }
}

/// Whether a page that looks clean was taken off the flush list without having been written: its
/// frame does not carry its newest LSN (`FIL_PAGE_LSN` at 16).
///
/// MariaDB's descriptors have no newest LSN, and its frames always carry it. Its low half is written to the page's end with the
/// page (`buf_flush_init_for_writing`; the last 8 bytes of a page of the full_crc32 form).
fn is_unwritten(memory: Memory, block: &Block<'_>, mariadb: Option<u32>) -> bool {
    if let Some(page_bytes) = mariadb {
        let half = |at: u32| memory.integer(block.frame().plus(at.into()), 4).unwrap();
        return half(20) != half(page_bytes - 8);
    }
    let stamp = memory.integer(block.frame().plus(16), 8).unwrap().swap_bytes();
    block.newest_lsn() != 0 && stamp != block.newest_lsn()
}

/// Blocks of which table and descriptor say different things.
pub(crate) fn contradictions(observer: &Observer) -> Vec<String> {
    let (server, residency) = (observer.server(), observer.residency());
    let mut found = Vec::new();
    // In MariaDB 1 is a page that was written and is still on the flush list.
    let mariadb =
        (server.profile().server.family == "mariadb").then_some(server.pool_map.page_size);
    let clean = u64::from(mariadb.is_some());
    scan(server.memory(), &server.layout, &server.pool_map, |block| {
        let Some((state, page)) = expected(&block, clean) else { return };
        let known = residency.get(block.index);
        let agrees = match page {
            None => matches!(known.state, state::FREE | state::UNSEEN),
            Some(page) => known.state == state && (known.space, known.page) == page,
        };
        let detached = known.state == state::DIRTY
            && state == state::CLEAN
            && page == Some((known.space, known.page))
            && is_unwritten(server.memory(), &block, mariadb);
        if !agrees && !detached {
            found.push(format!("block {}: {known:?}, descriptor {state} {page:?}", block.index));
        }
    })
    .unwrap();
    found
}

/// Waits until the last events have landed in table and descriptors alike.
pub(crate) fn assert_table_is_true(observer: &Observer) {
    let mut last = Vec::new();
    let agrees = eventually(|| {
        last = contradictions(observer);
        last.is_empty()
    });
    assert!(agrees, "{} blocks: {:#?}", last.len(), &last[..last.len().min(5)]);
}

/// A pool smaller than the data, so that pages come and go all the time.
fn the_table_loses_nothing_under_a_load(release: Release) {
    let config = Config::new().pool_mib(24).sysbench(DATA);
    let server = start(release, config);
    let mut observer = observe(&server);
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 4).seconds(12).uniform()).unwrap();
    let end = Instant::now() + Duration::from_secs(11);
    while Instant::now() < end {
        observer.audit().unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let summary = load.wait().unwrap();
    settle(&server);
    observer.audit().unwrap();
    assert_table_is_true(&observer);
    let audited = observer.audited();
    let counters = observer.probes().counters().unwrap();
    println!("{} transactions; {audited:?}; {counters:?}", summary.transactions);
    assert_eq!((audited.drift, audited.falsely_clean), (0, 0), "{audited:?}");
    assert!(audited.scans > 10 && audited.compared > 10_000, "{audited:?}");
    for probe in [probe_abi::Probe::Read, probe_abi::Probe::Written, probe_abi::Probe::Dirty] {
        let counted = counters[probe as usize];
        assert!(counted.hits > 100, "{}: {counted:?}", probe.name());
        assert_eq!((counted.foreign, counted.faults), (0, 0), "{}", probe.name());
    }
    assert!(counters[probe_abi::Probe::Evicted as usize].hits > 100, "{counters:?}");
    assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
}

/// Probes are set one after the other while pages are read, changed and written: what was seen by
/// some of them only must not be believed.
fn attaching_under_a_load_loses_nothing(release: Release) {
    let server = start(release, Config::new().pool_mib(32).sysbench(DATA));
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 4)).unwrap();
    for attachment in 0..15 {
        let mut observer = observe(&server);
        for _ in 0..3 {
            observer.audit().unwrap();
        }
        let audited = observer.audited();
        assert_eq!((audited.drift, audited.falsely_clean), (0, 0), "{attachment}: {audited:?}");
    }
    let observer = observe(&server);
    load.stop().unwrap();
    settle(&server);
    assert_table_is_true(&observer);
}

on_each_mysql!(the_table_loses_nothing_under_a_load, attaching_under_a_load_loses_nothing);
on_mariadb!(the_table_loses_nothing_under_a_load: the_table_of_mariadb_loses_nothing_under_a_load);

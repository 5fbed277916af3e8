//! The list, the descriptors and the server's own view of its pool are the same.

use std::collections::BTreeMap;

use test_servers::{Config, Release};
use userspace::classify::described;
use userspace::pool_map::PoolMap;
use userspace::scan::scan;
use userspace::server::Server as Observed;

use crate::lab::{
    DATA, eventually, on_each_mysql, on_mariadb, open, settle, start, touch_all, warm,
};
use crate::listed::{Listed, list};
use crate::page_sizes::fill;
use crate::reported::{Reported, by_server, is_scratch};

/// Looks at most, until the pool stands still around one question.
const LOOKS: usize = 40;

/// The server's word for each block of the list, in its order.
fn by_block(pool_map: &PoolMap, reported: &BTreeMap<(u32, u32), Reported>) -> Vec<Reported> {
    let mut first = BTreeMap::new();
    let mut list = Vec::new();
    for chunk in &pool_map.chunks {
        let start = *first.entry(chunk.instance).or_insert(chunk.first);
        for inside in 0..chunk.blocks {
            list.push(reported[&(chunk.instance, chunk.first - start + inside)].clone());
        }
    }
    assert_eq!(list.len(), reported.len(), "the server reports more blocks than the pool map has");
    list
}

/// Whether the list says of a block what the server says.
fn agrees(row: &Listed, reported: &Reported) -> bool {
    if !reported.states().contains(&row.state.as_str()) {
        return false;
    }
    if reported.freed {
        let reason = row.reason.as_deref();
        return row.id().is_some() && matches!(reason, Some("freed" | "temporary"));
    }
    row.id() == reported.id
        && (row.newest_lsn, row.oldest_lsn) == (reported.newest_lsn, reported.oldest_lsn)
}

/// Every block that holds a page, by index, as the raw descriptors have it.
fn descriptors(server: &Observed) -> Vec<(u32, (u32, u32), u64)> {
    let mut pages = Vec::new();
    scan(server.memory(), &server.layout, &server.pool_map, |block| {
        if described(&block).state.is_page() {
            pages.push((block.index, (block.space(), block.page()), block.oldest_lsn()));
        }
    })
    .unwrap();
    pages
}

/// The pool around one question to the server.
struct Look {
    before: Vec<Listed>,
    reported: Vec<Reported>,
    descriptors: Vec<(u32, (u32, u32), u64)>,
    after: Vec<Listed>,
}

impl Look {
    fn at(server: &test_servers::Server, observed: &Observed) -> Self {
        let before = list(observed, None);
        let reported = by_block(&observed.pool_map, &by_server(server));
        let descriptors = descriptors(observed);
        let after = list(observed, None);
        assert_eq!((before.len(), after.len()), (reported.len(), reported.len()));
        Self { before, reported, descriptors, after }
    }

    /// Every block with its two rows and the server's word, but for those in which the server
    /// built its answer.
    fn blocks(&self) -> impl Iterator<Item = (&Listed, &Reported, &Listed)> {
        let both = self.before.iter().zip(&self.reported).zip(&self.after);
        both.map(|((before, reported), after)| (before, reported, after)).filter(
            |(before, reported, after)| {
                ![before.id(), reported.id, after.id()].into_iter().any(is_scratch)
            },
        )
    }

    /// The blocks that are in the one row what they are in the other.
    fn still(&self) -> impl Iterator<Item = (&Listed, &Reported)> {
        let still = self.blocks().filter(|(before, _, after)| before.held() == after.held());
        still.map(|(_, reported, after)| (after, reported))
    }

    fn assert_agreement(&self) {
        let different: Vec<_> =
            self.still().filter(|(row, reported)| !agrees(row, reported)).take(5).collect();
        assert!(different.is_empty(), "{different:#?}");
    }
}

/// Looks until the pool stands still; all three views are then the same, whatever they are of.
fn assert_same(server: &test_servers::Server, observed: &Observed) -> usize {
    let mut look = Look::at(server, observed);
    for _ in 0..LOOKS {
        if look.still().count() == look.blocks().count() {
            break;
        }
        look = Look::at(server, observed);
    }
    let moved: Vec<_> =
        look.blocks().filter(|(before, _, after)| before.held() != after.held()).take(3).collect();
    assert!(moved.is_empty(), "the pool never stands still: {moved:#?}");
    look.assert_agreement();
    let freed = look.reported.iter().filter(|reported| reported.freed).count();
    let dirty = look.after.iter().filter(|row| row.state == "dirty").count();
    println!("{} blocks agree, {freed} of freed pages, {dirty} dirty", look.after.len());
    let listed = look.after.iter().filter_map(|row| Some((row.block, row.id()?, row.oldest_lsn)));
    let lasting = |(_, id, _): &(u32, (u32, u32), u64)| !is_scratch(Some(*id));
    let listed: Vec<_> = listed.filter(lasting).collect();
    let described: Vec<_> = look.descriptors.into_iter().filter(lasting).collect();
    assert_eq!(listed, described);
    listed.len()
}

/// At rest: every block, its page, both LSNs and its state, without exception.
fn a_pool_at_rest_is_listed_as_the_server_tells_it(release: Release) {
    let server = warm(release, Config::new().pool_mib(96));
    let pages = assert_same(&server, &open(&server));
    assert!(pages > 2000, "only {pages} pages are resident");
}

/// MariaDB, with pages that are free in their tablespaces: it has no word for which they are. They leave when it writes.
fn freed_pages_are_listed_as_such(release: Release) {
    let server = warm(release, Config::new().pool_mib(96));
    server
        .query("SET GLOBAL innodb_max_dirty_pages_pct=99; SET GLOBAL innodb_io_capacity=100")
        .unwrap();
    let observed = open(&server);
    fill(&server, "shop.t", "");
    server.query("DELETE FROM shop.t WHERE a > 100").unwrap();
    let mut freed = 0;
    let found = eventually(|| {
        let look = Look::at(&server, &observed);
        look.assert_agreement();
        freed = look.still().filter(|(_, reported)| reported.freed).count();
        freed > 100
    });
    println!("{freed} freed pages agree");
    assert!(found, "{freed} freed pages");
}

/// With dirty pages, which the server writes out meanwhile: what stood still around the question.
fn dirty_pages_are_listed_as_the_server_tells_it(release: Release) {
    let server = start(release, Config::new().pool_mib(96).sysbench(DATA));
    touch_all(&server);
    settle(&server);
    server
        .query("SET GLOBAL innodb_max_dirty_pages_pct=99; SET GLOBAL innodb_io_capacity=100")
        .unwrap();
    let observed = open(&server);
    server.query("UPDATE sbtest.sbtest1 SET c = REVERSE(c)").unwrap();
    let look = Look::at(&server, &observed);
    look.assert_agreement();
    let of_state = |state| look.still().filter(|(row, _)| row.state == state).count();
    let (dirty, clean) = (of_state("dirty"), of_state("clean"));
    println!("{dirty} dirty and {clean} clean of {} blocks stood still", look.reported.len());
    assert!(dirty > 100 && clean > 1000, "{dirty} dirty, {clean} clean");
    assert!(look.still().all(|(row, _)| row.state != "dirty" || !row.eligible));
}

/// Blocks of eight instances (InnoDB keeps to one below 1 GiB) are distinguished.
fn eight_instances_are_listed_as_the_server_tells_it(release: Release) {
    let server = warm(release, Config::new().pool_mib(1024).instances(8));
    let observed = open(&server);
    assert_eq!(observed.pool_map.instances(), 8);
    assert_same(&server, &observed);
    let mut resident = [0; 8];
    for (index, ..) in descriptors(&observed) {
        let chunks = &observed.pool_map.chunks;
        let at = chunks.partition_point(|chunk| chunk.first <= index) - 1;
        resident[chunks[at].instance as usize] += 1;
    }
    assert!(resident.iter().all(|pages| *pages > 10), "pages by instance: {resident:?}");
}

on_each_mysql!(
    a_pool_at_rest_is_listed_as_the_server_tells_it,
    dirty_pages_are_listed_as_the_server_tells_it,
    eight_instances_are_listed_as_the_server_tells_it,
);
on_mariadb!(
    a_pool_at_rest_is_listed_as_the_server_tells_it: a_pool_of_mariadb_at_rest_is_listed_as_the_server_tells_it,
    dirty_pages_are_listed_as_the_server_tells_it: dirty_pages_of_mariadb_are_listed_as_the_server_tells_it,
    freed_pages_are_listed_as_such: freed_pages_of_mariadb_are_listed_as_such,
);

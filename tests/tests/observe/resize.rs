//! The pool of 9.7 grows and shrinks while it is observed under load.

use std::time::{Duration, Instant};

use test_servers::{Config, LoadSpec, Release, Script, Server};
use userspace::observer::{ObserveError, Observer};

use crate::content::assert_files_hold_the_frames;
use crate::lab::{eventually, observe, run, settle, warm};
use crate::under_load::assert_table_is_true;

const MIB: u64 = 1 << 20;

/// Asks for a new size and audits until the server says that it is done.
fn resize(server: &Server, observer: &mut Observer, mib: u64) {
    let set = format!("SET GLOBAL innodb_buffer_pool_size = {}", mib * MIB);
    server.query(&set).unwrap();
    let (mut audits, mut unsettled) = (0, 0);
    let done = eventually(|| {
        match observer.audit() {
            Ok(_) => audits += 1,
            Err(ObserveError::PoolMap(error)) if error.is_passing() => unsettled += 1,
            Err(error) => panic!("{error}: {:?}", error.hint()),
        }
        observer.snapshot().unwrap();
        let rows = server.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_resize_status'");
        let size = server.query_one("SELECT @@innodb_buffer_pool_size").unwrap();
        rows.unwrap()[0][1].starts_with("Completed") && size == (mib * MIB).to_string()
    });
    println!("{mib} MiB: {audits} audits, {unsettled} times not settled");
    assert!(done, "the resize to {mib} MiB does not end");
    let blocks = |observer: &Observer| u64::from(observer.server().pool_map.blocks());
    observer.audit().unwrap();
    // A chunk's descriptors take their room out of it.
    let expected = mib * MIB / 16384;
    let found = blocks(observer);
    assert!(found <= expected && found * 100 > expected * 95, "{found} of {expected} blocks");
    assert_eq!(observer.residency().table().blocks(), observer.server().pool_map.blocks());
}

/// So many descriptors this process may open more than it has.
fn allow_descriptors(more: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: more.map_or(most, |more| Some(open + more)), maximum: most };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The pool is resized, and the first look at it fails half-way: no descriptor is left for the new probes. Pool and
/// table go together all the same, and the next look that can follow does.
#[test]
fn a_resize_that_cannot_be_followed_at_once_is_followed_later() {
    let name = "a_resize_that_cannot_be_followed_at_once_is_followed_later";
    run(name, Release::Mysql97, |release| {
        let chunks = "innodb_buffer_pool_chunk_size=16M";
        let server = warm(release, Config::new().pool_mib(64).option(chunks));
        let mut observer = observe(&server);
        let go_together = |observer: &Observer| {
            let blocks = observer.residency().table().blocks();
            assert_eq!(blocks, observer.server().pool_map.blocks());
        };
        server.query(&format!("SET GLOBAL innodb_buffer_pool_size = {}", 96 * MIB)).unwrap();
        let resized = || {
            let status = server.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_resize_status'");
            status.unwrap()[0][1].starts_with("Completed")
        };
        assert!(eventually(resized));
        allow_descriptors(Some(2));
        let failed = observer.audit();
        allow_descriptors(None);
        println!("without descriptors: {:?}", failed.as_ref().map_err(ToString::to_string));
        assert!(failed.is_err());
        go_together(&observer);
        let drift = observer.audit().unwrap();
        go_together(&observer);
        let blocks = u64::from(observer.server().pool_map.blocks());
        assert!(blocks > 64 * MIB / 16384, "{blocks} blocks");
        assert_eq!(drift, 0);
        settle(&server);
        assert_table_is_true(&observer);
    });
}

#[test]
fn the_table_follows_a_pool_that_grows_and_shrinks() {
    run("the_table_follows_a_pool_that_grows_and_shrinks", Release::Mysql97, |release| {
        let chunks = "innodb_buffer_pool_chunk_size=16M";
        let server = warm(release, Config::new().pool_mib(64).option(chunks));
        let mut observer = observe(&server);
        observer.set_trace(true).unwrap();
        let walks = observer.set_walk(true).is_ok();
        let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).uniform()).unwrap();
        for mib in [160, 32, 96] {
            resize(&server, &mut observer, mib);
            let traced = || {
                let snapshot = observer.snapshot().unwrap();
                snapshot.events.iter().any(|event| event.pfn.is_some() || !walks)
            };
            assert!(eventually(traced), "the new probes do not trace frames as the old ones did");
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                observer.audit().unwrap();
            }
        }
        load.stop().unwrap();
        settle(&server);
        observer.audit().unwrap();
        assert_table_is_true(&observer);
        let audited = observer.audited();
        assert_eq!((audited.drift, audited.falsely_clean), (0, 0), "{audited:?}");
        assert_files_hold_the_frames(&server);
    });
}

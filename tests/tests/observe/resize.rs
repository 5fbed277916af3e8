//! The pool of 9.7 grows and shrinks while it is observed under load.

use std::time::{Duration, Instant};

use test_servers::{Config, LoadSpec, Release, Server, Workload};
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
            Err(ObserveError::Geometry(error)) if error.is_passing() => unsettled += 1,
            Err(error) => panic!("{error}: {:?}", error.hint()),
        }
        observer.snapshot().unwrap();
        let rows = server.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_resize_status'");
        let size = server.query_one("SELECT @@innodb_buffer_pool_size").unwrap();
        rows.unwrap()[0][1].starts_with("Completed") && size == (mib * MIB).to_string()
    });
    println!("{mib} MiB: {audits} audits, {unsettled} times not settled");
    assert!(done, "the resize to {mib} MiB does not end");
    let blocks = |observer: &Observer| u64::from(observer.server().geometry.blocks());
    observer.audit().unwrap();
    // A chunk's descriptors take their room out of it.
    let expected = mib * MIB / 16384;
    let found = blocks(observer);
    assert!(found <= expected && found * 100 > expected * 95, "{found} of {expected} blocks");
    assert_eq!(observer.residency().table().blocks(), observer.server().geometry.blocks());
}

#[test]
fn the_table_follows_a_pool_that_grows_and_shrinks() {
    run("the_table_follows_a_pool_that_grows_and_shrinks", Release::Mysql97, |release| {
        let chunks = "innodb_buffer_pool_chunk_size=16M";
        let server = warm(release, Config::new().pool_mib(64).option(chunks));
        let mut observer = observe(&server);
        observer.set_trace(true).unwrap();
        let walks = observer.set_walk(true).is_ok();
        let load = server.load(&LoadSpec::new(Workload::ReadWrite, 2).uniform()).unwrap();
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

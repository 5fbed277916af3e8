//! A list that was prepared while the server was watched against one made anew.

use page_wire::{Bounds, HEADER_BYTES, List};
use test_servers::{Config, LoadSpec, Release, Script, Server};
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::observer::Observer;
use userspace::page_list::{self, Built};

use crate::lab::{observe, on_each_mysql, settle, warm};

/// The list without its header, which has the time.
fn bytes(list: &Built) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.write(&mut bytes).unwrap();
    let mut in_memory = vec![0; usize::try_from(list.encoded_bytes()).unwrap()];
    list.write_to(&mut in_memory).unwrap();
    assert!(bytes == in_memory, "by one thread and by two the bytes are not the same");
    List::parse(&bytes, Bounds::ANY).unwrap();
    bytes.split_off(HEADER_BYTES)
}

/// A list and how many descriptors it read. It is gone at once: one that is held cannot be kept.
fn list(observer: &mut Observer) -> (Vec<u8>, u64) {
    let built = observer.page_list().unwrap();
    (bytes(&built), built.judged)
}

/// A list by another observer, which knows nothing and judges every block.
fn anew(server: &Server) -> Vec<u8> {
    let fresh = observe(server);
    let server = fresh.server();
    let mut locator = Locator::open(server.target.pid).unwrap();
    let (mut frames, _) = Frames::open(server.target.pid).unwrap();
    let whole =
        page_list::build(server, Some(fresh.residency()), &mut locator, &mut frames).unwrap();
    assert_eq!(whole.judged, u64::from(server.pool_map.blocks()));
    bytes(&whole)
}

/// Compares two lists; a failure does not print their bytes.
fn assert_same(left: &[u8], right: &[u8]) {
    let at = left.iter().zip(right).position(|(left, right)| left != right);
    assert!(left == right, "{} and {} bytes, differing from {at:?} on", left.len(), right.len());
}

/// Gives the list of this moment, compared with one made anew. The kernel moves frames whenever it likes, which makes
/// another list: those count that are the same before and after.
fn of_this_moment(observer: &mut Observer, server: &Server) -> Vec<u8> {
    for _ in 0..8 {
        let prepared = list(observer).0;
        let fresh = anew(server);
        if prepared == list(observer).0 {
            assert_same(&prepared, &fresh);
            return prepared;
        }
    }
    panic!("frames never rest");
}

/// Only what changed is judged again, and the list is the same as if all of it had been.
fn a_prepared_list_is_that_of_this_moment(release: Release) {
    let server = warm(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    let blocks = u64::from(observer.server().pool_map.blocks());
    let (_, judged) = list(&mut observer);
    assert_eq!(judged, blocks, "nothing was known before");
    let (_, judged) = list(&mut observer);
    assert!(judged < blocks / 2, "{judged} of {blocks} read again");
    let first = of_this_moment(&mut observer, &server);

    server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(3)).unwrap().wait().unwrap();
    settle(&server);
    let (prepared, more) = list(&mut observer);
    assert!(more > judged, "changes were not looked at");
    assert!(prepared != first, "the load changed nothing: this shows nothing");
    of_this_moment(&mut observer, &server);
}

/// Files that move, grow and go take their pages off the list, though no block of theirs had an event.
fn a_prepared_list_knows_where_the_files_are_now(release: Release) {
    let server = warm(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    let (first, _) = list(&mut observer);
    // A copy of the file in its place, while the server has the old one open.
    let file = server.datadir().join("sbtest/sbtest1.ibd");
    let copy = file.with_extension("copy");
    std::fs::copy(&file, &copy).unwrap();
    // Until it is written it has no place.
    std::fs::File::open(&copy).unwrap().sync_all().unwrap();
    std::fs::rename(&copy, &file).unwrap();
    let moved = of_this_moment(&mut observer, &server);
    assert!(moved != first, "the file did not move: this shows nothing");
    server.query("DROP TABLE sbtest.sbtest2").unwrap();
    settle(&server);
    let dropped = of_this_moment(&mut observer, &server);
    assert!(dropped != moved, "no page was dropped: this shows nothing");
}

/// Frames are those of this moment, wherever the kernel has moved them.
fn a_prepared_list_has_the_frames_of_this_moment(release: Release) {
    let server = warm(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    list(&mut observer);
    std::fs::write("/proc/sys/vm/compact_memory", "1").unwrap();
    of_this_moment(&mut observer, &server);
}

on_each_mysql!(
    a_prepared_list_is_that_of_this_moment,
    a_prepared_list_knows_where_the_files_are_now,
    a_prepared_list_has_the_frames_of_this_moment
);

//! A list that was prepared while the server was watched against one made anew.

use page_wire::{HEADER_BYTES, List};
use test_servers::{Config, LoadSpec, Release, Workload};
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::observer::Observer;
use userspace::page_list::{self, Built};

use crate::lab::{observe, on_each_mysql, settle, warm};

/// The list without its header, which has the time.
fn bytes(list: &Built) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.write(&mut bytes).unwrap();
    List::parse(&bytes).unwrap();
    bytes.split_off(HEADER_BYTES)
}

fn anew(observer: &Observer) -> Built {
    let server = observer.server();
    let mut locator = Locator::open(server.target.pid).unwrap();
    let (mut frames, _) = Frames::open(server.target.pid).unwrap();
    page_list::build(server, Some(observer.residency()), &mut locator, &mut frames).unwrap()
}

/// Only what changed is judged again, and the list is the same as if all of it had been.
fn a_prepared_list_is_that_of_this_moment(release: Release) {
    let server = warm(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    let blocks = u64::from(observer.server().geometry.blocks());
    let first = observer.page_list().unwrap();
    assert_eq!(first.judged, blocks, "nothing was known before");
    let again = observer.page_list().unwrap();
    assert!(again.judged < blocks / 2, "{} of {blocks} read again", again.judged);
    assert_eq!(bytes(&first), bytes(&again));

    server.load(&LoadSpec::new(Workload::ReadWrite, 2).seconds(3)).unwrap().wait().unwrap();
    settle(&server);
    let prepared = observer.page_list().unwrap();
    assert!(prepared.judged > again.judged, "changes were not looked at");
    // Another observer knows nothing and judges every block.
    let fresh = observe(&server);
    let whole = anew(&fresh);
    assert_eq!(whole.judged, blocks);
    assert_ne!(bytes(&prepared), bytes(&first), "the load changed nothing: this shows nothing");
    assert_eq!(bytes(&prepared), bytes(&whole));
}

on_each_mysql!(a_prepared_list_is_that_of_this_moment);

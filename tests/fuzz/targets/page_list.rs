//! A hostile page list, as a guest may hand it to the host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use page_wire::{Bounds, List, ListReader, encode};

/// As in the tests of hostile lists, whose lists are the seeds.
const RAM: u64 = 256 << 20;

fuzz_target!(|bytes: &[u8]| {
    let bounds = Bounds::of_ram(RAM);
    let parsed = List::parse(bytes, bounds);
    let mut read = Vec::new();
    let whole = ListReader::open(bytes, bounds).is_ok_and(|mut list| loop {
        match list.next_run() {
            Ok(Some(run)) => read.push(run),
            Ok(None) => break true,
            Err(_) => break false,
        }
    });
    assert_eq!(parsed.is_ok(), whole, "one reader takes it");
    if let Ok(list) = parsed {
        assert!(list.devices().len() <= page_wire::MAX_DEVICES);
        assert!(list.runs().len() as u64 <= bounds.runs() && list.runs().eq(read));
        assert!(list.runs().all(|run| usize::from(run.device()) < list.devices().len()));
        let mut again = Vec::new();
        let count = list.runs().len() as u64;
        encode(&mut again, &list.facts(), list.devices(), count, list.runs()).expect("what was read is written");
        let second = List::parse(&again, bounds).expect("and read again");
        assert!(list.runs().eq(second.runs()));
    }
});

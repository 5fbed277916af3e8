//! A hostile page list, as a guest may hand it to the host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use page_wire::{List, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = List::parse(bytes) {
        let media: Vec<_> = list.media().collect();
        assert!(list.runs().all(|run| usize::from(run.medium()) < media.len()));
        let mut again = Vec::new();
        let count = list.runs().len() as u64;
        encode(&mut again, &list.facts(), &media, count, list.runs()).expect("what was read is written");
        let second = List::parse(&again).expect("and read again");
        assert!(list.runs().eq(second.runs()));
    }
});

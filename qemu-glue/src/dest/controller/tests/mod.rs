//! The decisions of the destination, without QEMU, storage or channel.

mod property;
mod table;

use std::sync::Arc;

use page_number::PAGE_BYTES;

use crate::channel::{Offer, SetRange};
use crate::set::{Block, SetRun, SkipSet};

/// Pages of the set.
const PAGES: u32 = 240;
/// Devices of the set, in turn by runs of [`RUN`] pages; the last one cannot be read.
const DEVICES: u16 = 3;
const RUN: u32 = 20;

fn runs() -> Vec<SetRun> {
    let run = |number: u32| {
        let at = u64::from(number * RUN) * PAGE_BYTES;
        let device = u16::try_from(number).unwrap() % DEVICES;
        SetRun { block: 0, device, pages: RUN, offset: at, place: at }
    };
    (0..PAGES / RUN).map(run).collect()
}

fn blocks() -> Vec<Block> {
    vec![Block { name: "mem0".into(), length: u64::from(PAGES) * PAGE_BYTES }]
}

fn set() -> Arc<SkipSet> {
    let devices = (0..DEVICES).map(|number| format!("serial:{number}")).collect();
    Arc::new(SkipSet::new(blocks(), devices, runs()).unwrap())
}

fn offer(runs: u64) -> Offer {
    Offer {
        blocks: blocks(),
        devices: (0..DEVICES)
            .map(|number| format!("serial:{number}").as_str().try_into().unwrap())
            .collect(),
        runs,
        capabilities: Vec::new(),
        multifd: None,
        shares: true,
    }
}

const fn range(first: u32, count: u32) -> SetRange {
    SetRange { first, count }
}

//! The trace ring, emptied into the newest events.

use std::collections::VecDeque;

use aya::maps::{MapData, RingBuf};
use probe_abi::{Probe, Record};

use crate::model::Event;

/// Events kept between two pictures; older ones are dropped here, on purpose and unseen by no
/// counter: the trace is for looking at, the table is for truth.
const KEPT: usize = 4096;

/// Reader of the trace ring.
pub(super) struct Trace {
    ring: RingBuf<MapData>,
    events: VecDeque<Event>,
}

impl Trace {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, events: VecDeque::new() }
    }

    /// Takes every record that is in the ring now.
    pub(super) fn drain(&mut self) {
        while let Some(item) = self.ring.next() {
            if let Some(event) = event(&item) {
                if self.events.len() == KEPT {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
        }
    }

    /// The events since the last call, oldest first.
    pub(super) fn take(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }
}

/// Decodes a record; nothing for one that is no record of ours.
fn event(bytes: &[u8]) -> Option<Event> {
    let record = record(bytes)?;
    let probe = *Probe::ALL.get(record.probe as usize)?;
    let timed = matches!(probe, Probe::Query | Probe::Commit);
    Some(Event {
        time_ns: record.time_ns,
        probe: probe.name(),
        tid: record.tid,
        block: record.block,
        space: record.space,
        page: record.page,
        latency_ns: timed.then_some(record.value),
        pfn: (record.pfn != 0).then_some(record.pfn),
    })
}

fn record(bytes: &[u8]) -> Option<Record> {
    if bytes.len() < size_of::<Record>() {
        return None;
    }
    let long = |at: usize| {
        let word: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_ne_bytes(word))
    };
    let word = |at: usize| {
        let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(word))
    };
    Some(Record {
        time_ns: long(0)?,
        value: long(8)?,
        pfn: long(16)?,
        probe: word(24)?,
        tid: word(28)?,
        block: word(32)?,
        space: word(36)?,
        page: word(40)?,
        reserved: word(44)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_decoded_and_others_ignored() {
        let mut bytes = vec![0; 48];
        bytes[24] = Probe::Dirty as u8;
        bytes[36] = 5;
        bytes[40] = 9;
        bytes[16] = 3;
        let event = event(&bytes).unwrap();
        assert_eq!((event.probe, event.space, event.page, event.pfn), ("dirty", 5, 9, Some(3)));
        assert_eq!(event.latency_ns, None);
        bytes[24] = 99;
        assert!(super::event(&bytes).is_none());
        assert!(super::event(&bytes[..47]).is_none());
    }
}

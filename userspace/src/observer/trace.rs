//! The trace ring, emptied into the newest events.

use std::collections::VecDeque;

use aya::maps::{MapData, RingBuf};
use probe_abi::{NO_PAGE, Probe, Record};

use crate::model::TraceEvent;

/// Events kept between two snapshots; older ones are dropped here, on purpose and counted: the trace is for
/// looking at, the table is for truth.
const KEPT: usize = 1 << 16;

/// Reader of the trace ring.
pub(super) struct Trace {
    ring: RingBuf<MapData>,
    window: Window,
    /// Events of rings before this one, lost ones included.
    before: u64,
}

/// The events that the next snapshot gets.
#[derive(Default)]
struct Window {
    events: VecDeque<TraceEvent>,
    /// Events that came before these: in earlier snapshots, or dropped here.
    gone: u64,
}

impl Window {
    fn add(&mut self, event: TraceEvent) {
        if self.events.len() == KEPT {
            self.events.pop_front();
            self.gone += 1;
        }
        self.events.push_back(event);
    }

    /// The events, and how many were taken out or dropped before them.
    fn take(&mut self) -> (u64, Vec<TraceEvent>) {
        let before = self.gone;
        self.gone += self.events.len() as u64;
        (before, self.events.drain(..).collect())
    }
}

impl Trace {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        let window = Window { events: VecDeque::new(), gone: 0 };
        Self { ring, window, before: 0 }
    }

    /// Reads another ring from now on. `lost` is what the one before lost.
    pub(super) fn change(&mut self, ring: RingBuf<MapData>, lost: u64) {
        self.drain();
        self.ring = ring;
        self.before = self.before.saturating_add(lost);
    }

    /// Takes every record that is in the ring now.
    pub(super) fn drain(&mut self) {
        while let Some(item) = self.ring.next() {
            if let Some(event) = event(&item) {
                self.window.add(event);
            }
        }
    }

    /// The events since the last call, oldest first, and the number of the first of them. `lost` is what this
    /// ring has lost.
    pub(super) fn take(&mut self, lost: u64) -> (u64, Vec<TraceEvent>) {
        let (gone, events) = self.window.take();
        (self.before.saturating_add(lost).saturating_add(gone), events)
    }
}

/// Decodes a record; nothing for one that is no record of ours.
fn event(bytes: &[u8]) -> Option<TraceEvent> {
    let record = record(bytes)?;
    let probe = *Probe::ALL.get(record.probe as usize)?;
    let timed = matches!(probe, Probe::Query | Probe::Commit);
    let of_page = !timed && record.space != NO_PAGE;
    Some(TraceEvent {
        time_ns: record.time_ns,
        probe: probe.name(),
        tid: record.tid,
        block: record.block,
        space: of_page.then_some(record.space),
        page: of_page.then_some(record.page),
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

    /// What is dropped here is counted like what the ring lost.
    #[test]
    fn every_event_has_its_number() {
        let made = |time_ns| TraceEvent {
            time_ns,
            probe: "read",
            tid: 1,
            block: 1,
            space: Some(1),
            page: Some(1),
            latency_ns: None,
            pfn: None,
        };
        let mut window = Window::default();
        let kept = KEPT as u64;
        (0..kept + 5).for_each(|time| window.add(made(time)));
        let (first, events) = window.take();
        assert_eq!((first, events[0].time_ns, events.len()), (5, 5, KEPT));
        window.add(made(kept + 5));
        assert_eq!(window.take().0, kept + 5);
        assert_eq!(window.take(), (kept + 6, Vec::new()));
    }

    #[test]
    fn records_are_decoded_and_others_ignored() {
        let mut bytes = vec![0; 48];
        bytes[24] = Probe::Dirty as u8;
        bytes[36] = 5;
        bytes[40] = 9;
        bytes[16] = 3;
        let event = event(&bytes).unwrap();
        assert_eq!(
            (event.probe, event.space, event.page, event.pfn),
            ("dirty", Some(5), Some(9), Some(3))
        );
        assert_eq!(event.latency_ns, None);
        bytes[24] = Probe::Freed as u8;
        bytes[36..44].fill(0xff);
        let freed = super::event(&bytes).unwrap();
        assert_eq!((freed.probe, freed.space, freed.page), ("freed", None, None));
        bytes[24] = 99;
        assert!(super::event(&bytes).is_none());
        assert!(super::event(&bytes[..47]).is_none());
    }
}

//! Calls of QEMU's functions, put in order.

use probe_abi::qemu::{CallRecord, edge};

use super::QemuFunction;
use migration_record::{self as record, FunctionState, Side, Sync};

/// What the probes of one QEMU saw.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// By time.
    records: Vec<CallRecord>,
    /// How often each function was entered; `None` where the program has none such.
    entries: [Option<u64>; QemuFunction::ALL.len()],
    lost: u64,
}

impl Calls {
    pub(super) fn new(
        mut records: Vec<CallRecord>,
        entries: [Option<u64>; QemuFunction::ALL.len()],
        lost: u64,
    ) -> Self {
        // The ring has them in the order in which they were written, which is that of time but for
        // two CPUs at the same moment.
        records.sort_by_key(|record| record.time_ns);
        Self { records, entries, lost }
    }

    /// What is known of a function's probe.
    #[must_use]
    pub fn state(&self, function: QemuFunction) -> FunctionState {
        match self.entries[function as usize] {
            None => FunctionState::Missing,
            Some(0) => FunctionState::NeverFired,
            Some(_) => FunctionState::Fired,
        }
    }

    /// As it stands in a report, in seconds since `zero_ns` of CLOCK_MONOTONIC.
    #[must_use]
    pub fn side(&self, zero_ns: u64) -> Side {
        let since = |time_ns| seconds(zero_ns, time_ns);
        let last = |function| self.entered(function).last().map(|record| since(record.time_ns));
        let iterations: Vec<_> = self.spans(QemuFunction::Iterate).collect();
        Side {
            functions: QemuFunction::ALL.map(|function| self.function(function)).to_vec(),
            syncs: self.syncs(zero_ns),
            iterations: self.entries[QemuFunction::Iterate as usize].unwrap_or(0),
            iterating_s: iterations.iter().map(|(from, to)| seconds(*from, *to)).sum(),
            vm_stop_s: last(QemuFunction::Stop),
            vm_start_s: last(QemuFunction::Start),
            ended_s: last(QemuFunction::State),
            lost: self.lost,
        }
    }

    fn function(&self, function: QemuFunction) -> record::Function {
        record::Function {
            name: function.name().into(),
            state: self.state(function),
            calls: self.entries[function as usize].unwrap_or(0),
        }
    }

    fn entered(&self, function: QemuFunction) -> impl DoubleEndedIterator<Item = &CallRecord> {
        self.records.iter().filter(move |record| {
            record.function == u32::from(function as u8) && record.edge == edge::ENTRY
        })
    }

    /// From each entry to the same thread's next return, in ns of CLOCK_MONOTONIC.
    fn spans(&self, function: QemuFunction) -> impl Iterator<Item = (u64, u64)> {
        let mut open: Vec<(u32, u64)> = Vec::new();
        let of = move |record: &&CallRecord| record.function == u32::from(function as u8);
        self.records.iter().filter(of).filter_map(move |record| {
            let same = open.iter().position(|(tid, _)| *tid == record.tid);
            // An entry whose return was lost is dropped with the next entry of its thread.
            let begun = same.map(|index| open.swap_remove(index).1);
            if record.edge == edge::ENTRY {
                open.push((record.tid, record.time_ns));
                return None;
            }
            Some((begun?, record.time_ns))
        })
    }

    /// From the log's being taken to what comes after it. A log that is taken for something else (the
    /// dirty rate, the display) has nothing after it and is left out, unless that probe never fired.
    fn syncs(&self, zero_ns: u64) -> Vec<Sync> {
        let ends: Vec<u64> = self.spans(QemuFunction::SyncEnd).map(|(_, to)| to).collect();
        let begins: Vec<u64> = self.entered(QemuFunction::SyncBegin).map(|r| r.time_ns).collect();
        let know_ends = self.state(QemuFunction::SyncEnd) == FunctionState::Fired;
        let mut syncs = Vec::new();
        for (index, begin) in begins.iter().enumerate() {
            let next = begins.get(index + 1).copied().unwrap_or(u64::MAX);
            let end = ends.iter().copied().find(|end| (*begin..next).contains(end));
            if end.is_none() && know_ends {
                continue;
            }
            let duration_ms = end.map_or(0.0, |end| seconds(*begin, end) * 1000.0);
            syncs.push(Sync { begin_s: seconds(zero_ns, *begin), duration_ms });
        }
        syncs
    }
}

/// Seconds from one time to another, negative when it was before.
fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    let size = record::approximate(from_ns.abs_diff(to_ns)) / 1e9;
    if to_ns < from_ns { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn record(ms: u64, function: QemuFunction, edge: u32, tid: u32) -> CallRecord {
        let function = u32::from(function as u8);
        CallRecord { time_ns: ms * MS, function, edge, tid, reserved: 0 }
    }

    /// Calls as `finish` makes them of these records, all functions there.
    fn calls(records: Vec<CallRecord>) -> Calls {
        let entries = QemuFunction::ALL.map(|function| {
            let of =
                |r: &&CallRecord| r.function == u32::from(function as u8) && r.edge == edge::ENTRY;
            Some(records.iter().filter(of).count() as u64)
        });
        Calls::new(records, entries, 3)
    }

    #[test]
    fn a_sync_ends_after_the_log_was_taken() {
        let calls = calls(vec![
            record(1020, QemuFunction::SyncEnd, edge::RETURN, 7),
            record(1000, QemuFunction::SyncBegin, edge::ENTRY, 7),
            record(1019, QemuFunction::SyncEnd, edge::ENTRY, 7),
            record(1500, QemuFunction::SyncBegin, edge::ENTRY, 7), // for the dirty rate
            record(2000, QemuFunction::SyncBegin, edge::ENTRY, 7),
            record(2001, QemuFunction::SyncEnd, edge::ENTRY, 7),
            record(2002, QemuFunction::SyncEnd, edge::RETURN, 7),
        ]);
        let syncs = calls.side(900 * MS).syncs;
        let expected = [(0.1, 20.0), (1.1, 2.0)];
        assert_eq!(syncs.len(), expected.len());
        for (sync, (begin_s, duration_ms)) in syncs.iter().zip(expected) {
            assert!((sync.begin_s - begin_s).abs() < 1e-9, "{sync:?}");
            assert!((sync.duration_ms - duration_ms).abs() < 1e-9, "{sync:?}");
        }
    }

    #[test]
    fn without_the_end_a_sync_has_no_duration() {
        let calls = calls(vec![record(5, QemuFunction::SyncBegin, edge::ENTRY, 1)]);
        assert_eq!(calls.side(0).syncs, [Sync { begin_s: 0.005, duration_ms: 0.0 }]);
        assert_eq!(calls.state(QemuFunction::SyncEnd), FunctionState::NeverFired);
        assert_eq!(Calls::default().state(QemuFunction::SyncEnd), FunctionState::Missing);
    }

    #[test]
    fn iterations_are_paired_by_thread_and_lost_ends_are_none() {
        let calls = calls(vec![
            record(0, QemuFunction::Iterate, edge::RETURN, 1), // its entry was before the probes
            record(1, QemuFunction::Iterate, edge::ENTRY, 1),
            record(2, QemuFunction::Iterate, edge::ENTRY, 2),
            record(11, QemuFunction::Iterate, edge::RETURN, 1),
            record(30, QemuFunction::Iterate, edge::ENTRY, 2), // the return at 2 was lost
            record(32, QemuFunction::Iterate, edge::RETURN, 2),
        ]);
        let side = calls.side(0);
        assert_eq!((side.iterations, side.lost), (3, 3));
        assert!((side.iterating_s - 0.012).abs() < 1e-9, "{}", side.iterating_s);
    }

    #[test]
    fn the_last_stop_and_start_count() {
        let calls = calls(vec![
            record(10, QemuFunction::Stop, edge::ENTRY, 1),
            record(20, QemuFunction::Start, edge::ENTRY, 1),
            record(30, QemuFunction::Stop, edge::ENTRY, 1),
            record(40, QemuFunction::State, edge::ENTRY, 1),
        ]);
        let side = calls.side(35 * MS);
        assert_eq!((side.vm_stop_s, side.vm_start_s), (Some(-0.005), Some(-0.015)));
        assert_eq!(side.ended_s, Some(0.005));
        assert_eq!(side.functions.len(), QemuFunction::ALL.len());
    }
}

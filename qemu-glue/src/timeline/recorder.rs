//! The probes of one QEMU, and the thread that takes what they write.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::{Ebpf, EbpfLoader};
use probe_abi::links::Links;
use probe_abi::qemu::{CallCounters, CallRecord};
use symbols::text::ProvenSite;

use super::{Calls, Code, Function, TimelineError};

/// The object that `build.rs` embedded, aligned as ELF parsers want it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/qemu.o"));

/// Bytes of the ring: 32 Ki records, and a QEMU makes some hundreds a second.
const RING_BYTES: u32 = 1 << 20;
/// How often the ring is emptied.
const PAUSE: Duration = Duration::from_millis(50);
/// Most records that are kept, 24 MiB of them; further ones count as lost.
const MAX_RECORDS: usize = 1 << 20;

const ENTER: &str = "qemu_enter";
const RETURN: &str = "qemu_return";
const CALLS: &str = "CALLS";
const COUNTERS: &str = "CALL_COUNTERS";

/// Records the calls of one QEMU. The kernel takes the probes out when it is dropped.
pub struct Recorder {
    /// One a probe in QEMU's text; gone first.
    links: Links,
    ebpf: Ebpf,
    functions: Vec<Function>,
    counters: PerCpuArray<MapData, CallCounters>,
    reader: Reader,
}

impl Recorder {
    /// Sets probes on all functions that the QEMU with process id `pid` exports.
    ///
    /// # Errors
    /// When it exports none, or the kernel refuses the programs or a probe; nothing is left then.
    pub fn attach(pid: u32) -> Result<Self, TimelineError> {
        let code = Code::of(pid)?;
        let sites = code.sites()?;
        if OBJECT.is_empty() {
            return Err(TimelineError::NotBuiltIn);
        }
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(CALLS, RING_BYTES)
            .load(OBJECT)
            .map_err(|source| TimelineError::Load(Box::new(source)))?;
        let ring = ebpf.take_map(CALLS).ok_or_else(|| missing(CALLS))?;
        let ring = RingBuf::try_from(ring).map_err(|source| refused(CALLS, source))?;
        let counters = ebpf.take_map(COUNTERS).ok_or_else(|| missing(COUNTERS))?;
        let counters =
            PerCpuArray::try_from(counters).map_err(|source| refused(COUNTERS, source))?;
        let reader = Reader::start(ring)?;
        let functions = sites.iter().map(|(function, _)| *function).collect();
        let mut recorder = Self { links: Links::default(), ebpf, functions, counters, reader };
        for (function, site) in &sites {
            recorder.probe(pid, ENTER, *function, site)?;
            if function.wants_return() {
                recorder.probe(pid, RETURN, *function, site)?;
            }
        }
        Ok(recorder)
    }

    fn probe(
        &mut self,
        pid: u32,
        program: &'static str,
        function: Function,
        site: &ProvenSite<'_>,
    ) -> Result<(), TimelineError> {
        let refused = |source| TimelineError::Program { program, source: Box::new(source) };
        let uprobe: &mut UProbe = self
            .ebpf
            .program_mut(program)
            .ok_or(TimelineError::NotBuiltIn)?
            .try_into()
            .map_err(refused)?;
        if uprobe.fd().is_err() {
            uprobe.load().map_err(refused)?;
        }
        let (offset, path) = (site.entry().0, site.path());
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(function as u64),
        };
        let scope =
            NonZeroU32::new(pid).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let link = uprobe.attach(point, &path, scope).map_err(|source| TimelineError::Attach {
            function: function.name(),
            offset,
            path: path.clone(),
            source: Box::new(source),
        })?;
        self.links.add(uprobe.take_link(link).map_err(refused)?);
        Ok(())
    }

    /// Takes the probes out and gives what they saw.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn finish(self) -> Result<Calls, TimelineError> {
        let Self { links, ebpf, functions, counters, reader } = self;
        drop((links, ebpf)); // first the probes, then the last records
        let (records, mut lost) = reader.finish();
        let mut entries = [None; Function::ALL.len()];
        for function in &functions {
            let index = *function as usize;
            let cpus = counters
                .get(&u32::from(*function as u8), 0)
                .map_err(|source| refused(COUNTERS, source))?;
            lost += cpus.iter().map(|cpu| cpu.lost).sum::<u64>();
            entries[index] = Some(cpus.iter().map(|cpu| cpu.entries).sum());
        }
        Ok(Calls::new(records, entries, lost))
    }
}

fn missing(map: &'static str) -> TimelineError {
    TimelineError::Map { map, source: "not in the object".into() }
}

fn refused(map: &'static str, source: aya::maps::MapError) -> TimelineError {
    TimelineError::Map { map, source: Box::new(source) }
}

/// The thread that empties the ring.
#[derive(Debug)]
struct Reader {
    stop: Arc<AtomicBool>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<(Vec<CallRecord>, u64)>>,
}

impl Reader {
    fn start(mut ring: RingBuf<MapData>) -> Result<Self, TimelineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let read = move || {
            let (mut records, mut lost) = (Vec::new(), 0);
            loop {
                // Asked before the ring is emptied: what is in it by now is still taken.
                let last = told.load(Ordering::Acquire);
                while let Some(item) = ring.next() {
                    match decode(&item) {
                        Some(record) if records.len() < MAX_RECORDS => records.push(record),
                        _ => lost += 1,
                    }
                }
                if last {
                    return (records, lost);
                }
                thread::park_timeout(PAUSE);
            }
        };
        let thread = thread::Builder::new().name("qemu-calls".to_owned()).spawn(read);
        Ok(Self { stop, thread: Some(thread.map_err(TimelineError::Reader)?) })
    }

    fn finish(mut self) -> (Vec<CallRecord>, u64) {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<(Vec<CallRecord>, u64)> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
    }
}

/// The fields of a record, native byte order.
fn decode(bytes: &[u8]) -> Option<CallRecord> {
    let half = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    Some(CallRecord {
        time_ns: u64::from_ne_bytes(*bytes.first_chunk()?),
        function: half(8)?,
        edge: half(12)?,
        tid: half(16)?,
        reserved: half(20)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_decoded_as_they_lie_in_memory() {
        let mut bytes = 7_u64.to_ne_bytes().to_vec();
        for half in [3_u32, 1, 42, 0] {
            bytes.extend(half.to_ne_bytes());
        }
        let record = CallRecord { time_ns: 7, function: 3, edge: 1, tid: 42, reserved: 0 };
        assert_eq!(decode(&bytes), Some(record));
        assert_eq!(decode(&bytes[..23]), None);
    }
}

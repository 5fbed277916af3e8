//! The probes of one QEMU, and the thread that takes what they write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray, RingBuf};
use probe_abi::qemu::{CallCounters, CallRecord};
use probe_loader::{Keeper, KeeperError, LoadError, ObjectSettings, ProbePoint};

use super::{Calls, Code, QemuFunction, TimelineError};

/// The object that `build.rs` embedded, aligned as ELF parsers want it. A program that sets probes gives it to
/// [`probe_loader::start`].
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/qemu.o"));

/// Bytes of the ring: 32 Ki records, and a QEMU makes some hundreds a second.
const RING_BYTES: u32 = 1 << 20;
/// How long the kernel may take to set the probes: a report can do without.
const SETTING: Duration = Duration::from_secs(10);
/// How often the ring is emptied.
const PAUSE: Duration = Duration::from_millis(50);
/// Most records that are kept, 24 MiB of them; further ones count as lost.
const MAX_RECORDS: usize = 1 << 20;

const ENTER: &str = "qemu_enter";
const RETURN: &str = "qemu_return";
const CALLS: &str = "CALLS";
const COUNTERS: &str = "CALL_COUNTERS";

/// Records the calls of one QEMU. The probes are taken out when it is dropped.
pub struct Recorder {
    /// Gone first.
    keeper: Keeper,
    functions: Vec<QemuFunction>,
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
        let settings = ObjectSettings::default().entries(CALLS, RING_BYTES);
        let mut keeper = Keeper::load(pid, OBJECT, &settings, &[ENTER, RETURN])?;
        let ring = keeper.take(CALLS)?;
        let counters = keeper.take(COUNTERS)?;
        let reader = Reader::start(ring)?;
        let mut wanted = Vec::new();
        for (function, site) in &sites {
            let entry = site.entry().0;
            let at = |program: &str| {
                let cookie = Some(u64::from(*function as u8));
                (*function, ProbePoint { program: program.to_owned(), entry, probe: entry, cookie })
            };
            wanted.push(at(ENTER));
            wanted.extend(function.wants_return().then(|| at(RETURN)));
        }
        let all = wanted.iter().map(|(_, site)| site.clone()).collect();
        let waits = |_| log::info!("the kernel takes its time to set probes in QEMU");
        let attached = keeper.attach(code.file(), all, Some(SETTING), waits);
        attached.map_err(|error| match error {
            KeeperError::Refused(LoadError::Attach { site, source }) if site < wanted.len() => {
                let (function, site) = &wanted[site];
                TimelineError::Attach {
                    function: function.name(),
                    offset: site.entry,
                    path: code.path(),
                    source,
                }
            }
            error => error.into(),
        })?;
        let functions = sites.iter().map(|(function, _)| *function).collect();
        Ok(Self { keeper, functions, counters, reader })
    }

    /// Takes the probes out and gives what they saw.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn finish(self) -> Result<Calls, TimelineError> {
        let Self { keeper, functions, counters, reader } = self;
        drop(keeper); // first the probes, then the last records
        let (records, mut lost) = reader.finish();
        let mut entries = [None; QemuFunction::ALL.len()];
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
        let stopped = Arc::clone(&stop);
        let read = move || {
            let (mut records, mut lost) = (Vec::new(), 0);
            loop {
                // Read before the ring is emptied: what is in it by now is still taken.
                let last = stopped.load(Ordering::Acquire);
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

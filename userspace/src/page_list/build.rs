//! The fast form: from a source's live memory to merged runs in disk order.
//!
//! ```text
//! which slots had an event since the last list (all of them, without one)
//! the source:  looks at them (of a pool: two threads scan descriptors) -> judge -> candidates in file order
//! one beside:  page tables of all frames, in bulk
//! then:        candidates in file order -> extent on disk -> sort by disk, among those of the last list
//! two threads: each page's frames, in the order of the list, if any has moved
//! at last:     runs, made and merged while they are written (to memory by two threads)
//! ```
//! Memory: 12 bytes an eligible page and 8 bytes a frame (by slot and in the order of the list), and 4
//! bytes a slot where the list is kept for the next one. Runs are never all in memory: scattered frames
//! would make more of them than pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use page_wire::{Device, Encoder, Facts, encode_head, encoded_bytes};
use serde::Serialize;

use super::BuildError;
use super::list_cache::{CachedList, ListCache};
use super::located::Located;
use super::source::{Changes, Harvest, PageSource, PoolSource};
use crate::clock::monotonic_ns;
use crate::frames::{FRAME_BYTES, Frames, FramesError, Pagemap};
use crate::locate::Locator;
use crate::on_disk::DiskFinder;
use crate::residency::Residency;
use crate::scan::PIECE_BYTES;
use crate::server::Server;

/// A list ready for the host.
pub struct Built {
    /// Numbers for the header.
    pub facts: Facts,
    /// Disks and share files.
    pub devices: Vec<Device>,
    /// Slots (of a pool: blocks) that are not on it, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// How long each step took.
    pub steps: ListSteps,
    /// Slots (of a pool: descriptors) that were looked at; the others had no event since an earlier list judged them.
    pub judged: u64,
    located: Arc<Located>,
    runs: u64,
}

/// Wall-clock time of the steps; `scan_s` and `translate_s` run side by side.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ListSteps {
    /// Looking at the files.
    pub refresh_s: f64,
    /// Reading and judging descriptors, and sorting what is left.
    pub scan_s: f64,
    /// Virtual addresses to frames.
    pub translate_s: f64,
    /// Pages to disk, and sorting.
    pub locate_s: f64,
    /// Making and merging runs, once to count them.
    pub merge_s: f64,
    /// All of it.
    pub total_s: f64,
}

impl Built {
    /// Number of runs.
    #[must_use]
    pub const fn run_count(&self) -> u64 {
        self.runs
    }

    /// Bytes that the runs cover.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.facts.pages * u64::from(self.facts.page_size)
    }

    /// Writes the binary form.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut impl Write) -> Result<(), BuildError> {
        let mut encoder = Encoder::new(out, &self.facts, &self.devices, self.runs)?;
        self.located.each_run(|run| encoder.push(run))?;
        Ok(encoder.finish()?)
    }

    /// Bytes of the binary form.
    #[must_use]
    pub fn encoded_bytes(&self) -> u64 {
        encoded_bytes(&self.devices, self.runs)
    }

    /// Writes the runs alone to memory of their size.
    pub(super) fn write_runs(&self, out: &mut [u8]) -> Result<(), BuildError> {
        Ok(self.located.write_runs(out)?)
    }

    /// Writes the binary form to memory of its size ([`encoded_bytes`](Self::encoded_bytes)), on two
    /// threads.
    ///
    /// # Errors
    /// When the memory is too small.
    pub fn write_to(&self, out: &mut [u8]) -> Result<(), BuildError> {
        let head = encode_head(&self.facts, &self.devices, self.runs)?;
        let (front, runs) = out
            .split_at_mut_checked(head.len())
            .ok_or_else(|| BuildError::Write(std::io::ErrorKind::WriteZero.into()))?;
        front.copy_from_slice(&head);
        Ok(self.located.write_runs(runs)?)
    }
}

/// Makes the list of a server's pool anew.
///
/// # Errors
/// When the server is gone, its memory or files cannot be read.
pub fn build(
    server: &Server,
    residency: Option<&Residency>,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<Built, BuildError> {
    rebuild(server, residency, locator, frames, &mut ListCache::default())
}

/// Makes the list of a server's pool from the one before, which `prepared` has kept, and keeps it for the next.
/// Without a residency table it is made anew.
///
/// # Errors
/// As [`build`]; the next list is then made anew.
pub fn rebuild(
    server: &Server,
    residency: Option<&Residency>,
    locator: &mut Locator,
    frames: &mut Frames,
    prepared: &mut ListCache,
) -> Result<Built, BuildError> {
    let clock = Clock::start();
    locator.refresh()?;
    let (tablespaces, finder) = locator.halves();
    let source = PoolSource::new(server, residency, tablespaces);
    make(&source, finder, frames, prepared, clock)
}

/// Makes the list of any source, whose files `finder` has looked at.
///
/// # Errors
/// When the process is gone, or its memory cannot be read.
pub fn build_from(
    source: &impl PageSource,
    finder: &mut DiskFinder,
    frames: &mut Frames,
    prepared: &mut ListCache,
) -> Result<Built, BuildError> {
    make(source, finder, frames, prepared, Clock::start())
}

fn make(
    source: &impl PageSource,
    finder: &mut DiskFinder,
    frames: &mut Frames,
    prepared: &mut ListCache,
    mut clock: Clock,
) -> Result<Built, BuildError> {
    let kept = prepared.take(source, finder);
    clock.steps.refresh_s = clock.lap();
    let CachedList { judged, mut page_locator, located, mut table } = kept;
    let mut located = Arc::try_unwrap(located).unwrap_or_default();
    let (found, translated) = std::thread::scope(|scope| {
        let translate = scope.spawn(|| {
            let start = Instant::now();
            table.translate(source, frames).map(|moved| (moved, start.elapsed()))
        });
        let changes = match source.has_words() {
            true => judged.changes(|slot| source.word(slot)),
            false => Changes::all(source.slots()),
        };
        if changes.some_left {
            located.retain(&judged);
        }
        let found = source.find(changes.unknown, &judged);
        clock.steps.scan_s = clock.lap();
        (found, translate.join())
    });
    let Harvest { candidates, mut left_out, judged: looked_at } = found?;
    let (moved, translated) = match translated {
        Ok(result) => result?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    clock.steps.translate_s = translated.as_secs_f64();
    clock.lap();
    let frames = table.frames();
    located.add(candidates, frames, &mut page_locator, (source, finder), &judged, &mut left_out);
    located.gather(frames, moved, &judged, &mut left_out);
    let devices = page_locator.devices.to_devices(finder);
    clock.steps.locate_s = clock.lap();
    let runs = located.count_runs();
    clock.steps.merge_s = clock.lap();
    let facts = Facts {
        page_size: source.page_bytes(),
        pages: located.pages(),
        begun_ns: clock.begun_ns,
        done_ns: monotonic_ns(),
    };
    let located = Arc::new(located);
    let built = Built {
        facts,
        devices,
        left_out: left_out.names(),
        steps: clock.end(),
        judged: looked_at,
        located: Arc::clone(&located),
        runs,
    };
    if source.has_words() {
        prepared.keep(CachedList { judged, page_locator, located, table });
    }
    Ok(built)
}

/// Times the steps.
struct Clock {
    start: Instant,
    last: Instant,
    begun_ns: u64,
    steps: ListSteps,
}

impl Clock {
    fn start() -> Self {
        let start = Instant::now();
        Self { start, last: start, begun_ns: monotonic_ns(), steps: ListSteps::default() }
    }

    /// Time since the last lap.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - std::mem::replace(&mut self.last, now);
        lap.as_secs_f64()
    }

    fn end(self) -> ListSteps {
        ListSteps { total_s: self.start.elapsed().as_secs_f64(), ..self.steps }
    }
}

/// Raw bulk reads of the same descriptors and pagemap range: what a list is measured against.
///
/// # Errors
/// As [`build`].
pub fn raw_reads(server: &Server, pagemap: &mut Pagemap) -> Result<Duration, BuildError> {
    let start = Instant::now();
    let mut buffer = vec![0; PIECE_BYTES];
    let pool_map = &server.pool_map;
    for chunk in &pool_map.chunks {
        let bytes = u64::from(chunk.blocks) * server.layout.block.stride as u64;
        let mut done = 0;
        while done < bytes {
            let len = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(buffer.len());
            server.memory().read(chunk.descriptors.plus(done), &mut buffer[..len])?;
            done += len as u64;
        }
        let frames = u64::from(chunk.blocks) * u64::from(pool_map.page_size) / FRAME_BYTES;
        pagemap
            .read_raw(chunk.frames, usize::try_from(frames).unwrap_or(0))
            .map_err(FramesError::from)?;
    }
    Ok(start.elapsed())
}

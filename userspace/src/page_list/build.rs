//! The fast form: from the live pool to merged runs in disk order.
//!
//! ```text
//! two threads: scan descriptors -> judge -> candidates -> sort by space and page
//! one beside:  page tables of all frames, in bulk
//! then:        candidates in file order -> place on disk -> sort by disk
//! two threads: each page's frames, in the order of the list
//! at last:     runs, made and merged while they are written
//! ```
//! Memory: 12 bytes an eligible page and 4 bytes a frame, the frames twice for a moment (by block and
//! in the order of the list). Runs are never all in memory: scattered frames would make more of them
//! than pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use page_wire::{Encoder, Facts, Medium};
use serde::Serialize;

use super::ListError;
use super::candidates::{Found, LeftOut, find};
use super::media::MediaTable;
use super::placed::Placed;
use crate::clock::monotonic_ns;
use crate::frames::{FRAME_BYTES, Frame, Frames, FramesError, Pagemap};
use crate::geometry::Geometry;
use crate::locate::Locator;
use crate::residency::Residency;
use crate::scan::PIECE_BYTES;
use crate::server::Server;

/// A list ready for the host.
pub struct Built {
    /// Numbers for the header.
    pub facts: Facts,
    /// Disks and share files.
    pub media: Vec<Medium>,
    /// Blocks that are not on it, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// How long each step took.
    pub steps: Steps,
    /// Descriptors that were read; the others had no event since an earlier list judged them.
    pub judged: u64,
    placed: Placed,
    runs: u64,
}

/// Wall-clock time of the steps; `scan_s` and `translate_s` run side by side.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steps {
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
    pub fn write(&self, out: &mut impl Write) -> Result<(), ListError> {
        let mut encoder = Encoder::new(out, &self.facts, &self.media, self.runs)?;
        self.placed.each_run(|run| encoder.push(run))?;
        Ok(encoder.finish()?)
    }
}

/// Makes the list. With a residency table the probes' word is asked for each page; without one, the
/// LSN in the frame of each page that was changed since it was read.
///
/// # Errors
/// When the server is gone, its memory or files cannot be read.
pub fn build(
    server: &Server,
    residency: Option<&Residency>,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<Built, ListError> {
    let (start, begun_ns) = (Instant::now(), monotonic_ns());
    let mut clock = Lap(start);
    locator.refresh()?;
    let refresh_s = clock.lap();
    let geometry = &server.geometry;
    let (found, translated) = std::thread::scope(|scope| {
        let translate = scope.spawn(|| {
            let mut clock = Lap(Instant::now());
            translate_all(geometry, frames).map(|table| (table, clock.lap()))
        });
        let mut clock = Lap(Instant::now());
        let found = find(server, residency).map(|found| (found, clock.lap()));
        (found, translate.join())
    });
    let (Found { candidates, mut left_out, judged }, scan_s) = found?;
    let (table, translate_s) = match translated {
        Ok(result) => result?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    clock.lap();
    let mut media = MediaTable::default();
    let placed = Placed::of(geometry, candidates, &table, locator, &mut media, &mut left_out);
    drop(table);
    let media = media.into_media(locator);
    let locate_s = clock.lap();
    let runs = placed.count_runs();
    let merge_s = clock.lap();
    let facts = Facts {
        page_size: geometry.page_size,
        pages: placed.pages(),
        begun_ns,
        done_ns: monotonic_ns(),
    };
    let total_s = start.elapsed().as_secs_f64();
    let steps = Steps { refresh_s, scan_s, translate_s, locate_s, merge_s, total_s };
    let left_out = LeftOut::names(&left_out);
    Ok(Built { facts, media, left_out, steps, judged, placed, runs })
}

/// Time since the last lap.
struct Lap(Instant);

impl Lap {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - std::mem::replace(&mut self.0, now);
        lap.as_secs_f64()
    }
}

/// Frames of the whole pool, `page_size / FRAME_BYTES` a block.
fn translate_all(geometry: &Geometry, frames: &mut Frames) -> Result<Vec<Frame>, FramesError> {
    let len = usize::try_from(geometry.frame_bytes() / FRAME_BYTES).unwrap_or(0);
    let mut table = vec![Frame::ABSENT; len];
    let mut at = 0;
    for chunk in &geometry.chunks {
        let bytes = u64::from(chunk.blocks) * u64::from(geometry.page_size);
        let count = usize::try_from(bytes / FRAME_BYTES).unwrap_or(0);
        frames.translate(chunk.frames, &mut table[at..at + count])?;
        at += count;
    }
    Ok(table)
}

/// Raw bulk reads of the same descriptors and pagemap range: what a list is measured against.
///
/// # Errors
/// As [`build`].
pub fn raw_reads(server: &Server, pagemap: &mut Pagemap) -> Result<Duration, ListError> {
    let start = Instant::now();
    let mut buffer = vec![0; PIECE_BYTES];
    let geometry = &server.geometry;
    for chunk in &geometry.chunks {
        let bytes = u64::from(chunk.blocks) * server.layout.block.stride as u64;
        let mut done = 0;
        while done < bytes {
            let len = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(buffer.len());
            server.memory().read(chunk.descriptors.plus(done), &mut buffer[..len])?;
            done += len as u64;
        }
        let frames = u64::from(chunk.blocks) * u64::from(geometry.page_size) / FRAME_BYTES;
        pagemap
            .read_raw(chunk.frames, usize::try_from(frames).unwrap_or(0))
            .map_err(FramesError::from)?;
    }
    Ok(start.elapsed())
}

//! The fast form: from the live pool to merged runs in disk order.
//!
//! ```text
//! thread 1: scan descriptors -> judge -> candidates -> sort by space and page
//! thread 2: page tables of all frames, in bulk
//! then:     candidates in file order -> place, extents -> runs -> sort by disk -> merge
//! ```
//! Per eligible page: 12 bytes of candidate, 4 bytes a frame, 16 bytes a run. Nothing else grows with
//! the pool.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use page_wire::{Facts, Medium, Run, encode, sort_and_merge};
use serde::Serialize;

use super::judge::{Judge, Reason};
use super::lsn::find_detached;
use super::media::MediaTable;
use super::ListError;
use crate::clock::monotonic_ns;
use crate::frames::{FRAME_BYTES, Frame, Frames, FramesError};
use crate::geometry::Geometry;
use crate::locate::{self, Locator, PageNo, SpaceId};
use crate::memory::ServerAddr;
use crate::residency::Residency;
use crate::scan::scan;
use crate::server::Server;

/// A list ready for the host.
pub struct Built {
    /// Numbers for the header.
    pub facts: Facts,
    /// Disks and share files.
    pub media: Vec<Medium>,
    /// Merged runs in disk order.
    pub runs: Vec<Run>,
    /// Blocks that are not on it, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// How long each step took.
    pub steps: Steps,
}

/// Wall-clock time of the steps; `scan` and `translate` run side by side.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steps {
    /// Looking at the files.
    pub refresh_s: f64,
    /// Reading and judging descriptors, and sorting what is left.
    pub scan_s: f64,
    /// Virtual addresses to frames.
    pub translate_s: f64,
    /// Pages to disk, runs, sorting and merging.
    pub locate_s: f64,
    /// All of it.
    pub total_s: f64,
}

impl Built {
    /// Bytes that the runs cover.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Writes the binary form.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut impl std::io::Write) -> Result<(), ListError> {
        Ok(encode(out, &self.facts, &self.media, &self.runs)?)
    }
}

/// An eligible page, but for its place.
#[derive(Clone, Copy)]
struct Candidate {
    space: u32,
    page: u32,
    block: u32,
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
    locator.refresh()?;
    let refresh = start.elapsed();
    let geometry = &server.geometry;
    let (scanned, translated) = std::thread::scope(|scope| {
        let translate = scope.spawn(|| {
            let start = Instant::now();
            translate_all(geometry, frames).map(|table| (table, start.elapsed()))
        });
        let start = Instant::now();
        let scanned = find_candidates(server, residency).map(|found| (found, start.elapsed()));
        (scanned, translate.join())
    });
    let ((candidates, mut left_out), scan_time) = scanned?;
    let (table, translate_time) = match translated {
        Ok(result) => result?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let located = Instant::now();
    let listed = candidates.len() as u64;
    let (media, runs) = find_runs(geometry, &candidates, &table, locator, &mut left_out);
    let dropped: u64 = left_out.late;
    let facts = Facts {
        page_size: geometry.page_size,
        pages: listed - dropped,
        begun_ns,
        done_ns: monotonic_ns(),
    };
    let steps = Steps {
        refresh_s: refresh.as_secs_f64(),
        scan_s: scan_time.as_secs_f64(),
        translate_s: translate_time.as_secs_f64(),
        locate_s: located.elapsed().as_secs_f64(),
        total_s: start.elapsed().as_secs_f64(),
    };
    Ok(Built { facts, media, runs, left_out: left_out.names(), steps })
}

/// Blocks left out, by reason. Few reasons, so a list is quicker than a map.
#[derive(Default)]
struct LeftOut<'a> {
    counts: Vec<(Reason<'a>, u64)>,
    /// Of these, pages that had been candidates.
    late: u64,
}

impl<'a> LeftOut<'a> {
    #[inline]
    fn add(&mut self, reason: Reason<'a>) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((reason, 1)),
        }
    }

    fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (reason, count) in &self.counts {
            *names.entry(reason.name().to_owned()).or_default() += count;
        }
        names
    }
}

fn find_candidates<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
) -> Result<(Vec<Candidate>, LeftOut<'a>), ListError> {
    let mut judge = Judge::new(server, residency);
    let mut candidates = Vec::new();
    let mut left_out = LeftOut::default();
    let mut changed = Vec::new();
    scan(server.memory(), &server.layout, &server.geometry, |block| match judge.judge(&block) {
        (_, None) => {
            let newest = block.newest_lsn();
            if residency.is_none() && newest != 0 {
                changed.push((candidates.len(), (block.frame(), newest)));
            }
            candidates.push(Candidate {
                space: block.space(),
                page: block.page(),
                block: block.index,
            });
        }
        (_, Some(reason)) => left_out.add(reason),
    })?;
    remove_detached(server, &changed, &mut candidates, &mut left_out);
    candidates.sort_unstable_by_key(|c| u64::from(c.space) << 32 | u64::from(c.page));
    Ok((candidates, left_out))
}

/// Applies the LSN test to the candidates that were changed since they were read.
fn remove_detached<'a>(
    server: &Server,
    changed: &[(usize, (ServerAddr, u64))],
    candidates: &mut Vec<Candidate>,
    left_out: &mut LeftOut<'a>,
) {
    let pages: Vec<_> = changed.iter().map(|(_, page)| *page).collect();
    let mut gone = Vec::new();
    find_detached(server.memory(), &pages, |index| gone.push(changed[index].0));
    for index in gone.into_iter().rev() {
        candidates.swap_remove(index);
        left_out.add(Reason::Detached);
    }
}

/// Frames of the whole pool, `page_size / FRAME_BYTES` a block. Pages smaller than a frame share one.
fn translate_all(geometry: &Geometry, frames: &mut Frames) -> Result<Vec<Frame>, FramesError> {
    let mut table =
        vec![Frame::ABSENT; usize::try_from(geometry.frame_bytes() / FRAME_BYTES).unwrap_or(0)];
    let mut at = 0;
    for chunk in &geometry.chunks {
        let bytes = u64::from(chunk.blocks) * u64::from(geometry.page_size);
        let count = usize::try_from(bytes / FRAME_BYTES).unwrap_or(0);
        frames.translate(chunk.frames, &mut table[at..at + count])?;
        at += count;
    }
    Ok(table)
}

fn find_runs<'a>(
    geometry: &Geometry,
    candidates: &[Candidate],
    table: &[Frame],
    locator: &mut Locator,
    left_out: &mut LeftOut<'a>,
) -> (Vec<Medium>, Vec<Run>) {
    let per_page = usize::try_from(u64::from(geometry.page_size) / FRAME_BYTES).unwrap_or(0);
    let mut media = MediaTable::default();
    let mut runs: Vec<Run> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let first = candidate.block as usize * per_page;
        let frames = table.get(first..first + per_page).filter(|frames| !frames.is_empty());
        let before = runs.len();
        let added = frames
            .ok_or(Reason::FrameAbsent)
            .and_then(|frames| page_runs(candidate, frames, locator, &mut media, &mut runs));
        match added {
            Err(reason) => {
                runs.truncate(before);
                left_out.add(reason);
                left_out.late += 1;
            }
            // Pages come in file order: joining at once keeps the list short before it is sorted.
            Ok(()) => join_at(&mut runs, before),
        }
    }
    sort_and_merge(&mut runs);
    runs.shrink_to_fit();
    (media.into_media(locator), runs)
}

/// Joins the run numbered `at` to the one before it, if it goes on from there.
#[inline]
fn join_at(runs: &mut Vec<Run>, at: usize) {
    if let Some([last, next, ..]) = at.checked_sub(1).and_then(|start| runs.get(start..))
        && let Some(joined) = last.joined(next)
    {
        runs[at - 1] = joined;
        runs.remove(at);
    }
}

/// Appends the runs of one page.
fn page_runs<'a>(
    candidate: &Candidate,
    frames: &[Frame],
    locator: &mut Locator,
    media: &mut MediaTable,
    runs: &mut Vec<Run>,
) -> Result<(), Reason<'a>> {
    let place = locator
        .place(SpaceId(candidate.space), PageNo(candidate.page))
        .map_err(Reason::NotOnDisk)?;
    if u64::from(place.len_bytes) != frames.len() as u64 * FRAME_BYTES {
        return Err(Reason::NotOnDisk(locate::NotOnDisk::Compressed));
    }
    match locator.medium(place).map_err(Reason::NotOnDisk)? {
        locate::Medium::Disk(ranges) => {
            let mut rest = frames;
            for range in &ranges {
                let number = media.disk(range.device).ok_or(Reason::TooLarge)?;
                let count = usize::try_from(range.len_bytes / FRAME_BYTES).unwrap_or(usize::MAX);
                // A page that an extent boundary cuts inside a frame cannot be named by runs.
                if range.len_bytes % FRAME_BYTES != 0 || count > rest.len() {
                    return Err(Reason::NotOnDisk(locate::NotOnDisk::ExtentInline));
                }
                let (here, later) = rest.split_at(count);
                append(here, number, range.offset.0, runs)?;
                rest = later;
            }
            Ok(())
        }
        locate::Medium::Share => {
            let number = media.file(place.file).ok_or(Reason::TooLarge)?;
            append(frames, number, place.offset.0, runs)
        }
    }
}

/// Appends frames whose bytes follow each other on a medium from byte `offset` on.
#[inline]
fn append<'a>(
    frames: &[Frame],
    medium: u16,
    offset: u64,
    runs: &mut Vec<Run>,
) -> Result<(), Reason<'a>> {
    const UNIT: u64 = 1 << page_wire::UNIT_SHIFT;
    if offset % UNIT != 0 {
        return Err(Reason::TooLarge);
    }
    let mut unit = offset / UNIT;
    let mut rest = frames;
    while let Some(first) = rest.first() {
        let gfn = first.number().ok_or(Reason::FrameAbsent)?;
        let follows = |(i, f): &(usize, &Frame)| f.number() == Some(gfn + *i as u64);
        let count = rest.iter().enumerate().take_while(follows).count();
        let run = u32::try_from(count).ok().and_then(|count| Run::new(gfn, count, medium, unit));
        runs.push(run.ok_or(Reason::TooLarge)?);
        unit += count as u64 * (FRAME_BYTES / UNIT);
        rest = &rest[count..];
    }
    Ok(())
}

/// Raw bulk reads of the same descriptors and pagemap range: what a list is measured against.
///
/// # Errors
/// As [`build`].
pub fn raw_reads(server: &Server, pagemap: &mut crate::frames::Pagemap) -> Result<Duration, ListError> {
    let start = Instant::now();
    let mut buffer = vec![0; crate::scan::PIECE_BYTES];
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

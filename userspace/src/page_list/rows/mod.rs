//! One row a block, in pool order, streamed: a piece of the pool is in memory at a time.

mod output;
mod summary;

use foreign::Text;
use serde::{Serialize, Serializer};

pub use self::output::{ListFormat, RowWriter};
pub use self::summary::{Group, Summary};
use super::BuildError;
use super::source::find_detached;
use crate::classify::{Class, Classifier, Reason, State};
use crate::frames::{FRAME_BYTES, Frame, Frames};
use crate::locate::{Locator, NotOnDisk, PageNo, SpaceId};
use crate::memory::ServerAddr;
use crate::on_disk::{DiskRanges, Location};
use crate::pool_map::Chunk;
use crate::residency::Residency;
use crate::scan::{PIECE_BYTES, scan_range};
use crate::server::Server;

/// Blocks in memory at a time.
const PIECE_BLOCKS: u32 = 4096;

/// One block; the fields are the keys of the JSON Lines contract, but for `instance`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Space id, where the block holds a page.
    pub space: Option<u32>,
    /// Page number, likewise.
    pub page: Option<u32>,
    /// Index of the block in pool order.
    pub block: u32,
    /// Pool instance.
    #[serde(skip)]
    pub instance: u32,
    /// State.
    pub state: State,
    /// Whether a migration may leave the page out.
    pub eligible: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Address of the frame in the server.
    #[serde(serialize_with = "hex")]
    pub frame_va: u64,
    /// Guest-physical address of each 4 KiB of the frame; null where none is mapped.
    #[serde(serialize_with = "hex_list")]
    pub gpas: Vec<Option<u64>>,
    /// The data file, as the server names it.
    pub file: Option<Text>,
    /// Offset of the page in the file.
    pub file_offset: Option<u64>,
    /// Where the page lies on whole disks; empty for a share.
    pub disk: DiskRanges,
    /// LSN of the newest change since the page was read, 0 for none.
    pub newest_lsn: u64,
    /// LSN of the oldest change that is not written, 0 for none.
    pub oldest_lsn: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

fn hex_list<S: Serializer>(values: &[Option<u64>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|v| v.map(|v| format!("{v:#x}"))))
}

/// Which rows are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Only eligible pages.
    pub eligible: bool,
    /// Only this space.
    pub space: Option<u32>,
}

impl Filter {
    fn wants(&self, row: &Row) -> bool {
        (!self.eligible || row.eligible) && (self.space.is_none() || row.space == self.space)
    }
}

/// Calls `each` with every wanted row.
///
/// # Errors
/// When the server is gone, its memory or files cannot be read, or `each` fails.
pub fn rows(
    server: &Server,
    residency: Option<&Residency>,
    locator: &mut Locator,
    frames: &mut Frames,
    filter: Filter,
    mut each: impl FnMut(&Row) -> std::io::Result<()>,
) -> Result<(), BuildError> {
    locator.refresh()?;
    let mut classifier = Classifier::new(server.memory(), &server.layout, residency);
    let mut buffer = vec![0; PIECE_BYTES];
    for chunk in &server.pool_map.chunks {
        let mut at = 0;
        while at < chunk.blocks {
            let end = chunk.blocks.min(at + PIECE_BLOCKS);
            let mut piece = Vec::new();
            let page_size = server.pool_map.page_size;
            let layout = &server.layout;
            scan_range(
                server.memory(),
                layout,
                page_size,
                chunk,
                at..end,
                &mut buffer,
                &mut |block| {
                    let Class { state, reason } = classifier.classify(&block);
                    let page = state.is_page();
                    piece.push(Row {
                        space: page.then(|| block.space()),
                        page: page.then(|| block.page()),
                        block: block.index,
                        instance: chunk.instance,
                        state,
                        eligible: false,
                        reason,
                        frame_va: block.frame().0,
                        gpas: Vec::new(),
                        file: None,
                        file_offset: None,
                        disk: DiskRanges::new(),
                        newest_lsn: if page { block.newest_lsn() } else { 0 },
                        oldest_lsn: if page { block.oldest_lsn() } else { 0 },
                    });
                },
            )?;
            if residency.is_none() {
                mark_detached(server, &mut piece);
            }
            translate(page_size, chunk, at, frames, &mut piece)?;
            for row in &mut piece {
                place(row, locator);
                if filter.wants(row) {
                    each(row)?;
                }
            }
            at = end;
        }
    }
    Ok(())
}

/// The LSN test on the rows that nothing else speaks against.
fn mark_detached(server: &Server, piece: &mut [Row]) {
    let (indices, pages): (Vec<usize>, Vec<_>) = piece
        .iter()
        .enumerate()
        .filter(|(_, row)| row.reason.is_none() && row.newest_lsn != 0)
        .map(|(index, row)| (index, (ServerAddr(row.frame_va), row.newest_lsn)))
        .unzip();
    find_detached(server.memory(), &pages, |at| piece[indices[at]].reason = Some(Reason::Detached));
}

fn translate(
    page_size: u32,
    chunk: &Chunk,
    first: u32,
    frames: &mut Frames,
    piece: &mut [Row],
) -> Result<(), BuildError> {
    let size = u64::from(page_size);
    let start = chunk.frames.plus(u64::from(first) * size);
    // Pages smaller than a frame share one with their neighbours.
    let per_page = usize::try_from(size.div_ceil(FRAME_BYTES)).unwrap_or(1);
    let count = usize::try_from((piece.len() as u64 * size).div_ceil(FRAME_BYTES)).unwrap_or(0);
    let mut found = vec![Frame::ABSENT; count];
    frames.translate(start, &mut found)?;
    for (index, row) in piece.iter_mut().enumerate() {
        let at = usize::try_from(index as u64 * size / FRAME_BYTES).unwrap_or(usize::MAX);
        let own = found.get(at..(at + per_page).min(found.len())).unwrap_or_default();
        row.gpas = own.iter().map(|frame| frame.address()).collect();
    }
    Ok(())
}

/// Fills in where a page lies, and what of that speaks against it.
fn place(row: &mut Row, locator: &mut Locator) {
    let (Some(space), Some(page)) = (row.space, row.page) else { return };
    let found = locator.locate(SpaceId(space), PageNo(page)).and_then(|place| {
        row.file_offset = Some(place.offset.0);
        row.file = locator.tablespaces().file(place.file).map(|f| f.path().into());
        if let Location::Disk(ranges) = locator.location(place)? {
            row.disk = ranges;
        }
        Ok(u64::from(place.len_bytes))
    });
    if row.file.is_none() {
        // A file whose pages have no place has a name all the same, until it is dropped.
        let mut files = locator.tablespaces().files_of(SpaceId(space));
        let named = files.find(|file| file.refused() != Some(NotOnDisk::Dropped));
        row.file = named.map(|file| file.path().into());
    }
    let doubt = match found {
        Err(reason) => Some(Reason::NotOnDisk(reason)),
        Ok(len) if len != row.gpas.len() as u64 * FRAME_BYTES => {
            Some(Reason::NotOnDisk(NotOnDisk::Compressed))
        }
        Ok(_) if row.gpas.iter().any(Option::is_none) => Some(Reason::FrameAbsent),
        Ok(_) => None,
    };
    row.reason = row.reason.or(doubt);
    row.eligible = row.reason.is_none();
}

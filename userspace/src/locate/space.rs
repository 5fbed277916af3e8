//! One tablespace: which pages of it lie in which file.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::data_file::DataFile;
use super::header::FirstPage;
use super::ids::{PageNo, SpaceId};
use super::names::FileRole;
use super::reason::NotOnDisk;
use crate::on_disk::{FileId, Unmapped};

/// A run of pages in one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: FileId,
    /// Number of the file's first page within the space.
    pub(crate) first: u32,
    /// Whole pages of the space in this file.
    pub(crate) pages: u32,
}

/// A tablespace with its files in page order.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    pub(crate) page_bytes: u32,
    refused: Option<NotOnDisk>,
    pub(crate) parts: SmallVec<[FilePart; 1]>,
}

impl Space {
    /// The part in which a page lies.
    pub(crate) fn part_of(&self, page: PageNo) -> Result<&FilePart, NotOnDisk> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        let after = self.parts.partition_point(|part| part.first <= page.0);
        let part = after.checked_sub(1).and_then(|index| self.parts.get(index));
        let part = part.ok_or(NotOnDisk::File(Unmapped::BeyondEof))?;
        match page.0 - part.first {
            0 => Err(NotOnDisk::FirstPage),
            index if index >= part.pages => Err(NotOnDisk::File(Unmapped::BeyondEof)),
            _ => Ok(part),
        }
    }

    /// True when it is not known which files it has.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.refused == Some(NotOnDisk::AmbiguousSpace)
    }

    /// Puts the spaces together from the files' own headers.
    pub(crate) fn assemble(files: &BTreeMap<FileId, Arc<DataFile>>) -> FxHashMap<SpaceId, Self> {
        let mut spaces: FxHashMap<SpaceId, (u8, Self)> = FxHashMap::default();
        for (id, file) in files {
            let FirstPage::Space { id: space, flags, .. } = file.header else { continue };
            let page_bytes = flags.page_bytes().unwrap_or(u32::MAX);
            let part = FilePart { file: *id, first: 0, pages: whole_pages(file, page_bytes) };
            let parts = SmallVec::from_elem(part, 1);
            let claim = Self { page_bytes, refused: file.refused(), parts };
            let rank = rank(file);
            match spaces.get_mut(&space) {
                Some((best, _)) if *best > rank => {}
                Some((best, known)) if *best == rank => {
                    known.refused = Some(NotOnDisk::AmbiguousSpace);
                }
                _ => drop(spaces.insert(space, (rank, claim))),
            }
        }
        let mut spaces: FxHashMap<_, _> =
            spaces.into_iter().map(|(id, (_, space))| (id, space)).collect();
        if let Some(system) = spaces.get_mut(&SpaceId::SYSTEM) {
            system.add_parts(files);
        }
        spaces
    }

    /// Adds the later files of the system tablespace, each at the page number that its own pages prove,
    /// up to the length that the space's header states.
    fn add_parts(&mut self, files: &BTreeMap<FileId, Arc<DataFile>>) {
        let declared = |part: &FilePart| files.get(&part.file).and_then(|file| file.system());
        let end = self.parts.first().and_then(declared).map_or(0, |(_, pages)| pages);
        let mut later: Vec<_> = files
            .iter()
            .filter_map(|(id, file)| match file.header {
                FirstPage::SystemPart { first } => {
                    Some((first.0, std::cmp::Reverse(rank(file)), *id, file))
                }
                _ => None,
            })
            .collect();
        later.sort_unstable_by_key(|(first, rank, id, _)| (*first, *rank, *id));
        let mut last_rank = None;
        for (first, rank, id, file) in later {
            let Some(previous) = self.parts.last_mut() else { return };
            if first == previous.first && last_rank.is_some() {
                // A copy of the page that begins the last file (doublewrite) is none itself.
                if last_rank == Some(rank) {
                    self.refused = Some(NotOnDisk::AmbiguousSpace);
                }
                continue;
            }
            // A file longer than its share: the server counts whole MiB (`innodb_data_file_path`).
            let in_mib = (1 << 20) / self.page_bytes.clamp(1, 1 << 20);
            let share = first.checked_sub(previous.first);
            let whole = previous.pages - previous.pages % in_mib;
            let Some(share) = share.filter(|pages| [previous.pages, whole].contains(pages)) else {
                continue;
            };
            if first >= end {
                continue;
            }
            previous.pages = share;
            self.parts.push(FilePart {
                file: id,
                first,
                pages: whole_pages(file, self.page_bytes),
            });
            self.refused = self.refused.or(file.refused());
            last_rank = Some(rank);
        }
    }
}

/// Of several files with the same content, the one that the server works on counts: a copy left in the
/// data directory is not open, a dropped file has no name, and the doublewrite buffer has copies of pages
/// of any file.
fn rank(file: &DataFile) -> u8 {
    match (file.candidate.seen.stamp.links, file.candidate.seen.fd) {
        (0, _) => 0,
        (_, None) => 1,
        (_, Some(_)) if file.candidate.role == FileRole::Foreign => 2,
        (_, Some(_)) => 3,
    }
}

/// A partly written last page does not count: its tail would be read from past the end.
fn whole_pages(file: &DataFile, page_bytes: u32) -> u32 {
    u32::try_from(file.size_bytes() / u64::from(page_bytes)).unwrap_or(u32::MAX)
}

//! From a space id and a page number to a file and an offset, without SQL and without the server.
//!
//! The data files say themselves which space they are. A look at all of them costs a few system
//! calls a file; the first page is read again only where the change time does not prove that the
//! file is as it was.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::candidates::Candidates;
use super::data_file::DataFile;
use super::error::LocateError;
use super::header::{Header, first_page_of_part};
use super::ids::{FileId, FileOffset, PageNo, SpaceId};
use super::names::Role;
use super::process::{Process, View};
use super::reason::NotOnDisk;
use super::space::{Part, Space};
use super::stamp::Inode;

/// Where a page lies in the server's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Where the page starts in it.
    pub offset: FileOffset,
    /// Size of the page in bytes.
    pub len_bytes: u32,
}

/// What a look found to be different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Files that were not there before.
    pub added: usize,
    /// Files that are gone or have lost their name.
    pub removed: usize,
    /// Files with another path.
    pub renamed: usize,
    /// Files with another size.
    pub resized: usize,
}

/// The data files of one server, and the spaces that they make up.
#[derive(Debug)]
pub struct Tablespaces {
    process: Process,
    candidates: Candidates,
    view: View,
    ids: HashMap<Inode, FileId>,
    files: BTreeMap<FileId, DataFile>,
    by_id: FxHashMap<SpaceId, Space>,
    next_id: u32,
}

impl Tablespaces {
    /// Looks at the files of process `pid` for the first time.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn open(pid: u32) -> Result<Self, LocateError> {
        let process = Process::open(pid)?;
        let mut spaces = Self {
            view: process.view()?,
            process,
            candidates: Candidates::default(),
            ids: HashMap::new(),
            files: BTreeMap::new(),
            by_id: FxHashMap::default(),
            next_id: 0,
        };
        spaces.refresh()?;
        Ok(spaces)
    }

    /// Looks again: files made, dropped, truncated (another inode), renamed, grown.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at; what was known then stays.
    pub fn refresh(&mut self) -> Result<Changes, LocateError> {
        let view = self.process.view()?;
        let known = self.files.values().map(|file| &file.candidate);
        let found = self.candidates.look(&self.process, &view, known)?;
        self.view = view;
        let mut changes = Changes::default();
        let before = self.files.len();
        self.files.retain(|_, file| found.contains_key(&file.candidate.stamp.inode));
        self.ids.retain(|inode, _| found.contains_key(inode));
        changes.removed = before - self.files.len();
        for (inode, candidate) in found {
            let known = self.ids.get(&inode).and_then(|id| Some((*id, self.files.get(id)?)));
            let Some((id, old)) = known else {
                if let Some(file) = DataFile::inspect(candidate, None, &self.process, &self.view) {
                    changes.added += 1;
                    self.insert(inode, file);
                }
                continue;
            };
            changes.renamed += usize::from(old.candidate.path != candidate.path);
            changes.resized +=
                usize::from(old.candidate.stamp.size_bytes != candidate.stamp.size_bytes);
            changes.removed +=
                usize::from(old.candidate.stamp.links != 0 && candidate.stamp.links == 0);
            match DataFile::inspect(candidate, Some(old), &self.process, &self.view) {
                Some(file) => drop(self.files.insert(id, file)),
                None => drop(self.files.remove(&id)),
            }
        }
        self.number_unwritten_parts();
        self.by_id = Space::assemble(&self.files);
        Ok(changes)
    }

    /// The place of a page.
    ///
    /// # Errors
    /// The reason why it has none that could be used.
    pub fn lookup(&self, space: SpaceId, page: PageNo) -> Result<Place, NotOnDisk> {
        let Some(known) = self.by_id.get(&space) else {
            return Err(Space::reason_for_unknown(space));
        };
        let Part { file, first, .. } = *known.part_of(page)?;
        Ok(Place {
            file,
            offset: FileOffset(u64::from(page.0 - first) * u64::from(known.page_bytes)),
            len_bytes: known.page_bytes,
        })
    }

    /// Number of pages after `page` that follow it in its file.
    #[must_use]
    pub fn pages_after(&self, space: SpaceId, page: PageNo) -> u32 {
        let part = self.by_id.get(&space).and_then(|known| known.part_of(page).ok());
        part.map_or(0, |part| part.pages - 1 - (page.0 - part.first))
    }

    /// A file by its id; `None` once it is gone.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&DataFile> {
        self.files.get(&id)
    }

    /// All files, those without a usable page among them.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &DataFile)> {
        self.files.iter().map(|(id, file)| (*id, file))
    }

    /// The files of a space in page order; empty when the space is not known.
    pub fn files_of(&self, space: SpaceId) -> impl Iterator<Item = &DataFile> {
        let parts = self.by_id.get(&space).map_or(&[][..], |space| &space.parts);
        parts.iter().filter_map(|part| self.files.get(&part.file))
    }

    /// The server's data directory as it sees it.
    #[must_use]
    pub fn datadir(&self) -> &Path {
        &self.view.datadir
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Gives the later system files whose first page was never written their place in the space.
    fn number_unwritten_parts(&mut self) {
        let page_bytes = self.files.values().find_map(|file| match file.header {
            Header::Space { id: SpaceId::SYSTEM, flags } => flags.page_bytes().ok(),
            _ => None,
        });
        let Some(page_bytes) = page_bytes else { return };
        for file in self.files.values_mut() {
            if file.candidate.role == Role::System
                && file.header == Header::Refused(NotOnDisk::HeaderUnwritten)
                && let Ok(Some(opened)) = file.candidate.open(&self.process, &self.view)
                && let Some(first) = first_page_of_part(&opened, page_bytes)
            {
                file.header = Header::SystemPart { first };
            }
        }
    }

    fn insert(&mut self, inode: Inode, file: DataFile) {
        let id = FileId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.ids.insert(inode, id);
        self.files.insert(id, file);
    }
}

//! From a space id and a page number to a file and an offset, without SQL and without the server.
//!
//! What a look (`search`) has found; it stays as it is, and the next look makes another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use symbols::files::FileConventions;

use super::data_file::DataFile;
use super::ids::{PageNo, SpaceId};
use super::reason::NotOnDisk;
use super::space::{FilePart, Space};
use crate::on_disk::{FileId, FileOffset, FileRange, FileView, Files, Process, SeenFile};

/// What a look found to be different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileChanges {
    /// Files that were not there before.
    pub added: usize,
    /// Files that are gone or have lost their name.
    pub removed: usize,
    /// Files with another path.
    pub renamed: usize,
    /// Files with another size.
    pub resized: usize,
}

impl FileChanges {
    /// Both together.
    pub(super) const fn and(self, later: Self) -> Self {
        Self {
            added: self.added + later.added,
            removed: self.removed + later.removed,
            renamed: self.renamed + later.renamed,
            resized: self.resized + later.resized,
        }
    }
}

/// The data files of one server as they were at one look, and the spaces that they make up.
#[derive(Debug)]
pub struct Tablespaces {
    pub(super) process: Arc<Process>,
    /// How this family of servers keeps its files.
    pub(super) conventions: Arc<FileConventions>,
    pub(super) view: FileView,
    pub(super) files: BTreeMap<FileId, Arc<DataFile>>,
    pub(super) by_id: FxHashMap<SpaceId, Space>,
    pub(super) left_out: usize,
}

impl Tablespaces {
    /// Without any file.
    pub(super) fn nothing(
        process: Arc<Process>,
        view: FileView,
        conventions: FileConventions,
    ) -> Self {
        let (files, by_id) = (BTreeMap::new(), FxHashMap::default());
        let conventions = Arc::new(conventions);
        Self { process, conventions, view, files, by_id, left_out: 0 }
    }

    /// The place of a page.
    ///
    /// # Errors
    /// The reason why it has none that could be used.
    pub fn lookup(&self, space: SpaceId, page: PageNo) -> Result<FileRange, NotOnDisk> {
        let Some(known) = self.by_id.get(&space) else {
            return Err(match self.conventions.is_temporary(space.0) {
                true => NotOnDisk::Temporary,
                false => NotOnDisk::SpaceNotOpen,
            });
        };
        let FilePart { file, first, .. } = *known.part_of(page)?;
        Ok(FileRange {
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
        self.files.get(&id).map(Arc::as_ref)
    }

    /// All files, those without a usable page among them.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &DataFile)> {
        self.files.iter().map(|(id, file)| (*id, file.as_ref()))
    }

    /// The files of a space in page order; empty when the space is not known.
    pub fn files_of(&self, space: SpaceId) -> impl Iterator<Item = &DataFile> {
        let parts = self.by_id.get(&space).map_or(&[][..], |space| &space.parts);
        parts.iter().filter_map(|part| self.file(part.file))
    }

    /// The server's data directory as it sees it.
    #[must_use]
    pub fn datadir(&self) -> &Path {
        &self.view.cwd
    }

    /// Files and names that there was no room for: their pages are not known, and are sent.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.left_out
    }
}

impl Files for Tablespaces {
    fn process(&self) -> &Process {
        &self.process
    }

    fn view(&self) -> &FileView {
        &self.view
    }

    fn file(&self, id: FileId) -> Option<&SeenFile> {
        self.files.get(&id).map(|file| &file.candidate.seen)
    }

    fn each(&self) -> Box<dyn Iterator<Item = &SeenFile> + '_> {
        Box::new(self.files.values().map(|file| &file.candidate.seen))
    }
}

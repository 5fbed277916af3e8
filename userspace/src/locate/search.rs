//! Looking at the server's files, over and over.
//!
//! The data files have the number of their space. A look at all of them costs a few system
//! calls a file; the first page is read again only where the change time does not prove that the
//! file is as it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::candidates::Candidates;
use super::data_file::{DataFile, Inspected};
use super::ids::SpaceId;
use super::space::Space;
use super::tablespaces::{FileChanges, Tablespaces};
use crate::on_disk::{FileId, Inode, Process, ProcessError, Stamp};

/// What one look hands on to the next.
#[derive(Debug, Default)]
pub(super) struct FileSearch {
    candidates: Candidates,
    ids: HashMap<Inode, FileId>,
    /// Open files that are none of InnoDB's, as they were.
    strangers: HashMap<Inode, Stamp>,
    next_id: u32,
}

impl FileSearch {
    /// Looks again: files made, dropped, truncated (another inode), renamed, grown.
    ///
    /// # Errors
    /// [`ProcessError`] when the process cannot be looked at.
    pub(super) fn look(
        &mut self,
        process: &Arc<Process>,
        before: &Tablespaces,
    ) -> Result<(Tablespaces, FileChanges), ProcessError> {
        let view = process.view()?;
        let known = before.files.values().map(|file| &file.candidate);
        let found = self.candidates.look(process, &view, known)?;
        let mut files = BTreeMap::new();
        let is_gone = |file: &&Arc<DataFile>| !found.contains_key(&file.candidate.seen.stamp.inode);
        let removed = before.files.values().filter(is_gone).count();
        let mut changes = FileChanges { removed, ..FileChanges::default() };
        self.ids.retain(|inode, _| found.contains_key(inode));
        self.strangers.retain(|inode, _| found.contains_key(inode));
        let mut parts = Vec::new();
        for (inode, candidate) in found {
            let is_known = |old: &Stamp| candidate.seen.stamp.proves_unchanged_since(old);
            if self.strangers.get(&inode).is_some_and(is_known) {
                continue;
            }
            self.strangers.remove(&inode);
            let id = self.id_of(inode);
            let old = before.files.get(&id).map(Arc::as_ref);
            match DataFile::inspect(candidate, old, process, &view, &before.conventions) {
                Inspected::File(file) => drop(files.insert(id, Arc::from(file))),
                Inspected::Part(candidate) => parts.push((id, candidate)),
                Inspected::Stranger(candidate) => {
                    self.strangers.insert(inode, candidate.seen.stamp);
                    self.ids.remove(&inode);
                }
            }
        }
        let system = files.values().find_map(|file: &Arc<DataFile>| file.system());
        for (id, candidate) in parts {
            let inode = candidate.seen.stamp.inode;
            let part = system
                .and_then(|(flags, _)| DataFile::part_of_system(candidate, flags, process, &view));
            match part {
                Some(file) => drop(files.insert(id, Arc::new(file))),
                None => drop(self.ids.remove(&inode)),
            }
        }
        let by_id = Space::assemble(&files);
        // Pages that follow nothing are copies (doublewrite), and the file is none of the space's.
        if let Some(system) = by_id.get(&SpaceId::SYSTEM).filter(|system| !system.is_ambiguous()) {
            files.retain(|id, file| {
                file.space() != Some(SpaceId::SYSTEM)
                    || system.parts.iter().any(|part| part.file == *id)
            });
        }
        for (id, file) in &files {
            changes.count(before.files.get(id).map(Arc::as_ref), file);
        }
        let left_out = self.candidates.left_out;
        let (process, conventions) = (Arc::clone(process), Arc::clone(&before.conventions));
        Ok((Tablespaces { process, conventions, view, files, by_id, left_out }, changes))
    }

    fn id_of(&mut self, inode: Inode) -> FileId {
        *self.ids.entry(inode).or_insert_with(|| {
            let id = FileId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            id
        })
    }
}

impl FileChanges {
    fn count(&mut self, old: Option<&DataFile>, new: &DataFile) {
        let (Some(old), new) = (old.map(|old| &old.candidate.seen), &new.candidate.seen) else {
            self.added += 1;
            return;
        };
        self.renamed += usize::from(old.path != new.path);
        self.resized += usize::from(old.stamp.size_bytes != new.stamp.size_bytes);
        self.removed += usize::from(old.stamp.links != 0 && new.stamp.links == 0);
    }
}

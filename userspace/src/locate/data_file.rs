//! One data file: what its name and its first page show.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use symbols::files::FileConventions;

use super::candidates::FileCandidate;
use super::flags::SpaceFlags;
use super::header::{FirstPage, is_encrypted, sample_page_types};
use super::ids::SpaceId;
use super::names::{FileRole, display_name};
use super::proof;
use super::reason::NotOnDisk;
use crate::on_disk::{FileView, Process, Unmapped};

/// One data file as it was at the last look.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub(crate) candidate: FileCandidate,
    pub(crate) header: FirstPage,
    /// Why no page of this file has a place, though its space is known.
    refused: Option<NotOnDisk>,
    name: String,
}

/// What a look at one file found.
pub(crate) enum Inspected {
    /// A space of its own, or a file that is called like one.
    File(Box<DataFile>),
    /// Perhaps a later file of the system tablespace: [`DataFile::part_of_system`] decides.
    Part(FileCandidate),
    /// None of InnoDB's.
    Stranger(FileCandidate),
}

impl DataFile {
    /// Reads what must be read of a file; `old` is what was known of it.
    pub(crate) fn inspect(
        candidate: FileCandidate,
        old: Option<&Self>,
        process: &Process,
        view: &FileView,
        conventions: &FileConventions,
    ) -> Inspected {
        let unchanged = old.filter(|old| {
            // What could not be read then may be readable now.
            !matches!(
                old.header,
                FirstPage::Refused(
                    NotOnDisk::File(Unmapped::FileUnreadable)
                        | NotOnDisk::File(Unmapped::FileChanged)
                )
            ) && candidate.seen.stamp.proves_unchanged_since(&old.candidate.seen.stamp)
        });
        let (header, refused) = match unchanged {
            Some(old) => (old.header, old.refused),
            None => match candidate.seen.open(process, view) {
                Ok(Some(file)) => read(&file, &candidate, conventions),
                Ok(None) => (FirstPage::Refused(NotOnDisk::File(Unmapped::FileChanged)), None),
                Err(_) => (FirstPage::Refused(NotOnDisk::File(Unmapped::FileUnreadable)), None),
            },
        };
        let open = candidate.seen.fd.is_some();
        let header = match header {
            // While the server runs it has its system tablespace open: another file is a copy.
            FirstPage::Space { id: SpaceId::SYSTEM, .. } if !open => {
                FirstPage::Refused(NotOnDisk::HeaderInvalid)
            }
            header => header,
        };
        match header {
            FirstPage::Space { id: SpaceId::SYSTEM, .. } => {}
            FirstPage::SystemPart { .. } if unchanged.is_some() => {}
            FirstPage::SystemPart { .. } | FirstPage::Refused(NotOnDisk::HeaderUnwritten)
                if open && !candidate.role.is_named_space() =>
            {
                return Inspected::Part(candidate);
            }
            _ if candidate.role.is_named_space() => {}
            _ => return Inspected::Stranger(candidate),
        }
        Inspected::File(Box::new(Self::new(candidate, header, refused, view)))
    }

    /// The file as a later one of the system tablespace, whose pages have these flags; `None` where it
    /// is none. One that was never used has nothing, and counts by its name.
    pub(crate) fn part_of_system(
        candidate: FileCandidate,
        flags: SpaceFlags,
        process: &Process,
        view: &FileView,
    ) -> Option<Self> {
        let first = match candidate.seen.open(process, view) {
            Ok(Some(file)) => proof::of_part(&file, flags),
            _ => None,
        };
        let header = match first {
            Some(first) => FirstPage::SystemPart { first },
            None if candidate.role == FileRole::System => {
                FirstPage::Refused(NotOnDisk::HeaderUnwritten)
            }
            None => return None,
        };
        Some(Self::new(candidate, header, None, view))
    }

    fn new(
        candidate: FileCandidate,
        header: FirstPage,
        refused: Option<NotOnDisk>,
        view: &FileView,
    ) -> Self {
        let shared = matches!(header, FirstPage::Space { flags, .. } if flags.is_shared());
        let name = match header {
            FirstPage::Space { id: SpaceId::SYSTEM, .. } | FirstPage::SystemPart { .. } => {
                "system tablespace".to_owned()
            }
            _ => display_name(&candidate.seen.path, candidate.role, shared, &view.cwd),
        };
        let refused =
            if candidate.seen.stamp.links == 0 { Some(NotOnDisk::Dropped) } else { refused };
        Self { candidate, header, refused, name }
    }

    /// Page 0 of the system tablespace: flags, and pages of all of its files.
    pub(crate) fn system(&self) -> Option<(SpaceFlags, u32)> {
        match self.header {
            FirstPage::Space { id: SpaceId::SYSTEM, flags, pages } => Some((flags, pages)),
            _ => None,
        }
    }

    /// The file's path as the server sees it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.candidate.seen.path
    }

    /// `database/table`, or the file's own name where it is not one table's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.candidate.seen.stamp.size_bytes
    }

    /// The space that the file claims to belong to.
    #[must_use]
    pub fn space(&self) -> Option<SpaceId> {
        match self.header {
            FirstPage::Space { id, .. } => Some(id),
            FirstPage::SystemPart { .. } => Some(SpaceId::SYSTEM),
            FirstPage::Refused(_) => None,
        }
    }

    /// Why the file's pages have no place, if it is for a reason that holds for all of them.
    #[must_use]
    pub fn refused(&self) -> Option<NotOnDisk> {
        match self.header {
            FirstPage::Refused(reason) => Some(reason),
            _ => self.refused,
        }
    }

    /// True when the server holds the file open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.candidate.seen.fd.is_some()
    }
}

/// Reads a file's header, and what else decides whether its pages lie on disk as they are.
fn read(
    file: &File,
    candidate: &FileCandidate,
    conventions: &FileConventions,
) -> (FirstPage, Option<NotOnDisk>) {
    // A few bytes are wanted; read-ahead would fill the page cache beside the server's direct I/O.
    // Only advice: the answer does not matter.
    let _ = fadvise(file, 0, None, Advice::Random);
    let Ok(header) = FirstPage::read(file) else {
        return (FirstPage::Refused(NotOnDisk::File(Unmapped::FileUnreadable)), None);
    };
    let header = match proof::of_space(file, header) {
        Ok(()) => header,
        Err(reason) => FirstPage::Refused(reason),
    };
    let refused = match header {
        _ if candidate.role == FileRole::Temporary => Some(NotOnDisk::Temporary),
        FirstPage::Space { flags, .. } => stored_plainly(file, candidate, flags, conventions).err(),
        FirstPage::SystemPart { .. } | FirstPage::Refused(_) => None,
    };
    (header, refused)
}

fn stored_plainly(
    file: &File,
    candidate: &FileCandidate,
    flags: SpaceFlags,
    conventions: &FileConventions,
) -> Result<(), NotOnDisk> {
    let page_bytes = flags.page_bytes()?;
    flags.stored_plainly()?;
    if conventions.crypt_record().is_some_and(|record| is_encrypted(file, page_bytes, record)) {
        return Err(NotOnDisk::Encrypted);
    }
    if candidate.seen.stamp.allocated_bytes < candidate.seen.stamp.size_bytes {
        sample_page_types(file, candidate.seen.stamp.size_bytes, page_bytes, conventions)?;
    }
    Ok(())
}

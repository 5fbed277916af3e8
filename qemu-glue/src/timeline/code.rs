//! Where the code of a running QEMU lies: the file, and the offsets of its functions in it.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kernel_text::{Mapping, first_mapping};
use symbols::text::{ProgramText, ProvenSite};

use super::{QemuFunction, TimelineError};

/// The file that holds a QEMU's code, held open: what is looked at is what is probed, whatever its names mean by then.
#[derive(Debug)]
pub struct Code {
    text: ProgramText,
    /// Of the mapping that it was found by.
    name: PathBuf,
}

/// Most mappings that are looked at; a QEMU has some hundreds.
const MAX_MAPPINGS: usize = 10_000;
/// Most bytes of their table: a name in it is as long as QEMU likes.
const MAX_BYTES: u64 = 4 << 20;

impl Code {
    /// Looks for it among the mapped files of process `pid`.
    ///
    /// It need not be `/proc/PID/exe`: a QEMU that is run through a loader has the loader there.
    ///
    /// # Errors
    /// When the process cannot be looked at, maps no such file, or maps one whose symbols do not name the starts of functions.
    pub fn of(pid: u32) -> Result<Self, TimelineError> {
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut looked_at = 0;
        let found = first_mapping(pid, MAX_BYTES, |mapping| {
            looked_at += 1;
            let is_new =
                mapping.is_code_of_a_file() && !seen.iter().any(|known| known == mapping.name);
            if !is_new || looked_at > MAX_MAPPINGS {
                return None;
            }
            seen.push(mapping.name.to_owned());
            // What cannot be opened or read as a program is none of QEMU's.
            let text = open(mapping, pid).and_then(|file| ProgramText::of(file).ok())?;
            let code = Self { text, name: mapping.name.to_owned() };
            let is_qemu = code.sites().map(|sites| !sites.is_empty());
            match is_qemu {
                Ok(true) => Some(Ok(code)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        });
        if let Some(found) = found.map_err(|source| TimelineError::Process { pid, source })? {
            return found;
        }
        Err(TimelineError::NoQemu { pid })
    }

    /// The file.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.text.file()
    }

    /// As the mapping names it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// The functions that it exports, each proven to start there.
    ///
    /// # Errors
    /// [`TimelineError::Unproven`].
    pub(super) fn sites(&self) -> Result<Vec<(QemuFunction, ProvenSite<'_>)>, TimelineError> {
        let unproven =
            |source| TimelineError::Unproven { path: self.name.clone(), source: Box::new(source) };
        let sites =
            self.text.prove_starts(&QemuFunction::ALL.map(QemuFunction::name)).map_err(unproven)?;
        let functions = QemuFunction::ALL.into_iter().zip(sites);
        Ok(functions.filter_map(|(function, site)| Some((function, site?))).collect())
    }
}

/// The mapped file. Through the mapping it is the very file, even if its name leads elsewhere by now. Where that is not
/// allowed, the name within the process's own root folder has to do, if the same inode is there.
fn open(mapping: &Mapping<'_>, pid: u32) -> Option<File> {
    let open = |path: &Path| foreign_file::held_by(path).ok()?.open().ok();
    open(&mapping.file_of(pid)).or_else(|| {
        let file = open(&mapping.name_of(pid))?;
        (file.metadata().ok()?.ino() == mapping.inode).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_qemu_has_no_code() {
        let found = Code::of(std::process::id());
        assert!(matches!(found, Err(TimelineError::NoQemu { .. })), "{found:?}");
        assert!(matches!(Code::of(u32::MAX), Err(TimelineError::Process { .. })));
    }
}

//! Files of a process, as they were when they were looked at.

use std::fs::File;
use std::path::{Path, PathBuf};

use foreign_file::Refusal;

use super::ids::FileId;
use super::process::{FileView, Process};
use super::stamp::Stamp;

/// One file, however many names and descriptors lead to it.
#[derive(Clone, Debug)]
pub struct SeenFile {
    pub(crate) stamp: Stamp,
    /// As the process sees it.
    pub(crate) path: PathBuf,
    /// A descriptor by which the process holds it open.
    pub(crate) fd: Option<u32>,
}

impl SeenFile {
    /// Looks at the file that the process calls `path`.
    ///
    /// # Errors
    /// [`Refusal`]: it is not there, or of a kind that is never opened.
    pub fn at(view: &FileView, path: &Path) -> Result<Self, Refusal> {
        Ok(Self { stamp: view.stamp(path)?, path: path.to_owned(), fd: None })
    }

    /// Opens the file for reading; `None` where it is another one by now.
    pub(crate) fn open(&self, process: &Process, view: &FileView) -> Result<Option<File>, Refusal> {
        let found = match self.fd {
            Some(number) => process.find_fd(number, view)?,
            None => view.find(&self.path)?,
        };
        let same = Stamp::of_found(&found)?.inode == self.stamp.inode;
        if same { found.open().map(Some) } else { Ok(None) }
    }
}

/// The files that ranges are looked up in: those of one process, at one look.
pub trait Files {
    /// Whose they are.
    fn process(&self) -> &Process;

    /// How it saw them.
    fn view(&self) -> &FileView;

    /// A file by its id; `None` once it is gone.
    fn file(&self, id: FileId) -> Option<&SeenFile>;

    /// All of them.
    fn each(&self) -> Box<dyn Iterator<Item = &SeenFile> + '_>;
}

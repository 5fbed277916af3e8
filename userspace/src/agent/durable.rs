//! What the server wrote through the page cache, on the disk.
//!
//! A page that mysqld has written without O_DIRECT is clean for it while the disk has older bytes. So
//! before a list is made the file systems of its data files are written out (`syncfs`): then the disk
//! has what is on the list. What is written after that is proven page by page, as everything is.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::locate::Locator;
use crate::on_disk::Files as _;

/// A file system could not be written out.
#[derive(Debug, Error)]
#[error("failed to write out the file system of `{path}`")]
pub(super) struct SyncError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl SyncError {
    pub(super) fn hint(&self) -> &'static str {
        "the guest's kernel log has the errors of its disk"
    }
}

/// Writes out each file system that holds a data file, and the one of the data directory.
pub(super) fn make_durable(locator: &Locator) -> Result<(), SyncError> {
    let tablespaces = locator.tablespaces();
    let (process, view) = (tablespaces.process(), tablespaces.view());
    let mut done = BTreeSet::new();
    let failed = |path: &std::path::Path| {
        let path = path.to_owned();
        move |error: rustix::io::Errno| SyncError { path, source: error.into() }
    };
    for (_, file) in tablespaces.files() {
        let device = file.candidate.seen.stamp.inode.device;
        if done.contains(&device) {
            continue;
        }
        // A file that was dropped meanwhile: another one stands for its file system.
        if let Ok(Some(opened)) = file.candidate.seen.open(process, view) {
            rustix::fs::syncfs(opened).map_err(failed(file.path()))?;
            done.insert(device);
        }
    }
    let datadir = tablespaces.datadir();
    if let Ok(folder) = view.find(datadir).and_then(|folder| folder.open_folder()) {
        rustix::fs::syncfs(folder).map_err(failed(datadir))?;
    }
    Ok(())
}

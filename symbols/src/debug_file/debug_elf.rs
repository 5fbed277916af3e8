//! A file with debug information that was checked.

use std::path::{Path, PathBuf};

use super::attempt::SearchPlace;
use crate::elf::Program;

/// A file with debug information that was checked.
#[derive(Debug)]
pub struct DebugElf {
    /// Where it was found; a fetched file has its URL.
    pub place: SearchPlace,
    /// The file, as it was read.
    pub elf: Program,
    /// Its path inside its root, and the folder that it really lies in; none for a fetched file.
    pub(super) path: Option<PathBuf>,
    pub(super) real_dir: Option<PathBuf>,
}

impl DebugElf {
    pub(super) fn new(place: SearchPlace, elf: Program) -> Self {
        Self { place, elf, path: None, real_dir: None }
    }

    /// The folders that a relative name in this file starts from.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        let looked_up = self.path.as_deref().and_then(Path::parent).map(Path::to_owned);
        looked_up.into_iter().chain(self.real_dir.clone()).collect()
    }
}

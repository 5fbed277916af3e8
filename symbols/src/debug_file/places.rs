//! The roots and folders of one search, and the act of looking.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::attempt::{Attempt, DebugFileRefusal, SearchPlace, WantedFile};
use super::debug_elf::DebugElf;
use super::files::FileProvider;
use super::found::RootPlace;
use crate::budget::Budget;
use crate::elf::{FileSnapshot, Program};

/// Where one search looks.
#[derive(Debug)]
pub(super) struct SearchPaths {
    files: Rc<dyn FileProvider>,
    /// Absolute.
    debug_dirs: Vec<PathBuf>,
    budget: Budget,
}

impl SearchPaths {
    pub(super) fn new(
        files: Rc<dyn FileProvider>,
        debug_dirs: &[PathBuf],
        budget: &Budget,
    ) -> Self {
        let absolute = |dir: &PathBuf| std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        let debug_dirs = debug_dirs.iter().map(absolute).collect();
        Self { files, debug_dirs, budget: budget.clone() }
    }

    pub(super) fn files(&self) -> &dyn FileProvider {
        self.files.as_ref()
    }

    pub(super) fn debug_dirs(&self) -> &[PathBuf] {
        &self.debug_dirs
    }

    /// The ELF at `path` of the root of that number, and the folder that it really lies in.
    pub(super) fn open(
        &self,
        root: usize,
        path: &Path,
    ) -> Result<(Program, Option<PathBuf>), DebugFileRefusal> {
        let found = self.files.open(root, path)?;
        Ok((self.parse(path, found.snapshot)?, found.real_dir))
    }

    /// A file as an ELF.
    pub(super) fn parse(
        &self,
        path: &Path,
        snapshot: FileSnapshot,
    ) -> Result<Program, DebugFileRefusal> {
        Program::of(path, snapshot, &self.budget).map_err(DebugFileRefusal::from_elf)
    }

    /// The first file among `paths` of each root that `check` believes.
    pub(super) fn look(
        &self,
        wanted: WantedFile,
        paths: impl Fn(&RootPlace, &[PathBuf]) -> Vec<PathBuf>,
        check: impl Fn(&Program) -> Result<(), DebugFileRefusal>,
        tried: &mut Vec<Attempt>,
    ) -> Option<DebugElf> {
        for (number, root) in self.files.roots().iter().enumerate() {
            for path in paths(root, &self.debug_dirs) {
                let place = SearchPlace::File(root.show(&path));
                let (found, outcome) = match self.open(number, &path) {
                    Ok((elf, real_dir)) => {
                        let outcome = check(&elf);
                        (Some((elf, real_dir)), outcome)
                    }
                    Err(refusal) => (None, Err(refusal)),
                };
                let believed = outcome.is_ok();
                tried.push(Attempt { wanted, place: place.clone(), outcome });
                if let Some((elf, real_dir)) = found.filter(|_| believed) {
                    return Some(DebugElf {
                        path: Some(path),
                        real_dir,
                        ..DebugElf::new(place, elf)
                    });
                }
            }
        }
        None
    }
}

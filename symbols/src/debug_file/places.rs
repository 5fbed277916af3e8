//! The roots and folders of one search, and the act of looking.

use std::path::{Path, PathBuf};

use super::DebugElf;
use super::attempt::{Attempt, Place, Refusal, Wanted};
use super::root::Root;
use crate::budget::Budget;
use crate::elf::Program;

/// Where one search looks: the target's root first, then the observer's own.
#[derive(Debug)]
pub(super) struct Places {
    /// One or two; none when not even `/` can be opened.
    roots: Vec<Root>,
    debug_dirs: Vec<PathBuf>,
    budget: Budget,
}

impl Places {
    /// Opens both roots; one that cannot be opened is told in `tried`.
    pub(super) fn open(
        program: &Program,
        target_root: &Path,
        debug_dirs: &[PathBuf],
        tried: &mut Vec<Attempt>,
    ) -> Self {
        let mut roots: Vec<Root> = Vec::with_capacity(2);
        for path in [target_root, Path::new("/")] {
            match Root::open(path, program.path()) {
                Ok(root) if roots.iter().any(|other| other.is_same(&root)) => {}
                Ok(root) => roots.push(root),
                Err(error) => tried.push(Attempt {
                    wanted: Wanted::DebugFile,
                    place: Place::File(path.to_owned()),
                    outcome: Err(Refusal::from_open(error)),
                }),
            }
        }
        let absolute = |dir: &PathBuf| std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        Self {
            roots,
            debug_dirs: debug_dirs.iter().map(absolute).collect(),
            budget: program.budget().clone(),
        }
    }

    pub(super) fn roots(&self) -> &[Root] {
        &self.roots
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) fn debug_dirs(&self) -> &[PathBuf] {
        &self.debug_dirs
    }

    /// The first file among `paths` of each root that `check` believes.
    pub(super) fn look(
        &self,
        wanted: Wanted,
        paths: impl Fn(&Root, &[PathBuf]) -> Vec<PathBuf>,
        check: impl Fn(&Program) -> Result<(), Refusal>,
        tried: &mut Vec<Attempt>,
    ) -> Option<DebugElf> {
        for root in &self.roots {
            for path in paths(root, &self.debug_dirs) {
                let place = Place::File(root.show(&path));
                let (found, outcome) = match root.open_elf(&path, &self.budget) {
                    Ok(opened) => {
                        let outcome = check(&opened.elf);
                        (Some(opened), outcome)
                    }
                    Err(refusal) => (None, Err(refusal)),
                };
                let believed = outcome.is_ok();
                tried.push(Attempt { wanted, place: place.clone(), outcome });
                if let Some(opened) = found.filter(|_| believed) {
                    let mut file = DebugElf::new(place, opened.elf);
                    file.path = Some(path);
                    file.real_dir = opened.real_dir;
                    return Some(file);
                }
            }
        }
        None
    }
}

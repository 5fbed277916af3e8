//! A file that was found, and the root that it lies in.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::elf::FileSnapshot;
use crate::path_text;

/// A root folder, as those know it who do not open it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RootPlace {
    /// As given, for messages: `/proc/PID/root`.
    #[serde(with = "path_text")]
    pub(crate) shown: PathBuf,
    /// The program inside this root.
    #[serde(with = "path_text")]
    pub(crate) program: PathBuf,
}

impl RootPlace {
    /// The program's folder, where relative names start.
    pub(super) fn program_dir(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("/"))
    }

    /// `path` with this root in front, for people.
    pub(super) fn show(&self, path: &Path) -> PathBuf {
        self.shown.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// A file, and the folder inside its root that it really lies in.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) snapshot: FileSnapshot,
    pub(crate) real_dir: Option<PathBuf>,
}

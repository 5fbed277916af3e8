//! Why a program has no profile.

use std::path::PathBuf;

use crate::debug_file::{Attempt, DebugFiles};
use crate::elf::ElfError;
use crate::profile::ProfileError;
use crate::reason::Reason;

/// A failure to resolve a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read as a program.
    #[error(transparent)]
    Elf(ElfError),
    /// A program, but not a server that can be observed.
    #[error("`{path}` is no database server that is known here")]
    NotAServer {
        /// The program.
        path: PathBuf,
    },
    /// A server, but none of the known versions.
    #[error("`{path}` is a server of an unknown version; it states: {}", versions.join(", "))]
    UnknownVersion {
        /// The program.
        path: PathBuf,
        /// The highest versions that it states.
        versions: Vec<String>,
    },
    /// There is neither debug information nor a stored profile.
    #[error(transparent)]
    NoDebugInfo(#[from] Box<NoDebugInfo>),
    /// A stored profile that is not true of the program it is for.
    #[error(transparent)]
    StoredMismatch(#[from] Box<Mismatch>),
    /// A stored profile that cannot be read.
    #[error("cannot read stored profile `{profile}`")]
    StoredUnreadable {
        /// Name of the stored profile.
        profile: String,
        /// Why.
        source: ProfileError,
    },
    /// An embedded server definition is malformed.
    #[error("malformed server definition `{name}`")]
    Definition {
        /// Its name.
        name: String,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

/// A program that nothing describes.
#[derive(Debug, thiserror::Error)]
#[error("no debug information and no stored profile for `{path}` (build {build}): {reason}")]
pub struct NoDebugInfo {
    /// The program.
    pub path: PathBuf,
    /// Its build id, or `blake3-` and its content hash.
    pub build: String,
    /// Why.
    pub reason: Reason,
    /// Where debug information was looked for.
    pub tried: Vec<Attempt>,
    /// What would bring it.
    pub hint: &'static str,
}

/// Where a stored profile and the program it is for disagree.
#[derive(Debug, thiserror::Error)]
#[error("stored profile `{profile}` does not fit `{path}`: {what} is {found}, not {stored}")]
pub struct Mismatch {
    /// Name of the stored profile.
    pub profile: String,
    /// The program.
    pub path: PathBuf,
    /// The site, global or property.
    pub what: String,
    /// What the profile says.
    pub stored: String,
    /// What the program says.
    pub found: String,
}

impl Error {
    pub(crate) fn no_debug_info(path: PathBuf, build: String, files: DebugFiles) -> Self {
        let (reason, hint) = (files.reason(), files.hint());
        Self::from(Box::new(NoDebugInfo { path, build, reason, tried: files.tried, hint }))
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Elf(error) => error.hint(),
            Self::NotAServer { .. } => {
                Some("name the `mysqld` itself (not a wrapper such as mysqld_safe)")
            }
            Self::UnknownVersion { .. } => {
                Some("MySQL 5.6 and 8.3 to 9.x are known; another needs a file in symbols/servers")
            }
            Self::NoDebugInfo(missing) => Some(missing.hint),
            Self::StoredMismatch(_) | Self::StoredUnreadable { .. } => {
                Some("remove the stored profile, or install the server's debug package")
            }
            Self::Definition { .. } => None,
        }
    }
}

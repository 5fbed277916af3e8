//! Why a program has no profile.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::debug_file::{Attempt, DebugFileRefusal, DebugFiles};
use crate::elf::{ElfError, STORED_PROFILE};
use crate::isolated::IsolatedError;
use crate::kin::KinError;
use crate::path_text;
use crate::reason::UnresolvedReason;

/// The remedy where there is debug information that does not describe the pool.
const FULL_DEBUG_INFO: &str = "install the full debug information of exactly this build (the `-dbgsym` or \
     `-debuginfo` package, or the `.dwo`/`.dwp` files; MySQL's own archives are built with -g1 since 8.0.27), \
     or name a folder with a stored profile of it with --profiles";

/// A failure to resolve a program.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read as a program.
    #[error(transparent)]
    Elf(ElfError),
    /// A program, but not a server that can be observed.
    #[error("`{path}` is no database server that is known here")]
    NotAServer {
        /// The program.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// A server, but none of the known versions.
    #[error("`{path}` is a server of an unknown version; it states: {}", first(versions))]
    UnknownVersion {
        /// The program.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The highest versions that it states.
        versions: Vec<String>,
    },
    /// A fork of MySQL that is not known: its fields may lie elsewhere.
    #[error("`{path}` is a server of {fork}, which is not known; it states: {}", first(versions))]
    UnknownFork {
        /// The program.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Whose it is.
        fork: String,
        /// The highest versions that it states.
        versions: Vec<String>,
    },
    /// There is neither debug information nor a stored profile.
    #[error(transparent)]
    NoDebugInfo(#[from] Box<NoDebugInfo>),
    /// More units of debug information than any server has.
    #[error("`{path}` has more than {limit} units of debug information")]
    TooManyUnits {
        /// The program.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The most that are read.
        limit: usize,
    },
    /// The profile is not needed any more: the process has ended, or this program stops.
    #[error("`{path}` is not looked at any more: its process has ended, or this program stops")]
    Ended {
        /// The program.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// The process that reads foreign files for us has failed.
    #[error(transparent)]
    Isolated(#[from] Box<IsolatedError>),
    /// A stored profile that is not true of the program it is for.
    #[error(transparent)]
    StoredMismatch(#[from] Box<Mismatch>),
    /// A stored profile that cannot be read.
    #[error("cannot read stored profile `{profile}`")]
    StoredUnreadable {
        /// Name of the stored profile.
        profile: String,
        /// Why.
        source: Cause,
    },
    /// A stored profile that is no regular file, too large, or that strangers may write.
    #[error("stored profile `{profile}` is not used")]
    StoredRefused {
        /// Name of the stored profile.
        profile: String,
        /// Why.
        source: DebugFileRefusal,
    },
    /// Two builds whose code is not the same, or cannot be compared.
    #[error(transparent)]
    Kin(#[from] Box<KinError>),
    /// An embedded server definition is malformed.
    #[error("malformed server definition `{name}`")]
    Definition {
        /// Its name.
        name: String,
        /// Why.
        source: Cause,
    },
}

impl From<KinError> for Error {
    fn from(error: KinError) -> Self {
        Self::Kin(Box::new(error))
    }
}

/// A program that nothing describes.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error(
    "no usable debug information and no stored profile for `{path}` (build {build}): {reason}{}",
    kin.iter().map(|error| format!("; {error}")).collect::<String>()
)]
pub struct NoDebugInfo {
    /// The program.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Its build id, or `blake3-` and its content hash.
    pub build: String,
    /// Why.
    pub reason: UnresolvedReason,
    /// Where debug information was looked for.
    pub tried: Vec<Attempt>,
    /// Why it is no kin of the known builds of its series.
    pub kin: Vec<KinError>,
    /// What would bring it.
    pub hint: Cow<'static, str>,
}

/// Where a stored profile and the program it is for disagree.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("stored profile `{profile}` does not fit `{path}`: {what} is {found}, not {stored}")]
pub struct Mismatch {
    /// Name of the stored profile.
    pub profile: String,
    /// The program.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// The site, global or property.
    pub what: String,
    /// The profile's value.
    pub stored: String,
    /// The program's value.
    pub found: String,
}

/// What it states of itself; the others are those of what it is linked with.
fn first(versions: &[String]) -> &str {
    versions.first().map_or("none", String::as_str)
}

impl Error {
    /// `poor` is what kind of debug information there is, where there is some that does not do.
    pub(crate) fn no_debug_info(
        path: PathBuf,
        build: String,
        poor: Option<UnresolvedReason>,
        files: DebugFiles,
        kin: Vec<KinError>,
    ) -> Self {
        let (reason, hint) = match poor {
            Some(reason) => (reason, FULL_DEBUG_INFO.into()),
            None => (files.reason(), files.hint().into()),
        };
        Self::from(Box::new(NoDebugInfo { path, build, reason, tried: files.tried, kin, hint }))
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Elf(error) => error.hint(),
            Self::NotAServer { .. } => {
                Some("name the `mysqld` itself (not a wrapper such as mysqld_safe)")
            }
            Self::UnknownVersion { .. } => Some(
                "MySQL 5.6, 5.7, 8.x and 9.x are known; another needs a file in symbols/servers",
            ),
            Self::UnknownFork { .. } => Some(
                "Percona Server 5.7, 8.x and 9.x and MariaDB 10.11.12 and later of 10.11 are known; another version needs a file in symbols/servers, as a fork is observed with a definition of MySQL only where its sources have the same names",
            ),
            Self::TooManyUnits { .. } => Some(STORED_PROFILE),
            Self::Ended { .. } => None,
            Self::Isolated(error) => error.hint(),
            Self::NoDebugInfo(missing) => Some(&missing.hint),
            Self::StoredMismatch(_) | Self::StoredUnreadable { .. } => {
                Some("remove the stored profile, or install the server's debug package")
            }
            Self::StoredRefused { source, .. } => source.hint().or(Some(
                "let it be a small file of root's or of your own that no one else may write",
            )),
            Self::Kin(_) | Self::Definition { .. } => None,
        }
    }
}

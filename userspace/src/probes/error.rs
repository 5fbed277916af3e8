//! Why the probes of a server cannot be set or read.

use aya::programs::ProgramError;
use probe_loader::{Holder, KeeperError, LoadError, RemoteCause};
use symbols::role::SiteRole;
use symbols::text::SiteError;
use thiserror::Error;

use crate::field_layout::LayoutError;
use crate::target::{Account, TargetError};

/// The programs could not be loaded or attached.
#[derive(Debug, Error)]
pub enum ProbesError {
    /// The binary was built without the eBPF object.
    #[error("this build of the agent has no eBPF programs in it")]
    NotBuiltIn,
    /// The kernel or the loader refused the object.
    #[error("failed to load the eBPF programs")]
    Load(#[source] Box<aya::EbpfError>),
    /// One program was refused.
    #[error("failed to load the eBPF program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// The verifier's or the kernel's reason.
        #[source]
        source: Box<ProgramError>,
    },
    /// A probe could not be set.
    #[error("failed to attach `{program}` to {function} at file offset {offset} of `{path}`")]
    Attach {
        /// The program.
        program: &'static str,
        /// The server's function.
        function: String,
        /// Where.
        offset: symbols::addr::FileOff,
        /// In which file.
        path: String,
        /// The kernel's reason.
        #[source]
        source: RemoteCause,
    },
    /// To set them the kernel would wait for a process, and all that fork would wait too.
    #[error("no probe is set: process {pid} of user {user} does not let go of its memory map")]
    Held {
        /// The process.
        pid: u32,
        /// Who runs it.
        user: Account,
    },
    /// The process that keeps them reports why there are none.
    #[error(transparent)]
    Kept(KeeperError),
    /// The profile has no site for a probe that is needed.
    #[error("the profile lacks a site for `{event}`{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    NoSite {
        /// The event.
        event: SiteRole,
        /// Why, where the profile has the reason.
        reason: Option<String>,
    },
    /// The argument is nowhere that the probe can read.
    #[error("the argument of `{function}` for `{event}` has no known location")]
    NoArgument {
        /// The event.
        event: SiteRole,
        /// The server's function.
        function: String,
    },
    /// The profile is not true of the program that runs.
    #[error("a probe of `{event}` would not stand on an instruction of its function")]
    Unproven {
        /// The event.
        event: SiteRole,
        /// What is wrong with its site.
        #[source]
        source: Box<SiteError>,
    },
    /// The probes cannot do what the profile requires.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The server's program cannot be looked at, or is another by now.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A map is missing or refused an access.
    #[error("failed to access the map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The remedy where the kernel refuses something.
const DOCTOR: &str = "`poolferry doctor` shows which capability or kernel option is missing";

impl From<KeeperError> for ProbesError {
    fn from(error: KeeperError) -> Self {
        match error {
            KeeperError::Refused(LoadError::NotBuiltIn) => Self::NotBuiltIn,
            KeeperError::Refused(LoadError::Held(Holder { pid, user })) => {
                Self::Held { pid, user: Account(user) }
            }
            error => Self::Kept(error),
        }
    }
}

impl ProbesError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBuiltIn => {
                "build with `cargo xtask build`, which compiles the eBPF programs first"
            }
            Self::NoSite { .. } | Self::NoArgument { .. } => {
                "`poolferry symbols` shows what was found; install the server's debug symbols"
            }
            Self::Unproven { source, .. } => source.hint(),
            Self::Layout(error) => error.hint(),
            Self::Target(error) => {
                error.hint().unwrap_or("start again to attach to the server's new process")
            }
            Self::Held { .. } => probe_loader::HELD_HINT,
            Self::Kept(error) => error.hint().unwrap_or(DOCTOR),
            _ => DOCTOR,
        }
    }

    pub(super) fn map(
        map: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Map { map, source: Box::new(source) }
    }
}

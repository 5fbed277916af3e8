//! Why a profile cannot be compiled.

use symbols::role::{FieldRole, SizeRole};
use thiserror::Error;

/// The profile lacks something that the agent cannot do without, or contradicts itself.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// Not in the profile.
    #[error("the profile of {server} has no {what} `{role}`{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Missing {
        /// Server and version.
        server: String,
        /// `field`, `size`, `global`, `enum` or `site`.
        what: &'static str,
        /// Its role.
        role: String,
        /// Why, where the profile has the reason.
        reason: Option<String>,
    },
    /// A field does not lie in its type.
    #[error("field `{path}` at {offset:#x}+{size} does not lie in its type of {bounds} bytes")]
    OutOfBounds {
        /// The server's own path.
        path: String,
        /// Its offset.
        offset: u64,
        /// Its size.
        size: u64,
        /// Size of the type.
        bounds: u64,
    },
    /// A probe can compare for equality and with a range, of a field that lies in one aligned word.
    #[error("the probes cannot compare `{field}` as the profile requires")]
    NotForProbes {
        /// The field.
        field: FieldRole,
    },
    /// No struct of a server has this size.
    #[error("the profile gives type `{role}` {bytes} bytes, which makes no sense")]
    Absurd {
        /// Role of the type.
        role: SizeRole,
        /// Its size by the profile.
        bytes: u64,
    },
}

impl LayoutError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "`poolferry symbols` shows what was found and why not more; install the server's debug \
         symbols, set DEBUGINFOD_URLS, or store a profile for this build id"
    }
}

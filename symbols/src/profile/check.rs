//! A profile that comes from a file: no more of anything than a server can have.
//!
//! Its contents are used by a process with all rights. Its numbers lead to reads only, and are bounded
//! where they are used (`userspace/src/field_layout.rs`, `pool_map.rs`); a probe goes only where the program's
//! own bytes prove its site ([`crate::text`]). What is bounded here is how many there are.

use serde::Deserialize;

use super::{PROFILE_FORMAT, Profile};
use crate::cause::Cause;

/// Largest file that a profile is read from, in bytes; one has 10 KB.
pub const MAX_PROFILE_BYTES: u64 = 1 << 20;

/// Most places for probes, over all events. A server has eight; with inlined copies some dozens.
const MAX_SITES: usize = 256;
/// Most entries of any other list.
const MAX_ENTRIES: usize = 512;
/// Most arguments of a site (System V ABI: six in registers).
const MAX_ARGS: usize = 16;

/// Bytes that are no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not the JSON of a profile.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    /// Of another version of this program.
    #[error("the format is {found}, not {PROFILE_FORMAT}")]
    Format {
        /// Its value.
        found: u32,
    },
    /// Of a server that this version has no definition of.
    #[error("it is of the definition `{}`, which this version does not have", foreign::shown(name))]
    Definition {
        /// Its name.
        name: String,
    },
    /// More than any server has.
    #[error("it has {count} {what}, more than any server")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl Profile {
    /// Reads a profile and checks it.
    ///
    /// # Errors
    /// Not a profile, one of another format, or one that is larger than any can be.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProfileError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(bytes)?;
        let profile: Self = match format {
            PROFILE_FORMAT => serde_json::from_slice(bytes)?,
            found => return Err(ProfileError::Format { found }),
        };
        profile.check().map(|()| profile)
    }

    /// Whether it is of this format, and no larger than any can be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.format != PROFILE_FORMAT {
            return Err(ProfileError::Format { found: self.format });
        }
        let within = |what, count, most| match count <= most {
            true => Ok(()),
            false => Err(ProfileError::TooMany { what, count }),
        };
        let sites = || self.sites.values().flatten();
        within("events", self.sites.len(), MAX_SITES)?;
        within("probe sites", sites().count(), MAX_SITES)?;
        within("arguments", sites().map(|site| site.args.len()).max().unwrap_or(0), MAX_ARGS)?;
        within("fields", self.fields.len(), MAX_ENTRIES)?;
        within("sizes", self.sizes.len(), MAX_ENTRIES)?;
        within("globals", self.globals.len(), MAX_ENTRIES)?;
        within("enumerators", self.enums.len(), MAX_ENTRIES)?;
        within("states", self.states.len(), MAX_ENTRIES)?;
        within("rules", self.rules.len(), MAX_ENTRIES)?;
        within("values", self.off_flush_list.len(), MAX_ENTRIES)?;
        within("missing names", self.missing.len(), 2 * MAX_ENTRIES)
    }
}

impl From<ProfileError> for Cause {
    fn from(error: ProfileError) -> Self {
        Self::new(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::SiteRole;

    fn stored() -> Profile {
        Profile::from_json(include_bytes!("../../profiles/mysql-9.7.4-debian-amd64.json")).unwrap()
    }

    #[test]
    fn more_than_any_server_has_is_refused() {
        let refused = |profile: &Profile, what: &str| {
            let error = Profile::from_json(&serde_json::to_vec(profile).unwrap()).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        };
        let mut profile = stored();
        let site = profile.sites[&SiteRole::Query][0].clone();
        profile.sites.insert(SiteRole::Query, vec![site; MAX_SITES + 1]);
        refused(&profile, "probe sites");

        let mut profile = stored();
        profile.rules = vec![profile.rules[0].clone(); MAX_ENTRIES + 1];
        refused(&profile, "rules");

        let mut profile = stored();
        profile.states = vec![profile.states[0]; 1000];
        refused(&profile, "states");

        let mut profile = stored();
        profile.format = 1;
        refused(&profile, "the format is 1, not");
        assert!(matches!(Profile::from_json(b"{"), Err(ProfileError::Malformed(_))));
    }
}

//! Profiles that were computed before, by what they were computed from.
//!
//! `DIR/KEY.json`, where the key is a hash over the version of this program, its definitions, and the
//! program that was read: content, and who could write it. The content is hashed as it is read for
//! parsing, each time; nothing that a file states of itself (a build id), and nothing that is remembered
//! of it (inode, size, times), names an entry. So what is known of one file is never taken for another.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::elf::Snapshot;
use crate::elf::snapshot::link_to;
use crate::profile::{MAX_PROFILE_BYTES, PROFILE_FORMAT, Profile};
use crate::server::Definition;
use crate::small_file::{self, SmallFileError};
use crate::trust::Trust;

/// A folder of profiles. Every failure to read it is a miss, every failure to write it a warning:
/// the cache saves time only.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: Option<PathBuf>,
}

/// Names everything that a profile is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key of what is computed from a program alone: its content, and who could have made it so.
    pub(crate) fn of(program: &Snapshot) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(&PROFILE_FORMAT.to_le_bytes());
        hasher.update(Definition::fingerprint().as_bytes());
        hasher.update(program.hash().as_bytes()).update(&program.owner().uid.to_le_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    fn file_name(&self) -> String {
        format!("{}.json", self.0)
    }
}

#[derive(Serialize, Deserialize)]
struct CachedProfile {
    /// The [`Key`]: a file under the name of another is not believed.
    key: String,
    profile: Profile,
}

impl Cache {
    /// The cache in `dir`; without one, nothing is found and nothing kept.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned) }
    }

    /// The profile that this user or root kept of the program.
    pub(crate) fn load(&self, key: &Key) -> Option<Profile> {
        let dir = self.dir.as_ref()?;
        read(dir, key)
            .inspect_err(|error| match error {
                SmallFileError::Io(error) if error.kind() == io::ErrorKind::NotFound => {}
                error => log::warn!(
                    "the cached profile `{}` in `{}` is not used: {error}",
                    key.file_name(),
                    foreign::path(dir)
                ),
            })
            .ok()
    }

    /// Keeps a profile that was computed from the program alone.
    pub(crate) fn store(&self, key: &Key, profile: &Profile) {
        let Some(dir) = &self.dir else { return };
        if let Err(error) = write(dir, key, profile) {
            log::warn!("cannot keep `{}` in `{}`: {error}", key.file_name(), foreign::path(dir));
        }
    }
}

fn read(dir: &Path, key: &Key) -> Result<Profile, SmallFileError> {
    let folder = folder(dir)?;
    let path = link_to(&folder).join(key.file_name());
    let text = small_file::read(&path, MAX_PROFILE_BYTES, &Trust::own())?;
    let invalid = |error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    };
    let cached: CachedProfile = serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
    if cached.key != key.0 {
        return Err(invalid(&"it is of another file").into());
    }
    cached.profile.check().map_err(|error| invalid(&error))?;
    Ok(cached.profile)
}

fn write(dir: &Path, key: &Key, profile: &Profile) -> Result<(), SmallFileError> {
    safe_file::make_folder(dir)?;
    let folder = folder(dir)?;
    let cached = CachedProfile { key: key.0.clone(), profile: profile.clone() };
    let path = link_to(&folder).join(key.file_name());
    safe_file::replace(&path, safe_file::Mode::Private, |file| {
        Ok(serde_json::to_writer(file, &cached)?)
    })?;
    Ok(())
}

/// Opens the folder itself, which nobody else may write to: no link, and no other of that name later.
fn folder(dir: &Path) -> Result<OwnedFd, SmallFileError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty()).map_err(io::Error::from)?;
    let stat = rustix::fs::fstat(&folder).map_err(io::Error::from)?;
    Trust::own().check(&crate::elf::Owner::of(&stat))?;
    Ok(folder)
}

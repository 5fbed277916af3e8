//! Profiles that were computed before, by what they were computed from.
//!
//! `DIR/KEY.json`, where the key is a hash over the version of this program, its definitions, and the
//! program that was read: content, and who could write it. The entry names every other file that was read
//! for it in the same way, and holds only while each of them is what it was. Contents are hashed as they are
//! read, each time; nothing that a file states of itself (a build id), and nothing that is remembered of it
//! (inode, size, times), counts. So what is known of one file is never taken for another.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::debug_file::files::{Handed, LocalFiles};
use crate::elf::snapshot::link_to;
use crate::elf::{FileSnapshot, Owner};
use crate::profile::{MAX_PROFILE_BYTES, PROFILE_FORMAT, Profile, Source};
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
pub(crate) struct CacheKey(String);

impl CacheKey {
    /// The key of a program: its content, and who could have made it so.
    pub(crate) fn of(program: &FileSnapshot) -> Self {
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
    /// The [`CacheKey`]: a file under the name of another is not believed.
    key: String,
    /// The other files that it was computed from.
    files: Vec<Handed>,
    profile: Profile,
}

impl Cache {
    /// The cache in `dir`; without one, nothing is found and nothing kept.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned) }
    }

    /// The profile that this user or root kept of the program.
    pub(crate) fn load(&self, key: &CacheKey, files: &LocalFiles) -> Option<Profile> {
        let dir = self.dir.as_ref()?;
        let cached = read(dir, key)
            .inspect_err(|error| match error {
                SmallFileError::Io(error) if error.kind() == io::ErrorKind::NotFound => {}
                error => log::warn!(
                    "the cached profile `{}` in `{}` is not used: {error}",
                    key.file_name(),
                    foreign::path(dir)
                ),
            })
            .ok()?;
        files.are_still(&cached.files).then_some(cached.profile)
    }

    /// Keeps a profile and what was handed out for it, unless it is a stored one or strangers can replace a
    /// file of them; `owner` is the program's.
    pub(crate) fn store(
        &self,
        key: &CacheKey,
        profile: &Profile,
        owner: &Owner,
        files: &LocalFiles,
    ) {
        let (Some(dir), Some(handed)) = (&self.dir, files.handed_out(owner)) else { return };
        if matches!(profile.source, Source::Stored { .. }) {
            return;
        }
        let (profile, files) = (profile.clone(), handed);
        let cached = CachedProfile { key: key.0.clone(), files, profile };
        if let Err(error) = write(dir, key, &cached) {
            log::warn!("cannot keep `{}` in `{}`: {error}", key.file_name(), foreign::path(dir));
        }
    }
}

fn read(dir: &Path, key: &CacheKey) -> Result<CachedProfile, SmallFileError> {
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
    Ok(cached)
}

fn write(dir: &Path, key: &CacheKey, cached: &CachedProfile) -> Result<(), SmallFileError> {
    safe_file::make_folder(dir)?;
    let folder = folder(dir)?;
    let path = link_to(&folder).join(key.file_name());
    safe_file::replace(&path, safe_file::Mode::Private, |file| {
        Ok(serde_json::to_writer(file, cached)?)
    })?;
    Ok(())
}

/// Opens the folder itself, which no one else may write to: no link, and no other of that name later.
fn folder(dir: &Path) -> Result<OwnedFd, SmallFileError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty()).map_err(io::Error::from)?;
    let stat = rustix::fs::fstat(&folder).map_err(io::Error::from)?;
    Trust::own().check(&Owner::of(&stat))?;
    Ok(folder)
}

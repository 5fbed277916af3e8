//! Profiles that were computed before, by build id or content hash.
//!
//! ```text
//! DIR/<build-id>.json            a profile
//! DIR/blake3-<hash>.json         a profile of a program without a build id
//! DIR/file-<device>-<inode>.json the content hash of such a program, so that a file that has not
//!                                changed need not be hashed again
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::elf::{FileId, Program};
use crate::profile::{BinaryId, PROFILE_FORMAT, Profile};
use crate::server::Definition;
use crate::site;

/// Largest cache file read, in bytes; a profile has 10 KB.
const MAX_BYTES: u64 = 1 << 20;

/// Bytes at each end of a file that must be as they were when it was hashed.
const SAMPLE_BYTES: usize = 64 << 10;

/// A folder of profiles. Every failure to read it is a miss, every failure to write it a warning:
/// the cache saves time only.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct CachedProfile {
    format: u32,
    /// [`Definition::fingerprint`] when it was computed.
    definitions: String,
    profile: Profile,
}

#[derive(Serialize, Deserialize)]
struct CachedHash {
    file: FileId,
    /// Hash of the first and the last [`SAMPLE_BYTES`]: the times of a file can be set back.
    sample: String,
    hash: String,
}

impl Cache {
    /// The cache in `dir`; without one, nothing is found and nothing kept.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned) }
    }

    /// Identity of the program: its build id, else its content hash, which is looked up if the
    /// file is the one that was hashed before.
    pub(crate) fn identify(&self, program: &Program) -> BinaryId {
        let build_id = program.build_id_hex();
        let content_hash = build_id.is_none().then(|| self.content_hash(program));
        let size = program.bytes().len() as u64;
        BinaryId { build_id, content_hash, size, pie: program.is_pie() }
    }

    fn content_hash(&self, program: &Program) -> String {
        let Some(file) = program.file_id() else { return program.content_hash() };
        let name = format!("file-{:x}-{:x}.json", file.device, file.inode);
        let sample = sample(program.bytes());
        if let Some(known) = self.read::<CachedHash>(&name)
            && known.file == file
            && known.sample == sample
        {
            return known.hash;
        }
        let hash = program.content_hash();
        self.write(&name, &CachedHash { file, sample, hash: hash.clone() });
        hash
    }

    /// The profile of a program, when it was computed from the definitions of today and its probed
    /// instructions still stand in the program.
    pub(crate) fn load(&self, program: &Program, binary: &BinaryId) -> Option<Profile> {
        let cached: CachedProfile = self.read(&file_name(binary))?;
        let current = cached.format == PROFILE_FORMAT
            && cached.profile.format == PROFILE_FORMAT
            && cached.definitions == Definition::fingerprint()
            && cached.profile.binary == *binary;
        let stands = |site: &crate::profile::Site| {
            site::probe_at(program, site.probe).is_some_and(|probe| {
                probe.text == site.text && probe.file_offset == site.file_offset
            })
        };
        let holds = current && cached.profile.sites.values().flatten().all(stands);
        if !holds {
            log::debug!("the cached profile of {} is stale", binary.key());
        }
        holds.then_some(cached.profile)
    }

    /// Keeps a profile.
    pub(crate) fn store(&self, profile: &Profile) {
        let cached = CachedProfile {
            format: PROFILE_FORMAT,
            definitions: Definition::fingerprint(),
            profile: profile.clone(),
        };
        self.write(&file_name(&profile.binary), &cached);
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.dir.as_ref()?.join(name);
        if fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let text = fs::read(&path).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|e| log::debug!("`{}` is not used: {e}", path.display()))
            .ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) {
        let Some(dir) = &self.dir else { return };
        if let Err(error) = write_atomically(dir, name, value) {
            log::warn!("cannot keep `{name}` in `{}`: {error}", dir.display());
        }
    }
}

/// A reader sees the old file or the new one, never a part.
fn write_atomically<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(io::BufWriter::new(&mut file), value)?;
    file.flush()?;
    file.persist(dir.join(name))?;
    Ok(())
}

fn file_name(binary: &BinaryId) -> String {
    format!("{}.json", binary.key())
}

fn sample(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let tail = &bytes[bytes.len().saturating_sub(SAMPLE_BYTES)..];
    blake3::Hasher::new().update(head).update(tail).finalize().to_hex().to_string()
}

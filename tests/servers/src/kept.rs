//! What the cache keeps: how large each entry is, when it was last asked for, and its removal.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::cache::{Cache, PART, STAMP, remove_dir};
use crate::lock::is_held;

/// Folders of what runs now: each has a lock beside it that its owner holds.
const RUNNING: [&str; 2] = ["run", "labs"];
/// Entries without a stamp: a crate that cargo installs, and profiles of servers seen before.
const UNSTAMPED: [&str; 2] = ["bpf-linker", "profiles"];
/// Bytes of a block as `stat` counts them (`st_blocks`, stat(2)).
const BLOCK: u64 = 512;

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Name in the cache, such as `lab-data/mysql56-4x1023000`.
    pub name: String,
    /// Bytes on disk; holes take none.
    pub bytes: u64,
    /// When it was made or last asked for.
    pub used: SystemTime,
    /// Half made: by someone who works at it, or was killed.
    pub is_part: bool,
}

impl Kept {
    /// Whether it is data that servers and laboratories fill again in minutes, without a registry.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.name.starts_with("datadirs/") || self.name.starts_with("lab-data/")
    }
}

impl Cache {
    /// All entries, the largest first.
    ///
    /// # Errors
    /// A folder of the cache cannot be read.
    pub fn kept(&self) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for folder in folders(self.root())? {
            match self.look(&folder)? {
                Some(entry) => kept.push(entry),
                // Entries of one kind lie in a folder of theirs.
                None if !RUNNING.iter().any(|name| folder.ends_with(name)) => {
                    for folder in folders(&folder)? {
                        kept.extend(self.look(&folder)?);
                    }
                }
                None => {}
            }
        }
        kept.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
        Ok(kept)
    }

    /// Removes `entry`.
    ///
    /// # Errors
    /// Someone makes it right now, or a server or a laboratory runs, which may use it.
    pub fn remove(&self, entry: &Kept) -> Result<()> {
        for kind in RUNNING {
            if let Some(lock) = held(&self.root().join(kind))? {
                bail!("`{}` is held: something runs that may use `{}`", lock.display(), entry.name);
            }
        }
        let folder = self.root().join(&entry.name);
        let made = if entry.is_part { folder.with_extension("") } else { folder.clone() };
        let lock = File::create(made.with_added_extension("lock"))?;
        if lock.try_lock().is_err() {
            bail!("`{}` is being made right now", entry.name);
        }
        // First of all: half an entry must not pass for a whole one.
        let _ = fs::remove_file(folder.join(STAMP));
        remove_dir(&folder).context("what ran as root is removed by root (sudo)")
    }

    fn look(&self, folder: &Path) -> Result<Option<Kept>> {
        let is_part = folder.extension().is_some_and(|extension| extension == PART);
        let stamp = fs::metadata(folder.join(STAMP));
        let used = match stamp {
            Ok(stamp) => stamp.modified()?,
            Err(_) if is_part || UNSTAMPED.iter().any(|name| folder.ends_with(name)) => {
                fs::metadata(folder)?.modified()?
            }
            Err(_) => return Ok(None),
        };
        let name = folder.strip_prefix(self.root())?.to_string_lossy().into_owned();
        Ok(Some(Kept { name, bytes: bytes(folder)?, used, is_part }))
    }
}

/// Folders in `folder`; links are none.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Bytes on disk of `folder` with all in it. What goes meanwhile counts for nothing, and so does what only root may see
/// (servers that ran as root keep their schemas to themselves).
///
/// # Errors
/// The file system fails.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    let hidden = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    };
    let failed = || format!("failed to read `{}`", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if hidden(&error) => return Ok(0),
        entries => entries.with_context(failed)?,
    };
    let mut sum = 0;
    for entry in entries {
        let entry = entry.with_context(failed)?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += bytes(&entry.path())?,
            Ok(metadata) => sum += metadata.blocks() * BLOCK,
            Err(error) if hidden(&error) => {}
            Err(error) => return Err(error).with_context(failed),
        }
    }
    Ok(sum)
}

/// A lock in `folder` that somebody holds.
fn held(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_held(&path) == Some(true) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache with an entry of 1 MiB, one of a kind, and what a killed maker left.
    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let write = |bytes: usize| {
            move |entry: &Path| Ok(fs::write(entry.join("content"), vec![1; bytes])?)
        };
        cache.prepare("server", "1", write(1 << 20)).unwrap();
        cache.prepare("datadirs/a", "1", write(1 << 16)).unwrap();
        fs::create_dir(folder.path().join("datadirs/b.part")).unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        (folder, cache)
    }

    fn names(cache: &Cache) -> Vec<String> {
        cache.kept().unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn entries_are_listed_by_size() {
        let (_folder, cache) = cache();
        assert_eq!(names(&cache), ["server", "datadirs/a", "datadirs/b.part"]);
        let kept = cache.kept().unwrap();
        assert!((1 << 20..3 << 19).contains(&kept[0].bytes), "{kept:?}");
        assert_eq!(kept.iter().map(Kept::is_data).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn asking_for_an_entry_is_using_it() {
        let (folder, cache) = cache();
        let stamp = File::open(folder.path().join("server").join(STAMP)).unwrap();
        stamp.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(cache.kept().unwrap()[0].used, SystemTime::UNIX_EPOCH);
        cache.find("server", "1").unwrap();
        assert!(cache.kept().unwrap()[0].used > SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn what_is_removed_is_made_again() {
        let (_folder, cache) = cache();
        for entry in cache.kept().unwrap().iter().filter(|entry| entry.is_data()) {
            cache.remove(entry).unwrap();
        }
        assert_eq!(names(&cache), ["server"]);
        assert_eq!(cache.find("datadirs/a", "1"), None);
        cache.prepare("datadirs/a", "1", |_| Ok(())).unwrap();
    }

    #[test]
    fn nothing_is_removed_under_what_runs() {
        let (folder, cache) = cache();
        let entry = cache.kept().unwrap().remove(0);
        let lock = File::create(folder.path().join("run/server-1.lock")).unwrap();
        lock.lock().unwrap();
        let error = cache.remove(&entry).unwrap_err().to_string();
        assert!(error.contains("server-1.lock"), "{error}");
        lock.unlock().unwrap();
        let made = File::create(folder.path().join("server.lock")).unwrap();
        made.lock().unwrap();
        let error = cache.remove(&entry).unwrap_err().to_string();
        assert!(error.contains("is being made"), "{error}");
        made.unlock().unwrap();
        cache.remove(&entry).unwrap();
    }
}

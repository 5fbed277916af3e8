//! The cache folder: what is slow to fetch or to prepare is made once, and again when its inputs change.

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

/// Name of the file, inside every finished entry, that holds the inputs it was made of.
pub(crate) const STAMP: &str = ".made-of";
/// Extension of an entry that is being made.
pub(crate) const PART: &str = "part";

/// The folder for fixtures, prepared data directories, and the scratch folders of running servers.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens `$POOLFERRY_CACHE`, else `$XDG_CACHE_HOME/poolferry`, else `~/.cache/poolferry`, and creates it when it is missing.
    ///
    /// # Errors
    /// None of the variables is set, or the folder cannot be created.
    pub fn open() -> Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("POOLFERRY_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("poolferry")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/poolferry")))
            .context("no folder for the cache: set POOLFERRY_CACHE")?;
        Self::at(&root)
    }

    /// Likewise, in this folder.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("failed to create the cache folder `{}`", root.display()))?;
        // Programs in other roots and the paths in my.cnf need it absolute.
        let root = root.canonicalize().context("failed to resolve the cache folder")?;
        Ok(Self { root })
    }

    /// Path of the folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The finished entry `name`, if it was made of exactly these `inputs`. Its stamp keeps when it was last asked for.
    #[must_use]
    pub fn find(&self, name: &str, inputs: &str) -> Option<PathBuf> {
        let entry = self.root.join(name);
        let mut stamp = File::open(entry.join(STAMP)).ok()?;
        let mut made_of = String::new();
        stamp.read_to_string(&mut made_of).ok()?;
        if made_of != inputs {
            return None;
        }
        // Only for who looks what can be removed: a cache of another user is as good.
        let _ = stamp.set_modified(SystemTime::now());
        Some(entry)
    }

    /// The entry `name` made of `inputs`; calls `make` with an empty folder if there is none yet, or one of other inputs.
    ///
    /// Safe against other processes that want the same entry: one makes it, the others wait. An entry appears
    /// whole or not at all.
    ///
    /// # Errors
    /// What `make` returns, or trouble with the file system.
    pub fn prepare(
        &self,
        name: &str,
        inputs: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(entry) = self.find(name, inputs) {
            return Ok(entry);
        }
        let entry = self.root.join(name);
        let part = entry.with_added_extension(PART);
        fs::create_dir_all(entry.parent().unwrap_or(&self.root))?;
        let lock = File::create(entry.with_added_extension("lock"))?;
        lock.lock().with_context(|| format!("failed to lock `{}`", entry.display()))?;
        if let Some(entry) = self.find(name, inputs) {
            return Ok(entry);
        }
        remove_dir(&part)?;
        fs::create_dir(&part)?;
        make(&part).with_context(|| format!("failed to prepare `{}`", entry.display()))?;
        fs::write(part.join(STAMP), inputs)?;
        remove_dir(&entry)?;
        fs::rename(&part, &entry)?;
        Ok(entry)
    }
}

/// Removes a folder with all that is in it; a missing one is no error.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once_and_again_for_other_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let make =
            |text: &'static str| move |path: &Path| Ok(fs::write(path.join("content"), text)?);
        let content = |path: PathBuf| fs::read_to_string(path.join("content")).unwrap();
        assert_eq!(content(cache.prepare("a/b", "1", make("first")).unwrap()), "first");
        assert_eq!(content(cache.prepare("a/b", "1", make("unused")).unwrap()), "first");
        assert_eq!(content(cache.prepare("a/b", "2", make("second")).unwrap()), "second");
        assert_eq!(cache.find("a/b", "1"), None);
    }

    #[test]
    fn a_failed_entry_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let failed = cache.prepare("a", "1", |path| {
            fs::write(path.join("half"), "")?;
            anyhow::bail!("no luck")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("no luck"));
        assert_eq!(cache.find("a", "1"), None);
        let entry = cache.prepare("a", "1", |_| Ok(())).unwrap();
        assert!(!entry.join("half").exists());
    }
}

//! The folder of one running server: on the cache's file system, so that data directories can be cloned instead of copied.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, remove_dir};
use crate::lock::is_held;

/// Longest path of a Unix socket, without its terminating zero (`struct sockaddr_un`, unix(7)).
const SOCKET_PATH_BYTES: usize = 107;

/// A folder that is removed with the value. It is locked while its owner lives, so that others know it is in use.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes an empty folder, and removes those whose owners (and their guards) were killed.
    pub(crate) fn new(cache: &Cache) -> Result<Self> {
        let all = cache.root().join("run");
        fs::create_dir_all(&all)?;
        sweep(&all)?;
        let path = tempfile::Builder::new()
            .prefix("server-")
            .tempdir_in(&all)
            .with_context(|| format!("failed to create a folder in `{}`", all.display()))?
            .keep();
        let lock = File::create(lock_file(&path))?;
        lock.lock()?;
        let scratch = Self { path, _lock: lock };
        if scratch.socket().as_os_str().len() > SOCKET_PATH_BYTES {
            bail!(
                "`{}` is too long for a socket; set POOLFERRY_CACHE to a shorter folder",
                all.display()
            );
        }
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("mysqld.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next sweep has another try at what cannot be removed now.
        let _ = remove_dir(&self.path);
        let _ = fs::remove_file(lock_file(&self.path));
    }
}

fn lock_file(folder: &Path) -> PathBuf {
    folder.with_added_extension("lock")
}

/// Removes the folders whose lock nobody holds. One without a lock file is just being made.
fn sweep(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all)? {
        let lock = entry?.path();
        if is_held(&lock) == Some(false) {
            remove_dir(&lock.with_extension(""))?;
            // Last, so that a sweep that was cut short is done again. Another sweep may be quicker.
            let _ = fs::remove_file(&lock);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_an_owner_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (used, left) = (folder.path().join("server-1"), folder.path().join("server-2"));
        for path in [&used, &left] {
            fs::create_dir(path).unwrap();
        }
        let owner = File::create(lock_file(&used)).unwrap();
        owner.lock().unwrap();
        File::create(lock_file(&left)).unwrap();
        sweep(folder.path()).unwrap();
        assert!(used.exists() && !left.exists() && !lock_file(&left).exists());
    }
}

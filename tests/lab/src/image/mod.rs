//! What the guest boots: a Debian of any suite, made once, and a server beside it.
//!
//! | disk | what | made |
//! |---|---|---|
//! | root | Debian with its kernel, sysbench; read-only, both hosts open the same file | once for each suite (about two minutes) |
//! | server | the server's files; read-only | once for each server |
//! | tools | `lab-guest`, `poolferry`, `my.cnf`; read-only | at each start, so that a new `poolferry` is a matter of seconds |
//! | data | the database ([`crate::database`]) | once for each server and size, and copied |

mod disk;
mod initramfs;
mod root;
mod server;
mod tools;

pub use disk::{Use, make as make_disk};
pub use tools::{Tools, make as make_tools};

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use test_servers::Release;
use test_servers::cache::Cache;
use test_servers::fixture::debian;

/// The finished image.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
    server: PathBuf,
}

impl Image {
    /// The image out of the cache, made now if it is not there or its inputs have changed: a Debian of `suite` (`None`: that
    /// of this machine), and `release`.
    ///
    /// # Errors
    /// `debootstrap` or `mke2fs` is missing or fails, the Debian archive does not answer, or the server is not in the cache.
    pub fn ready(cache: &Cache, suite: Option<&str>, release: Release) -> Result<Self> {
        let suite = suite.map_or_else(debian::own_suite, |suite| Ok(suite.to_owned()))?;
        let plain = suite.starts_with(|c: char| c.is_ascii_lowercase())
            && suite.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        ensure!(plain, "`{suite}` is no suite of Debian: write its code name");
        let inputs = format!("{suite}\n{}", root::inputs());
        let name = format!("lab-images/{suite}");
        let folder = cache.prepare(&name, &inputs, |folder| root::make(folder, &suite))?;
        let server = server::ready(cache, &release.installed()?)?;
        Ok(Self { folder, server })
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join(root::KERNEL)
    }

    /// The root disk, raw; never written.
    #[must_use]
    pub fn root_disk(&self) -> PathBuf {
        self.folder.join(root::DISK)
    }

    /// The disk with the server's files, raw; never written.
    #[must_use]
    pub fn server_disk(&self) -> PathBuf {
        self.server.clone()
    }

    /// Writes the initial RAM disk, which mounts the disks and starts `lab-guest`.
    ///
    /// # Errors
    /// Trouble with the file system.
    pub fn make_initramfs(&self, file: &Path) -> Result<()> {
        initramfs::make(&self.folder.join(root::EARLY), file)
    }
}

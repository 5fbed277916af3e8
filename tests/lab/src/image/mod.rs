//! What the guest boots: a Debian of the machine's own suite with MySQL 5.6.24, made once.
//!
//! | disk | what | made |
//! |---|---|---|
//! | root | Debian, MySQL, sysbench; read-only, both hosts open the same file | once (about two minutes) |
//! | tools | `lab-guest`, `poolferry`, `my.cnf`; read-only | at each start, so that a new `poolferry` is a matter of seconds |
//! | data | the database ([`crate::database`]) | once for each size, and copied |

mod disk;
mod initramfs;
mod root;
mod tools;

pub use disk::{Use, make as make_disk};
pub use tools::{Tools, make as make_tools};

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use test_servers::Release;
use test_servers::cache::Cache;
use test_servers::fixture::debian;

/// The finished image.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// The image out of the cache, made now if it is not there or its inputs have changed.
    ///
    /// # Errors
    /// `debootstrap` or `mke2fs` is missing or fails, the Debian archive does not answer, or MySQL 5.6.24 is not in the cache.
    pub fn ready(cache: &Cache) -> Result<Self> {
        let mysql = Release::Mysql56.installed()?.program;
        let mysql = mysql.parent().context("mysqld lies in no folder")?;
        let suite = debian::own_suite()?;
        let inputs = format!("{suite}\n{}\n{}", mysql.display(), root::inputs());
        let folder =
            cache.prepare("lab-image", &inputs, |folder| root::make(folder, &suite, mysql))?;
        Ok(Self { folder })
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

    /// Writes the initial RAM disk, which mounts the disks and starts `lab-guest`.
    ///
    /// # Errors
    /// Trouble with the file system.
    pub fn make_initramfs(&self, file: &Path) -> Result<()> {
        initramfs::make(&self.folder.join(root::EARLY), file)
    }
}

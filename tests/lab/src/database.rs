//! The database: made natively, where it is quick, and put on a disk for the guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use test_servers::cache::Cache;
use test_servers::{Config, Dataset, Release, Server, command, room};

use crate::image;
use crate::size::Size;

/// Tables of sysbench.
pub const TABLES: u32 = 4;
/// Room for what a load that writes adds: undo, splits of pages.
const ROOM: u64 = 256 << 20;

/// What is known of the tables before the VM is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Tables `sbtest1`, `sbtest2` ...
    pub tables: u32,
    /// Rows in each. A transaction of sysbench deletes a row and inserts it again with the same id, so the ids stay.
    pub rows: u32,
    /// `CHECKSUM TABLE` of each; holds until something is written.
    pub checksums: Vec<u64>,
}

/// A disk with the database, in the cache.
#[derive(Debug)]
pub struct Database {
    disk: PathBuf,
    known: Known,
}

impl Database {
    /// The database that fills `fill` of a buffer pool of `pool`; made now if it is not in the cache.
    ///
    /// # Errors
    /// The server, sysbench or `mke2fs` is missing or fails.
    pub fn ready(cache: &Cache, release: Release, pool: Size, fill: f64) -> Result<Self> {
        let dataset = dataset(pool, fill)?;
        let inputs = format!("{} {dataset:?} {ROOM} 1", release.installed()?.program.display());
        let name = format!("lab-data/{}-{}x{}", release.name(), dataset.tables, dataset.rows);
        let folder = cache.prepare(&name, &inputs, |folder| make(folder, release, dataset))?;
        let known = fs::read(folder.join("known.json"))?;
        Ok(Self { disk: folder.join("data.raw"), known: serde_json::from_slice(&known)? })
    }

    /// What is known of the tables.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Copies the disk to `file`; blocks of zeros stay holes.
    ///
    /// # Errors
    /// The file system has no room for it.
    pub fn copy_to(&self, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(file);
        room::ensure(folder, fs::metadata(&self.disk)?.len(), "a copy of the database's disk")?;
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).arg(&self.disk).arg(file);
        command::output(&mut copy).map(drop)
    }
}

fn dataset(pool: Size, fill: f64) -> Result<Dataset> {
    ensure!(
        (0.05..=4.0).contains(&fill),
        "the pool can be filled from 0.05 up to 4 times, not {fill}"
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "far below 2^53, positive, and rounded to thousands"
    )]
    let thousands =
        (pool.bytes() as f64 * fill / Dataset::ROW_BYTES as f64 / f64::from(TABLES) / 1000.0)
            as u32;
    Ok(Dataset { tables: TABLES, rows: thousands.max(1) * 1000 })
}

fn make(folder: &Path, release: Release, dataset: Dataset) -> Result<()> {
    let staging = folder.join("staging");
    fs::create_dir(&staging)?;
    // The data directory and the disk are there side by side for a moment.
    room::ensure(folder, 2 * dataset.bytes() + ROOM, "a disk with the database")?;
    let config = Config::new().pool_mib(1024).sysbench(dataset).filled_anew().datadir_in(&staging);
    let mut server = Server::start(release, config.option("innodb_fast_shutdown=0"))?;
    let mut known = Known { tables: dataset.tables, rows: dataset.rows, checksums: Vec::new() };
    for table in 1..=dataset.tables {
        let rows = server.query(&format!("CHECKSUM TABLE sbtest.sbtest{table}"))?;
        let sum = rows.first().and_then(|row| row.get(1)).context("no checksum")?;
        known.checksums.push(sum.parse().with_context(|| format!("`{sum}` is no checksum"))?);
    }
    server.shut_down()?;
    let datadir = fs::read_dir(&staging)?.next().context("the server has no files")??.path();
    let tree = folder.join("tree");
    fs::create_dir(&tree)?;
    fs::rename(datadir, tree.join("mysql"))?;
    image::make_disk(&tree, &folder.join("data.raw"), ROOM, image::Use::ReadWrite)?;
    fs::write(folder.join("known.json"), serde_json::to_vec_pretty(&known)?)?;
    drop(server);
    fs::remove_dir_all(tree)?;
    Ok(fs::remove_dir_all(staging)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_pool() {
        let rows = |mib, fill| dataset(Size::mib(mib), fill).unwrap().rows;
        assert_eq!(rows(1024, 1.0), 1_137_000);
        assert_eq!(rows(1, 0.05), 1000);
        dataset(Size::mib(1), 9.0).unwrap_err();
    }
}

//! Data directories: made and filled once, kept in the cache after a clean shutdown, copied for each server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::command;
use crate::config::{Config, Dataset, PageSize};
use crate::fixture::{Installed, Release};
use crate::server::Server;
use crate::{kept, room};

/// Options that make filling quick; none of them changes what lies in the tables.
const QUICK: [&str; 3] =
    ["innodb_flush_log_at_trx_commit=0", "skip_innodb_doublewrite", "innodb_fast_shutdown=0"];

/// Bytes of a data directory without tables: logs, system tablespace, undo.
const SERVERS_OWN: u64 = 256 << 20;

/// Puts a data directory for `config` at `to`, which must not exist.
pub(crate) fn place(
    cache: &Cache,
    installed: &Installed,
    config: &Config,
    to: &Path,
) -> Result<()> {
    let template = match config.dataset {
        None => empty(cache, installed, config)?,
        Some(dataset) if config.keeps_dataset => filled(cache, installed, config, dataset)?,
        Some(dataset) => return fill(cache, installed, config, dataset, to),
    };
    let template = template.join("data");
    let folder = to.parent().unwrap_or(to);
    room::ensure(folder, kept::bytes(&template)?, "a copy of a data directory")?;
    copy(&template, to)
}

/// Copies a folder; by reference where the file system can.
fn copy(from: &Path, to: &Path) -> Result<()> {
    command::output(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(from).arg(to))?;
    Ok(())
}

/// A data directory with nothing but what the server itself needs.
fn empty(cache: &Cache, installed: &Installed, config: &Config) -> Result<PathBuf> {
    let (name, inputs) = entry(installed, config, None)?;
    cache.prepare(&name, &inputs, |folder| {
        let plain = plain(config);
        let data = folder.join("data");
        match installed.release {
            Release::Mysql56 => shipped(installed, &plain, &data)?,
            Release::Mysql97 => {
                return Server::initialize(
                    cache,
                    installed,
                    &plain,
                    &["--initialize-insecure"],
                    &data,
                );
            }
            Release::Mariadb | Release::MariadbSecurity | Release::MariadbTrixie => {
                fs::create_dir(&data)?
            }
        }
        // A first start writes the system tablespace and the log files.
        let server = Server::on_copy(cache, installed, &plain, &data)?;
        if installed.release == Release::Mysql56 && remade(&plain) {
            let tables = installed.program.with_file_name("share").join("mysql_system_tables.sql");
            let script = fs::read_to_string(&tables)
                .with_context(|| format!("failed to read `{}`", tables.display()))?;
            server.query(&format!("USE mysql;\n{script}"))?;
        }
        server.stop_and_keep(&data)
    })
}

/// A data directory with the tables of `dataset`.
fn filled(
    cache: &Cache,
    installed: &Installed,
    config: &Config,
    dataset: Dataset,
) -> Result<PathBuf> {
    let (name, inputs) = entry(installed, config, Some(dataset))?;
    cache.prepare(&name, &inputs, |folder| {
        fill(cache, installed, config, dataset, &folder.join("data"))
    })
}

/// Makes a data directory with the tables of `dataset` at `data`.
fn fill(
    cache: &Cache,
    installed: &Installed,
    config: &Config,
    dataset: Dataset,
    data: &Path,
) -> Result<()> {
    room::ensure(cache.root(), dataset.bytes() + SERVERS_OWN, "tables of sysbench")?;
    let mut quick = plain(config).pool_mib(1024);
    quick.options.extend(QUICK.map(str::to_owned));
    copy(&empty(cache, installed, config)?.join("data"), data)?;
    let server = Server::on_copy(cache, installed, &quick, data)?;
    server.sysbench_prepare(dataset)?;
    server.stop_and_keep(data)
}

/// What of `config` a data directory depends on.
fn plain(config: &Config) -> Config {
    let mut plain = Config::new().page_size(config.page_size);
    plain.at_creation.clone_from(&config.at_creation);
    plain
}

/// Name and inputs of the template in the cache.
fn entry(
    installed: &Installed,
    config: &Config,
    dataset: Option<Dataset>,
) -> Result<(String, String)> {
    let program = fs::metadata(&installed.program)
        .with_context(|| format!("failed to look at `{}`", installed.program.display()))?;
    let inputs = format!(
        "{} {} {:?} {:?} {:?} {dataset:?}",
        installed.program.display(),
        program.len(),
        program.modified()?,
        config.page_size,
        config.at_creation,
    );
    let hash = blake3::hash(inputs.as_bytes()).to_hex();
    let name = format!("datadirs/{}-{}", installed.release.entry(), &hash[..16]);
    Ok((name, inputs))
}

/// Whether 5.6 has to make its system tablespace anew, as the one that it ships has 16 KiB pages and one file.
fn remade(config: &Config) -> bool {
    config.page_size != PageSize::K16 || !config.at_creation.is_empty()
}

/// The data directory that 5.6 ships, without its InnoDB files if they have to be made anew.
fn shipped(installed: &Installed, config: &Config, data: &Path) -> Result<()> {
    copy(&installed.program.with_file_name("data").join("mysql"), data)?;
    fs::create_dir_all(data.join("test"))?;
    if !remade(config) {
        return Ok(());
    }
    fs::remove_file(data.join("ibdata1"))?;
    for file in fs::read_dir(data.join("mysql"))? {
        let ibd = file?.path();
        if ibd.extension().is_some_and(|extension| extension == "ibd") {
            fs::remove_file(&ibd)?;
            fs::remove_file(ibd.with_extension("frm"))?;
        }
    }
    Ok(())
}

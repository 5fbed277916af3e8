//! One private server: start, ask, stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cache::{Cache, remove_dir};
use crate::client;
use crate::command;
use crate::config::{Config, Dataset};
use crate::datadir;
use crate::fixture::{Installed, Release};
use crate::launch::{self, Places};
use crate::load::{self, Load, LoadSpec};
use crate::process;
use crate::scratch::Scratch;
use crate::watchdog::Watchdog;

/// A server answers within this time, log recovery and a cold disk included.
const START_LIMIT: Duration = Duration::from_secs(180);
/// A server ends within this time, writing out all that is dirty in a pool of 8 GiB included.
const STOP_LIMIT: Duration = Duration::from_secs(300);

/// A running server. Dropped, it is killed and its files are removed; [`stop`](Server::stop) lets it shut down first.
#[derive(Debug)]
pub struct Server {
    installed: Installed,
    config: Config,
    // Before `scratch`, so that nothing runs any more when the folder goes.
    running: Option<Running>,
    datadir: PathBuf,
    scratch: Scratch,
}

/// The process, and the watchdog that ends it should its owner be killed.
#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    _watchdog: Watchdog,
}

impl Server {
    /// Starts MySQL 5.6.24.
    ///
    /// # Errors
    /// It is not in the cache, or does not start; the text has the end of its log.
    pub fn mysql56(config: Config) -> Result<Self> {
        Self::start(Release::Mysql56, config)
    }

    /// Starts MySQL 9.7 in its Debian root.
    ///
    /// # Errors
    /// As for [`mysql56`](Self::mysql56); and it wants root.
    pub fn mysql97(config: Config) -> Result<Self> {
        Self::start(Release::Mysql97, config)
    }

    /// Starts MariaDB in its Debian root, without accounts (`skip_grant_tables`).
    ///
    /// # Errors
    /// As for [`mysql56`](Self::mysql56); and it wants root.
    pub fn mariadb(config: Config) -> Result<Self> {
        Self::start(Release::Mariadb, config)
    }

    /// Starts a server of `release` with a data directory of its own.
    ///
    /// # Errors
    /// The release is not in the cache, or does not start; the text has the end of its log.
    pub fn start(release: Release, config: Config) -> Result<Self> {
        Self::start_installed(release.installed()?, config)
    }

    /// Starts this very program, with a data directory of its own.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_installed(installed: Installed, config: Config) -> Result<Self> {
        let cache = Cache::open()?;
        let scratch = Scratch::new(&cache)?;
        let datadir = match &config.datadir_in {
            None => scratch.path().join("data"),
            Some(folder) => folder.join(scratch.path().file_name().unwrap_or_default()),
        };
        let mut server = Self { installed, config, running: None, datadir, scratch };
        datadir::place(&cache, &server.installed, &server.config, &server.datadir)?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts a server on `datadir` itself, which [`stop_and_keep`](Self::stop_and_keep) gives back.
    pub(crate) fn on_copy(
        cache: &Cache,
        installed: &Installed,
        config: &Config,
        datadir: &Path,
    ) -> Result<Self> {
        let scratch = Scratch::new(cache)?;
        let moved = scratch.path().join("data");
        fs::rename(datadir, &moved)?;
        let (installed, config) = (installed.clone(), config.clone());
        let mut server = Self { installed, config, running: None, datadir: moved, scratch };
        server.start_again()?;
        Ok(server)
    }

    /// Lets the program make its own data directory at `datadir` (with `arguments` such as `--initialize-insecure`) and end.
    pub(crate) fn initialize(
        cache: &Cache,
        installed: &Installed,
        config: &Config,
        arguments: &[&str],
        datadir: &Path,
    ) -> Result<()> {
        let scratch = Scratch::new(cache)?;
        let made = scratch.path().join("data");
        fs::create_dir(&made)?;
        let log = scratch.path().join("error.log");
        let places = Places { scratch: scratch.path(), datadir: &made, log: &log };
        let mut child = launch::spawn(installed, config, places, arguments)?;
        let _watchdog = Watchdog::new(child.id(), &[scratch.path()])?;
        let status = child.wait()?;
        ensure!(status.success(), "{} {arguments:?}: {status}\n{}", installed.release, tail(&log));
        Ok(fs::rename(made, datadir)?)
    }

    /// Process id of the server, as seen from outside of its namespaces.
    ///
    /// # Panics
    /// After [`shut_down`](Self::shut_down) there is none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the server was shut down").pid
    }

    /// Its socket; user `root` has no password.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scratch.socket()
    }

    /// Its data directory, as seen from outside.
    #[must_use]
    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// Its folder for everything else, as seen from outside.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Its program, as seen from outside.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.installed.program
    }

    /// All that it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs the statements of `sql` as root and gives the rows of all their results; NULL reads `NULL`.
    ///
    /// # Errors
    /// A statement fails; those after it are not run.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        client::query(&self.socket(), sql)
    }

    /// The single value that `sql` gives.
    ///
    /// # Errors
    /// The statement fails, or gives no row.
    pub fn query_one(&self, sql: &str) -> Result<String> {
        let mut rows = self.query(sql)?;
        ensure!(!rows.is_empty() && !rows[0].is_empty(), "`{sql}` gave no row");
        Ok(rows[0].swap_remove(0))
    }

    /// Creates and fills the tables of `dataset`. [`Config::sysbench`] gives the same from a copy prepared once.
    ///
    /// # Errors
    /// `sysbench` is missing or fails.
    pub fn sysbench_prepare(&self, dataset: Dataset) -> Result<()> {
        self.query("CREATE DATABASE IF NOT EXISTS sbtest")?;
        let mut prepare = load::sysbench("oltp_common", &self.socket(), dataset);
        command::output(
            prepare.arg(format!("--threads={}", dataset.tables.min(4))).arg("prepare"),
        )?;
        Ok(())
    }

    /// Starts sysbench on the tables of [`Config::sysbench`]; it runs beside the caller.
    ///
    /// # Errors
    /// The server has no such tables, or `sysbench` cannot be started.
    pub fn load(&self, spec: &LoadSpec) -> Result<Load> {
        let dataset = self.config.dataset.context("a load needs `Config::sysbench`")?;
        Load::start(spec, &self.socket(), dataset)
    }

    /// Shuts the server down in order and removes its files.
    ///
    /// # Errors
    /// It did not end in time, or not with status 0; it is gone all the same.
    pub fn stop(mut self) -> Result<()> {
        self.shut_down()
    }

    /// Shuts the server down in order but keeps its files for [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// It did not end in time, or not with status 0; it is gone all the same.
    pub fn shut_down(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let status = process::terminate(&mut running.child, running.pid, STOP_LIMIT)?;
        ensure!(
            status.success(),
            "{} ended with {status}\n{}",
            self.installed.release,
            tail(&self.log_file())
        );
        Ok(())
    }

    /// Kills the server (SIGKILL) but keeps its files for [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// The kernel does not report how it ended.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        process::signal(running.pid, rustix::process::Signal::KILL);
        process::kill(&mut running.child).map(drop)
    }

    /// Starts the server, which does not run, on the files that it has.
    ///
    /// # Errors
    /// It ends before it answers, or does not answer in time.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the server runs already");
        let log = self.log_file();
        let places = Places { scratch: self.scratch.path(), datadir: &self.datadir, log: &log };
        let arguments: &[&str] = match self.installed.release.is_mariadb() {
            // Its data directory has no tables of accounts.
            true => &["--skip-grant-tables"],
            false => &[],
        };
        let mut child = launch::spawn(&self.installed, &self.config, places, arguments)?;
        let watchdog = Watchdog::new(child.id(), &[self.scratch.path(), &self.datadir]);
        let ready =
            watchdog.and_then(|watchdog| Ok((self.wait_until_ready(&mut child)?, watchdog)));
        match ready {
            Ok((pid, watchdog)) => {
                self.running = Some(Running { child, pid, _watchdog: watchdog });
                Ok(())
            }
            Err(error) => {
                process::kill(&mut child)?;
                Err(error)
            }
        }
    }

    /// Shuts the server down and moves its data directory to `to`.
    pub(crate) fn stop_and_keep(mut self, to: &Path) -> Result<()> {
        self.shut_down()?;
        Ok(fs::rename(&self.datadir, to)?)
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("error.log")
    }

    /// Waits until the server answers a query, and gives its pid.
    fn wait_until_ready(&self, child: &mut Child) -> Result<u32> {
        let since = Instant::now();
        let release = self.installed.release;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("{release} did not start: {status}\n{}", tail(&self.log_file()));
            }
            // The socket appears before the server listens to it, so ask.
            if self.socket().exists()
                && self.query("SELECT 1").is_ok()
                && let Some(pid) = launch::server_pid(child, &self.config)
            {
                return Ok(pid);
            }
            if since.elapsed() > START_LIMIT {
                bail!(
                    "{release} does not answer after {START_LIMIT:?}\n{}",
                    tail(&self.log_file())
                );
            }
            thread::sleep(process::POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody will look at the files again, so there is nothing to write out.
        let _ = self.kill();
        let _ = remove_dir(&self.datadir);
    }
}

/// What a log says of a failure: its errors, and its end. Between them may be a line for each plugin that shuts down.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let (before, end) = lines.split_at(lines.len().saturating_sub(10));
    let errors = before.iter().filter(|line| line.contains("ERROR")).take(10);
    errors.chain(end).copied().collect::<Vec<_>>().join("\n")
}

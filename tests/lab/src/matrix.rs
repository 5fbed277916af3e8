//! Servers, guest kernels and QEMUs: a migration under load for each combination, and the document about them.
//!
//! What is done is kept in `matrix.json`, a cell at a time; a run goes on with those that it lacks.

mod page;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use migration_record::{GuestSystem, Report};
use serde::{Deserialize, Serialize};
use symbols::elf::Program;
use test_qemus::QemuRelease;
use test_servers::Release;
use test_servers::cache::Cache;

use crate::mode::Mode;
use crate::run::{Check, Series, migrations};
use crate::setup::{Programs, Setup};
use crate::size::Size;
use crate::steps::print_line;
use crate::wait;
use crate::workload::Workload;

/// Debian suites, for their kernels: 6.1, 6.12, 7.x.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];
/// QEMUs that see all writes of a guest without KVM, see `qemu_glue::source`.
const QEMUS: [QemuRelease; 2] = [QemuRelease::Q100, QemuRelease::Q111];

/// Of a reason so much is kept.
const REASON_CHARS: usize = 300;

/// Options of a matrix.
#[derive(Debug, Clone, clap::Args)]
pub struct Matrix {
    /// Only these cells: `mariadb/trixie/10.0` [default: all]
    #[arg(long, value_name = "SERVER/SUITE/QEMU", value_delimiter = ',')]
    pub cell: Vec<MatrixCell>,
    /// Run cells that have been run, too
    #[arg(long)]
    pub again: bool,
    /// Folder for `matrix.json` and `matrix.md`
    #[arg(long, value_name = "DIR", default_value = "docs")]
    pub out: PathBuf,
}

/// A server in a guest under a QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixCell {
    server: Release,
    suite: String,
    qemu: QemuRelease,
}

impl MatrixCell {
    fn all() -> impl Iterator<Item = Self> {
        Release::ALL.into_iter().flat_map(|server| {
            SUITES.into_iter().flat_map(move |suite| {
                QEMUS.map(|qemu| Self { server, suite: suite.to_owned(), qemu })
            })
        })
    }

    fn setup(&self) -> Setup {
        // MySQL 9.7 alone takes half of a GiB beside its pool.
        let memory = Size::mib(if self.server == Release::Mysql97 { 1024 } else { 512 });
        Setup {
            memory,
            server: self.server,
            suite: Some(self.suite.clone()),
            qemu: self.qemu,
            ..Setup::small(Workload::Rw)
        }
    }
}

impl fmt::Display for MatrixCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.qemu.version();
        write!(f, "{}/{}/{major}.{minor}", self.server.name(), self.suite)
    }
}

impl std::str::FromStr for MatrixCell {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let [server, suite, qemu] = text.split('/').collect::<Vec<_>>()[..] else {
            anyhow::bail!("`{text}` is no SERVER/SUITE/QEMU");
        };
        Ok(Self { server: server.parse()?, suite: suite.to_owned(), qemu: qemu.parse()? })
    }
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixResult {
    /// Its name: `mariadb/trixie/10.0`.
    pub cell: String,
    /// Day of the run: `2026-11-30`, UTC.
    pub day: String,
    /// What ran in the VM.
    pub guest_system: GuestSystem,
    /// Build id of the server's program; `None` where it has none.
    pub build_id: Option<String>,
    /// QEMU of both hosts.
    pub qemu: String,
    /// What ran the guest's code.
    pub accelerator: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How the migration of a cell ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ended")]
pub enum Outcome {
    /// It completed, and the RAM of both sides was the same.
    Identical {
        /// Seconds, as QEMU reports.
        total_time_s: f64,
        /// Pages of 4 KiB that QEMU did not send at first.
        skipped: u64,
        /// Of them, those that came from storage.
        installed: u64,
    },
    /// It did not.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Matrix {
    /// Runs the cells, each written when it is done.
    ///
    /// # Errors
    /// The folder cannot be written, or somebody ends it. A cell that fails is a result.
    pub fn run(self, cache: &Cache) -> Result<()> {
        fs::create_dir_all(&self.out)?;
        let file = self.out.join("matrix.json");
        let mut results: Vec<MatrixResult> = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is not what this program writes", file.display()))?,
            Err(_) => Vec::new(),
        };
        let cells = if self.cell.is_empty() { MatrixCell::all().collect() } else { self.cell };
        for (number, cell) in cells.iter().enumerate() {
            let name = cell.to_string();
            if !self.again && results.iter().any(|result| result.cell == name) {
                continue;
            }
            print_line(&format!("\ncell {} of {}: {name}", number + 1, cells.len()));
            let result = perform(cache, cell)?;
            print_line(&format!("{:?}", result.outcome));
            results.retain(|other| other.cell != name);
            results.push(result);
            let rank = |result: &MatrixResult| {
                MatrixCell::all().position(|cell| cell.to_string() == result.cell)
            };
            results.sort_by_key(rank);
            fs::write(&file, serde_json::to_string_pretty(&results)? + "\n")?;
            fs::write(self.out.join("matrix.md"), page::render(&results))?;
        }
        Ok(())
    }
}

fn perform(cache: &Cache, cell: &MatrixCell) -> Result<MatrixResult> {
    let setup = cell.setup();
    let (report, failed) = match migrate(cache, &setup) {
        Ok(report) => (report, None),
        Err(error) => {
            // An end that the user wants is no result.
            wait::go_on()?;
            (Report::default(), Some(format!("{error:#}")))
        }
    };
    let outcome = match failed {
        Some(reason) => Outcome::Failed { reason: one_line(&reason) },
        None => Outcome::Identical {
            total_time_s: report.total_time_s,
            skipped: report.pages.skipped,
            installed: report.pages.installed,
        },
    };
    let program = cell.server.installed().ok().and_then(|it| Program::open(&it.program).ok());
    Ok(MatrixResult {
        cell: cell.to_string(),
        day: day(SystemTime::now()),
        guest_system: report.guest_system,
        build_id: program.and_then(|program| program.build_id_hex()),
        qemu: report.qemu.destination.raw().to_owned(),
        accelerator: report.machine.accelerator.raw().to_owned(),
        outcome,
    })
}

fn migrate(cache: &Cache, setup: &Setup) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let series = Series {
        mode: vec![Mode::Poolferry],
        runs: 1,
        before: 3,
        after: 2,
        fresh: false,
        check: Check::Each,
        resume: false,
        out: folder.path().to_owned(),
    };
    let programs = Programs::with_qemu(setup.qemu)?;
    let report = migrations(cache, setup, &programs, &series)?.pop().context("no migration")?;
    let compared = report.ram_identity.context("the RAM of both sides was not compared")?;
    ensure!(compared.differing_bytes == 0, "{} bytes of RAM differ", compared.differing_bytes);
    ensure!(report.pages.installed > 0, "no page came from storage");
    Ok(report)
}

/// A reason as a cell of a table: what a program has written on many lines goes on one, and not all of it.
fn one_line(reason: &str) -> String {
    let lines: Vec<&str> = reason.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(REASON_CHARS).collect()
}

/// The day of `time`, UTC, after Howard Hinnant's `civil_from_days`.
fn day(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    format!("{}-{month:02}-{date:02}", year + era * 400 + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cells_have_names() {
        let all: Vec<String> = MatrixCell::all().map(|cell| cell.to_string()).collect();
        assert_eq!(all.len(), Release::ALL.len() * SUITES.len() * QEMUS.len());
        assert!(all.contains(&"mariadb/trixie/11.1".to_owned()), "{all:?}");
        for name in &all {
            assert_eq!(name.parse::<MatrixCell>().unwrap().to_string(), *name);
        }
        for text in ["mariadb", "nosuch/sid/10.0", "mariadb/sid/9"] {
            text.parse::<MatrixCell>().unwrap_err();
        }
    }

    #[test]
    fn reasons_stay_on_their_line() {
        assert_eq!(one_line("the agent said:\n\n  [WARN] x\n"), "the agent said:; [WARN] x");
        assert_eq!(one_line(&"x".repeat(1000)).len(), REASON_CHARS);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| day(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_796_083_199), "2026-11-30");
    }
}

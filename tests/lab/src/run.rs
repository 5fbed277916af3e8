//! A series of migrations of one VM, and its report.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use migration_record::{GuestSystem, MigrationStatus, RecordError, Report};
use test_servers::cache::Cache;

use crate::berth::Berth;
use crate::mode::Mode;
use crate::record::{LoadRecord, failure, is_of, record};
use crate::setup::{Programs, Setup};
use crate::steps::print_line;
use crate::wait;

/// Options of a series.
#[derive(Debug, Clone, clap::Args)]
pub struct Series {
    /// How to migrate; several take turns, every other time in reverse order
    #[arg(long, value_enum, value_delimiter = ',', default_value = "stock,poolferry")]
    pub mode: Vec<Mode>,
    /// Migrations in each mode
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub runs: u32,
    /// Seconds of load before each migration
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub before: u64,
    /// Seconds of load after each
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub after: u64,
    /// Boot a new VM for each migration; otherwise one VM migrates back and forth
    #[arg(long)]
    pub fresh: bool,
    /// When the whole database is read, which takes long where it is large; RAM is compared each time
    #[arg(long, value_enum, value_name = "WHEN", default_value = "each")]
    pub check: Check,
    /// Continue an interrupted series: keep the records in the folder that are of the same VM, load, links and machine. Other options
    /// are not compared
    #[arg(long)]
    pub resume: bool,
    /// Folder for records and page
    #[arg(long, value_name = "DIR", default_value = "lab-report")]
    pub out: PathBuf,
}

/// After which migrations every table is read and compared with what it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Check {
    /// After each
    Each,
    /// After the last of the series
    Last,
    /// After none
    Never,
}

/// Migrates as often as wanted, and writes a record of each migration and one page of all.
///
/// # Errors
/// A migration of Poolferry's or of stock QEMU fails, the RAM of the two sides differs, or the database is not what it must
/// be. Another way to migrate that fails is a record of a failure.
pub fn run(
    cache: &Cache,
    setup: &Setup,
    programs: &Programs,
    series: &Series,
) -> Result<Vec<Report>> {
    let reports = migrations(cache, setup, programs, series)?;
    let page = migration_report::write_page(&series.out, &reports).map_err(explained)?;
    migration_report::write_results(&series.out, &reports).map_err(explained)?;
    print_line(&migration_report::text(&reports));
    print_line(&format!("records and page: {}", page.display()));
    Ok(reports)
}

/// The migrations of a series, their records written.
///
/// # Errors
/// As [`run`].
pub fn migrations(
    cache: &Cache,
    setup: &Setup,
    programs: &Programs,
    series: &Series,
) -> Result<Vec<Report>> {
    fs::create_dir_all(&series.out)
        .with_context(|| format!("no place for records: `{}`", series.out.display()))?;
    let mut berth = Berth::new(cache, setup, programs, &series.mode);
    let mut reports = Vec::new();
    for run in 1..=series.runs {
        for mode in turn(&series.mode, run) {
            let folder = series.out.join(format!("{run:03}-{}", mode.name()));
            if series.resume
                && let Some(report) = kept(&folder, setup, mode)?
            {
                identical(&report)?;
                reports.push(report);
                continue;
            }
            print_line(&format!("run {run}, {}", mode.name()));
            if series.fresh {
                berth.leave();
            }
            let report = one(&mut berth, setup, series, mode, run, &folder);
            let report = match report {
                // An end that the user wants is no failure of QEMU's.
                Err(error) if is_other(mode) && wait::go_on().is_ok() => {
                    print_line(&format!("{} failed: {error:#}", mode.name()));
                    let system = berth.lab().map(|lab| lab.system.clone()).unwrap_or_default();
                    // Wherever its VM is now, nobody wants to know.
                    berth.leave();
                    failure(setup, system, mode, run, &error)
                }
                report => report?,
            };
            let known = |of: &&Report| of.guest_system != GuestSystem::default();
            if known(&&report)
                && let Some(other) =
                    reports.iter().filter(known).find(|of| of.guest_system != report.guest_system)
            {
                bail!(
                    "`{}` has records of a VM with {} on Linux {}: name another folder with --out",
                    series.out.display(),
                    other.guest_system.server,
                    other.guest_system.kernel
                );
            }
            report.write(&folder).map_err(explained)?;
            identical(&report)?;
            reports.push(report);
            if series.check == Check::Each
                && let Some(lab) = berth.lab()
            {
                lab.check()?;
            }
        }
    }
    if series.check == Check::Last
        && let Some(lab) = berth.lab()
    {
        lab.check()?;
    }
    Ok(reports)
}

/// The remedy first, as everywhere.
pub(crate) fn explained(error: RecordError) -> anyhow::Error {
    let hint = error.hint();
    anyhow::Error::new(error).context(format!("no record of what was done; {hint}"))
}

/// The record of a migration that was made before, if it is complete and of the same VM, load, links and machine.
fn kept(folder: &Path, setup: &Setup, mode: Mode) -> Result<Option<Report>> {
    let path = folder.join(migration_record::JSON);
    if !path.exists() {
        return Ok(None);
    }
    let report = migration_record::read(&path).map_err(explained)?;
    // Poolferry's own record, to which the laboratory has not yet added its part, has no proof.
    if report.status != MigrationStatus::Completed
        || report.ram_identity.is_some() != mode.is_compared()
    {
        return Ok(None);
    }
    ensure!(
        is_of(&report, setup),
        "`{}` is the record of another VM, load, links or machine; without `--resume` it is made anew, and another \
         `--out` keeps it",
        path.display()
    );
    Ok(Some(report))
}

fn identical(report: &Report) -> Result<()> {
    let differing = report.ram_identity.map_or(0, |identity| identity.differing_bytes);
    ensure!(differing == 0, "the RAM of the two sides differs in {differing} bytes");
    Ok(())
}

/// The order of one run. A VM that goes to and fro fills its memory by and by, so that each migration has more to
/// send than the one before: there and back, no way is always the later one.
fn turn(modes: &[Mode], run: u32) -> Vec<Mode> {
    let mut modes = modes.to_vec();
    if run.is_multiple_of(2) {
        modes.reverse();
    }
    modes
}

/// Whether a failure is a result, not the end.
const fn is_other(mode: Mode) -> bool {
    !mode.is_poolferry() && !matches!(mode, Mode::Stock)
}

fn one(
    berth: &mut Berth<'_>,
    setup: &Setup,
    series: &Series,
    mode: Mode,
    run: u32,
    folder: &Path,
) -> Result<Report> {
    let probed = series.mode.iter().any(|mode| mode.is_poolferry());
    let lab = berth.of(mode)?;
    if probed {
        lab.gauge_on()?;
    }
    wait::pause(Duration::from_secs(series.before))?;
    let hop = lab.hop(mode, folder)?;
    if probed {
        lab.gauge_on()?;
    }
    wait::pause(Duration::from_secs(series.after))?;
    lab.gauge_off();
    // Poolferry's own program has made it, and nobody else.
    fs::create_dir_all(folder)?;
    let log = folder.join("agent.log");
    fs::write(&log, lab.agent_log())
        .with_context(|| format!("failed to write `{}`", log.display()))?;
    let load = LoadRecord { seconds: lab.seconds(), readings: lab.readings() };
    let system = lab.system.clone();
    record(&hop, &load, setup, system, run, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_is_always_the_later_one() {
        let modes = [Mode::Stock, Mode::Poolferry];
        let order: Vec<_> = (1..=4).flat_map(|run| turn(&modes, run)).collect();
        let of =
            |mode| order.iter().enumerate().filter(move |(_, m)| **m == mode).map(|(at, _)| at);
        assert_eq!(of(Mode::Stock).sum::<usize>(), of(Mode::Poolferry).sum::<usize>());
    }
}

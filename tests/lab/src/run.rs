//! A series of migrations of one VM, and its report.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_glue::report::{self, Report};
use test_servers::cache::Cache;

use crate::hop::Mode;
use crate::laboratory::Laboratory;
use crate::record::record;
use crate::setup::{Programs, Setup};
use crate::steps::say;
use crate::wait;

/// Options of a series.
#[derive(Debug, Clone, clap::Args)]
pub struct Series {
    /// How to migrate; several take turns
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
    /// Boot a new VM for each migration; otherwise one VM goes to and fro
    #[arg(long)]
    pub fresh: bool,
    /// Read the whole database only after the last migration, not after each
    #[arg(long)]
    pub check_last: bool,
    /// Folder for records and page
    #[arg(long, value_name = "DIR", default_value = "lab-report")]
    pub out: PathBuf,
}

/// Migrates as often as wanted, and writes a record of each migration and one page of all.
///
/// # Errors
/// A migration fails, the RAM of the two sides differs, or the database is not what it must be.
pub fn run(
    cache: &Cache,
    setup: &Setup,
    programs: &Programs,
    series: &Series,
) -> Result<Vec<Report>> {
    let mut lab = None;
    let mut reports = Vec::new();
    for run in 1..=series.runs {
        for &mode in &series.mode {
            say(&format!("run {run}, {}", mode.name()));
            if series.fresh {
                // The old one goes first: two do not fit.
                lab = None;
            }
            let lab = match &mut lab {
                Some(lab) => lab,
                none => none.insert(start(cache, setup, programs, series)?),
            };
            lab.load(setup.workload)?;
            wait::pause(Duration::from_secs(series.before))?;
            let folder = series.out.join(format!("{run:03}-{}", mode.name()));
            let hop = lab.hop(mode, &folder)?;
            wait::pause(Duration::from_secs(series.after))?;
            let seconds = lab.seconds();
            let report = record(&hop, &seconds, setup, run, &folder)?;
            report.write(&folder)?;
            reports.push(report);
            ensure!(
                hop.identity.differing_bytes == 0,
                "the RAM of the two sides differs in {} bytes of {} pages, the first of them {:x?}",
                hop.identity.differing_bytes,
                hop.identity.differing_pages,
                hop.identity.first
            );
            if !series.check_last {
                lab.check()?;
            }
        }
    }
    if series.check_last
        && let Some(lab) = &mut lab
    {
        lab.check()?;
    }
    let page = report::write_page(&series.out, &reports)?;
    say(&report::text(&reports));
    say(&format!("records and page: {}", page.display()));
    Ok(reports)
}

fn start(cache: &Cache, setup: &Setup, programs: &Programs, series: &Series) -> Result<Laboratory> {
    let mut lab = Laboratory::boot(cache, setup.clone(), programs.clone())?;
    lab.busy()?;
    if series.mode.contains(&Mode::Poolferry) {
        lab.start_agent()?;
    }
    Ok(lab)
}

//! The whole evaluation: every way to migrate, under every load, over every pair of links.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use qemu_glue::report::{self, Report};
use test_servers::cache::Cache;

use crate::mode::Mode;
use crate::rate::Rate;
use crate::run::{Series, migrations, told};
use crate::setup::{Programs, Setup};
use crate::size::Size;
use crate::steps::say;
use crate::workload::Workload;

/// Options of an evaluation.
#[derive(Debug, Clone, clap::Args)]
pub struct Paper {
    /// A VM of 512 MiB, two cells, one run each, the main modes: shows that it works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// RAM of the VM; several make several cells. The pool is 80 % of it
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_value = "4G,8G")]
    pub memory: Vec<Size>,
    /// Share of the RAM that the pool has
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub pool_share: f64,
    /// Loads
    #[arg(long, value_enum, value_delimiter = ',', default_value = "idle,ro,rw")]
    pub workload: Vec<Workload>,
    /// Links, migration and storage: `1gbit/4gbit`
    #[arg(
        long,
        value_name = "RATE/RATE",
        value_delimiter = ',',
        default_value = "1gbit/1gbit,1gbit/4gbit,none/none"
    )]
    pub links: Vec<Links>,
    /// Ways to migrate, taking turns [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub mode: Vec<Mode>,
    /// Migrations in each mode
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub runs: u32,
    /// Folder for records, results.json and the page
    #[arg(long, value_name = "DIR", default_value = "paper")]
    pub out: PathBuf,
}

/// Speed of both links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Links {
    network: Rate,
    storage: Rate,
}

impl std::str::FromStr for Links {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (network, storage) =
            text.split_once('/').with_context(|| format!("`{text}` is no RATE/RATE"))?;
        Ok(Self { network: network.parse()?, storage: storage.parse()? })
    }
}

/// Where records go that no migration has made yet: an evaluation takes hours.
fn cells(paper: &Paper) -> Vec<(Setup, String)> {
    let mut cells = Vec::new();
    for &memory in &paper.memory {
        for &links in &paper.links {
            for &workload in &paper.workload {
                let Links { network, storage } = links;
                let small = Setup::small(workload);
                let setup = Setup {
                    memory,
                    pool: share(memory, paper.pool_share),
                    vcpus: 2,
                    threads: 2,
                    network_rate: network,
                    storage_rate: storage,
                    ..small
                };
                let load = workload.name();
                let name = format!("{}M-{network}-{storage}-{load}", memory.in_mib());
                cells.push((setup, name));
            }
        }
    }
    cells
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of some thousand MiB"
)]
fn share(memory: Size, share: f64) -> Size {
    Size::mib((memory.in_mib() as f64 * share.clamp(0.05, 0.9)) as u64)
}

/// Runs the evaluation; what is done is written after each cell.
///
/// # Errors
/// As [`crate::run::run`].
pub fn run(cache: &Cache, paper: Paper, programs: &Programs) -> Result<Vec<Report>> {
    let paper = if paper.quick { quick(paper) } else { paper };
    let modes = if paper.mode.is_empty() { Mode::ALL.to_vec() } else { paper.mode.clone() };
    let cells = cells(&paper);
    let mut reports = Vec::new();
    for (number, (setup, name)) in cells.iter().enumerate() {
        say(&format!("\ncell {} of {}: {name}", number + 1, cells.len()));
        let series = Series {
            mode: modes.clone(),
            runs: paper.runs,
            before: if paper.quick { 3 } else { 8 },
            after: if paper.quick { 3 } else { 8 },
            fresh: false,
            check_last: true,
            out: paper.out.join(name),
        };
        reports.extend(migrations(cache, setup, programs, &series)?);
        report::write_page(&paper.out, &reports).map_err(told)?;
        report::write_results(&paper.out, &reports).map_err(told)?;
    }
    say(&report::text(&reports));
    say(&format!("results and page: {}", paper.out.display()));
    Ok(reports)
}

/// The same in small, over links that make it small too.
fn quick(paper: Paper) -> Paper {
    let links = Links {
        network: "400mbit".parse().unwrap_or(Rate::UNLIMITED),
        storage: "400mbit".parse().unwrap_or(Rate::UNLIMITED),
    };
    let main = vec![Mode::Stock, Mode::MultifdZstd, Mode::Poolferry];
    Paper {
        memory: vec![Size::mib(512)],
        pool_share: 0.5,
        workload: vec![Workload::Idle, Workload::Rw],
        links: vec![links],
        mode: if paper.mode.is_empty() { main } else { paper.mode },
        runs: 1,
        ..paper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_a_pair_of_rates() {
        let links: Links = "1gbit/none".parse().unwrap();
        assert_eq!(links.network.to_string(), "1gbit");
        assert_eq!(links.storage, Rate::UNLIMITED);
        for wrong in ["1gbit", "1gbit/", "/", "a/b"] {
            wrong.parse::<Links>().unwrap_err();
        }
    }
}

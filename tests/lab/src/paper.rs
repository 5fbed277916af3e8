//! The whole evaluation: every way to migrate, under every load, over every pair of links.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use migration_record::Report;
use test_servers::cache::Cache;

use crate::mode::Mode;
use crate::part::{Cell, Part};
use crate::rate::Rate;
use crate::record::machine_memory;
use crate::run::{Check, Series, explained, migrations};
use crate::setup::Programs;
use crate::size::{MIB, Size};
use crate::steps::print_line;
use crate::workload::Workload;

/// Options of an evaluation.
#[derive(Debug, Clone, clap::Args)]
pub struct Paper {
    /// A VM of 512 MiB, two cells, one run each, the main modes: shows that it works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// Parts [default: all; a cell for which the machine has not enough memory is left out]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub part: Vec<Part>,
    /// RAM of the VM, instead of each part's own; several values make several cells
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub memory: Vec<Size>,
    /// Share of the RAM that the pool has
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub pool_share: f64,
    /// Loads, instead of each part's own
    #[arg(long, value_enum, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Links (migration and storage), instead of each part's own: `1gbit/4gbit`
    #[arg(long, value_name = "RATE/RATE", value_delimiter = ',')]
    pub links: Vec<LinkSpeeds>,
    /// Modes, which take turns, instead of each part's own
    #[arg(long, value_enum, value_delimiter = ',')]
    pub mode: Vec<Mode>,
    /// Migrations in each mode
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub runs: u32,
    /// Continue an interrupted evaluation: keep the records that are in the folder
    #[arg(long)]
    pub resume: bool,
    /// Folder for records, results.json and the page
    #[arg(long, value_name = "DIR", default_value = "paper")]
    pub out: PathBuf,
}

/// Speed of both links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSpeeds {
    /// Migration link.
    pub network: Rate,
    /// Each host's link to the storage server.
    pub storage: Rate,
}

impl std::str::FromStr for LinkSpeeds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (network, storage) =
            text.split_once('/').with_context(|| format!("`{text}` is no RATE/RATE"))?;
        Ok(Self { network: network.parse()?, storage: storage.parse()? })
    }
}

/// The cells of all parts, each once.
fn cells(paper: &Paper) -> Vec<Cell> {
    let parts = if paper.part.is_empty() { &Part::ALL } else { paper.part.as_slice() };
    let mut cells: Vec<Cell> = Vec::new();
    for cell in parts.iter().flat_map(|part| part.cells(paper)) {
        if cells.iter().all(|other| other.name() != cell.name()) {
            cells.push(cell);
        }
    }
    cells
}

/// Seconds of load before and after a migration. Without a load nothing is counted in them, and the list wants only to be ready.
const fn around(paper: &Paper, cell: &Cell) -> (u64, u64) {
    match cell.setup.workload {
        Workload::Idle => (4, 1),
        _ if paper.quick => (3, 3),
        _ => (8, 8),
    }
}

/// Runs the evaluation; what is done is written after each cell.
///
/// # Errors
/// As [`crate::run::run`].
pub fn run(cache: &Cache, paper: Paper, programs: &Programs) -> Result<Vec<Report>> {
    let paper = if paper.quick { quick(paper) } else { paper };
    let cells = cells(&paper);
    let mut reports = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        let name = cell.name();
        print_line(&format!("\ncell {} of {}: {name}", number + 1, cells.len()));
        let memory = machine_memory().map(|bytes| Size::mib(bytes / MIB));
        if let Some(memory) = memory.filter(|memory| *memory < cell.needs()) {
            print_line(&format!("left out: it needs {}, this machine has {memory}", cell.needs()));
            continue;
        }
        let (before, after) = around(&paper, cell);
        let series = Series {
            mode: cell.modes.clone(),
            runs: paper.runs,
            before,
            after,
            fresh: false,
            // With some GiB of tables it takes longer than the migrations; that all of RAM is the same says more. Without a
            // load nothing has written to the tables.
            check: match cell.setup.workload {
                Workload::Ro | Workload::Rw if paper.quick => Check::Last,
                _ => Check::Never,
            },
            resume: paper.resume,
            out: paper.out.join(name),
        };
        reports.extend(migrations(cache, &cell.setup, programs, &series)?);
        migration_report::write_page(&paper.out, &reports).map_err(explained)?;
        migration_report::write_results(&paper.out, &reports).map_err(explained)?;
    }
    print_line(&migration_report::text(&reports));
    print_line(&format!("results and page: {}", paper.out.display()));
    Ok(reports)
}

/// The same in small, over links that make it small too.
fn quick(paper: Paper) -> Paper {
    let links = LinkSpeeds {
        network: "400mbit".parse().unwrap_or(Rate::UNLIMITED),
        storage: "400mbit".parse().unwrap_or(Rate::UNLIMITED),
    };
    let main = vec![Mode::Stock, Mode::MultifdZstd, Mode::Poolferry];
    Paper {
        part: vec![Part::SameLinks],
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
        let links: LinkSpeeds = "1gbit/none".parse().unwrap();
        assert_eq!(links.network.to_string(), "1gbit");
        assert_eq!(links.storage, Rate::UNLIMITED);
        for wrong in ["1gbit", "1gbit/", "/", "a/b"] {
            wrong.parse::<LinkSpeeds>().unwrap_err();
        }
    }
}

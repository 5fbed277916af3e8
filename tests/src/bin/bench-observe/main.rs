//! `bench-observe`: what observing costs and how right it is, each figure beside its limit or peer.
//!
//! ```text
//! agreement     descriptors, list, table and INNODB_BUFFER_PAGE; frame bytes and disk bytes (on_disk)
//! list          time beside raw reads and the server's own query; memory
//! twins         TPS of a pool that is warm and of one that thrashes: two servers side by side, of which one has the probes
//! overhead      TPS of a pool that thrashes, without probes, with ours, empty ones and bpftrace's, one after the other
//! hit_cost      one hit beside an empty probe and bpftrace, on a process of its own (probed)
//! symbols_cost  time beside gdb, time from the cache, memory
//! losses        table updates and ring records after a burst
//! ```
//!
//! Both sides of a ratio are measured in the same run, in turn; times are medians after a warm-up.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

mod agreement;
mod bpftrace;
mod child;
mod figure;
mod fill;
mod hit_cost;
mod list;
mod losses;
mod machine;
mod on_disk;
mod overhead;
mod probed;
mod quiet;
mod report;
mod resident;
mod sample;
mod scale;
mod symbols_cost;
mod twins;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use test_servers::Release;

use report::Report;
use scale::Scale;

/// Measures what observing costs and how right it is.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench observe")]
struct Cli {
    /// Write the figures as JSON too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Small pools and short runs: shows that it works, not what it costs.
    #[arg(long)]
    quick: bool,
    /// Only these groups of figures.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Group>,
    /// The server of all figures but those of agreement.
    #[arg(long, value_enum, default_value_t = Subject::Mysql56)]
    server: Subject,
}

/// A server to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// MySQL 5.6.24.
    Mysql56,
    /// MariaDB of this machine's Debian suite.
    Mariadb,
}

impl Subject {
    const fn release(self) -> Release {
        match self {
            Self::Mysql56 => Release::Mysql56,
            Self::Mariadb => Release::Mariadb,
        }
    }
}

/// A group of figures; the variants are in the order of measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    Agreement,
    Losses,
    HitCost,
    Symbols,
    List,
    Warm,
    Thrashing,
}

impl Group {
    fn measure(self, report: &mut Report, scale: &Scale) -> Result<()> {
        match self {
            Self::Agreement => agreement::measure(report, scale),
            Self::Losses => losses::measure(report, scale),
            Self::HitCost => hit_cost::measure(report, scale),
            Self::Symbols => symbols_cost::measure(report, scale),
            Self::List => list::measure(report, scale),
            Self::Warm => twins::warm(report, scale),
            Self::Thrashing => {
                twins::thrashing(report, scale)?;
                overhead::measure(report, scale)
            }
        }
    }
}

fn main() -> ExitCode {
    probe_loader::start(userspace::probes::OBJECT);
    match perform() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every goal was met.
fn perform() -> Result<bool> {
    // The processes that this program starts of itself.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == child::ARGUMENT => {
            return child::stand_between(rest).map(|()| true);
        }
        Some((role, rest)) if role == probed::ARGUMENT => {
            return probed::be_probed(rest).map(|()| true);
        }
        _ => {}
    }
    let cli = Cli::parse();
    let release = cli.server.release();
    let scale = if cli.quick { Scale::quick(release) } else { Scale::full(release) };
    let mut report = Report::new(cli.quick);
    for group in Group::value_variants() {
        if cli.only.is_empty() || cli.only.contains(group) {
            let name = group.to_possible_value().map_or_else(String::new, |v| v.get_name().into());
            println!("\n{name}");
            if let Err(error) = group.measure(&mut report, &scale) {
                report.fail(&name, &error);
            }
        }
    }
    report.conclude();
    if let Some(out) = &cli.out {
        report.write(out)?;
    }
    Ok(report.is_good())
}

//! `poolferry-host`: the hypervisors' side. It migrates VMs, and reads what guests hand over.

mod doctor;
mod guard;
mod list;
mod migrate;
mod receive;
mod report;
mod show;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Migrates VMs without the pages that storage has.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// More about what goes on, on standard error; twice for details.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Migrate a VM away from this host.
    Migrate(migrate::MigrateArgs),
    /// Receive a VM at this host.
    Receive(receive::ReceiveArgs),
    /// Look whether a VM here can leave its buffer pool behind, or be restored here.
    Doctor(doctor::DoctorArgs),
    /// Make the page of migrations that were recorded, and print what they say.
    Report(report::ReportArgs),
    /// Stand by for a migration's driver. Started by `migrate`.
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Check a binary page list and show it.
    List(list::ListArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = ["warn", "info", "debug"][usize::from(cli.verbose.min(2))];
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format_timestamp_millis()
        .init();
    match run(&cli.command) {
        Ok(code) => code,
        Err(error) => {
            // The last context is the remedy where there is one; causes follow.
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says it on standard error. Where that is a file on a full disk, `eprintln` would panic.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Migrate(args) => return migrate::run(args),
        Command::Doctor(args) => return doctor::run(args),
        Command::Receive(args) => receive::run(args)?,
        Command::Report(args) => report::run(args)?,
        Command::Guard(args) => guard::run(args)?,
        Command::List(args) => list::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

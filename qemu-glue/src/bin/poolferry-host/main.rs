//! `poolferry-host`: the hypervisors' side. It migrates VMs, and reads what guests hand over.

mod doctor;
mod failure;
mod keygen;
mod list;
mod migrate;
mod receive;
mod report;
mod show;
mod watchdog;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Migrates VMs without the pages that storage has.
#[derive(Parser)]
#[command(name = "poolferry-host", version, about, max_term_width = 100)]
struct Cli {
    /// Log more to standard error; twice for details.
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
    /// Make a key for the channel between the hosts.
    Keygen(keygen::KeygenArgs),
    /// Check whether a VM here can migrate without its buffer pool, or be received here.
    Doctor(doctor::DoctorArgs),
    /// Make the report page of recorded migrations, and print a summary.
    Report(report::ReportArgs),
    /// Stand by for a migration's driver. Started by `migrate`.
    #[command(hide = true)]
    Watchdog(watchdog::WatchdogArgs),
    /// Check and show a binary page list.
    List(list::ListArgs),
}

fn main() {
    probe_loader::start(qemu_glue::timeline::OBJECT);
    let cli: Cli = foreign::start();
    outlet::take_panics();
    let log = Box::new(outlet::stderr().writer());
    foreign::logger(cli.verbose).target(env_logger::Target::Pipe(log)).init();
    let went_well = run(&cli.command).unwrap_or_else(|error| {
        failure::report(&error);
        false
    });
    outlet::exit(i32::from(!went_well))
}

/// Runs the command; returns whether it did what was requested.
fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Migrate(args) => return migrate::run(args),
        Command::Doctor(args) => return doctor::run(args),
        Command::Receive(args) => receive::run(args)?,
        Command::Keygen(args) => keygen::run(args)?,
        Command::Report(args) => report::run(args)?,
        Command::Watchdog(args) => watchdog::run(args)?,
        Command::List(args) => list::run(args)?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_version_names_the_program() {
        assert!(Cli::command().render_version().starts_with("poolferry-host "));
    }
}

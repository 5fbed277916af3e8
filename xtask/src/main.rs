//! `cargo xtask`: the project's own commands. See CONTRIBUTING.md.
#![expect(clippy::print_stdout, reason = "a program for people")]

mod apt_lock;
mod bench;
mod cache;
mod check;
mod dependencies;
mod ebpf;
mod figures;
mod fuzz;
mod house;
mod imports;
mod lab;
mod packages;
mod pins;
mod profile;
mod run;
mod running;
mod setup;
mod shim;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::setup::SetupOptions;

/// Builds, runs, tests and measures Poolferry; installs what is missing for it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the buffer pool of the running server, or of a private demo server if none runs
    Run(run::Arguments),
    /// Build the eBPF programs, the library for QEMU and the release binaries
    Build(SetupOptions),
    /// Fetch the servers and QEMUs that the demo, the lab, the tests and the benchmarks start
    Fetch(SetupOptions),
    /// List cached servers and their data, or remove them
    Cache(cache::Arguments),
    /// Run all tests, with real servers and VMs, and count the skipped ones
    Test(test::Arguments),
    /// Check format, lints, documentation and the rules of the house
    Check(SetupOptions),
    /// Measure, and print each figure beside its limit
    Bench(bench::Arguments),
    /// Migrate a VM with a busy MySQL between two hosts on this machine, and compare its RAM
    Lab(lab::Arguments),
    /// Migrate with each server, guest kernel and QEMU, and write docs/matrix.md
    Matrix(lab::MatrixArguments),
    /// Fuzz the parsers of foreign bytes
    Fuzz(fuzz::Arguments),
    /// Make the stored profile of a distribution's server, by building it again from its source package
    Profile(profile::Arguments),
    /// Draw the figures of the README from real runs
    Figures(figures::Arguments),
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Run(arguments) => return run::perform(arguments),
        Task::Build(options) => {
            setup::for_build(options.consent())?;
            ebpf::build()?;
            shim::build()?;
            workspace::build_release()?;
        }
        Task::Fetch(options) => setup::for_tests(options.consent())?,
        Task::Cache(arguments) => return cache::perform(&arguments),
        Task::Test(arguments) => return test::perform(arguments),
        Task::Check(options) => {
            let mut commands = Cli::command();
            commands.build(); // adds `help`
            return check::perform(options, &commands);
        }
        Task::Bench(arguments) => return bench::perform(arguments),
        Task::Lab(arguments) => return lab::perform(arguments),
        Task::Matrix(arguments) => return arguments.perform(),
        Task::Fuzz(arguments) => return fuzz::perform(arguments),
        Task::Profile(arguments) => return profile::perform(&arguments),
        Task::Figures(arguments) => return figures::perform(arguments),
    }
    Ok(ExitCode::SUCCESS)
}

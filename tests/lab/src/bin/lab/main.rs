//! `lab`: what `cargo xtask lab` hands over to.

mod shell;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::matrix::Matrix;
use lab::paper::{self, Paper};
use lab::run::{self, Series};
use lab::setup::{Programs, Setup};
use lab::{scratch, wait};
use test_servers::cache::Cache;

/// Two hosts, a storage server and a VM with a busy MySQL on one machine.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Boot the VM with its load and agent, and keep it until Ctrl-C or `down`
    Up {
        #[command(flatten)]
        setup: Setup,
    },
    /// Migrate the VM to and fro, compare the RAM of both sides each time, and write a report
    Migrate {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        series: Series,
    },
    /// The whole evaluation: all ways to migrate, under all loads, over all links
    Paper(Paper),
    /// Servers, kernels and QEMUs: a migration under load for each combination
    Matrix(Matrix),
    /// A shell in the guest of `up`, on this terminal
    Shell {
        /// Where the guest's terminal is, as `up` prints
        socket: PathBuf,
    },
    /// End the laboratories of this user, those that run included
    Down,
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    wait::end_in_order()?;
    let cache = Cache::open()?;
    match task {
        Task::Up { setup } => {
            let programs = Programs::with_qemu(setup.qemu)?;
            up::keep(&cache, setup, programs)
        }
        Task::Migrate { setup, series } => {
            let programs = Programs::with_qemu(setup.qemu)?;
            run::run(&cache, &setup, &programs, &series).map(drop)
        }
        Task::Matrix(matrix) => matrix.run(&cache),
        Task::Paper(paper) => paper::run(&cache, paper, &Programs::find()?).map(drop),
        Task::Down => scratch::end_all(&cache),
        Task::Shell { socket } => shell::join(&socket),
    }
}

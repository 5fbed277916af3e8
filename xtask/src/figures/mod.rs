//! `cargo xtask figures`: the drawings of the README, each made from a real run.

mod report;
mod screen;
mod viewer;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::setup::SetupOptions;
use crate::workspace;

/// The viewer on a real server.
const VIEWER: &str = "docs/viewer.svg";
/// Two figures of the stored evaluation.
const REPORT: &str = "docs/report.svg";

/// Options of `figures`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    setup: SetupOptions,
    /// Draw only the report's figures, which needs no server
    #[arg(long)]
    report: bool,
}

/// Draws them.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    write(REPORT, &report::draw()?)?;
    if !arguments.report {
        write(VIEWER, &viewer::draw(arguments.setup.consent())?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(name: &str, drawing: &str) -> Result<()> {
    let path = workspace::root().join(name);
    fs::write(&path, drawing).with_context(|| format!("failed to write `{}`", path.display()))?;
    println!("{name}: {} KiB", drawing.len().div_ceil(1024));
    Ok(())
}

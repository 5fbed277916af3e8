//! `poolferry doctor`: what observing needs, with the remedy for each finding.

use std::io::{self, IsTerminal as _, Write as _};

use userspace::doctor::{self, Report};
use userspace::viewer::Colors;

use crate::failure::Failure;
use crate::server_args::ServerArgs;

/// Options of `poolferry doctor`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Whether observing works: no check failed.
pub(crate) fn run(args: &Args) -> bool {
    let report = doctor::examine(args.server.target(), &args.server.symbols.options());
    match show(&report, args.json) {
        Ok(()) | Err(Failure::BrokenPipe) => report.works,
        Err(failure) => {
            failure.report();
            false
        }
    }
}

fn show(report: &Report, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        foreign::json_pretty(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    if !out.is_terminal() {
        return Ok(report.write(&mut out, Colors::None, usize::MAX)?);
    }
    let columns = crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
    Ok(report.write(&mut out, Colors::from_env(), columns)?)
}

//! `poolferry doctor`.
use std::process::ExitCode;
/// Options of `poolferry doctor`.
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_: &Args) -> ExitCode {
    ExitCode::SUCCESS
}

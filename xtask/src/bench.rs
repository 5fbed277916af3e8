//! `cargo xtask bench`: builds for release and hands over to the program that measures.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use test_servers::Release;
use test_servers::cache::Cache;
use test_servers::command;

use crate::ebpf;
use crate::lab;
use crate::packages;
use crate::setup::{self, Consent};
use crate::workspace;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// The whole evaluation of migrations: all ways, all loads, all links
    Paper {
        /// Options of the evaluation; `--help` lists them. `--yes` installs what is missing without asking
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The restore stage by stage and the hashing at the source, beside memcpy and what the kernel does: all
    /// from memory and local files, no VM
    Restore,
    /// What observing costs and how right it is, beside its limits and peers
    Observe {
        /// Write the figures as JSON too: name, value, unit, peer or limit, ratio
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Small pools and short runs: shows that it works, not what it costs
        #[arg(long)]
        quick: bool,
        /// Only these groups of figures: agreement, losses, hit-cost, symbols, list, warm,
        /// thrashing
        #[arg(long, value_name = "GROUP", num_args = 1..)]
        only: Vec<String>,
        /// The server of all figures but those of agreement: mysql56 (the default) or mariadb
        #[arg(long, value_name = "SERVER")]
        server: Option<String>,
        /// Install what is missing without asking (also when there is no terminal, or with CI=true)
        #[arg(long)]
        yes: bool,
    },
}

/// Needs root for userfaultfd, as the receiver does.
fn restore() -> Result<ExitCode> {
    let bench = ["bench", "--package=qemu-glue", "--bench=restore"].as_slice();
    let hashing = [
        "test",
        "--release",
        "--package=qemu-glue",
        "--lib",
        "hashing_speed",
        "--",
        "--ignored",
        "--nocapture",
    ];
    for arguments in [bench, &hashing] {
        command::run(workspace::cargo().args(arguments))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets up, builds, and becomes the program that measures.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    let (out, quick, only, server, yes) = match arguments.subject {
        Subject::Paper { arguments } => {
            return lab::run([OsString::from("paper")].into_iter().chain(arguments).collect());
        }
        Subject::Restore => return restore(),
        Subject::Observe { out, quick, only, server, yes } => (out, quick, only, server, yes),
    };
    setup::for_tests(Consent::new(yes))?;
    ebpf::build()?;
    let release = workspace::build_release()?;
    let program = release.join("bench-observe");
    let mut variables = vec![("POOLFERRY_CACHE", Cache::open()?.root().into())];
    for server in Release::ALL.into_iter().filter(|server| !server.is_optional()) {
        variables.push((server.variable(), server.installed()?.program.into()));
    }
    let mut bench = packages::as_root(&program, &variables);
    if let Some(out) = out {
        bench.arg("--out").arg(out);
    }
    if quick {
        bench.arg("--quick");
    }
    if let Some(server) = server {
        bench.arg("--server").arg(server);
    }
    if !only.is_empty() {
        bench.arg("--only").args(only);
    }
    Err(bench.exec()).with_context(|| format!("failed to start `{}`", program.display()))
}

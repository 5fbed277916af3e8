//! `cargo xtask lab`: builds for release and hands over to the laboratory.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use test_qemus::QemuRelease as Qemu;
use test_servers::Release;
use test_servers::cache::Cache;

use crate::setup::{self, Consent};
use crate::{ebpf, packages, shim, workspace};

/// Options of `lab`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `up`, `shell`, `migrate`, `paper` or `down`, and their options; `migrate --help` lists them.
    /// `--yes` installs what is missing without asking
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Options of `matrix`.
#[derive(Debug, clap::Args)]
pub(crate) struct MatrixArguments {
    /// Options of the matrix; `--help` lists them. `--yes` installs what is missing without asking
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl MatrixArguments {
    /// As [`perform`].
    pub(crate) fn perform(self) -> Result<ExitCode> {
        run([OsString::from("matrix")].into_iter().chain(self.arguments).collect())
    }
}

/// Sets up, builds, and becomes the laboratory, as root.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    run(arguments.arguments)
}

/// Likewise, with a task and its options.
pub(crate) fn run(mut passed: Vec<OsString>) -> Result<ExitCode> {
    let yes = passed.iter().any(|argument| argument == "--yes");
    passed.retain(|argument| argument != "--yes");
    setup::for_lab(Consent::new(yes))?;
    ebpf::build()?;
    let library = shim::build()?;
    let selection = ["--package=test_lab", "--package=qemu-glue", "--package=userspace", "--bins"];
    let release = workspace::build_release_of(&selection)?;

    let program = release.join("lab");
    let mut variables = vec![
        ("POOLFERRY_CACHE", Cache::open()?.root().into()),
        (shim::VARIABLE, library.into()),
        (Release::Mysql56.variable(), Release::Mysql56.installed()?.program.into()),
    ];
    variables
        .extend(std::env::var_os(Qemu::Q100.variable()).map(|qemu| (Qemu::Q100.variable(), qemu)));
    let mut lab = packages::as_root(&program, &variables);
    Err(lab.args(passed).exec()).with_context(|| format!("failed to start `{}`", program.display()))
}

//! `cargo xtask test`: every test of the workspace, with the real parts, and what could not run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use test_servers::cache::Cache;
use test_servers::{Release, command, room};

use crate::ebpf;
use crate::setup::{self, Consent};
use crate::shim;
use crate::test_report::TestReport;
use crate::workspace;

/// Bytes of the cache after all tests on a new machine.
const KEPT_BYTES: u64 = 4 << 30;
/// Bytes that servers and guests have on disk while they run.
const RUNNING_BYTES: u64 = 1 << 30;
/// Bytes of a build of everything.
const BUILT_BYTES: u64 = 3 << 30;

/// Entry of the cache that the tests make last but for data.
const GUEST: &str = "lab-image";

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Install what is missing without asking (also when there is no terminal, or with CI=true)
    #[arg(long)]
    yes: bool,
    /// Run only tests whose names contain this
    filter: Option<String>,
}

/// Sets up, builds, and runs the tests.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    ensure_room()?;
    setup::for_tests(Consent::new(arguments.yes))?;
    ebpf::build()?;
    // Tests that start the agent take it from here.
    command::run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    let library = shim::build()?;
    let filter = arguments.filter.as_deref();
    let mut report = TestReport::default();
    run(options(&mut shim::tests(), filter), &mut report)?;
    run(options(&mut tests(&library)?, filter), &mut report)?;
    println!("\n{}", report.summary());
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fails where the disk would be full before the end.
fn ensure_room() -> Result<()> {
    let (cache, target) = (Cache::open()?, workspace::target());
    // Both are made by the first tests on a machine, and only by them.
    let fetched = cache.root().join(GUEST).is_dir();
    let kept = RUNNING_BYTES + if fetched { 0 } else { KEPT_BYTES };
    let built = if target.join("debug/poolferry").exists() { 0 } else { BUILT_BYTES };
    let device = |path: &Path| Some(fs::metadata(path).ok()?.dev());
    if device(cache.root()) == device(&target) {
        return room::ensure(cache.root(), kept + built, "the tests");
    }
    room::ensure(cache.root(), kept, "the servers, guests and data of the tests")?;
    room::ensure(&target, built, "the builds")
}

/// One test at a time: they start servers, load probes into the kernel and measure.
fn tests(library: &Path) -> Result<Command> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace"]);
    cargo.env(shim::VARIABLE, library);
    cargo.env("POOLFERRY_CACHE", Cache::open()?.root());
    cargo.env("POOLFERRY_BIN", workspace::target().join("debug/poolferry"));
    for release in Release::ALL {
        cargo.env(release.variable(), release.installed()?.program);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("probes and namespaces want root: running the test programs through sudo");
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo --preserve-env");
    }
    Ok(cargo)
}

fn options<'a>(cargo: &'a mut Command, filter: Option<&str>) -> &'a mut Command {
    cargo.args(["--no-fail-fast", "--", "--test-threads=1", "--show-output"]).args(filter)
}

/// Runs tests, with their output passed on as it comes.
fn run(tests: &mut Command, report: &mut TestReport) -> Result<()> {
    let mut child = tests.stdout(Stdio::piped()).spawn().context("failed to start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    // Tests may print what is no UTF-8.
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        report.line(text.trim_end(), Instant::now());
        line.clear();
    }
    report.end(child.wait()?.success());
    Ok(())
}

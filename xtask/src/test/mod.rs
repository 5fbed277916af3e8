//! `cargo xtask test`: every test of the workspace, with the real parts, and what could not run.

mod lanes;
mod programs;
mod report;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;
use test_servers::cache::Cache;
use test_servers::{Release, room};

use self::lanes::Job;
use self::programs::{APART, Program, Turn};
use crate::ebpf;
use crate::setup::{self, Consent};
use crate::shim;
use crate::workspace;

/// Bytes of the cache after all tests on a new machine.
const KEPT_BYTES: u64 = 4 << 30;
/// Bytes that servers and guests have on disk while they run.
const RUNNING_BYTES: u64 = 1 << 30;
/// Bytes of a build of everything.
const BUILT_BYTES: u64 = 3 << 30;

/// Entry of the cache that the tests make last but for data.
const GUEST: &str = "lab-images";

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
    let library = shim::build()?;
    let programs = programs::build()?;
    let environment = environment(&library)?;
    let filter = arguments.filter.as_deref();
    if !rustix::process::geteuid().is_root() {
        eprintln!("probes and namespaces want root: running the test programs through sudo");
    }
    let mut jobs: Vec<_> = programs.iter().flat_map(|program| jobs(program, filter)).collect();
    jobs.push(by_cargo(
        "documentation",
        workspace::cargo(),
        &["test", "--workspace", "--doc"],
        filter,
    ));
    jobs.push(by_cargo("qemu-glue/shim", shim::cargo(), &["test"], filter));
    for job in &mut jobs {
        job.command.envs(environment.iter().map(|(name, value)| (name, value)));
    }
    let report = lanes::run(jobs, &mut std::io::stdout().lock())?;
    println!("\n{}", report.summary());
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Options of every test program. One test at a time: they start servers, load probes into the kernel and measure.
fn options(filter: Option<&str>) -> impl Iterator<Item = &str> {
    ["--test-threads=1", "--show-output"].into_iter().chain(filter)
}

/// A program; the longest in two parts, unless only some tests are to run.
fn jobs(program: &Program, filter: Option<&str>) -> Vec<Job> {
    let job = |name: String, turn, arguments: &[&str]| {
        let mut command = program.command();
        command.args(options(filter)).args(arguments);
        Job { name, turn, command }
    };
    let name = program.name.clone();
    if program.turn != Turn::Longest || filter.is_some() {
        return vec![job(name, program.turn, &[])];
    }
    let apart = format!("{name}: {}", APART.join(" "));
    let rest: Vec<_> = APART.iter().flat_map(|module| ["--skip", module]).collect();
    vec![job(name, Turn::Longest, &rest), job(apart, Turn::Beside, &APART)]
}

/// Tests that cargo has to run itself.
fn by_cargo(name: &str, mut cargo: Command, arguments: &[&str], filter: Option<&str>) -> Job {
    cargo.args(arguments).args(["--no-fail-fast", "--"]).args(options(filter));
    Job { name: name.to_owned(), turn: Turn::Beside, command: cargo }
}

/// Where tests find servers, programs and the library.
fn environment(library: &Path) -> Result<Vec<(String, OsString)>> {
    let mut variables = vec![
        (shim::VARIABLE.to_owned(), library.into()),
        ("POOLFERRY_CACHE".to_owned(), Cache::open()?.root().into()),
        ("POOLFERRY_BIN".to_owned(), workspace::target().join("debug/poolferry").into()),
    ];
    for release in Release::ALL {
        match release.installed() {
            // Its tests say that they are skipped.
            Err(_) if release.is_optional() => {}
            found => variables.push((release.variable().to_owned(), found?.program.into())),
        }
    }
    Ok(variables)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(job: &Job) -> Vec<String> {
        job.command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Each test of the longest program runs once: what one part skips is what the other runs.
    #[test]
    fn the_longest_program_is_run_in_two_parts() {
        let name = "tests: migrate".to_owned();
        let (path, folder) = ("/x/migrate".into(), "/x".into());
        let program = Program { name, path, folder, turn: Turn::Longest };
        let parts = jobs(&program, None);
        assert_eq!(
            parts.iter().map(|job| job.turn).collect::<Vec<_>>(),
            [Turn::Longest, Turn::Beside]
        );
        let (rest, apart) = (arguments(&parts[0]), arguments(&parts[1]));
        for module in APART {
            assert!(rest.windows(2).any(|words| words == ["--skip", module]), "{rest:?}");
            assert!(apart.iter().any(|word| word == module), "{apart:?}");
        }
        assert!(!apart.contains(&"--skip".to_owned()));
        let some = jobs(&program, Some("dynamics"));
        assert_eq!(some.len(), 1, "a filter and the modules would be two filters");
        assert_eq!(arguments(&some[0]).last().unwrap(), "dynamics");
    }
}

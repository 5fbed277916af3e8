//! `cargo xtask fuzz`: libFuzzer on the parsers of foreign bytes, with the stable compiler.
//!
//! What `cargo fuzz` asks of a nightly is only the coverage instrumentation; LLVM's own pass gives it to any compiler.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use test_servers::command;

use crate::workspace;

/// Coverage as libFuzzer reads it: a counter for each edge, and the table of their addresses.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks --cfg=fuzzing";
/// The flags do not go to build scripts and macros when a target is named.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A target with a known bug behind five bytes: proves that coverage guides the fuzzer.
const PLANTED: &str = "planted_bug";
/// Without coverage, five bytes take centuries; with it, under a second.
const PLANTED_SECONDS: u32 = 60;
/// Memory that one input may make a parser use, in MiB.
const RSS_LIMIT_MIB: u32 = 2048;

/// Forms of debug information that readers must take apart in different ways.
const FORMS: &[(&str, &[&str])] = &[
    ("dwarf2", &["-gdwarf-2", "-gstrict-dwarf"]),
    ("dwarf4", &["-gdwarf-4"]),
    ("dwarf5", &["-gdwarf-5"]),
    ("compressed", &["-g", "-gz"]),
    ("split", &["-g", "-gsplit-dwarf"]),
    ("stripped", &["-s"]),
];

/// Targets whose first inputs a program of the format's own package writes (its example `TARGET_seeds`), so that they are
/// always of the format that is.
const WRITTEN: &[(&str, &str)] = &[("page_list", "page_wire"), ("channel", "qemu-glue")];

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One target (a file of tests/fuzz/targets); all of them without
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Builds the targets, proves that the fuzzer finds a bug, and runs them.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    let known = targets()?;
    let chosen = match arguments.target {
        None => known.iter().filter(|name| *name != PLANTED).cloned().collect(),
        Some(name) if known.contains(&name) => vec![name],
        Some(name) => bail!("no fuzz target `{name}`; there are: {}", known.join(", ")),
    };
    let programs = build()?;
    let bug = artifacts().join(PLANTED);
    let _ = fs::remove_dir_all(&bug);
    let failed = !command::succeeds(&mut fuzzer(&programs, PLANTED, PLANTED_SECONDS)?);
    // A fuzzer that does not even start fails too, and writes no input.
    let found = failed && fs::read_dir(&bug)?.next().is_some();
    ensure!(found, "the fuzzer did not find the planted bug: it sees no coverage");
    let mut failed = Vec::new();
    for name in chosen {
        println!("fuzzing {name} for {} s", arguments.seconds);
        if command::run(&mut fuzzer(&programs, &name, arguments.seconds)?).is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "found something in: {}; the inputs are in {}",
        failed.join(", "),
        artifacts().display()
    );
    Ok(ExitCode::FAILURE)
}

fn folder() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

fn artifacts() -> PathBuf {
    workspace::target().join("fuzz/artifacts")
}

/// Names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| format!("no `{}`", folder.display()))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets and gives the folder of their programs.
fn build() -> Result<PathBuf> {
    let target = workspace::target().join("fuzz");
    command::run(
        workspace::cargo()
            .args(["build", "--release", "--target", TARGET])
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(folder()),
    )
    .context("failed to build the fuzz targets")?;
    Ok(target.join(TARGET).join("release"))
}

/// The command that fuzzes `name`; its corpus is kept for the next time.
fn fuzzer(programs: &std::path::Path, name: &str, seconds: u32) -> Result<Command> {
    let (corpus, artifacts) =
        (workspace::target().join("fuzz/corpus").join(name), artifacts().join(name));
    if name == PLANTED {
        // A corpus that was kept would hold the answer.
        let _ = fs::remove_dir_all(&corpus);
    }
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer.arg(&corpus);
    if let Some(seeds) = seeds(name)? {
        fuzzer.arg(seeds);
    }
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MIB}"))
        .args(["-timeout=10", "-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    Ok(fuzzer)
}

/// The folder of inputs to start from: those that the format's own package writes, or those of
/// tests/fuzz/seeds, C++ sources of them compiled.
fn seeds(name: &str) -> Result<Option<PathBuf>> {
    let seeds = workspace::target().join("fuzz/seeds").join(name);
    if let Some((_, package)) = WRITTEN.iter().find(|(target, _)| *target == name) {
        fs::create_dir_all(&seeds)?;
        let mut writer = workspace::cargo();
        writer.args(["run", "--quiet", "--package", package]);
        writer.arg(format!("--example={name}_seeds")).arg("--").arg(&seeds);
        command::run(&mut writer)?;
        return Ok(Some(seeds));
    }
    let sources = folder().join("seeds").join(name);
    if !sources.is_dir() {
        return Ok(None);
    }
    fs::create_dir_all(&seeds)?;
    for source in fs::read_dir(sources)? {
        let source = source?.path();
        let file_name = source.file_name().unwrap_or_default().to_string_lossy();
        if source.extension().is_some_and(|extension| extension == "cc") {
            for (form, flags) in FORMS {
                let program = seeds.join(format!("{file_name}-{form}"));
                let mut compiler = Command::new("g++");
                compiler.args(["-O1", "-fno-inline", "-rdynamic", "-o"]).arg(program);
                command::output(compiler.arg(&source).args(*flags))?;
            }
        } else {
            fs::copy(&source, seeds.join(&*file_name))?;
        }
    }
    Ok(Some(seeds))
}

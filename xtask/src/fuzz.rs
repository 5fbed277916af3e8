//! `cargo xtask fuzz`: libFuzzer on the parsers of foreign bytes, with the stable compiler.
//!
//! What `cargo fuzz` asks of a nightly is only the coverage instrumentation; LLVM's own pass gives it to any compiler.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::thread;

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
/// Lines of a failed fuzzer's output that are shown.
const SHOWN_LINES: usize = 40;
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

/// Targets whose first inputs an example of the format's own package writes, so that they are always of the format that
/// is.
const WRITTEN: &[(&str, &str)] = &[
    ("channel", "channel_seeds"),
    ("layout", "symbols_seeds"),
    ("page_list", "page_list_seeds"),
    ("probe_site", "symbols_seeds"),
    ("profile", "symbols_seeds"),
    ("symbols", "symbols_seeds"),
];

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One target (a file of tests/fuzz/targets); all of them without
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Executions of each target, however long they take
    #[arg(long, conflicts_with = "seconds")]
    executions: Option<u64>,
}

impl Arguments {
    /// How long, as libFuzzer gets it.
    fn limit(&self) -> String {
        match self.executions {
            Some(executions) => format!("-runs={executions}"),
            None => format!("-max_total_time={}", self.seconds),
        }
    }
}

/// Builds the targets, proves that the fuzzer finds a bug, and runs them.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    let known = targets()?;
    let limit = arguments.limit();
    let chosen = match arguments.target {
        None => known.iter().filter(|name| *name != PLANTED).cloned().collect(),
        Some(name) if known.contains(&name) => vec![name],
        Some(name) => bail!("no fuzz target `{name}`; there are: {}", known.join(", ")),
    };
    let programs = build()?;
    let bug = artifacts().join(PLANTED);
    let _ = fs::remove_dir_all(&bug);
    let planted = format!("-max_total_time={PLANTED_SECONDS}");
    let failed = !command::succeeds(&mut fuzzer(&programs, PLANTED, &planted)?);
    // A fuzzer that does not even start fails too, and writes no input.
    let found = failed && fs::read_dir(&bug)?.next().is_some();
    ensure!(found, "the fuzzer did not find the planted bug: it sees no coverage");
    build_writers(&chosen)?;
    let mut fuzzers = Vec::new();
    for name in chosen {
        let fuzzer = fuzzer(&programs, &name, &limit)?;
        fuzzers.push((name, fuzzer));
    }
    let failed = run_side_by_side(fuzzers)?;
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

/// Runs as many fuzzers at a time as there are processors, each with its output in a file, and gives the names of
/// those that failed.
fn run_side_by_side(fuzzers: Vec<(String, Command)>) -> Result<Vec<String>> {
    let logs = workspace::target().join("fuzz/logs");
    fs::create_dir_all(&logs)?;
    let (left, failed) = (Mutex::new(fuzzers.into_iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<()> {
        while let Some((name, mut fuzzer)) = next() {
            let path = logs.join(format!("{name}.log"));
            let log = File::create(&path)?;
            let status = fuzzer.stdout(log.try_clone()?).stderr(log).status()?;
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            println!(
                "{} {name}: {}",
                if status.success() { "ok    " } else { "FAILED" },
                summary(&text)
            );
            if !status.success() {
                println!("{}", last_lines(&text, SHOWN_LINES));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| bail!("a thread that runs a fuzzer panicked"))
        })
    })?;
    Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What libFuzzer prints at its end (`-print_final_stats=1`), in short.
fn summary(log: &str) -> String {
    let value = |key: &str| {
        let line = log.lines().rev().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').trim().parse::<u64>().ok()
    };
    match (value("stat::number_of_executed_units"), value("stat::peak_rss_mb")) {
        (Some(executions), Some(mib)) => format!("{executions} executions, {mib} MiB at most"),
        _ => "ended without its figures".to_owned(),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
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
fn fuzzer(programs: &Path, name: &str, limit: &str) -> Result<Command> {
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
        .arg(limit)
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MIB}"))
        .args(["-timeout=10", "-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    Ok(fuzzer)
}

/// Builds the examples that write inputs of `targets`, as the tests are built, which then find them done.
fn build_writers(targets: &[String]) -> Result<()> {
    let mut examples: Vec<_> = targets.iter().filter_map(|target| writer(target)).collect();
    examples.sort_unstable();
    examples.dedup();
    if examples.is_empty() {
        return Ok(());
    }
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--workspace"]);
    cargo.args(examples.iter().flat_map(|example| ["--example", example]));
    command::run(&mut cargo).context("failed to build what writes the first inputs")
}

/// The example that writes inputs of a target: `EXAMPLE DIR TARGET`.
fn writer(target: &str) -> Option<&'static str> {
    WRITTEN.iter().find(|(of, _)| *of == target).map(|(_, example)| *example)
}

/// The folder of inputs to start from: those that the format's own package writes, and those of
/// tests/fuzz/seeds, C++ sources of them compiled.
fn seeds(name: &str) -> Result<Option<PathBuf>> {
    let (sources, writer) = (folder().join("seeds").join(name), writer(name));
    if writer.is_none() && !sources.is_dir() {
        return Ok(None);
    }
    let seeds = workspace::target().join("fuzz/seeds").join(name);
    // What an earlier version wrote may not be of the format any more.
    let _ = fs::remove_dir_all(&seeds);
    fs::create_dir_all(&seeds)?;
    if let Some(writer) = writer {
        let program = workspace::target().join("debug/examples").join(writer);
        command::run(Command::new(program).arg(&seeds).arg(name))?;
    }
    if sources.is_dir() {
        compile(&sources, &seeds)?;
    }
    Ok(Some(seeds))
}

/// Puts the inputs of a folder into another, C++ sources compiled.
fn compile(sources: &Path, seeds: &Path) -> Result<()> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_end() {
        let log = "INFO: Seed: 1\nDone 9 runs in 1 second(s)\nstat::number_of_executed_units: 9\n\
                   stat::average_exec_per_sec:     9\nstat::peak_rss_mb:              46\n";
        assert_eq!(summary(log), "9 executions, 46 MiB at most");
        assert!(summary("ERROR: libFuzzer: deadly signal").contains("without"));
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}

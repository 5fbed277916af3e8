//! Results that cannot be written, and results that are failures: both are reported.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use lab::laboratory::Laboratory;
use lab::migration::Migration;
use lab::mode::Mode;
use lab::run::{self, Check, Series};
use lab::setup::{Programs, Setup};
use lab::workload::Workload;
use migration_record::RESULTS;
use migration_record::{JSON, MigrationStatus};
use migration_report::HTML;
use serde_json::Value;
use test_servers::cache::Cache;

use crate::shared::{Needs, arrives, folder, run};

/// Runs a program (`$@`) that sees a full file system at `$0`; nobody else does, as `ip netns exec` has made a mount
/// namespace for it.
const FULL: &str = r#"mount -t tmpfs -o size=64k full "$0" || exit 9
head -c 1M /dev/zero > "$0/ballast" 2> /dev/null
exec "$@""#;

fn no_space(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let folder = folder(lab);
    let at = folder.display().to_string();
    let starter = ["sh", "-c", FULL, &at].map(str::to_owned).to_vec();
    let hop = arrives(lab, Migration { starter, ..Migration::with_fault(|_| Ok(())) })?;
    let text = fs::read_to_string(folder.join("migrate.log"))?;
    println!("{text}");
    let status = hop.ended.driver.context("the driver's end was not seen")?;
    assert_eq!(status.code(), Some(1), "{text}");
    for word in ["the migration completed", "make room", JSON, "No space left"] {
        assert!(text.contains(word), "no word of {word:?}: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(!folder.join(JSON).exists(), "the disk was not full");
    Ok(())
}

#[test]
fn no_space_for_the_record() {
    run("results::no_space_for_the_record", Needs::Poolferry, no_space);
}

/// Where even the error has no place, the exit status is still the one of an error, not of a panic.
#[test]
fn no_space_for_the_error() {
    run("results::no_space_for_the_error", Needs::Poolferry, |_| {
        let program = Programs::find()?.poolferry_host.context("not built")?;
        let mut command = Command::new(program);
        command.args(["report", "/nowhere"]).stdout(Stdio::null());
        let status = command.stderr(File::options().write(true).open("/dev/full")?).status()?;
        assert_eq!(status.code(), Some(1));
        Ok(())
    });
}

/// Runs QEMU (`$@`). The first that waits for a VM does not understand what it is sent; `$0` remembers it.
const DEAF: &str = r#"case "$*" in
*"-incoming defer"*) mkdir "$0" 2> /dev/null && set -- "$@" -global migration.send-configuration=off ;;
esac
exec "$@""#;

fn baseline_fails(lab: &mut Laboratory) -> Result<()> {
    let out = lab.folder().join("failing");
    let mut programs = Programs::find()?;
    let memory = lab.folder().join("one-was-deaf").display().to_string();
    let words = ["sh", "-c", DEAF, &memory].map(str::to_owned);
    programs.qemu.splice(0..0, words);
    let series = Series {
        mode: vec![Mode::MultifdZstd, Mode::Stock],
        runs: 1,
        before: 0,
        after: 0,
        fresh: false,
        // What is looked at here are the records; that RAM is the same stands in them.
        check: Check::Never,
        resume: false,
        out: out.clone(),
    };
    let (cache, setup) = (Cache::open()?, Setup::small(Workload::Idle));
    run::run(&cache, &setup, &programs, &series)?;
    let results: Value = serde_json::from_slice(&fs::read(out.join(RESULTS))?)?;
    let cells = results["cells"].as_array().cloned().unwrap_or_default();
    let of = |mode: Mode| cells.iter().find(|cell| cell["mode"] == mode.name());
    let failed = of(Mode::MultifdZstd).context("the migration that failed is left out")?;
    assert_eq!(failed["runs"].as_array().map(Vec::len), Some(1), "{failed:#}");
    assert_eq!(failed["runs"][0]["status"], "failed", "{failed:#}");
    let reason = failed["runs"][0]["reason"].as_str().unwrap_or_default();
    println!("{reason}");
    assert!(reason.contains("the migration failed"), "{failed:#}");
    assert!(failed["median"].is_null() && failed["speedup_over_stock"].is_null(), "{failed:#}");
    // The series went on, with another VM.
    let stock = of(Mode::Stock).context("the series ended with the failure")?;
    assert_eq!(stock["runs"][0]["status"], "completed", "{stock:#}");
    assert_eq!(stock["runs"][0]["differing_bytes"], 0, "{stock:#}");
    let page = fs::read_to_string(out.join(HTML))?;
    assert!(page.contains("failed"), "the page does not show the failure");
    resumed(&cache, &setup, &programs, series)
}

#[test]
fn a_baseline_that_fails_is_a_result() {
    run("results::a_baseline_that_fails_is_a_result", Needs::Qemu, baseline_fails);
}

/// The same series again: what completed is kept, what failed is made, and nothing of another VM is taken for it.
fn resumed(cache: &Cache, setup: &Setup, programs: &Programs, series: Series) -> Result<()> {
    let series = Series { resume: true, ..series };
    let stock = series.out.join("001-stock").join(JSON);
    let written = || anyhow::Ok(fs::metadata(&stock)?.modified()?);
    let before = written()?;
    let reports = run::run(cache, setup, programs, &series)?;
    let ways: Vec<_> = reports.iter().map(|r| (r.mode.raw(), r.status)).collect();
    let completed = [
        (Mode::MultifdZstd.name(), MigrationStatus::Completed),
        ("stock", MigrationStatus::Completed),
    ];
    assert_eq!(ways, completed);
    assert_eq!(written()?, before, "a record that is there was made anew");

    let busy = Setup::small(Workload::Ro);
    let refused = run::run(cache, &busy, programs, &series);
    let error = refused.expect_err("a record of an idle VM was taken").to_string();
    assert!(error.contains("another VM, load, links or machine"), "{error}");
    assert!(error.contains("--out"), "no remedy: {error}");
    Ok(())
}

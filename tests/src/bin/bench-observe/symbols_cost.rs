//! Resolving a server's symbols: beside gdb, from the cache, and in memory.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use test_servers::command;

use crate::child::{self, Used};
use crate::figure::{Figure, Goal};
use crate::report::Report;
use crate::sample::{median, number};
use crate::scale::Scale;

const MIB: f64 = 1_048_576.0;

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    let installed = match scale.server.installed() {
        Ok(installed) => installed,
        Err(error) => {
            report.skip("symbols", error);
            return Ok(());
        }
    };
    let poolferry = std::env::current_exe()?.with_file_name("poolferry");
    ensure!(poolferry.is_file(), "`{}` is not built", poolferry.display());
    let cache = tempfile::tempdir()?;
    let program = installed.program.as_path();
    let mut cold = resolver(&poolferry, program, cache.path());
    cold.arg("--no-cache");
    let warm = resolver(&poolferry, program, cache.path());
    // Both sides then find the file in the page cache.
    let has_gdb = command::exists("gdb");
    let first = child::measure(&warm)?;
    if has_gdb {
        child::measure(&debugger(program))?;
    } else {
        report.skip("symbols beside gdb", "gdb is not installed");
    }
    let (mut ours, mut cached, mut gdb) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.resolutions {
        ours.push(child::measure(&cold)?);
        cached.push(child::measure(&warm)?);
        if has_gdb {
            gdb.push(child::measure(&debugger(program))?);
        }
    }
    let wall = |runs: &[Used]| median(&runs.iter().map(|run| run.wall_ms).collect::<Vec<_>>());
    let resolved = Figure::cost(format!("symbols of {}, cold", scale.server), wall(&ours), "ms");
    if has_gdb {
        let name = "gdb ptype /o buf_block_t";
        report.add(resolved.against(name, wall(&gdb)).goal(Goal::AtMost(0.5)));
    } else {
        report.add(resolved);
    }
    let name = format!("symbols of {}, cached, whole process", scale.server);
    // The program, 78 MB, is read and hashed each time: nothing that it states of itself names it.
    report.add(Figure::cost(name, wall(&cached), "ms").goal(Goal::AtMost(150.0)));
    let runs = ours.iter().chain(&cached).chain([&first]);
    let peak = runs.map(|run| run.peak_bytes).max().unwrap_or_default();
    let name = format!("symbols of {}, highest memory", scale.server);
    report.add(Figure::cost(name, number(peak) / MIB, "MiB").goal(Goal::AtMost(200.0)));
    Ok(())
}

fn resolver(poolferry: &Path, program: &Path, cache: &Path) -> Command {
    let mut command = Command::new(poolferry);
    command.arg("symbols").arg(program).arg("--json");
    command.env("XDG_CACHE_HOME", cache).env_remove("DEBUGINFOD_URLS");
    command
}

fn debugger(program: &Path) -> Command {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-ex", "ptype /o buf_block_t"]).arg(program);
    command.env_remove("DEBUGINFOD_URLS");
    command
}

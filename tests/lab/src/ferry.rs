//! A migration by Poolferry's own programs, each at its host.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::laboratory::Laboratory;
use crate::network::Host;
use crate::process::Process;
use crate::stock;
use crate::vm::Machine;
use crate::wait;
use crate::watch::{Ended, Watch};

/// Port on which the receiver waits for the source's program.
const PORT: u16 = 4440;
/// The receiver listens within this time.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// A program of Poolferry's ends within this time of the migration's end.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Migrates with `poolferry-host` at both hosts, and watches. Logs and the record go to `folder`.
///
/// # Errors
/// A program is missing or fails, or the migration does not come to an end within `limit`.
pub fn migrate(
    lab: &mut Laboratory,
    destination: &mut Machine,
    watch: &mut Watch,
    folder: &Path,
    limit: Duration,
) -> Result<Ended> {
    fs::create_dir_all(folder)?;
    stock::parameters(&mut lab.machine)?;
    let mut receiver = receive(lab, destination, folder)?;
    let mut driver = drive(lab, destination.host(), folder)?;
    let ended = wait::until("the end of the migration", limit, || {
        if let Some(ended) = watch.look(&mut lab.machine)? {
            return Ok(Some(ended));
        }
        match driver.ended()? {
            // The end may have come between the look and here.
            Some(_) => match watch.to_end(&mut lab.machine, Duration::from_secs(2)) {
                Ok(ended) => Ok(Some(ended)),
                Err(_) => bail!("`poolferry-host migrate` ended early\n{}", driver.log_end()),
            },
            None => Ok(None),
        }
    })?;
    let status = driver.wait(END_LIMIT)?;
    ensure!(
        status.success() || ended.status != "completed",
        "`poolferry-host migrate`: {status}\n{}",
        driver.log_end()
    );
    let status = receiver.wait(END_LIMIT)?;
    ensure!(
        status.success() || ended.status != "completed",
        "`poolferry-host receive`: {status}\n{}",
        receiver.log_end()
    );
    Ok(ended)
}

/// Starts the receiver at the destination and waits until it listens.
///
/// # Errors
/// The program is not built, or ends.
pub fn receive(lab: &Laboratory, destination: &Machine, folder: &Path) -> Result<Process> {
    fs::create_dir_all(folder)?;
    let program = program(lab)?;
    let address = destination.host().migration_address();
    let mut command = lab.network.at(destination.host(), &program);
    command
        .args(["receive", "--once", "--plain", "--format", "jsonl", "--qmp"])
        .arg(destination.qmp())
        .args(["--listen", &format!("{address}:{PORT}"), "--migration-address", address])
        .stdin(Stdio::null())
        .stdout(File::create(folder.join("receive.jsonl"))?);
    let log = folder.join("receive.log");
    command.stderr(File::create(&log)?);
    let mut receiver = Process::start_as_it_is(command, "`poolferry-host receive`", &log)?;
    wait::until("the receiver listens", LISTEN_LIMIT, || {
        receiver.still_runs()?;
        Ok(crate::storage::listens(receiver.pid(), PORT).then_some(()))
    })?;
    Ok(receiver)
}

/// Starts the program at the source that drives the migration to `host`.
///
/// # Errors
/// The program is not built.
pub fn drive(lab: &Laboratory, host: Host, folder: &Path) -> Result<Process> {
    fs::create_dir_all(folder)?;
    let program = program(lab)?;
    let mut command = lab.network.at(lab.machine.host(), &program);
    command
        .args(["migrate", "--plain", "--leave-paused", "--format", "jsonl", "--qmp"])
        .arg(lab.machine.qmp())
        .arg("--agent")
        .arg(lab.machine.agent())
        .args(["--to", &format!("{}:{PORT}", host.migration_address()), "--report"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(File::create(folder.join("migrate.jsonl"))?);
    let log = folder.join("migrate.log");
    command.stderr(File::create(&log)?);
    Process::start_as_it_is(command, "`poolferry-host migrate`", &log)
}

fn program(lab: &Laboratory) -> Result<String> {
    let program = lab.programs.poolferry_host.as_ref().context("`poolferry-host` is not built")?;
    ensure!(
        lab.programs.library.is_some(),
        "no library for QEMU: name it in POOLFERRY_QEMU_LIBRARY"
    );
    Ok(program.display().to_string())
}

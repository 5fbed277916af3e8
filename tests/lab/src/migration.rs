//! A migration by Poolferry's own programs, each at its host, and what can be done to it on the way.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::laboratory::Laboratory;
use crate::mode::Mode;
use crate::process::Process;
use crate::vm::Machine;
use crate::wait;
use crate::watch::{Ended, Watch};

/// Port on which the receiver waits for the source's program.
const PORT: u16 = 4440;
/// The receiver listens within this time.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// A program of Poolferry's ends within this time of the migration's end.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A fault that is injected while a migration goes on.
type Fault<'a> = dyn FnMut(&mut Ongoing<'_>) -> Result<()> + 'a;
/// What is done to source and destination when the VM has arrived, before their RAM is compared.
type Tamper<'a> = dyn FnMut(&mut Machine, &mut Machine) -> Result<()> + 'a;

/// How Poolferry's programs are started, and which fault is injected.
#[derive(Default)]
pub struct Migration<'a> {
    /// Further options of `poolferry-host receive`.
    pub receive: Vec<String>,
    /// Further options of `poolferry-host migrate`.
    pub migrate: Vec<String>,
    /// What starts `poolferry-host migrate`, before its own words: `nice`. Empty, it is started by itself.
    pub starter: Vec<String>,
    /// Called every 20 ms while the migration goes on, to inject a fault.
    pub fault: Option<Box<Fault<'a>>>,
    /// Called when the VM has arrived, before its RAM is compared.
    pub tamper: Option<Box<Tamper<'a>>>,
}

/// A migration on its way.
pub struct Ongoing<'a> {
    /// The laboratory.
    pub lab: &'a mut Laboratory,
    /// The QEMU at the destination.
    pub destination: &'a mut Machine,
    /// `poolferry-host receive`.
    pub receiver: &'a mut Process,
    /// `poolferry-host migrate`.
    pub driver: &'a mut Process,
    /// Set to true, it ends the wait; the migration goes on for itself, or does not.
    pub abandon: bool,
    output: PathBuf,
}

impl Ongoing<'_> {
    /// The output of `poolferry-host migrate` so far: one JSON object a line.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// The highest number under `key` so far.
    #[must_use]
    pub fn highest(&self, key: &str) -> u64 {
        let label = format!("\"{key}\":");
        let output = self.output();
        let numbers = output.split(label.as_str()).skip(1).filter_map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
        });
        numbers.max().unwrap_or(0)
    }
}

impl<'a> Migration<'a> {
    /// Without any trouble.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Calls `fault` every 20 ms while the migration goes on.
    #[must_use]
    pub fn with_fault(fault: impl FnMut(&mut Ongoing<'_>) -> Result<()> + 'a) -> Self {
        Self { fault: Some(Box::new(fault)), ..Self::default() }
    }

    pub(crate) fn arrived(&mut self, source: &mut Machine, there: &mut Machine) -> Result<()> {
        self.tamper.as_mut().map_or(Ok(()), |tamper| tamper(source, there))
    }
}

/// Migrates with `poolferry-host` at both hosts, and watches. Logs and the record go to `folder`.
///
/// # Errors
/// A program is missing or fails without a fault that was injected, or the migration does not end within `limit`.
pub(crate) fn migrate(
    lab: &mut Laboratory,
    mode: Mode,
    destination: &mut Machine,
    watch: &mut Watch,
    folder: &Path,
    limit: Duration,
    migration: &mut Migration<'_>,
) -> Result<Ended> {
    fs::create_dir_all(folder)?;
    // What an earlier migration has left there must not be taken for this one's.
    let _ = fs::remove_file(folder.join(migration_record::JSON));
    let mut receiver = receive(lab, destination, folder, &migration.receive)?;
    let mut options = migration.migrate.clone();
    if mode == Mode::PoolferryStorage {
        options.push("--no-share".to_owned());
    }
    if mode == Mode::PoolferryZstd {
        options.extend(["--compress", "zstd"].map(str::to_owned));
    }
    let mut driver = drive(lab, destination, folder, &migration.starter, &options)?;
    let output = folder.join(OUTPUT);
    let mut ended = wait::until("the end of the migration", limit, || {
        if let Some(ended) = watch.look(&mut lab.machine)? {
            return Ok(Some(ended));
        }
        if let Some(fault) = &mut migration.fault {
            let mut ongoing = Ongoing {
                lab,
                destination,
                receiver: &mut receiver,
                driver: &mut driver,
                abandon: false,
                output: output.clone(),
            };
            fault(&mut ongoing)?;
            if ongoing.abandon {
                return Ok(Some(Ended::abandoned()));
            }
        }
        if watch.has_begun() || driver.ended()?.is_none() {
            return Ok(None);
        }
        // It may have begun, and even ended, between the look and here.
        match watch.to_end(&mut lab.machine, Duration::from_secs(2)) {
            Ok(ended) => Ok(Some(ended)),
            Err(_) if migration.fault.is_some() => Ok(Some(Ended::not_begun(driver.log_end()))),
            Err(_) => bail!("`poolferry-host migrate` ended early\n{}", driver.log_end()),
        }
    })?;
    match ended.status.as_str() {
        "completed" => {
            ended.driver = Some(finish("migrate", &mut driver, migration)?);
            finish("receive", &mut receiver, migration)?;
        }
        // It has a record to write; the receiver may wait for the next source.
        "cancelled" => ended.driver = Some(driver.wait(END_LIMIT)?),
        _ => {}
    }
    Ok(ended)
}

/// Waits for the end of a program whose migration has completed.
fn finish(name: &str, program: &mut Process, migration: &Migration<'_>) -> Result<ExitStatus> {
    let status = program.wait(END_LIMIT)?;
    // One that was killed did not succeed, and need not.
    let fine = status.success() || migration.fault.is_some();
    ensure!(fine, "`poolferry-host {name}`: {status}\n{}", program.log_end());
    Ok(status)
}

/// File in the folder of a migration with the output of `poolferry-host migrate`.
const OUTPUT: &str = "migrate.jsonl";

/// Starts the receiver at the destination and waits until it listens.
fn receive(
    lab: &Laboratory,
    destination: &Machine,
    folder: &Path,
    further: &[String],
) -> Result<Process> {
    let address = destination.host().migration_address();
    let mut command = lab.network.at(destination.host(), &program(lab)?);
    command
        .args(["receive", "--once", "--plain", "--format", "jsonl", "--qmp"])
        .arg(destination.qmp())
        .args(["--listen", &format!("{address}:{PORT}"), "--migration-address", address])
        .args(further)
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

/// Starts the program at the source that drives the migration.
fn drive(
    lab: &Laboratory,
    destination: &Machine,
    folder: &Path,
    starter: &[String],
    further: &[String],
) -> Result<Process> {
    let program = program(lab)?;
    let mut words = starter.iter().chain([&program]);
    let first = words.next().map_or("", String::as_str);
    let mut command = lab.network.at(lab.machine.host(), first);
    command
        .args(words)
        .args(["migrate", "--plain", "--leave-paused", "--format", "jsonl", "--qmp"])
        .arg(lab.machine.qmp())
        .arg("--agent")
        .arg(lab.machine.agent())
        .args(["--to", &format!("{}:{PORT}", destination.host().migration_address()), "--report"])
        .arg(folder)
        .args(further)
        .stdin(Stdio::null())
        .stdout(File::create(folder.join(OUTPUT))?);
    let log = folder.join("migrate.log");
    command.stderr(File::create(&log)?);
    Process::start_as_it_is(command, "`poolferry-host migrate`", &log)
}

fn program(lab: &Laboratory) -> Result<String> {
    let program = lab.programs.poolferry_host.as_ref().context("`poolferry-host` is not built")?;
    ensure!(
        lab.programs.library.is_some(),
        "no library for QEMU: `cargo xtask lab` builds it, or name it in POOLFERRY_QEMU_LIBRARY"
    );
    Ok(program.display().to_string())
}

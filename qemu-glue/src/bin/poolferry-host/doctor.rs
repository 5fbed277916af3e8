//! `poolferry-host doctor`: checks in advance what a migration needs.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use qemu_glue::doctor::{self, Finding, Verdict};
use qemu_glue::storage::Address;
use tokio::runtime::Runtime;

use crate::failure::Hint;
use crate::receive::disk;

/// Check whether a VM here can migrate without its buffer pool, or be received here; changes nothing.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// QMP socket of the QEMU that runs the VM, or waits for it.
    #[arg(long, value_name = "SOCKET")]
    qmp: PathBuf,
    /// The guest agent's port: the socket of the VM's chardev.
    #[arg(long, value_name = "SOCKET")]
    agent: Option<PathBuf>,
    /// Key of the channel, as for `migrate` or `receive`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where to read a disk, as for `receive`: its name in the guest's page list, and file:PATH,
    /// nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH.
    #[arg(long, value_name = "NAME=URI", value_parser = disk)]
    disk: Vec<(String, Address)>,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Whether nothing fails.
pub(crate) fn run(args: &DoctorArgs) -> Result<bool> {
    // The key needs no QEMU, so its state is reported even without one.
    let key = args.key.as_deref().map(doctor::key);
    let runtime = Runtime::new().context("failed to start")?;
    let findings = runtime.block_on(doctor::examine(&args.qmp, args.agent.as_deref(), &args.disk));
    let (mut findings, unreached) = match findings {
        Ok(findings) => (findings, None),
        Err(error) => {
            let hint = Hint::new(error.hint().unwrap_or("see QEMU's own log"));
            (Vec::new(), Some(anyhow::Error::new(error).context(hint)))
        }
    };
    findings.extend(key);
    show(args, &findings, unreached.is_none())?;
    match unreached {
        Some(error) => Err(error),
        None => Ok(findings.iter().all(|finding| finding.verdict != Verdict::Fails)),
    }
}

fn show(args: &DoctorArgs, findings: &[Finding], reached: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    let shown = if args.json {
        foreign::json_pretty(&mut out, findings)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        let all = findings.iter().try_for_each(|finding| line(finding, &mut out));
        all.and_then(|()| if reached { writeln!(out, "{}", verdict(findings)) } else { Ok(()) })
    };
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn verdict(findings: &[Finding]) -> String {
    let count = |verdict: Verdict| findings.iter().filter(|found| found.verdict == verdict).count();
    let counted =
        |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let warnings = counted(count(Verdict::Warning), "warning");
    match count(Verdict::Fails) {
        0 => format!("A migration can skip pages here ({warnings})."),
        failed => {
            format!("A migration skips nothing here: {} ({warnings}).", counted(failed, "failure"))
        }
    }
}

fn line(finding: &Finding, out: &mut impl io::Write) -> io::Result<()> {
    let mark = match finding.verdict {
        Verdict::Ok => "ok     ",
        Verdict::Warning => "warning",
        Verdict::Fails => "FAIL   ",
    };
    writeln!(out, "{mark}  {}", finding.what)?;
    finding.hint.iter().try_for_each(|hint| writeln!(out, "         {hint}"))
}

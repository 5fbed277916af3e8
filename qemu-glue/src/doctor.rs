//! Whether the buffer pool of a VM can be skipped, or a waiting QEMU be restored: checked before a migration, each
//! finding with its remedy.
//!
//! What can be tried is tried: RAM is mapped, the library found and given up again, the agent greeted, a userfaultfd
//! registered. QEMU, its guest and its settings stay as they are.

use std::path::Path;

use page_wire::protocol::{Served, ServerState};
use serde_json::Value;

use crate::agent::Agent;
use crate::channel::Key;
use crate::dest;
use crate::dest::Override;
pub use crate::finding::{Finding, Verdict};
use crate::finding::{block, hint};
use crate::guest::GuestRam;
use crate::guest::disks::{self, Disk};
use crate::qmp::{Qmp, QmpError};
use crate::shim::Shim;
use crate::source::preflight::{self, Checked};

impl From<preflight::PreflightFinding> for Finding {
    fn from(found: preflight::PreflightFinding) -> Self {
        let verdict = if found.forbids_skip { Verdict::Fails } else { Verdict::Warning };
        Self { verdict, what: found.what, hint: hint(found.hint) }
    }
}

/// Looks at the QEMU behind the monitor `qmp`: at one that waits for a VM as a destination, where disks are read, those of
/// `overrides` where these name them; at any other as a source, and then at the guest's agent behind `agent` too.
///
/// # Errors
/// [`QmpError`] when the monitor cannot be used.
pub async fn examine(
    qmp: &Path,
    agent: Option<&Path>,
    overrides: &[Override],
) -> Result<Vec<Finding>, QmpError> {
    let qmp = Qmp::connect(qmp).await?;
    let pid = qmp.peer_pid()?;
    let status: Value = qmp.query("query-status").await?;
    let status = status["status"].as_str().unwrap_or_default();
    let mut findings = vec![Finding::ok(format!(
        "QEMU {} is process {pid}, `{}`",
        qmp.version(),
        foreign::shown(status)
    ))];
    let waits = status == "inmigrate";
    if waits {
        findings.extend(dest::examine(&qmp, pid).await);
    } else {
        source(&qmp, pid, agent, &mut findings).await;
    }
    disks(&qmp, pid, waits.then_some(overrides), &mut findings).await;
    Ok(findings)
}

/// Looks at a key file as both ends of the channel do.
#[must_use]
pub fn key(path: &Path) -> Finding {
    match Key::read(path) {
        Ok(_) => Finding::ok(format!("the key `{}` is valid and private", foreign::path(path))),
        Err(error) => Finding::fails(&error, error.hint()),
    }
}

async fn source(qmp: &Qmp, pid: u32, agent: Option<&Path>, findings: &mut Vec<Finding>) {
    match preflight::examine(qmp).await {
        Ok(checked) => findings.extend(checked.findings.into_iter().map(Finding::from)),
        // The library may be at work: it is left alone.
        Err(error) => {
            return findings.push(Finding { hint: error.hint(), ..Finding::fails(&error, "") });
        }
    }
    findings.push(match Shim::find(pid).await {
        Ok(_) => Finding::ok("the library is loaded, and free"),
        Err(error) => Finding::fails(&error, error.hint().unwrap_or("")),
    });
    match GuestRam::of(qmp, pid).await {
        Ok(ram) => findings.extend(ram.blocks().iter().map(block)),
        Err(error) => findings.push(Finding::fails(&error, error.hint().unwrap_or(""))),
    }
    let Some(agent) = agent else {
        let hint = "name the socket of its chardev with `--agent`";
        return findings.push(Finding::warning("the guest's agent was not checked", hint));
    };
    findings.extend(guest(agent).await);
}

async fn guest(agent: &Path) -> Vec<Finding> {
    let agent = match Agent::connect(agent).await {
        Ok(agent) => agent,
        Err(error) => return vec![Finding { hint: error.hint(), ..Finding::fails(&error, "") }],
    };
    let hello = agent.hello();
    let answers = format!("the agent answers: poolferry {}, Linux {}", hello.program, hello.kernel);
    let mut findings = vec![Finding::ok(answers)];
    if !hello.servers.is_empty() {
        findings.extend(hello.servers.iter().map(served));
        return findings;
    }
    findings.push(match &hello.server {
        ServerState::Attached { pid, version } => {
            Finding::ok(format!("it is attached to {version}, process {pid} of the guest"))
        }
        ServerState::Attaching { pid } => {
            let what = format!("it still looks at process {pid} of the guest");
            Finding::warning(what, "ask again in a moment")
        }
        ServerState::Waiting { why, hint } => Finding {
            verdict: Verdict::Fails,
            what: format!("it has no server: {why}").into(),
            hint: hint.clone(),
        },
    });
    findings
}

/// One of the guest's servers.
fn served(served: &Served) -> Finding {
    let Served { pid, version, user, unit, datadir, .. } = served;
    let unit = unit.as_ref().map(|unit| format!(" in {unit}")).unwrap_or_default();
    Finding::ok(format!(
        "it is attached to {version}, process {pid} of the guest, user {user}{unit}, on {datadir}"
    ))
}

async fn disks(qmp: &Qmp, pid: u32, overrides: Option<&[Override]>, findings: &mut Vec<Finding>) {
    match disks::of(qmp).await {
        Ok(disks) => {
            match overrides {
                // Here they are read: each is opened, as `receive` does.
                Some(overrides) => {
                    findings.extend(dest::examine_disks(&disks, overrides, pid).await)
                }
                None => findings.extend(disks.iter().map(disk)),
            }
            let mut checked = Checked::default();
            checked.disks(&disks);
            findings.extend(checked.findings.into_iter().map(Finding::from));
        }
        Err(error) => findings.push(Finding::fails(&error, error.hint().unwrap_or(""))),
    }
}

/// A disk of the source, which is read at the destination.
fn disk(disk: &Disk) -> Finding {
    let name = format!("disk `{}` ({})", disk.device, dest::called(disk));
    match &disk.backing {
        Err(why) => {
            let what = format!("{name}: the destination may not reach it by itself: {why}");
            Finding::warning(what, why.hint())
        }
        Ok(claim) => Finding::ok(format!("{name}: {claim}")),
    }
}

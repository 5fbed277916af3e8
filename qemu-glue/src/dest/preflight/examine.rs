//! Whether this host could restore the VM that is to come, as far as that is known without an offer.

use crate::dest::memory::{Target, headroom};
use crate::dest::preflight;
use crate::dest::refusal::RestoreRefusal;
use crate::finding::{self, Finding};
use crate::guest::{GuestRam, RamBlock};
use crate::qmp::Qmp;

/// Looks at the QEMU `pid` that waits behind `qmp`, and at what this process may do with its RAM. Holes and pages stay as they
/// are.
pub(crate) async fn examine(qmp: &Qmp, pid: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note =
        |refusal: RestoreRefusal| findings.push(Finding::fails(&refusal, refusal.hint()));
    if let Err(refusal) = preflight::waits(qmp).await {
        note(refusal);
    }
    if let Err(refusal) = preflight::settings(qmp, &[]).await {
        note(refusal);
    }
    if let Err(refusal) = preflight::devices(qmp).await {
        note(refusal);
    }
    let ram = match GuestRam::writable(qmp, pid).await {
        Ok(ram) => ram,
        Err(error) => {
            note(RestoreRefusal::Guest(error));
            return findings;
        }
    };
    let blocks: Vec<&RamBlock> = ram.blocks().iter().collect();
    let bytes: u64 = blocks.iter().map(|block| block.length).sum();
    let mut works = true;
    for &block in &blocks {
        let fits = preflight::fits(block).and_then(|()| preflight::huge_pages(block, pid));
        match fits {
            Ok(()) => findings.push(finding::block(block)),
            Err(refusal) => {
                works = false;
                findings.push(Finding::fails(&refusal, refusal.hint()));
            }
        }
    }
    if works {
        findings.push(match Target::new(&preflight::files(&blocks)) {
            Ok(_) => Finding::ok("pages can be installed (userfaultfd)"),
            Err((doing, source)) => {
                let refusal = RestoreRefusal::Install { doing, source };
                Finding::fails(&refusal, refusal.hint())
            }
        });
    }
    // A set is smaller than the VM: how much, only an offer shows.
    if let Some(headroom) = headroom::left().filter(|headroom| *headroom < bytes) {
        let refusal = RestoreRefusal::Headroom { headroom, needed: bytes };
        findings.push(Finding::warning(refusal.to_string(), refusal.hint()));
    }
    findings
}

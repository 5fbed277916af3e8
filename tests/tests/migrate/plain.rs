//! Migrations without trouble.

use anyhow::{Context as _, Result};
use lab::hop::Mode;
use lab::laboratory::Laboratory;
use lab::workload::Workload;
use serde_json::json;

use crate::shared::{Needs, folder, migrated, record, run, same};

/// Most of a pool of 200 MiB that is filled to nine tenths, in pages.
const MOST: u64 = 30_000;

fn stock(lab: &mut Laboratory, workload: Workload) -> Result<()> {
    lab.load(workload)?;
    let folder = folder(lab);
    same(&lab.hop(Mode::Stock, &folder)?);
    lab.check()
}

/// QEMU's own stream over several connections, compressed; the destination's QEMU has no options for it.
fn compressed(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Ro)?;
    let folder = folder(lab);
    let hop = lab.hop(Mode::PoolferryZstd, &folder)?;
    same(&hop);
    let report = record(lab)?;
    assert!(report.pages.installed > 0 && report.pages.zero > 0, "{:?}", report.pages);
    let sent = hop.ended.statistics["ram"]["normal-bytes"].as_u64().unwrap_or(0);
    assert!(report.network_bytes < sent / 2, "{} of {sent} bytes", report.network_bytes);
    lab.check()
}

/// Bytes a second of memory that nobody asks for: what the guest asks for comes between. The whole then takes many
/// seconds, of which the guest needs few to run.
const POSTCOPY_BYTES_PER_S: u64 = 24 << 20;

/// A baseline that stood still until all of its memory was there would be no postcopy.
fn postcopy(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Ro)?;
    let folder = folder(lab);
    // On the link's own speed it is over before a slow machine has run the guest at all. A slow link would hold up the
    // pages that the guest asks for: they queue behind all others.
    let slowly = json!({ "max-postcopy-bandwidth": POSTCOPY_BYTES_PER_S });
    lab.machine().monitor().execute("migrate-set-parameters", slowly)?;
    let hop = lab.hop(Mode::Postcopy, &folder)?;
    assert_eq!(hop.identity, None, "a VM that runs cannot be compared");
    let ran = hop.ran_there.context("no tick of the guest came at the destination")?;
    let (begun, _) = hop.watch.begun();
    let looks = hop.watch.looks();
    let all = looks.iter().map(|look| look.remaining).max().unwrap_or(0);
    // Of the first look after it ran, so that all of this was still to come.
    let left = looks.iter().find(|look| begun + look.at >= ran).map_or(0, |look| look.remaining);
    println!(
        "it ran after {:?} of {:?}, with {left} of {all} bytes to come; {:?}",
        ran - begun,
        hop.ended.at - begun,
        hop.interruption
    );
    assert!(left > all / 8, "the VM stood still: {:?}", hop.interruption);
    lab.check()
}

fn poolferry(lab: &mut Laboratory, workload: Workload) -> Result<()> {
    lab.load(workload)?;
    let report = migrated(lab)?;
    let pages = report.pages;
    assert!(pages.installed > 0 && pages.zero > 0, "{pages:?}");
    assert_eq!(
        pages.zero + pages.installed + pages.already_present + pages.redirtied,
        pages.skipped,
        "{pages:?}"
    );
    if workload != Workload::Rw {
        // Both paths bring them, in a ratio that is the machine's.
        let shared = report.redirtied_by_reason.get("sooner-by-network").copied().unwrap_or(0);
        assert!(pages.installed + pages.already_present + shared > MOST, "{report:?}");
    }
    lab.check()
}

#[test]
fn stock_idle() {
    run("plain::stock_idle", Needs::Qemu, |lab| stock(lab, Workload::Idle));
}

#[test]
fn stock_writing() {
    run("plain::stock_writing", Needs::Qemu, |lab| stock(lab, Workload::Rw));
}

#[test]
fn postcopy_runs_before_its_memory_is_there() {
    run("plain::postcopy_runs_before_its_memory_is_there", Needs::Qemu, postcopy);
}

#[test]
fn poolferry_idle() {
    run("plain::poolferry_idle", Needs::Poolferry, |lab| poolferry(lab, Workload::Idle));
}

#[test]
fn poolferry_reading() {
    run("plain::poolferry_reading", Needs::Poolferry, |lab| poolferry(lab, Workload::Ro));
}

#[test]
fn poolferry_compressed() {
    run("plain::poolferry_compressed", Needs::Poolferry, compressed);
}

#[test]
fn poolferry_writing() {
    run("plain::poolferry_writing", Needs::Poolferry, |lab| poolferry(lab, Workload::Rw));
}

//! The time line of the probes against what QEMU itself says of the same migration.
//!
//! A VM whose firmware starts a boot sector that writes half a MiB over and over migrates between two
//! real QEMUs on this machine, for each release that is installed.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "figures of a test, shown by `cargo xtask test`")]

mod figures;
mod guest;
mod migration;
mod vm;

use std::sync::{Mutex, PoisonError};

use qemu_glue::timeline::{Recorder, TimelineError};
use test_qemus::Release;
use test_servers::skipped;

/// Runs `body` with the release when it is this test's turn; says so where it cannot run.
fn run(test: &str, release: Release, body: impl AsyncFnOnce(&test_qemus::Qemu)) {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that the next would trip over.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "probes want root");
    }
    match release.installed() {
        Ok(qemu) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(body(&qemu));
        }
        Err(error) => skipped(test, format!("{error:#}")),
    }
}

#[test]
fn qemu72_is_seen_as_it_is() {
    run("qemu72_is_seen_as_it_is", Release::Q72, figures::agree_with_qmp);
}

#[test]
fn qemu82_is_seen_as_it_is() {
    run("qemu82_is_seen_as_it_is", Release::Q82, figures::agree_with_qmp);
}

#[test]
fn qemu100_is_seen_as_it_is() {
    run("qemu100_is_seen_as_it_is", Release::Q100, figures::agree_with_qmp);
}

#[test]
fn qemu111_is_seen_as_it_is() {
    run("qemu111_is_seen_as_it_is", Release::Q111, figures::agree_with_qmp);
}

/// Probes on something else are refused with a reason, and nothing is left in it.
#[test]
fn what_is_no_qemu_is_refused() {
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let refused = Recorder::attach(other.id()).map(drop).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(refused, TimelineError::NoQemu { .. }), "{refused}");
    assert!(refused.hint().contains("QMP"));
}

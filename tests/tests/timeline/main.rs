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

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use qemu_glue::timeline::{Recorder, TimelineError};
use test_qemus::QemuRelease;
use test_servers::skipped;

/// Runs `body` with the release when it is this test's turn; says so where it cannot run.
fn run(test: &str, release: QemuRelease, body: impl AsyncFnOnce(&test_qemus::Qemu)) {
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
    run("qemu72_is_seen_as_it_is", QemuRelease::Q72, figures::agree_with_qmp);
}

#[test]
fn qemu82_is_seen_as_it_is() {
    run("qemu82_is_seen_as_it_is", QemuRelease::Q82, figures::agree_with_qmp);
}

#[test]
fn qemu100_is_seen_as_it_is() {
    run("qemu100_is_seen_as_it_is", QemuRelease::Q100, figures::agree_with_qmp);
}

#[test]
fn qemu111_is_seen_as_it_is() {
    run("qemu111_is_seen_as_it_is", QemuRelease::Q111, figures::agree_with_qmp);
}

/// Probes on something else are refused with a reason, and nothing is left in it.
#[test]
fn what_is_no_qemu_is_refused() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let refused = Recorder::attach(other.id()).map(drop).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(refused, TimelineError::NoQemu { .. }), "{refused}");
    assert!(refused.hint().contains("QMP"));
}

/// A program that exports a function of QEMU's, which begins `ahead` bytes into a function, and sleeps.
fn exports(folder: &Path, ahead: u32) -> Option<Child> {
    let source = format!(
        "#include <unistd.h>\n\
         __attribute__((noinline)) void real(void) {{ for (;;) pause(); }}\n\
         asm(\".globl vm_start\\n.type vm_start,@function\\n.set vm_start, real + {ahead}\\n\");\n\
         int main(void) {{ return write(1, \".\", 1) == 1 ? (real(), 0) : 1; }}\n"
    );
    let (program, file) = (folder.join(format!("qemu-{ahead}")), folder.join("qemu.c"));
    std::fs::write(&file, source).unwrap();
    let mut compiler = Command::new("gcc");
    let built = compiler.args(["-O0", "-rdynamic", "-o"]).arg(&program).arg(&file).status().ok()?;
    assert!(built.success());
    let mut started = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
    // It runs, and is no copy of this program any more.
    started.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    Some(started)
}

/// One whose symbol names the middle of an instruction is refused, and goes on as it was.
#[test]
fn a_qemu_whose_symbols_lie_is_not_probed() {
    let test = "a_qemu_whose_symbols_lie_is_not_probed";
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "probes want root");
    }
    let folder = tempfile::tempdir().unwrap();
    for ahead in [0, 1, 2, 3] {
        let Some(mut program) = exports(folder.path(), ahead) else {
            return skipped(test, "gcc is not installed");
        };
        let attached = Recorder::attach(program.id()).map(drop);
        let runs = program.try_wait().unwrap().is_none();
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(runs);
        if ahead == 0 {
            attached.unwrap();
            continue;
        }
        let refused = attached.expect_err("a probe stands in the middle of a function");
        assert!(matches!(refused, TimelineError::Unproven { .. }), "{ahead}: {refused}");
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(
            cause.contains("`vm_start` is not probed") && cause.contains("unwind table"),
            "{cause}"
        );
    }
}

//! The releases that are here are what they say.

use test_qemus::QemuRelease;
use test_servers::skipped;

#[test]
fn each_release_runs_and_has_the_accelerator() {
    for release in QemuRelease::ALL {
        let qemu = match release.installed() {
            Ok(qemu) => qemu,
            Err(error) => {
                skipped(&format!("each_release_runs_and_has_the_accelerator::{release}"), error);
                continue;
            }
        };
        assert_eq!(qemu.reported_version().unwrap(), release.version());
        let output = qemu.command().args(["-accel", "help"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().any(|line| line == "tcg"), "{release}: {text}");
        assert!(qemu.tool("qemu-img").arg("--version").output().unwrap().status.success());
    }
}

//! What must be so before a migration: of the VM, and of QEMU's settings.
//!
//! Little stops a migration. What a skip does not go together with makes it a stock one, and the
//! finding names what to change.

use foreign::{Name, Text};
use serde_json::Value;
use shim_abi::OLDEST_QEMU;

use crate::clash::{self, CAPABILITIES, Clash, OF_BOTH};
use crate::guest::disks::{self, Disk};
use crate::multifd::Multifd;
use crate::qmp::{QemuVersion, Qmp, QmpError};
use crate::source::error::MigrateError;
use crate::source::monitor::capabilities::{BY_MULTIFD, LEGACY, ZERO_PAGES, enabled};
use crate::source::monitor::migration_info::MigrationInfo;
use crate::source::monitor::settings::ChangedSettings;

/// What to do about a device that pins RAM.
const AWAY: &str = "take the device away for the migration";

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightFinding {
    /// What is so.
    pub what: Text,
    /// What to do about it.
    pub hint: &'static str,
    /// Whether nothing can be skipped because of it.
    pub forbids_skip: bool,
}

/// The VM before the migration.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What was found.
    pub findings: Vec<PreflightFinding>,
    /// Capabilities that are on and that both sides must agree on.
    pub of_both: Vec<Name>,
    /// How `multifd` is set, where it is on.
    pub multifd: Option<Multifd>,
    /// QEMU compresses what it sends.
    pub compressed: bool,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// Number of virtual CPUs.
    pub vcpus: u32,
}

impl Checked {
    fn find(&mut self, forbids_skip: bool, what: String, hint: &'static str) {
        self.findings.push(PreflightFinding { what: what.into(), hint, forbids_skip });
    }

    /// The first finding that forbids to skip anything.
    #[must_use]
    pub fn forbids_skip(&self) -> Option<&PreflightFinding> {
        self.findings.iter().find(|finding| finding.forbids_skip)
    }

    /// Adds the findings about the disks.
    pub fn disks(&mut self, disks: &[Disk]) {
        for disk in disks.iter().filter(|disk| !disk.direct) {
            let what = format!("disk `{}` goes through this host's page cache", disk.device);
            self.find(
                false,
                what,
                "set cache.direct=on, or pages that are listed may not be there yet",
            );
        }
        for (name, devices) in disks::twins(disks) {
            let devices = devices.join("`, `");
            let what = format!("the guest cannot distinguish disks: `{devices}` are all `{name}`");
            let hint = "give them serial numbers that differ in their first 20 characters";
            self.find(false, what, hint);
        }
    }
}

/// Whether a migration can begin here; gives the VM's run state. Changes nothing.
///
/// # Errors
/// [`MigrateError::UnderWay`], [`MigrateError::NotHere`], or when the monitor fails.
pub async fn ready(qmp: &Qmp) -> Result<String, MigrateError> {
    let migration = MigrationInfo::of(qmp).await?;
    if migration.goes_on() {
        return Err(MigrateError::UnderWay { status: migration.status.into() });
    }
    let status: Value = qmp.query("query-status").await?;
    let state = status["status"].as_str().unwrap_or_default();
    match state {
        "running" | "paused" | "suspended" | "prelaunch" | "io-error" => Ok(state.to_owned()),
        _ => Err(MigrateError::NotHere { status: state.into() }),
    }
}

/// What the VM is.
///
/// # Errors
/// When the monitor fails.
pub async fn vm(qmp: &Qmp) -> Result<Checked, QmpError> {
    let kvm: Value = qmp.query("query-kvm").await?;
    let enabled = kvm["enabled"].as_bool().unwrap_or(false);
    let cpus: Vec<Value> = qmp.query("query-cpus-fast").await?;
    Ok(Checked {
        accelerator: if enabled { "kvm" } else { "tcg" },
        vcpus: u32::try_from(cpus.len()).unwrap_or(u32::MAX),
        ..Checked::default()
    })
}

/// Whether pages can be skipped of a VM in this run state; changes what forbids it, where that is a setting alone.
///
/// # Errors
/// When the monitor fails.
pub(in crate::source) async fn skip(
    qmp: &Qmp,
    state: &str,
    settings: &mut ChangedSettings,
    checked: &mut Checked,
) -> Result<(), QmpError> {
    look(qmp, state, checked).await?;
    zero_pages(qmp, settings, checked).await
}

/// What `skip` looks at, for who only wants to know: nothing is changed.
///
/// # Errors
/// When no migration can begin here, or the monitor fails.
pub async fn examine(qmp: &Qmp) -> Result<Checked, MigrateError> {
    let state = ready(qmp).await?;
    let mut checked = vm(qmp).await?;
    look(qmp, &state, &mut checked).await?;
    Ok(checked)
}

async fn look(qmp: &Qmp, state: &str, checked: &mut Checked) -> Result<(), QmpError> {
    version(qmp.version(), checked);
    capabilities(qmp, checked).await?;
    devices(qmp, checked).await?;
    if state != "running" {
        let what = format!("the VM does not run (`{state}`)");
        checked.find(true, what, "a VM that is stopped has its whole memory sent");
    }
    Ok(())
}

/// Names [`OLDEST_QEMU`].
const OLDEST_HINT: &str = "use QEMU 7.2 or later";

fn version(version: QemuVersion, checked: &mut Checked) {
    let (major, minor) = OLDEST_QEMU;
    if !version.is_at_least(major, minor) {
        let what =
            format!("QEMU {version} can lose writes to pages that are skipped, or was never tried");
        checked.find(true, what, OLDEST_HINT);
    } else if checked.accelerator == "tcg" && !version.is_at_least(9, 0) {
        let what = format!("QEMU {version} without KVM can itself miss writes of the guest");
        checked.find(false, what, "use KVM, or QEMU 9.0 or later");
    }
}

async fn capabilities(qmp: &Qmp, checked: &mut Checked) -> Result<(), QmpError> {
    let on = enabled(qmp).await?;
    let is_on = |name: &str| on.iter().any(|on| on == name);
    for name in CAPABILITIES.into_iter().filter(|name| is_on(name)) {
        let what = format!("migration capability `{name}` is on");
        checked.find(true, what, "turn it off with `migrate-set-capabilities`");
    }
    if is_on("pause-before-switchover") {
        let what = "migration capability `pause-before-switchover` is on".to_owned();
        let hint = "whoever has set it has to let QEMU go on before the switchover (`migrate-continue`); turn it off \
                    if nobody does";
        checked.find(false, what, hint);
    }
    checked.of_both =
        OF_BOTH.into_iter().filter(|name| is_on(name)).flat_map(Name::try_from).collect();
    if is_on("multifd") {
        checked.multifd = Some(Multifd::read(qmp).await?);
    }
    checked.compressed =
        is_on("compress") || checked.multifd.as_ref().is_some_and(Multifd::compresses);
    let parameters: Value = qmp.query("query-migrate-parameters").await?;
    if let Some(mode) = parameters["mode"].as_str().filter(|mode| *mode != "normal") {
        checked.find(true, format!("migration mode is `{mode}`"), "set it to `normal`");
    }
    Ok(())
}

async fn zero_pages(
    qmp: &Qmp,
    settings: &mut ChangedSettings,
    checked: &mut Checked,
) -> Result<(), QmpError> {
    let parameters: Value = qmp.query("query-migrate-parameters").await?;
    if checked.multifd.is_some() && parameters[ZERO_PAGES] == BY_MULTIFD {
        // From 9.1 on, the destination leaves memory untouched for a first zero page (commit
        // 5ef7e26bdb), and what storage has would stay in its place.
        settings.legacy_zero_pages(qmp).await?;
        let now: Value = qmp.query("query-migrate-parameters").await?;
        if now[ZERO_PAGES] != LEGACY {
            let what = "multifd detects zero pages in its own threads".to_owned();
            checked.find(true, what, "set zero-page-detection to `legacy`");
        }
    }
    Ok(())
}

async fn devices(qmp: &Qmp, checked: &mut Checked) -> Result<(), QmpError> {
    let past = |what: String| (format!("{what} reads and writes RAM past QEMU"), AWAY);
    for pinned in clash::pinned(qmp).await? {
        let (what, hint) = match pinned {
            Clash::Device(kind) => past(format!("device `{kind}`")),
            Clash::BlockDriver(driver) => past(format!("block driver `{driver}`")),
            Clash::VdpaNetwork => past("a `vhost-vdpa` network backend".to_owned()),
            Clash::Encrypted => {
                let hint = "its pages cannot be compared with storage";
                ("the guest's memory is encrypted".to_owned(), hint)
            }
        };
        checked.find(true, what, hint);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shim_abi::NEWEST_QEMU;

    use super::*;

    fn checked(major: u32, minor: u32) -> Checked {
        let mut checked = Checked { accelerator: "kvm", ..Checked::default() };
        version(QemuVersion { major, minor, micro: 9 }, &mut checked);
        checked
    }

    /// The check, its hint and README name the version from which the library in QEMU works.
    #[test]
    fn one_version_is_the_oldest() {
        let (major, minor) = OLDEST_QEMU;
        assert!(checked(major, minor).findings.is_empty());
        for (major, minor) in [(6, 1), (major, minor - 1)] {
            let checked = checked(major, minor);
            let found = checked.forbids_skip().expect("a version that the library refuses");
            assert!(found.hint.contains(&format!("QEMU {}.{}", OLDEST_QEMU.0, OLDEST_QEMU.1)));
        }
        let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
        let (last, last_minor) = NEWEST_QEMU;
        let wanted = format!("A migration wants QEMU {major}.{minor} to {last}.{last_minor} ");
        assert!(readme.unwrap().contains(&wanted), "README does not say: {wanted}");
    }
}

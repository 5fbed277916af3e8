//! The storage behind the devices that the source names.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use foreign::Text;
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::refusal::RestoreRefusal;
use crate::channel::{MAX_DEVICE_BYTES, MAX_DEVICES};
use crate::error_chain;
use crate::finding::Finding;
use crate::guest::disks::{self, Claim, Disk, Unreadable};
use crate::open_files::OpenFiles;
use crate::set::ZERO_DEVICE;
use crate::storage::{Address, Storage, StorageError};

/// A device's storage by the operator's word: name as the source has it, and address.
pub type Override = (String, Address);

/// Most disks that a finding names.
const NAMED: usize = 16;

/// All devices are open by then, or left out: the source waits for the answer to its offer.
const LIMIT: Duration = Duration::from_secs(60);

/// The set's devices, and the indices of those that cannot be read, with the reason.
pub(super) type Opened = (Vec<Option<Storage>>, Vec<(u16, Text)>);

/// Opens the devices one after the other, the operator's words before what QEMU's own disks are. That of zero
/// pages is none, and is not left out either.
///
/// # Errors
/// [`RestoreRefusal::NoDevice`] when there are devices and none can be read; [`RestoreRefusal::Devices`] when there are more,
/// or longer names, than an honest source offers.
pub(super) async fn open(
    devices: &[String],
    overrides: &[Override],
    disks: &[Disk],
    qemu: u32,
) -> Result<Opened, RestoreRefusal> {
    if devices.len() > MAX_DEVICES || devices.iter().any(|name| name.len() > MAX_DEVICE_BYTES) {
        return Err(RestoreRefusal::Devices);
    }
    let end = Instant::now() + LIMIT;
    let files = looked(qemu).await;
    let mut storages = Vec::with_capacity(devices.len());
    let mut left_out = Vec::new();
    for (index, device) in (0..).zip(devices) {
        let late = |_| Err(DeviceError::Late { limit: LIMIT });
        let storage =
            timeout_at(end, one(device, overrides, disks, &files)).await.unwrap_or_else(late);
        match storage {
            Err(_) if device == ZERO_DEVICE => storages.push(None),
            Ok(storage) => {
                log::info!(
                    "{} is {} ({})",
                    foreign::shown(device),
                    storage.address(),
                    storage.manner()
                );
                storages.push(Some(storage));
            }
            Err(error) => {
                let reason = error.reason();
                log::warn!("{} cannot be read: {reason}", foreign::shown(device));
                left_out.push((index, reason.into()));
                storages.push(None);
            }
        }
    }
    if !left_out.is_empty() && storages.iter().all(Option::is_none) {
        let reasons = left_out.iter().filter_map(|(index, reason)| {
            let device = devices.get(usize::from(*index))?;
            Some(format!("{}: {reason}", foreign::shown(device)))
        });
        return Err(RestoreRefusal::NoDevice(reasons.collect::<Vec<_>>().join("; ")));
    }
    Ok((storages, left_out))
}

/// What QEMU has open; the same for all disks.
type QemuFiles = Result<Arc<OpenFiles>, Arc<io::Error>>;

async fn looked(qemu: u32) -> QemuFiles {
    OpenFiles::of(qemu).await.map(Arc::new).map_err(Arc::new)
}

/// The storage of a device: at the operator's address, else where QEMU's own disk of that name is.
async fn one(
    device: &str,
    overrides: &[Override],
    disks: &[Disk],
    files: &QemuFiles,
) -> Result<Storage, DeviceError> {
    let named = overrides.iter().find(|(name, _)| name == device);
    match named {
        Some((_, address)) => Ok(Storage::open(address).await?),
        None => claimed(claim(device, disks)?, files).await,
    }
}

/// Opens what QEMU has named, where QEMU has it open.
async fn claimed(claim: &Claim, files: &QemuFiles) -> Result<Storage, DeviceError> {
    let files = files.as_ref().map_err(|error| DeviceError::QemuFiles(Arc::clone(error)))?;
    Ok(claim.open(files).await?)
}

/// Why a device cannot be read.
#[derive(Debug, Error)]
enum DeviceError {
    /// QEMU has no such disk.
    #[error("QEMU here has no disk of that name, or several")]
    NoDisk,
    /// What QEMU names cannot be read from beside it.
    #[error("disk `{device}`")]
    Backing {
        /// QEMU's name of the disk.
        device: Text,
        /// Why.
        #[source]
        source: Unreadable,
    },
    /// The files that QEMU has open cannot be looked at.
    #[error("failed to look at QEMU's open files")]
    QemuFiles(#[source] Arc<io::Error>),
    /// Its storage does not open.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It was not its turn in time.
    #[error("not all disks were open within {} s", limit.as_secs())]
    Late {
        /// The time for all of them.
        limit: Duration,
    },
}

impl DeviceError {
    /// What the operator can do about it.
    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Storage(error) => error.hint(),
            Self::NoDisk | Self::Backing { .. } | Self::QemuFiles(_) | Self::Late { .. } => None,
        }
    }

    /// All of it on one line, with the remedy: the source shows it too.
    fn reason(&self) -> String {
        let hint = self.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}{hint}", error_chain(self))
    }
}

/// What QEMU's own disk of that name is.
fn claim<'a>(device: &str, disks: &'a [Disk]) -> Result<&'a Claim, DeviceError> {
    let disk = disks::find(disks, device).ok_or(DeviceError::NoDisk)?;
    disk.backing.as_ref().map_err(|why| DeviceError::Backing {
        device: disk.device.as_str().into(),
        source: why.clone(),
    })
}

/// What [`open`] would come to for each disk of this host, and for each that the operator names: it is opened here too.
pub(crate) async fn examine(disks: &[Disk], overrides: &[Override], qemu: u32) -> Vec<Finding> {
    let end = Instant::now() + LIMIT;
    let files = looked(qemu).await;
    let mut findings = Vec::new();
    for disk in disks {
        let name = format!("disk `{}` ({})", disk.device, called(disk));
        // The operator's address takes precedence.
        if overrides.iter().any(|(device, _)| disk.is(device)) {
            continue;
        }
        findings.push(match &disk.backing {
            Err(why) => Finding::warning(format!("{name}: its pages are sent: {why}"), why.hint()),
            Ok(claim) => {
                let opened = timeout_at(end, claimed(claim, &files)).await;
                readable(&name, claim.address(), disk.bytes, opened)
            }
        });
    }
    for (device, address) in overrides {
        if let Some(what) = unknown(device, disks) {
            findings.push(Finding::warning(what, "correct the name in `--disk NAME=URI`"));
            continue;
        }
        let bytes = disks::find(disks, device).map_or(0, |disk| disk.bytes);
        let opened = async { Ok(Storage::open(address).await?) };
        let opened = timeout_at(end, opened).await;
        findings.push(readable(&format!("disk {device}"), address, bytes, opened));
    }
    findings
}

/// What is wrong with a disk's name that the operator gives: no list of this VM's guest has it.
pub(super) fn unknown(device: &str, disks: &[Disk]) -> Option<Text> {
    if disks.iter().any(|disk| disk.is(device)) {
        return None;
    }
    let known: Vec<String> = disks.iter().take(NAMED).map(called).collect();
    let known = if known.is_empty() { "no disk".to_owned() } else { known.join(", ") };
    Some(format!("this VM has no disk `{}`; it has {known}", foreign::shown(device)).into())
}

/// What the guest's list may call it.
pub(crate) fn called(disk: &Disk) -> String {
    let place = disk.pci.as_ref().map(|function| format!("pci:{function}"));
    let names: Vec<&str> = disk.names.iter().chain(&place).map(String::as_str).collect();
    if names.is_empty() {
        "no name that a guest could have for it".into()
    } else {
        names.join(", ")
    }
}

fn readable(
    name: &str,
    address: &Address,
    bytes: u64,
    opened: Result<Result<Storage, DeviceError>, Elapsed>,
) -> Finding {
    let hint = "name another place for `receive` with `--disk NAME=URI`, or mend this one";
    match opened {
        Err(_) => Finding::warning(format!("{name}: {address} does not answer"), hint),
        Ok(Err(error)) => Finding::warning(
            format!(
                "{name}: {address} cannot be read, its pages are sent: {}",
                error_chain(&error)
            ),
            error.hint().unwrap_or(hint),
        ),
        Ok(Ok(storage)) if storage.length() < bytes => {
            let length = storage.length();
            let what = format!("{name}: {address} has {length} bytes, and the disk {bytes}");
            Finding::warning(what, hint)
        }
        Ok(Ok(storage)) => Finding::ok(format!("{name}: {address} ({})", storage.manner())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(devices: Vec<String>) -> RestoreRefusal {
        open(&devices, &[], &[], std::process::id()).await.unwrap_err()
    }

    #[tokio::test]
    async fn no_offer_has_many_devices_or_long_names() {
        let many = vec!["serial:a".to_owned(); MAX_DEVICES + 1];
        assert!(matches!(refused(many).await, RestoreRefusal::Devices));
        assert!(matches!(refused(vec!["x".repeat(257)]).await, RestoreRefusal::Devices));
        let most = vec!["y".repeat(MAX_DEVICE_BYTES); MAX_DEVICES];
        assert!(matches!(refused(most).await, RestoreRefusal::NoDevice(_)));
    }

    /// A QEMU that was taken over names a file that its own user may not read.
    #[tokio::test]
    async fn a_file_that_qemu_only_names_is_not_read() {
        let secret = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        secret.as_file().set_len(1 << 20).unwrap();
        let path = secret.into_temp_path();
        let disk = Disk {
            device: "d".into(),
            names: vec!["serial:a".into()],
            pci: None,
            node: "n".into(),
            backing: Ok(Address::File(path.to_path_buf()).into()),
            direct: true,
            bytes: 1 << 20,
        };
        let open = async |overrides: &[Override]| {
            let (devices, disks) = (["serial:a".to_owned()], [disk.clone()]);
            open(&devices, overrides, &disks, std::process::id())
                .await
                .map(|(storages, _)| storages)
        };
        let refused = open(&[]).await.map_err(|refusal| refusal.to_string()).unwrap_err();
        assert!(
            refused.contains("does not have it open") && refused.contains("--disk"),
            "{refused}"
        );
        let named = ("serial:a".to_owned(), Address::File(path.to_path_buf()));
        assert!(open(&[named]).await.unwrap()[0].is_some());
        let files = std::fs::File::open(&path).unwrap();
        assert!(open(&[]).await.unwrap()[0].is_some());
        drop(files);
    }
}

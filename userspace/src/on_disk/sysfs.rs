//! What sysfs has on one block device. All of it is short text that the kernel or a disk's firmware
//! wrote; the firmware's is foreign.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ids::DeviceId;

/// Longest attribute that is read (a page is what sysfs gives).
const MAX_ATTRIBUTE_BYTES: u64 = 4096;

/// A block device's directory in sysfs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    folder: PathBuf,
}

impl Node {
    /// Finds a device by its number below `sysfs` (`/sys`).
    pub(crate) fn of(sysfs: &Path, device: DeviceId) -> Option<Self> {
        let folder = fs::canonicalize(sysfs.join(format!("dev/block/{device}"))).ok()?;
        Some(Self { folder })
    }

    /// The device's name, e.g. `vda`.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The disk that a partition is on.
    pub(crate) fn parent(&self) -> Option<(Self, DeviceId)> {
        let parent = Self { folder: self.folder.parent()?.to_path_buf() };
        let device = DeviceId::parse(&parent.text("dev")?)?;
        Some((parent, device))
    }

    pub(crate) fn has(&self, entry: &str) -> bool {
        self.folder.join(entry).exists()
    }

    /// True when the device is made of others, which the kernel lists.
    pub(crate) fn has_slaves(&self) -> bool {
        fs::read_dir(self.folder.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some())
    }

    pub(crate) fn number(&self, attribute: &str) -> Option<u64> {
        self.text(attribute)?.parse().ok()
    }

    /// A number of 512-byte sectors (sysfs counts so whatever the disk's sector is), in bytes.
    pub(crate) fn sectors(&self, attribute: &str) -> Option<u64> {
        self.number(attribute)?.checked_mul(512)
    }

    /// An attribute without surrounding space; `None` when it is not there or empty.
    pub(crate) fn text(&self, attribute: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes(attribute)?).into_owned();
        let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A SCSI vital-product-data page: four bytes of header, then the text.
    pub(crate) fn vital_product_data(&self, attribute: &str) -> Option<String> {
        let page = self.bytes(attribute)?;
        let text = String::from_utf8_lossy(page.get(4..)?).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Where the hardware device stands in the tree, below `sysfs/devices`.
    pub(crate) fn hardware_path(&self, sysfs: &Path) -> Option<String> {
        let path = fs::canonicalize(self.folder.join("device")).ok()?;
        let devices = fs::canonicalize(sysfs).ok()?.join("devices");
        Some(path.strip_prefix(devices).ok()?.to_string_lossy().into_owned())
    }

    fn bytes(&self, attribute: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.folder.join(attribute)).ok()?;
        file.take(MAX_ATTRIBUTE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

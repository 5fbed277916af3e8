//! What a guest calls a disk: QEMU's properties of the device, as they come through the device's interface.
//!
//! | device | serial number | world-wide name |
//! |---|---|---|
//! | virtio-blk | 20 bytes (`VIRTIO_BLK_ID_BYTES`) | none |
//! | SCSI disk, USB storage | 36 bytes (VPD page 0x80) | `naa.` of `wwn` (page 0x83) |
//! | IDE, AHCI | 20 bytes (IDENTIFY, words 10 to 19) | likewise |
//! | NVMe | 20 bytes, the controller's for all of its namespaces | not used: there is a serial number |
//!
//! QEMU 7.2 to 11.1: `hw/block/virtio-blk.c`, `hw/scsi/scsi-disk.c`, `hw/ide/core.c`, `hw/nvme/ctrl.c`. A management
//! program gives a disk its volume's UUID of 36 characters, so on virtio-blk the guest has the first 20 of it. The agent
//! takes blanks off both ends.

use serde_json::Value;

/// Longest property that is looked at, in bytes.
const MAX_PROPERTY: usize = 256;

/// The interface of a disk, as far as names depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    VirtioBlk,
    Scsi,
    Ide,
    NvmeController,
    NvmeNamespace,
    /// What the guest sees of it is not what QEMU's properties show (passed-through SCSI), or it is not known.
    Other,
}

impl Interface {
    /// Of QEMU's type of the device that a block backend is plugged into.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "virtio-blk-device" => Self::VirtioBlk,
            "scsi-hd" | "scsi-cd" | "scsi-disk" => Self::Scsi,
            "ide-hd" | "ide-cd" | "ide-cf" => Self::Ide,
            "nvme" => Self::NvmeController,
            "nvme-ns" => Self::NvmeNamespace,
            _ => Self::Other,
        }
    }

    /// Bytes of a serial number that come through.
    const fn serial_bytes(self) -> Option<usize> {
        match self {
            Self::VirtioBlk | Self::Ide | Self::NvmeController | Self::NvmeNamespace => Some(20),
            Self::Scsi => Some(36),
            Self::Other => None,
        }
    }

    pub(super) const fn has_wwn(self) -> bool {
        matches!(self, Self::Scsi | Self::Ide)
    }

    /// The name by which a page list calls a disk of this serial number.
    pub(super) fn serial(self, property: &Value) -> Option<String> {
        let text = property.as_str().filter(|text| text.len() <= MAX_PROPERTY)?;
        let bytes = text.as_bytes();
        let seen = String::from_utf8_lossy(&bytes[..bytes.len().min(self.serial_bytes()?)]);
        let seen = seen.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        (!seen.is_empty()).then(|| format!("serial:{seen}"))
    }

    /// The name by which a page list calls a disk of this world-wide name and without a serial number.
    pub(super) fn wwid(self, property: &Value) -> Option<String> {
        let wwn = property.as_u64().filter(|wwn| *wwn != 0 && self.has_wwn())?;
        Some(format!("wwid:naa.{wwn:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn serials_are_as_long_as_the_interface_lets_through() {
        let uuid = json!("3f1a1d0e-7b52-4c5e-9b1a-6c54d8f2a9b0");
        for (kind, seen) in [
            ("virtio-blk-device", "serial:3f1a1d0e-7b52-4c5e-9"),
            ("ide-hd", "serial:3f1a1d0e-7b52-4c5e-9"),
            ("nvme", "serial:3f1a1d0e-7b52-4c5e-9"),
            ("scsi-hd", "serial:3f1a1d0e-7b52-4c5e-9b1a-6c54d8f2a9b0"),
        ] {
            assert_eq!(Interface::of(kind).serial(&uuid).as_deref(), Some(seen), "{kind}");
        }
        assert_eq!(Interface::of("scsi-block").serial(&uuid), None);
        let scsi = Interface::Scsi;
        assert_eq!(scsi.serial(&json!("x".repeat(99))), Some(format!("serial:{}", "x".repeat(36))));
        assert_eq!(scsi.serial(&json!(" a b  ")).as_deref(), Some("serial:a b"));
        assert_eq!(scsi.serial(&json!("x".repeat(9999))), None);
        assert_eq!(scsi.serial(&json!("")), None);
        // Cut inside a letter, as the interface does, and read as the agent reads it.
        let letters = json!("\u{e9}".repeat(10) + "a" + "\u{e9}");
        let odd = Interface::VirtioBlk.serial(&json!(format!("a{}", "\u{e9}".repeat(20)))).unwrap();
        assert!(odd.ends_with("\u{e9}\u{fffd}"), "{odd}");
        assert!(Interface::VirtioBlk.serial(&letters).unwrap().ends_with("\u{e9}"));
    }

    #[test]
    fn world_wide_names_are_written_as_linux_does() {
        let wwn = json!(0x5000_c500_1559_1234_u64);
        assert_eq!(Interface::Scsi.wwid(&wwn).as_deref(), Some("wwid:naa.5000c50015591234"));
        assert_eq!(Interface::Scsi.wwid(&json!(0)), None);
        assert_eq!(Interface::VirtioBlk.wwid(&wwn), None);
    }
}

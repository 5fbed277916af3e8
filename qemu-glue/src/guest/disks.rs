//! Disks of a VM: what the guest calls them, and what they lie on at this host.
//!
//! A page list names disks as the guest sees them (`serial:...`, `pci:...`, `path:...`); QEMU tells
//! which device has that serial number or address, and what is behind it. Both hosts ask their own
//! QEMU, so the two sides may reach one disk in different ways.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::GuestError;
use crate::qmp::Qmp;

/// Most disks that are looked at.
const MAX_DISKS: usize = 4096;

/// What a disk lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A raw file or a block device.
    File(PathBuf),
    /// An NBD export as URI: `nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`.
    Nbd(String),
    /// Something that cannot be read from beside QEMU: format and QEMU's name of the file.
    Other {
        /// Format, e.g. `qcow2`.
        format: String,
        /// As QEMU writes it, cut to 256 characters.
        file: String,
    },
}

impl Source {
    /// As an URI that the storage reader takes (`file:PATH`, `nbd://...`); `None` for what it cannot
    /// read.
    #[must_use]
    pub fn uri(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(format!("file:{}", path.display())),
            Self::Nbd(uri) => Some(uri.clone()),
            Self::Other { .. } => None,
        }
    }
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The device as QEMU names it (id or path in the object tree).
    pub device: String,
    /// Serial number that the guest sees.
    pub serial: Option<String>,
    /// PCI function that the guest sees, e.g. `0000:00:04.0`.
    pub pci: Option<String>,
    /// Its block node.
    pub node: String,
    /// What it lies on.
    pub source: Source,
    /// Whether QEMU goes round the host's page cache (`cache.direct=on`).
    pub direct: bool,
    /// Its size in bytes, 0 where QEMU does not tell.
    pub bytes: u64,
}

impl Disk {
    /// Whether a medium of a page list is this disk.
    #[must_use]
    pub fn is(&self, medium: &str) -> bool {
        let Some((kind, name)) = medium.split_once(':') else { return false };
        match kind {
            "serial" => self.serial.as_deref() == Some(name),
            "pci" => self.pci.as_deref() == Some(name),
            // `pci0000:00/0000:00:04.0/virtio1`: the last function is the controller. One controller
            // of several disks (SCSI) is not told apart by it.
            "path" => {
                let function = name.split('/').rfind(|part| is_pci_function(part));
                let one_disk = name.rsplit('/').next().is_some_and(|last| !last.contains(':'));
                one_disk && function.is_some() && self.pci.as_deref() == function
            }
            _ => false,
        }
    }
}

/// The one disk that a medium names; `None` where no disk or several fit.
#[must_use]
pub fn find<'a>(disks: &'a [Disk], medium: &str) -> Option<&'a Disk> {
    let mut fitting = disks.iter().filter(|disk| disk.is(medium));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// The disks that QEMU has plugged into devices.
///
/// # Errors
/// When QEMU does not answer; a disk that makes no sense is left out.
pub async fn of(qmp: &Qmp) -> Result<Vec<Disk>, GuestError> {
    let blocks = qmp.execute("query-block", json!({})).await?;
    // Machines without PCI have no such command's answer; their disks have serial numbers only.
    let functions = match qmp.execute("query-pci", json!({})).await {
        Ok(buses) => pci_functions(&buses),
        Err(error) if !error.is_fatal() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut disks = Vec::new();
    for block in blocks.as_array().into_iter().flatten().take(MAX_DISKS) {
        let Some(mut disk) = disk(block) else { continue };
        let path = match disk.device.strip_prefix('/') {
            Some(_) => disk.device.clone(),
            None => format!("/machine/peripheral/{}", disk.device),
        };
        let serial = qmp.execute("qom-get", json!({ "path": path, "property": "serial" })).await;
        disk.serial = match serial {
            Ok(value) => value.as_str().filter(|serial| !serial.is_empty()).map(str::to_owned),
            Err(error) if !error.is_fatal() => None,
            Err(error) => return Err(error.into()),
        };
        let owner = functions.iter().find(|(id, _)| path.split('/').any(|part| part == id));
        disk.pci = owner.map(|(_, function)| function.clone());
        disks.push(disk);
    }
    Ok(disks)
}

/// One element of `query-block`; `None` without device or medium.
fn disk(block: &Value) -> Option<Disk> {
    let inserted = &block["inserted"];
    let device = block["qdev"].as_str().filter(|device| !device.is_empty())?;
    let file = inserted["file"].as_str()?;
    Some(Disk {
        device: device.to_owned(),
        serial: None,
        pci: None,
        node: inserted["node-name"].as_str().unwrap_or_default().to_owned(),
        source: source(inserted["drv"].as_str()?, file),
        direct: inserted["cache"]["direct"].as_bool().unwrap_or(false),
        bytes: inserted["image"]["virtual-size"].as_u64().unwrap_or(0),
    })
}

/// What QEMU's name of a file (`bdrv_refresh_filename`) stands for. `json:` names come with options
/// that a plain name cannot say; of those only plain `raw` over a file or an NBD export is followed.
fn source(format: &str, file: &str) -> Source {
    let other =
        || Source::Other { format: format.to_owned(), file: file.chars().take(256).collect() };
    if !matches!(format, "raw" | "file" | "host_device" | "nbd") {
        return other();
    }
    if let Some(text) = file.strip_prefix("json:") {
        let options: Value = serde_json::from_str(text).unwrap_or_default();
        return of_options(&options).unwrap_or_else(other);
    }
    if file.starts_with("nbd://") || file.starts_with("nbd+unix://") {
        return Source::Nbd(file.to_owned());
    }
    // Protocols of QEMU's own (`ssh://`, `rbd:`) are no paths.
    if file.starts_with('/') { Source::File(file.into()) } else { other() }
}

fn of_options(options: &Value) -> Option<Source> {
    match options["driver"].as_str()? {
        // A window of the file would shift every place.
        "raw" if options["offset"].as_u64().unwrap_or(0) == 0 && options["size"].is_null() => {
            of_options(&options["file"])
        }
        "file" | "host_device" => {
            let path = options["filename"].as_str().filter(|path| path.starts_with('/'))?;
            Some(Source::File(path.into()))
        }
        "nbd" if options["tls-creds"].is_null() => {
            let option = |nested: &str, flat: &str| {
                options["server"][nested].as_str().or_else(|| options[flat].as_str())
            };
            let export = options["export"].as_str().unwrap_or_default();
            match (option("host", "server.host"), option("path", "server.path")) {
                (Some(host), _) => {
                    let port = option("port", "server.port").unwrap_or("10809");
                    let host = if host.contains(':') { format!("[{host}]") } else { host.into() };
                    Some(Source::Nbd(format!("nbd://{host}:{port}/{export}")))
                }
                (None, Some(path)) => {
                    Some(Source::Nbd(format!("nbd+unix:///{export}?socket={path}")))
                }
                (None, None) => None,
            }
        }
        _ => None,
    }
}

/// Device id and function of all PCI devices of `query-pci`, bridges followed four deep.
fn pci_functions(buses: &Value) -> Vec<(String, String)> {
    let mut functions = Vec::new();
    let roots = buses.as_array().into_iter().flatten();
    let mut left: Vec<(&Value, u8)> = roots.map(|bus| (&bus["devices"], 0)).collect();
    while let Some((devices, depth)) = left.pop() {
        for device in devices.as_array().into_iter().flatten().take(MAX_DISKS) {
            let number = |name: &str| device[name].as_u64().filter(|number| *number < 256);
            let place = (number("bus"), number("slot"), number("function"));
            let id = device["qdev_id"].as_str().filter(|id| !id.is_empty());
            if let (Some(id), (Some(bus), Some(slot), Some(function))) = (id, place) {
                functions.push((id.to_owned(), format!("0000:{bus:02x}:{slot:02x}.{function:x}")));
            }
            let behind = &device["pci_bridge"]["devices"];
            if depth < 4 && behind.is_array() {
                left.push((behind, depth + 1));
            }
        }
    }
    functions
}

fn is_pci_function(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 12
        && name.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b':',
            10 => byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_followed_only_where_places_stay() {
        assert_eq!(source("raw", "/srv/a.img").uri().unwrap(), "file:/srv/a.img");
        assert_eq!(
            source("raw", "nbd://10.1.0.3:10809/data").uri().unwrap(),
            "nbd://10.1.0.3:10809/data"
        );
        let json = r#"json:{"driver": "raw", "file": {"driver": "nbd", "export": "data", "server": {"type": "inet", "host": "10.1.0.3", "port": "10809"}}}"#;
        assert_eq!(source("raw", json).uri().unwrap(), "nbd://10.1.0.3:10809/data");
        let flat =
            r#"json:{"driver": "nbd", "server.type": "unix", "server.path": "/s", "export": "d"}"#;
        assert_eq!(source("nbd", flat).uri().unwrap(), "nbd+unix:///d?socket=/s");
        let window = r#"json:{"driver": "raw", "offset": 1048576, "file": {"driver": "file", "filename": "/a"}}"#;
        assert_eq!(source("raw", window).uri(), None);
        assert_eq!(source("qcow2", "/srv/a.qcow2").uri(), None);
        assert_eq!(source("raw", "ssh://host/a").uri(), None);
        assert_eq!(source("raw", "json:{{{").uri(), None);
    }

    #[test]
    fn media_find_their_disk() {
        let disk = |serial: &str, pci: &str| Disk {
            device: "d".into(),
            serial: Some(serial.into()),
            pci: Some(pci.into()),
            node: "n".into(),
            source: Source::File("/a".into()),
            direct: true,
            bytes: 0,
        };
        let disks =
            [disk("a", "0000:00:04.0"), disk("b", "0000:00:05.0"), disk("b", "0000:00:06.0")];
        assert_eq!(find(&disks, "serial:a").unwrap().pci.as_deref(), Some("0000:00:04.0"));
        assert!(find(&disks, "serial:b").is_none(), "two disks, one serial number");
        assert!(find(&disks, "pci:0000:00:05.0").is_some());
        assert!(find(&disks, "path:pci0000:00/0000:00:06.0/virtio2").is_some());
        assert!(
            find(&disks, "path:pci0000:00/0000:00:06.0/ata1/host0/target0:0:0/0:0:0:0").is_none()
        );
        assert!(find(&disks, "serial:").is_none() && find(&disks, "wwid:x").is_none());
    }

    #[test]
    fn pci_functions_are_read_behind_bridges() {
        let buses = json!([{ "bus": 0, "devices": [
            { "bus": 0, "slot": 4, "function": 0, "qdev_id": "disk0" },
            { "bus": 0, "slot": 5, "function": 0, "qdev_id": "", "pci_bridge": { "devices": [
                { "bus": 1, "slot": 0, "function": 0, "qdev_id": "disk1" }
            ] } },
            { "bus": 300, "slot": 4, "function": 0, "qdev_id": "odd" }
        ] }]);
        let functions = pci_functions(&buses);
        assert_eq!(functions[0], ("disk0".into(), "0000:00:04.0".into()));
        assert_eq!(functions[1], ("disk1".into(), "0000:01:00.0".into()));
        assert_eq!(functions.len(), 2);
    }
}

//! Disks of a VM: what the guest calls them, and what they lie on at this host.
//!
//! A page list names disks as the guest sees them (`serial:...`, `wwid:...`, `pci:...`, `path:...`); QEMU reports
//! which device has that name or address (`names.rs`), and what is behind it (`backing.rs`). Both hosts query their own
//! QEMU, so the two sides may reach one disk in different ways. A name that fits two disks identifies none.

mod backing;
mod names;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

pub use self::backing::{Claim, Unreadable};
use self::backing::{DiskOwner, Node};
use self::names::Interface;
use super::GuestError;
use super::deadline::{self, GUEST_LIMIT};
use crate::open_files::{LOOKED, OpenFiles};
use crate::qmp::{Qmp, QmpError};

/// Most disks that are looked at.
const MAX_DISKS: usize = 1024;
/// Most nodes of the block layer that are looked at.
const MAX_NODES: usize = 1 << 14;
/// Most PCI devices of a bus that are looked at.
const MAX_FUNCTIONS: usize = 4096;
/// Longest name of QEMU's that is kept, in bytes; files may have longer ones, of 4096.
const MAX_NAME: usize = 1024;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The device as QEMU names it (id or path in the object tree).
    pub device: String,
    /// What page lists of the guest may call it (`serial:...`, `wwid:...`), beside its place.
    pub names: Vec<String>,
    /// PCI function that the guest sees, e.g. `0000:00:04.0`.
    pub pci: Option<String>,
    /// Its block node.
    pub node: String,
    /// What it lies on, or why that cannot be read from beside QEMU.
    pub backing: Result<Claim, Unreadable>,
    /// Whether QEMU goes round the host's page cache (`cache.direct=on`).
    pub direct: bool,
    /// Its size in bytes, 0 where QEMU does not report it.
    pub bytes: u64,
}

impl Disk {
    /// Whether a device of a page list is this disk.
    #[must_use]
    pub fn is(&self, device: &str) -> bool {
        let Some((kind, name)) = device.split_once(':') else { return false };
        match kind {
            "serial" | "wwid" => self.names.iter().any(|own| own == device),
            "pci" => self.pci.as_deref() == Some(name),
            // `pci0000:00/0000:00:04.0/virtio1`: the last function is the controller. One controller
            // of several disks (SCSI) is not identified by it.
            "path" => {
                let function = name.split('/').rfind(|part| is_pci_function(part));
                let one_disk = name.rsplit('/').next().is_some_and(|last| !last.contains(':'));
                one_disk && function.is_some() && self.pci.as_deref() == function
            }
            _ => false,
        }
    }
}

/// The one disk that a device names; `None` where no disk or several fit.
#[must_use]
pub fn find<'a>(disks: &'a [Disk], device: &str) -> Option<&'a Disk> {
    let mut fitting = disks.iter().filter(|disk| disk.is(device));
    fitting.next().filter(|_| fitting.next().is_none())
}

/// Names that several disks have, as the guest sees them, each with the devices.
#[must_use]
pub fn twins(disks: &[Disk]) -> BTreeMap<&str, Vec<&str>> {
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for disk in disks {
        for name in &disk.names {
            named.entry(name).or_default().push(&disk.device);
        }
    }
    named.retain(|_, devices| devices.len() > 1);
    named
}

/// The disks that QEMU has plugged into devices.
///
/// # Errors
/// When QEMU does not answer, or takes longer than 60 s for all of it; a disk that makes no sense is left out.
pub async fn of(qmp: &Qmp) -> Result<Vec<Disk>, GuestError> {
    within(GUEST_LIMIT, qmp).await
}

/// [`of`] with another limit.
pub(super) async fn within(limit: Duration, qmp: &Qmp) -> Result<Vec<Disk>, GuestError> {
    deadline::within(limit, "disks", all(qmp)).await
}

async fn all(qmp: &Qmp) -> Result<Vec<Disk>, GuestError> {
    let blocks = qmp.execute("query-block", json!({})).await?;
    let nodes = optional(qmp.execute("query-named-block-nodes", json!({ "flat": true })).await)?;
    let nodes: Vec<Node> = elements(&nodes).take(MAX_NODES).filter_map(node).collect();
    // Machines without PCI have no such command's answer; their disks have other names only.
    let functions = pci_functions(&optional(qmp.execute("query-pci", json!({})).await)?);
    // 0 is no process: relative paths are then not followed.
    let pid = qmp.peer_pid().unwrap_or(0);
    let reading = spawn_blocking(move || {
        let held = OpenFiles::look(pid, Instant::now() + LOOKED).ok();
        let qemu = DiskOwner { pid, held: held.as_ref() };
        let blocks = elements(&blocks).take(MAX_DISKS);
        blocks.filter_map(|block| disk(block, &nodes, &qemu)).collect::<Vec<_>>()
    });
    let mut disks = Vec::new();
    let mut namespaces = Vec::new();
    for mut disk in reading.await.map_err(GuestError::Fell)? {
        let path = match disk.device.strip_prefix('/') {
            Some(_) => disk.device.clone(),
            None => format!("/machine/peripheral/{}", disk.device),
        };
        let kind = property(qmp, &path, "type").await?;
        let interface = Interface::of(kind.as_str().unwrap_or_default());
        if interface == Interface::NvmeNamespace {
            namespaces.push(disks.len());
        } else {
            disk.names.extend(interface.serial(&property(qmp, &path, "serial").await?));
        }
        if interface.has_wwn() {
            disk.names.extend(interface.wwid(&property(qmp, &path, "wwn").await?));
        }
        let owner = functions.iter().find(|(id, _)| path.split('/').any(|part| part == id));
        disk.pci = owner.map(|(_, function)| function.clone());
        disks.push(disk);
    }
    if !namespaces.is_empty() {
        // Whichever controller it belongs to: where there are several, none is identified.
        let names = controllers(qmp).await?;
        for namespace in namespaces {
            disks[namespace].names.clone_from(&names);
        }
    }
    Ok(disks)
}

/// Serial numbers of all NVMe controllers, as names.
async fn controllers(qmp: &Qmp) -> Result<Vec<String>, QmpError> {
    let mut names = Vec::new();
    for folder in ["/machine/peripheral", "/machine/peripheral-anon"] {
        let children = optional(qmp.execute("qom-list", json!({ "path": folder })).await)?;
        let of_nvme = elements(&children).filter(|child| child["type"] == "child<nvme>");
        for name in of_nvme.filter_map(|child| child["name"].as_str()).take(MAX_DISKS) {
            let serial = property(qmp, &format!("{folder}/{name}"), "serial").await?;
            names.extend(Interface::NvmeController.serial(&serial));
        }
    }
    Ok(names)
}

/// Null where QEMU refuses it.
fn optional(answer: Result<Value, QmpError>) -> Result<Value, QmpError> {
    match answer {
        Err(error) if !error.is_fatal() => Ok(Value::Null),
        answer => answer,
    }
}

async fn property(qmp: &Qmp, path: &str, name: &str) -> Result<Value, QmpError> {
    optional(qmp.execute("qom-get", json!({ "path": path, "property": name })).await)
}

fn elements(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.as_array().into_iter().flatten()
}

fn node(node: &Value) -> Option<Node> {
    let text = |name: &str, most: usize| {
        node[name].as_str().filter(|text| text.len() <= most).map(str::to_owned)
    };
    Some(Node { driver: text("drv", MAX_NAME)?, text: text("file", 4 * MAX_NAME)? })
}

/// One element of `query-block`; `None` without device or device.
fn disk(block: &Value, nodes: &[Node], qemu: &DiskOwner<'_>) -> Option<Disk> {
    let inserted = &block["inserted"];
    let short = |text: &&str| text.len() <= MAX_NAME;
    let device = block["qdev"].as_str().filter(|device| !device.is_empty()).filter(short)?;
    let (driver, text) = (inserted["drv"].as_str()?, inserted["file"].as_str()?);
    Some(Disk {
        device: device.to_owned(),
        names: Vec::new(),
        pci: None,
        node: inserted["node-name"].as_str().filter(short).unwrap_or_default().to_owned(),
        backing: backing::of(driver, text, nodes, qemu).map(Claim::from),
        direct: inserted["cache"]["direct"].as_bool().unwrap_or(false),
        bytes: inserted["image"]["virtual-size"].as_u64().unwrap_or(0),
    })
}

/// Device id and function of all PCI devices of `query-pci`, bridges followed four deep.
fn pci_functions(buses: &Value) -> Vec<(String, String)> {
    let mut functions = Vec::new();
    let roots = buses.as_array().into_iter().flatten();
    let mut left: Vec<(&Value, u8)> = roots.map(|bus| (&bus["devices"], 0)).collect();
    while let Some((devices, depth)) = left.pop() {
        for device in devices.as_array().into_iter().flatten().take(MAX_FUNCTIONS) {
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
    use crate::storage::Address;

    #[test]
    fn devices_find_their_disk() {
        let disk = |serial: &str, pci: &str| Disk {
            device: "d".into(),
            names: vec![format!("serial:{serial}"), "wwid:naa.5000000000000001".into()],
            pci: Some(pci.into()),
            node: "n".into(),
            backing: Ok(Address::File("/a".into()).into()),
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
        let wwid = "wwid:naa.5000000000000001";
        assert!(find(&disks[..1], wwid).is_some() && find(&disks, wwid).is_none());
        assert!(find(&disks[..1], "wwid:a").is_none(), "a name of another kind");
        assert_eq!(twins(&disks)["serial:b"], ["d", "d"]);
        assert_eq!(twins(&disks).len(), 2);
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

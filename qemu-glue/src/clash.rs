//! What does not go together with skipped pages: one table for the source, the destination and both doctors.
//!
//! The library in QEMU has its own list ([`shim_abi::SETTINGS`]), as it queries QEMU itself at the last moment.

use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError};

/// Capabilities under which a skipped page can be lost, or a restored one discarded or overwritten.
pub(crate) const CAPABILITIES: [&str; 6] = [
    "postcopy-ram",
    "x-ignore-shared",
    "background-snapshot",
    "x-colo",
    "mapped-ram",
    "rdma-pin-all",
];
/// Capabilities that both sides must have, or both not: they change the stream.
pub(crate) const OF_BOTH: [&str; 2] = ["multifd", "compress"];
/// Devices that pin the guest's RAM, or log its writes in a way that undoes the skip, by the start of their QEMU type.
const DEVICES: [&str; 5] =
    ["vfio-", "vhost-vdpa", "nvme-vfio", "virtio-blk-vfio", "virtio-blk-vhost-vdpa"];
/// Block drivers that do so.
const BLOCK_DRIVERS: [&str; 3] = ["nvme", "virtio-blk-vfio-pci", "virtio-blk-vhost-vdpa"];

/// What keeps RAM from being skipped and restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// A device of this type reads and writes RAM past QEMU.
    Device(String),
    /// A block driver does.
    BlockDriver(String),
    /// A network backend does.
    VdpaNetwork,
    /// RAM is encrypted.
    Encrypted,
}

/// All of it that this QEMU has.
///
/// # Errors
/// When the monitor fails, or QEMU does not report it.
pub(crate) async fn pinned(qmp: &Qmp) -> Result<Vec<Clash>, QmpError> {
    let mut found = Vec::new();
    for folder in ["/machine/peripheral", "/machine/peripheral-anon"] {
        let children = qmp.execute("qom-list", json!({ "path": folder })).await?;
        for child in children.as_array().into_iter().flatten() {
            let kind = child["type"].as_str().unwrap_or_default();
            let kind = kind.strip_prefix("child<").and_then(|kind| kind.strip_suffix('>'));
            let pins = |kind: &&str| DEVICES.iter().any(|pinning| kind.starts_with(pinning));
            found.extend(kind.filter(pins).map(|kind| Clash::Device(shortened(kind))));
        }
    }
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    for node in nodes.as_array().into_iter().flatten() {
        let driver = node["drv"].as_str().unwrap_or_default();
        if BLOCK_DRIVERS.contains(&driver) {
            found.push(Clash::BlockDriver(shortened(driver)));
        }
    }
    // `vhost-vdpa` network backends are devices of type virtio-net: only the monitor names them.
    if qmp.hmp("info network").await?.contains("type=vhost-vdpa") {
        found.push(Clash::VdpaNetwork);
    }
    if is_encrypted(qmp).await? {
        found.push(Clash::Encrypted);
    }
    Ok(found)
}

async fn is_encrypted(qmp: &Qmp) -> Result<bool, QmpError> {
    let secret = json!({ "path": "/machine", "property": "confidential-guest-support" });
    match qmp.execute("qom-get", secret).await {
        Ok(Value::String(path)) if !path.is_empty() => return Ok(true),
        // Machines without the property cannot encrypt.
        Err(error) if error.is_fatal() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // Only builds with SEV have the command.
    match qmp.execute("query-sev", json!({})).await {
        Ok(sev) => Ok(sev["enabled"] == true),
        Err(error) if error.is_fatal() => Err(error),
        Err(_) => Ok(false),
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What is found of a QEMU that answers a command so, and all others as one does that has nothing of it.
    async fn found(command: &'static str, answer: Value) -> Vec<Clash> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        // It ends with the connection.
        thread::spawn(move || {
            let (mut out, _) = listener.accept().unwrap();
            let version = json!({"qemu": {"major": 10, "minor": 0, "micro": 2}});
            writeln!(out, "{}", json!({"QMP": {"version": version, "capabilities": []}})).unwrap();
            for line in BufReader::new(out.try_clone().unwrap()).lines() {
                let Ok(Ok(request)) = line.map(|line| serde_json::from_str::<Value>(&line)) else {
                    return;
                };
                let value = match request["execute"].as_str().unwrap() {
                    name if name == command => answer.clone(),
                    "human-monitor-command" => json!("net0: type=user"),
                    "qom-get" => json!(""),
                    "query-sev" => json!({"enabled": false}),
                    _ => json!([]),
                };
                let _ = writeln!(out, "{}", json!({"id": request["id"], "return": value}));
            }
        });
        let qmp = Qmp::connect(&path).await.unwrap();
        pinned(&qmp).await.unwrap()
    }

    /// The source looked at devices alone, the destination at all of it but for `query-sev`.
    #[tokio::test]
    async fn whatever_pins_ram_is_found_for_both_sides() {
        assert_eq!(found("nothing", json!([])).await, []);
        let device = |kind: &str| json!([{"type": "child<virtio-net-pci>"}, {"type": format!("child<{kind}>")}]);
        for kind in ["vfio-pci", "vhost-vdpa-device-pci", "virtio-blk-vhost-vdpa", "nvme-vfio"] {
            let all = found("qom-list", device(kind)).await;
            assert_eq!(all, [(); 2].map(|()| Clash::Device(kind.to_owned())), "one a folder");
        }
        let nodes = json!([{"drv": "file"}, {"drv": "nvme"}]);
        let driver = Clash::BlockDriver("nvme".to_owned());
        assert_eq!(found("query-named-block-nodes", nodes).await, [driver]);
        let network = json!("net0: index=0,type=vhost-vdpa");
        assert_eq!(found("human-monitor-command", network).await, [Clash::VdpaNetwork]);
        assert_eq!(found("qom-get", json!("/objects/sev0")).await, [Clash::Encrypted]);
        assert_eq!(found("query-sev", json!({"enabled": true})).await, [Clash::Encrypted]);
    }

    /// What the library refuses as a capability both sides refuse before.
    #[test]
    fn the_library_refuses_no_capability_that_both_sides_allow() {
        let capabilities = shim_abi::SETTINGS
            .into_iter()
            .filter(|name| !name.starts_with("zero-page") && *name != "mode");
        for name in capabilities {
            assert!(CAPABILITIES.contains(&name), "{name}");
        }
    }
}

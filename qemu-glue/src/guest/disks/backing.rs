//! What a disk lies on, as one typed address: no text is made of it and read again.
//!
//! QEMU names a backing device by a text that is for people (`bdrv_refresh_filename`): an NBD export is written without
//! encoding, a host of IPv6 without brackets. It is read here by its own rules, and only where they leave no doubt; `json:`
//! texts have every option by itself. QEMU's list of nodes has the driver that wrote it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foreign::Text;
use serde_json::Value;
use thiserror::Error;

use crate::open_files::OpenFiles;
use crate::storage::{Address, Export, NbdServer, Storage, StorageError};

/// IANA's port of NBD.
const NBD_PORT: &str = "10809";
/// `raw` upon `raw` is followed so deep.
const MAX_DEPTH: u8 = 4;

/// What a disk lies on by QEMU's account. It is opened only where QEMU has it open itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(Address);

impl Claim {
    /// The address that QEMU named.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.0
    }

    /// Opens it, where the QEMU that named it has it open.
    ///
    /// # Errors
    /// As [`Storage::open_held`].
    pub async fn open(&self, held: &Arc<OpenFiles>) -> Result<Storage, StorageError> {
        Storage::open_held(&self.0, held).await
    }
}

impl From<Address> for Claim {
    fn from(address: Address) -> Self {
        Self(address)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The QEMU whose disks these are.
pub(super) struct DiskOwner<'a> {
    /// Its process.
    pub(super) pid: u32,
    /// What that has open, where it can be looked at.
    pub(super) held: Option<&'a OpenFiles>,
}

/// Why a disk cannot be read from beside QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Neither raw nor NBD.
    #[error("it is `{0}`, and neither raw nor NBD")]
    Format(Text),
    /// A part of a file, so that every place is another one.
    #[error("it is a part of its file (raw with `offset`)")]
    Part,
    /// NBD over TLS.
    #[error("its NBD server wants TLS")]
    Tls,
    /// QEMU's relative path leads to something else from where QEMU is now.
    #[error("QEMU has it open by the relative path `{0}`, which does not lead there any more")]
    Relative(Text),
    /// QEMU's text of it may mean several things, or is none that is known.
    #[error("QEMU describes it as `{0}`, which is not enough to find it")]
    Unclear(Text),
}

impl Unreadable {
    /// What an operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Relative(_) => {
                "name it for QEMU by its whole path, or for `receive` with `--disk NAME=file:PATH`"
            }
            Self::Part => {
                "serve that part by itself, and name it for `receive` with `--disk NAME=URI`"
            }
            _ => "name it for `receive` with `--disk NAME=URI`, if that host can read it otherwise",
        }
    }

    fn unclear(text: &str) -> Self {
        Self::Unclear(text.into())
    }
}

/// A node of QEMU's block layer: its driver, and QEMU's text of what it is.
pub(super) struct Node {
    pub(super) driver: String,
    pub(super) text: String,
}

/// The backing device of a disk whose top node has this driver and text.
pub(super) fn of(
    driver: &str,
    text: &str,
    nodes: &[Node],
    qemu: &DiskOwner<'_>,
) -> Result<Address, Unreadable> {
    match driver {
        "raw" | "file" | "host_device" | "nbd" => {}
        _ => return Err(Unreadable::Format(driver.into())),
    }
    if let Some(json) = text.strip_prefix("json:") {
        let options: Value = serde_json::from_str(json).map_err(|_| Unreadable::unclear(text))?;
        return of_options(&options, qemu, MAX_DEPTH)
            .unwrap_or_else(|| Err(Unreadable::unclear(text)));
    }
    if driver != "raw" {
        return of_text(driver, text, qemu);
    }
    // The text is that of the protocol below: its own node shows which one.
    let mut protocols = nodes.iter().filter(|node| node.text == text && node.driver != "raw");
    let first = protocols.next().ok_or_else(|| Unreadable::unclear(text))?;
    if protocols.any(|node| node.driver != first.driver) {
        return Err(Unreadable::unclear(text));
    }
    of_text(&first.driver, text, qemu)
}

/// Of a protocol's own text.
fn of_text(driver: &str, text: &str, qemu: &DiskOwner<'_>) -> Result<Address, Unreadable> {
    match driver {
        "file" | "host_device" => file(text, qemu),
        "nbd" => {
            let server = match text.strip_prefix("nbd+unix:///") {
                Some(rest) => unix_text(rest),
                None => text.strip_prefix("nbd://").and_then(tcp_text),
            };
            let (server, name) = server.ok_or_else(|| Unreadable::unclear(text))?;
            export(server, name, qemu)
        }
        _ => Err(Unreadable::Format(driver.into())),
    }
}

/// `HOST:PORT`, `HOST:PORT/EXPORT`, nothing encoded: an export may have any letter, a port has no colon.
fn tcp_text(rest: &str) -> Option<(NbdServer, &str)> {
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.rsplit_once(':')?;
    tcp(host, port).map(|server| (server, name))
}

/// `EXPORT?socket=PATH`, nothing encoded: both may have the words between them.
fn unix_text(rest: &str) -> Option<(NbdServer, &str)> {
    let (name, path) = rest.split_once("?socket=")?;
    (!path.contains("?socket=")).then(|| (NbdServer::Unix(path.into()), name))
}

fn tcp(host: &str, port: &str) -> Option<NbdServer> {
    let sound = !host.is_empty() && !host.contains(['/', '[', ']', ' ']);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    sound.then(|| NbdServer::Tcp { host: host.to_owned(), port })
}

/// Of options, as `json:` texts have them; `None` where they are not understood.
fn of_options(
    options: &Value,
    qemu: &DiskOwner<'_>,
    depth: u8,
) -> Option<Result<Address, Unreadable>> {
    match options["driver"].as_str()? {
        "raw" => {
            if !is_zero(&options["offset"]) {
                return Some(Err(Unreadable::Part));
            }
            of_options(&options["file"], qemu, depth.checked_sub(1)?)
        }
        "file" | "host_device" => Some(file(options["filename"].as_str()?, qemu)),
        "nbd" if !options["tls-creds"].is_null() => Some(Err(Unreadable::Tls)),
        "nbd" => {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            // Nested or flat, and the older names.
            let option = |name: &str| {
                text(&options["server"][name])
                    .or_else(|| text(&options[format!("server.{name}")]))
                    .or_else(|| text(&options[name]))
            };
            let name = text(&options["export"]).unwrap_or_default();
            let server = match (option("host"), option("path")) {
                (Some(host), None) => tcp(&host, option("port").as_deref().unwrap_or(NBD_PORT))?,
                (None, Some(path)) => NbdServer::Unix(path.into()),
                _ => return None,
            };
            let abstract_socket = option_is_on(options, "abstract");
            (!abstract_socket).then(|| export(server, &name, qemu))
        }
        driver => Some(Err(Unreadable::Format(driver.into()))),
    }
}

fn option_is_on(options: &Value, name: &str) -> bool {
    let values = [&options["server"][name], &options[format!("server.{name}")]];
    values.into_iter().any(|value| value == &Value::Bool(true) || value == "on" || value == "true")
}

/// Absent, 0, or the text `0`: `-drive` has texts where `-blockdev` has numbers.
fn is_zero(offset: &Value) -> bool {
    offset.is_null() || offset.as_u64() == Some(0) || offset == "0"
}

fn export(server: NbdServer, name: &str, qemu: &DiskOwner<'_>) -> Result<Address, Unreadable> {
    let server = match server {
        NbdServer::Unix(path) if path.is_relative() => {
            NbdServer::Unix(at_qemu(qemu.pid, &path).ok_or_else(|| relative(&path))?)
        }
        server => server,
    };
    Ok(Address::Nbd(Export { server, name: name.to_owned() }))
}

/// A path as QEMU was given it. A relative one counts only when it leads to a file that QEMU has open: QEMU may have
/// gone elsewhere since (`-daemonize`), or see other mounts than we do.
fn file(text: &str, qemu: &DiskOwner<'_>) -> Result<Address, Unreadable> {
    let path = Path::new(text);
    if text.is_empty() || text.starts_with("/dev/fdset/") {
        return Err(Unreadable::unclear(text));
    }
    if path.is_absolute() {
        return Ok(Address::File(path.to_owned()));
    }
    let is_held = |whole: &PathBuf| {
        let found = foreign_file::find(whole);
        found.is_ok_and(|found| qemu.held.is_some_and(|held| held.has(&found)))
    };
    at_qemu(qemu.pid, path).filter(is_held).map(Address::File).ok_or_else(|| relative(path))
}

fn relative(path: &Path) -> Unreadable {
    Unreadable::Relative(path.into())
}

/// Where a relative path leads from QEMU's folder.
fn at_qemu(pid: u32, path: &Path) -> Option<PathBuf> {
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    folder.is_absolute().then(|| folder.join(path))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    const NOBODY: DiskOwner<'static> = DiskOwner { pid: 0, held: None };

    fn node(driver: &str, text: &str) -> Node {
        Node { driver: driver.into(), text: text.into() }
    }

    /// Of a raw disk upon this protocol.
    fn raw(protocol: &str, text: &str) -> Result<Address, Unreadable> {
        let nodes = [node("raw", text), node("file", "/other"), node(protocol, text)];
        let pid = std::process::id();
        let held = OpenFiles::look(pid, Instant::now() + Duration::from_secs(10)).unwrap();
        of("raw", text, &nodes, &DiskOwner { pid, held: Some(&held) })
    }

    fn nbd(host: &str, name: &str) -> Address {
        let server = NbdServer::Tcp { host: host.into(), port: 10809 };
        Address::Nbd(Export { server, name: name.into() })
    }

    /// The texts are those of QEMU 10.0 for these exports.
    #[test]
    fn exports_are_what_qemu_was_given() {
        for (text, address) in [
            ("nbd://10.1.0.3:10809/data", nbd("10.1.0.3", "data")),
            ("nbd://::1:10809/x", nbd("::1", "x")),
            ("nbd://127.0.0.1:10809", nbd("127.0.0.1", "")),
            ("nbd://127.0.0.1:10809/", nbd("127.0.0.1", "")),
            ("nbd://::1:10809/a b%20c?d=e/f", nbd("::1", "a b%20c?d=e/f")),
        ] {
            assert_eq!(raw("nbd", text).unwrap(), address);
            assert_eq!(of("nbd", text, &[], &NOBODY).unwrap(), address);
        }
        let unix = raw("nbd", "nbd+unix:///data?socket=/run/s o%ck").unwrap();
        let server = NbdServer::Unix("/run/s o%ck".into());
        assert_eq!(unix, Address::Nbd(Export { server, name: "data".into() }));
        // From QEMU's folder, which is this process's.
        let own = std::env::current_dir().unwrap().join("s");
        let relative = "nbd+unix:///data?socket=s";
        let server = NbdServer::Unix(own);
        assert_eq!(
            raw("nbd", relative).unwrap(),
            Address::Nbd(Export { server, name: "data".into() })
        );
        assert!(matches!(of("nbd", relative, &[], &NOBODY), Err(Unreadable::Relative(_))));
        let twice = "nbd+unix:///a?socket=/b?socket=/c";
        assert!(matches!(raw("nbd", twice), Err(Unreadable::Unclear(_))));
        for text in ["nbd://h", "nbd://h:nbd/x", "nbd://:1/x", "nbd+unix://?socket=/a"] {
            assert!(matches!(raw("nbd", text), Err(Unreadable::Unclear(_))), "{text}");
        }
    }

    #[test]
    fn options_say_each_thing_by_itself() {
        let of_json = |options: Value| of("raw", &format!("json:{options}"), &[], &NOBODY);
        let flat = json!({ "driver": "raw", "file": {
            "driver": "nbd", "export": "x", "server.type": "inet", "server.host": "::1",
            "server.port": "10809", "server.ipv6": true,
        } });
        assert_eq!(of_json(flat).unwrap(), nbd("::1", "x"));
        let nested = json!({ "driver": "nbd", "server": { "type": "inet", "host": "h" } });
        assert_eq!(of_json(nested).unwrap(), nbd("h", ""));
        let tls = json!({ "driver": "nbd", "host": "h", "tls-creds": "tls0" });
        assert_eq!(of_json(tls), Err(Unreadable::Tls));
        let hidden = json!({ "driver": "nbd", "server.path": "/s", "server.abstract": true });
        assert!(matches!(of_json(hidden), Err(Unreadable::Unclear(_))));
        let qcow2 = json!({ "driver": "raw", "file": { "driver": "qcow2" } });
        assert_eq!(of_json(qcow2), Err(Unreadable::Format("qcow2".into())));
        assert!(matches!(of("raw", "json:{{{", &[], &NOBODY), Err(Unreadable::Unclear(_))));
    }

    #[test]
    fn a_part_of_a_file_is_none_of_ours() {
        let file = json!({ "driver": "file", "filename": "/a" });
        let of_part = |part: Value| {
            let mut options = json!({ "driver": "raw", "file": file });
            options.as_object_mut().unwrap().append(part.clone().as_object_mut().unwrap());
            of("raw", &format!("json:{options}"), &[], &NOBODY)
        };
        for part in
            [json!({ "offset": 512 }), json!({ "offset": "1048576" }), json!({ "offset": "1M" })]
        {
            assert_eq!(of_part(part), Err(Unreadable::Part));
        }
        // Shorter only: every place is what it is.
        for part in [json!({ "offset": 0 }), json!({ "offset": "0", "size": "4096" }), json!({})] {
            assert_eq!(of_part(part), Ok(Address::File("/a".into())));
        }
        let below =
            json!({ "driver": "raw", "file": { "driver": "raw", "offset": "1", "file": file } });
        assert_eq!(of("raw", &format!("json:{below}"), &[], &NOBODY), Err(Unreadable::Part));
    }

    #[test]
    fn what_wrote_a_text_says_what_it_means() {
        assert_eq!(raw("file", "/srv/a.img").unwrap(), Address::File("/srv/a.img".into()));
        assert_eq!(raw("host_device", "/dev/vg/a").unwrap(), Address::File("/dev/vg/a".into()));
        // A file may be called as it likes.
        assert!(matches!(raw("file", "nbd://h:1/x"), Err(Unreadable::Relative(_))));
        assert_eq!(raw("ssh", "ssh://h/a"), Err(Unreadable::Format("ssh".into())));
        assert_eq!(of("qcow2", "/srv/a", &[], &NOBODY), Err(Unreadable::Format("qcow2".into())));
        let both = [node("file", "/a"), node("host_device", "/a")];
        assert!(matches!(of("raw", "/a", &both, &NOBODY), Err(Unreadable::Unclear(_))));
        assert!(matches!(raw("file", "/dev/fdset/3"), Err(Unreadable::Unclear(_))));
    }

    #[test]
    fn a_relative_path_counts_only_where_qemu_has_the_file_open() {
        // This process is the QEMU here.
        let file = tempfile::NamedTempFile::new_in(std::env::current_dir().unwrap()).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        let name = name.as_str();
        assert_eq!(raw("file", name).unwrap(), Address::File(file.path().to_owned()));
        let path = file.into_temp_path();
        assert!(matches!(raw("file", name), Err(Unreadable::Relative(_))), "closed");
        path.close().unwrap();
        assert!(matches!(raw("file", name), Err(Unreadable::Relative(_))), "gone");
    }
}

//! Disks as real QEMUs report them: what the guest calls each, and what each lies on.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_glue::doctor::{self, Verdict};
use qemu_glue::guest::disks::{self, Disk, Unreadable};
use qemu_glue::open_files::OpenFiles;
use qemu_glue::storage::{Address, BufferPool, Export, NbdServer};
use serde_json::json;

use crate::qemu::{Place, Vm, newest, page, releases};

/// As OpenStack names a volume.
const UUID: &str = "3f1a1d0e-7b52-4c5e-9b1a-6c54d8f2a9b0";
/// Another volume, whose first 20 characters are the same.
const TWIN: &str = "3f1a1d0e-7b52-4c5e-9fff-000000000001";

fn of<'a>(disks: &'a [Disk], node: &str) -> &'a Disk {
    disks.iter().find(|disk| disk.node == node).unwrap_or_else(|| panic!("no {node}: {disks:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_are_called_what_the_guest_sees() {
    let serial = |device: &str, serial: &str| format!("{device},serial={serial}");
    for qemu in releases("disks_are_called_what_the_guest_sees") {
        let place = Place::new();
        let nodes: Vec<String> =
            (0..9).map(|n| format!("driver=null-co,node-name=n{n},size=1048576")).collect();
        let devices = [
            serial("virtio-blk-pci,drive=n0", UUID),
            serial("virtio-blk-pci,drive=n1", TWIN),
            "virtio-scsi-pci,id=scsi".to_owned(),
            // Newer releases want a name of its own for page 0x83 beside a long number, as libvirt gives.
            serial("scsi-hd,drive=n2,bus=scsi.0,device_id=n2", UUID),
            "scsi-hd,drive=n3,bus=scsi.0,wwn=0x5000c50015591234".to_owned(),
            serial("ide-hd,drive=n4,bus=ide.0", UUID),
            serial("nvme,drive=n5", "nvme-with-20-letters"),
            serial("nvme,id=ctrl", "other"),
            "nvme-ns,drive=n6,bus=ctrl".to_owned(),
            "virtio-blk-pci,drive=n7".to_owned(),
            serial("virtio-blk-pci,drive=n8", "a\u{e9}b c"),
        ];
        let mut arguments = Vec::new();
        nodes.iter().for_each(|node| arguments.extend(["-blockdev", node]));
        devices.iter().for_each(|device| arguments.extend(["-device", device]));
        let vm = Vm::destination(&qemu, &place, None, &arguments);
        let disks = disks::of(&vm.qmp().await).await.unwrap();
        let names = |node: &str| of(&disks, node).names.join(" ");
        let release = qemu.release();
        assert_eq!(names("n0"), "serial:3f1a1d0e-7b52-4c5e-9", "{release}");
        assert_eq!(names("n2"), format!("serial:{UUID}"), "{release}");
        assert_eq!(names("n3"), "wwid:naa.5000c50015591234", "{release}");
        assert_eq!(names("n4"), "serial:3f1a1d0e-7b52-4c5e-9", "{release}");
        assert_eq!(names("n5"), "serial:nvme-with-20-letters", "{release}");
        // Whose namespace it is cannot be seen from outside: of two controllers it is nobody's.
        let mut namespace = of(&disks, "n6").names.clone();
        namespace.sort();
        assert_eq!(namespace, ["serial:nvme-with-20-letters", "serial:other"], "{release}");
        assert_eq!(names("n7"), "", "{release}");
        assert_eq!(names("n8"), "serial:a\u{e9}b c", "{release}");

        let find = |device: &str| disks::find(&disks, device).map(|disk| disk.node.as_str());
        assert_eq!(find(&format!("serial:{UUID}")), Some("n2"));
        assert_eq!(find("serial:3f1a1d0e-7b52-4c5e-9"), None, "three disks");
        assert_eq!(find("serial:nvme-with-20-letters"), None, "a controller and a namespace");
        assert_eq!(find("serial:other"), Some("n6"));
        assert_eq!(find("wwid:naa.5000c50015591234"), Some("n3"));
        let findings = doctor::examine(&vm.socket, None, &[]).await.unwrap();
        let twins =
            findings.iter().find(|finding| finding.what.contains("cannot distinguish disks"));
        assert_eq!(twins.unwrap().verdict, Verdict::Warning, "{findings:#?}");
    }
}

/// A `qemu-nbd` that serves a disk; it ends with this.
struct Nbd(Child);

impl Nbd {
    /// `None`, with the skip line, where there is none.
    fn start(
        test: &str,
        disk: &Path,
        arguments: &[&str],
        serves: impl Fn() -> bool,
    ) -> Option<Self> {
        let mut command = Command::new("qemu-nbd");
        command.args(["--read-only", "--persistent", "--shared=0", "--format=raw"]).args(arguments);
        let child = match command.arg(disk).stdout(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: {test}: `qemu-nbd` does not start: {error}");
                return None;
            }
        };
        let mut nbd = Self(child);
        let begun = Instant::now();
        while !serves() {
            assert!(nbd.0.try_wait().unwrap().is_none(), "qemu-nbd ended: {arguments:?}");
            assert!(begun.elapsed() < Duration::from_secs(20), "qemu-nbd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nbd)
    }

    fn tcp(test: &str, disk: &Path, host: &str, export: &[&str]) -> Option<(Self, u16)> {
        // Free a moment ago; nobody else here takes ports by number.
        let Ok(listener) = TcpListener::bind((host, 0)) else {
            println!("skipped: {test}: this machine has no {host}");
            return None;
        };
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let number = port.to_string();
        let arguments = [&["--bind", host, "--port", &number], export].concat();
        let serves = || std::net::TcpStream::connect((host, port)).is_ok();
        Some((Self::start(test, disk, &arguments, serves)?, port))
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn export(server: NbdServer, name: &str) -> Address {
    Address::Nbd(Export { server, name: name.into() })
}

fn raw_over_nbd(node: &str, protocol: serde_json::Value) -> String {
    let mut protocol = protocol;
    protocol["driver"] = "nbd".into();
    protocol["read-only"] = true.into();
    json!({ "driver": "raw", "node-name": node, "read-only": true, "file": protocol }).to_string()
}

/// The path from this process's folder, which is QEMU's too.
fn relative(path: &Path) -> PathBuf {
    let depth = env::current_dir().unwrap().components().count() - 1;
    let up: PathBuf = (0..depth).map(|_| "..").collect();
    up.join(path.strip_prefix("/").unwrap())
}

/// What QEMU was given is what is read, whatever it makes of it in its texts.
#[tokio::test(flavor = "multi_thread")]
async fn backing_devices_are_those_that_qemu_was_given() {
    const ODD: &str = "a b%20c?d=e/f";
    let test = "backing_devices_are_those_that_qemu_was_given";
    let place = Place::new();
    let disk = place.path("disk.raw");
    let socket = place.path("s o%ck?x");
    let Some((_six, port6)) = Nbd::tcp(test, &disk, "::1", &["--export-name", ODD]) else { return };
    let Some((_four, port4)) = Nbd::tcp(test, &disk, "127.0.0.1", &[]) else { return };
    let by_socket = ["--socket", socket.to_str().unwrap(), "--export-name", ODD];
    let serves = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let Some(_unix) = Nbd::start(test, &disk, &by_socket, serves) else { return };

    let inet =
        |host: &str, port: u16| json!({ "type": "inet", "host": host, "port": port.to_string() });
    let tcp = |host: &str, port| NbdServer::Tcp { host: host.into(), port };
    let unix = || NbdServer::Unix(socket.clone());
    let nodes = [
        raw_over_nbd("six", json!({ "export": ODD, "server": inet("::1", port6) })),
        raw_over_nbd("default", json!({ "server": inet("127.0.0.1", port4) })),
        raw_over_nbd("empty", json!({ "export": "", "server": inet("127.0.0.1", port4) })),
        raw_over_nbd(
            "unix",
            json!({ "export": ODD, "server": { "type": "unix", "path": socket } }),
        ),
    ];
    let relative = relative(&disk);
    let drives = [
        format!("if=none,id=rel,read-only=on,format=raw,file={}", relative.display()),
        // Texts where `-blockdev` has numbers.
        format!(
            "if=none,id=part,read-only=on,driver=raw,offset=8192,file.filename={}",
            disk.display()
        ),
        format!(
            "if=none,id=zero,read-only=on,driver=raw,offset=0,size=4096,file.filename={}",
            disk.display()
        ),
    ];
    let names = ["six", "default", "empty", "unix", "rel", "part", "zero"];
    let devices = names.map(|name| format!("virtio-blk-pci,drive={name},serial={name}"));
    let mut arguments = Vec::new();
    nodes.iter().for_each(|node| arguments.extend(["-blockdev", node]));
    drives.iter().for_each(|drive| arguments.extend(["-drive", drive]));
    devices.iter().for_each(|device| arguments.extend(["-device", device]));

    for qemu in releases(test) {
        let vm = Vm::destination(&qemu, &place, None, &arguments);
        let qmp = vm.qmp().await;
        let found = disks::of(&qmp).await.unwrap();
        let held = Arc::new(OpenFiles::of(qmp.peer_pid().unwrap()).await.unwrap());
        let backing =
            |name: &str| disks::find(&found, &format!("serial:{name}")).unwrap().backing.clone();
        let release = qemu.release();
        let pool = BufferPool::new(1, 4096);
        for (name, wanted) in [
            ("six", export(tcp("::1", port6), ODD)),
            ("default", export(tcp("127.0.0.1", port4), "")),
            ("empty", export(tcp("127.0.0.1", port4), "")),
            ("unix", export(unix(), ODD)),
            ("rel", Address::File(env::current_dir().unwrap().join(&relative))),
            ("zero", Address::File(disk.clone())),
            ("data", Address::File(disk.clone())),
        ] {
            let claim = backing(name).unwrap();
            assert_eq!(claim.address(), &wanted, "{name} of {release}");
            let text = wanted.to_string();
            assert_eq!(text.parse::<Address>().unwrap(), wanted, "{text}");
            // What QEMU names is what it has open.
            let storage = claim.open(&held).await.unwrap();
            let read = storage.read(7 * 4096, 4096, pool.take().await.unwrap()).await.unwrap();
            assert_eq!(read.filled(), page(7), "{name} of {release}");
        }
        assert_eq!(backing("part"), Err(Unreadable::Part), "{release}");
    }
}

/// What `doctor` says at the destination is what `receive` will meet.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_opens_what_receive_will_read() {
    let test = "doctor_opens_what_receive_will_read";
    let Some(qemu) = newest(test) else { return };
    let place = Place::new();
    let disk = place.path("disk.raw");
    let Some((nbd, port)) = Nbd::tcp(test, &disk, "127.0.0.1", &["--export-name", "x y"]) else {
        return;
    };
    let server = json!({ "type": "inet", "host": "127.0.0.1", "port": port.to_string() });
    let node = raw_over_nbd("remote", json!({ "export": "x y", "server": server }));
    let arguments = ["-blockdev", &node, "-device", "virtio-blk-pci,drive=remote,serial=remote"];
    let vm = Vm::destination(&qemu, &place, None, &arguments);
    let examined = async |overrides: &[(String, Address)]| {
        let findings = doctor::examine(&vm.socket, None, overrides).await.unwrap();
        let remote = findings.into_iter().find(|finding| finding.what.contains("serial:remote"));
        remote.unwrap_or_else(|| panic!("nothing of the disk"))
    };
    let finding = examined(&[]).await;
    assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    assert!(finding.what.contains(&format!("nbd://127.0.0.1:{port}/x%20y")), "{finding:?}");
    drop(nbd);
    let finding = examined(&[]).await;
    assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
    assert!(finding.what.contains("cannot be read"), "{finding:?}");
    // Elsewhere, as with `receive --disk`; and elsewhere and too short.
    let at = |path: &Path| [("serial:remote".to_owned(), Address::File(path.to_owned()))];
    assert_eq!(examined(&at(&disk)).await.verdict, Verdict::Ok);
    // A name that no disk has.
    let wrong = [("serial:nope".to_owned(), Address::File(disk.clone()))];
    let findings = doctor::examine(&vm.socket, None, &wrong).await.unwrap();
    let finding = findings.iter().find(|finding| finding.what.contains("serial:nope")).unwrap();
    assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
    assert!(finding.what.contains("it has serial:data") && finding.hint.is_some(), "{finding:?}");
    // A file that is not there: the remedy stands once.
    let finding = examined(&at(&place.path("none.raw"))).await;
    let text = format!("{} {}", finding.what, finding.hint.unwrap());
    assert_eq!(text.matches("--disk").count(), 1, "{text}");
    let short = place.path("short.raw");
    std::fs::File::create(&short).unwrap().set_len(4096).unwrap();
    let finding = examined(&at(&short)).await;
    assert!(
        finding.verdict == Verdict::Warning && finding.what.contains("4096 bytes"),
        "{finding:?}"
    );
}

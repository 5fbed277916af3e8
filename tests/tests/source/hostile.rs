//! Guests whose agent sends what would cost the host's program much: it takes no more than it may, and the VM runs on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use page_wire::protocol::{Copied, MAX_REPLY_BYTES, ReplyBody, RequestBody};
use page_wire::{Device, Facts, Run, encode, encode_head};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent;
use crate::fixture::{Fixture, Setting};
use crate::guest::MEMORY;
use crate::lab::{self, Lab};

/// 64 MiB, and 1 % of the VM's RAM.
const MOST_KIB: u64 = (64 << 10) + MEMORY / 100 / 1024;

/// The agent's replies.
struct Guest {
    name: &'static str,
    list: Vec<u8>,
    /// Written into each answer, beside what it has to say.
    padding: String,
}

fn guest(name: &'static str, list: Vec<u8>, padding: String) -> Guest {
    Guest { name, list, padding }
}

/// `text` over and over, as often as an answer has room for.
fn filled(before: &str, text: &str, after: &str) -> String {
    let room = MAX_REPLY_BYTES - 4096 - before.len() - after.len();
    format!("{before}{}{after}", text.repeat(room / text.len()))
}

fn guests() -> Vec<Guest> {
    let devices = [Device::Disk("serial:pf-data".into())];
    let small = |count: u64| {
        let mut bytes = Vec::new();
        // One run for each page, none of which follows the one before.
        let runs = (0..count).filter_map(|n| Run::new((count - n) * 2, 1, 0, n * 64));
        encode(&mut bytes, &Facts::default(), &devices, count, runs).unwrap();
        bytes
    };
    let mut names = encode_head(&Facts::default(), &[], 0).unwrap();
    let count = 5_u32 << 20;
    names[20..24].copy_from_slice(&count.to_le_bytes());
    names[24..32].copy_from_slice(&(u64::from(count) * 8).to_le_bytes());
    names.resize(names.len() + count as usize * 8, 0);
    vec![
        guest("millions of block devices", names, String::new()),
        guest("a run for each page", small(MEMORY / 4096), String::new()),
        guest("more runs than pages", small(4 * MEMORY / 4096), String::new()),
        guest("numbers", small(8), filled(",\"x\":[0", ",0", "]")),
        guest("empty arrays", small(8), filled(",\"x\":[[]", ",[]", "]")),
        guest("nameless fields", small(8), filled(",\"x\":{\"\":0", ",\"\":0", "}")),
    ]
}

/// Answers as an agent does, and what pads it besides.
fn start(socket: &Path, guest: Guest) -> JoinHandle<()> {
    let reply = move |what| {
        Some(match what {
            RequestBody::Hello { .. } => agent::hello(),
            RequestBody::PageList => ReplyBody::PageList(Box::new(agent::page_list(&guest.list))),
            RequestBody::Copy { offset, len, .. } => {
                let at = usize::try_from(offset).unwrap();
                let data = STANDARD.encode(&guest.list[at..at + len as usize]);
                ReplyBody::Copied(Copied { offset, data })
            }
            RequestBody::Release { .. } => ReplyBody::Released,
            _ => return None,
        })
    };
    agent::answer(socket, reply, guest.padding)
}

/// The program, which lies beside the tests' own folder unless it is named.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = own.ancestors().nth(2).unwrap().join("poolferry-host");
    std::env::var_os("POOLFERRY_HOST_BIN").map_or(beside, PathBuf::from)
}

/// One QEMU is as good as another here.
#[test]
fn hostile_guests_take_little_memory() {
    let test = "hostile::hostile_guests_take_little_memory";
    if !program().is_file() {
        return test_servers::skipped(test, "`poolferry-host` is not built");
    }
    lab::run(test, test_qemus::QemuRelease::Q100, async |lab| hostile_guests(&lab).await);
}

async fn hostile_guests(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    let socket = lab.folder().join("hostile");
    for guest in guests() {
        fixture.no_agent();
        let name = guest.name;
        let answering = start(&socket, guest);
        let peak = peak(lab, &socket).await;
        answering.abort();
        println!("{name}: the host's program took {peak} KiB at most, of {MOST_KIB}");
        assert!(peak < MOST_KIB, "{name}: {peak} KiB");
        fixture.assert_runs_on().await;
    }
}

/// The peak of the program's memory in KiB; there is no receiver, so it comes to its end without a migration.
async fn peak(lab: &Lab, agent: &Path) -> u64 {
    let mut command = Command::new(program());
    command.args(["migrate", "--to", "127.0.0.1:1", "--plain", "--no-probes", "--qmp"]);
    command.arg(lab.folder().join("source.2.qmp")).arg("--agent").arg(agent);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |kib| kib.trim().trim_end_matches(" kB").parse().unwrap());
        sleep(Duration::from_millis(2)).await;
    }
    peak
}

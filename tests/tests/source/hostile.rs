//! Guests whose agent tells what would cost the host's program much: it takes no more than it may, and the VM runs on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use page_wire::ask::{
    Answer, Ask, Copied, Hello, MAX_ANSWER_BYTES, PageList, Pinned, Said, ServerState, Steps,
    VERSION, What, from_line, to_line,
};
use page_wire::{Facts, Medium, Run, encode, encode_head};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::guest::MEMORY;
use crate::lab::{self, Lab};
use crate::scene::{Scene, Setting};

/// 64 MiB, and 1 % of the VM's RAM.
const MOST_KIB: u64 = (64 << 10) + MEMORY / 100 / 1024;

/// What the agent tells.
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
    let room = MAX_ANSWER_BYTES - 4096 - before.len() - after.len();
    format!("{before}{}{after}", text.repeat(room / text.len()))
}

fn guests() -> Vec<Guest> {
    let media = [Medium::Disk("serial:pf-data".into())];
    let small = |count: u64| {
        let mut bytes = Vec::new();
        // One run for each page, none of which follows the one before.
        let runs = (0..count).filter_map(|n| Run::new((count - n) * 2, 1, 0, n * 64));
        encode(&mut bytes, &Facts::default(), &media, count, runs).unwrap();
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
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(ask) = from_line::<Ask>(line.as_bytes()) else { continue };
                let Some(what) = said(&guest.list, ask.what) else { continue };
                let answer = Answer { id: ask.id, what };
                let mut line = to_line(&answer, MAX_ANSWER_BYTES).unwrap();
                if line.len() + guest.padding.len() <= MAX_ANSWER_BYTES {
                    line.splice(line.len() - 2..line.len() - 2, guest.padding.bytes());
                }
                if write.write_all(&line).await.is_err() {
                    break;
                }
            }
        }
    })
}

fn said(list: &[u8], what: What) -> Option<Said> {
    Some(match what {
        What::Hello { .. } => Said::Hello(Hello {
            version: VERSION,
            program: "test".into(),
            pid: 1,
            kernel: "none".into(),
            server: ServerState::Attaching { pid: 2 },
            servers: Vec::new(),
        }),
        What::PageList => Said::PageList(Box::new(PageList {
            list: 1,
            length: list.len() as u64,
            blake3: blake3::hash(list).to_string().into(),
            runs: Vec::new(),
            pinned: Pinned::No,
            held_s: 60,
            pages: 1,
            left_out: Default::default(),
            steps: Steps::default(),
            servers: Vec::new(),
        })),
        What::Copy { offset, len, .. } => {
            let at = usize::try_from(offset).unwrap();
            let data = STANDARD.encode(&list[at..at + len as usize]);
            Said::Copied(Copied { offset, data })
        }
        What::Release { .. } => Said::Released,
        _ => return None,
    })
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
    lab::run(test, test_qemus::Release::Q100, async |lab| hostile_guests(&lab).await);
}

async fn hostile_guests(lab: &Lab) {
    let mut scene = Scene::new(lab, Setting::default()).await;
    let socket = lab.folder().join("hostile");
    for guest in guests() {
        scene.no_agent();
        let name = guest.name;
        let agent = start(&socket, guest);
        let peak = peak(lab, &socket).await;
        agent.abort();
        println!("{name}: the host's program took {peak} KiB at most, of {MOST_KIB}");
        assert!(peak < MOST_KIB, "{name}: {peak} KiB");
        scene.assert_runs_on().await;
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

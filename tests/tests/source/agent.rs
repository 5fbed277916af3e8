//! An agent as the host meets it, whose list is the test's.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use page_wire::protocol::{
    AgentReply, AgentRequest, GuestRun, Hello, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, PageList,
    Pinned, ReplyBody, RequestBody, ServerState, Status, Steps, VERSION, from_line, to_line,
};
use page_wire::{Device, Facts, Run, encode};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Guest-physical address of the list: RAM that the guest does not use.
const LIST_AT: u64 = 96 << 20;

/// A list of runs on one disk with this serial number.
pub(crate) fn list(serial: &str, runs: Vec<Run>) -> Vec<u8> {
    list_of(&[serial], runs)
}

/// A list of runs on disks with these serial numbers, which runs name by index.
pub(crate) fn list_of(serials: &[&str], mut runs: Vec<Run>) -> Vec<u8> {
    runs.sort_unstable();
    let device = |serial: &&str| Device::Disk(format!("serial:{serial}"));
    let devices: Vec<Device> = serials.iter().map(device).collect();
    let facts = Facts { page_size: 16384, pages: runs.len() as u64, begun_ns: 1, done_ns: 2 };
    let mut bytes = Vec::new();
    encode(&mut bytes, &facts, &devices, runs.len() as u64, runs.iter().copied()).unwrap();
    bytes
}

/// Answers on `socket` with `list`, which it writes into the guest's memory.
pub(crate) fn start(socket: &Path, memory: &File, list: &[u8]) -> JoinHandle<()> {
    memory.write_all_at(list, LIST_AT).unwrap();
    let frames = u32::try_from(list.len().div_ceil(4096)).unwrap();
    let page_list = PageList {
        runs: vec![GuestRun(LIST_AT >> 12, frames)],
        pinned: Pinned::LongTerm,
        servers: vec![2],
        ..page_list(list)
    };
    let reply = move |what| {
        Some(match what {
            RequestBody::Hello { .. } => hello(),
            RequestBody::PageList => ReplyBody::PageList(Box::new(page_list.clone())),
            RequestBody::Release { .. } => ReplyBody::Released,
            RequestBody::Status => ReplyBody::Status(Box::new(Status {
                now_ns: 0,
                server: ServerState::Attaching { pid: 2 },
                observed: None,
                list: None,
                servers: Vec::new(),
            })),
            RequestBody::Migration(_) => ReplyBody::Noted,
            other => panic!("asked for {other:?}"),
        })
    };
    answer(socket, reply, String::new())
}

/// Greets on `socket`, and answers nothing else; notes whether it is asked for a list.
pub(crate) fn silent(socket: &Path, is_requested: Arc<AtomicBool>) -> JoinHandle<()> {
    let reply = move |what| match what {
        RequestBody::Hello { .. } => Some(hello()),
        RequestBody::PageList => {
            is_requested.store(true, Ordering::Relaxed);
            None
        }
        _ => None,
    };
    answer(socket, reply, String::new())
}

/// First words of an agent that has attached to no server yet.
pub(crate) fn hello() -> ReplyBody {
    ReplyBody::Hello(Hello {
        version: VERSION,
        program: "test".into(),
        pid: 1,
        kernel: "none".into(),
        server: ServerState::Attaching { pid: 2 },
        servers: Vec::new(),
    })
}

/// The reply about a list that lies nowhere in the guest's memory.
pub(crate) fn page_list(list: &[u8]) -> PageList {
    PageList {
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
    }
}

/// Answers on `socket` with what `reply` returns, with `padding` in each answer that has room for it.
pub(crate) fn answer(
    socket: &Path,
    reply: impl Fn(RequestBody) -> Option<ReplyBody> + Send + Sync + 'static,
    padding: String,
) -> JoinHandle<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &reply, &padding).await;
        }
    })
}

async fn serve(
    stream: UnixStream,
    reply: &(impl Fn(RequestBody) -> Option<ReplyBody> + Sync),
    padding: &str,
) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        assert!(line.len() <= MAX_REQUEST_BYTES);
        if line.trim().is_empty() {
            continue;
        }
        let request: AgentRequest = from_line(line.as_bytes()).unwrap();
        let Some(what) = reply(request.body) else { continue };
        let mut line =
            to_line(&AgentReply { id: request.id, body: what }, MAX_REPLY_BYTES).unwrap();
        if line.len() + padding.len() <= MAX_REPLY_BYTES {
            // Before the brackets that end the answer and the line.
            line.splice(line.len() - 2..line.len() - 2, padding.bytes());
        }
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

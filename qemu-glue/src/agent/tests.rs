//! Agents that answer late, wrongly, for somebody else, or not at all.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use page_wire::protocol::{
    AgentReply, AgentRequest, Copied, GuestRun, MAX_REPLY_BYTES, Pinned, ServerState, Steps,
    Trouble, from_line, to_line,
};
use page_wire::{Device, Facts, Run, encode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

use super::*;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
/// RAM that the fake VM has.
const RAM: u64 = 64 << 20;
/// Where the fake guest's RAM begins.
const FIRST_FRAME: u64 = 0x1000;

/// What the fake agent does with a request.
enum Act {
    Reply(ReplyBody),
    /// Sends bytes as they are.
    Raw(Vec<u8>),
    /// Says it under another id.
    ReplyTo(u64, ReplyBody),
    Nothing,
    HangUp,
}

/// An agent with scripted acts, one host after the other.
fn fake(mut act: impl FnMut(&AgentRequest) -> Vec<Act> + Send + 'static) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        'hosts: while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.is_empty() {
                    continue;
                }
                let request: AgentRequest = from_line(line.as_bytes()).unwrap();
                for act in act(&request) {
                    let reply = |id, what| {
                        to_line(&AgentReply { id, body: what }, MAX_REPLY_BYTES).unwrap()
                    };
                    let bytes = match act {
                        Act::Reply(what) => reply(request.id, what),
                        Act::ReplyTo(id, what) => reply(id, what),
                        Act::Raw(bytes) => bytes,
                        Act::Nothing => continue,
                        Act::HangUp => continue 'hosts,
                    };
                    if write.write_all(&bytes).await.is_err() {
                        continue 'hosts;
                    }
                }
            }
        }
    });
    (folder, path)
}

fn hello() -> ReplyBody {
    ReplyBody::Hello(Hello {
        version: VERSION,
        program: "0.1.0".into(),
        pid: 1,
        kernel: "6.1".into(),
        server: ServerState::Attached { pid: 2, version: "mysql 5.6.24".into() },
        servers: Vec::new(),
    })
}

/// A true list, as long as three frames and a bit.
fn bytes() -> Vec<u8> {
    let runs = (0..800).filter_map(|n| Run::new(n * 3 + 1, 1, 0, n * 64));
    let mut bytes = Vec::new();
    let devices = [Device::Disk("serial:a".into())];
    encode(&mut bytes, &Facts::default(), &devices, 800, runs).unwrap();
    bytes
}

/// As the guest's RAM has it: the list's second half before its first.
struct Ram(Vec<u8>);

impl Ram {
    fn of(list: &[u8]) -> (Self, Vec<GuestRun>) {
        let mut pages = list.to_vec();
        pages.resize(list.len().next_multiple_of(4096), 0);
        let split = 2 * 4096;
        let ram = [&pages[split..], &pages[..split]].concat();
        let behind = u32::try_from(pages.len() / 4096).unwrap() - 2;
        let first = GuestRun(FIRST_FRAME + u64::from(behind), 2);
        (Self(ram), vec![first, GuestRun(FIRST_FRAME, behind)])
    }
}

impl ReadRam for Ram {
    fn ram_bytes(&self) -> u64 {
        RAM
    }

    fn read_ram(&self, gpa: u64, out: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let at = gpa.checked_sub(FIRST_FRAME * 4096).and_then(|at| usize::try_from(at).ok());
        let range = at.and_then(|at| at.checked_add(out.len()).map(|end| at..end));
        let from = range.and_then(|range| self.0.get(range)).ok_or("not in RAM")?;
        out.copy_from_slice(from);
        Ok(())
    }
}

fn page_list(list: &[u8], runs: Vec<GuestRun>) -> PageList {
    PageList {
        list: 5,
        length: list.len() as u64,
        blake3: blake3::hash(list).to_hex().as_str().into(),
        runs,
        pinned: Pinned::LongTerm,
        held_s: 60,
        pages: 800,
        servers: vec![2],
        left_out: BTreeMap::from([("dirty".into(), 7)]),
        steps: Steps { total_s: 0.25, ..Steps::default() },
    }
}

/// An agent that is right in all but what `wrong` makes of the answer.
fn nearly_right(
    mut wrong: impl FnMut(&AgentRequest, ReplyBody) -> Vec<Act> + Send + 'static,
) -> (TempDir, PathBuf, Ram) {
    let list = bytes();
    let (ram, runs) = Ram::of(&list);
    let (folder, path) = fake(move |request| {
        let reply = match request.body {
            RequestBody::Hello { .. } => hello(),
            RequestBody::PageList => ReplyBody::PageList(Box::new(page_list(&list, runs.clone()))),
            RequestBody::Copy { list: 5, offset, len } => {
                let at = usize::try_from(offset).unwrap();
                let end = list.len().min(at + len as usize);
                let data = STANDARD.encode(&list[at..end]);
                ReplyBody::Copied(Copied { offset, data })
            }
            RequestBody::Copy { .. } => panic!("no such list"),
            RequestBody::Release { .. } => ReplyBody::Released,
            RequestBody::Migration(_) => ReplyBody::Noted,
            RequestBody::Status => ReplyBody::Error(Trouble::new("no", None)),
        };
        wrong(request, reply)
    });
    (folder, path, ram)
}

/// The same, with the list of the reply changed.
fn altered(change: impl Fn(&mut PageList) + Send + 'static) -> (TempDir, PathBuf, Ram) {
    nearly_right(move |_, mut reply| {
        if let ReplyBody::PageList(page_list) = &mut reply {
            change(page_list);
        }
        vec![Act::Reply(reply)]
    })
}

async fn list(path: &Path, ram: &impl ReadRam) -> Result<Listed, AgentError> {
    Agent::connect(path).await?.page_list(ram, LONG).await
}

#[tokio::test]
async fn a_list_is_read_in_place() {
    let (_folder, path, ram) = nearly_right(|_, reply| vec![Act::Reply(reply)]);
    let mut agent = Agent::connect(&path).await.unwrap();
    assert_eq!(agent.hello().kernel, "6.1");
    let listed = agent.page_list(&ram, LONG).await.unwrap();
    assert!(matches!(listed.how, How::InPlace));
    assert_eq!(listed.bytes, bytes());
    assert_eq!((listed.pages, listed.left_out["dirty"]), (800, 7));
    let steps = listed.steps;
    assert!(steps.answer_s > 0.0 && steps.transfer_s > 0.0);
    assert!(steps.total_s >= steps.answer_s + steps.hash_s);
    // And again, as often as one likes.
    assert_eq!(agent.page_list(&ram, LONG).await.unwrap().bytes, bytes());
}

#[tokio::test]
async fn without_ram_it_is_copied() {
    let (_folder, path, _ram) = nearly_right(|_, reply| vec![Act::Reply(reply)]);
    let listed = list(&path, &NoRam(RAM)).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::Ram { .. })));
    assert_eq!(listed.bytes, bytes());
}

#[tokio::test]
async fn wrong_frames_are_found_out_and_the_list_is_copied() {
    let (_folder, path, ram) = altered(|page_list| page_list.runs[0].0 = 1);
    let listed = list(&path, &ram).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::Ram { gfn: 1, .. })));
    let (_folder, path, ram) = altered(|page_list| page_list.runs[0].0 = u64::MAX);
    let listed = list(&path, &ram).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::Ram { .. })));
    let (_folder, path, ram) = altered(|page_list| page_list.runs[0].1 = u32::MAX);
    let listed = list(&path, &ram).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::Count { .. })));
    let (_folder, path, ram) = altered(|page_list| page_list.runs.clear());
    let listed = list(&path, &ram).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::NotGiven)));
    // Pages that have moved: right frames once, other bytes in them now.
    let (_folder, path, mut ram) = altered(|_| {});
    ram.0[100] ^= 1;
    let listed = list(&path, &ram).await.unwrap();
    assert!(matches!(listed.how, How::Copied(NotInPlace::Hash)));
    assert_eq!(listed.bytes, bytes());
}

#[tokio::test]
async fn lies_about_the_list_are_errors() {
    let changes: [fn(&mut PageList); 5] = [
        |page_list| page_list.length = 0,
        |page_list| page_list.length = u64::MAX,
        // One run more than the VM has pages.
        |page_list| page_list.length = Bounds::of_ram(RAM).bytes() + 1,
        |page_list| page_list.blake3 = "nothing".into(),
        |page_list| page_list.blake3 = "é".repeat(32).into(),
    ];
    for change in changes {
        let (_folder, path, ram) = altered(change);
        let error = list(&path, &ram).await.unwrap_err();
        assert!(matches!(error, AgentError::Nonsense { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    let (_folder, path, ram) =
        altered(|page_list| page_list.runs = vec![GuestRun(0, 1); MAX_RUNS_AND_ONE]);
    let error = list(&path, &ram).await.unwrap_err();
    assert!(matches!(error, AgentError::Garbled { .. }) && error.hint().is_some(), "{error}");
    let (_folder, path, ram) = altered(|page_list| page_list.blake3 = "00".repeat(32).into());
    assert!(matches!(list(&path, &ram).await.unwrap_err(), AgentError::Torn));
    // Longer than it is: what is asked for beyond its end cannot come.
    let (_folder, path, _ram) = altered(|page_list| page_list.length += 4096);
    assert!(matches!(list(&path, &NoRam(RAM)).await, Err(AgentError::Nonsense { .. })));
}

const MAX_RUNS_AND_ONE: usize = page_wire::protocol::MAX_GUEST_RUNS + 1;

#[tokio::test]
async fn copies_that_are_not_what_was_asked_for_are_errors() {
    let pieces = [
        Copied { offset: 1, data: "AAAA".into() },
        Copied { offset: 0, data: "AAAA".into() },
        Copied { offset: 0, data: "!".into() },
    ];
    for piece in pieces {
        let (_folder, path, _ram) = nearly_right(move |_, reply| match reply {
            ReplyBody::Copied(_) => vec![Act::Reply(ReplyBody::Copied(piece.clone()))],
            reply => vec![Act::Reply(reply)],
        });
        let error = list(&path, &NoRam(RAM)).await.unwrap_err();
        assert!(matches!(error, AgentError::Nonsense { .. }), "{error}");
    }
}

#[tokio::test]
async fn nobody_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let error = Agent::connect(&path).await.unwrap_err();
    assert!(matches!(error, AgentError::Connect { .. }));
    assert!(error.hint().unwrap().raw().contains("virtio-serial"));
    let (_folder, path) = fake(|_| vec![Act::Nothing]);
    let error = Agent::connect_within(&path, SHORT).await.unwrap_err();
    assert!(matches!(error, AgentError::Silent { .. }));
    assert!(error.hint().unwrap().raw().contains("poolferry agent"));
}

#[tokio::test]
async fn an_agent_that_comes_late_is_greeted_again() {
    let mut requests = 0;
    let (_folder, path) = fake(move |_| {
        requests += 1;
        vec![if requests < 2 { Act::Nothing } else { Act::Reply(hello()) }]
    });
    Agent::connect(&path).await.unwrap();
}

#[tokio::test]
async fn what_was_meant_for_another_is_left_alone() {
    let (_folder, path, ram) = nearly_right(|request, reply| {
        let mut acts = Vec::new();
        if matches!(request.body, RequestBody::Hello { .. }) {
            acts.push(Act::Raw(b":\"half of an answer\"}}\n{}\n".to_vec()));
        }
        acts.push(Act::ReplyTo(request.id.wrapping_sub(1), ReplyBody::Released));
        acts.push(Act::Reply(reply));
        acts
    });
    assert_eq!(list(&path, &ram).await.unwrap().bytes, bytes());
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next_one() {
    let mut missed = None;
    let (_folder, path, ram) = nearly_right(move |request, reply| match (request.body, missed) {
        (RequestBody::PageList, None) => {
            missed = Some(request.id);
            vec![Act::Nothing]
        }
        (RequestBody::PageList, Some(id)) => {
            let old = ReplyBody::Error(Trouble::new("old", None));
            vec![Act::ReplyTo(id, old), Act::Reply(reply)]
        }
        _ => vec![Act::Reply(reply)],
    });
    let mut agent = Agent::connect(&path).await.unwrap();
    let error = agent.page_list(&ram, SHORT).await.unwrap_err();
    assert!(matches!(error, AgentError::Timeout { .. }), "{error}");
    assert_eq!(agent.page_list(&ram, LONG).await.unwrap().bytes, bytes());
}

#[tokio::test]
async fn an_agent_that_dies_is_an_error() {
    for dies_at in [RequestBody::PageList, RequestBody::Release { list: 5 }] {
        let (_folder, path, ram) = nearly_right(move |request, reply| {
            vec![if request.body == dies_at { Act::HangUp } else { Act::Reply(reply) }]
        });
        let listed = list(&path, &ram).await;
        match dies_at {
            // The list is here already.
            RequestBody::Release { .. } => assert_eq!(listed.unwrap().bytes, bytes()),
            _ => assert!(matches!(listed.unwrap_err(), AgentError::Closed { .. })),
        }
    }
    let (_folder, path, _ram) = nearly_right(|_, reply| match reply {
        ReplyBody::Copied(_) => vec![Act::HangUp],
        reply => vec![Act::Reply(reply)],
    });
    assert!(matches!(list(&path, &NoRam(RAM)).await, Err(AgentError::Closed { .. })));
}

#[tokio::test]
async fn nonsense_and_refusals_are_said() {
    let (_folder, path, ram) = nearly_right(|request, reply| match request.body {
        RequestBody::Hello { .. } => vec![Act::Reply(reply)],
        RequestBody::PageList => vec![Act::Raw(b"{\"id\":\n".to_vec())],
        _ => vec![Act::Reply(ReplyBody::Released)],
    });
    let mut agent = Agent::connect(&path).await.unwrap();
    assert!(matches!(agent.page_list(&ram, LONG).await, Err(AgentError::Garbled(_))));
    let error = agent.status().await.unwrap_err();
    assert!(matches!(error, AgentError::Unexpected { kind: "released" }));
    let (_folder, path, ram) = nearly_right(|request, reply| {
        vec![Act::Reply(match request.body {
            RequestBody::PageList => {
                ReplyBody::Error(Trouble::new("no server", Some("start it".into())))
            }
            _ => reply,
        })]
    });
    let error = list(&path, &ram).await.unwrap_err();
    assert_eq!(error.hint().unwrap(), "start it");
    assert_eq!(error.to_string(), "the guest's agent: no server");
}

#[tokio::test]
async fn a_list_that_is_about_to_come_is_waited_for_and_no_longer_than_said() {
    let soon =
        || Act::Reply(ReplyBody::Error(Trouble::passing("probes are being set in process 7")));
    let mut requests = 0;
    let (_folder, path, ram) = nearly_right(move |request, reply| {
        requests += u32::from(matches!(request.body, RequestBody::PageList));
        vec![if requests == 1 { soon() } else { Act::Reply(reply) }]
    });
    let listed = list(&path, &ram).await.unwrap();
    assert_eq!((listed.bytes, listed.servers), (bytes(), vec![2]));
    assert!(listed.steps.waited_s > 0.1 && listed.steps.total_s >= listed.steps.waited_s);
    let (_folder, path, ram) = nearly_right(move |request, reply| {
        vec![if matches!(request.body, RequestBody::PageList) { soon() } else { Act::Reply(reply) }]
    });
    let mut agent = Agent::connect(&path).await.unwrap().waiting(SHORT);
    let error = agent.page_list(&ram, LONG).await.unwrap_err();
    assert!(matches!(error, AgentError::Refused { again: true, .. }), "{error}");
}

#[tokio::test]
async fn a_line_without_end_costs_no_memory() {
    let (_folder, path, ram) = nearly_right(|request, reply| match request.body {
        RequestBody::PageList => vec![Act::Raw(vec![b'x'; MAX_REPLY_BYTES + 2])],
        _ => vec![Act::Reply(reply)],
    });
    assert!(matches!(list(&path, &ram).await, Err(AgentError::Garbled(_))));
}

#[tokio::test]
async fn another_version_is_told() {
    let (_folder, path) = fake(|_| {
        let ReplyBody::Hello(hello) = hello() else { unreachable!() };
        vec![Act::Reply(ReplyBody::Hello(Hello { version: 99, ..hello }))]
    });
    let error = Agent::connect(&path).await.unwrap_err();
    assert!(matches!(error, AgentError::Version { theirs: 99, .. }));
}

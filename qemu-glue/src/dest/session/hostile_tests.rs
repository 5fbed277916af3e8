//! A thousand hostile sources against all of the destination but its QEMU.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foreign::Text;
use page_number::PAGE_BYTES;
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::prepare::PreparedRestore;
use super::{greet, serve};
use crate::channel::{Key, Message, Ready, Refused, Security, VERSION};
use crate::dest::controller::Controller;
use crate::dest::{BlockFile, Limits, NewSource, Outcome, ReceiveError, RestoreRefusal, Target};
use crate::hostile::{self, BLOCK, DEVICE, PAGES, Role};
use crate::set::Block;
use crate::storage::Storage;
use crate::timeline::ProbeSession;
use crate::usage;

const SESSIONS: u64 = 1000;
/// Sessions at a time: more than there ever are.
const AT_A_TIME: usize = 8;
/// One of them is over by then, whatever the peer does.
const OVER: Duration = Duration::from_secs(20);
/// How much memory all that are there at a time may take.
const MEMORY: u64 = 64 << 20;

/// RAM and disk.
struct Rig {
    _dir: TempDir,
    ram: File,
    disk: String,
}

impl Rig {
    fn new() -> Self {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, vec![1; 2 << 20]).unwrap();
        let ram = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        ram.set_len(u64::from(PAGES) * PAGE_BYTES).unwrap();
        Self { _dir: dir, ram, disk: format!("file:{}", path.to_string_lossy()) }
    }
}

/// What `super::serve` does, with the rig in place of QEMU.
async fn serve_with(rig: &Rig, source: NewSource) -> Result<Outcome, ReceiveError> {
    let NewSource { mut sender, mut receiver, hello } = source;
    greet(&mut sender, hello, &Err(RestoreRefusal::Devices)).await?;
    let silence = Duration::from_millis(100);
    let mut controller = Controller::new(PAGES.into(), silence, Instant::now());
    let (_, set) = serve::offer(&mut controller, &mut receiver).await?;
    let qmp = PathBuf::from("/none");
    let length = u64::from(PAGES) * PAGE_BYTES;
    let block = Block { name: BLOCK.to_owned(), length };
    match set {
        Ok(set) if set.blocks() == [block] && set.devices() == [DEVICE] => {
            let devices = vec![Some(Storage::open(&rig.disk.parse().unwrap()).await.unwrap())];
            let target = Target::new(&[BlockFile { file: &rig.ram, offset: 0, length }]).unwrap();
            let ready = Ready { uri: "tcp:127.0.0.1:1".into(), devices_left_out: Vec::new() };
            sender.send(&Message::Ready(ready)).await?;
            let prepared = PreparedRestore { set: Arc::new(set), devices, target };
            let limits = Limits::default().sized(length);
            let channel = serve::Channel { sender, receiver, controller, qmp };
            serve::restore(prepared, channel, limits, ProbeSession::Not, &mut |_| {}).await
        }
        set => {
            let refusal = set.err().unwrap_or(RestoreRefusal::Devices);
            let refused = Refused { reason: Text::default(), hint: Text::default(), uri: None };
            sender.send(&Message::Refused(refused)).await?;
            let channel = serve::Channel { sender, receiver, controller, qmp };
            serve::stand_by(channel, refusal, ProbeSession::Not).await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hostile_sources_do_no_harm() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    Key::make(&path).unwrap();
    let bytes: [u8; 32] = fs::read(&path).unwrap().try_into().unwrap();
    let key = Security::Key(Key::read(&path).unwrap());
    let rig = Arc::new(Rig::new());
    let before = usage::peak_bytes().and_then(|_| usage::peak_bytes());
    let mut sessions = JoinSet::new();
    let (mut served, mut refused) = (0, 0);
    let mut count = |ended: bool| if ended { served += 1 } else { refused += 1 };
    for number in 0..SESSIONS {
        if sessions.len() >= AT_A_TIME {
            count(sessions.join_next().await.unwrap().unwrap());
        }
        let (rig, key) = (Arc::clone(&rig), key.clone());
        sessions.spawn(async move {
            let session = hostile::session(number, Role::Source, VERSION);
            // Of those with the key, some have another one.
            let (security, has) = match number % 3 {
                0 => (Security::Plain, None),
                1 => (key, Some(bytes)),
                _ if number % 7 == 0 => (key, Some([1; 32])),
                _ => (key, Some(bytes)),
            };
            let (near, far) = duplex(1 << 16);
            let hostile =
                tokio::spawn(async move { hostile::play(&session, near, has.as_ref()).await });
            let served = async {
                let source = NewSource::accept(far, &security).await?;
                serve_with(&rig, source).await
            };
            let served = timeout(OVER, served).await;
            let served = served.unwrap_or_else(|_| panic!("session {number} does not end"));
            hostile.abort();
            served.is_ok()
        });
    }
    while let Some(ended) = sessions.join_next().await {
        count(ended.unwrap());
    }
    println!("{served} were served to their end, {refused} not");
    assert!(served > 50 && refused > 500, "{served} and {refused}: not what was to be tried");
    if let (Some(before), Some(after)) = (before, usage::peak_bytes()) {
        println!("{} KiB more at the peak", after.saturating_sub(before) >> 10);
        assert!(after.saturating_sub(before) < MEMORY, "{before} and then {after} bytes");
    }
}

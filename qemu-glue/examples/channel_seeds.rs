//! Writes what either side says on the channel into a folder, for a fuzzer to begin with, and what hostile ones say:
//! `channel_seeds DIR`.

#[path = "../tests/hostile/sessions.rs"]
#[expect(dead_code, reason = "the tests play sessions, this writes them down")]
mod hostile;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use foreign::Name;
use hostile::Role;
use qemu_glue::channel::{
    self, Finish, Finished, Message, NotInstalled, Offer, PeerHello, Progress, Ready, Refused,
    Security, SetRange, VERSION,
};
use qemu_glue::set::{Block, SetRun};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// Sessions of hostile peers, those that the tests play; for each side.
const HOSTILE: u64 = 1000;

/// Room for all that is said.
const ROOM: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("usage: channel_seeds DIR")?);
    fs::write(folder.join("source"), spoken(&of_source()).await?)?;
    fs::write(folder.join("destination"), spoken(&of_destination()).await?)?;
    for number in 0..HOSTILE {
        for (name, role) in [("source", Role::Source), ("destination", Role::Destination)] {
            let session = hostile::session(number, role, VERSION);
            let bytes = hostile::plain_bytes(&session);
            fs::write(folder.join(format!("hostile-{name}-{number}")), bytes)?;
        }
    }
    Ok(())
}

/// All bytes that a side sends which says `messages`.
async fn spoken(messages: &[Message]) -> Result<Vec<u8>, Box<dyn Error>> {
    // The peer's first bytes come from a real peer; nothing else is received.
    let (near, far) = duplex(ROOM);
    let (mut received, mut answers) = tokio::io::split(far);
    let (own, peer) = duplex(ROOM);
    let (mut from_peer, mut to_peer) = tokio::io::split(own);
    let greeting = async {
        let accepted = channel::accept(peer, &Security::Plain).await;
        drop(accepted);
    };
    let mut bytes = Vec::new();
    let relay = async {
        let mut first = vec![0; 4096];
        let length = received.read(&mut first).await?;
        bytes.extend_from_slice(&first[..length]);
        to_peer.write_all(&first[..length]).await?;
        let length = from_peer.read(&mut first).await?;
        answers.write_all(&first[..length]).await?;
        received.read_to_end(&mut bytes).await
    };
    let speech = async {
        let (mut sender, receiver) = channel::connect(near, &Security::Plain).await?;
        for message in messages {
            sender.send(message).await?;
        }
        sender.close().await?;
        drop(receiver);
        Ok::<(), channel::ChannelError>(())
    };
    let (_, relayed, spoken) = tokio::join!(greeting, relay, speech);
    relayed?;
    spoken?;
    Ok(bytes)
}

fn hello() -> Message {
    Message::Hello(PeerHello {
        version: VERSION,
        program: "0.1.0".into(),
        qemu: "10.0.2".into(),
        migration: "m1".into(),
    })
}

fn of_source() -> Vec<Message> {
    let run = SetRun { block: 0, device: 0, pages: 4, offset: 1 << 20, place: 1 << 15 };
    vec![
        hello(),
        Message::Offer(Offer {
            blocks: vec![Block { name: "mem0".into(), length: 1 << 30 }],
            devices: vec![Name::try_from("serial:data").expect("short")],
            runs: 1,
            capabilities: vec![Name::try_from("multifd").expect("short")],
            multifd: None,
            shares: true,
        }),
        Message::Runs(vec![run]),
        Message::OfferEnd,
        Message::Hashes { first: 0, hashes: vec![[7; 32]; 4] },
        Message::Redirtied(vec![SetRange { first: 3, count: 1 }]),
        Message::Finish(Finish { status: "completed".into(), reason: None, begun_unix_s: 1.5 }),
    ]
}

fn of_destination() -> Vec<Message> {
    let range = SetRange { first: 0, count: 2 };
    let left_out = vec![(0, "no such disk".into())];
    vec![
        hello(),
        Message::Ready(Ready { uri: "tcp:[::1]:4444".into(), devices_left_out: left_out }),
        Message::Installed(vec![range]),
        Message::NotInstalled(NotInstalled::Differs, vec![range]),
        Message::Progress(Progress { installed: 2, ..Progress::default() }),
        Message::Refused(Refused { reason: "full".into(), hint: "wait".into(), uri: None }),
        Message::Finished(Finished { warnings: vec!["slow".into()], ..Finished::default() }),
    ]
}

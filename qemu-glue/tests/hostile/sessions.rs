//! Sessions of hostile peers on the channel: each is made from a number, so that one that found something can be had again.
//!
//! A session begins as what an honest peer says, and goes wrong at some place: a message in another's turn, twice or never,
//! numbers and texts of any size, bytes turned, lengths that lie, an end in the middle. Nothing here uses the code that it is
//! held against: `tests/hostile` is compiled into the crate's own tests and into the seeds of its fuzz target.

use serde_json::{Value, json};
use snow::{Builder, HandshakeState, TransportState};
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Pages of the set of all sessions, all of one RAM block.
pub(crate) const PAGES: u32 = 256;
/// RAM block and disk that an honest source names.
pub(crate) const BLOCK: &str = "mem0";
pub(crate) const DEVICE: &str = "serial:data";

const HELLO: u8 = 1;
const OFFER: u8 = 2;
const RUNS: u8 = 3;
const OFFER_END: u8 = 4;
const READY: u8 = 5;
const REFUSED: u8 = 6;
const HASHES: u8 = 7;
const TAKEN: u8 = 8;
const PLACED: u8 = 9;
const NOT_PLACED: u8 = 10;
const PROGRESS: u8 = 11;
const FINISH: u8 = 12;
const FINISHED: u8 = 13;

/// Whom the hostile peer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It connects, to restore nothing.
    Source,
    /// It is connected to.
    Destination,
}

/// What comes next on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame: kind and body. With a key it is sealed.
    Frame(Vec<u8>),
    /// Bytes as they are, also beneath the encryption.
    Bytes(Vec<u8>),
}

/// What one peer does, to the moment at which it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) role: Role,
    pub(crate) steps: Vec<Step>,
    /// It listens to the other's end before it goes.
    pub(crate) listens: bool,
}

/// The session of this number. `version` is that of the channel.
pub(crate) fn session(number: u64, role: Role, version: u32) -> Session {
    let mut random = Random(number.wrapping_mul(2).wrapping_add(u64::from(role == Role::Source)));
    let mut frames = match role {
        Role::Source => source(version),
        Role::Destination => {
            let refuses = random.one_in(4);
            destination(version, refuses)
        }
    };
    // One in six is honest, so that the honest way is walked to its end.
    let wrongs = if random.one_in(6) { 0 } else { 1 + random.below(4) };
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..wrongs {
        go_wrong(&mut random, &mut frames, version);
    }
    if wrongs > 0 && random.one_in(4) {
        let end = random.index(frames.len() + 1);
        frames.truncate(end);
    }
    for frame in frames {
        steps.push(Step::Frame(frame));
        if wrongs > 0 && random.one_in(24) {
            steps.push(Step::Bytes(random.bytes(300)));
        }
    }
    if wrongs > 0 && random.one_in(8) {
        steps.insert(0, Step::Bytes(random.bytes(80)));
    }
    Session { role, steps, listens: random.one_in(2) }
}

/// All that a peer without a key sends, from its first byte.
pub(crate) fn plain_bytes(session: &Session) -> Vec<u8> {
    let mut bytes = b"PFERRY1P".to_vec();
    for step in &session.steps {
        match step {
            Step::Frame(frame) => bytes.extend(framed(frame)),
            Step::Bytes(more) => bytes.extend(more),
        }
    }
    bytes
}

/// Plays a session on `stream`, with or without the key, and goes. The other side may go first.
pub(crate) async fn play<S>(
    session: &Session,
    mut stream: S,
    key: Option<&[u8; 32]>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(key) = key else {
        stream.write_all(&plain_bytes(session)).await?;
        return leave(session, stream).await;
    };
    stream.write_all(b"PFERRY1N").await?;
    stream.read_exact(&mut [0; 8]).await?;
    let mut seal = handshake(session.role, &mut stream, key).await?;
    for step in &session.steps {
        match step {
            Step::Frame(frame) => {
                for plain in framed(frame).chunks(60_000) {
                    let mut record = vec![0; plain.len() + 16];
                    seal.write_message(plain, &mut record).map_err(io::Error::other)?;
                    send(&mut stream, &record).await?;
                }
            }
            Step::Bytes(bytes) => stream.write_all(bytes).await?,
        }
    }
    leave(session, stream).await
}

async fn leave<S: AsyncRead + AsyncWrite + Unpin>(
    session: &Session,
    mut stream: S,
) -> io::Result<()> {
    stream.shutdown().await?;
    if session.listens {
        io::copy(&mut stream, &mut io::sink()).await?;
    }
    Ok(())
}

async fn handshake<S>(role: Role, stream: &mut S, key: &[u8; 32]) -> io::Result<TransportState>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pattern = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s".parse().map_err(io::Error::other)?;
    let builder = Builder::new(pattern).prologue(b"poolferry channel 1");
    let builder = builder.and_then(|builder| builder.psk(0, key)).map_err(io::Error::other)?;
    let state = match role {
        Role::Source => builder.build_initiator(),
        Role::Destination => builder.build_responder(),
    };
    let mut state: HandshakeState = state.map_err(io::Error::other)?;
    let mut message = [0; 128];
    for speaks in [role == Role::Source, role == Role::Destination] {
        if speaks {
            let length = state.write_message(&[], &mut message).map_err(io::Error::other)?;
            send(stream, &message[..length]).await?;
        } else {
            let length = usize::from(stream.read_u16_le().await?).min(message.len());
            stream.read_exact(&mut message[..length]).await?;
            let read = state.read_message(&message[..length], &mut [0; 128]);
            read.map_err(io::Error::other)?;
        }
    }
    state.into_transport_mode().map_err(io::Error::other)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    stream.write_u16_le(u16::try_from(message.len()).unwrap_or(u16::MAX)).await?;
    stream.write_all(message).await
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], frame].concat()
}

/// Makes one thing of a session wrong.
fn go_wrong(random: &mut Random, frames: &mut Vec<Vec<u8>>, version: u32) {
    let at = random.index(frames.len().max(1));
    match random.below(7) {
        _ if frames.is_empty() => frames.push(any_frame(random, version)),
        0 => frames.insert(at, any_frame(random, version)),
        1 => {
            frames.remove(at);
        }
        2 => {
            let other = random.index(frames.len());
            frames.swap(at, other);
        }
        3 => {
            // Often enough to fill what fills.
            let times = if random.one_in(8) { 500 } else { 1 };
            let frame = frames[at].clone();
            frames.splice(at..at, std::iter::repeat_n(frame, times));
        }
        4 => {
            let turns = random.below(4) + 1;
            for _ in 0..turns {
                let length = frames[at].len();
                if let Some(byte) = frames[at].get_mut(random.index(length.max(1))) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        5 => {
            let length = random.index(frames[at].len() + 1);
            frames[at].truncate(length);
            if random.one_in(2) {
                let more = random.bytes(5000);
                frames[at].extend(more);
            }
        }
        _ => odd(random, &mut frames[at]),
    }
}

/// Puts an odd value into a message of JSON, or odd numbers into a list.
fn odd(random: &mut Random, frame: &mut Vec<u8>) {
    let Some((kind, body)) = frame.split_first_mut() else { return };
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        for word in body.as_chunks_mut::<4>().0 {
            if random.one_in(3) {
                let odd = [0, 1, PAGES, PAGES + 1, 1 << 31, u32::MAX - 1, u32::MAX];
                *word = odd[random.index(odd.len())].to_le_bytes();
            }
        }
        return;
    };
    let mut at = &mut value;
    while at.is_object() || at.as_array().is_some_and(|list| !list.is_empty()) {
        at = match at {
            Value::Object(map) => {
                let index = random.index(map.len().max(1));
                let Some(inner) = map.values_mut().nth(index) else { return };
                inner
            }
            Value::Array(list) => {
                let index = random.index(list.len());
                &mut list[index]
            }
            _ => return,
        };
    }
    let text = "\u{1b}]52;c;aGk=\u{7}\r\nready on \u{202e}x".repeat(random.index(3000));
    let odd = [
        json!(null),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(i64::MIN),
        json!(true),
        json!(text),
        json!("exec:touch x"),
        json!([[], {}]),
        json!(vec![text.get(..40).unwrap_or_default(); 2000]),
    ];
    *at = odd[random.index(odd.len())].clone();
    *frame = control(*kind, &value);
}

/// A frame of any kind.
fn any_frame(random: &mut Random, version: u32) -> Vec<u8> {
    let mut frames = source(version);
    let refuses = random.one_in(2);
    frames.extend(destination(version, refuses));
    let index = random.index(frames.len() + 1);
    match frames.get(index) {
        Some(frame) => frame.clone(),
        None => random.bytes(2000),
    }
}

fn control(kind: u8, body: &Value) -> Vec<u8> {
    [&[kind][..], body.to_string().as_bytes()].concat()
}

fn list(kind: u8, words: &[u32]) -> Vec<u8> {
    let mut frame = vec![kind];
    words.iter().for_each(|word| frame.extend(word.to_le_bytes()));
    frame
}

fn hello(version: u32) -> Vec<u8> {
    let hello =
        json!({ "version": version, "program": "0.1.0", "qemu": "10.0.2", "migration": "m-1" });
    control(HELLO, &hello)
}

/// What an honest source says.
fn source(version: u32) -> Vec<Vec<u8>> {
    let offer = json!({
        "blocks": [{ "name": BLOCK, "length": u64::from(PAGES) * 4096 }],
        "devices": [DEVICE],
        "runs": 2,
        "capabilities": ["multifd"],
        "multifd": null,
        "shares": true,
    });
    let mut runs = vec![RUNS];
    for (pages, first) in [(PAGES / 2, 0_u64), (PAGES / 2, u64::from(PAGES / 2))] {
        runs.extend([0; 4]);
        runs.extend(pages.to_le_bytes());
        runs.extend((first * 4096).to_le_bytes());
        runs.extend((first * 4096).to_le_bytes());
    }
    let mut frames = vec![hello(version), control(OFFER, &offer), runs, vec![OFFER_END]];
    for first in (0..PAGES).step_by(64) {
        let mut hashes = list(HASHES, &[first]);
        hashes.extend([7; 64 * 32]);
        frames.push(hashes);
    }
    frames.push(list(TAKEN, &[PAGES - 4, 4]));
    let finish = json!({ "status": "completed", "reason": null, "begun_unix_s": 1.5 });
    frames.push(control(FINISH, &finish));
    frames
}

/// What an honest destination says.
fn destination(version: u32, refuses: bool) -> Vec<Vec<u8>> {
    let progress = json!({
        "storage_bytes": 4096, "installed": 1, "already_present": 0, "not_installed": 0, "queued": 32,
    });
    let side = json!({
        "functions": [{ "name": "vm_start", "state": "fired", "calls": 1 }],
        "syncs": [{ "begin_s": 0.5, "duration_ms": 2.0 }],
        "iterations": 3, "iterating_s": 0.1,
        "vm_stop_s": null, "vm_start_s": 1.0, "ended_s": 1.5, "lost": 0,
    });
    let finished = json!({
        "progress": progress, "cpu_s": 0.5, "peak_memory_bytes": 1 << 20, "probes": side,
        "warnings": ["slow"],
    });
    let ready = json!({ "uri": "tcp:127.0.0.1:4444", "devices_left_out": [[0, "no such disk"]] });
    let refused = json!({ "reason": "full", "hint": "wait", "uri": "tcp:127.0.0.1:4444" });
    vec![
        hello(version),
        if refuses { control(REFUSED, &refused) } else { control(READY, &ready) },
        list(PLACED, &[0, 64, 100, 20]),
        control(PROGRESS, &progress),
        [&[NOT_PLACED, 0][..], &list(0, &[64, 30])[1..]].concat(),
        list(PLACED, &[120, PAGES - 120]),
        control(FINISHED, &finished),
    ]
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or_default()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Fewer than `most` bytes.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.index(most);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

//! Both ends over a stream in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::duplex;

use super::*;
use crate::channel::{Finish, Message};

/// The bytes of a key.
fn bytes(first: u8) -> [u8; 32] {
    std::array::from_fn(|number| first + u8::try_from(number).unwrap())
}

fn key(dir: &Path, name: &str, bytes: &[u8]) -> Security {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Security::Key(Key::read(&path).unwrap())
}

type Ends = Result<(Sender, Receiver), ChannelError>;

async fn both(connecting: &Security, accepting: &Security) -> (Ends, Ends) {
    // Small, so that every message has to be put together from pieces.
    let (one, other) = duplex(1000);
    tokio::join!(connect(one, connecting), accept(other, accepting))
}

/// A message of several frames, and of several records when encrypted.
fn long() -> Message {
    Message::Hashes {
        first: 7,
        hashes: (0..20_000).map(|n: u16| [n.to_le_bytes()[0]; 32]).collect(),
    }
}

async fn talk(security: &Security, other: &Security) {
    let (one, two) = both(security, other).await;
    let (mut send, mut receiver_back) = one.unwrap();
    let (mut send_back, mut receiver) = two.unwrap();
    let finish =
        Message::Finish(Finish { status: "completed".into(), reason: None, begun_unix_s: 0.0 });
    let there = async {
        send.send(&Message::OfferEnd).await.unwrap();
        send.send(&long()).await.unwrap();
        assert_eq!(receiver_back.receive().await.unwrap(), finish);
        send.close().await.unwrap();
    };
    let back = async {
        assert_eq!(receiver.receive().await.unwrap(), Message::OfferEnd);
        assert_eq!(receiver.receive().await.unwrap(), long());
        send_back.send(&finish).await.unwrap();
        assert!(matches!(receiver.receive().await, Err(ChannelError::Closed)));
    };
    tokio::join!(there, back);
}

#[tokio::test]
async fn messages_cross_plain_and_encrypted() {
    let dir = TempDir::new().unwrap();
    talk(&Security::Plain, &Security::Plain).await;
    let digits: String = bytes(0xa0).iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = key(dir.path(), "digits", digits.as_bytes());
    talk(&key(dir.path(), "bytes", &bytes(0xa0)), &digits).await;
}

#[tokio::test]
async fn another_key_is_named_as_such() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (key(dir.path(), "a", &bytes(1)), key(dir.path(), "b", &bytes(2)));
    let (connecting, accepting) = both(&one, &other).await;
    assert!(matches!(accepting.err().unwrap(), ChannelError::WrongKey));
    assert!(matches!(connecting.err().unwrap(), ChannelError::Rejected));
}

#[tokio::test]
async fn a_side_without_key_is_named_as_such() {
    let dir = TempDir::new().unwrap();
    let with = key(dir.path(), "a", &bytes(1));
    for (one, other) in [(&with, &Security::Plain), (&Security::Plain, &with)] {
        let (connecting, accepting) = both(one, other).await;
        assert!(matches!(connecting.err().unwrap(), ChannelError::Security { .. }));
        assert!(matches!(accepting.err().unwrap(), ChannelError::Security { .. }));
    }
}

#[tokio::test]
async fn a_stranger_is_named_as_such() {
    let (one, mut other) = duplex(1000);
    other.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let error = accept(one, &Security::Plain).await.err().unwrap();
    assert!(matches!(error, ChannelError::Stranger(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_side_is_left() {
    let (one, _other) = duplex(1000);
    let error = accept(one, &Security::Plain).await.err().unwrap();
    assert!(matches!(error, ChannelError::Silent(10)), "{error}");
}

#[tokio::test]
async fn a_changed_record_ends_the_channel() {
    let dir = TempDir::new().unwrap();
    let security = key(dir.path(), "a", &bytes(1));
    let (one, mut middle_one) = duplex(10_000);
    let (mut middle_other, other) = duplex(10_000);
    // The one in the middle lets the handshake through and turns a bit of all that comes after it.
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        for (from_connecting, length) in [(true, 8), (false, 8), (true, 50), (false, 50)] {
            let (from, to) = if from_connecting {
                (&mut middle_one, &mut middle_other)
            } else {
                (&mut middle_other, &mut middle_one)
            };
            from.read_exact(&mut bytes[..length]).await.unwrap();
            to.write_all(&bytes[..length]).await.unwrap();
        }
        let length = middle_one.read(&mut bytes).await.unwrap();
        bytes[length - 1] ^= 1;
        middle_other.write_all(&bytes[..length]).await.unwrap();
    });
    let ends = tokio::join!(connect(one, &security), accept(other, &security));
    let ((mut send, _), (_, mut receiver)) = (ends.0.unwrap(), ends.1.unwrap());
    send.send(&Message::OfferEnd).await.unwrap();
    assert!(matches!(receiver.receive().await, Err(ChannelError::Forged)));
}

#[tokio::test]
async fn an_end_inside_a_message_is_no_end() {
    let (one, mut other) = duplex(1000);
    other.write_all(b"PFERRY1P").await.unwrap();
    other.write_all(&[100, 0, 0, 0, 4]).await.unwrap();
    other.shutdown().await.unwrap();
    let (_, mut receiver) = accept(one, &Security::Plain).await.unwrap();
    assert!(matches!(receiver.receive().await, Err(ChannelError::Truncated)));
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_unread() {
    let (one, mut other) = duplex(1000);
    other.write_all(b"PFERRY1P\xff\xff\xff\x7f").await.unwrap();
    let (_, mut receiver) = accept(one, &Security::Plain).await.unwrap();
    assert!(matches!(receiver.receive().await, Err(ChannelError::TooLong(_))));
}

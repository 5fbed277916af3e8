//! Servers that lie: each ends in an error, none in a panic or an endless wait.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::storage::address::NbdServer;
use crate::storage::{Address, BufferPool, Storage};

const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";

/// A reply to `NBD_OPT_GO`.
fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// An export of 1 MiB, ready for transmission.
fn handshake() -> Vec<u8> {
    let mut export = vec![0, 0];
    export.extend((1_u64 << 20).to_be_bytes());
    export.extend(3_u16.to_be_bytes());
    [GREETING, &reply(3, &export), &reply(1, &[])].concat()
}

/// A server that says `words` to each client and then nothing, without closing.
async fn server(words: Vec<u8>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let words = words.clone();
            tokio::spawn(async move {
                // In two pieces, so that nothing counts on getting all at once.
                let (one, other) = words.split_at(words.len() / 2);
                stream.write_all(one).await.unwrap();
                stream.write_all(other).await.unwrap();
                // A client that goes ends it.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    let server = NbdServer::Tcp { host: "127.0.0.1".into(), port };
    Address::Nbd(Export { server, name: "disk".into() })
}

#[tokio::test]
async fn handshakes_that_lie_are_refused() {
    let export_of_other_option = {
        let mut bytes = reply(3, &[0, 0]);
        bytes[11] = 6;
        bytes
    };
    for (words, expected) in [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n".to_vec(), "another greeting"),
        (b"NBDMAGICIHAVEOPT\0\0".to_vec(), "newstyle"),
        ([GREETING, &reply(1, &[])].concat(), "no length"),
        ([GREETING, &reply(3, &[0, 0, 1]), &reply(1, &[])].concat(), "no length"),
        ([GREETING, &reply(77, b"x")].concat(), "unknown reply"),
        ([GREETING, &export_of_other_option].concat(), "no reply"),
        ([GREETING, &reply(0x8000_0006, b"no\x1b such")].concat(), "no such export (no such)"),
    ] {
        let error = Storage::open(&server(words).await).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}: expected {expected}");
    }
}

#[tokio::test]
async fn a_reply_that_claims_to_be_huge_is_refused_unread() {
    let mut huge = [GREETING, &reply(3, &[])].concat();
    let length = huge.len() - 4;
    huge[length..].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = Storage::open(&server(huge).await).await.unwrap_err();
    assert!(matches!(error, StorageError::Protocol { .. }), "{error}");
}

/// The sizes of reads that a server names are kept.
#[tokio::test]
async fn a_server_with_sizes_of_its_own() {
    let words = |smallest: u32, longest: u32| {
        let sizes =
            [&[0, 3][..], &smallest.to_be_bytes(), &[0; 4], &longest.to_be_bytes()].concat();
        let mut export = vec![0, 0];
        export.extend((1_u64 << 20).to_be_bytes());
        export.extend([0, 3]);
        [GREETING, &reply(3, &sizes), &reply(3, &export), &reply(1, &[])].concat()
    };
    let storage = Storage::open(&server(words(512, 70_000)).await).await.unwrap();
    assert_eq!(storage.longest_read(), 69_632);
    let pool = BufferPool::new(1, 1 << 17);
    let error = storage.read(0, 1 << 17, pool.take().await.unwrap()).await.unwrap_err();
    assert!(matches!(error, StorageError::Request { .. }), "{error}");
    let error = Storage::open(&server(words(65_536, 1 << 20)).await).await.unwrap_err();
    assert!(error.to_string().contains("at least 65536"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_left() {
    let error = Storage::open(&server(Vec::new()).await).await.unwrap_err();
    assert!(matches!(error, StorageError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn transmissions_that_lie_lose_the_connection_and_return_the_buffer() {
    let unknown_cookie = [&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &[9; 8]].concat();
    let other_magic = [0xff; 16].to_vec();
    for lie in [unknown_cookie, other_magic] {
        let storage = Storage::open(&server([handshake(), lie].concat()).await).await.unwrap();
        assert_eq!(storage.length(), 1 << 20);
        let pool = BufferPool::new(1, 4096);
        let error = storage.read(0, 4096, pool.take().await.unwrap()).await.unwrap_err();
        assert!(matches!(error, StorageError::Read { .. }), "{error}");
        assert_eq!(pool.available(), 1);
    }
}

#[tokio::test]
async fn an_error_number_is_the_reads_alone() {
    let eio = [&0x6744_6698_u32.to_be_bytes()[..], &5_u32.to_be_bytes(), &[0; 8]].concat();
    // A negative number would overflow an errno.
    let odd = [&0x6744_6698_u32.to_be_bytes()[..], &u32::MAX.to_be_bytes(), &1_u64.to_be_bytes()];
    let data = [&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &2_u64.to_be_bytes(), &[3; 4096]];
    // The server has said it all before it is asked; cookies count from 0.
    let words = [handshake(), eio, odd.concat(), data.concat()].concat();
    let storage = Storage::open(&server(words).await).await.unwrap();
    let pool = BufferPool::new(3, 4096);
    let buffers = [pool.take().await, pool.take().await, pool.take().await].map(Result::unwrap);
    let [one, two, three] = buffers.map(|buffer| storage.read(0, 4096, buffer));
    let (one, two, three) = tokio::join!(one, two, three);
    let StorageError::Read { source, .. } = one.unwrap_err() else { panic!("another error") };
    assert_eq!(source.raw_os_error(), Some(libc::EIO));
    assert!(two.is_err());
    assert_eq!(three.unwrap().filled(), [3; 4096]);
}

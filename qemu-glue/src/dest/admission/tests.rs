//! Strangers, and a source among them.

use std::net::Ipv4Addr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;
use crate::channel::{self, Hello, Key, Message, Receiver, Sender, VERSION};

/// A source gets in so soon, whoever else is there.
const SOON: Duration = Duration::from_secs(2);

fn key() -> Security {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("key");
    Key::make(&path).unwrap();
    Security::Key(Key::read(&path).unwrap())
}

async fn start(security: &Security) -> (Admission, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Admission::start(listener, security.clone()), address)
}

/// A connection from another of this machine's addresses.
async fn from(last: [u8; 2], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, last[0], last[1]), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

fn hello() -> Message {
    Message::Hello(Hello {
        version: VERSION,
        program: "test".into(),
        qemu: "10.0.2".into(),
        migration: "m-1".into(),
    })
}

async fn source(to: SocketAddr, security: &Security) -> (Sender, Receiver) {
    let stream = from([9, 9], to).await;
    let (mut sender, receiver) = channel::connect(stream, security).await.unwrap();
    sender.send(&hello()).await.unwrap();
    (sender, receiver)
}

/// A source connects, and is admitted.
async fn gets_in(admission: &mut Admission, to: SocketAddr, security: &Security) {
    let begun = Instant::now();
    let (_source, admitted) = tokio::join!(source(to, security), admission.next());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(admitted.greeting.hello.migration, "m-1");
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    for security in [Security::Plain, key()] {
        let (mut admission, to) = start(&security).await;
        let mut silent = Vec::new();
        for number in 0..100 {
            // Some of the source's own address, some of many others.
            let last = if number % 2 == 0 { [9, 9] } else { [1, number] };
            silent.push(from(last, to).await);
        }
        gets_in(&mut admission, to, &security).await;
    }
}

#[tokio::test]
async fn a_recorded_first_message_gets_nobody_in() {
    let security = key();
    let (mut admission, to) = start(&security).await;
    // One in the middle writes down what a source says first.
    let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = middle.local_addr().unwrap();
    let record = async {
        let (mut near, _) = middle.accept().await.unwrap();
        let mut far = from([8, 8], to).await;
        let (mut said, mut answer) = ([0; 58], [0; 8]);
        near.read_exact(&mut said[..8]).await.unwrap();
        far.write_all(&said[..8]).await.unwrap();
        far.read_exact(&mut answer).await.unwrap();
        near.write_all(&answer).await.unwrap();
        near.read_exact(&mut said[8..]).await.unwrap();
        said
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let (said, _) = tokio::join!(record, channel::connect(stream, &security));
    let mut replays = Vec::new();
    for number in 0..40 {
        let mut replay = from([7, number], to).await;
        replay.write_all(&said).await.unwrap();
        // It is answered: the handshake is right as far as anybody can tell by now.
        let mut answer = [0; 8 + 50];
        replay.read_exact(&mut answer).await.unwrap();
        // Nor does it help to say anything after it.
        replay.write_all(&[30, 0]).await.unwrap();
        replay.write_all(&[7; 30]).await.unwrap();
        replays.push(replay);
    }
    let nobody = timeout(Duration::from_millis(200), admission.next()).await;
    assert!(nobody.is_err(), "a replay was admitted");
    gets_in(&mut admission, to, &security).await;
}

#[tokio::test]
async fn one_source_at_a_time_and_the_next_is_told() {
    let security = Security::Plain;
    let (mut admission, to) = start(&security).await;
    let (_first, admitted) = tokio::join!(source(to, &security), admission.next());
    let (_sender, mut receiver) = source(to, &security).await;
    let told = timeout(SLOT * 2, receiver.receive()).await.unwrap().unwrap();
    let Message::Refused(refused) = told else { panic!("{told:?}") };
    assert!(refused.reason.contains("another migration") && refused.uri.is_none(), "{refused:?}");
    drop(admitted);
    gets_in(&mut admission, to, &security).await;
}

#[tokio::test]
async fn who_came_last_stays_among_strangers_of_many_addresses() {
    let (_admission, to) = start(&Security::Plain).await;
    let entry = Arc::new(Entry {
        security: Security::Plain,
        slot: Arc::new(Semaphore::new(1)),
        waiting: Arc::new(Semaphore::new(1)),
        admitted: mpsc::channel(1).0,
    });
    let mut unheard = Unheard::default();
    // Strangers, each with an address of its own, and a source before the last of them.
    let source = SocketAddr::from(([10, 0, 1, 1], 1));
    let strangers = (0..).map(|host| SocketAddr::from(([10, 0, 0, host], 1)));
    for peer in strangers.take(UNHEARD).chain([source, SocketAddr::from(([10, 0, 2, 1], 1))]) {
        let stream = TcpStream::connect(to).await.unwrap();
        unheard.hear(Arc::clone(&entry), stream, peer);
    }
    assert_eq!(unheard.peers.len(), UNHEARD);
    assert!(unheard.peers.values().any(|peer| peer.host == source.ip()), "the source had to go");
}

#[tokio::test]
async fn an_address_goes_for_itself_and_the_largest_for_others() {
    let (_admission, to) = start(&Security::Plain).await;
    let entry = Arc::new(Entry {
        security: Security::Plain,
        slot: Arc::new(Semaphore::new(1)),
        waiting: Arc::new(Semaphore::new(1)),
        admitted: mpsc::channel(1).0,
    });
    let mut unheard = Unheard::default();
    let peer = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
    for number in 0..12 {
        let stream = TcpStream::connect(to).await.unwrap();
        assert_eq!(unheard.hear(Arc::clone(&entry), stream, peer(1)), number >= UNHEARD_OF_ONE);
    }
    let hosts =
        |unheard: &Unheard| unheard.peers.values().map(|peer| peer.host).collect::<Vec<_>>();
    assert_eq!(hosts(&unheard).len(), UNHEARD_OF_ONE);
    for number in 0..40 {
        let stream = TcpStream::connect(to).await.unwrap();
        unheard.hear(Arc::clone(&entry), stream, peer(100 + number));
    }
    let hosts = hosts(&unheard);
    assert_eq!(hosts.len(), UNHEARD);
    assert!(!hosts.contains(&peer(1).ip()), "it has been there longest");
    assert!(hosts.contains(&peer(139).ip()), "the last one has its place");
    let network = |text: &str| host(text.parse().unwrap());
    assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2:ffff::1"));
    assert_ne!(network("2001:db8:1:2::4"), network("2001:db8:1:3::4"));
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
}

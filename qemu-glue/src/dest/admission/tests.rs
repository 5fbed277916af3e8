//! Strangers, and a source among them.

#[path = "../../../tests/hostile/middle.rs"]
mod middle;

use middle::{FIRST_WORDS, PREFACE, overhear};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;
use crate::channel::{self, ChannelError, Key, Message, PeerHello, Receiver, Sender, VERSION};

/// A source gets in so soon, whoever else is there; and ten times what this machine takes where nobody is.
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

/// A connection from another of this machine's addresses, `127.a.b.c`.
async fn from([a, b, c]: [u8; 3], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, a, b, c), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

fn hello() -> Message {
    Message::Hello(PeerHello {
        version: VERSION,
        program: "test".into(),
        qemu: "10.0.2".into(),
        migration: "m-1".into(),
    })
}

async fn source(to: SocketAddr, security: &Security) -> (Sender, Receiver) {
    let stream = from([0, 9, 9], to).await;
    let (mut sender, receiver) = channel::connect(stream, security).await.unwrap();
    sender.send(&hello()).await.unwrap();
    (sender, receiver)
}

/// A source that stands still before the receiver has its first message: how it goes on, and the message with what came before.
async fn stopped(to: SocketAddr, security: &Security) -> (Stopped, [u8; FIRST_WORDS]) {
    let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(middle.local_addr().unwrap()).await.unwrap();
    let security = security.clone();
    let source = tokio::spawn(async move {
        let (mut sender, receiver) = channel::connect(stream, &security).await?;
        sender.send(&hello()).await.map(|()| (sender, receiver))
    });
    let (near, far, recorded) = overhear(middle, from([9, 9, 9], to).await).await;
    (Stopped { near, far, source }, recorded)
}

struct Stopped {
    near: TcpStream,
    far: TcpStream,
    source: JoinHandle<Result<(Sender, Receiver), ChannelError>>,
}

/// A source connects, and is admitted.
async fn gets_in(admission: &mut Admission, to: SocketAddr, security: &Security) {
    let took = admitted(admission, to, security).await;
    if took >= SOON {
        let (mut empty, its) = start(security).await;
        let alone = admitted(&mut empty, its, security).await;
        assert!(took < SOON + 10 * alone, "{took:?}, where nobody else is {alone:?}");
    }
}

/// How long it takes a source to be admitted.
async fn admitted(admission: &mut Admission, to: SocketAddr, security: &Security) -> Duration {
    let begun = Instant::now();
    let (_source, admitted) = tokio::join!(source(to, security), admission.next());
    assert_eq!(admitted.source.hello.migration, "m-1");
    begun.elapsed()
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    for security in [Security::Plain, key()] {
        let (mut admission, to) = start(&security).await;
        let mut silent = Vec::new();
        for number in 0..100 {
            // Some of the source's own address, some of many others.
            let last = if number % 2 == 0 { [0, 9, 9] } else { [0, 1, number] };
            silent.push(from(last, to).await);
        }
        gets_in(&mut admission, to, &security).await;
    }
}

#[tokio::test]
async fn a_recorded_first_message_gets_nobody_in() {
    let security = key();
    let (mut admission, to) = start(&security).await;
    let (_, recorded) = stopped(to, &security).await;
    let mut replays = Vec::new();
    for number in 0..40 {
        let mut replay = from([0, 7, number], to).await;
        replay.write_all(&recorded).await.unwrap();
        // It is answered: the handshake is right as far as it has come.
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
    let reply = timeout(SLOT * 2, receiver.receive()).await.unwrap().unwrap();
    let Message::Refused(refused) = reply else { panic!("{reply:?}") };
    assert!(refused.reason.contains("another migration") && refused.uri.is_none(), "{refused:?}");
    drop(admitted);
    gets_in(&mut admission, to, &security).await;
}

/// Those in their handshake, whose bytes never come.
struct Crowd {
    unheard: Unheard,
    gate: Arc<Gate>,
    listener: TcpListener,
}

impl Crowd {
    async fn new() -> Self {
        let gate = Gate {
            security: Security::Plain,
            slot: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(1)),
            admitted: mpsc::channel(1).0,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { unheard: Unheard::default(), gate: Arc::new(gate), listener }
    }

    /// One more comes from `address`; whether another goes.
    async fn comes(&mut self, address: impl Into<IpAddr>) -> bool {
        let to = self.listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).await.unwrap();
        let _ = self.listener.accept().await.unwrap();
        self.unheard.handshake(Arc::clone(&self.gate), stream, (address.into(), 1).into())
    }

    fn has(&self, address: impl Into<IpAddr>) -> usize {
        let host = host(address.into());
        self.unheard.peers.values().filter(|peer| peer.host == host).count()
    }

    /// Whoever came from `address` has come so far, and came so long ago.
    fn set(&mut self, address: impl Into<IpAddr>, step: Option<Step>, ago: Duration) {
        let host = host(address.into());
        for peer in self.unheard.peers.values_mut().filter(|peer| peer.host == host) {
            step.into_iter().for_each(|step| peer.reached.set(step));
            peer.since -= ago;
        }
    }
}

/// Addresses of as many networks as there is room for.
fn strangers() -> impl Iterator<Item = [u8; 4]> {
    (0..UNHEARD).map(|number| [10, u8::try_from(number).unwrap(), 0, 1])
}

const SOURCE: [u8; 4] = [11, 0, 0, 1];
const LATE: [u8; 4] = [12, 0, 0, 1];

#[tokio::test]
async fn who_came_last_stays_among_strangers_of_many_networks() {
    let mut crowd = Crowd::new().await;
    // Strangers, each of a network of its own, and a source before the last of them.
    for address in strangers().chain([SOURCE, LATE]) {
        crowd.comes(address).await;
    }
    assert_eq!(crowd.unheard.peers.len(), UNHEARD);
    assert_eq!(crowd.has(SOURCE), 1, "the source had to go");
}

#[tokio::test]
async fn an_address_goes_for_itself_and_the_largest_for_others() {
    let mut crowd = Crowd::new().await;
    for number in 0..12 {
        assert_eq!(crowd.comes(SOURCE).await, number >= UNHEARD_OF_ONE);
    }
    for address in strangers() {
        crowd.comes(address).await;
    }
    assert_eq!(crowd.unheard.peers.len(), UNHEARD);
    assert_eq!(crowd.has(SOURCE), 0, "it has been there longest");
    assert_eq!(crowd.has(strangers().last().unwrap()), 1, "the last one has its place");
}

#[tokio::test]
async fn a_network_goes_for_others_and_in_it_an_address_that_has_more() {
    let mut crowd = Crowd::new().await;
    let neighbour = [11, 0, 0, 2];
    crowd.comes(SOURCE).await;
    crowd.comes(neighbour).await;
    crowd.comes(neighbour).await;
    for address in strangers().take(UNHEARD - 2) {
        crowd.comes(address).await;
    }
    assert_eq!((crowd.has(SOURCE), crowd.has(neighbour)), (1, 1));
    crowd.comes(LATE).await;
    assert_eq!((crowd.has(SOURCE), crowd.has(neighbour)), (0, 1), "then the oldest of the network");
}

#[tokio::test]
async fn who_says_nothing_for_long_goes_first_and_who_says_most_goes_last() {
    let mut crowd = Crowd::new().await;
    crowd.comes(SOURCE).await;
    for address in strangers().skip(1) {
        crowd.comes(address).await;
    }
    let (mute, quick) = ([10, 9, 0, 1], [10, 7, 0, 1]);
    crowd.set(SOURCE, Some(Step::Keyed), 5 * MUTE);
    strangers().for_each(|address| crowd.set(address, Some(Step::Preface), Duration::ZERO));
    crowd.comes(mute).await;
    crowd.set(mute, None, MUTE);
    crowd.comes(quick).await;
    assert_eq!((crowd.has(mute), crowd.has(quick)), (1, 2), "the mute one, whoever has more");
    // The network that has most, then whoever is least far, then the oldest.
    for address in strangers() {
        crowd.comes(address).await;
    }
    assert_eq!(crowd.has(SOURCE), 1, "it has the key, for all that is known");
}

#[test]
fn networks_and_addresses_are_told_apart() {
    let [host, network] =
        [host, network].map(|of: fn(IpAddr) -> IpAddr| move |text: &str| of(text.parse().unwrap()));
    assert_eq!(host("2001:db8:1:2:3::4"), host("2001:db8:1:2:ffff::1"));
    assert_ne!(host("2001:db8:1:2::4"), host("2001:db8:1:3::4"));
    assert_eq!(network("2001:db8:1:2::4"), network("2001:db8:1:3::4"));
    assert_ne!(network("2001:db8:1::4"), network("2001:db8:2::4"));
    assert_eq!(host("::ffff:10.0.0.1"), host("10.0.0.1"));
    assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
    assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.2"));
    assert_ne!(network("10.0.0.1"), network("10.0.1.1"));
}

/// A source is in the middle of its handshake when a flood comes from more networks than there is room for.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_many_networks_keeps_no_source_from_its_handshake() {
    let security = key();
    for (forwarded, flood) in [(PREFACE, 0), (FIRST_WORDS, 0), (FIRST_WORDS, PREFACE)] {
        let (mut admission, to) = start(&security).await;
        let (mut stopped, recorded) = stopped(to, &security).await;
        stopped.far.write_all(&recorded[PREFACE..forwarded]).await.unwrap();
        let mut strangers = Vec::new();
        for number in 0..u16::try_from(UNHEARD).unwrap() * 3 / 2 {
            let [high, low] = number.to_be_bytes();
            let mut stranger = from([1 + high, low, 1], to).await;
            stranger.write_all(&recorded[..flood]).await.unwrap();
            strangers.push(stranger);
        }
        stopped.far.write_all(&recorded[forwarded..]).await.unwrap();
        let mut both = (stopped.near, stopped.far);
        tokio::spawn(async move {
            tokio::io::copy_bidirectional(&mut both.0, &mut both.1).await.is_ok()
        });
        let admitted = timeout(SOON, admission.next()).await;
        let who = format!("after {forwarded} bytes, among strangers that say {flood}");
        let admitted = admitted.unwrap_or_else(|_| panic!("a source had to go {who}"));
        assert_eq!(admitted.source.hello.migration, "m-1");
        assert!(stopped.source.await.unwrap().is_ok());
    }
}

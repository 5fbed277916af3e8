//! The source's end of the channel, and `receive` at the other one.

use std::path::Path;
use std::time::Duration;

use foreign::Name;
use page_number::PAGE_BYTES;
use qemu_glue::channel::{
    self, Finish, Finished, Message, NotInstalled, Offer, PeerHello, Receiver, Security, Sender,
    VERSION,
};
use qemu_glue::dest::{self, Limits, Options, Outcome, ReceiveError};
use qemu_glue::set::{Block, SetRun};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::middle::{FIRST_WORDS, overhear};
use crate::qemu::{RAM_BYTES, page};

/// Longer than anything here may take.
const AT_LAST: Duration = Duration::from_secs(60);

/// A source that is connected to a destination which serves it.
pub(crate) struct Source {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    /// `None` when a program serves.
    served: Option<JoinHandle<Result<Outcome, ReceiveError>>>,
}

pub(crate) fn options(qmp: &Path) -> Options {
    Options {
        qmp: qmp.to_owned(),
        migration_address: "127.0.0.1".parse().unwrap(),
        security: Security::Plain,
        disks: Vec::new(),
        limits: Limits::default(),
        silence: dest::SILENCE,
        probes: false,
    }
}

/// The first bytes of a source with this key, as somebody between it and the receiver reads them.
pub(crate) async fn first_words(address: &str, security: &Security) -> [u8; FIRST_WORDS] {
    let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(middle.local_addr().unwrap()).await.unwrap();
    let far = TcpStream::connect(address).await.unwrap();
    let security = security.clone();
    let source = tokio::spawn(async move { channel::connect(stream, &security).await.is_ok() });
    let (_, _, text) = overhear(middle, far).await;
    assert!(!source.await.unwrap());
    text
}

/// An offer of runs given as pages: offset in RAM, place on disk, number.
pub(crate) fn offer(runs: &[(u64, u64, u32)]) -> (Offer, Vec<SetRun>) {
    let run = |(offset, place, pages): &(u64, u64, u32)| SetRun {
        block: 0,
        device: 0,
        pages: *pages,
        offset: offset * PAGE_BYTES,
        place: place * PAGE_BYTES,
    };
    let offer = Offer {
        blocks: vec![Block { name: "mem0".into(), length: RAM_BYTES }],
        devices: vec![Name::try_from("serial:data").unwrap()],
        runs: runs.len() as u64,
        capabilities: Vec::new(),
        multifd: None,
        shares: false,
    };
    (offer, runs.iter().map(run).collect())
}

impl Source {
    /// Connects, and greets.
    pub(crate) async fn connect(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let security = options.security.clone();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            dest::receive(stream, &options, &mut |_| {}).await
        });
        let mut source = Self::to(&address.to_string(), &security).await;
        source.served = Some(served);
        source
    }

    /// Connects to who serves already, and greets.
    pub(crate) async fn to(address: &str, security: &Security) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, receiver) = channel::connect(stream, security).await.unwrap();
        let mut source = Self { sender, receiver, served: None };
        let hello = PeerHello {
            version: VERSION,
            program: "test".into(),
            qemu: "10.0.2".into(),
            migration: "m-1".into(),
        };
        source.send(Message::Hello(hello)).await;
        let Message::Hello(hello) = source.receive().await else { panic!("no greeting") };
        assert_eq!((hello.version, hello.migration.raw()), (VERSION, "m-1"));
        source
    }

    /// Offers, and receives the destination's answer.
    pub(crate) async fn offer(&mut self, (offer, runs): (Offer, Vec<SetRun>)) -> Message {
        self.send(Message::Offer(offer)).await;
        self.send(Message::Runs(runs)).await;
        self.send(Message::OfferEnd).await;
        self.receive().await
    }

    /// Sends hashes of the disk's pages.
    pub(crate) async fn hashes(&mut self, first: u32, disk: std::ops::Range<u64>) {
        let hashes = disk.map(|number| *blake3::hash(&page(number)).as_bytes()).collect();
        self.send(Message::Hashes { first, hashes }).await;
    }

    /// Numbers of installed pages, and of those that are not with the reason, until all `pages` are
    /// answered.
    pub(crate) async fn answers(&mut self, pages: usize) -> (Vec<u32>, Vec<(u32, NotInstalled)>) {
        let (mut installed, mut not) = (Vec::new(), Vec::new());
        while installed.len() + not.len() < pages {
            match self.receive().await {
                Message::Installed(ranges) => {
                    installed.extend(ranges.iter().flat_map(|r| r.first..r.first + r.count));
                }
                Message::NotInstalled(why, ranges) => {
                    let numbers = ranges.iter().flat_map(|r| r.first..r.first + r.count);
                    not.extend(numbers.map(|number| (number, why)));
                }
                Message::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
        (installed, not)
    }

    /// Ends the migration, and receives the last message.
    pub(crate) async fn finish(mut self) -> (Finished, Outcome) {
        let served = self.served.take().unwrap();
        let finished = self.finish_alone().await;
        (finished, timeout(AT_LAST, served).await.unwrap().unwrap().unwrap())
    }

    /// [`Self::finish`] with a program.
    pub(crate) async fn finish_alone(mut self) -> Finished {
        let status = "completed".into();
        self.send(Message::Finish(Finish { status, reason: None, begun_unix_s: 0.0 })).await;
        loop {
            match self.receive().await {
                Message::Finished(finished) => return finished,
                Message::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Goes without a word; gives what the destination makes of it.
    pub(crate) async fn vanish(self) -> Result<Outcome, ReceiveError> {
        drop((self.sender, self.receiver));
        timeout(AT_LAST, self.served.unwrap()).await.unwrap().unwrap()
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.sender.send(&message).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Message {
        timeout(AT_LAST, self.receiver.receive()).await.unwrap().unwrap()
    }
}

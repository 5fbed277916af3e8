//! Lets sources in: handshakes run side by side, sources are served one after the other.
//!
//! ```text
//! accept -> handshake and hello (10 s, side by side, few of an address) -> the slot (3 s) -> Admitted
//! ```
//! Who has not greeted has a socket and a few KiB of this program, and nothing of QEMU. There is room for a bounded number of
//! them, and strangers must not choose who goes when there is none. The first rule that distinguishes them decides:
//!
//! 1. who has sent nothing of this protocol for [`MUTE`], where a source sends at once;
//! 2. one of the network that has most (an IPv4 /24, an IPv6 /48), and in it one of the address that has most;
//! 3. who has come least far: anyone can send the first bytes, but the first message takes the key or a recording;
//! 4. the oldest.
//!
//! So a flood has to come from as many networks as there is room, within the time that a source needs for its handshake, and
//! send what a source with the key sends.

mod hello;
mod rate_limit;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, Id, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

pub use self::hello::NewSource;
pub use self::rate_limit::RateLimitedLog;
use crate::channel::{Security, Step};
use crate::dest::error::ReceiveError;
use crate::error_chain;

/// Most sources that are in their handshake at a time and have not greeted, and most of them of one address.
const UNHEARD: usize = 256;
const UNHEARD_OF_ONE: usize = 8;
/// How long one may send nothing of this protocol before it goes first.
const MUTE: Duration = Duration::from_secs(1);
/// Most sources that have greeted and wait.
const WAITING: usize = 8;
/// How long a source that has greeted waits for the one before it; it expects an answer within 10 s.
const SLOT: Duration = Duration::from_secs(3);
/// The pause after a connection could not be accepted, most of all for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a source host may be gone before the channel counts as broken.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// How often the number of strangers is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Listens for sources, until it is dropped.
pub struct Admission {
    admitted: mpsc::Receiver<Admitted>,
    task: JoinHandle<()>,
}

/// A source whose turn it is. The next one's turn comes when it is dropped.
pub struct Admitted {
    pub(in crate::dest) source: NewSource,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
}

impl Admitted {
    /// Its address.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The source, and its turn.
    pub(in crate::dest) fn into_parts(self) -> (NewSource, OwnedSemaphorePermit) {
        (self.source, self.slot)
    }
}

impl Admission {
    /// Accepts those that connect to `listener`. Must be called in a runtime.
    #[must_use]
    pub fn start(listener: TcpListener, security: Security) -> Self {
        let (sender, admitted) = mpsc::channel(1);
        let gate = Gate {
            security,
            slot: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            admitted: sender,
        };
        Self { admitted, task: tokio::spawn(admit(listener, Arc::new(gate))) }
    }

    /// The next source. Loses none when it is dropped.
    pub async fn next(&mut self) -> Admitted {
        match self.admitted.recv().await {
            Some(admitted) => admitted,
            // Its task ends with this value.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all that connect have in common.
struct Gate {
    security: Security,
    slot: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    admitted: mpsc::Sender<Admitted>,
}

/// How one ended that was not admitted.
type HandshakeEnd = Result<(), (SocketAddr, ReceiveError)>;

async fn admit(listener: TcpListener, gate: Arc<Gate>) {
    let mut unheard = Unheard::default();
    let mut strangers = RateLimitedLog::new("connections that were no source's");
    let mut tick = interval(LOG_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // One that is gone already is noticed when it is served.
                    if let Err(error) = keep_alive(&stream) {
                        log::debug!("failed to set up the connection of {peer}: {error}");
                    }
                    if unheard.handshake(Arc::clone(&gate), stream, peer) {
                        strangers.warn("crowded out", || format!("{peer} came, and there was no room: another went"));
                    }
                }
                Err(error) => {
                    strangers.warn("not accepted", || format!("failed to accept a source: {error}"));
                    // Where descriptors are missing, it has one.
                    unheard.drop_oldest();
                    sleep(AGAIN).await;
                }
            },
            Some(ended) = unheard.ended() => if let Err((peer, error)) = ended {
                strangers.warn(error.kind(), || explained(peer, &error));
            },
            _ = tick.tick() => strangers.flush(),
        }
    }
}

fn explained(peer: SocketAddr, error: &ReceiveError) -> String {
    let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("{peer} is not served: {}{hint}", error_chain(error))
}

impl Gate {
    /// Does the handshake with one, and waits for its turn.
    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        reached: &Reached,
    ) -> HandshakeEnd {
        let on_step = |step| reached.set(step);
        let accepted = NewSource::accept_with_steps(stream, &self.security, &on_step).await;
        let source = accepted.map_err(|error| (peer, error))?;
        reached.greet();
        let busy = "the receiver serves another migration";
        let hint = "wait for its end, or read the output of `poolferry-host receive` there";
        let Ok(_waits) = self.waiting.try_acquire() else {
            source.refuse(busy, hint).await;
            return Ok(());
        };
        match timeout(SLOT, Arc::clone(&self.slot).acquire_owned()).await {
            Ok(Ok(slot)) => {
                // Sending fails only when the program ends.
                let _ = self.admitted.send(Admitted { source, peer, slot }).await;
            }
            _ => source.refuse(busy, hint).await,
        }
        Ok(())
    }
}

/// Those in their handshake, in the order in which they came.
#[derive(Default)]
struct Unheard {
    tasks: JoinSet<HandshakeEnd>,
    peers: BTreeMap<u64, Newcomer>,
    next: u64,
}

struct Newcomer {
    host: IpAddr,
    since: Instant,
    task: AbortHandle,
    reached: Arc<Reached>,
}

impl Newcomer {
    fn is_mute(&self) -> bool {
        self.reached.get() == 0 && self.since.elapsed() >= MUTE
    }
}

/// How far one has come: 0 while it has sent nothing of this protocol, then the [`Step`]s, then its hello.
#[derive(Default)]
struct Reached(AtomicU8);

impl Reached {
    const GREETED: u8 = u8::MAX;

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, step: Step) {
        self.0.store(step as u8 + 1, Ordering::Relaxed);
    }

    fn greet(&self) {
        self.0.store(Self::GREETED, Ordering::Relaxed);
    }
}

impl Unheard {
    /// Begins one more handshake; returns whether another had to go for it.
    fn handshake(&mut self, gate: Arc<Gate>, stream: TcpStream, peer: SocketAddr) -> bool {
        let host = host(peer.ip());
        let goes = self.goes_for(host);
        if let Some(goes) = goes {
            self.drop_peer(goes);
        }
        let reached = Arc::<Reached>::default();
        let reaches = Arc::clone(&reached);
        let task = self.tasks.spawn(async move { gate.handshake(stream, peer, &reaches).await });
        self.peers.insert(self.next, Newcomer { host, since: Instant::now(), task, reached });
        self.next += 1;
        goes.is_some()
    }

    /// Those that have not greeted, in the order in which they came.
    fn waiting(&self) -> impl Iterator<Item = (u64, &Newcomer)> {
        let waiting = self.peers.iter().filter(|(_, peer)| peer.reached.get() != Reached::GREETED);
        waiting.map(|(number, peer)| (*number, peer))
    }

    /// Who goes when one more comes from `host`.
    fn goes_for(&self, host: IpAddr) -> Option<u64> {
        let of_host = || self.waiting().filter(|(_, peer)| peer.host == host);
        if of_host().count() >= UNHEARD_OF_ONE {
            return of_host().next().map(|(number, _)| number);
        }
        if self.waiting().count() < UNHEARD {
            return None;
        }
        let (mut networks, mut hosts) = (HashMap::new(), HashMap::new());
        for (_, peer) in self.waiting() {
            *networks.entry(network(peer.host)).or_insert(0_usize) += 1;
            *hosts.entry(peer.host).or_insert(0_usize) += 1;
        }
        let rank = |(number, peer): &(u64, &Newcomer)| {
            let of_network = networks.get(&network(peer.host)).copied();
            let of_host = hosts.get(&peer.host).copied();
            let many = (Reverse(of_network), Reverse(of_host));
            (Reverse(peer.is_mute()), many, peer.reached.get(), *number)
        };
        self.waiting().min_by_key(rank).map(|(number, _)| number)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.waiting().next().map(|(number, _)| number);
        if let Some(oldest) = oldest {
            self.drop_peer(oldest);
        }
    }

    fn drop_peer(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            peer.task.abort();
        }
    }

    /// How the next one ended; `None` where there is none.
    async fn ended(&mut self) -> Option<HandshakeEnd> {
        loop {
            let (id, ended) = match self.tasks.join_next_with_id().await? {
                Ok((id, ended)) => (id, Some(ended)),
                Err(error) => (error.id(), None),
            };
            self.forget(id);
            // Who was sent away was counted then.
            if let Some(ended) = ended {
                return Some(ended);
            }
        }
    }

    fn forget(&mut self, id: Id) {
        self.peers.retain(|_, peer| peer.task.id() != id);
    }
}

/// Who counts as one: an address, or what one customer of a network has of the new ones.
fn host(address: IpAddr) -> IpAddr {
    prefix(address, 32, 64)
}

/// What one owner of addresses has of them at least: an IPv4 /24, an IPv6 /48.
fn network(address: IpAddr) -> IpAddr {
    prefix(address, 24, 48)
}

/// The first bits of an address, of 32 and of 128.
fn prefix(address: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !(u32::MAX.unbounded_shr(v4_bits))))
        }
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX.unbounded_shr(v6_bits))))
        }
    }
}

/// Notices a source host that is gone without a word.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let millis = u32::try_from(GONE_AFTER.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, GONE_AFTER / 4)?;
    sockopt::set_tcp_keepintvl(stream, GONE_AFTER / 4)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}

#[cfg(test)]
mod tests;

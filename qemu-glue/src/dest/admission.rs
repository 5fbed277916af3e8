//! Lets sources in: they are heard side by side, and served one after the other.
//!
//! ```text
//! accept -> handshake and greeting (10 s, side by side, few of an address) -> the slot (3 s) -> Admitted
//! ```
//! Who has not greeted has a socket and a few KiB of this program, and nothing of QEMU. There is room for few of them, so that
//! it is not for the strangers to say who gets in: one more takes the place of the oldest of the address
//! that has most, and of the oldest of all where none has more than another.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, Id, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::error::ReceiveError;
use super::greeting::Greeting;
use super::rare::Rare;
use crate::channel::Security;
use crate::error_chain;

/// Most sources that are heard at a time and have not greeted, and most of them of one address.
const UNHEARD: usize = 32;
const UNHEARD_OF_ONE: usize = 8;
/// Most sources that have greeted and wait.
const WAITING: usize = 8;
/// How long a source that has greeted waits for the one before it; it expects an answer within 10 s.
const SLOT: Duration = Duration::from_secs(3);
/// How long nobody is accepted after it has failed, most of all for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a source host may be gone before the channel counts as broken.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// How often it is told how many strangers there were.
const TOLD: Duration = Duration::from_secs(60);

/// Listens for sources, until it is dropped.
pub struct Admission {
    admitted: mpsc::Receiver<Admitted>,
    task: JoinHandle<()>,
}

/// A source whose turn it is. The next one's turn comes when it is dropped.
pub struct Admitted {
    pub(super) greeting: Greeting,
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
    pub(super) fn into_parts(self) -> (Greeting, OwnedSemaphorePermit) {
        (self.greeting, self.slot)
    }
}

impl Admission {
    /// Hears those that connect to `listener`. Must be called in a runtime.
    #[must_use]
    pub fn start(listener: TcpListener, security: Security) -> Self {
        let (sender, admitted) = mpsc::channel(1);
        let entry = Entry {
            security,
            slot: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            admitted: sender,
        };
        Self { admitted, task: tokio::spawn(admit(listener, Arc::new(entry))) }
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
struct Entry {
    security: Security,
    slot: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    admitted: mpsc::Sender<Admitted>,
}

/// How one ended that was not admitted.
type Ended = Result<(), (SocketAddr, ReceiveError)>;

async fn admit(listener: TcpListener, entry: Arc<Entry>) {
    let mut unheard = Unheard::default();
    let mut strangers = Rare::new("connections that were no source's");
    let mut tick = interval(TOLD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // One that is gone already tells by itself that it is.
                    if let Err(error) = keep_alive(&stream) {
                        log::debug!("failed to set up the connection of {peer}: {error}");
                    }
                    if unheard.hear(Arc::clone(&entry), stream, peer) {
                        strangers.note("crowded out", || format!("{peer} came, and there was no room: the oldest went"));
                    }
                }
                Err(error) => {
                    strangers.note("not accepted", || format!("failed to accept a source: {error}"));
                    // Where descriptors are missing, it has one.
                    unheard.drop_oldest();
                    sleep(AGAIN).await;
                }
            },
            Some(ended) = unheard.ended() => if let Err((peer, error)) = ended {
                strangers.note(error.kind(), || explained(peer, &error));
            },
            _ = tick.tick() => strangers.tell(),
        }
    }
}

fn explained(peer: SocketAddr, error: &ReceiveError) -> String {
    let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("{peer} is not served: {}{hint}", error_chain(error))
}

impl Entry {
    /// Hears one, and waits for its turn.
    async fn hear(&self, stream: TcpStream, peer: SocketAddr, greeted: &AtomicBool) -> Ended {
        let heard = Greeting::hear(stream, &self.security).await;
        let greeting = heard.map_err(|error| (peer, error))?;
        greeted.store(true, Ordering::Relaxed);
        let busy = "the receiver serves another migration";
        let hint = "wait for its end, or look at what `poolferry-host receive` says there";
        let Ok(_waits) = self.waiting.try_acquire() else {
            greeting.refuse(busy, hint).await;
            return Ok(());
        };
        match timeout(SLOT, Arc::clone(&self.slot).acquire_owned()).await {
            Ok(Ok(slot)) => {
                // Nobody takes it only when the program ends.
                let _ = self.admitted.send(Admitted { greeting, peer, slot }).await;
            }
            _ => greeting.refuse(busy, hint).await,
        }
        Ok(())
    }
}

/// Those that are heard, in the order in which they came.
#[derive(Default)]
struct Unheard {
    tasks: JoinSet<Ended>,
    peers: BTreeMap<u64, Peer>,
    next: u64,
}

struct Peer {
    host: IpAddr,
    task: AbortHandle,
    greeted: Arc<AtomicBool>,
}

impl Unheard {
    /// Hears one more; whether another had to go for it.
    fn hear(&mut self, entry: Arc<Entry>, stream: TcpStream, peer: SocketAddr) -> bool {
        let host = host(peer.ip());
        let goes = self.goes_for(host);
        if let Some(oldest) = goes {
            self.drop_peer(oldest);
        }
        let greeted = Arc::new(AtomicBool::new(false));
        let has_greeted = Arc::clone(&greeted);
        let task = self.tasks.spawn(async move { entry.hear(stream, peer, &has_greeted).await });
        self.peers.insert(self.next, Peer { host, task, greeted });
        self.next += 1;
        goes.is_some()
    }

    /// Who goes when one more comes from `host`.
    fn goes_for(&self, host: IpAddr) -> Option<u64> {
        let unheard =
            || self.peers.iter().filter(|(_, peer)| !peer.greeted.load(Ordering::Relaxed));
        let of = |host: IpAddr| unheard().filter(move |(_, peer)| peer.host == host);
        if of(host).count() >= UNHEARD_OF_ONE {
            return of(host).map(|(number, _)| *number).next();
        }
        if unheard().count() < UNHEARD {
            return None;
        }
        // Where several have most, the one that is there longest: a source that has just come is not done yet.
        let newest_first = unheard().rev().map(|(_, peer)| peer.host);
        let most = newest_first.max_by_key(|host| of(*host).count())?;
        of(most).map(|(number, _)| *number).next()
    }

    fn drop_oldest(&mut self) {
        let oldest = self.peers.iter().find(|(_, peer)| !peer.greeted.load(Ordering::Relaxed));
        if let Some(oldest) = oldest.map(|(number, _)| *number) {
            self.drop_peer(oldest);
        }
    }

    fn drop_peer(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            peer.task.abort();
        }
    }

    /// How the next one ended; `None` where there is none.
    async fn ended(&mut self) -> Option<Ended> {
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
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
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

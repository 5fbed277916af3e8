//! The thread that makes keepers, and lives as long as the process.
//!
//! A keeper is ended by the kernel when the *thread* that made it ends (prctl(2), `PR_SET_PDEATHSIG`). Any other thread of the
//! agent may end early, or be held by a stranger while the process is to end; this one waits for orders and does nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::child::COMMAND;

static ORDERS: Mutex<Option<Sender<Order>>> = Mutex::new(None);
/// Keepers that the kernel kept beyond the time limit.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

struct Order {
    socket: OwnedFd,
    made: SyncSender<io::Result<KeeperProcess>>,
}

/// A keeper's process.
#[derive(Debug)]
pub(crate) struct KeeperProcess {
    pub(crate) child: Child,
    /// Readable once it has ended.
    pub(crate) exit: Option<OwnedFd>,
}

/// Starts this program again as a keeper that speaks over `socket`.
pub(crate) fn make(socket: OwnedFd) -> io::Result<KeeperProcess> {
    let (made, answer) = sync_channel(1);
    let gone = || io::Error::other("no thread makes processes");
    order(Order { socket, made })?.map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn order(order: Order) -> io::Result<Result<(), std::sync::mpsc::SendError<Order>>> {
    let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*orders {
        Some(sender) => sender,
        None => {
            let (sender, received) = channel::<Order>();
            let obey = move || {
                for Order { socket, made } in received {
                    // The requester may have gone.
                    drop(made.send(spawn(socket)));
                }
            };
            thread::Builder::new().name("keepers".to_owned()).spawn(obey)?;
            orders.insert(sender)
        }
    };
    Ok(sender.send(order))
}

fn spawn(socket: OwnedFd) -> io::Result<KeeperProcess> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|child| {
        // The query reaps those that have ended.
        matches!(child.try_wait(), Ok(None))
    });
    let child = Command::new("/proc/self/exe")
        .arg0("poolferry")
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
    Ok(KeeperProcess { child, exit })
}

/// Looks after a keeper that has not ended.
pub(crate) fn leave(child: Child) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

/// Keepers that are looked after.
pub(crate) fn left() -> Vec<u32> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Child::id).collect()
}

//! The thread that looks at the server's files: a directory of 200,000 takes seconds, and a share whose
//! server is away takes any time. A caller waits as long as it likes and goes on with what was known.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LocateError;
use super::search::FileSearch;
use super::tablespaces::{FileChanges, Tablespaces};
use crate::on_disk::Process;

/// What a look has led to.
type Outcome = Result<(Arc<Tablespaces>, FileChanges), LocateError>;

/// Requests looks and takes what they found.
pub(super) struct Looker {
    requests: Sender<u64>,
    looks: Receiver<(u64, Outcome)>,
    requested: u64,
    done: u64,
    /// When the look was requested that is not done yet.
    since: Instant,
}

impl Looker {
    /// Starts the thread, which looks only on request. It ends with this value, or with its look.
    pub(super) fn start(process: Arc<Process>, first: Arc<Tablespaces>) -> io::Result<Self> {
        let (requests, requested) = channel();
        let (send, looks) = channel();
        let look = move || {
            let (mut search, mut known) = (FileSearch::default(), first);
            while let Ok(mut number) = requested.recv() {
                // Requests that came meanwhile are answered together.
                while let Ok(newer) = requested.try_recv() {
                    number = newer;
                }
                let found = search.look(&process, &known).map(|(found, changes)| {
                    known = Arc::new(found);
                    (Arc::clone(&known), changes)
                });
                if send.send((number, found.map_err(LocateError::from))).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("files".to_owned()).spawn(look)?;
        Ok(Self { requests, looks, requested: 0, done: 0, since: Instant::now() })
    }

    /// Requests a look.
    pub(super) fn request(&mut self) {
        if self.done == self.requested {
            self.since = Instant::now();
        }
        self.requested += 1;
        // A thread that is gone shows where its look is waited for.
        let _ = self.requests.send(self.requested);
    }

    /// Time since the request of a look that is not done yet.
    pub(super) fn behind(&self) -> Duration {
        if self.done == self.requested { Duration::ZERO } else { self.since.elapsed() }
    }

    /// What has been found since the last call, if anything; waits no longer than `patience` for the
    /// look that was requested last.
    pub(super) fn take(&mut self, patience: Duration) -> Option<Outcome> {
        let until = Instant::now() + patience;
        let mut newest: Option<Outcome> = None;
        while self.done < self.requested {
            let look = match self.looks.try_recv() {
                Err(TryRecvError::Empty) => {
                    match self.looks.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Err(RecvTimeoutError::Timeout) => break,
                        look => look.ok(),
                    }
                }
                look => look.ok(),
            };
            let Some((number, found)) = look else {
                self.done = self.requested;
                return Some(Err(LocateError::Looker));
            };
            self.done = number;
            newest = Some(match (newest, found) {
                (Some(Ok((_, before))), Ok((found, changes))) => Ok((found, before.and(changes))),
                (_, found) => found,
            });
        }
        newest
    }
}

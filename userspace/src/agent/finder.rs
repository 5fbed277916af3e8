//! The thread that looks for processes that may be servers: how many there are, and what they are like, is up to the users who
//! start them, and the agent waits for none of them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::wake::Wake;
use crate::target::{ServerRule, Sighting, TargetError};

/// Looking takes no more than this share of one CPU, however many processes there are,
const SHARE: u32 = 20; // one twentieth: 5 %
/// unless servers would be unseen for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Requests looks and takes what they found.
pub(super) struct Finder {
    requests: Sender<()>,
    looks: Receiver<Look>,
    is_requested: bool,
}

/// What a look has found.
pub(super) struct Look {
    pub(super) candidates: Result<Vec<Sighting>, TargetError>,
    took: Duration,
}

impl Finder {
    /// Starts the thread, which looks on request, and rings `wake` when it has looked. It ends with this value, or
    /// with its look.
    pub(super) fn start(rule: ServerRule, wake: Arc<Wake>) -> io::Result<Self> {
        let (requests, requested) = channel();
        let (send, looks) = channel();
        let look = move || {
            while let Ok(()) = requested.recv() {
                let start = Instant::now();
                let candidates = rule.candidates();
                if send.send(Look { candidates, took: start.elapsed() }).is_err() {
                    return;
                }
                wake.set();
            }
        };
        thread::Builder::new().name("processes".to_owned()).spawn(look)?;
        Ok(Self { requests, looks, is_requested: false })
    }

    /// Requests a look, unless one is under way.
    pub(super) fn request(&mut self) {
        self.is_requested = self.is_requested || self.requests.send(()).is_ok();
    }

    /// Whether a look is under way.
    pub(super) const fn is_requested(&self) -> bool {
        self.is_requested
    }

    /// What has been found since the request.
    pub(super) fn take(&mut self) -> Option<Look> {
        let look = self.looks.try_recv().ok()?;
        self.is_requested = false;
        Some(look)
    }
}

impl Look {
    /// Time until the next one, where nothing else asks for more time than `every`.
    pub(super) fn pause(&self, every: Duration) -> Duration {
        every.max((self.took * SHARE).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn a_look_is_asked_for_once_and_rings() {
        let wake = Arc::new(Wake::new().unwrap());
        let me = std::process::id();
        let mut finder = Finder::start(ServerRule::pid(me), Arc::clone(&wake)).unwrap();
        assert!(finder.take().is_none() && !finder.is_requested());
        finder.request();
        finder.request();
        assert!(finder.is_requested());
        poll(&mut [PollFd::new(&*wake, PollFlags::IN)], None).unwrap();
        let look = finder.take().unwrap();
        assert!(!finder.is_requested() && finder.take().is_none());
        assert_eq!(look.candidates.unwrap(), [Sighting::of(me).unwrap()]);
    }

    #[test]
    fn no_processes_make_the_pause_long() {
        let every = Duration::from_millis(500);
        let pause = |took| Look { candidates: Ok(Vec::new()), took }.pause(every);
        assert_eq!(pause(Duration::from_millis(1)), every);
        assert_eq!(pause(Duration::from_millis(50)), Duration::from_secs(1));
        assert_eq!(pause(Duration::from_secs(6)), LONGEST_PAUSE);
    }
}

//! Signals that end a program, and the time that it has from then on.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, but for those that were ignored when the program was started (`nohup`, a job in the
/// background of a script): they stay so.
#[derive(Debug)]
pub struct Endings(Vec<(&'static str, Signal)>);

impl Endings {
    /// Watches for them from now on; without a look at [`Endings::next`] they do nothing any more.
    ///
    /// # Errors
    /// When the runtime cannot watch.
    pub fn watch() -> io::Result<Self> {
        let kinds = [
            ("interrupted", SignalKind::interrupt()),
            ("terminated", SignalKind::terminate()),
            ("hung up", SignalKind::hangup()),
        ];
        let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
        let heeded = kinds.into_iter().filter(|(_, kind)| !is_in(ignored, *kind));
        heeded.map(|(name, kind)| Ok((name, signal(kind)?))).collect::<io::Result<_>>().map(Self)
    }

    /// The next one, as a word: what has become of the program.
    pub async fn next(&mut self) -> &'static str {
        poll_fn(|context| {
            for (name, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The mask of ignored signals in `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Bit n - 1 stands for signal n.
fn is_in(mask: u64, kind: SignalKind) -> bool {
    let bit = u32::try_from(kind.as_raw_value()).ok().and_then(|number| number.checked_sub(1));
    bit.is_some_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// The process ends with `code` in this time, whatever its threads wait for; `last` is called before. To be called
/// when a signal has come: the way out in order is the main thread's, this is for when it takes too long.
pub fn end_within(time: Duration, code: i32, last: fn()) {
    let late = move || {
        thread::sleep(time);
        last();
        crate::exit(code);
    };
    if thread::Builder::new().name("ending".to_owned()).spawn(late).is_err() {
        last();
        crate::exit(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_stays_ignored() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t2\n";
        let mask = ignored(status);
        assert!(is_in(mask, SignalKind::hangup()));
        assert!(!is_in(mask, SignalKind::interrupt()) && !is_in(mask, SignalKind::terminate()));
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}

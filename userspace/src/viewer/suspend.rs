//! Job control: the viewer stops on Ctrl-Z or `kill -TSTP`, and goes on when the shell continues it.
//!
//! In raw mode the terminal makes no signal of Ctrl-Z, so the viewer does (`request`), for its whole job as the terminal
//! would. The signal is caught, as the terminal has to be given back first; then the process stops itself (`stop`).
//! Nothing is to be done about the background: taking the terminal there is what the kernel stops a job for (SIGTTOU).

use std::io;

use rustix::process::{Signal, kill_current_process_group};
use tokio::signal::unix::{self, SignalKind, signal};

/// Something that job control wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Give the terminal back, and stop.
    Stop,
    /// The process was stopped by somebody else (SIGSTOP), and goes on: whose the terminal was meanwhile is unknown.
    GoOn,
}

/// The signals of job control.
#[derive(Debug)]
pub(super) struct Wishes {
    stop: unix::Signal,
    go_on: unix::Signal,
    /// The next SIGCONT ends a stop of our own.
    own: bool,
}

impl Wishes {
    pub(super) fn watch() -> io::Result<Self> {
        let of = |signal: Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self { stop: signal(of(Signal::TSTP))?, go_on: signal(of(Signal::CONT))?, own: false })
    }

    /// The next one. Nothing is lost when this is given up.
    pub(super) async fn next(&mut self) -> Wish {
        loop {
            tokio::select! {
                Some(()) = self.stop.recv() => return Wish::Stop,
                Some(()) = self.go_on.recv() => {
                    if !std::mem::take(&mut self.own) {
                        return Wish::GoOn;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Stops this process until it is continued; does nothing where no shell could continue it (an orphaned process
    /// group), as without a handler.
    pub(super) fn stop(&mut self) {
        self.own = true;
        by_default();
    }
}

/// Ctrl-Z was typed: the whole job gets the signal to stop, this process too.
pub(super) fn request() {
    // A failure changes nothing.
    let _ = kill_current_process_group(Signal::TSTP);
}

/// What SIGTSTP does to a process that does not catch it.
#[expect(unsafe_code, reason = "only the C library changes what a signal does")]
fn by_default() {
    // SAFETY: all zeros are a valid `sigaction`: the default action, an empty mask, no flags. Both structures live
    // through the calls, and the handler that is put back is the one that was there. `raise` has no preconditions.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let mut handler: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut handler) == 0 {
            libc::raise(libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, &raw const handler, std::ptr::null_mut());
        }
    }
}

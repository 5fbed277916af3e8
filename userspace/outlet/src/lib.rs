//! The one door of both programs to standard output and standard error. Nobody who writes waits there.
//!
//! A reader that stalls (a pager, a full pipe, a terminal after Ctrl-S, a pseudo-terminal whose master does not
//! read) stops the thread that writes, and nothing else: probes, QEMU's limits, deadlines and signals go on.
//!
//! ```text
//! lines, logs, frames ──> Outlet: bounded queue ──> one thread ──> write(2)
//!        what finds no room is dropped and counted; a note reports it once there is room
//! ```
//!
//! | who writes | how | when the reader stalls |
//! |---|---|---|
//! | events, progress, logs, complaints | [`Outlet::push`], [`Outlet::writer`] | dropped, counted, reported |
//! | records of a stream | [`Outlet::sink`] | that task waits, no other |
//! | frames of a terminal | [`Outlet::is_drained`], then [`Outlet::push`] | no new frame is drawn |
//!
//! Commands that catch signals ([`Endings`]) write here only, and end with [`exit`]. One that does not (`pages`,
//! `symbols`, ...) may write to standard output itself: a signal ends it wherever it waits.

mod ending;
mod queue;
mod sink;
mod writer;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

pub use ending::{Endings, end_within};
pub use queue::Outlet;
pub use sink::Sink;
pub use writer::Writer;

/// How long the last words may take when a program ends.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

static OUT: Outlet = Outlet::new(stdout_fd);
static ERR: Outlet = Outlet::new(stderr_fd);

fn stdout_fd() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

fn stderr_fd() -> BorrowedFd<'static> {
    rustix::stdio::stderr()
}

/// Standard output.
#[must_use]
pub fn stdout() -> &'static Outlet {
    &OUT
}

/// Standard error.
#[must_use]
pub fn stderr() -> &'static Outlet {
    &ERR
}

/// Ends the process after its last words: what is queued is written for [`LAST_WORDS`] at most.
pub fn exit(code: i32) -> ! {
    let until = Instant::now() + LAST_WORDS;
    OUT.drain_until(until);
    ERR.drain_until(until);
    std::process::exit(code)
}

/// Messages of panics go through the door as well: the default hook would wait for standard error.
pub fn take_panics() {
    foreign::hook_to(|text| {
        ERR.push(text.as_bytes());
        // The runtime ends the process right after a panic of the main thread.
        ERR.drain_until(Instant::now() + LAST_WORDS / 2);
    });
}

//! The time line of a migration from probes on QEMU's functions.
//!
//! ```text
//! Code::of(pid) ──> Recorder::attach ──> (QEMU migrates) ──> finish ──> Calls ──> side(zero) ──> report
//! ```
//! [`Recorder`] sets uprobes on functions that a QEMU exports, and a thread takes what they write.
//! [`Calls`] puts it in order. Nothing is loaded into QEMU, and nothing of a migration depends on it:
//! a function that is missing, or that never fires because the compiler called a private copy, is
//! reported as such, and QMP's figures stay the reference.

mod calls;
mod code;
mod error;
mod function;
mod probe_session;
mod recorder;

pub use calls::Calls;
pub use code::Code;
pub use error::TimelineError;
pub use function::QemuFunction;
pub(crate) use probe_session::ProbeSession;
pub use recorder::{OBJECT, Recorder};

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in ns, the clock of the probes and of [`Calls::side`].
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let [seconds, nanoseconds] =
        [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

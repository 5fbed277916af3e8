//! The hypervisors' side of a migration that skips the buffer pool.
//!
//! ```text
//! source:       agent -> list -> guest (RAM blocks, clip) -> set -> shim (skip) -> hash -> channel
//! destination:  channel -> storage (disk order) -> compare -> install (userfaultfd) -> channel
//! source:       channel -> shim (confirm, re-dirty) -> throttle -> switchover -> report
//! ```
//! One function reads as this path: [`source::migrate`] at the source, [`dest::receive`] at the
//! destination. Pages are named by RAM block and offset ([`set`]); every number from the guest is
//! clipped to its own RAM and disks before anything uses it.

pub mod agent;
pub mod channel;
mod clash;
mod descriptors;
pub mod dest;
pub mod doctor;
mod finding;
pub mod guest;
pub mod multifd;
pub mod open_files;
pub mod page_hash;
pub mod qmp;
pub mod set;
pub mod shim;
pub mod source;
pub mod storage;
pub mod timeline;
mod usage;

#[cfg(test)]
#[path = "../tests/hostile/sessions.rs"]
mod hostile;

/// An error with its causes on one line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    foreign::Chain(error).to_string()
}

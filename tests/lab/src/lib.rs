//! A laboratory on one machine: two hypervisors and a storage server in network namespaces, links as slow as wanted, and
//! a VM with a busy server that migrates between them.
//!
//! ```text
//! image, database -> disks -> network, storage -> machine (boots) -> guest: server, agent, sysbench, ticks
//!   -> machine (incoming) -> migration (QEMU alone or Poolferry) -> identity -> cont -> check -> report
//! ```
//! A migration is one hop of the VM from host to host; the next goes back. After each, with both VMs paused, the
//! RAM of both is compared byte by byte ([`identity`]): a difference is a failure, not a figure.
//!
//! Nothing is left behind, whatever ends the laboratory ([`scratch`]).

pub mod accelerator;
pub mod baseline;
mod berth;
pub mod check;
pub mod database;
mod gauge;
pub mod guest;
pub mod hop;
pub mod identity;
pub mod image;
pub mod interruption;
pub mod laboratory;
pub mod matrix;
pub mod migration;
pub mod mode;
pub mod monitor;
pub mod network;
pub mod paper;
pub mod part;
pub mod pause;
pub mod port;
pub mod process;
pub mod protocol;
pub mod rate;
pub mod record;
pub mod run;
pub mod scratch;
mod server;
pub mod setup;
pub mod size;
pub mod steps;
pub mod storage;
mod transactions;
pub mod vm;
pub mod wait;
pub mod watch;
pub mod workload;

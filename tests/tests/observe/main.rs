//! Observing real servers, from the process to the page list.
//!
//! | module | what it holds against what |
//! |---|---|
//! | [`agreement`] | descriptors and list against the server's own `INNODB_BUFFER_PAGE` |
//! | [`content`] | eligible frames against the bytes of files and whole disks |
//! | [`translation`] | page-table walk against pagemap; the binary list against the rows |
//! | [`contract`] | the keys and types of the JSON Lines form |
//! | [`counters`] | what the probes count against the server's own status |
//! | [`under_load`] | the residency table against the descriptors, during and after a load |
//! | [`stopped`] | eligible frames against the disk, while the server stands still under a load |
//! | [`losses`] | trace records against the probes' counters, with a tiny ring |
//! | [`prepared`] | lists that were prepared while the server was watched |
//! | [`page_sizes`], [`tables`], [`resize`], [`isolation`] | servers that are not plain |
//! | [`mariadb`] | temporary and compressed pages, import, undo, change buffer |
//! | [`scanned`] | a server that no probe sees, and that is only scanned |
//! | [`mutated`] | profiles that are wrong by a little |
//! | [`strangers`], [`rights`] | what cannot be observed, and the error that says so |
//! | [`squatters`] | strangers' processes that are called `mysqld`, and several servers |
//! | [`mute_files`] | a user's file systems that never answer |
//! | [`keeper`] | probes whose agent is held by one, killed, stopped; who makes the kernel wait |
//! | [`endings`], [`detach`] | servers and agents that end, in order and not |
//! | [`stalled`] | outputs that nobody reads: signals, metrics and probes go on |
//! | [`events`] | trace records on the way out: each once, and what is missing is reported |
//!
//! Tests start servers and set probes, so they take turns ([`lab::run`]) whatever the number of
//! test threads.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "figures of a test, shown by `cargo xtask test`")]

mod agent;
mod agreement;
mod content;
mod contract;
mod counters;
mod detach;
mod endings;
mod events;
mod isolation;
mod keeper;
mod lab;
mod listed;
mod losses;
mod mariadb;
mod mutated;
mod mute_files;
mod neighbours;
mod page_sizes;
mod prepared;
mod reported;
mod resize;
mod rights;
mod scanned;
mod squatters;
mod stall;
mod stalled;
mod stopped;
mod strangers;
mod tables;
mod text;
mod translation;
mod under_load;
mod volume;

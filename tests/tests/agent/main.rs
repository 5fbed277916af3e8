//! The agent and the host's client of it, with real servers and a socket in place of the port.
//!
//! | module | what it holds against what |
//! |---|---|
//! | [`list`] | the list read in the agent's frames, and copied, against one made here |
//! | [`server`] | what the host gets of a server that works, ends, and starts again |
//! | [`several`] | several servers as one list, and strangers that are called so |
//! | [`guest`] | all of it in a VM: its port, its RAM, and what the disk has |
//! | [`many`] | a data directory with 200,000 files |
//! | [`hosts`] | hosts that go in the middle of a word, agents that are killed |
//!
//! The agent is the built program. Its memory is read as a host reads a guest's: by the frames that it
//! reports ([`memory`]). Tests set probes, so they take turns.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "figures of a test, shown by `cargo xtask test`")]

mod fixture;
mod guest;
mod hosts;
mod list;
mod loaders;
mod many;
mod memory;
mod server;
mod several;
#[path = "../observe/volume.rs"]
mod volume;

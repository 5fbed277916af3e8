//! The one loader of uprobes, and the keeper: the process that holds them.
//!
//! A probe lasts as long as a descriptor of it. A program that observes strangers may be held in the kernel by one of them (a
//! page of its memory lies in a file system that does not answer), where not even SIGKILL ends it, and its descriptors stay
//! open as long. So the descriptors of probes are in a process of their own, which looks at nothing that a stranger makes:
//!
//! ```text
//! agent                                        keeper: the same program, run again with `keep-probes`
//! proves the sites  ── settings ────────────>  loads object and programs
//! maps of its own   <── descriptors of maps ─
//!                   ── sites, the file ─────>  looks whether each process lets go of its memory map (`look`)
//!                   <── done, or who holds it  sets the probes
//!                   ── run time? ───────────>  keeps them
//! ```
//! It ends, and the probes with it, when its socket is closed, and when the thread that made it ends (`PR_SET_PDEATHSIG`): the
//! socket of a process stays open while one of its threads is held. That thread (`maker`) does nothing else, so it ends with
//! the process whatever the others wait for. A process that is stopped keeps its probes. A keeper for which the kernel waits ends when
//! the kernel goes on, and not before: one that is killed there leaves traps behind.
//!
//! A program that has not called [`start`], so that it cannot be run again, such as a test, keeps probes in a thread.

mod child;
mod error;
mod holder;
mod keeper;
mod links;
mod look;
mod maker;
mod message;
mod object;
mod pair;

pub use child::{COMMAND, start};
pub use error::{HELD_HINT, KeeperError, LoadError, RemoteCause};
pub use holder::Holder;
pub use keeper::{Keeper, end_all, processes};
pub use message::ProbePoint;
pub use object::{ObjectSettings, load};

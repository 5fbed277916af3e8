//! What the programs write, as root, where strangers may write too.
//!
//! ```text
//! replace   a file that takes the place of another: whole or not at all
//! output    the file that an operator names for results
//! listen    a unix socket for its owner only
//! ```
//!
//! # Invariants
//! - New bytes go to a file of a random name that did not exist (`O_CREAT|O_EXCL`), never through a link.
//! - A reader sees the old file or the new one; what is renamed has reached the disk.
//! - Nobody but the owner can connect to a socket at any time, not even between its making and its mode.

mod listen;
mod output;
mod replace;

pub use listen::Listener;
pub use output::Output;
pub use replace::{Mode, make_folder, replace};

//! From a database server's ELF and DWARF to a [`Profile`].
//!
//! ```text
//! elf          the program, read into memory     budget    how much all files may take
//! role         what is looked for in a server
//! version      which version it states     server    which names that version uses (data)
//! files        what data files hold that their headers do not show (data)
//! debug_file   where its DWARF may lie      dwarf     reading it
//! site         the instruction to probe     extract   names + DWARF -> profile
//! stored       profiles of stripped builds  cache     profiles of earlier runs
//! kin          a known build's profile carried over to another build of the same code
//! symbol_list  names of a stripped program by the list of its package
//! resolve      all of it, in order          report    a profile, for people
//! trust        whose files are believed
//! text         a site, proven in the program's own bytes before a probe goes there
//! ```
//!
//! What cannot be found is a value with a [`UnresolvedReason`](reason::UnresolvedReason), not an error.

pub mod addr;
mod budget;
mod cache;
pub mod cause;
pub mod debug_file;
mod dwarf;
mod eh_frame;
pub mod elf;
mod ends;
pub mod error;
mod extract;
pub mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod isolated;
pub mod kin;
mod options;
mod path_text;
pub mod profile;
mod read;
pub mod reason;
pub mod report;
pub mod resolve;
pub mod role;
pub mod server;
pub mod site;
mod small_file;
mod stored;
pub mod symbol_list;
pub mod text;
mod trust;
pub mod version;

pub use budget::{Budget, BudgetShare};
pub use ends::Ends;
pub use error::Error;
pub use options::Options;
pub use profile::Profile;
pub use read::ReadStep;
pub use resolve::{Origin, ProgramPaths, Resolved, resolve};

//! The text of a program as it lies in its file, and what is proven of a place in it before a probe
//! goes there.
//!
//! A probe changes a byte of a running server. In the middle of an instruction it makes another
//! instruction of it, and the server dies. So whatever a profile has, and wherever the profile came
//! from, the process that sets the probe looks at the program's own bytes first: [`ProvenSite`] is
//! the only thing that probes are set by, and [`ProgramText::prove`] the only way to one.
//!
//! ```text
//! image    headers, segments, symbol tables: bounded reads of the open file
//! note     the build id
//! exports  addresses by name
//! identity what of both is for others
//! unwind   functions by the program's own unwind table (.eh_frame)
//! proof    start of the function -> straight decoding -> the probed instruction
//! ```
//!
//! The file is opened once. [`ProvenSite::path`] leads to that open file, so what was checked is
//! what is probed, whatever the names mean by then. It is foreign: it is read with `pread`, in
//! pieces of bounded size, never mapped.

mod error;
mod exports;
mod identity;
mod image;
mod note;
mod proof;
mod segment;
mod unwind;

pub use error::{SiteError, TextError, Why};
pub(crate) use exports::Named;
pub use image::ProgramText;
pub use proof::ProvenSite;

//! The one door for text from outside: guest, peer, QEMU, server, file names, command lines, environment.
//!
//! Who prints such text as it came lets its author write on the reader's terminal: move the cursor,
//! forge whole lines, fill the clipboard (OSC 52), turn the reading order around (bidi), or write a
//! log of a gigabyte. So it is shown through here only:
//!
//! ```
//! let name = "ibdata1\u{1b}]52;c;aGk=\u{7}\r\nok    all is well";
//! assert_eq!(
//!     foreign::shown(name).to_string(),
//!     "ibdata1\\u{1b}]52;c;aGk=\\u{7}\\r\\nok    all is well"
//! );
//! let path = std::path::Path::new("/var/lib/mysql");
//! assert_eq!(foreign::path(path).to_string(), "/var/lib/mysql");
//! assert_eq!(format!("{:.5}", foreign::shown("0123456789")), "01234[+5 bytes]");
//! ```
//!
//! - [`shown`], [`path`], [`os`], [`bytes`] and [`of`] (anything with `Display`, such as another side's
//!   error) borrow for one output.
//! - [`Text`] is owned and bounded when it is made: what a message or an error holds. What it was is
//!   had from [`Text::raw`], for comparing, never for showing.
//! - [`Name`] is owned too and never cut, but refused where it is too long: what machines compare.
//! - [`json()`] and [`json_pretty`] write JSON whose strings are whole, and harmless on a terminal.
//! - [`cell`] is for CSV, where a spreadsheet would take `=...` for a formula.
//! - [`Chain`] prints an error with its causes; `start` and `logger` (feature `program`) make a program's usage
//!   errors, panics and log pass through here.
//!
//! What is shown has no control character (C0, DEL, C1), no format or invisible one (bidi, zero width,
//! separators of lines and paragraphs, tags), no private, unassigned or non-character, and no byte that
//! is no UTF-8: they are written as in Rust's literals (`\n`, `\u{202e}`, `\xff`). A backslash stays as
//! it is, so that what went through twice looks the same. At most [`SHOWN_BYTES`] of output come from one
//! name, [`HELD_BYTES`] from a [`Text`], or as many as the format's precision; a mark shows how many bytes were left out.

mod cell;
mod chain;
mod charset;
mod escape;
#[cfg(feature = "hostile")]
pub mod hostile;
mod json;
mod name;
#[cfg(feature = "program")]
mod panic;
#[cfg(feature = "program")]
mod program;
mod shown;
mod text;

pub use cell::{SheetCell, cell};
pub use chain::Chain;
pub use charset::{Charset, charset, is_dumb};
pub use json::{json, json_pretty, json_text};
pub use name::{Name, TooLong};
#[cfg(feature = "program")]
pub use panic::hook_to;
#[cfg(feature = "program")]
pub use program::{logger, start};
pub use shown::{Shown, bytes, of, os, path, shown};
pub use text::Text;

/// Most bytes that one name or path takes where it is shown, its mark not counted, unless the format sets it.
pub const SHOWN_BYTES: usize = 512;

/// Most bytes that a [`Text`] holds and shows: the kernel's longest path.
pub const HELD_BYTES: usize = 4096;

/// Longest [`Name`] in bytes.
pub const NAME_BYTES: usize = 1024;

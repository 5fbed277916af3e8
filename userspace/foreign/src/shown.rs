//! Foreign text for one output.

use std::ffi::OsStr;
use std::fmt::{self, Display, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::SHOWN_BYTES;
use crate::escape::{Escaper, Own};

/// Foreign text whose `Display` is harmless and bounded.
///
/// The precision of a format (`{:.40}`) is the limit in bytes of output, instead of [`SHOWN_BYTES`]; its
/// width pads. Serialised, it is the same text.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    what: What<'a>,
    own: Own,
    limit: usize,
    /// Bytes that were left out before it came here.
    cut: u64,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Bytes(&'a [u8]),
    Of(&'a dyn Display),
}

/// A string.
#[must_use]
pub fn shown(text: &str) -> Shown<'_> {
    bytes(text.as_bytes())
}

/// A path.
#[must_use]
pub fn path<P: AsRef<Path> + ?Sized>(path: &P) -> Shown<'_> {
    os(path.as_ref().as_os_str())
}

/// An argument, a variable of the environment.
#[must_use]
pub fn os(text: &OsStr) -> Shown<'_> {
    bytes(text.as_bytes())
}

/// Bytes that should be UTF-8.
#[must_use]
pub const fn bytes(bytes: &[u8]) -> Shown<'_> {
    Shown { what: What::Bytes(bytes), own: Own::Nothing, limit: SHOWN_BYTES, cut: 0 }
}

/// Whatever prints itself, such as an error whose text quotes the other side.
#[must_use]
pub fn of(value: &dyn Display) -> Shown<'_> {
    Shown { what: What::Of(value), own: Own::Nothing, limit: SHOWN_BYTES, cut: 0 }
}

impl Shown<'_> {
    /// With this limit, in bytes of output.
    #[must_use]
    pub const fn at_most(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Keeps ends of lines and tabulators: for whole texts of our own, which show what is foreign in them
    /// through here already. A last line of defence, nothing else.
    #[must_use]
    pub const fn lines(self) -> Self {
        Self { own: Own::Lines, ..self }
    }

    pub(crate) const fn already_cut(self, cut: u64) -> Self {
        Self { cut, ..self }
    }

    fn write(self, mut door: Escaper<'_, impl fmt::Write + ?Sized>) -> fmt::Result {
        match self.what {
            What::Bytes(bytes) => door.bytes(bytes)?,
            What::Of(value) => write!(door, "{value}")?,
        }
        door.end(self.cut)
    }

    /// The text for a program, whatever character set the terminal has.
    #[must_use]
    pub fn to_utf8(self) -> String {
        let mut text = String::new();
        // A string takes all that is written.
        let _ = self.write(Escaper::new(&mut text, self.limit).own(self.own).utf8());
        text
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = f.precision().unwrap_or(self.limit);
        if f.width().is_none() {
            return self.write(Escaper::new(f, limit).own(self.own));
        }
        let mut text = String::new();
        self.write(Escaper::new(&mut text, limit).own(self.own))?;
        let missing = f.width().unwrap_or(0).saturating_sub(text.chars().count());
        let before = match f.align() {
            Some(fmt::Alignment::Right) => missing,
            Some(fmt::Alignment::Center) => missing / 2,
            Some(fmt::Alignment::Left) | None => 0,
        };
        let fill = f.fill();
        (0..before).try_for_each(|_| f.write_char(fill))?;
        f.write_str(&text)?;
        (before..missing).try_for_each(|_| f.write_char(fill))
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_written_out() {
        assert_eq!(bytes(b"a\xffb\xe2\x82").to_string(), "a\\xffb\\xe2\\x82");
        assert_eq!(os(OsStr::from_bytes(b"\x9b2J")).to_string(), "\\x9b2J");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_harmless_and_bounded(
            any in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            limit in 0_usize..100,
        ) {
            let text = format!("{:.limit$}", bytes(&any));
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() <= limit + "[+300 bytes]".len(), "{text:?}");
            assert_eq!(shown(&text).to_string(), text, "twice");
        }
    }

    #[test]
    fn a_format_pads_and_cuts() {
        assert_eq!(format!("{:<8}|{:>8}|", shown("a\n"), shown("b")), "a\\n     |       b|");
        assert_eq!(format!("{:.3}", shown("abcdef")), "abc[+3 bytes]");
        // An escape is never cut in the middle.
        assert_eq!(format!("{:.3}", shown("ab\u{1b}cd")), "ab[+3 bytes]");
        assert_eq!(format!("{:.3}", shown("abc")), "abc");
    }

    #[test]
    fn a_megabyte_is_cut() {
        let text = shown(&"x".repeat(1 << 20)).to_string();
        assert_eq!(text.len(), SHOWN_BYTES + "[+1048064 bytes]".len());
        assert!(text.ends_with("x[+1048064 bytes]"));
        assert!(bytes(&vec![0xff; 1 << 20]).to_string().len() < SHOWN_BYTES + 20);
    }

    #[test]
    fn another_sides_error_is_one_line() {
        let error = std::io::Error::other("no\nok    forged\u{202e}");
        assert_eq!(of(&error).to_string(), "no\\nok    forged\\u{202e}");
        assert_eq!(of(&"a\n\tb\r").lines().to_string(), "a\n\tb\\r");
    }
}

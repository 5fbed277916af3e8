//! Foreign text that is kept.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::HELD_BYTES;
use crate::shown::{self, Shown};

/// Text from outside, at most [`HELD_BYTES`] of it; shown as [`crate::shown()`] does, up to as many bytes.
///
/// It reads itself from any string and keeps no more than it may. It writes itself (JSON) as it is shown,
/// so that whoever prints a field of ours is safe too.
#[derive(Clone, Default)]
pub struct Text {
    raw: Box<str>,
    /// Bytes that were more than it holds.
    cut: u64,
}

impl Text {
    /// As much of `text` as it holds.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let end = text.floor_char_boundary(HELD_BYTES);
        let cut = u64::try_from(text.len() - end).unwrap_or(u64::MAX);
        Self { raw: text[..end].into(), cut }
    }

    /// The same of bytes; those that are no UTF-8 are written out (`\xff`).
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let held = &bytes[..bytes.len().min(HELD_BYTES)];
        let mut text = String::new();
        for chunk in held.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        let mut made = Self::new(&text);
        made.cut += u64::try_from(bytes.len() - held.len()).unwrap_or(u64::MAX);
        made
    }

    /// What another prints, e.g. its error; it is not collected beyond what is kept.
    #[must_use]
    pub fn of(value: &dyn fmt::Display) -> Self {
        let mut collected = Collected::default();
        // A value that fails to print itself is kept as far as it came.
        let _ = fmt::write(&mut collected, format_args!("{value}"));
        Self { cut: collected.cut, ..Self::new(&collected.text) }
    }

    /// The raw text: to compare or to hand on to a machine, never to show.
    #[must_use]
    pub const fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether the text has these words.
    #[must_use]
    pub fn contains(&self, words: &str) -> bool {
        self.raw.contains(words)
    }

    /// Whether the text is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// How many bytes it did not hold.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// As it is shown, for a program: whatever character set the terminal has.
    #[must_use]
    pub fn to_utf8(&self) -> String {
        self.shown().to_utf8()
    }

    fn shown(&self) -> Shown<'_> {
        shown::shown(&self.raw).at_most(HELD_BYTES).already_cut(self.cut)
    }
}

/// Keeps the beginning of what is written to it.
#[derive(Default)]
struct Collected {
    text: String,
    cut: u64,
}

impl fmt::Write for Collected {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = if self.cut == 0 { HELD_BYTES - self.text.len() } else { 0 };
        let end = piece.floor_char_boundary(room);
        self.text.push_str(&piece[..end]);
        self.cut += u64::try_from(piece.len() - end).unwrap_or(u64::MAX);
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown().to_utf8())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::new(text))
            }
        }
        deserializer.deserialize_str(Any)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        String::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        if text.len() > HELD_BYTES { Self::new(&text) } else { Self { raw: text.into(), cut: 0 } }
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<Shown<'_>> for Text {
    fn from(text: Shown<'_>) -> Self {
        Self::of(&text)
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

/// Texts compare by what is held of them, as strings do.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.raw.cmp(&other.raw)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.raw
    }
}

/// For tests and for words that are expected.
impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.cut == 0 && *self.raw == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &str = "sdb\u{1b}[2J\r\nok";
    const SHOWN: &str = "sdb\\u{1b}[2J\\r\\nok";

    #[test]
    fn it_is_read_as_it_is_and_written_as_it_is_shown() {
        let text: Text = serde_json::from_str(&serde_json::to_string(FORGED).unwrap()).unwrap();
        assert_eq!(text.raw(), FORGED);
        assert_eq!(text.to_string(), SHOWN);
        assert_eq!(format!("{text:?}"), format!("\"{SHOWN}\""));
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), SHOWN);
        assert!(serde_json::from_str::<Text>("7").is_err());
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let long = "\u{e9}".repeat(1 << 20);
        for text in [
            Text::new(&long),
            Text::from(long.clone()),
            Text::from_bytes(long.as_bytes()),
            Text::of(&long),
            serde_json::from_str(&serde_json::to_string(&long).unwrap()).unwrap(),
        ] {
            assert_eq!((text.raw().len(), text.cut()), (HELD_BYTES, (2 << 20) - 4096));
            assert!(text.to_string().ends_with("\u{e9}[+2093056 bytes]"), "{text}");
            assert!(serde_json::to_string(&text).unwrap().len() < HELD_BYTES + 40);
        }
        let wild = Text::from_bytes(&vec![0xff; 1 << 20]);
        assert!(wild.raw().len() <= HELD_BYTES && wild.cut() > 1 << 19, "{}", wild.cut());
    }

    #[test]
    fn a_key_of_a_map_is_text_too() {
        let map: std::collections::BTreeMap<Text, u64> =
            serde_json::from_str("{\"a\\nb\":1}").unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), "{\"a\\\\nb\":1}");
    }
}

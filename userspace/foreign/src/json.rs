//! JSON that a terminal may show: a string in it may hold what acts there.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::escape::is_shown;

/// Writes a value in one line, without its end. What [`crate::shown()`] would not show is written as `\u1234`, which
/// whoever parses it reads as it was.
///
/// # Errors
/// When the value cannot be written, or `out` fails.
pub fn json(out: impl Write, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Harmless(CompactFormatter)))
}

/// The same as a string.
///
/// # Errors
/// As [`json`].
pub fn json_text(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    let mut text = Vec::new();
    json(&mut text, value)?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// The same over several lines.
///
/// # Errors
/// As [`json`].
pub fn json_pretty(out: impl Write, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Harmless(PrettyFormatter::new())))
}

/// As the formatter within, but for the characters of strings.
struct Harmless<F>(F);

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|letter| !is_shown(letter)) {
            let (shown, after) = rest.split_at(at);
            out.write_all(shown.as_bytes())?;
            let mut letters = after.chars();
            for unit in letters.next().iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = letters.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_harmless_and_loses_nothing() {
        let text = "é\u{1b}[2J\u{9b}2J\u{202e}\u{7f}\u{e0041}\n\"\\";
        let value = serde_json::json!({ text: [text, 1, null] });
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        json(&mut line, &value).unwrap();
        json_pretty(&mut lines, &value).unwrap();
        for written in [&line, &lines] {
            assert_eq!(serde_json::from_slice::<serde_json::Value>(written).unwrap(), value);
            let written = std::str::from_utf8(written).unwrap();
            assert!(
                written.contains("é\\u001b[2J\\u009b2J\\u202e\\u007f\\udb40\\udc41\\n\\\"\\\\"),
                "{written}"
            );
        }
        assert!(!line.contains(&b'\n') && lines.starts_with(b"{\n  "));
    }
}

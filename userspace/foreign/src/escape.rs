//! Which characters may be shown, and how the others are written.

use std::fmt::{self, Write};

use crate::charset::{Charset, charset};

/// Combining marks that one character may carry: more climb over the neighbouring lines.
const MARKS: usize = 3;

/// What is kept of the controls, as it is our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// None of them.
    Nothing,
    /// Ends of lines and tabulators: whole texts of ours that hold foreign pieces.
    Lines,
}

/// Passes text on to `out`, escaped and cut.
pub(crate) struct Escaper<'a, W: ?Sized> {
    out: &'a mut W,
    charset: Charset,
    own: Own,
    /// Bytes that may still be written.
    left: usize,
    /// Bytes of the text that were left out.
    cut: u64,
    /// Combining marks since the last character; as many as may be at the beginning.
    marks: usize,
}

impl<'a, W: Write + ?Sized> Escaper<'a, W> {
    pub(crate) fn new(out: &'a mut W, limit: usize) -> Self {
        Self { out, charset: charset(), own: Own::Nothing, left: limit, cut: 0, marks: MARKS }
    }

    pub(crate) fn own(self, own: Own) -> Self {
        Self { own, ..self }
    }

    /// For what is no terminal's: the environment's character set does not matter.
    pub(crate) fn utf8(self) -> Self {
        Self { charset: Charset::Utf8, ..self }
    }

    /// A piece that need not be UTF-8.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        for chunk in bytes.utf8_chunks() {
            self.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                self.piece(&format!("\\x{byte:02x}"), 1)?;
            }
        }
        Ok(())
    }

    /// Writes how much was cut, if anything was; `before` bytes did not even come here.
    pub(crate) fn end(self, before: u64) -> fmt::Result {
        match self.cut.saturating_add(before) {
            0 => Ok(()),
            cut => write!(self.out, "[+{cut} bytes]"),
        }
    }

    /// Writes what stands for `of` bytes of the text, whole or not at all; nothing follows a cut.
    fn piece(&mut self, piece: &str, of: usize) -> fmt::Result {
        if self.cut > 0 || piece.len() > self.left {
            self.cut = self.cut.saturating_add(u64::try_from(of).unwrap_or(u64::MAX));
            return Ok(());
        }
        self.left -= piece.len();
        self.out.write_str(piece)
    }

    fn one(&mut self, letter: char) -> fmt::Result {
        let own = matches!(letter, '\n' | '\t') && self.own == Own::Lines;
        if own || letter == ' ' || letter.is_ascii_graphic() {
            self.marks = if own { MARKS } else { 0 };
            return self.piece(letter.encode_utf8(&mut [0; 4]), letter.len_utf8());
        }
        let class = if self.charset == Charset::Ascii { Class::Other } else { class(letter) };
        let shown = match class {
            Class::Letter => true,
            Class::Mark => self.marks < MARKS,
            Class::Other => false,
        };
        if shown {
            self.marks = if class == Class::Mark { self.marks + 1 } else { 0 };
            return self.piece(letter.encode_utf8(&mut [0; 4]), letter.len_utf8());
        }
        let escaped = match letter {
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            _ => letter.escape_unicode().to_string(),
        };
        self.piece(&escaped, letter.len_utf8())
    }
}

impl<W: Write + ?Sized> Write for Escaper<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while !rest.is_empty() {
            if self.cut > 0 {
                self.cut = self.cut.saturating_add(u64::try_from(rest.len()).unwrap_or(u64::MAX));
                return Ok(());
            }
            // Most text is plain: as much of it as there is room for goes in one piece.
            let plain = rest.bytes().take_while(|byte| (b' '..=b'~').contains(byte));
            let plain = plain.take(self.left).count();
            if plain > 0 {
                let (piece, after) = rest.split_at(plain);
                self.marks = 0;
                self.piece(piece, plain)?;
                rest = after;
                continue;
            }
            let mut letters = rest.chars();
            if let Some(letter) = letters.next() {
                self.one(letter)?;
            }
            rest = letters.as_str();
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It may be shown.
    Letter,
    /// It combines with the one before.
    Mark,
    /// It may not: it controls, is invisible, or is nothing.
    Other,
}

/// The standard library knows which characters print (`library/core/src/unicode/printable.py`: not of
/// the categories Cc, Cf, Cs, Co, Cn, Zl, Zp, Zs) and which combine, and derives from that what it escapes.
fn class(letter: char) -> Class {
    if letter.is_ascii() || invisible(letter) {
        return Class::Other;
    }
    // Only the first character of a string is escaped for combining.
    let mut buffer = [b'a'; 5];
    let length = letter.encode_utf8(&mut buffer[1..]).len();
    let Ok(after) = std::str::from_utf8(&buffer[..=length]) else { return Class::Other };
    if !after.escape_debug().skip(1).eq([letter]) {
        return Class::Other;
    }
    if letter.escape_debug().eq([letter]) { Class::Letter } else { Class::Mark }
}

/// Whether a character is shown as it is, but for a tower of marks.
pub(crate) fn is_shown(letter: char) -> bool {
    letter == ' ' || letter.is_ascii_graphic() || class(letter) != Class::Other
}

/// Characters that count as letters or marks and show nothing: `Default_Ignorable_Code_Point` of Unicode's
/// DerivedCoreProperties.txt, as far as they are not of category Cf anyway; and the blank of Braille.
const fn invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut out = String::new();
        let mut door = Escaper::new(&mut out, 1000).utf8();
        door.write_str(text).unwrap();
        door.end(0).unwrap();
        out
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in [
            "/var/lib/mysql/sbtest/sbtest1.ibd",
            "C:\\data, it's \"quoted\"",
            "Zürich Żółw Заказы 注文 طلب हिन्दी 주문 🚢",
            "e\u{301}te\u{301}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn nothing_that_acts_or_hides_comes_through() {
        let codes = [
            0x0, 0x7, 0x8, 0x1b, 0x7f, 0x80, 0x85, 0x9b, 0x9d, 0xa0, 0xad, 0x34f, 0x61c, 0x115f,
            0x180e, 0x200b, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2060, 0x2066,
            0x2069, 0x3164, 0xe000, 0xfeff, 0xfff9, 0xfffe, 0xe0041, 0x10_ffff, 0x378,
        ];
        for letter in codes.map(|code| char::from_u32(code).unwrap()) {
            let escaped = shown(&format!("a{letter}b"));
            assert_eq!(escaped, format!("a\\u{{{:x}}}b", u32::from(letter)));
        }
        assert_eq!(shown("\r\n\t"), "\\r\\n\\t");
        // A mark without a letter, and a tower of them.
        assert_eq!(shown("\u{301}"), "\\u{301}");
        assert_eq!(
            shown(&format!("a{}", "\u{301}".repeat(5))),
            "a\u{301}\u{301}\u{301}\\u{301}\\u{301}"
        );
    }

    #[test]
    fn all_characters_are_either_shown_or_written_out() {
        for letter in '\0'..=char::MAX {
            let text = shown(&format!("a{letter}"));
            assert!(text == format!("a{letter}") || text.is_ascii(), "{letter:?} became {text:?}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert_eq!(shown(&text), text, "twice");
        }
    }
}

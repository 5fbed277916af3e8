//! Foreign text in a cell of CSV.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};

use crate::Shown;

/// [`Shown`] for a program that computes: what a spreadsheet would take for a formula has an apostrophe
/// before it, as OWASP's "CSV Injection" advises.
#[derive(Clone, Copy, Debug)]
pub struct SheetCell<'a>(Shown<'a>);

/// A cell of a table that others read.
#[must_use]
pub const fn cell(text: Shown<'_>) -> SheetCell<'_> {
    SheetCell(text)
}

impl SheetCell<'_> {
    fn text(&self) -> String {
        let text = self.0.to_utf8();
        let formula =
            text.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
        if formula { format!("'{text}") } else { text }
    }
}

impl Display for SheetCell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for SheetCell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_a_formula() {
        for begins in ["=1+1", "+1", "-1", "@SUM(A1)", "\u{ff1d}1"] {
            assert_eq!(cell(crate::shown(begins)).to_string(), format!("'{begins}"));
        }
        assert_eq!(cell(crate::shown("\t=1")).to_string(), "\\t=1");
        assert_eq!(cell(crate::shown("shop/orders")).to_string(), "shop/orders");
    }
}

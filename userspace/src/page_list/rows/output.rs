//! Rows as a table, JSON Lines or CSV.

use std::io::{self, Write};

use foreign::{Text, cell, shown};

use super::Row;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// Aligned columns for people.
    Table,
    /// One JSON object a line; the keys are a contract.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// The binary list for the host: eligible pages only, merged runs.
    Bin,
}

/// Writes rows in one of the textual forms.
pub enum RowWriter<W: Write> {
    /// Aligned columns.
    Table(W),
    /// JSON Lines.
    Jsonl(W),
    /// CSV.
    Csv(Box<csv::Writer<W>>),
}

const COLUMNS: [&str; 13] = [
    "space",
    "page",
    "block",
    "state",
    "eligible",
    "reason",
    "frame_va",
    "gpas",
    "file",
    "file_offset",
    "disk",
    "newest_lsn",
    "oldest_lsn",
];

impl<W: Write> RowWriter<W> {
    /// A writer of this form, its header written. The binary form has no rows.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn new(format: ListFormat, mut out: W) -> io::Result<Self> {
        Ok(match format {
            ListFormat::Jsonl => Self::Jsonl(out),
            ListFormat::Csv => {
                let mut csv = csv::Writer::from_writer(out);
                csv.write_record(COLUMNS)?;
                Self::Csv(Box::new(csv))
            }
            ListFormat::Table | ListFormat::Bin => {
                writeln!(
                    out,
                    "{:>10} {:>10} {:>8} {:9} {:18} {:>14} {:>14} {:>12} {:>20}  FILE",
                    "SPACE",
                    "PAGE",
                    "BLOCK",
                    "STATE",
                    "ELIGIBLE",
                    "FRAME",
                    "GPA",
                    "FILE-OFFSET",
                    "DISK"
                )?;
                Self::Table(out)
            }
        })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&mut self, row: &Row) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => {
                foreign::json(&mut *out, row)?;
                out.write_all(b"\n")
            }
            Self::Csv(csv) => {
                csv.write_record(fields(row))?;
                Ok(())
            }
            Self::Table(out) => {
                let eligible = shown(row.reason.as_ref().map_or("yes", |reason| reason.name()));
                let number = |n: Option<u32>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
                let disk = row.disk.first().map_or_else(
                    || "-".to_owned(),
                    |d| {
                        let more = if row.disk.len() > 1 { "+" } else { "" };
                        format!("{} {:#x}{more}", d.device, d.offset.0)
                    },
                );
                let gpa = match row.gpas.first() {
                    Some(Some(gpa)) => format!("{gpa:#x}"),
                    _ => "-".to_owned(),
                };
                writeln!(
                    out,
                    "{:>10} {:>10} {:>8} {:9} {:18} {:>14} {:>14} {:>12} {:>20}  {}",
                    number(row.space),
                    number(row.page),
                    row.block,
                    row.state.name(),
                    eligible,
                    format!("{:#x}", row.frame_va),
                    gpa,
                    row.file_offset.map_or_else(|| "-".to_owned(), |o| o.to_string()),
                    disk,
                    row.file.as_ref().map_or_else(|| "-".to_owned(), Text::to_string),
                )
            }
        }
    }

    /// Flushes what is buffered.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Table(mut out) | Self::Jsonl(mut out) => out.flush(),
            Self::Csv(mut csv) => csv.flush(),
        }
    }
}

/// The row as CSV fields in the order of [`COLUMNS`]; lists are joined by blanks.
fn fields(row: &Row) -> [String; 13] {
    let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    let gpas: Vec<String> =
        row.gpas.iter().map(|g| g.map_or_else(|| "-".to_owned(), |g| format!("{g:#x}"))).collect();
    let disk: Vec<String> =
        row.disk.iter().map(|d| format!("{}@{}+{}", d.device, d.offset.0, d.len_bytes)).collect();
    [
        number(row.space),
        number(row.page),
        row.block.to_string(),
        row.state.name().to_owned(),
        row.eligible.to_string(),
        row.reason.as_ref().map(|r| cell(shown(r.name())).to_string()).unwrap_or_default(),
        format!("{:#x}", row.frame_va),
        gpas.join(" "),
        row.file.as_ref().map(|file| cell(shown(&file.to_utf8())).to_string()).unwrap_or_default(),
        row.file_offset.map(|o| o.to_string()).unwrap_or_default(),
        disk.join(" "),
        row.newest_lsn.to_string(),
        row.oldest_lsn.to_string(),
    ]
}

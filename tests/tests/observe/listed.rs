//! The page list as a program reads it: JSON Lines, strictly.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::page_list::{Filter, ListFormat, RowWriter, rows};
use userspace::residency::Residency;
use userspace::server::Server;

/// One line. A key more or less than the contract has is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) space: Option<u32>,
    pub(crate) page: Option<u32>,
    pub(crate) block: u32,
    pub(crate) state: String,
    pub(crate) eligible: bool,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(deserialize_with = "address")]
    pub(crate) frame_va: u64,
    #[serde(deserialize_with = "addresses")]
    pub(crate) gpas: Vec<Option<u64>>,
    pub(crate) file: Option<String>,
    pub(crate) file_offset: Option<u64>,
    pub(crate) disk: Vec<DiskRange>,
    pub(crate) newest_lsn: u64,
    pub(crate) oldest_lsn: u64,
}

/// A range of a whole disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskRange {
    pub(crate) device: String,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Listed {
    /// Whether the block holds a page of a file, and which.
    pub(crate) fn id(&self) -> Option<(u32, u32)> {
        Some((self.space?, self.page?))
    }

    /// Everything that the server decides; frames may move by the kernel's will.
    pub(crate) fn held(&self) -> (&str, Option<(u32, u32)>, u64, u64) {
        (&self.state, self.id(), self.newest_lsn, self.oldest_lsn)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    hex(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no hexadecimal address")))
}

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Option<u64>>, D::Error> {
    let texts = Vec::<Option<String>>::deserialize(from)?;
    let each = texts.into_iter().map(|text| match text {
        None => Ok(None),
        Some(text) => hex(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is no hexadecimal address"))),
    });
    each.collect()
}

/// Reads a whole list.
pub(crate) fn parse(lines: &str) -> Vec<Listed> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    lines.lines().map(line).collect()
}

/// Lists every block; with a residency table the probes' word is asked for.
pub(crate) fn list(server: &Server, residency: Option<&Residency>) -> Vec<Listed> {
    let pid = server.target.pid;
    let mut locator = Locator::open(pid).unwrap();
    let (mut frames, _) = Frames::open(pid).unwrap();
    let mut text = Vec::new();
    let mut writer = RowWriter::new(ListFormat::Jsonl, &mut text).unwrap();
    let all = Filter::default();
    rows(server, residency, &mut locator, &mut frames, all, |row| writer.write(row)).unwrap();
    writer.finish().unwrap();
    parse(std::str::from_utf8(&text).unwrap())
}

/// Those rows that a migration may leave out.
pub(crate) fn eligible(rows: &[Listed]) -> impl Iterator<Item = &Listed> {
    rows.iter().filter(|row| row.eligible)
}

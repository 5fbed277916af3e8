//! Counts and bytes by table, state and reason.

use std::collections::BTreeMap;
use std::io::{self, Write};

use foreign::Text;
use serde::Serialize;

use super::Row;

/// Blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Bytes of those that are eligible.
    pub eligible_bytes: u64,
}

impl Group {
    fn add(&mut self, bytes: u64, eligible: bool) {
        self.blocks += 1;
        self.bytes += bytes;
        self.eligible_bytes += if eligible { bytes } else { 0 };
    }
}

/// The whole pool in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Everything.
    pub total: Group,
    /// By state.
    pub states: BTreeMap<&'static str, Group>,
    /// By reason for not being eligible.
    pub reasons: BTreeMap<Text, Group>,
    /// Pages by space id.
    pub spaces: BTreeMap<u32, (Text, Group)>,
    #[serde(skip)]
    page_size: u64,
}

impl Summary {
    /// An empty summary of a pool with pages of `page_size` bytes.
    #[must_use]
    pub fn new(page_size: u32) -> Self {
        Self { page_size: page_size.into(), ..Self::default() }
    }

    /// Counts one row.
    pub fn add(&mut self, row: &Row) {
        let bytes = self.page_size;
        self.total.add(bytes, row.eligible);
        self.states.entry(row.state.name()).or_default().add(bytes, row.eligible);
        if let Some(reason) = &row.reason {
            self.reasons.entry(reason.name().into()).or_default().add(bytes, false);
        }
        if let Some(space) = row.space {
            let (name, group) = self.spaces.entry(space).or_default();
            if name.is_empty()
                && let Some(file) = &row.file
            {
                name.clone_from(file);
            }
            group.add(bytes, row.eligible);
        }
    }

    /// Writes it for people.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mib = |bytes: u64| format!("{:.1}", Mib(bytes).value());
        writeln!(out, "{:>10} {:>12} {:>12}", "blocks", "MiB", "eligible MiB")?;
        let mut line = |name: &str, group: &Group| {
            writeln!(
                out,
                "{:>10} {:>12} {:>12}  {name}",
                group.blocks,
                mib(group.bytes),
                mib(group.eligible_bytes)
            )
        };
        line("total", &self.total)?;
        for (name, group) in &self.states {
            line(&format!("state {name}"), group)?;
        }
        for (name, group) in &self.reasons {
            line(&format!("not eligible: {name}"), group)?;
        }
        let mut spaces: Vec<_> = self.spaces.iter().collect();
        spaces.sort_by_key(|(space, (_, group))| (std::cmp::Reverse(group.bytes), **space));
        for (space, (file, group)) in spaces {
            let none = Text::from("(no file)");
            let file = if file.is_empty() { &none } else { file };
            line(&format!("space {space} {file}"), group)?;
        }
        Ok(())
    }
}

/// Bytes shown in MiB.
struct Mib(u64);

impl Mib {
    #[expect(clippy::cast_precision_loss, reason = "for showing")]
    fn value(&self) -> f64 {
        self.0 as f64 / f64::from(1 << 20)
    }
}

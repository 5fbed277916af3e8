//! What a program says of itself: its build id, and where its symbols are.

use std::collections::BTreeMap;

use object::LittleEndian as Le;
use object::read::elf::Sym as _;

use super::error::TextError;
use super::exports::{Named, Symbols};
use super::image::ProgramText;
use super::unwind::Mapped as _;
use crate::addr::LinkAddr;
use crate::elf::{is_body, stem};

/// Bytes of a symbol's name behind that of the function that it is a clone of.
const MAX_SUFFIX: u64 = 64;

impl ProgramText {
    /// The build id that the linker gave it, if any.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn build_id(&self) -> Result<Option<Vec<u8>>, TextError> {
        self.notes.build_id(self)
    }

    /// Whether the program exports a function of this name that starts at `addr`.
    pub(super) fn exports(&self, name: &str, addr: LinkAddr) -> Result<bool, TextError> {
        let Some(exports) = &self.exports else { return Ok(false) };
        let found = exports.find(self, name)?;
        Ok(found.iter().any(|found| found.is_function && found.addr == addr))
    }

    /// What the program's symbols define of these names: as [`Program::symbols`](crate::elf::Program::symbols) does, with
    /// clones where the program has names for them.
    pub(crate) fn named(&self, names: &[&str]) -> Result<BTreeMap<String, Vec<Named>>, TextError> {
        match &self.exports {
            Some(exports) if !self.names_all => {
                let find = |name: &&str| Ok(((*name).to_owned(), exports.find(self, name)?));
                names.iter().map(find).collect()
            }
            _ => self.all_named(names),
        }
    }

    /// The same by a look at all symbols: a program with a `.symtab` has names beside those that it exports, to which no
    /// hash table leads.
    fn all_named(&self, names: &[&str]) -> Result<BTreeMap<String, Vec<Named>>, TextError> {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0) as u64;
        let mut all: BTreeMap<String, Vec<Named>> =
            names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        for Symbols { table, strings } in &self.tables {
            self.each_symbol(table, |symbol| {
                let Some(named) = Named::of(symbol) else { return Ok(()) };
                let at = strings.start.saturating_add(u64::from(symbol.st_name(Le)));
                let len = strings.end.saturating_sub(at).min(longest + MAX_SUFFIX);
                let bytes = self.bytes(at, len)?;
                let own = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                let Ok(own) = std::str::from_utf8(own) else { return Ok(()) };
                if let Some(found) = all.get_mut(stem(own)).filter(|_| is_body(own))
                    && !found.contains(&named)
                {
                    found.push(named);
                }
                Ok(())
            })?;
        }
        Ok(all)
    }
}

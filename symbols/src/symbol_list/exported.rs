//! What a program exports, as a list must have it.

use std::collections::HashMap;

use object::{Object as _, ObjectSymbol as _};

use super::SymbolListError;
use crate::addr::LinkAddr;
use crate::elf::Program;

/// Most symbols that are compared; a server exports some fifty thousand.
const MAX_SYMBOLS: usize = 1 << 20;

/// Fewest by which a list is known to be the program's.
const FEWEST: usize = 16;

/// The symbols that a program defines in `.dynsym`, and which of them a list has.
pub(super) struct Exported<'p> {
    by_name: HashMap<&'p [u8], Vec<(LinkAddr, bool)>>,
    count: usize,
    seen: usize,
}

impl<'p> Exported<'p> {
    pub(super) fn of(program: &'p Program) -> Result<Self, SymbolListError> {
        let elf = program.elf().map_err(|_| SymbolListError::NoExports)?;
        let mut by_name = HashMap::<&[u8], Vec<(LinkAddr, bool)>>::new();
        let mut count = 0;
        for symbol in elf.dynamic_symbols().take(MAX_SYMBOLS) {
            let Ok(name) = symbol.name_bytes() else { continue };
            if symbol.is_undefined() || symbol.address() == 0 || name.is_empty() {
                continue;
            }
            let known = by_name.entry(name).or_default();
            let addr = LinkAddr(symbol.address());
            if known.iter().all(|(other, _)| *other != addr) {
                known.push((addr, false));
                count += 1;
            }
        }
        match count {
            0..FEWEST => Err(SymbolListError::NoExports),
            _ => Ok(Self { by_name, count, seen: 0 }),
        }
    }

    /// A symbol of the list.
    pub(super) fn see(&mut self, name: &[u8], addr: LinkAddr) {
        let Some(known) = self.by_name.get_mut(name) else { return };
        if let Some((_, seen)) = known.iter_mut().find(|(known, seen)| *known == addr && !seen) {
            *seen = true;
            self.seen += 1;
        }
    }

    /// How many symbols there are, if the list has each of them.
    pub(super) fn all_seen(&self) -> Result<usize, SymbolListError> {
        match self.seen == self.count {
            true => Ok(self.count),
            false => Err(SymbolListError::OtherBuild { agree: self.seen, of: self.count }),
        }
    }
}

//! Symbols of a program: `.symtab` where it is left, `.dynsym` always.

use std::collections::HashMap;

use object::{Object, ObjectSymbol};

use super::{ElfError, Program};
use crate::addr::LinkAddr;

/// What a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// Code.
    Function,
    /// Data.
    Object,
}

/// A defined function or variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name in the symbol table, mangled, with the suffix of a clone.
    pub name: String,
    /// Where it is.
    pub addr: LinkAddr,
    /// Size in bytes, 0 where the table has none.
    pub size: u64,
    /// Function or data.
    pub kind: SymbolKind,
}

/// The defined symbols of a program that were requested, by name.
#[derive(Debug, Default)]
pub struct SymbolTable {
    by_name: HashMap<String, Vec<Symbol>>,
    /// True when the program has a `.symtab`: static functions then have names too.
    pub has_symtab: bool,
}

impl SymbolTable {
    /// Symbols called `name`, and for functions its clones `name.isra.N`, `name.constprop.N` and
    /// `name.part.N` in any combination. A `.cold` part is entered by a jump in mid-function, with
    /// the arguments anywhere, so it is left out.
    #[must_use]
    pub fn get(&self, name: &str) -> &[Symbol] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Adds the symbols of a debug file: those at addresses that have no name here yet.
    pub(crate) fn merge(&mut self, other: Self) {
        self.has_symtab |= other.has_symtab;
        for (name, symbols) in other.by_name {
            let known = self.by_name.entry(name).or_default();
            for symbol in symbols {
                if known.iter().all(|k| k.addr != symbol.addr) {
                    known.push(symbol);
                }
            }
        }
    }
}

impl Program {
    /// The symbols called one of `names`, with clones, in one pass over each table.
    ///
    /// # Errors
    /// The headers are broken. A broken symbol is passed over.
    pub fn symbols<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<SymbolTable, ElfError> {
        let elf = self.elf()?;
        let mut by_name: HashMap<String, Vec<Symbol>> =
            names.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();
        for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
            let Ok(name) = symbol.name() else { continue };
            let Some(found) = by_name.get_mut(stem(name)) else { continue };
            let kind = match symbol.kind() {
                object::SymbolKind::Text => SymbolKind::Function,
                object::SymbolKind::Data => SymbolKind::Object,
                _ => continue,
            };
            if symbol.is_undefined() || symbol.address() == 0 || !is_body(name) {
                continue;
            }
            let addr = LinkAddr(symbol.address());
            // The same symbol stands in both tables of an unstripped program.
            if found.iter().all(|known| known.addr != addr) {
                found.push(Symbol { name: name.to_owned(), addr, size: symbol.size(), kind });
            }
        }
        Ok(SymbolTable { by_name, has_symtab: elf.symbols().next().is_some() })
    }
}

/// The name without the suffixes that compilers append to clones.
pub(crate) fn stem(name: &str) -> &str {
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// False for a `.cold` part and for suffixes that are not known to mean a whole body.
pub(crate) fn is_body(name: &str) -> bool {
    name.split('.').skip(1).all(|part| {
        matches!(part, "isra" | "constprop" | "part" | "clone" | "lto_priv")
            || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::{is_body, stem};

    #[test]
    fn clones_are_bodies_and_cold_parts_are_not() {
        for name in ["f", "f.isra.0", "f.constprop.12", "f.isra.0.part.3"] {
            assert_eq!(stem(name), "f");
            assert!(is_body(name), "{name}");
        }
        for name in ["f.cold", "f.isra.0.cold", "f.part.1.cold.7", "f.", "f.unlikely"] {
            assert!(!is_body(name), "{name}");
        }
    }
}

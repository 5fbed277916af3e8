//! Addresses of functions and variables by their names, without a look at all of them.
//!
//! What a program exports, the dynamic linker finds by a hash table (`.gnu.hash`, "GNU Hash ELF Sections",
//! binutils' `elflink.c`): some ten bytes of it, and one symbol. So are they found here. A program with a `.symtab` has
//! names beside those, which no table leads to: there all symbols are looked through.

use std::collections::BTreeMap;
use std::ops::Range;

use object::LittleEndian as Le;
use object::elf::{STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, Sym64};
use object::pod;
use object::read::elf::Sym as _;

use super::error::TextError;
use super::image::{ProgramText, Symbols};
use super::unwind::Mapped as _;
use crate::addr::LinkAddr;
use crate::elf::{is_body, stem};

/// Most symbols of one bucket that are looked at; in a server's table a bucket has some three.
const MAX_CHAIN: u64 = 4096;

/// Bytes of a symbol's name behind that of the function that it is a clone of.
const MAX_SUFFIX: u64 = 64;

/// Bytes of the table's head: four numbers.
const HEAD: u64 = 16;

const SYMBOL: u64 = size_of::<Sym64<Le>>() as u64;

/// The hash table of the symbols that a program exports.
#[derive(Clone, Debug)]
pub(super) struct Exports {
    table: Range<u64>,
    symbols: Symbols,
}

/// A symbol that was found by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) addr: LinkAddr,
    /// Whether it is a function; else a variable.
    pub(crate) is_function: bool,
}

impl Named {
    /// What a symbol defines, if it is a function or a variable.
    fn of(symbol: &Sym64<Le>) -> Option<Self> {
        let is_function = match symbol.st_type() {
            STT_FUNC | STT_GNU_IFUNC => true,
            STT_OBJECT | STT_COMMON => false,
            _ => return None,
        };
        let addr = LinkAddr(symbol.st_value(Le));
        let is_defined = !symbol.is_undefined(Le) && addr.0 != 0;
        is_defined.then_some(Self { addr, is_function })
    }
}

impl Exports {
    pub(super) fn new(table: Range<u64>, symbols: Symbols) -> Self {
        Self { table, symbols }
    }

    /// Symbols of exactly this name; nothing where the table makes no sense.
    fn find(&self, text: &ProgramText, name: &str) -> Result<Vec<Named>, TextError> {
        let head = text.bytes(self.table.start, HEAD.min(self.len()))?;
        let (numbers, _) = head.as_chunks::<4>();
        let [buckets, first, bloom, _] = numbers else { return Ok(Vec::new()) };
        let [buckets, first, bloom] =
            [buckets, first, bloom].map(|number| u64::from(u32::from_le_bytes(*number)));
        if buckets == 0 {
            return Ok(Vec::new());
        }
        let hash = object::elf::gnu_hash(name.as_bytes());
        let at_buckets = HEAD + bloom * 8;
        let at_chains = at_buckets + buckets * 4;
        let Some(start) = self.number(text, at_buckets + u64::from(hash) % buckets * 4)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for index in (u64::from(start)..).take_while(|index| index - u64::from(start) < MAX_CHAIN) {
            // The table begins behind symbols that are not defined here.
            let Some(at) = index.checked_sub(first) else { break };
            let Some(chain) = self.number(text, at_chains + at * 4)? else { break };
            if chain | 1 == hash | 1 {
                found.extend(self.symbol(text, index, name)?);
            }
            if chain & 1 == 1 {
                break;
            }
        }
        Ok(found)
    }

    fn len(&self) -> u64 {
        self.table.end - self.table.start
    }

    /// The number `at` bytes into the table.
    fn number(&self, text: &ProgramText, at: u64) -> Result<Option<u32>, TextError> {
        if at.saturating_add(4) > self.len() {
            return Ok(None);
        }
        let bytes = text.bytes(self.table.start + at, 4)?;
        Ok(bytes.first_chunk().map(|number| u32::from_le_bytes(*number)))
    }

    /// The symbol of this number, if it is called so.
    fn symbol(
        &self,
        text: &ProgramText,
        index: u64,
        name: &str,
    ) -> Result<Option<Named>, TextError> {
        let Symbols { table, strings } = &self.symbols;
        let at = table.start + index * SYMBOL;
        if at.saturating_add(SYMBOL) > table.end {
            return Ok(None);
        }
        let bytes = text.bytes(at, SYMBOL)?;
        let Ok((symbol, _)) = pod::from_bytes::<Sym64<Le>>(&bytes) else { return Ok(None) };
        let at = strings.start.saturating_add(u64::from(symbol.st_name(Le)));
        let own = text.bytes(at, strings.end.saturating_sub(at).min(name.len() as u64 + 1))?;
        let is_it = own.strip_prefix(name.as_bytes()) == Some(&[0]);
        Ok(Named::of(symbol).filter(|_| is_it))
    }
}

impl ProgramText {
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

//! Addresses of functions and variables by their names, without a look at all of them.
//!
//! What a program exports, the dynamic linker finds by a hash table (`.gnu.hash`, "GNU Hash ELF Sections",
//! binutils' `elflink.c`): some ten bytes of it, and one symbol. So are they found here.

use std::ops::Range;

use object::LittleEndian as Le;
use object::elf::{STT_COMMON, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, Sym64};
use object::pod;
use object::read::elf::Sym as _;

use super::error::TextError;
use super::unwind::Mapped;
use crate::addr::LinkAddr;

/// Most symbols of one bucket that are looked at; in a server's table a bucket has some three.
const MAX_CHAIN: u64 = 4096;

/// Bytes of the table's head: four numbers.
const HEAD: u64 = 16;

const SYMBOL: u64 = size_of::<Sym64<Le>>() as u64;

/// A symbol table and the strings of its names.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    pub(super) table: Range<u64>,
    pub(super) strings: Range<u64>,
}

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
    pub(super) fn of(symbol: &Sym64<Le>) -> Option<Self> {
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
    pub(super) fn find(&self, text: &impl Mapped, name: &str) -> Result<Vec<Named>, TextError> {
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
    fn number(&self, text: &impl Mapped, at: u64) -> Result<Option<u32>, TextError> {
        if at.saturating_add(4) > self.len() {
            return Ok(None);
        }
        let bytes = text.bytes(self.table.start + at, 4)?;
        Ok(bytes.first_chunk().map(|number| u32::from_le_bytes(*number)))
    }

    /// The symbol of this number, if it is called so.
    fn symbol(
        &self,
        text: &impl Mapped,
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

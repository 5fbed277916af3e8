//! What is stored of a known build: the masked code of the functions on which its profile rests, and what they use.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::KinError;
use super::code::{Line, MaskedCode, Use, short_hash};
use super::function::FunctionTable;
use crate::addr::LinkAddr;
use crate::cause::Cause;
use crate::elf::Program;

/// Version of the stored form.
const FORMAT: u32 = 1;

/// Fewest instructions of a function that is known by its code alone: shorter ones were seen to be alike by chance
/// (9 of some thousand below 8; none of 16,413 from 8 on, MariaDB 10.11.18 and 10.11.19).
const DISTINCT: usize = 8;

/// Most bytes of code that are looked at; a server has some twenty million.
const MAX_CODE: u64 = 128 << 20;

/// Most bytes of a stored fingerprint.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// The code of a known build, as far as its profile rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    format: u32,
    /// Build id of the known build, hexadecimal.
    pub build_id: String,
    /// Version that it states.
    pub version: String,
    /// Sources whose whole code is compared.
    pub sources: Vec<String>,
    /// Its functions, in the order of their addresses.
    pub(super) functions: Vec<KnownFunction>,
}

/// A function of the known build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownFunction {
    /// Symbol name; empty for a part that has none.
    pub(super) name: String,
    /// Link address.
    pub(super) start: u64,
    /// Bytes.
    pub(super) len: u64,
    /// Its number among all functions of the program.
    pub(super) number: usize,
    /// Number of its source; none of those that are there for a site only.
    pub(super) source: Option<usize>,
    pub(super) hash: u64,
    pub(super) unlined: u64,
    pub(super) lines: Vec<Line>,
    /// Whether no other function of the build has this hash, and it has enough instructions to be known by it.
    pub(super) distinct: bool,
    /// The same without line numbers.
    pub(super) distinct_unlined: bool,
    /// How many functions of the build have this code.
    pub(super) alike: u32,
    pub(super) uses: Vec<Used>,
}

impl KnownFunction {
    pub(super) fn holds(&self, addr: u64) -> bool {
        addr.checked_sub(self.start).is_some_and(|inside| inside < self.len)
    }
}

/// What a function uses outside of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Used {
    /// Code that is not stored.
    Code,
    /// Code of a stored function.
    Function {
        /// Its number in the list.
        index: usize,
        /// Bytes from its start.
        inside: u64,
    },
    /// Data that the program may write.
    Data {
        /// Its link address.
        addr: u64,
    },
    /// Data that it only reads, by its bytes.
    Constant {
        /// How many are read.
        bytes: u8,
        /// Their hash.
        hash: u64,
    },
    /// Data that it only reads and whose address is taken: texts, tables.
    Address,
}

impl Fingerprint {
    /// Takes the fingerprint of a program. `source_of` gives the source of a function, by its start; `wanted` names
    /// further ones that are kept by an address inside of them; `names` gives symbol names by start.
    ///
    /// # Errors
    /// The program cannot be read, has no unwind table, or loads at fixed addresses.
    pub fn take(
        program: &Program,
        version: &str,
        sources: &[String],
        source_of: &dyn Fn(LinkAddr) -> Option<usize>,
        wanted: &[LinkAddr],
        names: &BTreeMap<LinkAddr, String>,
    ) -> Result<Self, KinError> {
        let build = Build::of(program)?;
        let wanted: Vec<usize> =
            wanted.iter().filter_map(|addr| build.extents.at(addr.0)).collect();
        let count = |hash: fn(&MaskedCode) -> u64| {
            let mut counts = HashMap::<u64, u32>::new();
            for code in build.codes.iter().flatten() {
                *counts.entry(hash(code)).or_default() += 1;
            }
            counts
        };
        let (by_hash, by_unlined) = (count(|code| code.hash), count(|code| code.unlined));
        let kept: Vec<usize> = (0..build.codes.len())
            .filter(|number| {
                let start = LinkAddr(build.extents.as_slice()[*number].start);
                source_of(start).is_some() || wanted.contains(number)
            })
            .collect();
        let index_of: HashMap<usize, usize> =
            kept.iter().enumerate().map(|(index, number)| (*number, index)).collect();
        let functions = kept.iter().filter_map(|number| {
            let extent = build.extents.as_slice()[*number];
            let code = build.codes[*number].as_ref()?;
            let long = code.instructions >= DISTINCT;
            let uses = code.uses.iter().map(|used| build.describe(program, used, &index_of));
            Some(KnownFunction {
                name: names.get(&LinkAddr(extent.start)).cloned().unwrap_or_default(),
                start: extent.start,
                len: extent.end - extent.start,
                number: *number,
                source: source_of(LinkAddr(extent.start)),
                hash: code.hash,
                unlined: code.unlined,
                lines: code.lines.clone(),
                distinct: long && by_hash.get(&code.hash) == Some(&1),
                distinct_unlined: long && by_unlined.get(&code.unlined) == Some(&1),
                alike: by_hash.get(&code.hash).copied().unwrap_or(0),
                uses: uses.collect(),
            })
        });
        Ok(Self {
            format: FORMAT,
            build_id: program.build_id_hex().unwrap_or_default(),
            version: version.to_owned(),
            sources: sources.to_vec(),
            functions: functions.collect(),
        })
    }

    /// Number of functions that must be alike.
    #[must_use]
    pub fn required(&self) -> usize {
        self.functions.iter().filter(|function| function.source.is_some()).count()
    }

    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, KinError> {
        postcard::to_allocvec(self).map_err(|error| self.unreadable(&error))
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn from_bytes(known: &str, bytes: &[u8]) -> Result<Self, KinError> {
        let unreadable = |source| KinError::Unreadable { known: known.to_owned(), source };
        if bytes.len() > MAX_BYTES {
            return Err(unreadable(Cause::new(&"it is too large")));
        }
        let read: Self =
            postcard::from_bytes(bytes).map_err(|error| unreadable(Cause::new(&error)))?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(unreadable(Cause::new(&format!("it is of version {other}")))),
        }
    }

    fn unreadable(&self, error: &postcard::Error) -> KinError {
        KinError::Unreadable { known: self.build_id.clone(), source: Cause::new(error) }
    }
}

/// All functions of a program with their masked code.
pub(super) struct Build {
    pub(super) extents: FunctionTable,
    /// By number of the function; nothing where it does not decode.
    pub(super) codes: Vec<Option<MaskedCode>>,
}

impl Build {
    pub(super) fn of(program: &Program) -> Result<Self, KinError> {
        if !program.is_pie() {
            return Err(KinError::FixedAddresses);
        }
        let extents = FunctionTable::of(program)?;
        // Functions do not overlap in a program that a compiler made.
        let mut left = MAX_CODE;
        let codes = extents.as_slice().iter().map(|extent| {
            left = left.checked_sub(extent.end - extent.start)?;
            MaskedCode::of(program, *extent)
        });
        let codes = codes.collect();
        Ok(Self { extents, codes })
    }

    fn describe(&self, program: &Program, used: &Use, index_of: &HashMap<usize, usize>) -> Used {
        let addr = LinkAddr(used.target);
        if program.is_code(addr) {
            let number = self.extents.at(used.target);
            return number.and_then(|number| Some((number, *index_of.get(&number)?))).map_or(
                Used::Code,
                |(number, index)| {
                    let inside = used.target - self.extents.as_slice()[number].start;
                    Used::Function { index, inside }
                },
            );
        }
        match constant(program, used) {
            Constant::No => Used::Data { addr: used.target },
            Constant::Address => Used::Address,
            Constant::Bytes(hash) => Used::Constant { bytes: used.bytes, hash },
        }
    }
}

/// What a use of data is, where the program cannot write it.
pub(super) enum Constant {
    /// It can.
    No,
    /// Only its address is taken.
    Address,
    /// Hash of the bytes that are read.
    Bytes(u64),
}

pub(super) fn constant(program: &Program, used: &Use) -> Constant {
    let addr = LinkAddr(used.target);
    if !program.is_read_only(addr) {
        return Constant::No;
    }
    match used.bytes {
        0 => Constant::Address,
        bytes => Constant::Bytes(short_hash(program.bytes_at(addr, bytes.into()))),
    }
}

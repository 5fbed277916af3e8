//! The answer of this crate: everything the agent must know of one build of a server.
//!
//! A profile is plain data. It is computed from DWARF, or loaded from a stored file for a stripped
//! build, and cached. Names on the left of its maps are *roles* (`block.space`, `page_dirty`); the
//! server's own names for them are in the server definitions (`symbols/servers/*.toml`), so nothing
//! that reads a profile knows which version it has.

mod check;
mod meaning;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::addr::{FileOff, LinkAddr};
use crate::reason::UnresolvedReason;
use crate::role::{FieldRole, GlobalRole, Role, SiteRole, SizeRole};
use crate::symbol_list::SymbolListUse;

pub use check::{MAX_PROFILE_BYTES, ProfileError};
pub use meaning::{
    BlockTopology, CleanRule, Condition, Io, Op, PageState, Pools, RuleReason, States, Topology,
};

/// Version of the serialised form. A cached profile of another version is recomputed; a stored one of version 2 is read.
pub const PROFILE_FORMAT: u32 = 3;

/// One build of a server, as the agent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`PROFILE_FORMAT`] at the time of writing.
    pub format: u32,
    /// Which server this is.
    pub server: ServerId,
    /// Which build this is.
    pub binary: BinaryId,
    /// Where the facts came from.
    pub source: Source,
    /// Probe sites by event role. An event may have several sites (inlined copies, clones).
    pub sites: BTreeMap<SiteRole, Vec<Site>>,
    /// Field offsets by role, each from the start of the outermost type named by the role.
    pub fields: BTreeMap<FieldRole, Field>,
    /// Sizes of types in bytes, by role (`block`, `chunk`, `pool`, ...).
    pub sizes: BTreeMap<SizeRole, u64>,
    /// Global variables by role.
    pub globals: BTreeMap<GlobalRole, Global>,
    /// Values of enumerators by the server's own name for them.
    pub enums: BTreeMap<String, i64>,
    /// Where pools and their blocks lie.
    pub topology: Topology,
    /// The meaning of a descriptor's state word; the first that it lies in counts.
    pub states: Vec<States>,
    /// What makes a resident page eligible, in order; the first that fails names the reason.
    pub rules: Vec<CleanRule>,
    /// How reads and writes are distinguished; none where an enumerator of it was not found.
    pub io: Option<Io>,
    /// Values of `block.oldest_lsn` of pages that are not on the flush list.
    #[serde(default)]
    pub off_flush_list: Vec<u64>,
    /// What was looked for and not found, and why.
    pub missing: Vec<Missing>,
}

impl Profile {
    /// True when nothing is missing that the agent cannot do without.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.iter().all(|missing| !missing.required)
    }

    /// What is missing that the agent cannot do without.
    pub fn lacking(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(|missing| missing.required)
    }
}

/// Which server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerId {
    /// `mysql`, `mariadb` or `percona`.
    pub family: String,
    /// Version as the binary states it, e.g. `5.6.24`.
    pub version: String,
    /// Name of the server definition that was applied, e.g. `mysql-5.6`.
    pub definition: String,
}

/// Which build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryId {
    /// `.note.gnu.build-id`, hexadecimal, where there is one.
    pub build_id: Option<String>,
    /// BLAKE3 of the file, hexadecimal; none in a stored profile that is for every file of the build id.
    pub content_hash: Option<String>,
    /// Size of the file in bytes.
    pub size: u64,
    /// True when the program is position independent: a load bias is to be added to link addresses.
    pub pie: bool,
}

impl BinaryId {
    /// The identity of a program.
    pub(crate) fn of(program: &crate::elf::Program) -> Self {
        Self {
            build_id: program.build_id_hex(),
            content_hash: Some(program.content_hash()),
            size: program.bytes().len() as u64,
            pie: program.is_pie(),
        }
    }

    /// The names under which a stored profile of it may lie.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let hash = self.content_hash.iter().map(|hash| format!("blake3-{hash}"));
        self.build_id.clone().into_iter().chain(hash)
    }

    /// Names the build, for people and for stored profiles: the build id, or `blake3-` and the content hash.
    /// It proves nothing: a build id can be forged.
    #[must_use]
    pub fn key(&self) -> String {
        match (&self.build_id, &self.content_hash) {
            (Some(id), _) => id.clone(),
            (None, Some(hash)) => format!("blake3-{hash}"),
            (None, None) => String::from("unknown"),
        }
    }
}

/// Where the facts of a profile came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// DWARF in the binary itself.
    OwnDwarf,
    /// DWARF in a separate file.
    DebugFile {
        /// Path (or URL) of the file.
        path: String,
    },
    /// A stored profile of this build id; symbol addresses checked against the binary's `.dynsym`.
    Stored {
        /// Name of the stored profile.
        name: String,
    },
    /// The stored profile of another build whose code this program has too, see [`crate::kin`].
    Kin {
        /// Name of the stored profile.
        name: String,
        /// Version of that build.
        version: String,
        /// How many functions were compared; all are alike.
        compared: usize,
        /// How many of them stand at other lines of their sources.
        moved_lines: usize,
        /// What the list of the program's names says to it.
        #[serde(default)]
        symbol_list: SymbolListUse,
    },
}

/// One place to put a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Linkage name of the function (or of the caller that it was inlined into).
    pub function: String,
    /// Start of the function or inlined copy.
    pub entry: LinkAddr,
    /// Instruction to probe: the first in the prologue that the kernel emulates (one trap), while
    /// the arguments still stand where `args` has them; `entry` if there is none.
    pub probe: LinkAddr,
    /// `probe` as an offset in the file.
    pub file_offset: FileOff,
    /// What the kernel does with the probed instruction.
    pub instruction: Instruction,
    /// Bytes from `entry` on, hexadecimal: 32, or up to the end of the probed instruction if that is
    /// more. By them a program is known to have this function there.
    pub code: String,
    /// Mnemonic and operands of the probed instruction, for people.
    pub text: String,
    /// Entry, return or inlined copy.
    pub kind: SiteKind,
    /// Where each argument stands at `probe`.
    pub args: Vec<ArgLoc>,
}

/// What kind of place a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// The function's own body.
    Function,
    /// An out-of-line copy with a suffix (`.isra`, `.constprop`, `.part`).
    Clone,
    /// A copy inlined into another function.
    Inlined,
}

/// How the kernel executes the instruction under an x86-64 uprobe
/// (`arch/x86/kernel/uprobes.c`, `branch_setup_xol_ops` and `push_setup_xol_ops`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Emulated: `push reg`, `nop`, relative `call`/`jmp`. One trap a hit.
    Emulated,
    /// Executed out of line and single-stepped. Two traps a hit.
    SingleStepped,
}

/// Where an argument stands, in DWARF register numbers of x86-64
/// (0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp, 8..15 r8..r15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArgLoc {
    /// In a register.
    Register {
        /// DWARF register number.
        reg: u16,
    },
    /// In memory at `reg + offset`.
    Memory {
        /// DWARF register number of the base.
        reg: u16,
        /// Signed displacement in bytes.
        offset: i64,
    },
    /// A constant.
    Constant {
        /// The value.
        value: u64,
    },
    /// Unknown or optimised out.
    Unknown,
}

/// Where a field is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The server's own path, e.g. `buf_block_t.page.state`.
    pub path: String,
    /// Byte offset of the storage unit that holds the field, from the start of the outermost type.
    pub offset: u64,
    /// Size of the field (or of a bit-field's storage unit) in bytes.
    pub size: u64,
    /// Position and width in bits inside the storage unit read as a little-endian integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Bits>,
}

/// A bit-field inside its storage unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    /// Bits below the field.
    pub shift: u8,
    /// Width in bits.
    pub width: u8,
}

/// A global variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {
    /// The server's own name.
    pub name: String,
    /// Its link address.
    pub addr: LinkAddr,
    /// Its size in bytes (0 where the source has none).
    pub size: u64,
}

/// Something looked for and not found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What it was wanted for.
    #[serde(flatten)]
    pub role: Role,
    /// The server's own name for it.
    pub name: String,
    /// Whether the agent can do without it.
    pub required: bool,
    /// Why there is no answer.
    pub reason: UnresolvedReason,
}

//! What the fields of a block descriptor mean: states and conditions, as data of the server's definition.

use serde::{Deserialize, Serialize};

use crate::role::FieldRole;

/// What a block holds, by its state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageState {
    /// On the free list, or ready for use.
    Free,
    /// Holds something of the server's that is not a file page (hash index, lock heap, buddy frames).
    Memory,
    /// Leaving the pool.
    Evicting,
    /// A compressed-only descriptor, or a watch sentinel: no frame.
    NoFrame,
    /// Holds a file page; the rules decide the rest.
    Page,
}

/// Values of the state word that mean the same: one value, or a range; of the whole word, or of some bits of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// Bits of the word that count; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u64>,
    /// First value.
    pub first: u64,
    /// Last value.
    pub last: u64,
    /// What the block holds then.
    pub holds: PageState,
}

/// A condition on one field of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The field.
    pub field: FieldRole,
    /// Comparison.
    pub op: Op,
    /// Operand (enumerators already resolved); the first value of a range.
    pub value: i64,
    /// Last value of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// Mask applied to the field first; all bits when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u64>,
}

/// Comparison of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Signed greater than.
    Gt,
    /// Signed less than or equal.
    Le,
    /// Unsigned, from the value to the last one.
    Within,
}

/// One condition of the clean rule, evaluated on a descriptor that holds a file page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanRule {
    /// What must hold.
    #[serde(flatten)]
    pub condition: Condition,
    /// What the page is when it does not.
    pub reason: RuleReason,
}

/// What a page is that fails a condition of the clean rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleReason {
    /// It has a compressed copy: its frame is on no disk.
    Compressed,
    /// It is being read or written.
    Io,
    /// It was modified since it was last written.
    Dirty,
    /// A writer holds or awaits its latch.
    Latched,
    /// Somebody uses it.
    Fixed,
    /// Its place in the tablespace is free.
    Freed,
    /// It is of a temporary tablespace.
    Temporary,
}

impl RuleReason {
    /// Stable name, part of the output contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::Io => "io",
            Self::Dirty => "dirty",
            Self::Latched => "latched",
            Self::Fixed => "fixed",
            Self::Freed => "freed",
            Self::Temporary => "temporary",
        }
    }
}

/// How the server lays out its pools, and where the blocks of a pool lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// What the global `pool` is.
    pub pools: Pools,
    /// Where a pool has its blocks.
    pub blocks: BlockTopology,
}

/// What the global `pool` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pools {
    /// The address of an array of `instances` pools.
    Array,
    /// The one pool itself.
    Object,
}

/// Where a pool has its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockTopology {
    /// In an array of chunks, each of which names its first descriptor and how many it has.
    Chunks,
    /// In memory that is one range of extents of so many bytes, each of which has as many descriptors and frames as it
    /// can hold, the descriptors first (MariaDB 10.11.12, 11.4.6, 11.8.2 and later).
    Extents(u64),
}

/// How a descriptor shows, while an I/O has just ended, which one it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// Holds while the page is being read.
    pub reading: Condition,
    /// Holds while it is being written.
    pub writing: Condition,
}

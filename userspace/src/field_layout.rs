//! A profile compiled for reading descriptors fast: offsets checked once, then plain indexing.

mod condition;
mod error;

use probe_abi::ServerLayout;
use symbols::profile::{self, BlockTopology, Field, PageState, Pools, Profile, RuleReason, States};
use symbols::role::{FieldRole, Role, SizeRole};

pub use condition::{FieldCondition, Slot};
pub use error::LayoutError;

/// A condition of the clean rule, and what a page is that fails it.
#[derive(Clone, Debug)]
struct Rule {
    condition: FieldCondition,
    reason: RuleReason,
}

/// The fields of a block descriptor and the rule over them.
#[derive(Clone, Debug)]
pub struct BlockLayout {
    /// Distance between descriptors in bytes.
    pub stride: usize,
    /// Space id.
    pub space: Slot,
    /// Page number.
    pub page: Slot,
    /// LSN of the newest change, where the server keeps it.
    pub newest_lsn: Option<Slot>,
    /// LSN of the oldest unwritten change, where the server keeps it; for people.
    pub oldest_lsn: Option<Slot>,
    /// Address of the frame.
    pub frame: Slot,
    /// Holds while a read is under way.
    pub reading: FieldCondition,
    /// Holds while a write is under way.
    writing: FieldCondition,
    /// Address of the tablespace object, where the descriptor keeps it (8.0+).
    pub space_object: Option<Slot>,
    /// Version of the tablespace that the page belongs to (8.0.23+).
    pub space_version: Option<Slot>,
    /// State word.
    state: Slot,
    states: Vec<States>,
    /// The clean rule, in order.
    rule: Vec<Rule>,
    /// Values of the LSN of the oldest unwritten change of pages that are not on the flush list.
    off_flush_list: Vec<u64>,
}

impl BlockLayout {
    /// The state of the state word; nothing where no range has its value.
    #[must_use]
    #[inline]
    pub fn page_state(&self, descriptor: &[u8]) -> Option<PageState> {
        let word = self.state.read(descriptor);
        let has = |states: &&States| {
            let value = word & states.mask.unwrap_or(u64::MAX);
            (states.first..=states.last).contains(&value)
        };
        self.states.iter().find(has).map(|states| states.holds)
    }

    /// Reason of the first condition of the clean rule that fails.
    #[must_use]
    #[inline]
    pub fn first_failure(&self, descriptor: &[u8]) -> Option<RuleReason> {
        self.rule.iter().find(|rule| !rule.condition.holds(descriptor)).map(|rule| rule.reason)
    }

    /// Whether the descriptor says that its page is on the flush list; nothing where the profile does not know how it says so.
    #[must_use]
    #[inline]
    pub fn is_on_flush_list(&self, descriptor: &[u8]) -> Option<bool> {
        let oldest = self.oldest_lsn.filter(|_| !self.off_flush_list.is_empty())?;
        Some(!self.off_flush_list.contains(&oldest.read(descriptor)))
    }

    /// Whether a condition of the clean rule with this reason fails.
    #[must_use]
    pub fn fails(&self, descriptor: &[u8], reason: RuleReason) -> bool {
        let of_reason = |rule: &&Rule| rule.reason == reason;
        self.rule.iter().filter(of_reason).any(|rule| !rule.condition.holds(descriptor))
    }
}

/// Offsets of a pool, and how it holds its blocks.
#[derive(Clone, Debug)]
pub struct PoolLayout {
    /// What the global is.
    pub pools: Pools,
    /// Size of one pool.
    pub pool_size: u64,
    /// Where its blocks are.
    pub blocks: BlocksLayout,
    /// The lengths of its lists, as far as the profile has them.
    pub lists: ListLengths,
}

/// Lengths of lists that a pool keeps of its blocks.
#[derive(Clone, Copy, Debug)]
pub struct ListLengths {
    /// Of pages by their use.
    pub lru: Option<Slot>,
    /// Of free blocks.
    pub free: Option<Slot>,
    /// Of pages with unwritten changes.
    pub flush: Option<Slot>,
}

/// Where the blocks of a pool are.
#[derive(Clone, Debug)]
pub enum BlocksLayout {
    /// In chunks.
    Chunks {
        /// Number of chunks, in the pool.
        count: Slot,
        /// Number of chunks that the pool is to have, where online resize exists.
        new_count: Option<Slot>,
        /// Address of the array of chunks, in the pool.
        array: Slot,
        /// Size of one chunk structure.
        size: u64,
        /// Number of blocks, in the chunk.
        blocks: Slot,
        /// Address of the first descriptor, in the chunk.
        descriptors: Slot,
    },
    /// In extents.
    Extents {
        /// Bytes of an extent.
        bytes: u64,
        /// Address of the first, in the pool.
        memory: Slot,
        /// Number of blocks, in the pool.
        blocks: Slot,
        /// Not 0 while it is made smaller, in the pool.
        withdraw: Option<Slot>,
    },
}

/// Offsets in the tablespace object, where descriptors point to it.
#[derive(Clone, Debug)]
pub struct SpaceLayout {
    /// Space id.
    pub id: Slot,
    /// Version, compared with the descriptor's.
    pub version: Slot,
    /// Set when the space is being dropped, where the server keeps such a flag.
    pub deleted: Option<Slot>,
}

/// A compiled profile.
#[derive(Clone, Debug)]
pub struct FieldLayout {
    /// Block descriptors.
    pub block: BlockLayout,
    /// Pool and chunks.
    pub pool: PoolLayout,
    /// Tablespace objects.
    pub space: Option<SpaceLayout>,
}

/// Most bytes of a struct of the server; `buf_pool_t`, the largest, has some thousand. Buffers are made
/// by these sizes, and counts multiplied by them.
const MAX_SIZE: u64 = 1 << 20;

/// Most bytes of a block descriptor, of which a pool has millions; debug builds have some thousand.
const MAX_BLOCK: u64 = 16 << 10;

/// Size taken for a struct whose size is not in the profile; only bounds reads of it.
const UNKNOWN_SIZE: u64 = 1 << 16;

impl FieldLayout {
    /// Compiles `profile`.
    ///
    /// # Errors
    /// When something that the agent needs is missing or out of bounds.
    pub fn compile(profile: &Profile) -> Result<Self, LayoutError> {
        let find = Finder { profile };
        // Without its enumerator a condition, or a state, would be left out. One that is only recorded is not needed.
        let condition = |missing: &&profile::Missing| matches!(missing.role, Role::Condition(_));
        if let Some(missing) = profile.lacking().find(condition) {
            return Err(find.missing("enum", &missing.name));
        }
        let stride = find.size(SizeRole::Block)?;
        if stride > MAX_BLOCK {
            return Err(LayoutError::Absurd { role: SizeRole::Block, bytes: stride });
        }
        let block = |role: FieldRole| find.slot(role, stride);
        let condition = |condition: &profile::Condition| {
            Ok::<_, LayoutError>(FieldCondition::new(condition, block(condition.field)?))
        };
        let rule = profile
            .rules
            .iter()
            .map(|rule| Ok(Rule { condition: condition(&rule.condition)?, reason: rule.reason }))
            .collect::<Result<Vec<_>, LayoutError>>()?;
        if !rule.iter().any(|rule| rule.reason == RuleReason::Dirty) {
            return Err(find.missing("rule", RuleReason::Dirty.name()));
        }
        let io = profile.io.as_ref().ok_or_else(|| find.missing("condition", "io"))?;
        let pool_size = find.size(SizeRole::Pool)?;
        let in_pool = |role: FieldRole| find.slot(role, pool_size);
        let blocks = match profile.topology.blocks {
            BlockTopology::Chunks => {
                let size = find.size(SizeRole::Chunk)?;
                BlocksLayout::Chunks {
                    count: in_pool(FieldRole::PoolNChunks)?,
                    new_count: in_pool(FieldRole::PoolNChunksNew).ok(),
                    array: in_pool(FieldRole::PoolChunks)?,
                    size,
                    blocks: find.slot(FieldRole::ChunkSize, size)?,
                    descriptors: find.slot(FieldRole::ChunkBlocks, size)?,
                }
            }
            BlockTopology::Extents(bytes) => BlocksLayout::Extents {
                bytes,
                memory: in_pool(FieldRole::PoolMemory)?,
                blocks: in_pool(FieldRole::PoolNBlocks)?,
                withdraw: in_pool(FieldRole::PoolWithdraw).ok(),
            },
        };
        let lists = ListLengths {
            lru: in_pool(FieldRole::PoolLruCount).ok(),
            free: in_pool(FieldRole::PoolFreeCount).ok(),
            flush: in_pool(FieldRole::PoolFlushCount).ok(),
        };
        let (space, page) = find.page_id(stride)?;
        Ok(Self {
            block: BlockLayout {
                stride: usize::try_from(stride).unwrap_or(usize::MAX),
                space,
                page,
                newest_lsn: block(FieldRole::BlockNewestLsn).ok(),
                oldest_lsn: block(FieldRole::BlockOldestLsn).ok(),
                frame: block(FieldRole::BlockFrame)?,
                reading: condition(&io.reading)?,
                writing: condition(&io.writing)?,
                space_object: block(FieldRole::BlockSpacePtr).ok(),
                space_version: block(FieldRole::BlockSpaceVersion).ok(),
                state: block(FieldRole::BlockState)?,
                states: profile.states.clone(),
                rule,
                off_flush_list: profile.off_flush_list.clone(),
            },
            pool: PoolLayout { pools: profile.topology.pools, pool_size, blocks, lists },
            space: match (
                find.slot(FieldRole::SpaceId, UNKNOWN_SIZE),
                find.slot(FieldRole::SpaceVersion, UNKNOWN_SIZE),
            ) {
                (Ok(id), Ok(version)) => {
                    let deleted = find.slot(FieldRole::SpaceDeleted, UNKNOWN_SIZE).ok();
                    Some(SpaceLayout { id, version, deleted })
                }
                _ => None,
            },
        })
    }

    /// The part that the eBPF programs need.
    #[must_use]
    pub fn for_probes(&self) -> ServerLayout {
        let offset = |slot: &Slot| u32::try_from(slot.offset).unwrap_or(u32::MAX);
        ServerLayout {
            stride: u32::try_from(self.block.stride).unwrap_or(0),
            space: offset(&self.block.space),
            page: offset(&self.block.page),
            frame: offset(&self.block.frame),
        }
    }

    /// How the eBPF programs recognise reads and writes: conditions of both.
    ///
    /// # Errors
    /// When they cannot compare as the profile requires.
    pub fn io_for_probes(&self) -> Result<[probe_abi::WordRange; 2], LayoutError> {
        let (reading, writing) = (&self.block.reading, &self.block.writing);
        Ok([reading.for_probes()?, writing.for_probes()?])
    }
}

/// Looks roles up and turns absence into an error with the reason.
struct Finder<'a> {
    profile: &'a Profile,
}

impl Finder<'_> {
    fn missing(&self, what: &'static str, role: &str) -> LayoutError {
        let known = self.profile.missing.iter().find(|m| m.role.name() == role || m.name == role);
        LayoutError::Missing {
            server: format!("{} {}", self.profile.server.family, self.profile.server.version),
            what,
            role: role.to_owned(),
            reason: known.map(|m| m.reason.to_string()),
        }
    }

    fn size(&self, role: SizeRole) -> Result<u64, LayoutError> {
        let bytes = self.profile.sizes.get(&role);
        let bytes = *bytes.ok_or_else(|| self.missing("size", role.name()))?;
        if (1..=MAX_SIZE).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(LayoutError::Absurd { role, bytes })
        }
    }

    /// Space id and page number: two fields, or the halves of one.
    fn page_id(&self, stride: u64) -> Result<(Slot, Slot), LayoutError> {
        let half = |id: &Field, at: u64| {
            let field = Field { offset: id.offset.saturating_add(at), size: 4, ..id.clone() };
            Slot::new(&field, stride)
        };
        match self.profile.fields.get(&FieldRole::BlockId) {
            // A little-endian integer has its upper half behind.
            Some(id) if id.size == 8 && id.bits.is_none() => Ok((half(id, 4)?, half(id, 0)?)),
            _ => {
                let space = self.slot(FieldRole::BlockSpace, stride)?;
                Ok((space, self.slot(FieldRole::BlockPage, stride)?))
            }
        }
    }

    fn slot(&self, role: FieldRole, bounds: u64) -> Result<Slot, LayoutError> {
        let field = self.profile.fields.get(&role);
        Slot::new(field.ok_or_else(|| self.missing("field", role.name()))?, bounds)
    }
}

#[cfg(test)]
mod tests;

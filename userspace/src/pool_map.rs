//! Where the pool lies: instances, chunks, blocks. Read from the live server; changes on a resize.

use symbols::profile::{Pools, Profile};
use symbols::role::GlobalRole;
use thiserror::Error;

use crate::field_layout::{BlocksLayout, FieldLayout};
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::target::LoadBias;

/// The pool could not be read, or what was read is no pool.
#[derive(Debug, Error)]
pub enum PoolMapError {
    /// A global that is needed is not in the profile.
    #[error("the profile has no global `{0}`")]
    NoGlobal(GlobalRole),
    /// Memory could not be read.
    #[error("failed to read {what}")]
    Memory {
        /// What was to be read.
        what: String,
        /// Why not.
        #[source]
        source: MemoryError,
    },
    /// The server has not allocated its pool yet.
    #[error("the server has no buffer pool yet")]
    NotYet,
    /// A resize is under way.
    #[error("the buffer pool is being resized")]
    Resizing,
    /// The numbers make no sense.
    #[error("{what} of {value} makes no sense: the profile does not fit this server")]
    Absurd {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

impl PoolMapError {
    /// True when the same call may succeed a little later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::NotYet | Self::Resizing)
    }
}

/// Most instances that InnoDB allows (`MAX_BUFFER_POOLS`, buf0buf.h).
const MAX_INSTANCES: u64 = 64;
/// More chunks than any server has.
const MAX_CHUNKS: u64 = probe_abi::MAX_CHUNKS as u64;
/// More bytes than the array of chunks of any server has: each has less than a hundred.
const MAX_CHUNKS_BYTES: u64 = 16 << 20;
/// More blocks than fit a chunk of 2 TiB.
const MAX_BLOCKS: u64 = 1 << 30;

/// How much larger than memory and swap a pool may be: its memory is only taken as it is used, so a server
/// starts with more than there is.
const OVERCOMMIT: u64 = 4;

/// Memory and swap of this machine in bytes.
fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let units = info.totalram.saturating_add(info.totalswap);
    units.saturating_mul(u64::from(info.mem_unit).max(1))
}

/// One chunk: an array of descriptors whose frames follow each other in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Address of the first descriptor.
    pub descriptors: ServerAddr,
    /// Address of the first frame; frame i lies `i * page_size` above it (buf0buf.cc, `buf_chunk_init`).
    pub frames: ServerAddr,
    /// Number of blocks.
    pub blocks: u32,
    /// Index of its first block in pool order.
    pub first: u32,
    /// Pool instance.
    pub instance: u32,
}

/// The whole pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMap {
    /// InnoDB page size in bytes.
    pub page_size: u32,
    /// Where the structure of each instance is.
    pub pools: Vec<ServerAddr>,
    /// Chunks in pool order: by instance, then as the server numbers them.
    pub chunks: Vec<Chunk>,
}

impl PoolMap {
    /// Reads it from the live server.
    ///
    /// # Errors
    /// When memory cannot be read, the numbers make no sense, the pool is not there yet, or a resize
    /// is under way.
    pub fn read(
        profile: &Profile,
        layout: &FieldLayout,
        memory: Memory,
        bias: LoadBias,
    ) -> Result<Self, PoolMapError> {
        let reader = Reader { profile, memory, bias };
        if reader.flag(GlobalRole::Resizing)? {
            return Err(PoolMapError::Resizing);
        }
        let page_size = reader.global(GlobalRole::PageSize)?;
        if !page_size.is_power_of_two() || !(1024..=65536).contains(&page_size) {
            // Zero until the server has read its options.
            return Err(if page_size == 0 {
                PoolMapError::NotYet
            } else {
                PoolMapError::Absurd { what: "a page size", value: page_size }
            });
        }
        let page_size = u32::try_from(page_size).unwrap_or(0);
        let (pools, instances) = match layout.pool.pools {
            Pools::Array => {
                let instances = reader.global(GlobalRole::Instances)?;
                let instances = bounded("a number of instances", instances, MAX_INSTANCES)?;
                (ServerAddr(reader.global(GlobalRole::Pool)?), instances)
            }
            Pools::Object => (reader.address(GlobalRole::Pool)?, 1),
        };
        if pools.0 == 0 {
            return Err(PoolMapError::NotYet);
        }
        let pools: Vec<ServerAddr> = (0..instances)
            .map(|instance| pools.plus(u64::from(instance) * layout.pool.pool_size))
            .collect();
        let mut chunks = Vec::new();
        let mut first = 0_u32;
        for (instance, pool) in (0..).zip(pools.iter().copied()) {
            for Stretch { descriptors, frames, blocks } in reader.blocks(layout, page_size, pool)? {
                chunks.push(Chunk { descriptors, frames, blocks, first, instance });
                first = first
                    .checked_add(blocks)
                    .ok_or(PoolMapError::Absurd { what: "a number of blocks", value: u64::MAX })?;
            }
        }
        let pool_map = Self { page_size, pools, chunks };
        pool_map.fits(layout, machine_bytes())?;
        Ok(pool_map)
    }

    /// Whether a machine with so much memory can hold it. The kernel's table and the scans are as large as
    /// the pool claims to be, and one that claims to be much larger than the machine is refused.
    fn fits(&self, layout: &FieldLayout, machine: u64) -> Result<(), PoolMapError> {
        let descriptors = u64::from(self.blocks()).saturating_mul(layout.block.stride as u64);
        let bytes = self.frame_bytes().max(descriptors);
        match bytes <= machine.saturating_mul(OVERCOMMIT) {
            true => Ok(()),
            false => Err(PoolMapError::Absurd { what: "a pool in bytes", value: bytes }),
        }
    }

    /// Number of instances.
    #[must_use]
    pub const fn instances(&self) -> usize {
        self.pools.len()
    }

    /// Number of blocks over all chunks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.chunks.last().map_or(0, |chunk| chunk.first + chunk.blocks)
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        u64::from(self.blocks()) * u64::from(self.page_size)
    }

    /// Address of the frame of a block by its index in pool order.
    #[must_use]
    pub fn frame(&self, block: u32) -> Option<ServerAddr> {
        let at = self.chunks.partition_point(|chunk| chunk.first <= block).checked_sub(1)?;
        let chunk = &self.chunks[at];
        let inside = block - chunk.first;
        (inside < chunk.blocks)
            .then(|| chunk.frames.plus(u64::from(inside) * u64::from(self.page_size)))
    }

    /// The chunks as the probes search them: sorted by address.
    #[must_use]
    pub fn for_probes(&self, layout: &FieldLayout) -> Vec<probe_abi::ChunkRange> {
        let mut list: Vec<_> = self
            .chunks
            .iter()
            .map(|chunk| probe_abi::ChunkRange {
                start: chunk.descriptors.0,
                end: chunk.descriptors.plus(u64::from(chunk.blocks) * layout.block.stride as u64).0,
                first: u64::from(chunk.first),
            })
            .collect();
        list.sort_by_key(|chunk| chunk.start);
        list
    }
}

fn bounded(what: &'static str, value: u64, most: u64) -> Result<u32, PoolMapError> {
    match u32::try_from(value) {
        Ok(small) if (1..=most).contains(&value) => Ok(small),
        _ => Err(PoolMapError::Absurd { what, value }),
    }
}

/// Blocks of a pool whose descriptors follow each other, and whose frames do.
struct Stretch {
    descriptors: ServerAddr,
    frames: ServerAddr,
    blocks: u32,
}

struct Reader<'a> {
    profile: &'a Profile,
    memory: Memory,
    bias: LoadBias,
}

impl Reader<'_> {
    fn global(&self, role: GlobalRole) -> Result<u64, PoolMapError> {
        let global = self.profile.globals.get(&role).ok_or(PoolMapError::NoGlobal(role))?;
        let size = match global.size {
            1 | 2 | 4 => usize::try_from(global.size).unwrap_or(8),
            _ => 8,
        };
        self.memory
            .integer(self.bias.apply(global.addr), size)
            .map_err(|source| PoolMapError::Memory { what: global.name.clone(), source })
    }

    /// Where a global lies.
    fn address(&self, role: GlobalRole) -> Result<ServerAddr, PoolMapError> {
        let global = self.profile.globals.get(&role).ok_or(PoolMapError::NoGlobal(role))?;
        Ok(self.bias.apply(global.addr))
    }

    /// A flag that older servers do not have.
    fn flag(&self, role: GlobalRole) -> Result<bool, PoolMapError> {
        match self.profile.globals.get(&role) {
            None => Ok(false),
            Some(global) => self
                .memory
                .integer(self.bias.apply(global.addr), 1)
                .map(|value| value != 0)
                .map_err(|source| PoolMapError::Memory { what: global.name.clone(), source }),
        }
    }

    fn pointer(&self, addr: ServerAddr) -> Result<ServerAddr, PoolMapError> {
        self.memory
            .pointer(addr)
            .map_err(|source| PoolMapError::Memory { what: format!("a pointer at {addr}"), source })
    }

    fn bytes(&self, addr: ServerAddr, len: u64, what: &str) -> Result<Vec<u8>, PoolMapError> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.memory
            .read(addr, &mut bytes)
            .map_err(|source| PoolMapError::Memory { what: what.to_owned(), source })?;
        Ok(bytes)
    }

    /// The blocks of one pool, as far as they are in use.
    fn blocks(
        &self,
        layout: &FieldLayout,
        page_size: u32,
        pool: ServerAddr,
    ) -> Result<Vec<Stretch>, PoolMapError> {
        let bytes = self.bytes(pool, layout.pool.pool_size, "a buffer pool")?;
        match &layout.pool.blocks {
            BlocksLayout::Chunks { count, new_count, array, size, blocks, descriptors } => {
                let count = count.read(&bytes);
                if count == 0 {
                    return Err(PoolMapError::NotYet);
                }
                let count = bounded("a number of chunks", count, MAX_CHUNKS)?;
                if let Some(new) = new_count
                    && new.read(&bytes) != u64::from(count)
                {
                    return Err(PoolMapError::Resizing);
                }
                let array = ServerAddr(array.read(&bytes));
                let chunks = self.chunks(array, count, *size)?;
                let stride = usize::try_from(*size).unwrap_or(1).max(1);
                chunks
                    .chunks_exact(stride)
                    .map(|chunk| {
                        let len = blocks.read(chunk);
                        let blocks = bounded("a number of blocks in a chunk", len, MAX_BLOCKS)?;
                        let descriptors = ServerAddr(descriptors.read(chunk));
                        let frames = self.pointer(descriptors.plus(layout.block.frame.offset()))?;
                        Ok(Stretch { descriptors, frames, blocks })
                    })
                    .collect()
            }
            BlocksLayout::Extents { bytes: extent, memory, blocks, withdraw } => {
                if withdraw.is_some_and(|withdraw| withdraw.read(&bytes) != 0) {
                    return Err(PoolMapError::Resizing);
                }
                let (memory, blocks) = (ServerAddr(memory.read(&bytes)), blocks.read(&bytes));
                if memory.0 == 0 || blocks == 0 {
                    return Err(PoolMapError::NotYet);
                }
                let blocks = bounded("a number of blocks", blocks, MAX_BLOCKS)?;
                Extents::new(*extent, page_size, layout.block.stride as u64)?.lay(memory, blocks)
            }
        }
    }

    /// The array of chunks.
    fn chunks(&self, array: ServerAddr, count: u32, size: u64) -> Result<Vec<u8>, PoolMapError> {
        let len = u64::from(count).checked_mul(size).filter(|len| *len <= MAX_CHUNKS_BYTES);
        let what = "a size of a chunk structure";
        let len = len.ok_or(PoolMapError::Absurd { what, value: size })?;
        self.bytes(array, len, "the array of chunks")
    }
}

/// How blocks lie in extents: as many in each as fit with their frames, which begin at a page and end with the
/// extent (buf0buf.cc, `pages_in_extent` and `first_frame`; MariaDB 10.11.12 and later).
struct Extents {
    bytes: u64,
    blocks: u32,
    first_frame: u64,
}

impl Extents {
    fn new(bytes: u64, page_size: u32, stride: u64) -> Result<Self, PoolMapError> {
        let page = u64::from(page_size);
        let absurd = PoolMapError::Absurd { what: "a size of an extent", value: bytes };
        let blocks = bytes.checked_div(page + stride).unwrap_or(0);
        let blocks = u32::try_from(blocks).ok().filter(|blocks| *blocks > 0).ok_or(absurd)?;
        Ok(Self { bytes, blocks, first_frame: bytes - bytes % page - u64::from(blocks) * page })
    }

    /// The extents of `blocks` blocks that begin at `memory`; the last may be in use in part.
    fn lay(&self, memory: ServerAddr, blocks: u32) -> Result<Vec<Stretch>, PoolMapError> {
        let extents = blocks.div_ceil(self.blocks);
        bounded("a number of extents", extents.into(), MAX_CHUNKS)?;
        let stretch = |extent: u32| {
            let descriptors = memory.plus(u64::from(extent) * self.bytes);
            Stretch {
                descriptors,
                frames: descriptors.plus(self.first_frame),
                blocks: self.blocks.min(blocks - extent * self.blocks),
            }
        };
        Ok((0..extents).map(stretch).collect())
    }
}

#[cfg(test)]
mod tests;

//! What the agent looks for in a server: roles, which a definition gives the server's own names for.

use serde::{Deserialize, Serialize};

macro_rules! roles {
    ($(#[doc = $about:literal])+ $role:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $role {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl $role {
            /// Every one, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in definitions, profiles and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The one of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|role| role.name() == name)
            }
        }

        impl std::fmt::Display for $role {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

roles! {
    /// A place in the server's code that probes may stand at.
    SiteRole {
        /// A block goes back to the free list.
        BlockFree = "block_free",
        /// A clean page becomes dirty.
        PageDirty = "page_dirty",
        /// The same during crash recovery.
        PageDirtySorted = "page_dirty_sorted",
        /// A page leaves the flush list.
        PageFlushRemove = "page_flush_remove",
        /// A read or a write of a page has ended.
        PageIoComplete = "page_io_complete",
        /// A read that has ended was a bad one: its page is thrown away.
        PageReadFailed = "page_read_failed",
        /// A write of a page has ended.
        PageWriteComplete = "page_write_complete",
        /// A client's command.
        Query = "query",
        /// A transaction commits.
        TrxCommit = "trx_commit",
    }
}

impl SiteRole {
    /// Events without which a table of blocks would not be true.
    pub const RESIDENCY: [Self; 3] = [Self::PageIoComplete, Self::PageDirty, Self::BlockFree];
}

roles! {
    /// A field of one of the server's structs; what is before the dot is the struct.
    FieldRole {
        /// Users of the page that it must stay for.
        BlockFixCount = "block.fix_count",
        /// Address of the frame.
        BlockFrame = "block.frame",
        /// Space id and page number in one integer, the space id in its upper half.
        BlockId = "block.id",
        /// Kind of I/O under way.
        BlockIoFix = "block.io_fix",
        /// Word of the page's latch.
        BlockLatch = "block.latch",
        /// LSN of the newest change.
        BlockNewestLsn = "block.newest_lsn",
        /// LSN of the oldest change that is not written.
        BlockOldestLsn = "block.oldest_lsn",
        /// Page number.
        BlockPage = "block.page",
        /// Space id.
        BlockSpace = "block.space",
        /// Address of the tablespace object.
        BlockSpacePtr = "block.space_ptr",
        /// Version of the tablespace that the page belongs to.
        BlockSpaceVersion = "block.space_version",
        /// What the block holds.
        BlockState = "block.state",
        /// Address of the compressed copy.
        BlockZipData = "block.zip_data",
        /// Address of the first descriptor of a chunk.
        ChunkBlocks = "chunk.blocks",
        /// Address of a chunk's memory.
        ChunkMem = "chunk.mem",
        /// Blocks of a chunk.
        ChunkSize = "chunk.size",
        /// Address of the array of chunks.
        PoolChunks = "pool.chunks",
        /// Length of the list of pages with unwritten changes.
        PoolFlushCount = "pool.flush_count",
        /// Length of the list of free blocks.
        PoolFreeCount = "pool.free_count",
        /// Length of the list of pages by their use.
        PoolLruCount = "pool.lru_count",
        /// Address of the first extent.
        PoolMemory = "pool.memory",
        /// Number of blocks over all extents.
        PoolNBlocks = "pool.n_blocks",
        /// Number of chunks.
        PoolNChunks = "pool.n_chunks",
        /// Number of chunks that the pool is to have.
        PoolNChunksNew = "pool.n_chunks_new",
        /// Not 0 while the pool is made smaller.
        PoolWithdraw = "pool.withdraw",
        /// Set while the space is being dropped.
        SpaceDeleted = "space.deleted",
        /// Flags of the space.
        SpaceFlags = "space.flags",
        /// Id of the space.
        SpaceId = "space.id",
        /// Version of the space, compared with the page's.
        SpaceVersion = "space.version",
    }
}

roles! {
    /// A struct of the server whose size counts.
    SizeRole {
        /// A block descriptor.
        Block = "block",
        /// A chunk of blocks.
        Chunk = "chunk",
        /// The part of a descriptor that is a page's.
        Page = "page",
        /// A buffer pool.
        Pool = "pool",
    }
}

roles! {
    /// A global variable of the server.
    GlobalRole {
        /// How data files are written.
        FlushMethod = "flush_method",
        /// Number of pools.
        Instances = "instances",
        /// Bytes of a page.
        PageSize = "page_size",
        /// Binary logarithm of that.
        PageSizeShift = "page_size_shift",
        /// The pool, or the address of the first.
        Pool = "pool",
        /// Set while the pool is being resized.
        Resizing = "resizing",
    }
}

/// Something that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", content = "role", rename_all = "snake_case")]
pub enum Role {
    /// A place for probes.
    Site(SiteRole),
    /// A field.
    Field(FieldRole),
    /// The size of a struct.
    Size(SizeRole),
    /// A global variable.
    Global(GlobalRole),
    /// An enumerator that is recorded only.
    Enum(String),
    /// An enumerator that a condition needs: this one.
    Condition(String),
}

impl Role {
    /// What kind of thing it is, for people.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Site(_) => "site",
            Self::Field(_) => "field",
            Self::Size(_) => "size",
            Self::Global(_) => "global",
            Self::Enum(_) | Self::Condition(_) => "enum",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Site(role) => role.name(),
            Self::Field(role) => role.name(),
            Self::Size(role) => role.name(),
            Self::Global(role) => role.name(),
            Self::Enum(name) | Self::Condition(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_stand_in_the_order_of_their_names() {
        let names: Vec<_> = FieldRole::ALL.iter().map(|role| role.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(FieldRole::named("block.io_fix"), Some(FieldRole::BlockIoFix));
        assert_eq!(SiteRole::named("block.io_fix"), None);
        let names: Vec<_> = SiteRole::ALL.iter().map(|role| role.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}

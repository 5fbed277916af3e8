//! The ways to migrate that are measured.

/// How a VM migrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// By QEMU alone, with its defaults
    Stock,
    /// QEMU, memory over four connections
    Multifd,
    /// The same, compressed
    MultifdZstd,
    /// QEMU sends what changed of pages that it sends again
    Xbzrle,
    /// QEMU slows the guest down when it writes faster than the link
    AutoConverge,
    /// The VM goes on at the destination at once, its memory follows
    Postcopy,
    /// The guest reports its free pages to QEMU
    FreePageHint,
    /// The server is restarted with an empty pool before, and the guest reports its free pages
    ColdPool,
    /// Skipping the buffer pool, what storage has by storage only
    PoolferryStorage,
    /// Skipping the buffer pool, storage and network sharing the work
    Poolferry,
    /// The same, and what QEMU sends over four connections, compressed
    PoolferryZstd,
}

impl Mode {
    /// All of them; those that want another VM stand together.
    pub const ALL: [Self; 11] = [
        Self::Stock,
        Self::Multifd,
        Self::MultifdZstd,
        Self::Xbzrle,
        Self::AutoConverge,
        Self::Postcopy,
        Self::PoolferryStorage,
        Self::Poolferry,
        Self::PoolferryZstd,
        Self::FreePageHint,
        Self::ColdPool,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Multifd => "multifd",
            Self::MultifdZstd => "multifd-zstd",
            Self::Xbzrle => "xbzrle",
            Self::AutoConverge => "auto-converge",
            Self::FreePageHint => "free-page-hint",
            Self::Postcopy => "postcopy",
            Self::ColdPool => "cold-pool",
            Self::PoolferryStorage => "poolferry-storage",
            Self::Poolferry => "poolferry",
            Self::PoolferryZstd => "poolferry-zstd",
        }
    }

    /// Whether Poolferry's programs take part.
    #[must_use]
    pub const fn is_poolferry(self) -> bool {
        matches!(self, Self::Poolferry | Self::PoolferryStorage | Self::PoolferryZstd)
    }

    /// Whether both sides stand still at the end, their RAM the same: not where the VM runs at the destination before its memory is there.
    #[must_use]
    pub const fn is_compared(self) -> bool {
        !matches!(self, Self::Postcopy)
    }

    /// Whether the VM has a balloon by which the guest reports its free pages. QEMU makes use of it in every migration, so
    /// VMs that migrate in another way have none.
    #[must_use]
    pub const fn has_balloon(self) -> bool {
        matches!(self, Self::FreePageHint | Self::ColdPool)
    }
}

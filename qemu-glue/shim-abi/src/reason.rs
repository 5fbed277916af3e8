//! Why the library does nothing: a code with up to two numbers, which the host puts into words.

use core::ffi::CStr;

/// Functions of QEMU that the library needs, in any version that it knows.
pub const SYMBOLS: [&CStr; 16] = [
    c"precopy_add_notifier",
    c"qemu_guest_free_page_hint",
    c"qemu_ram_block_by_name",
    c"qemu_ram_get_host_addr",
    c"qemu_ram_get_used_length",
    c"qemu_ram_is_shared",
    c"qemu_ram_is_migratable",
    c"qemu_ram_pagesize",
    c"memory_region_from_host",
    c"memory_region_set_dirty",
    c"runstate_is_running",
    c"qmp_query_version",
    c"migrate_postcopy_ram",
    c"migrate_ignore_shared",
    c"migrate_background_snapshot",
    // `migrate_use_multifd` before 8.1.
    c"migrate_multifd",
];

/// Settings of a migration that a skip does not go together with, as QMP names them.
pub const SETTINGS: [&str; 7] = [
    "postcopy-ram",
    "x-ignore-shared",
    "background-snapshot",
    "mapped-ram",
    "x-colo",
    // With multifd only: the destination leaves the page of a first zero page untouched (>= 9.1).
    "zero-page-detection=multifd",
    // Other than normal: the cpr modes.
    "mode",
];

/// Why the library hints nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// QEMU's version is not one whose insides are known.
    UnknownVersion {
        /// Major version.
        major: u64,
        /// Minor version.
        minor: u64,
    },
    /// QEMU does not export a function: index in [`SYMBOLS`].
    MissingSymbol(u64),
    /// The kernel gave no memory.
    NoMemory {
        /// How much was asked for, in bytes.
        bytes: u64,
        /// `errno`.
        errno: u64,
    },
    /// A setting of the migration forbids it: index in [`SETTINGS`].
    Setting(u64),
    /// The VM does not run, as while a snapshot is saved.
    NotRunning,
    /// It was armed when the migration had begun to send pages.
    Late,
    /// The migration ended before its first pass.
    Ended,
    /// No blocks, runs or pages, or more than the file holds.
    Counts,
    /// QEMU has no RAM block of this name: index of the block.
    UnknownBlock(u64),
    /// A block is not part of the migration stream.
    NotMigratable(u64),
    /// A block's memory is private to QEMU.
    NotShared(u64),
    /// A block consists of larger pages.
    PageSize {
        /// Index of the block.
        block: u64,
        /// Its page size in bytes.
        bytes: u64,
    },
    /// A block has another used length than the host has set.
    Length {
        /// Index of the block.
        block: u64,
        /// Its used length in bytes.
        bytes: u64,
    },
    /// A run is empty, or its offset is not that of a page: index of the run.
    Unaligned(u64),
    /// A run names a block that the table does not have.
    RunOfNoBlock(u64),
    /// A run reaches beyond its block.
    Beyond(u64),
    /// A run begins before the one before it ends: not sorted, or overlapping.
    Order(u64),
    /// A run's page numbers are beyond the set, or another run has them too.
    Numbers(u64),
    /// The runs have fewer pages than the set.
    Missing(u64),
    /// The set has a page of those that keep QEMU from the switchover.
    ThrottlePages,
    /// The program that armed it is gone.
    Abandoned,
}

impl RefusalReason {
    /// The code (never 0) and its numbers, as they stand in the control page.
    #[must_use]
    pub const fn code(self) -> (u32, [u64; 2]) {
        match self {
            Self::UnknownVersion { major, minor } => (1, [major, minor]),
            Self::MissingSymbol(symbol) => (2, [symbol, 0]),
            Self::NoMemory { bytes, errno } => (3, [bytes, errno]),
            Self::Setting(setting) => (4, [setting, 0]),
            Self::NotRunning => (5, [0, 0]),
            Self::Late => (6, [0, 0]),
            Self::Ended => (7, [0, 0]),
            Self::Counts => (8, [0, 0]),
            Self::UnknownBlock(block) => (9, [block, 0]),
            Self::NotMigratable(block) => (10, [block, 0]),
            Self::NotShared(block) => (11, [block, 0]),
            Self::PageSize { block, bytes } => (12, [block, bytes]),
            Self::Length { block, bytes } => (13, [block, bytes]),
            Self::Unaligned(run) => (14, [run, 0]),
            Self::RunOfNoBlock(run) => (15, [run, 0]),
            Self::Beyond(run) => (16, [run, 0]),
            Self::Order(run) => (17, [run, 0]),
            Self::Numbers(run) => (18, [run, 0]),
            Self::Missing(pages) => (19, [pages, 0]),
            Self::ThrottlePages => (20, [0, 0]),
            Self::Abandoned => (21, [0, 0]),
        }
    }

    /// The inverse of [`Self::code`]; `None` for 0 and for codes of later versions.
    #[must_use]
    pub const fn from_code(code: u32, [first, second]: [u64; 2]) -> Option<Self> {
        Some(match code {
            1 => Self::UnknownVersion { major: first, minor: second },
            2 => Self::MissingSymbol(first),
            3 => Self::NoMemory { bytes: first, errno: second },
            4 => Self::Setting(first),
            5 => Self::NotRunning,
            6 => Self::Late,
            7 => Self::Ended,
            8 => Self::Counts,
            9 => Self::UnknownBlock(first),
            10 => Self::NotMigratable(first),
            11 => Self::NotShared(first),
            12 => Self::PageSize { block: first, bytes: second },
            13 => Self::Length { block: first, bytes: second },
            14 => Self::Unaligned(first),
            15 => Self::RunOfNoBlock(first),
            16 => Self::Beyond(first),
            17 => Self::Order(first),
            18 => Self::Numbers(first),
            19 => Self::Missing(first),
            20 => Self::ThrottlePages,
            21 => Self::Abandoned,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalReason;

    #[test]
    fn codes_lead_back_to_their_reasons() {
        let named = (1..=21).filter(|code| {
            let reason = RefusalReason::from_code(*code, [3, 0]).unwrap();
            reason.code().0 == *code
        });
        assert_eq!(named.count(), 21);
        assert_eq!(RefusalReason::from_code(0, [0, 0]), None);
        assert_eq!(RefusalReason::from_code(22, [0, 0]), None);
        let reason = RefusalReason::PageSize { block: 3, bytes: 1 << 21 };
        let (code, detail) = reason.code();
        assert_eq!(RefusalReason::from_code(code, detail), Some(reason));
    }
}

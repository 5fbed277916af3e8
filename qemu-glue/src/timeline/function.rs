//! The functions of QEMU that mark the steps of a migration.

/// One of them. All are exported by builds whose modules need the program's symbols (Debian, Ubuntu,
/// Fedora); seen in 7.2, 10.0 and 11.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QemuFunction {
    /// Takes the dirty log from the accelerator: the beginning of a bitmap sync
    /// (`migration_bitmap_sync`, migration/ram.c).
    SyncBegin = 0,
    /// The end of a bitmap sync.
    SyncEnd = 1,
    /// Sends a part of the RAM, for about 50 ms at most (migration/savevm.c).
    Iterate = 2,
    /// Sends the rest while the VM stands still (migration/savevm.c).
    Complete = 3,
    /// Stops the VM for the switchover (`migration_completion`, migration/migration.c).
    Stop = 4,
    /// Lets the VM run (`process_incoming_migration_bh`, migration/migration.c).
    Start = 5,
    /// The migration takes another state.
    State = 6,
    /// Gives the disks to the other side (block.c).
    Inactivate = 7,
}

impl QemuFunction {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::SyncBegin,
        Self::SyncEnd,
        Self::Iterate,
        Self::Complete,
        Self::Stop,
        Self::Start,
        Self::State,
        Self::Inactivate,
    ];

    /// Its name in QEMU.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SyncBegin => "memory_global_dirty_log_sync",
            Self::SyncEnd => "memory_global_after_dirty_log_sync",
            Self::Iterate => "qemu_savevm_state_iterate",
            Self::Complete => "qemu_savevm_state_complete_precopy",
            Self::Stop => "vm_stop_force_state",
            Self::Start => "vm_start",
            Self::State => "migrate_set_state",
            Self::Inactivate => "bdrv_inactivate_all",
        }
    }

    /// Whether it matters how long it took. A return costs a second trap.
    pub(super) const fn wants_return(self) -> bool {
        matches!(self, Self::SyncEnd | Self::Iterate | Self::Complete | Self::Inactivate)
    }
}

const _: () = assert!(QemuFunction::ALL.len() <= probe_abi::qemu::MAX_FUNCTIONS as usize);

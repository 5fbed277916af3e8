//! What the source asks QEMU's monitor, and what it sets there for the time of a migration.

pub(super) mod capabilities;
pub(super) mod migration_info;
pub(super) mod settings;

//! What one migration did, as plain data: [`Report`], the keys of `report.json`, read and written here.
//!
//! Everything that measures fills in its part; nothing here knows how a part is measured or shown.

pub mod bounded;
mod files;
mod keys;
mod report;
mod series;
mod side;

pub use files::{JSON, RESULTS, RecordError, find, read, replace};
pub use keys::{json_schema, markdown};
pub use report::{
    Costs, GuestSystem, Links, Machine, MigrationStatus, Pages, QemuVersions, RamIdentity, Report,
    SCHEMA,
};
pub use series::{GuestSecond, MigrationPhase, Sample, Sync, Tps, Transactions, approximate};
pub use side::{Function, FunctionState, Side, Sides};

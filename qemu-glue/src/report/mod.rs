//! What a migration did: `report.json` ([`Report`]), and one page that shows it ([`html`]).
//!
//! ```text
//! source, lab ──> Report ──> report.json ──> cells (same VM, load, links) ──> text, page (charts)
//! ```
//! The page needs nothing but itself: no script, no font, no file beside it. Records of several
//! migrations make one page on which the ways to migrate stand beside each other.

mod cell;
mod chart;
mod dip;
mod files;
mod keys;
mod limit;
mod page;
mod record;
mod results;
mod series;
mod side;
mod text;
mod units;
mod verdict;

pub use dip::Dip;
pub use files::{HTML, JSON, ReportError, find, read, write_page, write_results};
pub use keys::{json_schema, markdown};
pub use page::html;
pub use record::{Costs, Links, Machine, Pages, QemuVersions, RamIdentity, Report, SCHEMA, Status};
pub use results::{Entry, LimitParts, Median, RESULTS, Results, Run};
pub use series::{GuestSecond, Phase, Sample, Sync, Tps, Transactions};
pub use side::{Function, FunctionState, Side, Sides};
pub use text::text;

pub(crate) use series::approximate;

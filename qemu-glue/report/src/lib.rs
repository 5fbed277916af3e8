//! Records of migrations shown: as text, as tables for programs, and on one page of figures.
//!
//! ```text
//! report.json (migration_record) ──> cells (same VM, load, links) ──> text, results, page (charts)
//! ```
//! The page needs nothing but itself: no script, no font, no file beside it. Records of several
//! migrations make one page on which the ways to migrate stand beside each other.

mod cell;
mod chart;
mod dip;
mod files;
mod limit;
mod page;
mod results;
mod text;
mod units;
mod verdict;

pub use dip::Dip;
pub use files::{HTML, write_page, write_results};
pub use page::html;
pub use results::{LimitParts, Median, ModeResult, Results, RunResult};
pub use text::text;

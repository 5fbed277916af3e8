//! Where mysqld runs: from a pid to a true, live picture of its buffer pool.
//!
//! The data path, one module a stage:
//!
//! | stage | module |
//! |---|---|
//! | find the server process | [`target`], [`memory`] |
//! | compile the profile for reading, find the pool | [`layout`], [`geometry`] |
//! | attach the probes, map the residency table | [`probes`], [`residency`] |
//! | scan the descriptors | [`scan`] |
//! | virtual addresses to physical frames | [`frames`] |
//! | pages to bytes on disk | [`locate`] |
//! | show it | [`model`] |

pub mod frames;
pub mod geometry;
pub mod layout;
pub mod locate;
pub mod memory;
pub mod model;
pub mod probes;
pub mod residency;
pub mod scan;
pub mod target;
pub mod viewer;

//! Where mysqld runs: from a pid to a true, live snapshot of its buffer pool.
//!
//! The data path, one module a stage:
//!
//! | stage | module |
//! |---|---|
//! | find the server process | [`target`], [`memory`]; one that proves itself, [`choose`] |
//! | compile the profile, find the pool, prove both | [`field_layout`], [`pool_map`], [`validation`]; together [`server`] |
//! | attach the probes, map the residency table | [`probes`], [`residency`] |
//! | scan the descriptors; what a block is; hold the table against it | [`scan`], [`classify`], [`audit`] |
//! | virtual addresses to physical frames | [`frames`] |
//! | pages to ranges of files; these to ranges of disks | [`locate`]; [`on_disk`] |
//! | the page list | [`page_list`] |
//! | all of it, live | [`observer`] |
//! | show it | [`model`], [`viewer`], [`stream`], [`openmetrics`] |
//! | answer the host | [`agent`] |
//! | what all of it needs of a machine | [`doctor`] |

pub mod agent;
pub mod audit;
pub mod choose;
pub mod classify;
pub mod clock;
pub mod cost;
pub mod doctor;
pub mod field_layout;
pub mod frames;
pub mod locate;
pub mod memory;
pub mod model;
pub mod observer;
pub mod on_disk;
pub mod openmetrics;
pub mod page_list;
pub mod pool_map;
pub mod probes;
pub mod residency;
pub mod scan;
pub mod server;
#[cfg(test)]
mod sinks_tests;
#[cfg(test)]
mod stored_profile;
pub mod stream;
pub mod target;
mod turns;
pub mod validation;
pub mod viewer;

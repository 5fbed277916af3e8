//! Tests of the whole path with real servers: `tests/observe` has those of the observing side.
//!
//! Parts that every suite needs (servers, load, skipping) are in the crate `test_servers`; what several of these
//! suites need is here.

pub mod fuse;
pub mod squatter;

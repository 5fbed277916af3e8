//! The validation of a profile: what it says of the pool must agree with the pool itself, in four ways.
//!
//! ```text
//! all blocks   the state word is a known one; the frame is where the pool map puts it
//! lists        as many blocks in a state as the server's own list of them is long
//! pages        what 1024 descriptors say stands in the frames
//! tablespaces  these pages point to the objects of tablespaces that there are
//! ```
//!
//! Every page in a frame carries its own page number and space id (`FIL_PAGE_OFFSET` at 4,
//! `FIL_PAGE_SPACE_ID` at 34, big-endian; fil0fil.h). Before all of this has passed, nothing that was read is believed.

mod census;
mod error;
mod identity;
mod lists;

use std::thread;
use std::time::Duration;

use crate::field_layout::FieldLayout;
use crate::memory::Memory;
use crate::pool_map::PoolMap;
use census::Census;
use lists::Lengths;

pub use error::ValidationError;
pub(crate) use error::{OTHER_BUILD, hint_for};
pub use identity::Validation;

/// Pools that change while they are counted are counted again, so often at most.
const ATTEMPTS: u32 = 5;
/// Time between two counts.
const PAUSE: Duration = Duration::from_millis(20);

/// Proves the profile on the pool as it lies.
///
/// # Errors
/// When more than 1 % of the blocks, of a list or of the pages compared speak against it, or no page could be compared.
pub fn validate(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
) -> Result<Validation, ValidationError> {
    let mut attempt = 1;
    let census = loop {
        let before = Lengths::read(memory, layout, pool_map)?;
        let census = Census::take(memory, layout, pool_map)?;
        let after = Lengths::read(memory, layout, pool_map)?;
        // One that is being made has descriptors of zeros, and lists that are not filled yet. It proves nothing.
        if census.pages == 0 && before.have_no_page() {
            return Err(ValidationError::Empty);
        }
        match census.check().and_then(|()| lists::compare(&census, &before, &after)) {
            Ok(()) => break census,
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
        thread::sleep(PAUSE);
    };
    identity::compare(memory, layout, pool_map, census.sample)
}

#[cfg(test)]
mod tests;

//! Names and sizes of tablespaces, for people.

use std::collections::HashMap;

use foreign::Text;

use crate::locate::Locator;

/// What is shown of each space.
#[derive(Default)]
pub(super) struct Spaces {
    by_id: HashMap<u32, (Text, u64)>,
}

impl Spaces {
    pub(super) fn of(locator: &Locator) -> Self {
        let mut by_id: HashMap<u32, (Text, u64)> = HashMap::new();
        for (_, file) in locator.tablespaces().files() {
            let Some(space) = file.space() else { continue };
            let entry = by_id.entry(space.0).or_insert_with(|| (file.name().into(), 0));
            entry.1 += file.size_bytes();
        }
        Self { by_id }
    }

    /// Name and size in bytes of a space.
    pub(super) fn get(&self, space: u32) -> (Text, u64) {
        self.by_id.get(&space).cloned().unwrap_or_else(|| (format!("space {space}").into(), 0))
    }
}

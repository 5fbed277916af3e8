//! Blocks of a pool, counted.

use std::collections::HashMap;

use crate::classify::{Class, Reason};
use crate::locate::{Locator, PageNo, SpaceId};
use crate::model::Cell;

/// Blocks counted by state and table.
#[derive(Clone)]
pub(super) struct BlockCounts {
    pub(super) cells: Option<Vec<Cell>>,
    pub(super) counts: [u64; 6],
    pub(super) tables: HashMap<u32, [u64; 3]>,
}

impl BlockCounts {
    pub(super) fn new(blocks: u32, cells: bool) -> Self {
        let cells = cells.then(|| vec![Cell::Other; blocks as usize]);
        Self { cells, counts: [0; 6], tables: HashMap::new() }
    }

    pub(super) fn add(
        &mut self,
        block: u32,
        class: Class,
        (space, page): (u32, u32),
        locator: &Locator,
    ) {
        let class = match class.reason {
            // Looked for only where nothing else speaks against it.
            None => {
                class.or(locator.locate(SpaceId(space), PageNo(page)).err().map(Reason::NotOnDisk))
            }
            Some(_) => class,
        };
        let (cell, space) = (class.cell(), class.state.is_page().then_some(space));
        self.counts[cell as usize] += 1;
        if let Some(slot) = self.cells.as_mut().and_then(|cells| cells.get_mut(block as usize)) {
            *slot = cell;
        }
        if let Some(space) = space {
            let table = self.tables.entry(space).or_default();
            table[0] += 1;
            table[1] += u64::from(cell == Cell::Dirty);
            table[2] += u64::from(cell == Cell::Clean);
        }
    }

    pub(super) const fn count(&self, cell: Cell) -> u64 {
        self.counts[cell as usize]
    }
}

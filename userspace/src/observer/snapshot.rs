//! Putting a snapshot together.

use foreign::Text;
use symbols::profile::Source;

use super::Observer;
use super::block_counts::BlockCounts;
use super::error::ObserveError;
use crate::classify::{Classifier, recorded};
use crate::model::{self, Cell, Snapshot, TableRow, Totals};
use crate::scan::scan;

impl Observer {
    /// Counts by a scan of the descriptors, which is an audit too where there is a table.
    pub(super) fn count_by_scan(&mut self) -> Result<BlockCounts, ObserveError> {
        let mut counts = BlockCounts::new(self.server.pool_map.blocks(), self.options.cells);
        let locator = &self.locator;
        if !self.probes.see_events() {
            let server = &self.server;
            let mut classifier = Classifier::new(server.memory(), &server.layout, None);
            scan(server.memory(), &server.layout, &server.pool_map, |block| {
                let class = classifier.classify(&block);
                counts.add(block.index, class, (block.space(), block.page()), locator);
            })?;
            return Ok(counts);
        }
        self.auditor.scan(&self.server, &mut self.residency, |block, class| {
            counts.add(block.index, class, (block.space(), block.page()), locator);
        })?;
        Ok(counts)
    }

    /// Counts without a read of the server's memory: by the residency table, or as the last scan did.
    pub(super) fn count_without_scan(&self) -> BlockCounts {
        if let Some(scanned) = &self.scanned {
            return scanned.clone();
        }
        let blocks = self.server.pool_map.blocks();
        let mut counts = BlockCounts::new(blocks, self.options.cells);
        for block in 0..blocks {
            let known = self.residency.get(block);
            counts.add(block, recorded(&known), (known.space, known.page), &self.locator);
        }
        counts
    }

    pub(super) fn compose(&mut self, counts: BlockCounts) -> Result<Snapshot, ObserveError> {
        let page = u64::from(self.server.pool_map.page_size);
        let advance = self.rates.advance(&self.probes)?;
        let totals = Totals {
            free: counts.count(Cell::Free),
            clean: counts.count(Cell::Clean),
            dirty: counts.count(Cell::Dirty),
            io: counts.count(Cell::Io),
            ineligible: counts.count(Cell::Ineligible),
            other: counts.count(Cell::Other),
            eligible_bytes: counts.count(Cell::Clean) * page,
            pool_bytes: self.server.pool_map.frame_bytes(),
        };
        let row = |(&space, pages): (&u32, &[u64; 3])| {
            let (name, file_bytes) = self.spaces.get(space);
            let [resident_bytes, dirty_bytes, eligible_bytes] = pages.map(|count| count * page);
            TableRow { space, name, resident_bytes, dirty_bytes, eligible_bytes, file_bytes }
        };
        let tables = counts.tables.iter().map(row).collect();
        let lost = advance.rows.iter().map(|probe| probe.ring_lost).sum();
        let (first_event, events) = self.trace.take(lost);
        let latency = |latency| self.options.probes.queries.then_some(latency);
        Ok(Snapshot {
            since_attach: self.attached.elapsed(),
            server: self.describe(),
            cells: counts.cells.unwrap_or_default(),
            totals,
            tables,
            probes: advance.rows,
            rates: advance.rates,
            queries: latency(advance.queries),
            commits: latency(advance.commits),
            audit: self.auditor.totals(),
            cost: self.meter.read(self.probes.run_time()),
            events,
            first_event,
            notices: self.notices.clone(),
        })
    }

    fn describe(&self) -> model::ServerInfo {
        let profile = match &self.server.profile().source {
            Source::OwnDwarf => "the program's own DWARF".to_owned(),
            Source::DebugFile { path } => format!("debug file {path}"),
            Source::Stored { name } => format!("stored profile {name}"),
            Source::Kin { name, version, .. } => format!("stored profile {name} of {version}"),
        };
        let pool_map = &self.server.pool_map;
        model::ServerInfo {
            pid: self.server.target.pid,
            version: self.server.version().into(),
            program: self.server.target.exe.as_path().into(),
            datadir: self.locator.tablespaces().datadir().into(),
            user: Text::of(&self.server.target.user),
            unit: self.server.target.unit.as_deref().map(Text::new),
            profile: profile.into(),
            page_size: pool_map.page_size,
            instances: u32::try_from(pool_map.instances()).unwrap_or(u32::MAX),
            chunks: u32::try_from(pool_map.chunks.len()).unwrap_or(u32::MAX),
            blocks: pool_map.blocks().into(),
        }
    }
}

//! A made-up server: a pool that fills, gets dirty and is flushed, in snapshots. Deterministic.

use std::time::Duration;

use super::model::{
    Audit, Cell, Cost, Latency, ProbeRow, Rates, ServerInfo, Snapshot, TableRow, Totals, TraceEvent,
};

const PAGE: u64 = 16 << 10;

const TABLES: [(&str, u64); 9] = [
    ("sbtest/sbtest1", 3000),
    ("sbtest/sbtest2", 1900),
    ("sbtest/sbtest3", 1200),
    ("shop/orders", 800),
    ("shop/order_lines", 500),
    ("innodb_system", 90),
    ("innodb_undo001", 60),
    ("mysql/innodb_table_stats", 4),
    ("mysql/innodb_index_stats", 3),
];

/// The pool of a server that is not there.
pub(crate) struct MadeUp {
    /// State of every block.
    pub(crate) cells: Vec<Cell>,
    owners: Vec<u8>,
    random: u64,
    steps: u32,
    hits: [u64; 6],
    /// Whether snapshots carry events.
    pub(crate) tracing: bool,
}

impl MadeUp {
    /// A pool of so many blocks, four fifths in use.
    pub(crate) fn new(blocks: usize) -> Self {
        let mut made_up = Self {
            cells: vec![Cell::Free; blocks],
            owners: vec![0; blocks],
            random: 0x9e37_79b9_7f4a_7c15,
            steps: 0,
            hits: [0; 6],
            tracing: false,
        };
        let used = blocks * 4 / 5;
        let mut owner = 0;
        for block in 0..used {
            if made_up.below(400) == 0 {
                owner = made_up.pick_table();
            }
            made_up.owners[block] = owner;
            made_up.cells[block] = match made_up.below(1000) {
                0..4 => Cell::Ineligible,
                4..8 => Cell::Other,
                8..60 => Cell::Dirty,
                _ => Cell::Clean,
            };
        }
        made_up
    }

    /// One second of life, and the snapshot after it.
    pub(crate) fn step(&mut self) -> Snapshot {
        self.steps += 1;
        let swing = 1.0 + 0.6 * f64::from(self.steps % 40).mul_add(0.157, 0.0).sin();
        let touches = self.cells.len() / 50;
        let mut counts = [0_u64; 4];
        for _ in 0..touches {
            let block = self.below(self.cells.len());
            let (from, chance) = (self.cells[block], self.below(100));
            let (to, counter) = match (from, chance) {
                (Cell::Free, 0..30) => (Cell::Io, 0),
                (Cell::Io, _) => (Cell::Clean, 0),
                (Cell::Clean, 0..8) => (Cell::Dirty, 2),
                (Cell::Clean, 98..) => (Cell::Free, 3),
                (Cell::Dirty, 0..60) => (Cell::Clean, 1),
                _ => continue,
            };
            self.cells[block] = to;
            if from == Cell::Free {
                self.owners[block] = self.pick_table();
            }
            counts[counter] += 1;
        }
        self.snapshot(counts, swing)
    }

    fn snapshot(&mut self, counts: [u64; 4], swing: f64) -> Snapshot {
        let rate = |count: u64| count as f64 * swing;
        for (hits, count) in self.hits.iter_mut().zip(counts) {
            *hits += count;
        }
        let queries = 9_000.0 * swing;
        let names = ["read", "written", "dirty", "evicted"];
        let probes = (0..4).map(|i| ProbeRow {
            name: names[i].to_owned(),
            hits: self.hits[i],
            rate: rate(counts[i]),
            ..ProbeRow::default()
        });
        let probes = probes.collect();
        let totals = self.totals();
        Snapshot {
            since_attach: Duration::from_secs(self.steps.into()),
            server: self.server(),
            cells: self.cells.clone(),
            totals,
            tables: self.tables(),
            probes,
            rates: Rates {
                reads: rate(counts[0]),
                writes: rate(counts[1]),
                evictions: rate(counts[3]),
                dirtied: rate(counts[2]),
                freed: 0.0,
            },
            queries: Some(latency(queries, 15, self.steps)),
            commits: Some(latency(queries / 18.0, 19, self.steps)),
            audit: Audit {
                scans: u64::from(self.steps),
                compared: u64::from(self.steps) * self.cells.len() as u64,
                transient: u64::from(self.steps / 3),
                ..Audit::default()
            },
            cost: Cost {
                bpf_cpu: Some(0.004 * swing),
                bpf_ns_per_run: Some(1_180.0),
                agent_cpu: 0.013,
                agent_rss: 23 << 20,
                map_bytes: 16 * self.cells.len() as u64 + (1 << 20),
            },
            events: if self.tracing { self.events() } else { Vec::new() },
            first_event: 0,
            notices: Vec::new(),
        }
    }

    fn server(&self) -> ServerInfo {
        ServerInfo {
            pid: 4711,
            version: "mysql 5.6.24".into(),
            program: "/usr/sbin/mysqld".into(),
            datadir: "/var/lib/mysql".into(),
            user: "mysql".into(),
            unit: Some("mysql.service".into()),
            profile: "DWARF of the program".into(),
            page_size: PAGE as u32,
            instances: 8,
            chunks: 8,
            blocks: self.cells.len() as u64,
        }
    }

    fn totals(&self) -> Totals {
        let count = |state| self.cells.iter().filter(|cell| **cell == state).count() as u64;
        let clean = count(Cell::Clean);
        Totals {
            free: count(Cell::Free),
            clean,
            dirty: count(Cell::Dirty),
            io: count(Cell::Io),
            ineligible: count(Cell::Ineligible),
            other: count(Cell::Other),
            eligible_bytes: clean * PAGE,
            pool_bytes: self.cells.len() as u64 * PAGE,
        }
    }

    fn tables(&self) -> Vec<TableRow> {
        let row = |(index, (name, weight)): (usize, &(&str, u64))| {
            let bytes = |wanted: fn(Cell) -> bool| {
                let owned = self.owners.iter().zip(&self.cells);
                owned.filter(|(o, c)| usize::from(**o) == index && wanted(**c)).count() as u64
                    * PAGE
            };
            TableRow {
                space: index as u32 + 5,
                name: (*name).into(),
                resident_bytes: bytes(|c| !matches!(c, Cell::Free | Cell::Other)),
                dirty_bytes: bytes(|c| c == Cell::Dirty),
                eligible_bytes: bytes(|c| c == Cell::Clean),
                file_bytes: weight * self.cells.len() as u64 * PAGE / 6000,
            }
        };
        TABLES.iter().enumerate().map(row).collect()
    }

    fn events(&mut self) -> Vec<TraceEvent> {
        let start = u64::from(self.steps) * 1_000_000_000 + 86_400_000_000_000;
        let probes = ["read", "dirty", "written", "query"];
        let event = |i: u64| {
            let kind = self.below(4);
            let block = self.below(self.cells.len());
            TraceEvent {
                time_ns: start + i * 7_654_321,
                probe: probes[kind],
                tid: 4720 + self.below(16) as u32,
                block: if kind == 3 { 3 } else { block as u32 },
                space: (kind != 3).then(|| u32::from(self.owners[block]) + 5),
                page: (kind != 3).then(|| self.below(100_000) as u32),
                latency_ns: (kind == 3).then(|| 30_000 + self.below(900_000) as u64),
                pfn: None,
            }
        };
        (0..100).map(event).collect()
    }

    fn pick_table(&mut self) -> u8 {
        let all: u64 = TABLES.iter().map(|(_, weight)| weight).sum();
        let mut at = self.below(all as usize) as u64;
        for (index, (_, weight)) in TABLES.iter().enumerate() {
            if at < *weight {
                return index as u8;
            }
            at -= weight;
        }
        0
    }

    /// Xorshift: the same sequence every time.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }
}

fn latency(rate: f64, bucket: usize, steps: u32) -> Latency {
    let mut buckets = vec![0; 40];
    let each = rate as u64 * u64::from(steps);
    buckets[bucket] = each * 9 / 10;
    buckets[bucket + 2] = each - each * 9 / 10;
    let count = buckets.iter().sum();
    Latency {
        rate,
        mean_ns: 40_000.0,
        p50_ns: 2 << bucket,
        p95_ns: 2 << (bucket + 2),
        p99_ns: 2 << (bucket + 2),
        buckets,
        count,
        sum_ns: count * 40_000,
    }
}

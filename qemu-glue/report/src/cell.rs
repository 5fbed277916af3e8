//! Records that can be compared: the same VM, load and links, done in several ways.

use foreign::Shown;

use super::units;
use migration_record::{GuestSystem, Links, MigrationStatus, Report};

/// Migrations of the same VM under the same load over the same links.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) workload: &'a str,
    pub(crate) memory_bytes: u64,
    pub(crate) pool_bytes: Option<u64>,
    pub(crate) system: &'a GuestSystem,
    pub(crate) links: Links,
    /// Stock first, Poolferry last.
    pub(crate) ways: Vec<Way<'a>>,
}

/// All runs of one way to migrate; at least one.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    pub(crate) mode: &'a str,
    pub(crate) runs: Vec<&'a Report>,
}

/// Mode of a migration without Poolferry.
pub(crate) const STOCK: &str = "stock";
/// Mode of a migration with Poolferry.
pub(crate) const POOLFERRY: &str = "poolferry";

/// Mode of one that shares nothing with the network.
pub(crate) const POOLFERRY_STORAGE: &str = "poolferry-storage";

/// Mode of one whose share of the network QEMU compresses.
pub(crate) const POOLFERRY_ZSTD: &str = "poolferry-zstd";

/// Sorts records into cells.
pub(crate) fn cells(reports: &[Report]) -> Vec<Comparison<'_>> {
    let mut cells: Vec<Comparison<'_>> = Vec::new();
    for report in reports {
        let of = |cell: &Comparison<'_>| {
            report.workload == cell.workload
                && cell.memory_bytes == report.memory_bytes
                && cell.pool_bytes == report.pool_bytes
                && *cell.system == report.guest_system
                && cell.links == report.links
        };
        let index = cells.iter().position(of).unwrap_or_else(|| {
            cells.push(Comparison {
                workload: report.workload.raw(),
                memory_bytes: report.memory_bytes,
                pool_bytes: report.pool_bytes,
                system: &report.guest_system,
                links: report.links,
                ways: Vec::new(),
            });
            cells.len() - 1
        });
        cells[index].add(report);
    }
    let rank = |cell: &Comparison<'_>| {
        let workload = ["idle", "ro", "rw"].iter().position(|known| *known == cell.workload);
        let links = (cell.links.network_bits_per_s, cell.links.storage_bits_per_s);
        (cell.memory_bytes, cell.pool_bytes, links, workload.unwrap_or(3))
    };
    cells.sort_by_key(rank);
    cells
}

impl<'a> Comparison<'a> {
    fn add(&mut self, report: &'a Report) {
        let way = self.ways.iter_mut().find(|way| report.mode == way.mode);
        match way {
            Some(way) => way.runs.push(report),
            None => self.ways.push(Way { mode: report.mode.raw(), runs: vec![report] }),
        }
        self.ways.sort_by_key(|way| match way.mode {
            STOCK => 0,
            POOLFERRY_STORAGE => 2,
            POOLFERRY => 3,
            POOLFERRY_ZSTD => 4,
            _ => 1,
        });
    }

    /// The runs of one mode.
    pub(crate) fn way(&self, mode: &str) -> Option<&Way<'a>> {
        self.ways.iter().find(|way| way.mode == mode)
    }

    /// What the runs have in common: `read only: 2 GiB VM, 1.2 GiB pool; migration link 1 Gbit/s, ...`.
    pub(crate) fn title(&self) -> String {
        let pool = self.pool_bytes.map(|pool| format!(", buffer pool {}", units::bytes(pool)));
        let GuestSystem { server, kernel } = self.system;
        let system =
            [("", server), (" on Linux ", kernel)].map(|(before, text)| match text.raw() {
                "" => String::new(),
                _ => format!("{before}{text}"),
            });
        let system = system.concat();
        format!(
            "{}{} VM{}{}{system}; {}",
            self.load().map_or_else(String::new, |load| format!("{load}: ")),
            units::bytes(self.memory_bytes),
            pool.unwrap_or_default(),
            if system.is_empty() { "" } else { ", " },
            self.both_links(),
        )
    }

    /// The same without the sizes.
    pub(crate) fn conditions(&self) -> String {
        let load = self.load().map_or_else(String::new, |load| format!("{load}; "));
        load + &self.both_links()
    }

    /// What ran in the VM, where that is known.
    fn load(&self) -> Option<Shown<'a>> {
        Some(foreign::shown(match self.workload {
            "idle" => "Idle",
            "ro" => "Read only",
            "rw" => "Read and write",
            "unknown" => return None,
            other => other,
        }))
    }

    fn both_links(&self) -> String {
        format!(
            "migration link {}, storage link {}",
            units::link(self.links.network_bits_per_s),
            units::link(self.links.storage_bits_per_s),
        )
    }
}

impl<'a> Way<'a> {
    /// Name for people.
    pub(crate) fn name(&self) -> Shown<'a> {
        foreign::shown(match self.mode {
            STOCK => "Stock QEMU",
            POOLFERRY => "Poolferry",
            POOLFERRY_STORAGE => "Poolferry, storage only",
            POOLFERRY_ZSTD => "Poolferry, zstd",
            other => other,
        })
    }

    /// Median over the runs that completed; `None` where none did.
    pub(crate) fn median(&self, of: impl Fn(&Report) -> f64) -> Option<f64> {
        self.median_of(|run| Some(of(run)))
    }

    /// Likewise, over those of them that have the figure.
    pub(crate) fn median_of(&self, of: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.completed().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
        Some(f64::midpoint(values[low], values[high]))
    }

    /// The values of all runs that completed.
    pub(crate) fn values(&self, of: impl Fn(&Report) -> f64) -> Vec<f64> {
        self.completed().map(of).collect()
    }

    /// The run that stands for all where only one can be drawn: of those that completed the one whose
    /// total time is nearest to the median, else the first.
    pub(crate) fn typical(&self) -> Option<&'a Report> {
        let Some(median) = self.median(|run| run.total_time_s) else {
            return self.runs.first().copied();
        };
        let distance = |run: &&Report| (run.total_time_s - median).abs();
        self.completed().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// Runs that completed.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &'a Report> {
        self.runs.iter().copied().filter(|run| run.status == MigrationStatus::Completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mode: &str, workload: &str, total_time_s: f64) -> Report {
        Report {
            mode: mode.into(),
            workload: workload.into(),
            total_time_s,
            status: MigrationStatus::Completed,
            ..Report::default()
        }
    }

    #[test]
    fn what_can_be_compared_comes_together() {
        let reports = [
            report(POOLFERRY, "rw", 3.0),
            report("multifd", "idle", 2.5),
            report(STOCK, "rw", 9.0),
            report(POOLFERRY, "idle", 1.0),
            report(STOCK, "idle", 2.0),
        ];
        let cells = cells(&reports);
        let modes = |cell: &Comparison<'_>| {
            cell.ways.iter().map(|way| way.mode.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cells.iter().map(|cell| cell.workload).collect::<Vec<_>>(), ["idle", "rw"]);
        assert_eq!(modes(&cells[0]), [STOCK, "multifd", POOLFERRY]);
        assert_eq!(modes(&cells[1]), [STOCK, POOLFERRY]);
    }

    #[test]
    fn a_load_that_is_not_known_is_not_named() {
        let title = |workload: &str| cells(&[report(STOCK, workload, 1.0)])[0].title();
        assert!(title("idle").starts_with("Idle: 0 B VM; "), "{}", title("idle"));
        assert!(title("unknown").starts_with("0 B VM; "), "{}", title("unknown"));
    }

    #[test]
    fn server_and_kernel_are_named_and_not_mixed() {
        let of = |server: &str| Report {
            guest_system: GuestSystem { server: server.into(), kernel: "6.1.0".into() },
            ..report(STOCK, "idle", 1.0)
        };
        let reports = [of("MySQL 5.6.24"), of("MariaDB 10.11.18"), of("MySQL 5.6.24")];
        let cells = cells(&reports);
        let titles: Vec<String> = cells.iter().map(Comparison::title).collect();
        assert!(titles[0].starts_with("Idle: 0 B VM, MySQL 5.6.24 on Linux 6.1.0; "), "{titles:?}");
        assert_eq!(cells.iter().map(|cell| cell.ways[0].runs.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn the_median_is_of_runs_that_completed() {
        let mut failed = report(STOCK, "ro", 0.1);
        failed.status = MigrationStatus::Failed;
        let reports =
            [failed, report(STOCK, "ro", 4.0), report(STOCK, "ro", 10.0), report(STOCK, "ro", 5.0)];
        let cells = cells(&reports);
        let way = cells[0].way(STOCK).unwrap();
        assert_eq!(way.median(|run| run.total_time_s), Some(5.0));
        assert_eq!(way.typical().unwrap().total_time_s, 5.0);
        let two = Way { mode: STOCK, runs: way.runs[1..3].to_vec() };
        assert_eq!(two.median(|run| run.total_time_s), Some(7.0));
        let none = Way { mode: STOCK, runs: way.runs[..1].to_vec() };
        assert_eq!(none.median(|run| run.total_time_s), None);
        assert_eq!(none.typical().unwrap().total_time_s, 0.1);
    }
}

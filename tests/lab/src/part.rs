//! Parts of the evaluation: which VM, load and links each of them varies, and the ways to migrate it compares.

use crate::mode::Mode;
use crate::paper::{LinkSpeeds, Paper};
use crate::rate::Rate;
use crate::setup::Setup;
use crate::size::Size;
use crate::workload::Workload;

const GIGABIT: Rate = Rate::gigabits(1);
const FOUR: Rate = Rate::gigabits(4);
const SAME: LinkSpeeds = LinkSpeeds { network: GIGABIT, storage: GIGABIT };
const FASTER: LinkSpeeds = LinkSpeeds { network: GIGABIT, storage: FOUR };
const NONE: LinkSpeeds = LinkSpeeds { network: Rate::UNLIMITED, storage: Rate::UNLIMITED };

/// The ways between which an operator would choose: QEMU as it is, its best, and Poolferry with and without what makes that one best.
const MAIN: [Mode; 4] = [Mode::Stock, Mode::MultifdZstd, Mode::PoolferryZstd, Mode::Poolferry];
const LOADS: [Workload; 3] = [Workload::Idle, Workload::Ro, Workload::Rw];
/// What the programs of the laboratory need beside both VMs.
const BESIDE: Size = Size::mib(2 << 10);

/// A part; in this order the most informative ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// 4 GiB, all loads, links of 1 Gbit/s: the paper's own figures
    SameLinks,
    /// The same, storage link of 4 Gbit/s
    FasterStorage,
    /// All ways to migrate 2 GiB, idle, over both pairs of links
    AllWays,
    /// All ways to migrate 2 GiB under a read-write load: what each takes from the load
    AllWaysBusy,
    /// 8 GiB, idle
    Large,
    /// Pools of 512 MiB, 1, 2 and 4 GiB, idle
    Growth,
    /// 4 GiB, idle, links that are not shaped: what the machine itself can do
    Unshaped,
}

/// One comparison: a VM under a load, over a pair of links, migrated in several ways that take turns.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The VM, its load and the links.
    pub setup: Setup,
    /// Ways to migrate it.
    pub modes: Vec<Mode>,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SameLinks,
        Self::FasterStorage,
        Self::AllWays,
        Self::AllWaysBusy,
        Self::Large,
        Self::Growth,
        Self::Unshaped,
    ];

    /// Its cells; what `paper` names takes the place of what the part has.
    #[must_use]
    pub fn cells(self, paper: &Paper) -> Vec<Cell> {
        let of_share = |memory| (memory, share(memory, paper.pool_share));
        let (vms, links, loads, modes): (Vec<_>, &[LinkSpeeds], &[Workload], &[Mode]) = match self {
            Self::SameLinks => (vec![of_share(gib(4))], &[SAME], &LOADS, &MAIN),
            Self::FasterStorage => (vec![of_share(gib(4))], &[FASTER], &LOADS, &MAIN),
            Self::AllWays => {
                (vec![of_share(gib(2))], &[SAME, FASTER], &[Workload::Idle], &Mode::ALL)
            }
            Self::AllWaysBusy => (vec![of_share(gib(2))], &[SAME], &[Workload::Rw], &Mode::ALL),
            Self::Large => (
                vec![of_share(gib(8))],
                &[SAME],
                &[Workload::Idle],
                &[Mode::Stock, Mode::Poolferry],
            ),
            Self::Growth => {
                let half = (gib(1), Size::mib(512));
                let pools = [1, 2, 4].map(|pool| (gib(pool + 1), gib(pool)));
                let vms = std::iter::once(half).chain(pools).collect();
                (vms, &[SAME], &[Workload::Idle], &[Mode::Poolferry])
            }
            Self::Unshaped => (vec![of_share(gib(4))], &[NONE], &[Workload::Idle], &MAIN),
        };
        let vms = match paper.memory.as_slice() {
            [] => vms,
            sizes => sizes.iter().copied().map(of_share).collect(),
        };
        let links = named(&paper.links, links);
        let loads = named(&paper.workload, loads);
        let modes = named(&paper.mode, modes);
        let mut cells = Vec::new();
        for (memory, pool) in vms {
            for &LinkSpeeds { network, storage } in links {
                for &workload in loads {
                    let setup = Setup {
                        memory,
                        pool,
                        vcpus: 2,
                        threads: 2,
                        network_rate: network,
                        storage_rate: storage,
                        ..Setup::small(workload)
                    };
                    cells.push(Cell { setup, modes: modes.to_vec() });
                }
            }
        }
        cells
    }
}

impl Cell {
    /// Its name, which is that of its folder.
    #[must_use]
    pub fn name(&self) -> String {
        let Setup { memory, pool, network_rate, storage_rate, workload, .. } = &self.setup;
        let (memory, pool, workload) = (memory.in_mib(), pool.in_mib(), workload.name());
        format!("{memory}M-{pool}M-{network_rate}-{storage_rate}-{workload}")
    }

    /// What the machine needs of memory for it: both sides have all of the VM at the switchover.
    #[must_use]
    pub fn needs(&self) -> Size {
        Size::mib(2 * self.setup.memory.in_mib() + BESIDE.in_mib())
    }
}

/// What was named, or else what the part has.
const fn named<'a, T>(named: &'a [T], own: &'a [T]) -> &'a [T] {
    if named.is_empty() { own } else { named }
}

const fn gib(gib: u64) -> Size {
    Size::mib(gib << 10)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of some thousand MiB"
)]
fn share(memory: Size, share: f64) -> Size {
    Size::mib((memory.in_mib() as f64 * share.clamp(0.05, 0.9)).round() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        paper: Paper,
    }

    fn cells(line: &str) -> Vec<Cell> {
        let words = ["lab"].into_iter().chain(line.split_whitespace());
        let Line { paper } = Line::parse_from(words);
        Part::ALL.iter().flat_map(|part| part.cells(&paper)).collect()
    }

    #[test]
    fn the_evaluation_has_every_load_over_both_pairs_of_links_and_every_way() {
        let cells = cells("");
        let names: BTreeSet<_> = cells.iter().map(Cell::name).collect();
        assert_eq!(names.len(), cells.len(), "two cells would share a folder");
        for links in ["1gbit-1gbit", "1gbit-4gbit"] {
            for load in ["idle", "ro", "rw"] {
                let name = format!("4096M-3277M-{links}-{load}");
                assert!(names.contains(&name), "no {name} in {names:?}");
            }
        }
        assert!(names.contains("4096M-3277M-none-none-idle"), "{names:?}");
        for name in ["1gbit-1gbit-idle", "1gbit-4gbit-idle", "1gbit-1gbit-rw"] {
            let name = format!("2048M-1638M-{name}");
            let all = cells.iter().find(|cell| cell.name() == name).unwrap();
            assert_eq!(all.modes, Mode::ALL);
        }
        let pools: Vec<_> = cells.iter().map(|cell| cell.setup.pool.in_mib()).collect();
        assert!([512, 1024, 2048, 4096].iter().all(|pool| pools.contains(pool)), "{pools:?}");
    }

    #[test]
    fn what_is_named_takes_the_place_of_what_a_part_has() {
        let cells = cells("--memory 1G --workload rw --links 100mbit/none --mode stock");
        for cell in &cells {
            assert_eq!(cell.name(), "1024M-819M-100mbit-none-rw");
            assert_eq!(cell.modes, [Mode::Stock]);
            assert_eq!(cell.needs(), gib(4));
        }
    }
}

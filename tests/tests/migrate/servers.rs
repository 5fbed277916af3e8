//! Servers of other families than the one that the other tests share, each in a VM of its own that reads and writes.

use anyhow::Result;
use lab::hop::Mode;
use lab::laboratory::Laboratory;
use lab::setup::Setup;
use lab::workload::Workload;
use test_servers::cache::Cache;
use test_servers::{Release, skipped};

use crate::shared::{Needs, folder, programs, record, same};

/// Pages of a pool of 200 MiB whose tables fill nine tenths of it, less what a load has written since its pages were written out.
const MOST: u64 = 20_000;

fn arrives(test: &str, release: Release) {
    let Some(programs) = programs(test, Needs::Poolferry) else { return };
    if let Err(error) = release.installed() {
        assert!(release.is_optional(), "{error:#}");
        return skipped(test, format!("{error:#}"));
    }
    let migrate = || -> Result<()> {
        let setup = Setup { server: release, ..Setup::small(Workload::Rw) };
        let mut lab = Laboratory::boot(&Cache::open()?, setup, programs)?;
        lab.busy()?;
        lab.start_agent()?;
        lab.load(Workload::Rw)?;
        let folder = folder(&lab);
        same(&lab.hop(Mode::Poolferry, &folder)?);
        let report = record(&lab)?;
        let (pages, log) = (report.pages, lab.agent_log());
        println!("{pages:?}");
        assert!(pages.skipped > MOST && pages.installed > 0, "{:?}\n{log}", report.warnings);
        // The walk that a kernel's own symbol begins: no test on the machine itself may have it.
        assert!(!log.contains("pagemap serves the list"), "{log}");
        lab.check()
    };
    migrate().unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn mariadb() {
    arrives("servers::mariadb", Release::Mariadb);
}

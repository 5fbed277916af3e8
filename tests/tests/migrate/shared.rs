//! The VM that the tests share, one test at a time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use lab::hop::{Attempt, Hop, Mode};
use lab::laboratory::Laboratory;
use lab::migration::Migration;
use lab::setup::{Programs, Setup};
use lab::workload::Workload;
use migration_record::Report;
use test_servers::cache::Cache;
use test_servers::skipped;

/// Whether a test needs Poolferry's own programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Qemu,
    Poolferry,
}

/// The programs of a laboratory; says why the test cannot run where they are not all there.
pub(crate) fn programs(test: &str, needs: Needs) -> Option<Programs> {
    if !rustix::process::geteuid().is_root() {
        skipped(test, "network namespaces want root");
        return None;
    }
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(error) => {
            skipped(test, format!("{error:#}"));
            return None;
        }
    };
    if needs == Needs::Poolferry
        && let Some(missing) = missing(&programs)
    {
        skipped(test, format!("{missing} is not built: `cargo xtask test` builds it"));
        return None;
    }
    Some(programs)
}

/// Runs a test when it is its turn; says so where it cannot run.
pub(crate) fn run(test: &str, needs: Needs, body: impl FnOnce(&mut Laboratory) -> Result<()>) {
    // Given back only by a test that passed.
    static VM: Mutex<Option<Laboratory>> = Mutex::new(None);
    let mut vm = VM.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(programs) = programs(test, needs) else { return };
    let mut lab = vm.take().unwrap_or_else(|| boot(programs).unwrap_or_else(|e| panic!("{e:#}")));
    body(&mut lab).unwrap_or_else(|error| panic!("{error:#}"));
    *vm = Some(lab);
}

fn missing(programs: &Programs) -> Option<&'static str> {
    let parts = [
        (&programs.poolferry, "poolferry"),
        (&programs.poolferry_host, "poolferry-host"),
        (&programs.library, "libpoolferry_qemu.so"),
    ];
    parts.into_iter().find_map(|(path, name)| path.is_none().then_some(name))
}

fn boot(programs: Programs) -> Result<Laboratory> {
    let agent = programs.poolferry.is_some();
    let mut lab = Laboratory::boot(&Cache::open()?, Setup::small(Workload::Idle), programs)?;
    lab.busy()?;
    if agent {
        lab.start_agent()?;
    }
    Ok(lab)
}

/// Migrates while `migration` injects its fault; the VM must arrive, and its RAM must be the same at both sides.
pub(crate) fn arrives(lab: &mut Laboratory, migration: Migration<'_>) -> Result<Hop> {
    let mut migration = migration;
    let folder = folder(lab);
    match lab.attempt(Mode::Poolferry, &folder, &mut migration)? {
        Attempt::Arrived(hop) => {
            same(&hop);
            Ok(*hop)
        }
        Attempt::Stayed(ended, _) => anyhow::bail!("the VM did not arrive: {ended:?}"),
    }
}

/// Migrates without trouble, and gives Poolferry's own record.
pub(crate) fn migrated(lab: &mut Laboratory) -> Result<Report> {
    let hop = arrives(lab, Migration::plain())?;
    assert_eq!(hop.ended.status, "completed");
    record(lab)
}

/// The record of the last migration.
pub(crate) fn record(lab: &Laboratory) -> Result<Report> {
    Ok(migration_record::read(&folder(lab).join(migration_record::JSON))?)
}

/// Every byte of RAM is the same at both sides.
pub(crate) fn same(hop: &Hop) {
    let Some(identity) = &hop.identity else {
        assert_eq!(hop.mode, Mode::Postcopy, "the RAM of both sides was not compared");
        return;
    };
    assert!(identity.compared_bytes >= Setup::small(Workload::Idle).memory.bytes());
    assert_eq!(identity.differing_bytes, 0, "first pages that differ: {:x?}", identity.first);
}

/// Where the programs of a migration write to. Each migration writes over what the one before has left.
pub(crate) fn folder(lab: &Laboratory) -> PathBuf {
    Path::new(lab.folder()).join("hop")
}

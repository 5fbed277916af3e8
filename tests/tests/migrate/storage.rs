//! Storage as the receiver finds it is not what the guest's disk is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lab::laboratory::Laboratory;
use lab::migration::Migration;
use lab::process::Process;
use lab::storage::SERIAL;
use lab::wait;
use lab::workload::Workload;
use rustix::process::Signal;

use crate::shared::{Needs, arrives, migrated, record, run};

/// Port of the second server.
const PORT: u16 = 10_888;

/// Makes the receiver read the guest's disk from the second server.
pub(crate) fn elsewhere(lab: &mut Laboratory) -> Vec<String> {
    let server = lab.machine().host().other().storage_server();
    vec!["--disk".to_owned(), format!("serial:{SERIAL}=nbd://{server}:{PORT}/data")]
}

/// Serves what `source` says (options of `qemu-nbd`), read-only.
pub(crate) fn serve(lab: &Laboratory, source: &[String]) -> Result<Process> {
    let mut command = lab.network().at_storage("qemu-nbd");
    command.args(["--persistent", "--read-only", "--shared=8", "--export-name=data"]);
    command.arg(format!("--port={PORT}")).args(source);
    let log = lab.folder().join("second.log");
    let mut server = Process::start(command, "the second qemu-nbd", &log)?;
    wait::until("the second qemu-nbd listens", Duration::from_secs(20), || {
        server.still_runs()?;
        Ok(lab::storage::listens(server.pid(), PORT).then_some(()))
    })?;
    Ok(server)
}

fn raw(file: PathBuf) -> Vec<String> {
    vec!["--format=raw".to_owned(), "--cache=none".to_owned(), file.display().to_string()]
}

/// Nobody serves the disk.
fn missing(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let migration = Migration { receive: elsewhere(lab), ..Migration::with_fault(|_| Ok(())) };
    arrives(lab, migration)?;
    assert_eq!(record(lab)?.pages.installed, 0);
    works(lab)
}

/// An older copy of the disk: what has changed since must not be restored from it.
fn old(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let copy = lab.folder().join("old.raw");
    std::fs::copy(lab.storage().file(), &copy)?;
    lab.load(Workload::Rw)?;
    wait::pause(Duration::from_secs(5))?;
    lab.load(Workload::Idle)?;
    let server = serve(lab, &raw(copy.clone()))?;
    let migration = Migration { receive: elsewhere(lab), ..Migration::with_fault(|_| Ok(())) };
    arrives(lab, migration)?;
    let report = record(lab)?;
    let differs = report.redirtied_by_reason.get("differs").copied().unwrap_or(0);
    assert!(differs > 0 && report.pages.installed > 0, "{report:?}");
    drop(server);
    std::fs::remove_file(copy)?;
    works(lab)
}

/// Every read fails.
fn broken(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let file = lab.storage().file().display().to_string();
    let options = format!(
        "driver=raw,file.driver=blkdebug,file.inject-error.0.event=none,\
         file.inject-error.0.iotype=read,file.inject-error.0.errno=5,\
         file.image.driver=file,file.image.locking=off,file.image.filename={file}"
    );
    let server = serve(lab, &["--image-opts".to_owned(), options])?;
    let migration = Migration { receive: elsewhere(lab), ..Migration::with_fault(|_| Ok(())) };
    arrives(lab, migration)?;
    let report = record(lab)?;
    assert_eq!(report.pages.installed, 0, "{report:?}");
    drop(server);
    works(lab)
}

/// The server hangs as soon as the migration has begun.
fn stalled(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let shared = raw_shared(lab);
    let server = serve(lab, &shared)?;
    let receive = elsewhere(lab);
    let mut stopped = false;
    let fault = |ongoing: &mut lab::migration::Ongoing<'_>| {
        if !stopped && ongoing.output().contains("\"name\":\"first pass\"") {
            server.signal(Signal::STOP);
            stopped = true;
        }
        Ok(())
    };
    arrives(lab, Migration { receive, ..Migration::with_fault(fault) })?;
    assert!(stopped, "the server was never stopped");
    let pages = record(lab)?.pages;
    assert!(pages.redirtied > pages.installed, "storage went on: {pages:?}");
    drop(server);
    works(lab)
}

pub(crate) fn raw_shared(lab: &mut Laboratory) -> Vec<String> {
    let file = lab.storage().file().display();
    let options = format!("driver=raw,file.driver=file,file.locking=off,file.filename={file}");
    vec!["--image-opts".to_owned(), options]
}

/// Without the second server all is as ever.
fn works(lab: &mut Laboratory) -> Result<()> {
    let pages = migrated(lab)?.pages;
    assert!(pages.installed > 0, "{pages:?}");
    Ok(())
}

macro_rules! on_storage {
    ($($name:ident),+) => {
        mod tests {$(
            #[test]
            fn $name() {
                let name = concat!("storage::", stringify!($name));
                super::run(name, super::Needs::Poolferry, super::$name);
            }
        )+}
    };
}
on_storage!(missing, old, broken, stalled);

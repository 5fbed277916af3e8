//! From an offer to a destination that is ready.

use std::path::Path;
use std::sync::Arc;

use foreign::Text;
use page_number::PAGE_BYTES;

use crate::channel::{Offer, Ready};
use crate::dest::memory::{Target, holes};
use crate::dest::options::Options;
use crate::dest::refusal::RestoreRefusal;
use crate::dest::{devices, incoming, preflight};
use crate::guest::{GuestRam, disks};
use crate::qmp::Qmp;
use crate::set::SkipSet;
use crate::storage::Storage;

/// The QEMU that waits.
pub(in crate::dest) struct WaitingQemu {
    qmp: Qmp,
    pid: u32,
    /// Why not, where its RAM cannot be reached; the migration can still be a stock one.
    ram: Result<GuestRam, RestoreRefusal>,
}

impl WaitingQemu {
    pub(in crate::dest) async fn connect(path: &Path) -> Result<Self, RestoreRefusal> {
        let qmp = Qmp::connect(path).await?;
        let pid = qmp.peer_pid()?;
        let ram = GuestRam::writable(&qmp, pid).await.map_err(RestoreRefusal::Guest);
        Ok(Self { qmp, pid, ram })
    }

    pub(in crate::dest) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(in crate::dest) fn version(&self) -> String {
        self.qmp.version().to_string()
    }

    /// Pages of its shared RAM: more cannot be offered.
    pub(in crate::dest) fn pages(&self) -> u64 {
        let blocks = self.ram.as_ref().map_or(&[][..], GuestRam::blocks);
        blocks.iter().map(|block| block.length / PAGE_BYTES).sum()
    }
}

/// All that the restore needs.
pub(in crate::dest) struct PreparedRestore {
    pub(in crate::dest) set: Arc<SkipSet>,
    pub(in crate::dest) devices: Vec<Option<Storage>>,
    pub(in crate::dest) target: Target,
}

/// Prepares the restore and lets QEMU listen. A refusal comes with where QEMU listens all the same.
pub(in crate::dest) async fn prepare(
    qemu: Result<WaitingQemu, RestoreRefusal>,
    offer: &Offer,
    set: Result<SkipSet, RestoreRefusal>,
    options: &Options,
) -> Result<(PreparedRestore, Ready), (RestoreRefusal, Option<String>)> {
    let qemu = qemu.map_err(|refusal| (refusal, None))?;
    let WaitingQemu { qmp, pid, ram } = qemu;
    let listen = || incoming::listen(&qmp, &options.migration_address, offer);
    let prepared = async {
        preflight::waits(&qmp).await?;
        ready(&qmp, pid, ram?, offer, set?, options).await
    };
    match prepared.await {
        Ok((prepared, devices_left_out)) => match listen().await {
            Ok(uri) => Ok((prepared, Ready { uri: uri.into(), devices_left_out })),
            Err(refusal) => Err((refusal, None)),
        },
        Err(
            refusal @ (RestoreRefusal::NotIncoming { .. } | RestoreRefusal::MigrationBegun { .. }),
        ) => Err((refusal, None)),
        Err(refusal) => {
            let uri = match &refusal {
                RestoreRefusal::Listens => {
                    incoming::old(&qmp, &options.migration_address, offer).await
                }
                _ => listen().await,
            };
            let uri = uri.inspect_err(|error| log::warn!("{}", crate::error_chain(error)));
            Err((refusal, uri.ok()))
        }
    }
}

/// Everything up to the holes; QEMU does not listen yet.
async fn ready(
    qmp: &Qmp,
    pid: u32,
    ram: GuestRam,
    offer: &Offer,
    set: SkipSet,
    options: &Options,
) -> Result<(PreparedRestore, Vec<(u16, Text)>), RestoreRefusal> {
    let install = |(doing, source)| RestoreRefusal::Install { doing, source };
    if set.pages() == 0 {
        // A stock migration: QEMU's address is all that is needed.
        let target = Target::new(&[]).map_err(install)?;
        return Ok((
            PreparedRestore { set: Arc::new(set), devices: Vec::new(), target },
            Vec::new(),
        ));
    }
    preflight::check(qmp, pid, &ram, offer, &set).await?;
    let disks = disks::of(qmp).await?;
    let (devices, left_out) = devices::open(set.devices(), &options.disks, &disks, pid).await?;
    let blocks = preflight::files(&preflight::blocks(&ram, &set)?);
    // Devices took their time, and QEMU may have another monitor.
    preflight::waits(qmp).await?;
    holes::punch(&set, &blocks)?;
    let target = Target::new(&blocks).map_err(install)?;
    holes::verify(&set, &blocks)?;
    Ok((PreparedRestore { set: Arc::new(set), devices, target }, left_out))
}

//! Whether this host can restore the offered set: everything that would make a page look delivered
//! that is not, or change under somebody who holds it.

mod examine;
mod look_ahead;

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;

use foreign::Name;
use page_number::PAGE_BYTES;
use rustix::fs::fstatfs;
use serde_json::{Value, json};

use crate::channel::Offer;
use crate::clash::{self, CAPABILITIES, Clash};
use crate::dest::incoming::state;
use crate::dest::memory::{BlockFile, headroom, thp};
use crate::dest::refusal::RestoreRefusal;
use crate::guest::{GuestRam, RamBlock};
use crate::qmp::{Qmp, QmpError};
use crate::set::SkipSet;

pub(crate) use examine::examine;
pub use look_ahead::look_ahead;

/// `TMPFS_MAGIC`, of memfds and tmpfs files; hugetlbfs has another.
const TMPFS: u64 = 0x0102_1994;

/// Checks all that can be checked without changing anything.
pub(in crate::dest) async fn check(
    qmp: &Qmp,
    pid: u32,
    ram: &GuestRam,
    offer: &Offer,
    set: &SkipSet,
) -> Result<(), RestoreRefusal> {
    settings(qmp, &offer.capabilities).await?;
    devices(qmp).await?;
    virtio_mem(qmp, set).await?;
    for block in blocks(ram, set)? {
        huge_pages(block, pid)?;
    }
    // Zero pages stay holes.
    let needed = set.bytes() - u64::from(set.zero_pages()) * PAGE_BYTES;
    match headroom::left() {
        Some(headroom) if headroom < needed => Err(RestoreRefusal::Headroom { headroom, needed }),
        _ => Ok(()),
    }
}

/// QEMU was started for a migration, and none has begun.
pub(in crate::dest) async fn waits(qmp: &Qmp) -> Result<(), RestoreRefusal> {
    let status: Value = qmp.query("query-status").await?;
    match status["status"].as_str().unwrap_or_default() {
        "inmigrate" => state::check_not_listening(qmp).await,
        other => Err(RestoreRefusal::NotIncoming { status: other.chars().take(40).collect() }),
    }
}

/// No capability is on here, or in `requested`, with which restoring is wrong.
pub(in crate::dest) async fn settings(qmp: &Qmp, requested: &[Name]) -> Result<(), RestoreRefusal> {
    let all: Vec<Value> = qmp.query("query-migrate-capabilities").await?;
    for name in CAPABILITIES {
        let wanted = if requested.iter().any(|requested| requested == name) {
            "asked for by the source"
        } else if all.iter().any(|own| own["capability"] == name && own["state"] == true) {
            "set at the destination"
        } else {
            continue;
        };
        return Err(RestoreRefusal::Capability { name: name.to_owned(), wanted });
    }
    Ok(())
}

/// No device pins RAM.
pub(in crate::dest) async fn devices(qmp: &Qmp) -> Result<(), RestoreRefusal> {
    let device = match clash::pinned(qmp).await?.into_iter().next() {
        None => return Ok(()),
        Some(Clash::Device(name) | Clash::BlockDriver(name)) => name,
        Some(Clash::VdpaNetwork) => "vhost-vdpa network".to_owned(),
        Some(Clash::Encrypted) => "memory encryption".to_owned(),
    };
    Err(RestoreRefusal::Pinned { device })
}

async fn virtio_mem(qmp: &Qmp, set: &SkipSet) -> Result<(), RestoreRefusal> {
    let devices = match qmp.execute("query-memory-devices", json!({})).await {
        Ok(devices) => devices,
        // Built without memory devices.
        Err(QmpError::Refused { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for device in devices.as_array().into_iter().flatten() {
        let memdev = device["data"]["memdev"].as_str().unwrap_or_default();
        let object = memdev.rsplit('/').next().unwrap_or_default();
        let of_it = |name: &str| !object.is_empty() && name.rsplit('/').next() == Some(object);
        if device["type"] == "virtio-mem"
            && let Some(block) = set.blocks().iter().find(|block| of_it(&block.name))
        {
            return Err(RestoreRefusal::VirtioMem { name: block.name.clone() });
        }
    }
    Ok(())
}

/// The set's blocks as this QEMU has them, in the set's order.
pub(in crate::dest) fn blocks<'a>(
    ram: &'a GuestRam,
    set: &SkipSet,
) -> Result<Vec<&'a RamBlock>, RestoreRefusal> {
    let mut found = Vec::with_capacity(set.blocks().len());
    for wanted in set.blocks() {
        let name = || wanted.name.clone();
        let block = ram.blocks().iter().find(|block| block.name == wanted.name);
        let block = block.ok_or_else(|| RestoreRefusal::NoBlock { name: name() })?;
        if block.length != wanted.length {
            let (here, there) = (block.length, wanted.length);
            return Err(RestoreRefusal::BlockLength { name: name(), here, there });
        }
        fits(block)?;
        found.push(block);
    }
    Ok(found)
}

/// userfaultfd serves the block's file, page by page.
pub(in crate::dest) fn fits(block: &RamBlock) -> Result<(), RestoreRefusal> {
    let RamBlock { name, page_bytes, .. } = block;
    if *page_bytes != PAGE_BYTES {
        return Err(RestoreRefusal::PageBytes { name: name.clone(), page_bytes: *page_bytes });
    }
    let kind = fstatfs(&block.file).map(|about| u64::try_from(about.f_type).unwrap_or(0));
    if kind != Ok(TMPFS) {
        return Err(RestoreRefusal::FileSystem { name: name.clone() });
    }
    Ok(())
}

/// The blocks' files, for installing pages.
pub(in crate::dest) fn files<'a>(blocks: &[&'a RamBlock]) -> Vec<BlockFile<'a>> {
    let file = |block: &&'a RamBlock| BlockFile {
        file: &block.file,
        offset: block.file_offset,
        length: block.length,
    };
    blocks.iter().map(file).collect()
}

/// The kernel does not put huge pages into the block.
pub(in crate::dest) fn huge_pages(block: &RamBlock, pid: u32) -> Result<(), RestoreRefusal> {
    if thp::is_off_for(pid) {
        return Ok(());
    }
    let allowed = match mount(&block.file) {
        // A memfd's mount is the kernel's own, which no process sees.
        _ if is_memfd(&block.file) => thp::of_memfds(),
        Some(mount) => thp::of_mount(pid, mount),
        None => return Err(RestoreRefusal::FileSystem { name: block.name.clone() }),
    };
    match thp::fitting(&allowed, block.host_address, block.file_offset) {
        None => Ok(()),
        Some(size) => Err(RestoreRefusal::HugePages {
            name: block.name.clone(),
            bytes: size.bytes,
            setting: size.setting.clone(),
        }),
    }
}

fn is_memfd(file: &File) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:"))
}

/// Id of the mount that the file was opened on.
fn mount(file: &File) -> Option<u64> {
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

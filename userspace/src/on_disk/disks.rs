//! From an offset on a file system's block device to an offset on a whole disk, through partitions
//! and linear device-mapper tables, and what the host can know the disk by.
//!
//! Anything else between file system and disk (RAID, encryption, thin pools, caches, multipath)
//! stores other bytes or moves them about: `stacked-device`. A loop device counts as a disk of its
//! own, whose identity is its backing file: where that file lies is left to the reader.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use smallvec::SmallVec;

use super::device_mapper::{self, DmTarget};
use super::ids::{DeviceId, DiskOffset};
use super::sysfs::Node;
use super::unmapped::Unmapped;

/// The attribute that distinguishes disks which have the same number one after the other.
const SEQUENCE: &str = "diskseq";
/// Layers that are followed; the kernel itself allows no endless stack.
const MAX_DEPTH: u32 = 8;

/// A run of bytes on a whole disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskRange {
    /// The disk.
    pub device: DeviceId,
    /// Where the run starts on it.
    pub offset: DiskOffset,
    /// Its length.
    #[serde(rename = "len")]
    pub len_bytes: u64,
}

/// The pieces of one range of a file; nearly always one.
pub type DiskRanges = SmallVec<[DiskRange; 2]>;

/// A whole disk and what names it outside this kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its number in this kernel.
    pub device: DeviceId,
    /// Its name in this kernel, e.g. `vda`.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Smallest unit of a direct read.
    pub logical_block_bytes: u64,
    /// Serial number: what QEMU calls `serial=` on a device.
    pub serial: Option<String>,
    /// World-wide name.
    pub wwid: Option<String>,
    /// PCI functions from the root port to the controller, e.g. `0000:00:02.0`.
    pub pci: Vec<String>,
    /// Place in the device tree below `/sys/devices`; it ends in the SCSI address where there is one.
    pub hardware_path: Option<String>,
    /// A loop device's file.
    pub backing_file: Option<PathBuf>,
    /// Where a loop device starts in its file.
    pub backing_offset: Option<u64>,
}

/// A run of a block device that lies on one disk, or cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: u64,
    len: u64,
    on: Result<(DeviceId, u64), Unmapped>,
}

/// How a block device lies on disks, in order of its own offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceMap {
    segments: Vec<Segment>,
}

impl DeviceMap {
    /// Appends the disk ranges that hold `len` bytes from `start` of the device.
    ///
    /// # Errors
    /// The reason why some of it lies on no disk; `ranges` may have been added to before.
    pub(crate) fn resolve(
        &self,
        start: u64,
        len: u64,
        ranges: &mut DiskRanges,
    ) -> Result<(), Unmapped> {
        let end = start.checked_add(len).ok_or(Unmapped::UnknownDevice)?;
        let mut at = start;
        let first = self.segments.partition_point(|segment| segment.end() <= start);
        for segment in &self.segments[first..] {
            if at >= end || segment.start > at {
                break;
            }
            let piece = end.min(segment.end()) - at;
            let (device, base) = segment.on?;
            let offset = DiskOffset(base + (at - segment.start));
            ranges.push(DiskRange { device, offset, len_bytes: piece });
            at += piece;
        }
        if at < end { Err(Unmapped::UnknownDevice) } else { Ok(()) }
    }

    fn disks(&self) -> impl Iterator<Item = DeviceId> {
        self.segments.iter().filter_map(|segment| Some(segment.on.ok()?.0))
    }
}

impl Segment {
    /// `window` has made sure that the sum is in range.
    fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// The block devices of this kernel, as far as they were needed.
pub(crate) struct Disks {
    sysfs: PathBuf,
    table: fn(DeviceId) -> io::Result<Vec<DmTarget>>,
    maps: BTreeMap<DeviceId, Result<DeviceMap, Unmapped>>,
    disks: BTreeMap<DeviceId, Known>,
}

/// A disk, and which of the disks that have had its number it is.
struct Known {
    disk: Disk,
    /// The kernel's count of disks when this one came (`diskseq`), which is used once; `None` before Linux 5.15.
    sequence: Option<u64>,
}

impl Default for Disks {
    fn default() -> Self {
        Self::at(Path::new("/sys"), device_mapper::table)
    }
}

impl Disks {
    fn at(sysfs: &Path, table: fn(DeviceId) -> io::Result<Vec<DmTarget>>) -> Self {
        let (maps, disks) = (BTreeMap::new(), BTreeMap::new());
        Self { sysfs: sysfs.to_path_buf(), table, maps, disks }
    }

    /// Forgets how devices lie on disks: logical volumes are extended and moved while in use. What a disk is
    /// called does not change while it is there, and is kept; another that gets its number is another disk.
    pub(crate) fn forget_maps(&mut self) {
        self.maps.clear();
        let sysfs = &self.sysfs;
        self.disks.retain(|device, known| {
            let sequence = Node::of(sysfs, *device).and_then(|node| node.number(SEQUENCE));
            sequence.is_some() && sequence == known.sequence
        });
    }

    /// How a block device lies on disks.
    pub(crate) fn map(&mut self, device: DeviceId) -> Result<&DeviceMap, Unmapped> {
        if !self.maps.contains_key(&device) {
            let segments = self.segments(device, 0);
            let map = segments.map(|segments| DeviceMap { segments });
            for disk in map.iter().flat_map(DeviceMap::disks) {
                if !self.disks.contains_key(&disk)
                    && let Some(known) = self.identify(disk)
                {
                    self.disks.insert(disk, known);
                }
            }
            self.maps.insert(device, map);
        }
        match self.maps.get(&device) {
            Some(map) => map.as_ref().map_err(|reason| *reason),
            None => Err(Unmapped::UnknownDevice),
        }
    }

    /// Every disk that a map has led to.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Disk> {
        self.disks.values().map(|known| &known.disk)
    }

    fn segments(&self, device: DeviceId, depth: u32) -> Result<Vec<Segment>, Unmapped> {
        let node = Node::of(&self.sysfs, device).ok_or(Unmapped::UnknownDevice)?;
        let size = node.sectors("size").ok_or(Unmapped::UnknownDevice)?;
        if depth > MAX_DEPTH {
            return Err(Unmapped::StackedDevice);
        }
        if node.has("partition") {
            let start = node.sectors("start").ok_or(Unmapped::UnknownDevice)?;
            let (_, parent) = node.parent().ok_or(Unmapped::UnknownDevice)?;
            return Ok(window(&self.segments(parent, depth + 1)?, start, size, 0));
        }
        if node.has("dm") {
            let targets = (self.table)(device).map_err(|_| Unmapped::UnknownDevice)?;
            return Ok(targets.iter().flat_map(|target| self.target(target, depth)).collect());
        }
        if node.has_slaves() || node.has("md") {
            return Err(Unmapped::StackedDevice);
        }
        // Real disks have hardware behind them; zram, ram disks and the like have none.
        if node.has("device") || node.has("loop/backing_file") {
            return Ok(vec![Segment { start: 0, len: size, on: Ok((device, 0)) }]);
        }
        Err(Unmapped::UnknownDevice)
    }

    fn target(&self, target: &DmTarget, depth: u32) -> Vec<Segment> {
        let bytes = |sectors: u64| sectors.checked_mul(512);
        let (Some(start), Some(len)) = (bytes(target.start_sector), bytes(target.sectors)) else {
            return Vec::new();
        };
        let below = target.linear.ok_or(Unmapped::StackedDevice).and_then(|(device, sector)| {
            let at = bytes(sector).ok_or(Unmapped::UnknownDevice)?;
            Ok(window(&self.segments(device, depth + 1)?, at, len, start))
        });
        below.unwrap_or_else(|reason| match start.checked_add(len) {
            Some(_) => vec![Segment { start, len, on: Err(reason) }],
            None => Vec::new(),
        })
    }

    fn identify(&self, device: DeviceId) -> Option<Known> {
        let node = Node::of(&self.sysfs, device)?;
        // Before all else: a disk that is exchanged meanwhile is read again.
        let sequence = node.number(SEQUENCE);
        let hardware_path = node.hardware_path(&self.sysfs);
        let pci = hardware_path.as_deref().unwrap_or_default().split('/');
        let disk = Disk {
            device,
            name: node.name(),
            size_bytes: node.sectors("size")?,
            logical_block_bytes: node.number("queue/logical_block_size").unwrap_or(512),
            serial: node
                .text("serial") // virtio-blk
                .or_else(|| node.text("device/serial")) // NVMe, MMC
                .or_else(|| node.vital_product_data("device/vpd_pg80")), // SCSI
            wwid: node.text("wwid").or_else(|| node.text("device/wwid")),
            pci: pci.filter(|name| is_pci_function(name)).map(str::to_owned).collect(),
            backing_file: node.text("loop/backing_file").map(PathBuf::from),
            backing_offset: node.number("loop/offset"),
            hardware_path,
        };
        Some(Known { disk, sequence })
    }
}

/// `domain:bus:device.function`, hexadecimal.
fn is_pci_function(name: &str) -> bool {
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<_> = name.split([':', '.']).collect();
    matches!(parts[..], [domain, bus, device, function]
        if domain.len() >= 4 && digits(domain, domain.len())
        && digits(bus, 2) && digits(device, 2) && digits(function, 1))
}

/// The segments that hold `len` bytes from `start`, renumbered to begin at `at`.
fn window(inner: &[Segment], start: u64, len: u64, at: u64) -> Vec<Segment> {
    let Some(end) = start.checked_add(len) else { return Vec::new() };
    let overlaps = inner.iter().filter_map(|segment| {
        let (from, to) = (segment.start.max(start), segment.end().min(end));
        let into = from.checked_sub(segment.start)?;
        let len = to.checked_sub(from).filter(|len| *len > 0)?;
        let renumbered = at.checked_add(from - start)?;
        renumbered.checked_add(len)?;
        let on = segment.on.and_then(|(device, base)| match base.checked_add(into) {
            Some(offset) => Ok((device, offset)),
            None => Err(Unmapped::UnknownDevice),
        });
        Some(Segment { start: renumbered, len, on })
    });
    overlaps.collect()
}

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;

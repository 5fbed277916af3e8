//! The media of a list: disks and share files, numbered as runs name them.

use std::collections::HashMap;

use page_wire::Medium;

use crate::locate::{DeviceId, Disk, FileId, Locator};

/// Numbers media as they come up.
#[derive(Default)]
pub(super) struct MediaTable {
    disks: HashMap<DeviceId, u16>,
    files: HashMap<FileId, u16>,
    count: u16,
    last_disk: Option<(DeviceId, u16)>,
    last_file: Option<(FileId, u16)>,
}

impl MediaTable {
    /// Number of a disk; `None` when the table is full.
    pub(super) fn disk(&mut self, device: DeviceId) -> Option<u16> {
        if let Some((last, number)) = self.last_disk
            && last == device
        {
            return Some(number);
        }
        let number = number(&mut self.disks, &mut self.count, device)?;
        self.last_disk = Some((device, number));
        Some(number)
    }

    /// Number of a file on a share; `None` when the table is full.
    pub(super) fn file(&mut self, file: FileId) -> Option<u16> {
        if let Some((last, number)) = self.last_file
            && last == file
        {
            return Some(number);
        }
        let number = number(&mut self.files, &mut self.count, file)?;
        self.last_file = Some((file, number));
        Some(number)
    }

    /// The media in the order of their numbers.
    pub(super) fn to_media(&self, locator: &Locator) -> Vec<Medium> {
        let disks: HashMap<DeviceId, &Disk> = locator.disks().map(|d| (d.device, d)).collect();
        let mut media: Vec<(u16, Medium)> = Vec::new();
        for (&device, &number) in &self.disks {
            let name = disks.get(&device).map_or_else(|| format!("device:{device}"), |d| name(d));
            media.push((number, Medium::Disk(name)));
        }
        for (&file, &number) in &self.files {
            let share = locator.share_of(file);
            let path = share.map_or_else(String::new, |s| {
                format!("{}:{}:{}", s.fstype, s.source, s.path.display())
            });
            media.push((number, Medium::ShareFile(path)));
        }
        media.sort_by_key(|(number, _)| *number);
        media.into_iter().map(|(_, medium)| medium).collect()
    }
}

fn number<K: std::hash::Hash + Eq>(
    table: &mut HashMap<K, u16>,
    count: &mut u16,
    key: K,
) -> Option<u16> {
    if let Some(number) = table.get(&key) {
        return Some(*number);
    }
    let next = count.checked_add(1)?;
    table.insert(key, *count);
    Some(std::mem::replace(count, next))
}

/// The best name that the host can match, with what kind of name it is.
fn name(disk: &Disk) -> String {
    if let Some(serial) = &disk.serial {
        return format!("serial:{serial}");
    }
    if let Some(wwid) = &disk.wwid {
        return format!("wwid:{wwid}");
    }
    if let Some(file) = &disk.backing_file {
        return format!("loop:{}:{}", disk.backing_offset.unwrap_or(0), file.display());
    }
    match (&disk.hardware_path, disk.pci.last()) {
        (Some(path), _) => format!("path:{path}"),
        (None, Some(function)) => format!("pci:{function}"),
        (None, None) => format!("name:{}", disk.name),
    }
}

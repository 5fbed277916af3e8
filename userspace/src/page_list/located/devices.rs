//! The devices of a list: disks and share files, numbered as runs name them.

use std::collections::HashMap;

use page_wire::{Device, MAX_DEVICES, MAX_NAME_BYTES};

use crate::on_disk::{DeviceId, Disk, DiskFinder, FileId};

/// Most share files of a list: disks come after them, and no reader of a list reads share files yet.
const MAX_SHARE_FILES: usize = MAX_DEVICES - 16;

/// Numbers devices as they come up, at most [`MAX_DEVICES`].
#[derive(Default)]
pub(in crate::page_list) struct DeviceTable {
    disks: HashMap<DeviceId, u16>,
    files: HashMap<FileId, u16>,
    count: u16,
    last_disk: Option<(DeviceId, u16)>,
    last_file: Option<(FileId, u16)>,
}

impl DeviceTable {
    /// Number of a disk; `None` when the table is full.
    pub(in crate::page_list) fn disk(&mut self, device: DeviceId) -> Option<u16> {
        if let Some((last, number)) = self.last_disk
            && last == device
        {
            return Some(number);
        }
        let number = number(&mut self.disks, &mut self.count, device, MAX_DEVICES)?;
        self.last_disk = Some((device, number));
        Some(number)
    }

    /// Number of a file on a share; `None` when the table is full.
    pub(in crate::page_list) fn file(&mut self, file: FileId) -> Option<u16> {
        if let Some((last, number)) = self.last_file
            && last == file
        {
            return Some(number);
        }
        let number = number(&mut self.files, &mut self.count, file, MAX_SHARE_FILES)?;
        self.last_file = Some((file, number));
        Some(number)
    }

    /// The devices in the order of their numbers.
    pub(in crate::page_list) fn to_devices(&self, finder: &DiskFinder) -> Vec<Device> {
        let disks: HashMap<DeviceId, &Disk> = finder.disks().map(|d| (d.device, d)).collect();
        let mut devices: Vec<(u16, Device)> = Vec::new();
        for (&device, &number) in &self.disks {
            let name = disks.get(&device).map_or_else(|| format!("device:{device}"), |d| name(d));
            devices.push((number, Device::Disk(fitting(name))));
        }
        for (&file, &number) in &self.files {
            let share = finder.share_of(file);
            let path = share.map_or_else(String::new, |s| {
                format!("{}:{}:{}", s.fstype, s.source, s.path.to_string_lossy())
            });
            devices.push((number, Device::ShareFile(fitting(path))));
        }
        devices.sort_by_key(|(number, _)| *number);
        devices.into_iter().map(|(_, device)| device).collect()
    }
}

fn number<K: std::hash::Hash + Eq>(
    table: &mut HashMap<K, u16>,
    count: &mut u16,
    key: K,
    most: usize,
) -> Option<u16> {
    if let Some(number) = table.get(&key) {
        return Some(*number);
    }
    if table.len() >= most || usize::from(*count) >= MAX_DEVICES {
        return None;
    }
    table.insert(key, *count);
    Some(std::mem::replace(count, *count + 1))
}

/// The name, where the format has room for it; else the beginning of it, as the name of nothing.
fn fitting(name: String) -> String {
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let prefix = "too-long:";
    format!("{prefix}{}", &name[..name.floor_char_boundary(MAX_NAME_BYTES - prefix.len())])
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
        return format!("loop:{}:{}", disk.backing_offset.unwrap_or(0), file.to_string_lossy());
    }
    match (&disk.hardware_path, disk.pci.last()) {
        (Some(path), _) => format!("path:{path}"),
        (None, Some(function)) => format!("pci:{function}"),
        (None, None) => format!("name:{}", disk.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_than_a_list_has_room_for() {
        let mut devices = DeviceTable::default();
        let shares: Vec<_> = (0..1000).filter_map(|file| devices.file(FileId(file))).collect();
        let device = |minor| DeviceId { major: 254, minor };
        let disks: Vec<_> = (0..1000).filter_map(|minor| devices.disk(device(minor))).collect();
        assert_eq!((shares.len(), disks.len()), (MAX_SHARE_FILES, MAX_DEVICES - MAX_SHARE_FILES));
        assert_eq!(devices.disk(device(3)), Some(disks[3]), "known ones stay");
        assert_eq!(devices.file(FileId(7)), Some(7));
        assert_eq!(devices.disk(device(900)), None);
    }

    #[test]
    fn a_name_that_does_not_fit_names_nothing() {
        let name = fitting(format!("serial:{}", "\u{e9}".repeat(MAX_NAME_BYTES)));
        assert!(name.len() <= MAX_NAME_BYTES && name.starts_with("too-long:serial:"));
        let name = "x".repeat(MAX_NAME_BYTES);
        assert_eq!(fitting(name.clone()), name);
    }
}

//! Where a server's data files lie, and whether what it wrote is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead};

use kernel_text::{Lines, text_head};

use super::Check;
use super::check::causes;
use crate::frames::FRAME_BYTES;
use crate::locate::{Locator, NotOnDisk};
use crate::on_disk::{Disk, FileOffset, FileRange, Location, Unmapped};
use crate::target::Target;
use crate::viewer::units;

/// Most files that a disk map is asked for.
const MOST_FILES: usize = 256;
/// Most bytes of a mount table that are gone through, and most file systems that are named.
const MOST_MOUNT_BYTES: u64 = 128 << 20;
const MOST_TYPES: usize = 16;

const FILE_SYSTEM: &str = "data file system";
const FLUSHING: &str = "data file writes";
const EXTENTS: &str = "extents on disk";

/// All checks of a server's files.
pub(super) fn checks(target: &Target) -> Vec<Check> {
    let mut locator = match Locator::open(target.pid) {
        Ok(locator) => locator,
        Err(error) => {
            let remedy = error.hint().unwrap_or("run as root");
            return vec![Check::fail(EXTENTS, causes(&error), remedy)];
        }
    };
    let mounts = mounts(&locator);
    let mut known = BTreeSet::new();
    for path in ["/proc/self/mountinfo".to_owned(), format!("/proc/{}/mountinfo", target.pid)] {
        if let Ok(table) = File::open(path) {
            // What cannot be read is not known.
            let _ = add_types(&mut known, &mounts, Lines::of(table, MOST_MOUNT_BYTES));
        }
    }
    let left_out = locator.tablespaces().left_out();
    let mut checks = vec![
        file_systems(known),
        flushing(&opened(target.pid, &locator)),
        extents(&counts(&mut locator), left_out),
    ];
    checks.extend(locator.disks().map(disk));
    checks
}

/// The mounts, by the kernel's number, through which the server sees its files.
fn mounts(locator: &Locator) -> BTreeSet<u64> {
    locator.tablespaces().files().map(|(_, file)| file.candidate.seen.stamp.mount).collect()
}

/// Adds type and source of each mount, from the text of `mountinfo` (proc_pid_mountinfo(5)); a few are enough.
fn add_types(
    known: &mut BTreeSet<String>,
    mounts: &BTreeSet<u64>,
    mut mountinfo: Lines<impl BufRead>,
) -> io::Result<()> {
    while let Some(line) = mountinfo.next_line()?
        && known.len() <= MOST_TYPES
    {
        let number = line.split(|byte| *byte == b' ').next().and_then(|word| {
            let text = std::str::from_utf8(word).ok()?;
            text.parse().ok()
        });
        if !number.is_some_and(|number| mounts.contains(&number)) {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let Some((_, tail)) = line.split_once(" - ") else { continue };
        let mut tail = tail.split(' ');
        if let (Some(fstype), Some(source)) = (tail.next(), tail.next()) {
            known.insert(format!("{fstype} on {source}"));
        }
    }
    Ok(())
}

fn file_systems(mut known: BTreeSet<String>) -> Check {
    if known.is_empty() {
        return Check::unknown(FILE_SYSTEM, "the mounts do not say");
    }
    let has_more = known.len() > MOST_TYPES && known.pop_last().is_some();
    let mut found = known.into_iter().collect::<Vec<_>>().join(", ");
    found.push_str(if has_more { " and others" } else { "" });
    Check::ok(FILE_SYSTEM, found)
}

/// Name and open flags of one data file.
type Opened = (String, Option<u32>);

/// The data files that the server holds open, temporary ones left out.
fn opened(pid: u32, locator: &Locator) -> Vec<Opened> {
    let files = locator.tablespaces().files().map(|(_, file)| file);
    files
        .filter(|file| file.refused() != Some(NotOnDisk::Temporary))
        .filter_map(|file| {
            let number = file.candidate.seen.fd?;
            // The locks on the file come later, as many as the server has.
            let text = text_head(format!("/proc/{pid}/fdinfo/{number}"), 4096).ok()?;
            Some((file.name().to_owned(), open_flags(&text)))
        })
        .collect()
}

/// The line `flags:` of `/proc/PID/fdinfo/N`, octal (proc_pid_fdinfo(5)).
fn open_flags(fdinfo: &str) -> Option<u32> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// Whether writes bypass the page cache. `innodb_flush_method` alone does not decide it: the server goes
/// on without `O_DIRECT` where the file system refuses it (`os_file_set_nocache`, os0file.cc).
fn flushing(opened: &[Opened]) -> Check {
    const REMEDY: &str = "set innodb_flush_method=O_DIRECT on a file system that has it; without it, \
                          recently written pages are sent as ever";
    let direct = libc::O_DIRECT.cast_unsigned();
    let cached: Vec<&str> = opened
        .iter()
        .filter(|(_, flags)| flags.is_some_and(|flags| flags & direct == 0))
        .map(|(name, _)| name.as_str())
        .collect();
    let known = opened.iter().filter(|(_, flags)| flags.is_some()).count();
    if known == 0 {
        return Check::unknown(FLUSHING, "no data file is open");
    }
    if cached.is_empty() {
        return Check::ok(FLUSHING, format!("O_DIRECT on all {known} open data files"));
    }
    let some = cached.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let found = format!(
        "through the page cache in {} of {known} open data files ({some}{}): what the server calls \
         clean may not be on disk yet",
        cached.len(),
        if cached.len() > 3 { ", ..." } else { "" },
    );
    Check::warning(FLUSHING, found, REMEDY)
}

/// How many files lie where.
#[derive(Debug, Default)]
struct ExtentCounts {
    on_disk: usize,
    on_share: usize,
    nowhere: BTreeMap<NotOnDisk, usize>,
}

/// Asks for the first bytes of each data file, those that the server has open first.
fn counts(locator: &mut Locator) -> ExtentCounts {
    let mut files: Vec<_> = locator
        .tablespaces()
        .files()
        .map(|(id, file)| (!file.is_open(), id, file.refused()))
        .collect();
    files.sort_unstable();
    let mut counts = ExtentCounts::default();
    for (_, file, refused) in files.into_iter().take(MOST_FILES) {
        let len_bytes = u32::try_from(FRAME_BYTES).unwrap_or(4096);
        let place = FileRange { file, offset: FileOffset(0), len_bytes };
        match refused.map_or_else(|| locator.location(place), Err) {
            Ok(Location::Disk(_)) => counts.on_disk += 1,
            Ok(Location::Share) => counts.on_share += 1,
            Err(reason) => *counts.nowhere.entry(reason).or_default() += 1,
        }
    }
    counts
}

/// What would give files a place; none where it is the way of the table itself.
fn remedy_for(reason: NotOnDisk) -> Option<&'static str> {
    let NotOnDisk::File(reason) = reason else { return None };
    match reason {
        Unmapped::CopyOnWrite | Unmapped::UnsupportedFilesystem => {
            Some("put the data directory on ext4 or XFS, or on a share")
        }
        Unmapped::Overlay => {
            Some("put the data directory on a volume, not in the container's own layers")
        }
        Unmapped::StackedDevice => {
            Some("put the data directory on a plain disk, a partition or a linear logical volume")
        }
        Unmapped::RealtimeDevice => Some("put the data files on the data section of XFS"),
        Unmapped::UnknownDevice => {
            Some("have sysfs mounted on /sys, and run in the host's mount namespace")
        }
        Unmapped::FileUnreadable => Some("run as root, or with CAP_DAC_READ_SEARCH"),
        Unmapped::ExtentEncoded | Unmapped::ExtentShared | Unmapped::ExtentsTooMany => {
            Some("copy the file anew, without reflinks, compression or fragments")
        }
        _ => None,
    }
}

/// `left_out`: files that are not even known, as there was no room for them.
fn extents(counts: &ExtentCounts, left_out: usize) -> Check {
    const REMEDY: &str = "the pages of files that are left out are sent as ever; fewer tables, or \
                          shorter names, leave out none";
    let mut parts = Vec::new();
    for (count, what) in [(counts.on_disk, "on disks"), (counts.on_share, "on shares")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts
        .extend(counts.nowhere.iter().map(|(reason, count)| format!("{count} without ({reason})")));
    if left_out > 0 {
        parts.push(format!("{left_out} left out"));
    }
    if parts.is_empty() {
        return Check::unknown(EXTENTS, "no data file was found");
    }
    let found = format!("data files: {}", parts.join(", "));
    if left_out > 0 {
        return Check::warning(EXTENTS, found, REMEDY);
    }
    match counts.nowhere.keys().find_map(|reason| remedy_for(*reason)) {
        Some(remedy) => Check::warning(EXTENTS, found, remedy),
        None => Check::ok(EXTENTS, found),
    }
}

/// What the host can know a disk by.
fn disk(disk: &Disk) -> Check {
    const NAME: &str = "disk";
    let mut names: Vec<String> = Vec::new();
    names.extend(disk.serial.as_ref().map(|serial| format!("serial {serial}")));
    names.extend(disk.wwid.as_ref().map(|wwid| format!("wwid {wwid}")));
    names.extend(disk.pci.last().map(|pci| format!("PCI {pci}")));
    names.extend(disk.backing_file.as_ref().map(|file| format!("file {}", foreign::path(file))));
    // Devices without a bus still have a fixed place in the machine, e.g. virtio over MMIO.
    if names.is_empty() {
        names.extend(disk.hardware_path.as_ref().map(|path| format!("device {path}")));
    }
    let head = format!("{} ({} {})", disk.name, disk.device, units::bytes(disk.size_bytes));
    if disk.serial.is_some() || disk.wwid.is_some() || !names.is_empty() {
        return Check::ok(NAME, format!("{head}: {}", names.join(", ")));
    }
    Check::warning(
        NAME,
        format!("{head}: nothing that the host could know it by"),
        "give the virtual disk a serial number (QEMU: `serial=NAME` on the device)",
    )
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus::{Ok as Fine, Unknown, Warning};
    use super::*;
    use crate::on_disk::DeviceId;

    #[test]
    fn open_flags_are_octal() {
        assert_eq!(open_flags("pos:\t0\nflags:\t02140002\nmnt_id:\t29\n"), Some(0o2_140_002));
        for hostile in ["", "flags:", "flags:\t9", "flags:\t777777777777777"] {
            assert_eq!(open_flags(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn files_in_the_page_cache_are_named() {
        let file = |name: &str, flags| (name.to_owned(), Some(flags));
        let direct = file("shop/a", 0o2_140_002);
        assert_eq!(flushing(std::slice::from_ref(&direct)).status, Fine);
        assert_eq!(flushing(&[]).status, Unknown);
        assert_eq!(flushing(&[("x".to_owned(), None)]).status, Unknown);
        let mixed = flushing(&[direct, file("shop/b", 0o2_100_002)]);
        assert_eq!(mixed.status, Warning);
        assert!(
            mixed.found.contains("1 of 2") && mixed.found.contains("(shop/b)"),
            "{}",
            mixed.found
        );
        let many: Vec<_> = (0..5).map(|n| file(&n.to_string(), 2)).collect();
        assert!(flushing(&many).found.contains("(0, 1, 2, ...)"));
    }

    #[test]
    fn mounts_are_found_by_number() {
        let table =
            "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n40 22 0:41 / /db rw - nfs4 h:/e rw\n";
        let of = |numbers: &[u64], table: &str| {
            let mut known = BTreeSet::new();
            let numbers = numbers.iter().copied().collect();
            let table = Lines::within(table.as_bytes(), 1 << 20);
            add_types(&mut known, &numbers, table).unwrap();
            file_systems(known)
        };
        assert_eq!(of(&[22], table).found, "ext4 on /dev/vda");
        assert_eq!(of(&[22, 40], table).found, "ext4 on /dev/vda, nfs4 on h:/e");
        assert_eq!(of(&[7], table).status, Unknown);
        assert_eq!(of(&[1], "1 - \n - \n1 2 -").status, Unknown);
        let many: String = (0..100).map(|n| format!("1 2 3:{n} / / - ext4 /dev/{n}\n")).collect();
        let found = of(&[1], &many).found;
        assert!(found.contains("/dev/0,") && found.contains(" and others"), "{found}");
    }

    #[test]
    fn only_what_an_operator_can_change_is_a_finding() {
        let mut files = ExtentCounts { on_disk: 3, ..ExtentCounts::default() };
        files.nowhere.insert(NotOnDisk::Temporary, 2);
        let check = extents(&files, 0);
        assert_eq!(check.status, Fine);
        assert_eq!(check.found, "data files: 3 on disks, 2 without (temporary)");
        files.nowhere.insert(NotOnDisk::File(Unmapped::Overlay), 1);
        assert!(extents(&files, 0).remedy.unwrap().contains("volume"));
        assert_eq!(
            extents(&ExtentCounts { on_share: 2, ..ExtentCounts::default() }, 0).status,
            Fine
        );
        assert_eq!(extents(&ExtentCounts::default(), 0).status, Unknown);
        let some = extents(&files, 7);
        assert!(some.found.contains("7 left out") && some.status == Warning, "{}", some.found);
    }

    #[test]
    fn a_disk_needs_a_name_that_the_host_knows() {
        let bare = Disk {
            device: DeviceId { major: 254, minor: 0 },
            name: String::from("vda"),
            size_bytes: 1 << 30,
            logical_block_bytes: 512,
            serial: None,
            wwid: None,
            pci: Vec::new(),
            hardware_path: None,
            backing_file: None,
            backing_offset: None,
        };
        assert_eq!(disk(&bare).status, Warning);
        assert!(disk(&bare).remedy.unwrap().contains("serial="));
        let named = Disk { serial: Some(String::from("pool0")), ..bare.clone() };
        assert!(disk(&named).found.raw().ends_with("serial pool0"));
        let placed = Disk { pci: vec![String::from("0000:00:02.0")], ..bare };
        assert!(disk(&placed).found.raw().ends_with("PCI 0000:00:02.0"));
    }
}

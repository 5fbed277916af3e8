//! Whether the kernel may put huge pages into a RAM block: then a page that QEMU delivers would make
//! its neighbours present, with zeros, and they would look delivered.
//!
//! Linux `Documentation/admin-guide/mm/transhuge.rst`: shmem_enabled rules memfds, `huge=` the other
//! tmpfs mounts. From 6.11 on each size has a setting, whose `inherit` means the one above. A fault
//! gets a huge page only where address and place in the file are congruent (`thp_vma_suitable_order`).

use std::fs;
use std::path::Path;

use page_number::PAGE_BYTES;

const ROOT: &str = "/sys/kernel/mm/transparent_hugepage";

/// A huge page that the kernel may use, and the setting that lets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dest) struct Allowed {
    pub(in crate::dest) bytes: u64,
    pub(in crate::dest) setting: String,
}

/// The sizes that memfds may get on this host.
pub(in crate::dest) fn of_memfds() -> Vec<Allowed> {
    of_settings(Path::new(ROOT))
}

fn of_settings(root: &Path) -> Vec<Allowed> {
    let above = root.join("shmem_enabled");
    // Without the file the kernel has no huge pages of shared memory.
    let Some(global) = chosen(&above) else { return Vec::new() };
    let largest = fs::read_to_string(root.join("hpage_pmd_size")).ok();
    let largest = largest.and_then(|text| text.trim().parse().ok()).unwrap_or(2 << 20);
    let allowed = |bytes, setting| Allowed { bytes, setting };
    let rule = format!("`{}` is `{global}`", foreign::path(&above));
    match global.as_str() {
        "deny" => return Vec::new(),
        "force" => return vec![allowed(2 * PAGE_BYTES, rule)],
        _ => {}
    }
    let mut sizes = Vec::new();
    let mut single = false;
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size = name.to_str().and_then(|name| name.strip_prefix("hugepages-"));
        let size = size.and_then(|size| size.strip_suffix("kB")?.parse::<u64>().ok());
        let path = entry.path().join("shmem_enabled");
        let (Some(kib), Some(own)) = (size, chosen(&path)) else { continue };
        single = true;
        let bytes = kib.saturating_mul(1024);
        match own.as_str() {
            "never" => {}
            "inherit" if global == "never" => {}
            "inherit" => sizes.push(allowed(bytes, rule.clone())),
            _ => sizes.push(allowed(bytes, format!("`{}` is `{own}`", foreign::path(&path)))),
        }
    }
    if !single && global != "never" {
        sizes.push(allowed(largest, rule));
    }
    sizes.sort_unstable_by_key(|size| size.bytes);
    sizes
}

/// The word in brackets: `always within_size advise [never] deny force`.
fn chosen(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// The sizes that files of the tmpfs mount with id `mount` may get, as process `pid` sees its mounts.
pub(in crate::dest) fn of_mount(pid: u32, mount: u64) -> Vec<Allowed> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let setting = match option(&mounts, mount) {
        Some(Some(huge)) if huge != "never" => format!("mounted with `huge={huge}`"),
        Some(_) => return Vec::new(),
        None => "its mount is not seen from here".to_owned(),
    };
    vec![Allowed { bytes: 2 * PAGE_BYTES, setting }]
}

/// The option `huge=` of a mount; the outer `None` when there is no such mount.
fn option(mountinfo: &str, mount: u64) -> Option<Option<&str>> {
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE SUPER-OPTIONS
    let line = mountinfo
        .lines()
        .find(|line| line.split(' ').next().and_then(|id| id.parse().ok()) == Some(mount))?;
    let (_, of_super) = line.split_once(" - ")?;
    let options = of_super.split(' ').nth(2)?;
    Some(options.split(',').find_map(|option| option.strip_prefix("huge=")))
}

/// Whether the process has transparent huge pages switched off (PR_SET_THP_DISABLE).
pub(in crate::dest) fn is_off_for(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    line.is_some_and(|value| value.trim() == "0")
}

/// The first allowed size that a mapping at `address` of place `offset` of a file can get.
pub(in crate::dest) fn fitting(allowed: &[Allowed], address: u64, offset: u64) -> Option<&Allowed> {
    allowed.iter().find(|size| {
        size.bytes > PAGE_BYTES && address.wrapping_sub(offset).is_multiple_of(size.bytes)
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn settings(global: &str, sizes: &[(u64, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        let words = |one: &str| format!("always [{one}] end\n");
        fs::write(root.path().join("shmem_enabled"), words(global)).unwrap();
        fs::write(root.path().join("hpage_pmd_size"), "2097152\n").unwrap();
        for (kib, own) in sizes {
            let folder = root.path().join(format!("hugepages-{kib}kB"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("shmem_enabled"), words(own)).unwrap();
        }
        root
    }

    fn sizes(global: &str, sizes: &[(u64, &str)]) -> Vec<u64> {
        let root = settings(global, sizes);
        of_settings(root.path()).iter().map(|size| size.bytes).collect()
    }

    #[test]
    fn settings_are_read_as_the_kernel_does() {
        let usual = [(64, "never"), (2048, "inherit")];
        assert!(sizes("never", &usual).is_empty());
        assert!(sizes("deny", &[(64, "always"), (2048, "inherit")]).is_empty());
        assert_eq!(sizes("advise", &usual), [2 << 20]);
        assert_eq!(sizes("never", &[(64, "advise"), (2048, "inherit")]), [64 << 10]);
        assert_eq!(sizes("never", &[(64, "within_size"), (2048, "always")]), [64 << 10, 2 << 20]);
        assert_eq!(sizes("force", &usual), [8192]);
        assert_eq!(sizes("always", &[]), [2 << 20], "a kernel before 6.11");
        assert!(sizes("never", &[]).is_empty());
        assert!(of_settings(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn only_congruent_mappings_fit() {
        let two_mib = [Allowed { bytes: 2 << 20, setting: String::new() }];
        assert!(fitting(&two_mib, 0x7f00_0020_0000, 0).is_some());
        assert!(fitting(&two_mib, 0x7f00_0021_0000, 0x1_0000).is_some());
        assert!(fitting(&two_mib, 0x7f00_001f_f000, 0).is_none());
        assert!(fitting(&[], 0, 0).is_none());
    }

    #[test]
    fn the_mount_of_a_file_is_found() {
        let text = "22 27 0:21 / /proc rw - proc proc rw\n\
                    31 22 0:25 / /dev/shm rw,nosuid shared:3 - tmpfs tmpfs rw,huge=advise,inode64\n\
                    33 22 0:26 / /mnt rw - tmpfs tmpfs rw,size=5k\n";
        assert_eq!(option(text, 31), Some(Some("advise")));
        assert_eq!(option(text, 33), Some(None));
        assert_eq!(option(text, 3), None);
    }
}

//! What memory this process may use.

use std::fs;
use std::path::Path;

/// Bytes that the control groups of this process leave it, page cache that can go included; `None`
/// without a limit. Pages that we install are charged to us, not to QEMU (Linux `mm/userfaultfd.c`).
pub(in crate::dest) fn left() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    left_of(root, &root.join(path))
}

fn left_of(root: &Path, group: &Path) -> Option<u64> {
    let groups = group.ancestors().take_while(|ancestor| ancestor.starts_with(root));
    groups.filter_map(of_group).min()
}

/// Bytes left in one group.
fn of_group(group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // `max` is no number: no limit.
    let limit = number("memory.max")?;
    let used = number("memory.current")?;
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let value = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let can_go = value.and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(can_go)))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = TempDir::new().unwrap();
        let inner = root.path().join("machine.slice/vm");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(left_of(root.path(), &inner), None);
        let write = |folder: &Path, max: &str, current: &str| {
            fs::write(folder.join("memory.max"), max).unwrap();
            fs::write(folder.join("memory.current"), current).unwrap();
        };
        write(&inner, "max\n", "500\n");
        assert_eq!(left_of(root.path(), &inner), None);
        write(inner.parent().unwrap(), "1000\n", "700\n");
        assert_eq!(left_of(root.path(), &inner), Some(300));
        fs::write(inner.parent().unwrap().join("memory.stat"), "anon 1\ninactive_file 100\n")
            .unwrap();
        assert_eq!(left_of(root.path(), &inner), Some(400));
        write(&inner, "600\n", "500\n");
        assert_eq!(left_of(root.path(), &inner), Some(100));
    }
}

//! What the kernel reports of a process at once, whatever the process is like.

use std::path::Path;

use kernel_text::text_head;

use super::account::Account;
use super::unit;

/// Most bytes of a process's control groups: 16 hierarchies, each with a path.
const MAX_CGROUP: u64 = 64 << 10;

/// The systemd unit of a process; a kernel without control groups has no file.
pub(super) fn unit_of(pid: u32) -> Option<String> {
    unit::of_cgroup(&text_head(format!("/proc/{pid}/cgroup"), MAX_CGROUP).ok()?)
}

pub(super) fn is_named(exe: &Path, name: &str) -> bool {
    let file = exe.file_name().map(|f| f.to_string_lossy().into_owned());
    // A program replaced on disk by an upgrade reads `mysqld (deleted)`.
    file.is_some_and(|f| f.strip_suffix(" (deleted)").unwrap_or(&f) == name)
}

/// First field of `Uid:` in `/proc/PID/status` (proc_pid_status(5)).
pub(super) fn real_user(status: &str) -> Option<Account> {
    let fields = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    fields.split_ascii_whitespace().next()?.parse().ok().map(Account)
}

/// Field 22 of `/proc/PID/stat`. The command name before it may hold blanks and brackets, so count
/// from the last bracket. A zombie (state Z) counts as gone.
pub(super) fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_odd_names() {
        let stat = "12 (my) sql d)) S 1 12 12 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 777 100 5";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time("12 (a) Z 1 12 12 0 -1 0 1 0 0 0 1 2 0 0 20 0 9 0 777 1 5"), None);
        for hostile in ["", "(", ")", "1 (a)", "1 (a) S 2 3"] {
            assert_eq!(start_time(hostile), None);
        }
    }

    #[test]
    fn the_real_user_is_read() {
        let status = "Name:\tmysqld\nUid:\t110\t0\t0\t0\nGid:\t1\t1\t1\t1\n";
        assert_eq!(real_user(status), Some(Account(110)));
        for hostile in ["", "Uid:", "Uid:\tx", "Name:\tUid:\t5"] {
            assert_eq!(real_user(hostile), None);
        }
    }
}

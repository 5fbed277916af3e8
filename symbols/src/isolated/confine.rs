//! A process gives up everything but its memory, its processor and one socket.
//!
//! | taken away | by |
//! |---|---|
//! | the user and the groups of root | `setgroups`, `setresgid`, `setresuid` to nobody |
//! | capabilities, and ways to new ones | `capset`, `PR_SET_NO_NEW_PRIVS` |
//! | open files | `close_range` |
//! | files, processes, core dumps, memory, time | resource limits |
//! | all system calls but those for memory and the socket | seccomp |
//!
//! The kernel ends it first when memory runs out, and when its parent ends.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// `nobody` of every distribution (the kernel's overflow user, Documentation/admin-guide/sysctl/fs.rst).
const NOBODY: u32 = 65534;

/// Most files open at a time: the socket, and the memory of files that were received.
const MAX_FILES: u64 = 256;

/// What a parser needs: memory, the socket, the clock, and to end.
const ALLOWED: [libc::c_long; 35] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Gives up all rights of this process, which must have one thread.
pub(super) fn confine(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    // Where it cannot be written, the kernel chooses by size, which is us as well.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    limit(memory_bytes.saturating_add(own_bytes()), cpu_seconds)?;
    let is_root = rustix::process::geteuid().is_root();
    let dropped = if is_root { become_nobody() } else { Ok(()) };
    set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // After the change of user, which takes it back.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let filtered = filter();
    // One of the two holds it off other files: a container may have no other user, a kernel no seccomp.
    match (dropped, filtered) {
        (Err(error), Err(_)) => Err(error),
        (Ok(()), Err(error)) => {
            log::warn!("foreign files are read without a system call filter: {error}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Address space that is in use now, in bytes.
fn own_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

fn limit(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let limits = [
        (Resource::As, memory_bytes),
        (Resource::Fsize, 0),
        (Resource::Nofile, MAX_FILES),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
    ];
    for (resource, most) in limits {
        // A limit that is lower already stays.
        let now = rustix::process::getrlimit(resource);
        let most = now.maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // At the first the kernel returns an error, at the second it ends us.
    let seconds = cpu_seconds.max(1);
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })?;
    Ok(())
}

/// Closes what was inherited beside the three standard files; to be called before anything is opened.
#[expect(unsafe_code, reason = "files that nobody here opened are closed by number")]
pub(super) fn close_inherited() {
    // SAFETY: this process has opened nothing yet, so what it inherited beside its standard files has no
    // owner here. A kernel before 5.9 has no such call, and leaves them open.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

fn become_nobody() -> io::Result<()> {
    let (user, group) =
        (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Any other system call ends this process.
fn filter() -> io::Result<()> {
    let mut rules: BTreeMap<i64, Vec<_>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Text for people asks whether a terminal shows it; here none does.
    let is_terminal =
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::TCGETS)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(io::Error::other)?;
    rules.insert(libc::SYS_ioctl, vec![is_terminal]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

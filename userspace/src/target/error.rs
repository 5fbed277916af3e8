//! Why a process is not the server that is meant.

use std::io;
use std::path::PathBuf;

use symbols::text::TextError;
use thiserror::Error;

use super::rule::ServerRule;

/// Why no server could be chosen.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nothing runs.
    #[error("no running process {rule}")]
    None {
        /// What was looked for.
        rule: Box<ServerRule>,
    },
    /// Processes have the name, but we may not see which program they run.
    #[error("may not look at {}, which may be meant: {rule}", processes(.pids))]
    NotPermitted {
        /// What was looked for.
        rule: Box<ServerRule>,
        /// The processes.
        pids: Vec<u32>,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The process is not there.
    #[error("no process {pid}")]
    Gone {
        /// The requested pid.
        pid: u32,
    },
    /// The process could not be looked at.
    #[error("failed to read `{path}`")]
    Unreadable {
        /// The file below /proc.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Its program file is not among its mappings.
    #[error("process {pid} does not map its program `{program}`")]
    NotMapped {
        /// The process.
        pid: u32,
        /// Its program.
        program: PathBuf,
    },
    /// Its program file cannot be looked at.
    #[error("failed to look at the program of process {pid}")]
    Text {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: TextError,
    },
    /// It is called like a dynamic loader, and has loaded no program of the names that are looked for.
    #[error("process {pid} has loaded no program with the name of a server")]
    NotNamed {
        /// The process.
        pid: u32,
    },
    /// It has become another program while it was looked at.
    #[error("process {pid} has executed another program")]
    Changed {
        /// The process.
        pid: u32,
    },
}

impl TargetError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::None { rule } if **rule != ServerRule::default() => Some(
                "start the server first, or look for it with other options (`--pid`, `--name`, `--datadir`, `--user`, `--unit`)",
            ),
            Self::None { .. } | Self::Gone { .. } => {
                Some("start the server first, or name it with --pid or --name")
            }
            Self::Unreadable { source, .. } | Self::NotPermitted { source, .. } => {
                Some(remedy(source, may_trace()))
            }
            Self::NotMapped { .. } => None,
            Self::NotNamed { .. } => {
                Some("name the program with --name, or the process with --pid")
            }
            Self::Text { source, .. } => Some(source.hint()),
            Self::Changed { .. } => Some("start again to attach to the new program"),
        }
    }
}

/// Most processes that an error names: every user may start processes of any name.
const NAMED: usize = 8;

fn processes(pids: &[u32]) -> String {
    let named: Vec<String> = pids.iter().take(NAMED).map(u32::to_string).collect();
    let noun = if pids.len() == 1 { "process" } else { "processes" };
    let rest = pids.len() - named.len();
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{noun} {}{rest}", named.join(", "))
}

/// Whether we hold the capability that the kernel requires (`__ptrace_may_access`, kernel/ptrace.c).
fn may_trace() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|held| held.effective.contains(rustix::thread::CapabilitySet::SYS_PTRACE))
}

fn remedy(error: &io::Error, may_trace: bool) -> &'static str {
    match error.kind() == io::ErrorKind::PermissionDenied && may_trace {
        true => "a security module or another user namespace protects this process",
        false => {
            "run as root, or with the capabilities that `poolferry doctor` names (CAP_SYS_PTRACE)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_all_rights_is_not_told_to_take_them() {
        let path = PathBuf::from("/proc/1/exe");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(remedy(&denied(), false).contains("CAP_SYS_PTRACE"));
        assert!(remedy(&denied(), true).contains("security module"));
        let hint = TargetError::Unreadable { path, source: denied() }.hint().unwrap();
        assert_eq!(hint.contains("run as root"), !may_trace(), "{hint}");
    }

    #[test]
    fn a_few_of_many_processes_are_named() {
        assert_eq!(processes(&[7]), "process 7");
        assert_eq!(processes(&[7, 8]), "processes 7, 8");
        let many: Vec<u32> = (1..=1000).collect();
        assert_eq!(processes(&many), "processes 1, 2, 3, 4, 5, 6, 7, 8 and 992 more");
    }
}

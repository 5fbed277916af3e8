//! Why there are no probes.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::holder::Holder;

/// Most characters of a text that are kept: the end of the verifier's log has the reason.
const MAX_CHARS: usize = 4000;
/// Most causes behind each other.
const MAX_CAUSES: usize = 8;

/// An error of the kernel or a library, as text with its own causes: an error that another process sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCause {
    text: String,
    source: Option<Box<RemoteCause>>,
}

impl RemoteCause {
    /// An error and all that is behind it.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        Self::within(error, MAX_CAUSES)
    }

    fn within(error: &(dyn Error + 'static), most: usize) -> Self {
        let text = error.to_string();
        let skipped = text.chars().count().saturating_sub(MAX_CHARS);
        let source = error.source().filter(|_| most > 1);
        Self {
            text: text.chars().skip(skipped).collect(),
            source: source.map(|source| Box::new(Self::within(source, most - 1))),
        }
    }
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RemoteCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Programs could not be loaded or attached.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LoadError {
    /// The binary was built without the eBPF object.
    #[error("this build has no eBPF programs in it")]
    NotBuiltIn,
    /// The kernel or the loader refused the object.
    #[error("failed to load the eBPF programs")]
    Object(#[source] RemoteCause),
    /// One program was refused, or is not in the object.
    #[error("failed to load the eBPF program `{program}`")]
    Program {
        /// Its name.
        program: String,
        /// The verifier's or the kernel's reason.
        #[source]
        source: RemoteCause,
    },
    /// A probe could not be set.
    #[error("failed to set a probe")]
    Attach {
        /// Which of the sites.
        site: usize,
        /// The kernel's reason.
        #[source]
        source: RemoteCause,
    },
    /// To set a probe the kernel would wait for this process, and all that fork would wait too.
    #[error("process {} of user {} does not let go of its memory map", .0.pid, .0.user)]
    Held(Holder),
    /// Whether the kernel would wait for a process cannot be found out.
    #[error("failed to find out whether the kernel would wait for {}", process(*.pid))]
    NotQueried {
        /// Which process; none where it is about all of them.
        pid: Option<u32>,
        /// Why.
        #[source]
        source: RemoteCause,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process of this machine".to_owned(), |pid| format!("process {pid}"))
}

/// The process that keeps probes does not keep them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// It cannot be started, or not be spoken to.
    #[error("failed to start the process that keeps the probes")]
    Start(#[source] io::Error),
    /// Its reply has the reason.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// The probes are gone with it.
    #[error("the process that keeps the probes has ended{how}")]
    Ended {
        /// Its status, where it is known, in brackets.
        how: String,
    },
    /// It did not answer in time.
    #[error("the process that keeps the probes has not answered within {limit:?}")]
    Late {
        /// The time that it had.
        limit: Duration,
    },
    /// Its reply does not match the request.
    #[error("the process that keeps the probes has sent an unexpected reply")]
    Protocol,
    /// A map is missing or refused an access.
    #[error("failed to access the map `{map}`")]
    Map {
        /// Its name.
        map: String,
        /// Why.
        #[source]
        source: RemoteCause,
    },
}

/// The remedy for [`LoadError::Held`].
pub const HELD_HINT: &str = "the kernel would wait for it, and `fork` of every process would too: end that process, have the \
                             file system (FUSE, a share) answer that it maps a file of, or give it more of the processors \
                             where it runs at a low priority";

impl KeeperError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(LoadError::NotBuiltIn) => {
                "build with `cargo xtask build`, which compiles the eBPF programs first"
            }
            Self::Refused(LoadError::Held(_)) => HELD_HINT,
            Self::Refused(LoadError::NotQueried { .. }) => {
                "run as root, or with CAP_SYS_PTRACE: a process that holds its memory map would stop `fork` of the whole machine \
                 while probes are set, so all are checked before"
            }
            Self::Start(_) => "check the limits on processes and memory of this user",
            Self::Ended { .. } => {
                "the kernel ends it when memory runs out, or somebody has; start again"
            }
            Self::Late { .. } => {
                "the machine is short of processors, or the kernel waits; start again"
            }
            Self::Protocol => "the program was replaced while it ran: start it again",
            Self::Map { .. } => {
                "the eBPF programs in this build are of another version; `cargo xtask build` compiles them"
            }
            Self::Refused(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_keep_their_order_and_are_cut() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Link {
            text: String,
            source: Option<Box<Link>>,
        }
        let inner = Link { text: "x".repeat(2 * MAX_CHARS) + "end", source: None };
        let outer = Link { text: "outer".to_owned(), source: Some(Box::new(inner)) };
        let cause = RemoteCause::of(&outer);
        assert_eq!(cause.to_string(), "outer");
        let inner = cause.source().unwrap().to_string();
        assert!(inner.len() == MAX_CHARS && inner.ends_with("xend"));
        assert!(cause.source().unwrap().source().is_none());
    }
}

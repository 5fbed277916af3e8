//! Why there is no answer, or none that can be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use foreign::Text;
use page_wire::protocol::{LineError, ReplyBody, VERSION};
use thiserror::Error;

/// The agent could not be reached, or has not answered as it should.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Nothing listens on the port's socket.
    #[error("failed to connect to the agent's port `{path}`")]
    Connect {
        /// The chardev's socket.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The socket is there, and no agent answers.
    #[error("no agent answers on `{path}` within {limit:?}")]
    Silent {
        /// The chardev's socket.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The port was closed: QEMU has ended, or its chardev was taken away.
    #[error("the agent's port was closed while {what} was waited for")]
    Closed {
        /// What was waited for.
        what: &'static str,
    },
    /// The port failed.
    #[error("the agent's port failed")]
    Io(#[source] io::Error),
    /// An answer has not come in time.
    #[error("the agent has not answered with {what} within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The agent speaks another version.
    #[error("the agent (poolferry {program}) speaks version {theirs}, this program {VERSION}")]
    Version {
        /// Its version.
        theirs: u32,
        /// The version of its program.
        program: Text,
    },
    /// A line that is no answer.
    #[error("the agent's answer cannot be read")]
    Garbled(#[source] LineError),
    /// The answer to another question.
    #[error("the agent answers `{kind}`, which was not requested")]
    Unexpected {
        /// Which kind of answer.
        kind: &'static str,
    },
    /// The agent refuses, with its reason.
    #[error("the guest's agent: {what}")]
    Refused {
        /// Its words.
        what: Text,
        /// Its advice.
        hint: Option<Text>,
        /// Whether it expects that to pass in a moment.
        again: bool,
    },
    /// An answer that contradicts itself or the request.
    #[error("the agent's answer makes no sense: {what}")]
    Nonsense {
        /// What is wrong with it.
        what: Text,
    },
    /// All bytes came, and they are not those that the agent has hashed.
    #[error("the page list that was copied is not the one that the agent has made")]
    Torn,
}

impl AgentError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Connect { .. } => {
                "give the VM a virtio-serial port: `-device virtio-serial -chardev \
                 socket,id=pf,path=PATH,server=on,wait=off -device \
                 virtserialport,chardev=pf,name=org.poolferry.0`"
            }
            Self::Silent { .. } => {
                "start `poolferry agent` in the guest; if it runs, see that nothing else is connected \
                 to the port's socket"
            }
            Self::Closed { .. } => "see whether QEMU still runs",
            Self::Timeout { .. } => "read the log of `poolferry agent` in the guest, and try again",
            Self::Version { .. } => "install the same version of Poolferry in the guest and here",
            Self::Garbled(_) | Self::Nonsense { .. } | Self::Unexpected { .. } | Self::Torn => {
                "see that the guest runs the same version of Poolferry, and its own agent"
            }
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Io(_) => return None,
        };
        Some(hint.into())
    }

    pub(super) const fn unexpected(reply: &ReplyBody) -> Self {
        Self::Unexpected { kind: reply.kind() }
    }
}

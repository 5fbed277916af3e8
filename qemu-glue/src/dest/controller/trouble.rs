//! What keeps pages of the set from being installed. It costs those pages the restore, never the migration.

use std::io;
use std::time::Duration;

use foreign::Text;
use thiserror::Error;

use crate::channel::NotInstalled;
use crate::storage::StorageError;

/// Why pages travel by network. Its stable name is the reason that the source gets ([`reason`](Self::reason)).
#[derive(Debug, Error)]
pub(in crate::dest) enum InstallTrouble {
    /// The set has no device of that number, or none that can be read.
    #[error("there is no such device")]
    NoDevice,
    /// The system gives no memory to read into.
    #[error("no memory for a buffer")]
    NoBuffer(#[source] io::Error),
    /// Storage fails.
    #[error("reading {address} failed")]
    ReadFailed {
        /// The storage, for people.
        address: Text,
        /// Why.
        #[source]
        source: StorageError,
    },
    /// Storage is silent.
    #[error("{device} has not answered for {:.1} s", silent.as_secs_f32())]
    Late {
        /// The storage, for people.
        device: Text,
        /// For so long.
        silent: Duration,
    },
    /// The thread that verifies pages has panicked.
    #[error("verifying pages ended badly")]
    VerifyFailed(#[source] io::Error),
    /// The kernel does not install a page.
    #[error("failed to install a page in the guest's RAM")]
    InstallFailed(#[source] io::Error),
}

impl InstallTrouble {
    /// What the source counts it as.
    pub(in crate::dest) const fn reason(&self) -> NotInstalled {
        match self {
            Self::NoDevice | Self::NoBuffer(_) | Self::ReadFailed { .. } => {
                NotInstalled::ReadFailed
            }
            Self::Late { .. } => NotInstalled::TooLate,
            Self::VerifyFailed(_) | Self::InstallFailed(_) => NotInstalled::InstallFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_chain;

    #[test]
    fn texts_name_the_cause_and_reasons_are_those_of_the_channel() {
        let broken = || io::Error::other("broken");
        let read = StorageError::Read { offset: 4096, length: 8192, source: broken() };
        let cases = [
            (InstallTrouble::NoDevice, "there is no such device", NotInstalled::ReadFailed),
            (
                InstallTrouble::NoBuffer(broken()),
                "no memory for a buffer: broken",
                NotInstalled::ReadFailed,
            ),
            (
                InstallTrouble::ReadFailed { address: "file:/a".into(), source: read },
                "reading file:/a failed: failed to read 8192 bytes at 0x1000: broken",
                NotInstalled::ReadFailed,
            ),
            (
                InstallTrouble::Late { device: "file:/a".into(), silent: Duration::from_secs(5) },
                "file:/a has not answered for 5.0 s",
                NotInstalled::TooLate,
            ),
            (
                InstallTrouble::VerifyFailed(broken()),
                "verifying pages ended badly: broken",
                NotInstalled::InstallFailed,
            ),
            (
                InstallTrouble::InstallFailed(broken()),
                "failed to install a page in the guest's RAM: broken",
                NotInstalled::InstallFailed,
            ),
        ];
        for (trouble, text, reason) in cases {
            assert_eq!((error_chain(&trouble).as_str(), trouble.reason()), (text, reason));
        }
    }
}

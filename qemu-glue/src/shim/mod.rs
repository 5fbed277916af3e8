//! The host's side of the memory shared with the library in QEMU (`libpoolferry_qemu.so`).
//!
//! ```text
//! Shim::open ── arm(set) ──> Armed ── status: Armed, Hinting, Hinted ─────────────> Ended
//!                              │                    └──────────────── Refused(why)
//!                              ├─ confirm: installed at the destination, QEMU need not send it
//!                              ├─ redirty: QEMU sends it after all
//!                              └─ set_throttle: no switchover yet
//! ```
//! Everything is words in memory: no call waits for the library, and the library waits for none of
//! them. A host that dies leaves a migration that ends by itself and is right: what is not confirmed
//! when the VM has stopped is re-dirtied, and a throttle has no effect on a stopped VM.

mod armed;
mod bitmap;
mod error;
mod file;
mod refusal;
mod saved;
mod status;

pub use armed::Armed;
pub use error::ShimError;
pub use refusal::LibraryRefusal;
pub use saved::{MigrationParameters, SavedParameters};
pub use status::{LibraryStatus, SetState, SyncTime};

use std::io;
use std::sync::Arc;

use crate::set::SkipSet;
use file::SharedFile;

/// The library in one QEMU, reserved for this process.
#[derive(Debug)]
pub struct Shim {
    file: Arc<SharedFile>,
}

impl Shim {
    /// Finds the library in the process `qemu_pid` and reserves it.
    ///
    /// # Errors
    /// The library is not loaded, is of another version or cannot work with that QEMU, another process
    /// uses it, or the process's descriptors cannot be looked at.
    pub fn open(qemu_pid: u32) -> Result<Self, ShimError> {
        let file = SharedFile::open(qemu_pid)?;
        Ok(Self { file: Arc::new(file) })
    }

    /// [`open`](Self::open) in a thread of its own: a process may have very many descriptors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn find(qemu_pid: u32) -> Result<Self, ShimError> {
        let opened = tokio::task::spawn_blocking(move || Self::open(qemu_pid)).await;
        let fell = |fell| ShimError::Descriptors { pid: qemu_pid, source: io::Error::other(fell) };
        opened.map_err(fell)?
    }

    /// QEMU's version as the library sees it: major, minor, micro.
    #[must_use]
    pub fn qemu_version(&self) -> (u32, u32, u32) {
        self.file.version()
    }

    /// Whether a set of ours is in a migration that goes on without a driver.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.file.has_set_in_use() || self.file.was_abandoned()
    }

    /// What a driver that is gone has left QEMU's migration parameters to be; `None` where they are the user's.
    #[must_use]
    pub fn saved(&self) -> Option<SavedParameters> {
        self.file.saved()
    }

    /// QEMU has the user's parameters again.
    pub fn forget(&self) {
        self.file.save(None);
    }

    /// Arms `set` for the next migration: its pages are hinted away before the first page is sent.
    ///
    /// The migration has to begin after this. The set is used once; it is disarmed when the migration
    /// ends, whether it was used or not.
    ///
    /// # Errors
    /// The set is empty, larger than the shared memory, or has a page below 1 MiB of its first block;
    /// or a set is armed or in use.
    pub fn arm(&self, set: &SkipSet) -> Result<Armed, ShimError> {
        Armed::new(Arc::clone(&self.file), set)
    }
}

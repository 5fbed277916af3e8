//! Who sends QEMU `migrate`: this program, or somebody else, such as libvirt or a user at a monitor.
//!
//! All commands to QEMU about the migration itself go through a [`Driver`]. The controller knows of none: it sees a
//! migration that has begun, and commands.

pub(super) mod event_loop;
pub(super) mod session;

use serde_json::json;

use crate::qmp::{Qmp, QmpError};

/// Begins QEMU's migration, and ends it before its end.
pub trait Driver {
    /// Everything is armed: QEMU is to migrate to `uri`. Returns once it does.
    ///
    /// # Errors
    /// When QEMU does not begin.
    fn begin(&mut self, qmp: &Qmp, uri: &str) -> impl Future<Output = Result<(), QmpError>> + Send;

    /// QEMU is to end its migration, and the VM to stay. Returns once QEMU knows.
    ///
    /// # Errors
    /// When QEMU refuses.
    fn cancel(&mut self, qmp: &Qmp) -> impl Future<Output = Result<(), QmpError>> + Send;
}

/// This program sends QEMU the commands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ourselves;

impl Driver for Ourselves {
    async fn begin(&mut self, qmp: &Qmp, uri: &str) -> Result<(), QmpError> {
        qmp.execute("migrate", json!({ "uri": uri })).await.map(drop)
    }

    async fn cancel(&mut self, qmp: &Qmp) -> Result<(), QmpError> {
        qmp.execute("migrate_cancel", json!({})).await.map(drop)
    }
}

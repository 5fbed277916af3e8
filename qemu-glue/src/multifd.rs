//! QEMU's stream over several connections (capability `multifd`), and its compression.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::qmp::{Qmp, QmpError};

/// What both sides of a migration with `multifd` must have alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Multifd {
    /// Number of connections.
    #[serde(rename = "multifd-channels")]
    pub channels: u32,
    /// `none`, `zlib`, `zstd`, ... (`MultiFDCompression`, qapi/migration.json).
    #[serde(rename = "multifd-compression")]
    pub compression: String,
}

impl Multifd {
    /// Whether less travels than there is RAM.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.compression != "none"
    }

    /// As QEMU has it set, used or not.
    ///
    /// # Errors
    /// When the monitor fails.
    pub async fn read(qmp: &Qmp) -> Result<Self, QmpError> {
        qmp.query("query-migrate-parameters").await
    }

    /// Sets it.
    ///
    /// # Errors
    /// When QEMU refuses, for instance a compression that it was not built with, or the monitor fails.
    pub async fn set(&self, qmp: &Qmp) -> Result<(), QmpError> {
        let Self { channels, compression } = self;
        let parameters =
            json!({ "multifd-channels": channels, "multifd-compression": compression });
        qmp.execute("migrate-set-parameters", parameters).await.map(drop)
    }
}

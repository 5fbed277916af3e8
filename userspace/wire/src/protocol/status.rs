//! How the server and its pool are: the guest's share of a migration's time line.

use foreign::Text;
use serde::{Deserialize, Serialize};

use super::observed::Observed;
use super::served::{Served, few};

/// The guest at one moment. Counters are sums since the probes were set, so that the host makes
/// rates over any time that it likes, also across a migration: the table moves with the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// CLOCK_MONOTONIC of the guest, in ns.
    pub now_ns: u64,
    /// The server; of several, the first.
    pub server: ServerState,
    /// What is known of its pool, while there are probes in the server; of several, the sum, in pages of the smallest
    /// size.
    pub observed: Option<Box<Observed>>,
    /// All servers that have probes; none from an agent that knows of one only.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Served>,
    /// Number of the list that is held, if one is.
    pub list: Option<u64>,
}

/// Whether there is a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// None that could be observed, and why not.
    Waiting {
        /// What is missing or failed.
        why: Text,
        /// What the operator can do about it, in the guest.
        hint: Option<Text>,
    },
    /// One is being looked at for the first time.
    Attaching {
        /// Its process id.
        pid: u32,
    },
    /// The probes are set.
    Attached {
        /// Its process id.
        pid: u32,
        /// Family and version, e.g. `mysql 5.6.24`.
        version: Text,
    },
}

//! What probes on the functions of a QEMU saw, as it stands in the record.

use foreign::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::series::Sync;

/// Most steps, syncs, functions and warnings of a record that are read.
pub(crate) const MAX_STEPS: usize = 1 << 16;

/// Both sides; `null` where no probes were set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sides {
    /// The QEMU that sent the VM.
    pub source: Option<Side>,
    /// The QEMU that received it.
    pub destination: Option<Side>,
}

/// One QEMU as its functions were called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Side {
    /// Each function that was to be probed.
    #[serde(deserialize_with = "bounded::all::<MAX_STEPS, _, _>")]
    pub functions: Vec<Function>,
    /// Bitmap syncs.
    #[serde(deserialize_with = "bounded::all::<MAX_STEPS, _, _>")]
    pub syncs: Vec<Sync>,
    /// Calls that sent a part of the RAM.
    pub iterations: u64,
    /// Seconds spent in them together.
    pub iterating_s: f64,
    /// When the VM was stopped for the switchover.
    pub vm_stop_s: Option<f64>,
    /// When the VM was started.
    pub vm_start_s: Option<f64>,
    /// When the migration took its last state.
    pub ended_s: Option<f64>,
    /// Records that did not fit and so are missing here.
    pub lost: u64,
}

/// One function of QEMU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Function {
    /// Its name.
    pub name: Text,
    /// What is known of it.
    pub state: FunctionState,
    /// How often it was entered.
    pub calls: u64,
}

/// Whether a probe on a function reports anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionState {
    /// The program has no such function.
    #[default]
    Missing,
    /// The probe is set but never fired: not called, or called through a private copy that the
    /// compiler made (builds with link-time optimisation).
    NeverFired,
    /// It fired.
    Fired,
}

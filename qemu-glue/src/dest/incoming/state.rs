//! How far a QEMU is with the one migration that it waits for.
//!
//! `query-status` shows `inmigrate` until the VM starts, also while its memory arrives. What `query-migrate`
//! shows beside it, seen on 7.2, 10.0 and 11.1:
//!
//! | | 7.2 | 10.0 and 11.1 |
//! |---|---|---|
//! | no command to listen | nothing | nothing |
//! | could not listen, and may get the command again | nothing | never: it is `setup` for good |
//! | listens | `socket-address` | `setup`, `socket-address` |
//! | a source has connected | `active`, `socket-address` | `active`, `socket-address` |

use serde_json::Value;

use crate::dest::controller::IncomingState;
use crate::dest::refusal::RestoreRefusal;
use crate::qmp::{Qmp, QmpError};

/// Makes sure that QEMU has had no command to listen. Only then no page can have arrived, and none arrives
/// while this monitor sends none.
pub(in crate::dest) async fn check_not_listening(qmp: &Qmp) -> Result<(), RestoreRefusal> {
    let reply: Value = qmp.query("query-migrate").await?;
    match (status(&reply), reply["socket-address"].is_array()) {
        ("none", false) => Ok(()),
        ("none" | "setup", true) => Err(RestoreRefusal::Listens),
        (status, _) => {
            Err(RestoreRefusal::MigrationBegun { status: status.chars().take(40).collect() })
        }
    }
}

/// Queries QEMU; a status that is not known goes on.
pub(in crate::dest) async fn query(qmp: &Qmp) -> Result<IncomingState, QmpError> {
    let reply: Value = qmp.query("query-migrate").await?;
    Ok(match status(&reply) {
        "none" | "setup" | "failed" | "cancelled" | "cancelling" => IncomingState::Inactive,
        "completed" => IncomingState::Completed,
        _ => IncomingState::Active,
    })
}

/// Port on which QEMU listens; `None` when it does not, or not for TCP.
pub(in crate::dest) fn port(reply: &Value) -> Option<u16> {
    let sockets = reply["socket-address"].as_array().into_iter().flatten();
    sockets.filter_map(|socket| socket["port"].as_str()?.parse().ok()).next()
}

/// The migration's state; QEMU leaves it away where there is none.
fn status(reply: &Value) -> &str {
    reply["status"].as_str().unwrap_or("none")
}
